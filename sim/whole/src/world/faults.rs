//! The plan's faults, when their time has come: those of machines and disks, and those of connections.

use super::machine::{Blow, Machine, State};
use super::{Command, Phase, Shared, World, host_of, madsim};
use crate::disk::GroupSeen;
use crate::net::{Host, Noise, now_us};
use crate::plan::{NetFault, NetFaultKind};
use seedlog_core::ids::{Lsn, PartitionIndex, TopicPartition, Uuid};
use seedlog_core::journal::format::PREFIX_BYTES;
use seedlog_core::records::Batches;
use seedlog_sim::disk::{Inode, folder_of};
use seedlog_sim::hash::hash64;
use seedlog_sim::judges::oracle::Flip;
use seedlog_sim::marks::Mark;
use seedlog_sim::plan::FaultKind;
use seedlog_sim::rng::{Purpose, Stream};
use seedlog_sim::trace::Kind;
use std::time::Duration;
use tokio::time::sleep;

/// A fault that finds nothing to take away comes again after so long.
const FLIP_AGAIN_US: u64 = 250_000;

/// Carries out the plan's faults in order, then heals everything.
pub(super) async fn carry_out(shared: Shared) {
    let (mut faults, heal_us) = {
        let world = shared.lock();
        let of_machines =
            world.plan.base.faults.iter().enumerate().map(|(index, fault)| (fault.at_us, index, true));
        let of_net =
            world.plan.net_faults.iter().enumerate().map(|(index, fault)| (fault.at_us, index, false));
        (of_machines.chain(of_net).collect::<Vec<_>>(), world.plan.base.duration_ms * 1_000)
    };
    faults.sort_unstable();
    for (at_us, index, of_machine) in faults.into_iter().filter(|(at_us, ..)| *at_us < heal_us) {
        sleep(Duration::from_micros(at_us.saturating_sub(now_us()))).await;
        if of_machine {
            shared.on_fault(index);
        } else {
            shared.on_net_fault(index);
        }
    }
    sleep(Duration::from_micros(heal_us.saturating_sub(now_us()))).await;
    shared.heal();
}

/// Does something later, if faults still go on then.
fn later(shared: &Shared, micros: u64, act: impl FnOnce(&Shared) + Send + 'static) {
    let shared = shared.clone();
    drop(tokio::spawn(async move {
        sleep(Duration::from_micros(micros)).await;
        if shared.lock().phase == Phase::Stormy {
            act(&shared);
        }
    }));
}

impl Shared {
    fn on_fault(&self, index: usize) {
        let fault = {
            let world = self.lock();
            let fault = world.plan.base.faults[index].clone();
            let at = fault.node as usize;
            // A cluster whose founder loses its folder before the first term never begins, and nothing is lost with it.
            let takes_folder = matches!(fault.kind, FaultKind::Wipe { .. } | FaultKind::BitFlip { .. });
            if takes_folder && world.plan.nodes() > 1 && world.truth.entries.is_empty() {
                drop(world);
                later(self, FLIP_AGAIN_US, move |shared| shared.on_fault(index));
                return;
            }
            let is_dead = world.machines.get(at).is_none_or(|machine| machine.state == State::Dead);
            if is_dead && !matches!(fault.kind, FaultKind::Wipe { .. }) {
                return;
            }
            fault
        };
        self.inflict(fault.node as usize, index, fault.kind);
    }

    /// The plan's blow for whoever was elected strikes after a while.
    pub(super) fn on_blow(&self, at: usize, index: usize, after_us: u64) {
        later(self, after_us, move |shared| {
            let kind = shared.lock().plan.base.blows[index].kind.clone();
            if shared.lock().machines[at].state != State::Dead {
                shared.inflict(at, index, kind);
            }
        });
    }

    fn inflict(&self, at: usize, index: usize, kind: FaultKind) {
        self.lock().note_at(at, Kind::Fault, [index as u64, kind.number(), 0]);
        match kind {
            FaultKind::Kill { down_us, mid_step } => self.blow(at, false, down_us, mid_step),
            FaultKind::PowerCut { down_us, mid_step } => self.blow(at, true, down_us, mid_step),
            FaultKind::SyncError => self.lock().machines[at].lanes.sync_fails = true,
            FaultKind::DiskFull { for_us } => {
                self.lock().machines[at].files.full = true;
                later(self, for_us, move |shared| shared.lock().machines[at].files.full = false);
            }
            FaultKind::SlowDisk { for_us, factor } => {
                self.lock().machines[at].lanes.slow_factor = (factor / 5).max(1);
                later(self, for_us, move |shared| shared.lock().machines[at].lanes.slow_factor = 1);
            }
            FaultKind::BitFlip { choice, cached } => {
                if !self.lock().flip(at, choice, cached) {
                    later(self, FLIP_AGAIN_US, move |shared| shared.on_fault(index));
                }
            }
            FaultKind::ClockJump { by_ms } => {
                let mut world = self.lock();
                world.machines[at].wall_jump_ms += by_ms;
                world.mark(Mark::ClockJumped);
            }
            FaultKind::Stop { down_us } => {
                let stopper = {
                    let mut world = self.lock();
                    world.machines[at].stopped_us = down_us;
                    world.machines[at].stopper.clone()
                };
                if let Some(stopper) = stopper {
                    stopper.stop();
                }
            }
            FaultKind::Pause { for_us } => self.pause(at, for_us),
            FaultKind::Cut { pairs, for_us, told_us, keeps } => self.cut(&pairs, for_us, told_us, keeps),
            FaultKind::Noise { pairs, for_us, lost_per_mille, late_per_mille, late_us, .. } => {
                let pairs = pairs.iter().map(|&[from, to]| (Host::Node(from), Host::Node(to))).collect();
                let noise = Noise { pairs, lost_per_mille, late_per_mille, late_us };
                let noise = self.net().begin_noise(noise);
                later(self, for_us, move |shared| shared.net().hush(noise));
            }
            // What a node hears of its streams is the streams' own word: they break in the middle of whatever is next.
            FaultKind::Tell { peer, .. } => {
                self.net().arm_reset_between(host_of(at), Host::Node(peer));
            }
            FaultKind::Wipe { down_us, returns_us } => self.wipe(at, down_us, returns_us),
        }
    }

    /// Links carry nothing. What was written meanwhile arrives when they heal, or they have broken by then.
    fn cut(&self, pairs: &[[u32; 2]], for_us: u64, told_us: Option<u64>, keeps: bool) {
        for &[from, to] in pairs {
            let (from, to) = (Host::Node(from), Host::Node(to));
            cut(self, from, to, for_us);
            if let Some(told_us) = told_us {
                later(self, told_us, move |shared| shared.net().break_between(from, to));
            } else if !keeps {
                later(self, for_us, move |shared| shared.net().break_between(from, to));
            }
        }
    }

    /// The folder is gone, or set aside, and the machine starts with an empty one.
    fn wipe(&self, at: usize, down_us: u64, returns_us: Option<u64>) {
        // A machine that does not start any more has no process to be ended.
        self.strike(at, Blow { power: true, down_us, orderly: false });
        let mut world = self.lock();
        world.on_loss(at);
        world.mark(Mark::Wiped);
        let aside = world.plan.nodes() + world.set_aside;
        let was_dead = world.machines[at].state == State::Dead;
        if let Some(returns_us) = returns_us
            && let Ok([machine, other]) = world.machines.get_disjoint_mut([at, aside])
        {
            machine.give_away(other);
            let address = Host::Node(machine.node);
            world.set_aside += 1;
            self.net().alias(host_of(aside), address);
            later(self, returns_us, move |shared| {
                let mut world = shared.lock();
                world.mark(Mark::FolderReturned);
                world.schedule_boot(aside, 0);
            });
        } else {
            world.machines[at].lose_folder();
        }
        if was_dead {
            world.machines[at].state = State::Down;
            world.schedule_boot(at, down_us);
        }
    }

    fn blow(&self, at: usize, power: bool, down_us: u64, mid_step: bool) {
        let blow = Blow { power, down_us, orderly: false };
        let waits = {
            let mut world = self.lock();
            let waits = mid_step && world.machines[at].state == State::Up;
            if waits {
                world.machines[at].cut = Some(blow);
            }
            waits
        };
        if !waits {
            self.strike(at, blow);
        }
    }

    /// The process stands still; its disk and its connections go on.
    fn pause(&self, at: usize, for_us: u64) {
        let id = {
            let mut world = self.lock();
            let until = now_us() + for_us;
            let machine = &mut world.machines[at];
            machine.paused_until = machine.paused_until.max(until);
            let id = machine.id;
            world.mark(Mark::NodePaused);
            id
        };
        madsim().pause(id);
        later(self, for_us, move |shared| shared.resume(at, false));
    }

    fn resume(&self, at: usize, at_once: bool) {
        let id = {
            let mut world = self.lock();
            let machine = &mut world.machines[at];
            if machine.paused_until == 0 || (!at_once && now_us() < machine.paused_until) {
                return;
            }
            machine.paused_until = 0;
            let (id, leads) = (machine.id, machine.seen.leads_any());
            if leads {
                world.mark(Mark::PausedLeader);
            }
            id
        };
        madsim().resume(id);
    }

    fn on_net_fault(&self, index: usize) {
        let net = self.net();
        let mut world = self.lock();
        let NetFault { client, kind, .. } = world.plan.net_faults[index].clone();
        let from = Host::Client(client);
        let broker = u32::try_from(index % world.plan.nodes()).unwrap_or(0);
        let to = Host::Node(broker);
        let Some(held) = world.clients.get_mut(client as usize) else { return };
        let conn = held.links.get(&broker).and_then(|link| link.conn);
        match kind {
            NetFaultKind::Reset => {
                if let Some(conn) = conn {
                    net.arm_reset(conn);
                }
            }
            NetFaultKind::HalfOpen => {
                if let Some(link) = held.links.get_mut(&broker) {
                    link.vanished = link.conn.is_some();
                    link.poke.notify_one();
                }
            }
            NetFaultKind::SlowReader { for_us } => {
                held.slow_until = now_us() + for_us;
                net.mark_slow_reader();
            }
            NetFaultKind::Partition { for_us } => {
                cut(self, from, to, for_us);
                cut(self, to, from, for_us);
            }
            NetFaultKind::CutToNode { for_us } => cut(self, from, to, for_us),
            NetFaultKind::CutToClient { for_us } => cut(self, to, from, for_us),
        }
        world.note(u32::MAX, Kind::NetFault, [index as u64, u64::from(client), kind.number()]);
    }

    /// Faults are over: everything works, and what was begun must end (L1).
    fn heal(&self) {
        let (nodes, machines) = {
            let mut world = self.lock();
            world.heal();
            (world.plan.nodes(), world.machines.len())
        };
        self.net().heal_all();
        for at in 0..machines {
            if at >= nodes {
                self.retire(at);
            } else if nodes > 1 && self.lock().machines[at].is_broken() {
                // A node that does not start, or whose disk rots, gets another folder from its operator.
                self.wipe(at, 100_000, None);
            }
            self.resume(at, true);
        }
        self.lock().wake_clients();
    }

    /// The folder that came back beside its successor goes for good.
    fn retire(&self, at: usize) {
        self.strike(at, Blow { power: false, down_us: 0, orderly: true });
        let mut world = self.lock();
        world.machines[at].state = State::Dead;
        world.machines[at].boot_token += 1;
    }
}

fn cut(shared: &Shared, from: Host, to: Host, for_us: u64) {
    shared.net().cut(from, to);
    later(shared, for_us, move |shared| shared.net().heal(from, to));
}

/// A place whose bits may flip, and what is lost with it.
struct Target {
    inode: Inode,
    at: u64,
    flip: Flip,
}

impl World {
    /// Somebody leads the quorum who did not before: the next blow of the plan is for it.
    pub(super) fn on_elected(&mut self, at: usize) {
        let index = self.elections;
        self.elections += 1;
        if let Some(after_us) = self.plan.base.blows.get(index).and_then(|blow| blow.after_us) {
            self.order(Command::Blow { at, index, after_us });
        }
    }

    /// Flips one bit in what is durable and vouched for, if there is such a thing.
    fn flip(&mut self, at: usize, choice: u64, cached: bool) -> bool {
        let mut rng = Stream::new(choice, Purpose::Disk, at as u64);
        let is_alone = self.plan.nodes() == 1;
        let machine = &mut self.machines[at];
        let Some(target) = choose(machine, is_alone, &mut rng) else { return false };
        let bit = u8::try_from(rng.below(8)).unwrap_or(0);
        machine.files.disk.flip(target.inode, target.at, bit, cached);
        machine.oracle.flips.push(target.flip);
        self.on_loss(at);
        self.note_at(at, Kind::Flip, [target.flip.first.0, target.at, u64::from(cached)]);
        true
    }
}

fn choose(machine: &Machine, is_alone: bool, rng: &mut Stream) -> Option<Target> {
    if machine.state != State::Up {
        return None;
    }
    if rng.chance(300)
        && let Some(target) = in_segments(machine, rng)
    {
        return Some(target);
    }
    let vouched = machine.lanes.groups.iter().map(|group| group.prefix.durable).max()?;
    let is_there = |group: &&GroupSeen| {
        let content = machine.files.disk.read(group.inode, group.at, group.prefix.padded_bytes());
        group.prefix.entries > 0 && group.last() <= vouched && content.map(hash64) == Some(group.hash)
    };
    let groups: Vec<&GroupSeen> = machine.lanes.groups.iter().filter(is_there).collect();
    if groups.is_empty() {
        return None;
    }
    let group = groups[rng.index(groups.len())];
    let (first, last) = (group.prefix.first_lsn, group.last());
    let inside = rng.below(u64::from(group.prefix.table_at) + u64::from(group.prefix.table_bytes));
    let flip = if (PREFIX_BYTES as u64..u64::from(group.prefix.table_at)).contains(&inside) {
        let lsn = entry_at(machine, group, inside)?;
        Flip { first: lsn, last: lsn, whole_group: false }
    } else {
        // Alone, committed metadata has no second copy: without it a node must not start, which says little about logs.
        let is_of_quorum =
            |lsn| machine.oracle.ghost(Lsn(lsn)).is_none_or(|ghost| ghost.entry.is_of_quorum());
        if is_alone && (first.0..=last.0).any(is_of_quorum) {
            return None;
        }
        Flip { first, last, whole_group: true }
    };
    Some(Target { inode: group.inode, at: group.at + inside, flip })
}

/// A place in a batch of a segment that is on the platter.
fn in_segments(machine: &Machine, rng: &mut Stream) -> Option<Target> {
    let disk = &machine.files.disk;
    let segments: Vec<(TopicPartition, Inode)> = disk
        .on_platter()
        .names()
        .filter(|(name, _)| name.ends_with(".log"))
        .filter_map(|(name, inode)| Some((partition_of(folder_of(name))?, inode)))
        .collect();
    if segments.is_empty() {
        return None;
    }
    let (partition, inode) = segments[rng.index(segments.len())];
    let content = disk.content(inode);
    let batches: Vec<_> = Batches::new(content).collect();
    if batches.is_empty() {
        return None;
    }
    let (header, range) = &batches[rng.index(batches.len())];
    let shadow = machine.oracle.logs.get(&partition)?.at(header.base_offset)?;
    let is_synced = disk.is_on_platter(inode, range.start as u64, range.len());
    let at = range.start as u64 + rng.below(range.len() as u64);
    let flip = Flip { first: shadow.lsn, last: shadow.lsn, whole_group: false };
    is_synced.then_some(Target { inode, at, flip })
}

/// The partition whose folder this is.
fn partition_of(folder: &str) -> Option<TopicPartition> {
    let (topic, index) = folder.rsplit('/').next()?.split_at_checked(22)?;
    let partition = PartitionIndex(index.strip_prefix('-')?.parse().ok()?);
    Some(TopicPartition { topic_id: Uuid::parse(topic)?, partition })
}

/// The entry whose record bytes stand at a place in a group.
fn entry_at(machine: &Machine, group: &GroupSeen, inside: u64) -> Option<Lsn> {
    let mut end = PREFIX_BYTES as u64;
    for lsn in group.prefix.first_lsn.0..=group.last().0 {
        end += u64::from(machine.oracle.ghost(Lsn(lsn))?.entry.payload_bytes());
        if inside < end {
            return Some(Lsn(lsn));
        }
    }
    None
}
