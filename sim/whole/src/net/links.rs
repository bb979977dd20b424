//! What happens to the links between hosts: cuts, noise, and which machine answers to an address.

use super::{Host, Net, State, now_us};
use crate::marks::Own;
use std::collections::BTreeMap;

/// Bytes that were lost come again after so long, in µs.
const LOST_US: (u64, u64) = (200_000, 1_000_000);
/// So many in 1,000 losses are more than the connection stands.
const LOST_FOR_GOOD_PER_MILLE: u64 = 100;
/// Where two machines have one address, it is now the one that answers and now the other.
const TURN_US: u64 = 1_300_000;

/// The links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Cut links by direction: since when, and by how many faults.
    cuts: BTreeMap<(Host, Host), (u64, u32)>,
    noises: BTreeMap<u64, Noise>,
    next_noise: u64,
    /// Machines that answer to the address of another one.
    aliases: BTreeMap<Host, Host>,
}

/// Links that are late and lose something.
#[derive(Debug, Clone)]
pub struct Noise {
    /// From and to.
    pub pairs: Vec<(Host, Host)>,
    /// So many in 1,000 writes lose something, which comes again later or breaks the connection.
    pub lost_per_mille: u64,
    /// So many in 1,000 writes are late.
    pub late_per_mille: u64,
    /// By this at most.
    pub late_us: u64,
}

impl Links {
    /// The host whose address a machine has.
    pub(super) fn address_of(&self, host: Host) -> Host {
        self.aliases.get(&host).copied().unwrap_or(host)
    }

    pub(super) fn cut_since(&self, from: Host, to: Host) -> Option<u64> {
        let link = (self.address_of(from), self.address_of(to));
        self.cuts.get(&link).map(|(since, _)| *since)
    }
}

impl Net {
    /// Cuts a link in one direction. Cut twice it has to heal twice.
    pub fn cut(&self, from: Host, to: Host) {
        self.lock().links.cuts.entry((from, to)).or_insert_with(|| (now_us(), 0)).1 += 1;
    }

    /// Heals a link in one direction, from one cut.
    pub fn heal(&self, from: Host, to: Host) {
        let mut state = self.lock();
        let Some((_, faults)) = state.links.cuts.get_mut(&(from, to)) else { return };
        *faults -= 1;
        if *faults == 0 {
            state.heal(from, to);
        }
    }

    /// Every link is as good as new.
    pub fn heal_all(&self) {
        let mut state = self.lock();
        state.links.noises.clear();
        let cut: Vec<(Host, Host)> = state.links.cuts.keys().copied().collect();
        for (from, to) in cut {
            state.heal(from, to);
        }
    }

    /// Some links are late and lose something, until [`Net::hush`].
    pub fn begin_noise(&self, noise: Noise) -> u64 {
        let mut state = self.lock();
        state.links.next_noise += 1;
        let id = state.links.next_noise;
        state.links.noises.insert(id, noise);
        id
    }

    /// A noise ends.
    pub fn hush(&self, noise: u64) {
        self.lock().links.noises.remove(&noise);
    }

    /// Connections between two hosts break, and both ends hear of it, whatever is cut.
    pub fn break_between(&self, one: Host, other: Host) {
        let mut state = self.lock();
        let State { conns, links, .. } = &mut *state;
        let mut broke = false;
        for conn in conns.values_mut() {
            let ends = [0, 1].map(|end: usize| links.address_of(conn.ends[end].host));
            if ends == [one, other] || ends == [other, one] {
                conn.pipes.iter_mut().for_each(super::pipe::Pipe::snap);
                broke = true;
            }
        }
        if broke {
            state.marks.hit(Own::LinkBroken);
        }
    }

    /// The next write of connections between two hosts is cut in its middle, in either direction, and they are reset.
    pub fn arm_reset_between(&self, one: Host, other: Host) {
        let mut state = self.lock();
        let State { conns, links, rng, .. } = &mut *state;
        for conn in conns.values_mut() {
            let ends = [0, 1].map(|end: usize| links.address_of(conn.ends[end].host));
            if ends == [one, other] || ends == [other, one] {
                let (direction, share) = (rng.index(2), rng.range(1, 999));
                conn.pipes[direction].arm(share);
            }
        }
    }

    /// A machine answers to the address of another one from here on.
    pub fn alias(&self, machine: Host, address: Host) {
        self.lock().links.aliases.insert(machine, address);
    }
}

impl State {
    /// How much later than usual a write on a link arrives, and whether it breaks the connection.
    pub(super) fn noise_on(&mut self, from: Host, to: Host) -> (u64, bool) {
        let link = (self.links.address_of(from), self.links.address_of(to));
        let (mut late_us, mut breaks) = (0, false);
        for noise in self.links.noises.values().filter(|noise| noise.pairs.contains(&link)) {
            if self.rng.chance(noise.late_per_mille) {
                late_us += self.rng.below(noise.late_us.max(1));
            }
            if self.rng.chance(noise.lost_per_mille) {
                late_us += self.rng.range(LOST_US.0, LOST_US.1);
                breaks |= self.rng.chance(LOST_FOR_GOOD_PER_MILLE);
            }
        }
        (late_us, breaks)
    }

    /// The machine that answers to an address on a port.
    pub(super) fn route(&self, address: Host, port: u16) -> Host {
        let others = self.links.aliases.iter().filter(|(_, of)| **of == address).map(|(&machine, _)| machine);
        let all = std::iter::once(address).chain(others);
        let open: Vec<Host> = all.filter(|&machine| self.doors.contains_key(&(machine, port))).collect();
        let turn = usize::try_from(now_us() / TURN_US).unwrap_or(0);
        if open.is_empty() { address } else { open[turn % open.len()] }
    }

    fn heal(&mut self, from: Host, to: Host) {
        let Some((since, _)) = self.links.cuts.remove(&(from, to)) else { return };
        let now = now_us();
        let delay = self.rng.range(1_000, 200_000);
        let Self { conns, links, .. } = self;
        let mut held = false;
        for conn in conns.values_mut() {
            let ends = [0, 1].map(|end: usize| links.address_of(conn.ends[end].host));
            for end in 0..2 {
                if ends[end] == from && ends[1 - end] == to {
                    held |= conn.pipes[end].heal_forth(since, now + delay);
                    conn.pipes[1 - end].heal_back(since, now + delay);
                }
            }
        }
        if held {
            let is_between_nodes = matches!((from, to), (Host::Node(_), Host::Node(_)));
            self.marks.hit(if is_between_nodes { Own::PeerBytesHeld } else { Own::CutHeldBytes });
        }
    }
}
