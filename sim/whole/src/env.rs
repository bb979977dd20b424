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
        let net = shared.net();
        Self { shared, net, at, life, started_us: now_us() }
    }
}

impl SimEnv {
    /// Opens a connection to another machine, as nodes do among each other.
    ///
    /// # Errors
    /// There is no such machine, or nobody answers or listens there.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<SimStream> {
        let to = host.parse().ok().and_then(Host::of).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let wire = Wire { window_bytes: 256 << 10, segment_bytes: 64 << 10 };
        self.net.dial(Host::Node(u32::try_from(self.at).unwrap_or(0)), (to, port), wire).await
    }
}

impl Env for SimEnv {
    type Listener = SimListener;

    fn now(&self) -> Now {
        let now = now_us();
        let virtual_ms = i64::try_from(now / 1_000).unwrap_or(i64::MAX);
        Now {
            mono: MonoMs(now.saturating_sub(self.started_us) / 1_000 + MONO_ORIGIN_MS),
            wall: WallMs(WALL_START_MS + virtual_ms + self.shared.wall_jump_ms(self.at)),
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
        self.net.listen(Host::Node(u32::try_from(self.at).unwrap_or(0)), port)
    }
}
