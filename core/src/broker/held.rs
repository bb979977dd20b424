//! What the broker holds for its clients, in numbers: all of it has a limit, and none of it outlives who asked for it
//! (INVARIANTS S27).

use super::Broker;

/// What a broker holds for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Connections.
    pub connections: usize,
    /// Requests of these connections that are not answered.
    pub waiting: usize,
    /// Walks through the sizes of logs that are under way.
    pub looks: usize,
    /// Fetch sessions.
    pub fetch_sessions: usize,
    /// Partitions of all fetch sessions.
    pub fetch_session_partitions: usize,
}

impl Broker {
    /// What is held for clients. O(what it is).
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            connections: self.conns.len(),
            waiting: self.parts_waits.len()
                + self.offsets_waits.len()
                + self.log_dirs.waiting()
                + self.forwards.len()
                + self.producer_ids.waiting.len()
                + self.coordinators.parked()
                + self.sessions.waiting(),
            looks: self.log_dirs.looks(),
            fetch_sessions: self.sessions.len(),
            fetch_session_partitions: self.sessions.parts(),
        }
    }
}
