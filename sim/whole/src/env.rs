//! The node's world: madsim's tasks and time, our net, randomness from the seed.

use crate::net::{Host, Net, SimListener, SimStream, now_us};
use crate::plan::Wire;
use crate::world::{MONO_ORIGIN_MS, Shared};
use seedlog::env::{Env, Seen};
use seedlog_core::time::{MonoMs, Now, WallMs};
use seedlog_sim::world::WALL_START_MS;
use std::fmt;
use std::io;

/// The world of one process: a life of a machine.
#[derive(Clone)]
pub struct SimEnv {
    shared: Shared,
    net: Net,
    at: usize,
    life: u64,
    started_us: u64,
    /// The clocks run so many parts in a million fast, or slow. Sleeps do not, as in a process whose clock is being slewed.
    drift_ppm: i64,
    peer_wire: Wire,
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimEnv({}, {})", self.at, self.life)
    }
}

impl SimEnv {
    /// The world of a process that starts.
    #[must_use]
    pub fn new(shared: Shared, at: usize, life: u64) -> Self {
        let (net, drift_ppm, peer_wire) = (shared.net(), shared.drift_ppm(at), shared.peer_wire());
        Self { shared, net, at, life, started_us: now_us(), drift_ppm, peer_wire }
    }
}

impl SimEnv {
    fn host(&self) -> Host {
        Host::Node(u32::try_from(self.at).unwrap_or(0))
    }
}

impl Env for SimEnv {
    type Listener = SimListener;

    fn now(&self) -> Now {
        let now = now_us();
        let drift_ppm = i128::from(self.drift_ppm);
        let drifted_ms = |micros: u64| {
            let micros = i128::from(micros);
            u64::try_from((micros + micros * drift_ppm / 1_000_000) / 1_000).unwrap_or(0)
        };
        let wall_ms = i64::try_from(drifted_ms(now)).unwrap_or(i64::MAX);
        Now {
            mono: MonoMs(drifted_ms(now.saturating_sub(self.started_us)) + MONO_ORIGIN_MS),
            wall: WallMs(WALL_START_MS + wall_ms + self.shared.wall_jump_ms(self.at)),
        }
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.shared.random(self.at, bytes.len()));
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }

    fn watch(&self, seen: Seen<'_>) {
        self.shared.watch(self.at, self.life, seen);
    }

    async fn bind(&self, _host: Option<&str>, port: u16) -> io::Result<SimListener> {
        self.net.listen(self.host(), port)
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<SimStream> {
        let to = host.parse().ok().and_then(Host::of);
        let to = to.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
        self.net.dial(self.host(), (to, port), self.peer_wire).await
    }
}
