//! The queue of events.

use crate::store::lane;
use bytes::Bytes;
use seedlog_core::ids::{ConnId, NodeId};
use seedlog_core::input::Input;
use std::cmp::Reverse;
use std::collections::BTreeMap;

pub(super) use crate::store::LaneId;

/// Something that will happen. Numbers of nodes and clients are indices; `life` is the process that it is meant for.
#[derive(Debug)]
pub(super) enum What {
    Boot { node: usize, token: u64 },
    LaneDone { node: usize, life: u64, lane: LaneId },
    Submit { node: usize, life: u64 },
    Idle { node: usize, life: u64 },
    SyncTick { node: usize, life: u64 },
    Durable { node: usize, life: u64 },
    Input { node: usize, life: u64, input: Box<Input> },
    Wake { node: usize, life: u64, at_us: u64 },
    Fill { node: usize, life: u64, id: u64 },
    Look { node: usize, life: u64, id: u64 },
    ReadBack { node: usize, life: u64, id: u64 },
    Peer { node: usize, message: Box<PeerPacket> },
    PeerLink { node: usize, life: u64, peer: NodeId, is_up: bool },
    SendFilled { node: usize, life: u64, id: u64 },
    ToNode { node: usize, conn: ConnId, packet: Packet },
    ToClient { client: usize, conn: ConnId, packet: Packet },
    ClientWake { client: usize, at_us: u64 },
    Deadline { client: usize, number: u64 },
    Fault { index: usize },
    Blow { node: usize, index: usize },
    Voters { index: usize, tries: u32 },
    FaultEnds { node: usize, ends: Ends },
    Resume { node: usize },
    LinkFaultEnds { id: u64 },
    LinkLost { id: u64 },
    Return { node: usize },
    Hostile,
    Heal,
    Finish,
}

/// What one node says to another: the header's bytes and the batches behind it.
#[derive(Debug, Clone)]
pub(super) struct PeerPacket {
    pub(super) header: Bytes,
    pub(super) batches: Bytes,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Packet {
    /// To a node: a client wants a connection. To a client: it is there.
    Open { client: usize },
    /// To a client: there will be none.
    Refused,
    /// A frame with its length prefix.
    Frame(Bytes),
    /// The other end is gone.
    Closed,
}

/// A period that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    DiskFull,
    SlowDisk,
}

impl What {
    /// The node that it happens at, and the process that it is meant for if that matters.
    pub(super) fn addressee(&self) -> Option<(usize, Option<u64>)> {
        match self {
            Self::LaneDone { node, life, .. }
            | Self::Submit { node, life }
            | Self::Idle { node, life }
            | Self::SyncTick { node, life }
            | Self::Durable { node, life }
            | Self::Input { node, life, .. }
            | Self::Wake { node, life, .. }
            | Self::Fill { node, life, .. }
            | Self::Look { node, life, .. }
            | Self::ReadBack { node, life, .. }
            | Self::PeerLink { node, life, .. }
            | Self::SendFilled { node, life, .. } => Some((*node, Some(*life))),
            Self::ToNode { node, .. } | Self::Peer { node, .. } => Some((*node, None)),
            Self::Boot { .. }
            | Self::ToClient { .. }
            | Self::ClientWake { .. }
            | Self::Deadline { .. }
            | Self::Fault { .. }
            | Self::Blow { .. }
            | Self::Voters { .. }
            | Self::FaultEnds { .. }
            | Self::Resume { .. }
            | Self::LinkFaultEnds { .. }
            | Self::LinkLost { .. }
            | Self::Return { .. }
            | Self::Hostile
            | Self::Heal
            | Self::Finish => None,
        }
    }
}

/// Events in order of time; those of one time in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: std::collections::BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, What>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at_us: u64, what: What) {
        self.heap.push(Reverse((at_us, self.next)));
        self.events.insert(self.next, what);
        self.next += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, What)> {
        let Reverse((at_us, number)) = self.heap.pop()?;
        Some((at_us, self.events.remove(&number).expect("every number in the heap has its event")))
    }
}

/// How fast a disk is, as lanes take it.
pub(super) fn pace(factor: u64) -> lane::Pace {
    lane::Pace { factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let mut queue = Queue::default();
        for (at_us, index) in [(5, 0), (1, 1), (5, 2), (1, 3)] {
            queue.push(at_us, What::Fault { index });
        }
        let order: Vec<String> =
            std::iter::from_fn(|| queue.pop()).map(|event| format!("{event:?}")).collect();
        assert_eq!(
            order,
            [
                "(1, Fault { index: 1 })",
                "(1, Fault { index: 3 })",
                "(5, Fault { index: 0 })",
                "(5, Fault { index: 2 })"
            ]
        );
    }
}
