//! What nodes say to each other: two streams from each node to each other one, with delays, and with the faults of links that
//! are active. Every message goes through its bytes, every batch through the door for peers. Nothing in the core may rest on
//! order, delivery or news of a link (SAFETY R9): what was on its way to a process that died may reach the next one.

use super::World;
use super::node::State;
use super::queue::{PeerPacket, What};
use crate::judges::Judge;
use crate::marks::Mark;
use crate::plan::FaultKind;
use crate::store::stamped;
use crate::trace::Kind;
use bytes::Bytes;
use seedlog_core::ids::NodeId;
use seedlog_core::input::Input;
use seedlog_core::output::PeerBatches;
use seedlog_core::peer::{HEADER_BYTES_MAX, PeerMessage, admit_batches};
use std::collections::BTreeMap;

/// The state of all links.
#[derive(Debug, Default)]
pub(super) struct Links {
    active: Vec<Active>,
    next_id: u64,
    /// When the last message of a stream arrives: those behind it do not overtake it, unless a fault lets them.
    last_us: BTreeMap<(usize, NodeId, bool), u64>,
}

/// A fault that goes on.
#[derive(Debug)]
struct Active {
    id: u64,
    until_us: u64,
    kind: FaultKind,
}

/// What becomes of a message.
#[derive(Debug, Default)]
struct Fate {
    is_lost: bool,
    is_doubled: bool,
    late_us: u64,
}

impl World {
    /// The machine that answers to a broker's name. Where two folders bear it, it is now the one and now the other.
    pub(super) fn machine_of(&self, broker: u32) -> usize {
        let first = broker as usize;
        if self.nodes.len() == self.plan.nodes.len() {
            return first;
        }
        let node_id = self.nodes[first].node_id;
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|&at| self.nodes[at].node_id == node_id && matches!(self.nodes[at].state, State::Up(_)))
            .collect();
        let turn = usize::try_from(self.now_us / 1_300_000).unwrap_or(0);
        if up.is_empty() { first } else { up[turn % up.len()] }
    }

    /// A broker's index in the plan.
    pub(super) fn broker_of(node_id: NodeId) -> u32 {
        u32::try_from(node_id.0 - 1).unwrap_or(0)
    }

    pub(super) fn on_send(&mut self, at: usize, to: NodeId, message: Box<PeerMessage>, batches: PeerBatches) {
        self.judge_message(at, to, &message);
        match batches {
            PeerBatches::None => self.transmit(at, to, &message, Vec::new()),
            PeerBatches::Fresh(header, bytes) => {
                let bytes = stamped(&header, &bytes);
                self.transmit(at, to, &message, vec![bytes]);
            }
            PeerBatches::Extent(extent) => {
                let node = &mut self.nodes[at];
                let (life, late) = (node.life, node.fill_late());
                let Some(process) = node.process() else { return };
                let pending = process.store.take_extent(&extent);
                let id = process.next_id();
                process.sends.insert(id, (to, message, pending));
                if late == 0 {
                    self.on_send_filled(at, id);
                } else {
                    self.queue.push(self.now_us + late, What::SendFilled { node: at, life, id });
                }
            }
        }
    }

    pub(super) fn on_send_filled(&mut self, at: usize, id: u64) {
        let node = &mut self.nodes[at];
        let State::Up(process) = &mut node.state else { return };
        let Some((to, message, pending)) = process.sends.remove(&id) else { return };
        let (batches, damaged) = process.store.fill_extent(pending, &node.disk);
        if let Some((partition, from)) = damaged {
            self.input_late(at, 0, Input::Damaged { partition, from });
        }
        // What cannot be read is not sent (SAFETY R8).
        if !batches.is_empty() {
            self.transmit(at, to, &message, batches);
        }
    }

    fn transmit(&mut self, at: usize, to: NodeId, message: &PeerMessage, batches: Vec<Bytes>) {
        let header = message.encode();
        if header.len() > HEADER_BYTES_MAX {
            self.hear(Judge::S33, at, Err(format!("a message's header has {} bytes", header.len())));
        }
        for batch in &batches {
            self.judge_sent_batch(at, message, batch);
        }
        let batches = match batches.len() {
            0 => Bytes::new(),
            1 => batches.into_iter().next().unwrap_or_default(),
            _ => Bytes::from(batches.concat()),
        };
        let from = Self::broker_of(self.nodes[at].node_id);
        let fate = self.fate_of(from, Self::broker_of(to));
        self.note_at(
            at,
            Kind::Send,
            [u64::from(Self::broker_of(to)), header.len() as u64, batches.len() as u64],
        );
        if fate.is_lost {
            self.mark(Mark::MessageLost);
            return;
        }
        let packet = Box::new(PeerPacket { header: Bytes::from(header), batches });
        let is_bulk = message.is_bulk();
        if fate.is_doubled {
            self.mark(Mark::MessageDoubled);
            let arrives = self.now_us + self.latency() + self.net.below(50_000);
            let node = self.machine_of(Self::broker_of(to));
            self.queue.push(arrives, What::Peer { node, message: packet.clone() });
        }
        let mut arrives = self.now_us + self.latency() + fate.late_us;
        if fate.late_us == 0 {
            let last = self.links.last_us.entry((at, to, is_bulk)).or_default();
            arrives = arrives.max(*last);
            *last = arrives;
        } else {
            self.mark(Mark::MessageLate);
        }
        let node = self.machine_of(Self::broker_of(to));
        self.queue.push(arrives, What::Peer { node, message: packet });
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    fn fate_of(&mut self, from: u32, to: u32) -> Fate {
        let mut fate = Fate::default();
        for active in &self.links.active {
            match &active.kind {
                FaultKind::Cut { pairs, keeps, .. } if pairs.contains(&[from, to]) => {
                    if *keeps {
                        fate.late_us = fate.late_us.max(active.until_us.saturating_sub(self.now_us) + 1);
                    } else {
                        fate.is_lost = true;
                    }
                }
                FaultKind::Noise {
                    pairs,
                    lost_per_mille,
                    doubled_per_mille,
                    late_per_mille,
                    late_us,
                    ..
                } if pairs.contains(&[from, to]) => {
                    fate.is_lost |= self.net.chance(*lost_per_mille);
                    fate.is_doubled |= self.net.chance(*doubled_per_mille);
                    if self.net.chance(*late_per_mille) {
                        fate.late_us += 1 + self.net.below(*late_us);
                    }
                }
                _ => {}
            }
        }
        fate
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    fn is_cut(&self, from: u32, to: u32) -> bool {
        self.links.active.iter().any(|active| match &active.kind {
            FaultKind::Cut { pairs, .. } => pairs.contains(&[from, to]),
            _ => false,
        })
    }

    pub(super) fn on_peer_packet(&mut self, at: usize, packet: &PeerPacket) {
        if !matches!(self.nodes[at].state, State::Up(_)) {
            return;
        }
        let message = match PeerMessage::decode(&packet.header) {
            Ok(message) => message,
            Err(error) => {
                self.hear(Judge::S33, at, Err(format!("a peer's message cannot be read: {error}")));
                return;
            }
        };
        if let State::Up(process) = &self.nodes[at].state
            && message.to_run.is_some_and(|run| run != process.broker.run())
        {
            self.mark(Mark::StaleDropped);
        }
        match admit_batches(&packet.batches) {
            Ok(batches) => self.step(at, Input::Peer { message: Box::new(message), batches }),
            Err(error) => self.hear(Judge::S24, at, Err(format!("a peer's batches are refused: {error}"))),
        }
    }

    /// A fault of links begins.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    pub(super) fn begin_link_fault(&mut self, kind: FaultKind) {
        let (for_us, told_us) = match &kind {
            FaultKind::Cut { for_us, told_us, .. } => (*for_us, *told_us),
            FaultKind::Noise { for_us, .. } => (*for_us, None),
            _ => return,
        };
        self.links.next_id += 1;
        let id = self.links.next_id;
        let until_us = self.now_us + for_us;
        self.links.active.push(Active { id, until_us, kind });
        self.queue.push(until_us, What::LinkFaultEnds { id });
        if let Some(told_us) = told_us {
            self.queue.push(self.now_us + told_us, What::LinkLost { id });
        }
    }

    fn pairs_of(&self, id: u64) -> Vec<[u32; 2]> {
        let active = self.links.active.iter().find(|active| active.id == id);
        match active.map(|active| &active.kind) {
            Some(FaultKind::Cut { pairs, .. }) => pairs.clone(),
            Some(_) | None => Vec::new(),
        }
    }

    pub(super) fn on_link_lost(&mut self, id: u64) {
        for [from, to] in self.pairs_of(id) {
            self.tell_link(from, to, false, 0);
            self.tell_link(to, from, false, 0);
        }
    }

    pub(super) fn on_link_fault_ends(&mut self, id: u64) {
        let pairs = self.pairs_of(id);
        self.links.active.retain(|active| active.id != id);
        for [from, to] in pairs {
            if !self.is_cut(from, to) && !self.is_cut(to, from) {
                self.tell_link_up(from, to);
            }
        }
    }

    /// All faults of links end.
    pub(super) fn heal_links(&mut self) {
        let ids: Vec<u64> = self.links.active.iter().map(|active| active.id).collect();
        for id in ids {
            self.on_link_fault_ends(id);
        }
    }

    /// Both ends hear, sooner or later or never, that their streams are there.
    pub(super) fn tell_link_up(&mut self, one: u32, other: u32) {
        for (of, peer) in [(one, other), (other, one)] {
            match self.net.below(10) {
                0 => {}
                1 => {
                    let late = self.net.below(3_000_000);
                    self.tell_link(of, peer, true, late);
                }
                _ => {
                    let late = self.net.below(20_000);
                    self.tell_link(of, peer, true, late);
                }
            }
        }
    }

    /// Others hear, sooner or later or never, that a node's streams are gone.
    pub(super) fn tell_links_lost(&mut self, broker: u32, power: bool) {
        for other in 0..u32::try_from(self.plan.nodes.len()).unwrap_or(0) {
            let (per_mille, most) = if power { (250, 3_000_000) } else { (850, 30_000) };
            if other != broker && !self.is_cut(broker, other) && self.net.chance(per_mille) {
                let late = self.net.below(most);
                self.tell_link(other, broker, false, late);
            }
        }
    }

    /// A node hears something of its streams to another one.
    pub(super) fn tell_link(&mut self, broker: u32, peer: u32, is_up: bool, late_us: u64) {
        let at = self.machine_of(broker);
        let life = self.nodes[at].life;
        let peer = self.nodes[peer as usize].node_id;
        self.queue.push(self.now_us + late_us, What::PeerLink { node: at, life, peer, is_up });
    }

    pub(super) fn on_peer_link(&mut self, at: usize, peer: NodeId, is_up: bool) {
        let input = if is_up { Input::PeerUp { node: peer } } else { Input::PeerLost { node: peer } };
        self.step(at, input);
    }
}
