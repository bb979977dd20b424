//! Starts, recoveries and crashes of a node's process, and what the judges check at each.

use super::World;
use super::node::{Node, Process, Recovering, State, clock};
use super::queue::What;
use crate::judges::{Judge, s18};
use crate::marks::Mark;
use crate::plan::{ClusterPlan, Flush};
use crate::store::{self, StartError, Store, StoreConfig};
use crate::trace::Kind;
use seedlog_core::broker::Broker;
use seedlog_core::config::{AdvertisedListener, Config, FlushMode, Timings};
use seedlog_core::ids::{Lsn, NodeId};
use seedlog_core::input::Input;
use seedlog_core::recovered::lost_offsets;

/// Room on a modelled disk that is not full.
const FREE_BYTES: u64 = 1 << 30;
const FREE_BYTES_MIN: u64 = 1 << 20;

impl World {
    pub(super) fn schedule_boot(&mut self, at: usize, delay_us: u64) {
        let node = &mut self.nodes[at];
        node.boot_token += 1;
        let token = node.boot_token;
        let boots = node.boots;
        self.note_at(at, Kind::Boot, [boots + 1, delay_us, 0]);
        self.queue.push(self.now_us + delay_us, What::Boot { node: at, token });
    }

    /// Reads the disk and begins to write the fresh file.
    pub(super) fn on_boot(&mut self, at: usize, token: u64) {
        let node = &mut self.nodes[at];
        if token != node.boot_token || !matches!(node.state, State::Down) {
            return;
        }
        node.life += 1;
        node.boots += 1;
        if node.driver.chance(500) {
            node.disk.evict(&mut node.disk_rng);
        }
        let reading = match store::read(node.disk.seen()) {
            Ok(reading) => reading,
            Err(error) => {
                self.on_refused(at, &error.to_string());
                return;
            }
        };
        let replayed = node.oracle.replay(reading.plan.end);
        let wrong = s18::check(&node.oracle, &replayed, &reading, &node.disk);
        let killed = std::mem::take(&mut node.killed);
        let durable =
            node.oracle.journal.iter().rposition(|ghost| ghost.durable).map_or(0, |last| last as u64 + 1);
        let survived = killed && reading.plan.end.0 > durable;
        let config = store_config(node, &self.plan.cluster);
        let started = Store::start(config, &reading, &node.disk, &mut node.disk_rng, node.disk_full);
        let plan = &reading.plan;
        let holes = plan.damage.len() + plan.groups.iter().map(|group| group.damaged.len()).sum::<usize>();
        let (end, vouched) = (plan.end.0, plan.vouched.0);
        self.mark_recovery(&reading, survived, holes);
        self.note_at(at, Kind::Recovered, [end, vouched, holes as u64]);
        self.hear(Judge::S18, at, wrong);
        match started {
            Ok(store) => {
                let rewritten = store.rewritten();
                if let Some((groups, first)) = rewritten {
                    self.mark(Mark::RecoveryRewrote);
                    self.note_at(at, Kind::Rewrite, [groups as u64, first.0, reading.plan.next_seq]);
                }
                let recovering = Recovering { reading, store, rewritten };
                self.nodes[at].state = State::Recovering(Box::new(recovering));
                self.kick(at);
            }
            Err(StartError::NoSpace) => self.schedule_boot(at, 300_000),
            Err(StartError::Refused(why)) => self.on_refused(at, &why),
        }
    }

    fn mark_recovery(&mut self, reading: &store::Reading, survived: bool, holes: usize) {
        let marks = [
            (Mark::PageCacheSurvivedKill, survived),
            (Mark::TornTailCut, reading.plan.cut),
            (Mark::DamageFound, holes > 0),
            (Mark::PartitionGivenUp, !lost_offsets(&reading.recovered).is_empty()),
            (Mark::RecoveredFromSnapshot, reading.through > Lsn::ZERO),
            (Mark::CleanStart, reading.plan.clean && reading.plan.end > Lsn::ZERO),
        ];
        for (mark, hit) in marks {
            if hit {
                self.mark(mark);
            }
        }
    }

    /// A node that does not start is right only where a fault took what it cannot do without.
    fn on_refused(&mut self, at: usize, why: &str) {
        let node = &mut self.nodes[at];
        let boots = node.boots;
        let excused = node.oracle.flips.iter().any(|flip| flip.whole_group);
        node.state = State::Dead;
        self.note_at(at, Kind::Refused, [boots, 0, 0]);
        let said = if excused {
            Ok(())
        } else {
            Err(format!("the node does not start, and no fault explains it: {why}"))
        };
        self.hear(Judge::S18, at, said);
    }

    /// The fresh file is on disk: the broker starts.
    pub(super) fn on_recovered(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let State::Recovering(recovering) = std::mem::replace(&mut node.state, State::Down) else { return };
        let Recovering { reading, store, rewritten } = *recovering;
        let again = store::read(node.disk.on_platter());
        let said = match &again {
            Ok(again) => s18::check_again(&reading, again),
            Err(error) => Err(format!("a second recovery, without the page cache, is refused: {error}")),
        };
        // A bit that was flipped under the page cache is not recovery's doing.
        let said = if node.oracle.flips.is_empty() || node.disk.is_honest() { said } else { Ok(()) };
        let interval_loss = take_over(node, &reading, rewritten);
        let voters = u32::try_from(self.plan.nodes.len()).unwrap_or(1);
        let mut config = broker_config(node, &self.plan.cluster, voters);
        config.admits_voters = self.plan.admits_voters;
        let seed = node.seeds.bits();
        let now = clock(self.now_us, self.now_us, node.clocks());
        let (end, partitions) = (reading.plan.end.0, reading.recovered.partitions.len());
        let broker = Broker::new(config, seed, reading.recovered, now);
        node.state = State::Up(Box::new(Process::new(broker, store, self.now_us)));
        let (boots, life) = (node.boots, node.life);
        let interval = node.flush;
        let free_bytes = if node.disk_full { 0 } else { FREE_BYTES };
        if interval_loss {
            self.mark(Mark::IntervalLoss);
        }
        self.hear(Judge::S18, at, said);
        self.note_at(at, Kind::Serving, [boots, end, partitions as u64]);
        if let Flush::Interval { sync_ms } = interval {
            self.queue.push(self.now_us + sync_ms * 1_000, What::SyncTick { node: at, life });
        }
        let own = Self::broker_of(self.nodes[at].node_id);
        for other in (0..voters).filter(|&other| other != own) {
            let is_up = matches!(self.nodes[self.machine_of(other)].state, State::Up(_));
            if is_up {
                self.tell_link_up(own, other);
            }
        }
        self.step(at, Input::Space { free_bytes });
    }

    /// The process dies; with `power` the machine does.
    pub(super) fn crash(&mut self, at: usize, power: bool, down_us: u64) {
        self.close_all_conns(at);
        let node = &mut self.nodes[at];
        let boots = node.boots;
        let in_recovery = matches!(node.state, State::Recovering(_));
        match std::mem::replace(&mut node.state, State::Down) {
            State::Up(mut process) => process.store.crash(&mut node.disk, &mut node.disk_rng),
            State::Recovering(mut recovering) => recovering.store.crash(&mut node.disk, &mut node.disk_rng),
            State::Down => {}
            State::Dead => node.state = State::Dead,
        }
        node.life += 1;
        node.cut = None;
        node.killed |= !power;
        let power_cut = power.then(|| node.disk.power_cut(&mut node.disk_rng));
        let interval = !node.flushes_always();
        node.disk.forget_unnamed(|_| false);
        self.note_at(at, Kind::Kill, [boots, u64::from(in_recovery), u64::from(power)]);
        if in_recovery {
            self.mark(Mark::RecoveryCrashed);
        }
        let broker = Self::broker_of(self.nodes[at].node_id);
        self.tell_links_lost(broker, power);
        if let Some(cut) = power_cut {
            self.nodes[at].killed = false;
            if interval && cut.lost > 0 {
                self.on_loss(at);
            }
            self.note_at(at, Kind::PowerCut, [cut.kept as u64, cut.lost as u64, cut.torn as u64]);
            if cut.lost > 0 {
                self.mark(Mark::PowerCutLostSectors);
            }
            if cut.torn > 0 {
                self.mark(Mark::PowerCutTore);
            }
        }
        if !matches!(self.nodes[at].state, State::Dead) {
            self.schedule_boot(at, down_us);
        }
        self.resume(at);
    }

    /// The broker stopped in order and its journal is closed.
    pub(super) fn end_in_order(&mut self, at: usize) {
        self.mark(Mark::CleanStop);
        let node = &mut self.nodes[at];
        if let State::Up(mut process) = std::mem::replace(&mut node.state, State::Down) {
            process.store.crash(&mut node.disk, &mut node.disk_rng);
        }
        node.life += 1;
        node.disk.forget_unnamed(|_| false);
        let down_us = node.stopped_us;
        let broker = Self::broker_of(node.node_id);
        self.tell_links_lost(broker, false);
        self.schedule_boot(at, down_us);
    }

    /// The disk failed under the process: a broker is told, a recovery gives up.
    pub(super) fn on_disk_failed(&mut self, at: usize, why: &'static str) {
        // What a failed sync took for clean may be gone although no power was cut.
        if !self.nodes[at].flushes_always() {
            self.on_loss(at);
        }
        let node = &mut self.nodes[at];
        let recovering = matches!(node.state, State::Recovering(_));
        let stopped = node.process().is_some_and(|process| process.stopped);
        if why.starts_with("sync") {
            self.mark(Mark::EioHalted);
        }
        if recovering || stopped {
            let down_us = 100_000 + self.nodes[at].driver.below(400_000);
            self.crash(at, false, down_us);
        } else {
            self.input_late(at, 1, Input::DiskFailed { reason: why.to_owned() });
        }
    }
}

impl World {
    /// Something that counted as durable on a machine may be gone.
    pub(super) fn on_loss(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.is_suspect = true;
        node.oracle.unsynced_excused |= !node.flushes_always();
        self.truth.on_loss(node.node_id);
    }
}

/// The oracle goes on from where recovery ended. Gives back whether flush=interval lost records that were committed.
fn take_over(node: &mut Node, reading: &store::Reading, rewritten: Option<(usize, Lsn)>) -> bool {
    let lost = node.oracle.take_over(&reading.recovered);
    if let Some((_, first)) = rewritten {
        let from = usize::try_from(first.0.saturating_sub(1)).unwrap_or(usize::MAX);
        node.oracle.journal.iter_mut().skip(from).for_each(|ghost| ghost.durable = true);
        node.oracle.durable = reading.plan.end;
    }
    lost
}

fn flush_mode(node: &Node) -> FlushMode {
    match node.flush {
        Flush::Always => FlushMode::Always,
        Flush::Interval { .. } => FlushMode::Interval,
    }
}

fn store_config(node: &Node, cluster: &ClusterPlan) -> StoreConfig {
    StoreConfig {
        node_id: node.node_id,
        incarnation: node.incarnation,
        flush: flush_mode(node),
        file_bytes: node.numbers.file_bytes,
        tail_batches: node.numbers.tail_batches,
        cleaner_keys_max: cluster.tables.map_or(1_000, |tables| tables.keys_max),
    }
}

fn broker_config(node: &Node, cluster: &ClusterPlan, voters: u32) -> Config {
    let listener = AdvertisedListener { host: format!("node-{}", node.node_id), port: 9092 };
    let mut config = Config::new(node.node_id, node.incarnation, listener);
    // Time passes in days when clocks drift or jump: what is kept is decided by clients, who delete records or set topics.
    config.topic.retention_ms = -1;
    config.retention_check_ms = cluster.retention_check_ms.unwrap_or(config.retention_check_ms);
    config.voters = (1..=voters).map(|id| NodeId(i32::try_from(id).unwrap_or(1))).collect();
    config.flush = flush_mode(node);
    config.topic.segment_bytes = node.numbers.segment_bytes;
    config.auto_create_topics = false;
    config.fetch_sessions_max = 2;
    config.fetch_session_partitions_max = 200;
    config.disk_free_bytes_min = FREE_BYTES_MIN;
    config.snapshot_journal_bytes = node.numbers.snapshot_bytes;
    config.metadata_entries_max = cluster.metadata_entries_max;
    config.peer_window_bytes = cluster.peer_window_bytes;
    if let Some(groups) = cluster.groups {
        config.groups = groups.settings();
    }
    config.cleaner_backoff_ms = cluster.tables.map(|tables| tables.backoff_ms);
    if let Some(tables) = cluster.tables {
        config.topic.segment_ms = i64::try_from(tables.segment_ms).unwrap_or(i64::MAX);
        config.topic.compaction = tables.rules();
    }
    let plan = cluster.timings;
    config.timings = Timings {
        election_timeout_ms: plan.election,
        quorum_beat_ms: plan.election / 5,
        broker_beat_ms: plan.broker_beat,
        broker_session_ms: plan.session,
        lost_broker_ms: plan.lost,
        replica_lag_ms_max: plan.lag,
        resend_ms: plan.resend,
        forward_ms: plan.forward,
        shutdown_ms: plan.shutdown,
        rebalance_ms: plan.rebalance,
    };
    config
}
