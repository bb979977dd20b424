//! A connection: two ends and a pipe from each to the other. End 0 dialled, end 1 accepted; pipe 0 is written by end 0.

use super::pipe::{Found, Pass, Pipe, Taken};
use super::{Host, State, now_us};
use crate::marks::Own;
use bytes::Bytes;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
    pub(super) segment_bytes: usize,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: Host,
    /// A process has it. While one end does not, the other may not have heard of that.
    pub(super) open: bool,
}

impl Conn {
    pub(super) fn has(&self, host: Host) -> bool {
        self.ends.iter().any(|end| end.host == host)
    }

    /// A machine that does not know the connection answers what was sent to it.
    pub(super) fn answer_from_nobody(&mut self, host: Host, at: u64) {
        for end in 0..2 {
            if self.ends[end].host == host && !self.ends[end].open && self.pipes[1 - end].holds_unread() {
                self.pipes[1 - end].abandon(at);
                self.pipes[end].reset(at);
            }
        }
    }
}

impl State {
    fn way(&self, id: u64, writer: usize) -> Option<(Pass, Pass)> {
        let conn = self.conns.get(&id)?;
        let (from, to) = (conn.ends[writer].host, conn.ends[1 - writer].host);
        let now = now_us();
        let pass = |from, to| Pass { now, cut_since: self.links.cut_since(from, to) };
        Some((pass(from, to), pass(to, from)))
    }

    /// An end writes.
    pub(super) fn write(&mut self, id: u64, end: usize, pieces: &[Bytes]) -> Taken {
        let (latency, answer) = (self.latency(), self.latency());
        let Some((_, back)) = self.way(id, end) else { return Taken::Broken };
        let Some(conn) = self.conns.get(&id) else { return Taken::Broken };
        let (from, to) = (conn.ends[end].host, conn.ends[1 - end].host);
        let (late, breaks) = self.noise_on(from, to);
        let share = if breaks { Some(self.rng.range(1, 999)) } else { None };
        let latency = latency + late;
        let is_between_nodes = matches!((from, to), (Host::Node(_), Host::Node(_)));
        let now = now_us();
        let Some(conn) = self.conns.get_mut(&id) else { return Taken::Broken };
        let segment = conn.segment_bytes.max(1);
        if let Some(share) = share {
            conn.pipes[end].arm(share);
        }
        let (taken, was_cut) = conn.pipes[end].take(pieces, now + latency, segment, back);
        if was_cut {
            conn.pipes[1 - end].reset(now);
            conn.pipes[1 - end].abandon(now + latency);
            self.marks.hit(if is_between_nodes { Own::PeerResetMidFrame } else { Own::ResetMidFrame });
            return taken;
        }
        let peer = &conn.ends[1 - end];
        if !peer.open && self.dark.contains(&peer.host) {
            self.marks.hit(Own::DeadPeerWritten);
        } else if !peer.open {
            conn.answer_from_nobody(peer.host, now + latency + answer);
        }
        match taken {
            Taken::Nothing(_) if is_between_nodes => self.marks.hit(Own::PeerWriterWaited),
            Taken::Nothing(_) => self.marks.hit(Own::WriterWaited),
            Taken::Bytes(_) | Taken::Broken => {}
        }
        taken
    }

    /// An end reads.
    pub(super) fn read(&mut self, id: u64, end: usize, bytes_max: usize) -> Found {
        let Some((forth, back)) = self.way(id, 1 - end) else { return Found::Reset };
        match self.conns.get_mut(&id) {
            Some(conn) => conn.pipes[1 - end].read(bytes_max, forth, back.cut_since.is_none()),
            None => Found::Reset,
        }
    }

    /// An end will not write any more.
    pub(super) fn finish(&mut self, id: u64, end: usize) {
        let latency = self.latency();
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.pipes[end].finish(now_us() + latency);
        }
    }
}
