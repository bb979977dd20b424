//! The plan's faults, when their time has come.

use super::World;
use super::node::{Node, State};
use super::queue::{Ends, What};
use crate::disk::Inode;
use crate::judges::oracle::Flip;
use crate::marks::Mark;
use crate::plan::FaultKind;
use crate::rng::{Purpose, Stream};
use crate::store::GroupAt;
use crate::trace::Kind;
use seedlog_core::ids::Lsn;
use seedlog_core::input::Input;
use seedlog_core::journal::format::PREFIX_BYTES;

/// A place whose bits may flip, and what is lost with it.
struct Target {
    inode: Inode,
    at: u64,
    flip: Flip,
}

impl World {
    pub(super) fn on_fault(&mut self, index: usize) {
        if self.phase != super::Phase::Stormy {
            return;
        }
        let fault = self.plan.faults[index].clone();
        let at = fault.node as usize;
        let is_dead = at >= self.nodes.len() || matches!(self.nodes[at].state, State::Dead);
        if is_dead && !matches!(fault.kind, FaultKind::Wipe { .. }) {
            return;
        }
        self.inflict(at, index, fault.kind);
    }

    /// Somebody leads the quorum who did not before: the next blow of the plan is for it.
    pub(super) fn on_quorum_led(&mut self, at: usize) {
        let index = self.elections;
        self.elections += 1;
        if let Some(after_us) = self.plan.blows.get(index).and_then(|blow| blow.after_us) {
            self.queue.push(self.now_us + after_us, What::Blow { node: at, index });
        }
    }

    pub(super) fn on_blow(&mut self, at: usize, index: usize) {
        if self.phase == super::Phase::Stormy && !matches!(self.nodes[at].state, State::Dead) {
            self.inflict(at, index, self.plan.blows[index].kind.clone());
        }
    }

    fn inflict(&mut self, at: usize, index: usize, kind: FaultKind) {
        self.note_at(at, Kind::Fault, [index as u64, kind.number(), 0]);
        let now_us = self.now_us;
        let node = &mut self.nodes[at];
        match kind {
            FaultKind::Kill { down_us, mid_step } => self.strike(at, false, down_us, mid_step),
            FaultKind::PowerCut { down_us, mid_step } => self.strike(at, true, down_us, mid_step),
            FaultKind::SyncError => node.sync_fails = true,
            FaultKind::DiskFull { for_us } => {
                node.disk_full = true;
                self.input_late(at, 0, Input::Space { free_bytes: 0 });
                self.queue.push(now_us + for_us, What::FaultEnds { node: at, ends: Ends::DiskFull });
            }
            FaultKind::SlowDisk { for_us, factor } => {
                node.slow_factor = factor;
                self.queue.push(now_us + for_us, What::FaultEnds { node: at, ends: Ends::SlowDisk });
            }
            FaultKind::BitFlip { choice, cached } => self.flip(at, index, choice, cached),
            FaultKind::ClockJump { by_ms } => {
                node.wall_jump_ms += by_ms;
                self.mark(Mark::ClockJumped);
            }
            FaultKind::Stop { down_us } => {
                node.stopped_us = down_us;
                self.step(at, Input::Stop);
            }
            FaultKind::Pause { for_us } => {
                node.paused_until = node.paused_until.max(now_us + for_us);
                self.queue.push(node.paused_until, What::Resume { node: at });
                self.mark(Mark::NodePaused);
            }
            FaultKind::Wipe { down_us, returns_us } => self.wipe(at, down_us, returns_us),
            kind @ (FaultKind::Cut { .. } | FaultKind::Noise { .. }) => self.begin_link_fault(kind),
            FaultKind::Tell { peer, is_up } => {
                self.tell_link(u32::try_from(at).unwrap_or(u32::MAX), peer, is_up, 0);
            }
        }
    }

    /// The folder is gone, or set aside, and the machine starts with an empty one.
    pub(super) fn wipe(&mut self, at: usize, down_us: u64, returns_us: Option<u64>) {
        self.crash(at, true, down_us);
        self.on_loss(at);
        self.folders += 1;
        let (folder, index) = (self.folders, self.nodes.len() as u64);
        let numbers = self.nodes[at].numbers.clone();
        let node_id = self.nodes[at].node_id;
        let fresh = Node::new(self.plan.seed, (index, folder), node_id, &numbers, &self.plan.cluster);
        let node = &mut self.nodes[at];
        let old_disk = std::mem::take(&mut node.disk);
        let old_oracle = std::mem::take(&mut node.oracle);
        let old_incarnation = std::mem::replace(&mut node.incarnation, fresh.incarnation);
        node.is_suspect = false;
        self.mark(Mark::Wiped);
        if let Some(returns_us) = returns_us {
            let mut set_aside = fresh;
            set_aside.disk = old_disk;
            set_aside.oracle = old_oracle;
            set_aside.incarnation = old_incarnation;
            // Its power was cut: with flush=interval it may lack what it acknowledged.
            set_aside.is_suspect = !set_aside.flushes_always();
            self.nodes.push(set_aside);
            let twin = self.nodes.len() - 1;
            self.queue.push(self.now_us + returns_us, What::Return { node: twin });
        }
        if matches!(self.nodes[at].state, State::Dead) {
            self.nodes[at].state = State::Down;
            self.schedule_boot(at, down_us);
        }
    }

    /// The folder that was set aside is started again, under the id that another folder has by now.
    pub(super) fn on_return(&mut self, at: usize) {
        if self.phase == super::Phase::Stormy {
            self.mark(Mark::FolderReturned);
            self.schedule_boot(at, 0);
        }
    }

    fn strike(&mut self, at: usize, power: bool, down_us: u64, mid_step: bool) {
        if mid_step && matches!(self.nodes[at].state, State::Up(_)) {
            self.nodes[at].cut = Some((power, down_us));
        } else {
            self.crash(at, power, down_us);
        }
    }

    /// A pause has ended, unless another one goes on.
    pub(super) fn on_resume(&mut self, at: usize) {
        if self.now_us >= self.nodes[at].paused_until {
            self.resume(at);
        }
    }

    /// The process goes on with what came while it stood still, in the order in which it came.
    pub(super) fn resume(&mut self, at: usize) {
        let was_paused = std::mem::take(&mut self.nodes[at].paused_until) > 0;
        if let State::Up(process) = &self.nodes[at].state
            && was_paused
            && process.broker.replicas().values().any(|replica| replica.leader().is_some())
        {
            self.mark(Mark::PausedLeader);
        }
        for what in std::mem::take(&mut self.nodes[at].deferred) {
            self.dispatch(what);
        }
    }

    pub(super) fn on_fault_ends(&mut self, at: usize, ends: Ends) {
        match ends {
            Ends::DiskFull => {
                self.nodes[at].disk_full = false;
                self.input_late(at, 0, Input::Space { free_bytes: 1 << 30 });
            }
            Ends::SlowDisk => self.nodes[at].slow_factor = 1,
        }
    }

    /// Flips one bit in what is durable and vouched for; later, if there is no such thing yet.
    fn flip(&mut self, at: usize, index: usize, choice: u64, cached: bool) {
        let mut rng = Stream::new(choice, Purpose::Disk, at as u64);
        let is_alone = self.plan.nodes.len() == 1;
        let node = &mut self.nodes[at];
        let Some(target) = choose(node, is_alone, &mut rng) else {
            self.queue.push(self.now_us + 250_000, What::Fault { index });
            return;
        };
        let bit = u8::try_from(rng.below(8)).unwrap_or(0);
        node.disk.flip(target.inode, target.at, bit, cached);
        node.oracle.flips.push(target.flip);
        self.on_loss(at);
        self.note_at(at, Kind::Flip, [target.flip.first.0, target.at, u64::from(cached)]);
    }
}

fn choose(node: &Node, is_alone: bool, rng: &mut Stream) -> Option<Target> {
    let State::Up(process) = &node.state else { return None };
    if rng.chance(300) {
        let all: Vec<_> = process.store.in_segments().map(|(_, batch)| *batch).collect();
        if !all.is_empty() {
            let batch = all[rng.index(all.len())];
            let at = batch.place.at + rng.below(u64::from(batch.bytes));
            let flip = Flip { first: batch.lsn, last: batch.lsn, whole_group: false };
            return Some(Target { inode: batch.place.inode, at, flip });
        }
    }
    // Elsewhere a voter that lost what the quorum rests on has others to replace it.
    let is_only_copy = is_alone;
    let vouched = process.store.vouched();
    let groups: Vec<(Inode, GroupAt)> = process
        .store
        .groups()
        .filter(|(_, group)| group.first <= group.last && group.last <= vouched)
        .map(|(inode, group)| (inode, *group))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let (inode, group) = groups[rng.index(groups.len())];
    let inside = rng.below(group.table_at + group.table_bytes);
    let flip = if (PREFIX_BYTES as u64..group.table_at).contains(&inside) {
        let lsn = entry_at(node, &group, inside)?;
        Flip { first: lsn, last: lsn, whole_group: false }
    } else {
        let is_of_quorum = |lsn| node.oracle.ghost(Lsn(lsn)).is_none_or(|ghost| ghost.entry.is_of_quorum());
        if is_only_copy && (group.first.0..=group.last.0).any(is_of_quorum) {
            return None;
        }
        Flip { first: group.first, last: group.last, whole_group: true }
    };
    Some(Target { inode, at: group.at + inside, flip })
}

/// The entry whose record bytes stand at a place in a group.
fn entry_at(node: &Node, group: &GroupAt, inside: u64) -> Option<Lsn> {
    let mut end = PREFIX_BYTES as u64;
    for lsn in group.first.0..=group.last.0 {
        end += u64::from(node.oracle.ghost(Lsn(lsn))?.entry.payload_bytes());
        if inside < end {
            return Some(Lsn(lsn));
        }
    }
    None
}
