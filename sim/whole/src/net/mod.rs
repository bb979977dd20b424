//! The net: byte streams between hosts that are addressed by (host, port), with all that happens to streams.
//!
//! ```text
//!   writer ──► [ window: in flight | arrived, unread ] ──► reader        one pipe a direction
//!                 └─ cut: stays here until the link heals
//! ```
//!
//! * A link between two hosts may be cut in one direction or in both: nothing arrives, nothing is lost, nobody is told. What was
//!   in flight arrives some time after it heals, as TCP's retransmissions do; or both ends are told at some time that the
//!   connection is broken.
//! * A link may be noisy: what is written is late, what is lost comes again later or breaks the connection. Nothing is doubled or
//!   reordered within a stream; between two streams everything is.
//! * A process that dies closes its streams; a machine without power says nothing, and answers with a reset once it is back.
//! * A reset takes what was on its way with it, from the middle of a write.
//!
//! Files: `pipe` is one direction, `conn` both with their ends, `links` the faults of links, `stream` what the node and the
//! clients hold.

mod conn;
mod links;
mod pipe;
mod stream;
#[cfg(test)]
mod tests;

pub use links::Noise;
pub use stream::{SimListener, SimReader, SimStream, SimWriter};

use crate::marks::{Own, OwnMarks};
use crate::plan::Wire;
use conn::{Conn, End};
use links::Links;
use pipe::Pipe;
use seedlog_sim::rng::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A machine with a node.
    Node(u32),
    /// A client.
    Client(u32),
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        let (net, number) = match self {
            Self::Node(number) => (1, number),
            Self::Client(number) => (2, number),
        };
        let [.., high, low] = number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, net, high, low))
    }

    /// Who has this address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Option<Self> {
        let IpAddr::V4(ip) = ip else { return None };
        let [10, net, high, low] = ip.octets() else { return None };
        let number = u32::from_be_bytes([0, 0, high, low]);
        match net {
            1 => Some(Self::Node(number)),
            2 => Some(Self::Client(number)),
            _ => None,
        }
    }
}

/// Virtual µs since the run began.
#[must_use]
pub fn now_us() -> u64 {
    u64::try_from(madsim::time::TimeHandle::current().elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The whole net; clones are the same one.
#[derive(Debug, Clone)]
pub struct Net(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Stream,
    /// Machines without power.
    dark: Vec<Host>,
    doors: BTreeMap<(Host, u16), Door>,
    conns: BTreeMap<u64, Conn>,
    links: Links,
    next: u64,
    marks: OwnMarks,
}

/// A port that somebody listens on.
#[derive(Debug)]
struct Door {
    token: u64,
    waiting: VecDeque<u64>,
    arrived: Arc<Notify>,
}

/// How long an attempt to connect waits for an answer.
const CONNECT_US: u64 = 1_500_000;

impl Net {
    /// A net without anybody.
    #[must_use]
    pub fn new(rng: Stream) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng,
            dark: Vec::new(),
            doors: BTreeMap::new(),
            conns: BTreeMap::new(),
            links: Links::default(),
            next: 1,
            marks: OwnMarks::default(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen so far.
    #[must_use]
    pub fn marks(&self) -> OwnMarks {
        self.lock().marks.clone()
    }

    /// Listens on a port.
    ///
    /// # Errors
    /// Somebody does already.
    pub fn listen(&self, host: Host, port: u16) -> io::Result<SimListener> {
        let mut state = self.lock();
        if state.doors.contains_key(&(host, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let token = state.number();
        let arrived = Arc::new(Notify::new());
        let door = Door { token, waiting: VecDeque::new(), arrived: Arc::clone(&arrived) };
        state.doors.insert((host, port), door);
        Ok(SimListener::new(self.clone(), (host, port), token, arrived))
    }

    /// Connects to a port.
    ///
    /// # Errors
    /// Nobody listens there, or nobody answers.
    pub async fn dial(&self, from: Host, to: (Host, u16), wire: Wire) -> io::Result<SimStream> {
        let latency = self.lock().latency();
        pass(latency).await;
        let refused = {
            let mut state = self.lock();
            match state.connect(from, to, wire) {
                Ok(conn) => return Ok(SimStream::new(self.clone(), conn, 0)),
                Err(error) => error,
            }
        };
        if refused.kind() == io::ErrorKind::TimedOut {
            pass(CONNECT_US).await;
        }
        Err(refused)
    }

    /// The process on a host is gone: the kernel closes what it had.
    pub fn process_gone(&self, host: Host) {
        let mut state = self.lock();
        state.doors.retain(|&(of, _), _| of != host);
        for (conn, end) in state.ends_of(host) {
            state.close(conn, end);
        }
    }

    /// A host has lost its power: nobody is told.
    pub fn power_lost(&self, host: Host) {
        let mut state = self.lock();
        state.doors.retain(|&(of, _), _| of != host);
        state.dark.push(host);
        let now = now_us();
        for (conn, end) in state.ends_of(host) {
            state.vanish(conn, end, now);
        }
    }

    /// A host has power again: what others still send to its old connections is answered with a reset.
    pub fn power_back(&self, host: Host) {
        let mut state = self.lock();
        state.dark.retain(|&dark| dark != host);
        let now = now_us();
        let old: Vec<u64> =
            state.conns.iter().filter(|(_, conn)| conn.has(host)).map(|(&id, _)| id).collect();
        for id in old {
            let delay = state.rng.range(1_000, 300_000);
            if let Some(conn) = state.conns.get_mut(&id) {
                conn.answer_from_nobody(host, now + delay);
            }
        }
    }

    /// One end of a connection forgets it without a word.
    pub fn vanish(&self, conn: u64, end: usize) {
        let mut state = self.lock();
        state.vanish(conn, end, now_us());
        state.marks.hit(Own::HalfOpen);
    }

    /// The next write in one direction of a connection is cut in the middle, and then the connection is reset.
    pub fn arm_reset(&self, conn: u64) {
        let mut state = self.lock();
        let (direction, share) = (state.rng.index(2), state.rng.range(1, 999));
        if let Some(conn) = state.conns.get_mut(&conn) {
            conn.pipes[direction].arm(share);
        }
    }

    /// Notes that a client reads a few bytes at a time.
    pub fn mark_slow_reader(&self) {
        self.lock().marks.hit(Own::SlowReader);
    }
}

impl State {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// madsim's shortest sleep is a ms: what is faster than that is at once, in the order in which tasks happen to run.
    fn latency(&mut self) -> u64 {
        match self.rng.below(100) {
            0..60 => 0,
            60..97 => self.rng.range(1_000, 3_000),
            _ => self.rng.range(3_000, 40_000),
        }
    }

    fn is_cut(&self, from: Host, to: Host) -> bool {
        self.links.cut_since(from, to).is_some()
    }

    fn connect(&mut self, from: Host, to: (Host, u16), wire: Wire) -> io::Result<u64> {
        let is_peer = matches!(from, Host::Node(_));
        let to = (self.route(to.0, to.1), to.1);
        if self.is_cut(from, to.0) || self.is_cut(to.0, from) || self.dark.contains(&to.0) {
            self.marks.hit(if is_peer { Own::PeerConnectTimedOut } else { Own::ConnectTimedOut });
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !self.doors.contains_key(&to) {
            self.marks.hit(if is_peer { Own::PeerConnectRefused } else { Own::ConnectRefused });
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let id = self.number();
        let ends = [End { host: from, open: true }, End { host: to.0, open: true }];
        let pipes = [Pipe::new(wire.window_bytes), Pipe::new(wire.window_bytes)];
        self.conns.insert(id, Conn { ends, pipes, segment_bytes: wire.segment_bytes });
        if let Some(door) = self.doors.get_mut(&to) {
            door.waiting.push_back(id);
            door.arrived.notify_one();
        }
        Ok(id)
    }

    fn ends_of(&self, host: Host) -> Vec<(u64, usize)> {
        let open = |(&id, conn): (&u64, &Conn)| {
            let of = |end: usize| (conn.ends[end].open && conn.ends[end].host == host).then_some((id, end));
            [of(0), of(1)]
        };
        self.conns.iter().flat_map(open).flatten().collect()
    }

    /// An end closes: what it wrote still arrives, what it did not read makes the other end's stream break.
    fn close(&mut self, id: u64, end: usize) {
        let (latency, back) = (self.latency(), self.latency());
        let now = now_us();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !std::mem::take(&mut conn.ends[end].open) {
            return;
        }
        conn.pipes[end].finish(now + latency);
        conn.pipes[1 - end].abandon(now + back);
        self.forget_if_over(id);
    }

    fn vanish(&mut self, id: u64, end: usize, now: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.ends[end].open = false;
            conn.pipes[end].lose_after(now);
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: u64) {
        if self.conns.get(&id).is_some_and(|conn| conn.ends.iter().all(|end| !end.open)) {
            self.conns.remove(&id);
        }
    }
}

/// Lets some µs pass, as well as madsim can.
async fn pass(micros: u64) {
    if micros > 0 {
        sleep(Duration::from_micros(micros)).await;
    }
}
