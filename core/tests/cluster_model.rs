//! The controller's decisions against a model of brokers that replicate by the rules of the leader's side: views that lag,
//! proposals that are delivered late and twice, disks that lose what they may lose. The model knows what was committed;
//! after every step every eligible replica must have it (S8).

mod cluster_administrator;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seedlog_core::cluster::decide::{
    Registration, decide_alter_partition, decide_fence, decide_rebalance, decide_register, decide_shutdown,
    decide_sweep, decide_unfence,
};
use seedlog_core::cluster::image::Image;
use seedlog_core::cluster::records::{MetadataRecord, PartitionState};
use seedlog_core::cluster::topic_config::TopicConfig;
use seedlog_core::ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, RunId, TopicPartition, Uuid,
};
use seedlog_core::peer::AlterPartition;

const NODES: usize = 4;
const TOPICS: usize = 3;

/// A record: the epoch that it was written in, and a number that no other record has.
type Record = (LeaderEpoch, u32);

/// What failures a run may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failures {
    /// Disks are replaced, parts of them damaged, tails lost with notice: any number of times.
    Disks,
    /// Any number of power cuts leave doubt, and one of them hides real damage: less than `min.insync.replicas`.
    OneHidden,
}

/// One node: what it has on disk, and what it knows.
#[derive(Debug, Clone)]
struct Node {
    up: bool,
    incarnation: u8,
    run: u64,
    registered: BrokerEpoch,
    view: Image,
    logs: BTreeMap<TopicPartition, Vec<Record>>,
    leads: BTreeMap<TopicPartition, Lead>,
}

/// What a leader knows of its epoch.
#[derive(Debug, Clone)]
struct Lead {
    state: PartitionState,
    start: usize,
    high_watermark: usize,
    acked: BTreeMap<NodeId, usize>,
    proposed: BTreeSet<NodeId>,
    sent: Vec<AlterPartition>,
}

#[derive(Debug)]
struct World {
    failures: Failures,
    image: Image,
    nodes: Vec<Node>,
    committed: BTreeMap<TopicPartition, Vec<Record>>,
    /// Partitions whose ISR had `min.insync.replicas` members once.
    reached: BTreeSet<TopicPartition>,
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), NodeId>,
    records: u32,
    topics: u8,
    has_hidden: bool,
    /// An entry was written that leaves work to a sweep.
    is_unsettled: bool,
}

fn common(a: &[Record], b: &[Record]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn uuid(kind: u8, number: u8) -> Uuid {
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (kind, number);
    Uuid(bytes)
}

impl World {
    fn new(failures: Failures) -> Self {
        let node = Node {
            up: true,
            incarnation: 0,
            run: 0,
            registered: BrokerEpoch(-1),
            view: Image::default(),
            logs: BTreeMap::new(),
            leads: BTreeMap::new(),
        };
        let mut world = Self {
            failures,
            image: Image::default(),
            nodes: vec![node; NODES],
            committed: BTreeMap::new(),
            reached: BTreeSet::new(),
            leaders: BTreeMap::new(),
            records: 0,
            topics: 0,
            has_hidden: false,
            is_unsettled: false,
        };
        for at in 0..NODES {
            world.restart(at, 0, 0);
        }
        world.create(3, 2);
        world.create(1, 1);
        world
    }

    /// Replays an entry, and checks everything.
    fn write(&mut self, records: &[MetadataRecord]) {
        if records.is_empty() {
            return;
        }
        let before: BTreeMap<TopicPartition, PartitionState> =
            self.image.all_partitions().map(|(name, partition)| (name, partition.state.clone())).collect();
        self.image.replay(self.image.end(), records);
        self.image.check_invariants();
        for (name, partition) in self.image.all_partitions() {
            let state = &partition.state;
            if let Some(leader) = state.leader {
                let first = self.leaders.entry((name, state.leader_epoch)).or_insert(leader);
                assert_eq!(*first, leader, "one leader an epoch (S11)");
            }
            let topic = self.image.topic(name.topic_id).expect("it exists");
            let min_insync = count(topic.min_insync_replicas);
            if state.isr.len() >= min_insync {
                assert!(state.elr.is_empty(), "the ELR is for an ISR that is too small");
                self.reached.insert(name);
            } else if self.failures == Failures::OneHidden && self.reached.contains(&name) {
                assert!(state.isr.len() + state.elr.len() >= min_insync, "S13: {state:?}");
            }
            if let Some(old) = before.get(&name)
                && old != state
            {
                assert!(state.partition_epoch > old.partition_epoch, "S11");
                let is_over = old.leader.is_some() && state.leader != old.leader;
                let least = old.leader_epoch.0 + i32::from(is_over);
                assert!(state.leader_epoch.0 >= least, "an epoch ends with its leader (S11)");
            }
            let was_unclean = before.get(&name).and_then(|old| old.unclean_epoch);
            if state.unclean_epoch != was_unclean {
                assert_eq!(state.unclean_epoch, Some(state.leader_epoch), "it is marked when it begins");
                let leader = state.leader.expect("an epoch that begins uncleanly has a leader");
                let log = self.nodes[at(leader)].logs.get(&name).cloned().unwrap_or_default();
                let committed = self.committed.entry(name).or_default();
                committed.truncate(common(committed, &log));
            }
        }
        if !self.is_unsettled {
            assert_eq!(decide_sweep(&self.image), [], "a decision leaves nothing to sweep");
        }
    }

    /// S8: whoever is eligible has all that was committed; of those in doubt, one has it.
    fn check(&self) {
        for (name, partition) in self.image.all_partitions() {
            let committed = self.committed.get(&name).map_or(&[][..], Vec::as_slice);
            let has_all = |node: NodeId| {
                let log = self.nodes[at(node)].logs.get(&name).map_or(&[][..], Vec::as_slice);
                log.starts_with(committed)
            };
            let state = &partition.state;
            let in_doubt: BTreeSet<NodeId> = state.doubts.iter().map(|doubt| doubt.node).collect();
            let members: Vec<NodeId> = state.isr.iter().chain(&state.elr).copied().collect();
            for &node in members.iter().filter(|node| !in_doubt.contains(node)) {
                assert!(has_all(node), "S8: {name}: {node} lacks records that were committed: {state:?}");
            }
            if !members.is_empty() && self.failures == Failures::OneHidden {
                assert!(members.iter().any(|&node| has_all(node)), "S8: {name}: nobody has them: {state:?}");
            }
        }
    }

    fn create(&mut self, factor: usize, min_insync_replicas: i32) {
        // Damage to one disk is harmless only where more than one has every record.
        let least = if self.failures == Failures::OneHidden { 2 } else { 1 };
        let min_insync_replicas = min_insync_replicas.max(least);
        let factor = factor.max(count(min_insync_replicas));
        let active: Vec<NodeId> = self
            .image
            .brokers()
            .iter()
            .filter(|(_, broker)| broker.is_active())
            .map(|(&node, _)| node)
            .collect();
        if active.len() < factor || self.image.topics().len() == TOPICS {
            return;
        }
        self.topics += 1;
        let topic_id = uuid(2, self.topics);
        let first = usize::from(self.topics) % active.len();
        let replicas: Vec<NodeId> = active.iter().cycle().skip(first).take(factor).copied().collect();
        self.write(&[
            MetadataRecord::Topic {
                topic_id,
                name: format!("t{}", self.topics),
                config: TopicConfig::default(),
                min_insync_replicas,
            },
            MetadataRecord::Partition {
                topic_id,
                partition: PartitionIndex(0),
                state: PartitionState::first(replicas[0], replicas.clone()),
                replicas,
            },
        ]);
    }

    fn partition(&self, pick: u8) -> Option<TopicPartition> {
        let topics: Vec<Uuid> = self.image.topics().keys().copied().collect();
        let topic_id = *topics.get(usize::from(pick) % topics.len().max(1))?;
        Some(TopicPartition { topic_id, partition: PartitionIndex(0) })
    }

    /// A node starts, with what is left of its disk, and registers.
    fn restart(&mut self, at: usize, kind: u8, cut: u8) {
        let node = id(at);
        let is_known = self.image.brokers().contains_key(&node);
        let kind = if is_known { kind % 5 } else { 0 };
        let kind = if self.failures == Failures::OneHidden { kind % 2 } else { kind };
        if kind == 4 {
            self.write(&decide_fence(&self.image, &[node])); // Its session ends before another folder takes its id.
        }
        let held: Vec<TopicPartition> = self.image.held_by(node).map(|(name, _)| name).collect();
        let may_hide = self.failures == Failures::OneHidden && !self.has_hidden && cut.is_multiple_of(2);
        let this = &mut self.nodes[at];
        this.up = true;
        this.run += 1;
        this.leads.clear();
        let (mut doubtful, mut lost) = (Vec::new(), Vec::new());
        match kind {
            1 => {
                self.has_hidden |= may_hide;
                for &name in &held {
                    let log = this.logs.entry(name).or_default();
                    if may_hide {
                        log.truncate(log.len().saturating_sub(usize::from(cut % 8)));
                    }
                    let end = Offset::ZERO.plus(log.len() as i64);
                    doubtful.push((name, log.last().map(|record| record.0), end));
                }
            }
            2 => {
                lost.extend(held.iter().copied().filter(|name| name.topic_id.0[15] % 2 == cut % 2));
                this.logs.retain(|name, _| !lost.contains(name));
            }
            3 => {
                for log in this.logs.values_mut() {
                    log.truncate(log.len().saturating_sub(usize::from(cut % 8)));
                }
            }
            4 => {
                this.incarnation += 1;
                this.logs.clear();
            }
            _ => {}
        }
        let registration = Registration {
            node_id: node,
            incarnation: uuid(at as u8 + 10, this.incarnation),
            run: RunId(this.run),
            rack: None,
            listeners: Vec::new(),
            peer_listener: None,
            is_unclean: kind == 3,
            lost,
            doubtful,
        };
        let offset = self.image.end();
        let records = decide_register(&self.image, offset, &registration).expect("it is not refused");
        self.nodes[at].registered = BrokerEpoch(offset.0);
        self.write(&records);
        assert_eq!(
            decide_register(&self.image, self.image.end(), &registration),
            Ok(Vec::new()),
            "it is registered"
        );
        self.learn(at);
    }

    /// A node acts on the metadata as it is.
    fn learn(&mut self, at: usize) {
        let node = id(at);
        let this = &mut self.nodes[at];
        if !this.up || self.image.brokers()[&node].epoch != this.registered {
            return;
        }
        let old = std::mem::replace(&mut this.view, self.image.clone());
        let epoch_in = |view: &Image, node: &NodeId| view.brokers().get(node).map(|broker| broker.epoch);
        for lead in this.leads.values_mut() {
            // A session is one of two registrations (SAFETY R1).
            lead.acked.retain(|node, _| epoch_in(&old, node) == epoch_in(&self.image, node));
        }
        for (name, partition) in this.view.held_by(node) {
            let state = &partition.state;
            let log = this.logs.entry(name).or_default();
            if state.leader != Some(node) {
                this.leads.remove(&name);
                continue;
            }
            let new = || Lead {
                state: state.clone(),
                start: log.len(),
                high_watermark: 0,
                acked: BTreeMap::new(),
                proposed: BTreeSet::new(),
                sent: Vec::new(),
            };
            let lead = this.leads.entry(name).or_insert_with(new);
            if lead.state.leader_epoch != state.leader_epoch {
                *lead = new();
            } else if lead.state != *state {
                lead.state = state.clone();
                lead.proposed.clear();
            }
        }
        // A copy that moved elsewhere is let go of (KIP-455).
        let view = &this.view;
        let is_held = |name: &TopicPartition| {
            view.partition(*name).is_some_and(|partition| partition.replicas().contains(&node))
        };
        this.leads.retain(|name, _| is_held(name));
        this.logs.retain(|name, _| is_held(name));
    }

    fn append(&mut self, at: usize, name: TopicPartition, count: u8) {
        let this = &mut self.nodes[at];
        let Some(lead) = this.leads.get(&name).filter(|_| this.up) else { return };
        for _ in 0..=count % 3 {
            self.records += 1;
            this.logs.entry(name).or_default().push((lead.state.leader_epoch, self.records));
        }
    }

    /// A leader sends a follower up to `count` records; the follower takes them in the epoch that it knows (SAFETY R4), in a
    /// session of both registrations (R1).
    fn push(&mut self, at: usize, to: usize, name: TopicPartition, count: usize) {
        let follower = id(to);
        if at == to || !self.nodes[at].up || !self.nodes[to].up {
            return;
        }
        let mut leader = self.nodes[at].clone();
        let Some(lead) = leader.leads.get_mut(&name) else { return };
        let known = self.nodes[to].view.partition(name);
        let agrees = known.is_some_and(|partition| {
            partition.replicas().contains(&follower)
                && partition.state.leader_epoch == lead.state.leader_epoch
        });
        if !agrees
            || leader.view.brokers().get(&follower).map(|broker| broker.epoch)
                != Some(self.nodes[to].registered)
        {
            return;
        }
        let log = self.nodes[to].logs.entry(name).or_default();
        let source = &leader.logs[&name];
        log.truncate(common(log, source));
        log.extend(source.iter().skip(log.len()).take(count).copied());
        lead.acked.insert(follower, log.len());
        self.nodes[at] = leader;
    }

    /// A leader's high watermark moves (SAFETY R3).
    fn advance(&mut self, at: usize, name: TopicPartition) {
        let me = id(at);
        let this = &mut self.nodes[at];
        if !this.up {
            return;
        }
        let Some(lead) = this.leads.get_mut(&name) else { return };
        let unclean_epoch = self.image.partition(name).and_then(|partition| partition.state.unclean_epoch);
        if unclean_epoch > Some(lead.state.leader_epoch) {
            return; // What an older leader commits from here on may be lost: whoever leads may lack it, and it is marked.
        }
        let topic = this.view.topic(name.topic_id).expect("who leads it knows it");
        let min_insync = count(topic.min_insync_replicas);
        if lead.state.isr.len() < min_insync {
            return;
        }
        let maximal = lead.state.isr.iter().chain(&lead.proposed).filter(|&&node| node != me);
        let log = &this.logs[&name];
        let end = maximal.map(|node| lead.acked.get(node).copied().unwrap_or(0)).fold(log.len(), usize::min);
        lead.high_watermark = lead.high_watermark.max(end);
        let committed = self.committed.entry(name).or_default();
        let same = common(committed, log);
        assert!(
            same == committed.len() || same >= end,
            "S3: a leader commits what is not what was committed"
        );
        if end > committed.len() {
            *committed = log[..end].to_vec();
        }
    }

    /// A leader proposes an ISR: members as `keep` says, and others that have caught up (SAFETY R4).
    fn propose(&mut self, at: usize, name: TopicPartition, keep: u8) {
        let me = id(at);
        let this = &mut self.nodes[at];
        if !this.up {
            return;
        }
        let Some(lead) = this.leads.get_mut(&name) else { return };
        let joins_at = lead.start.max(lead.high_watermark);
        let partition = this.view.partition(name).expect("who leads it knows it");
        let is_kept = |node: NodeId| keep >> node.0 & 1 == 1;
        let wanted: Vec<(NodeId, BrokerEpoch)> = partition
            .replicas()
            .iter()
            .copied()
            .filter(|&node| {
                let caught_up = lead.acked.get(&node).is_some_and(|&acked| acked >= joins_at);
                node == me || is_kept(node) && (lead.state.isr.contains(&node) || caught_up)
            })
            .map(|node| (node, this.view.brokers()[&node].epoch))
            .collect();
        lead.proposed.extend(wanted.iter().map(|(node, _)| *node));
        lead.sent.push(AlterPartition {
            broker_epoch: this.registered,
            partition: name,
            epoch: lead.state.leader_epoch,
            partition_epoch: lead.state.partition_epoch,
            isr: wanted,
            lost: Vec::new(),
        });
    }

    /// One of a leader's proposals reaches the controller; it may do so again.
    fn deliver(&mut self, at: usize, name: TopicPartition, pick: u8) {
        let Some(lead) = self.nodes[at].leads.get(&name).filter(|lead| !lead.sent.is_empty()) else { return };
        let request = lead.sent[lead.sent.len() - 1 - usize::from(pick / 64) % lead.sent.len()].clone();
        if let Ok(records) = decide_alter_partition(&self.image, id(at), &request) {
            self.write(&records);
        }
    }

    /// Everyone who is up catches up; but some may be left out of what is proposed, and proposals may stay on their way.
    fn calm(&mut self, name: TopicPartition, (is_whole, is_late): (bool, bool), some: u8) {
        for at in 0..NODES {
            self.learn(at);
        }
        for at in 0..NODES {
            (0..NODES).for_each(|to| self.push(at, to, name, usize::MAX));
            self.advance(at, name);
            self.propose(at, name, if is_whole { u8::MAX } else { some });
            if !is_late {
                self.deliver(at, name, 0);
            }
            self.learn(at);
        }
    }

    /// One of those who believe that they lead a partition.
    fn leader(&self, name: TopicPartition, pick: u8) -> usize {
        let leads = |at: &usize| self.nodes[*at].up && self.nodes[*at].leads.contains_key(&name);
        let leaders: Vec<usize> = (0..NODES).filter(leads).collect();
        leaders.get(usize::from(pick) % leaders.len().max(1)).copied().unwrap_or(0)
    }

    fn step(&mut self, (op, a, b, c): (u8, u8, u8, u8)) {
        let at = usize::from(a) % NODES;
        let node = id(at);
        let name = self.partition(b).unwrap_or(TopicPartition::METADATA);
        match op {
            0..=11 => self.append(self.leader(name, a), name, c),
            12..=25 => self.push(self.leader(name, a), usize::from(c) % NODES, name, usize::from(c / 16)),
            26..=35 => self.advance(self.leader(name, a), name),
            36..=43 => self.propose(self.leader(name, a), name, c),
            44..=51 => self.deliver(self.leader(name, a), name, c),
            52..=60 => self.learn(at),
            61..=69 => self.calm(name, (a % 4 > 0, a % 8 > 4), c),
            70..=74 => self.nodes[at].up = false,
            75..=82 => self.restart(at, b, c),
            83..=88 => {
                let silent: Vec<NodeId> =
                    (0..4).filter(|node| c >> node & 1 == 1 && b >> node & 1 == 1).map(NodeId).collect();
                self.write(&decide_fence(&self.image, &silent));
            }
            89..=91 => self.write(&decide_unfence(&self.image, node)),
            92..=94 => {
                let shutdown = decide_shutdown(&self.image, node);
                self.write(&shutdown.records);
                let led =
                    self.image.all_partitions().filter(|(_, partition)| partition.state.leader == Some(node));
                assert_eq!(led.map(|(name, _)| name).collect::<Vec<_>>(), shutdown.leads);
            }
            95 => self.create(1 + usize::from(c % 3), 1 + i32::from(b % 2)),
            96 if b < 64 => self.prefer(name),
            96 if b < 128 && self.image.topic(name.topic_id).is_some() => {
                self.write(&[MetadataRecord::RemoveTopic { topic_id: name.topic_id }]);
            }
            96 => self.write(&decide_rebalance(&self.image)),
            97 => self.change_min_insync(name, i32::from(c % 3) + 1),
            98 if a < 40 => self.reassign(name, None),
            98 => self.reassign(name, Some((b / 8, c))),
            _ => self.half(node, c),
        }
        self.check();
    }

    /// A predecessor says how a broker stands and nothing else; its successor sweeps.
    fn half(&mut self, node: NodeId, c: u8) {
        let (fenced, shutting_down) = (c & 1 == 1, c & 2 == 2);
        self.is_unsettled = true;
        self.write(&[MetadataRecord::BrokerState { node_id: node, fenced, shutting_down }]);
        self.check();
        self.write(&decide_sweep(&self.image));
        self.is_unsettled = false;
        assert_eq!(decide_sweep(&self.image), [], "one sweep does it");
        for (name, partition) in self.image.all_partitions() {
            let state = &partition.state;
            let is_active = |node: &NodeId| self.image.brokers()[node].is_active();
            let in_doubt = |node: &NodeId| state.doubts.iter().any(|doubt| doubt.node == *node);
            let mut eligible = state.isr.iter().chain(&state.elr).filter(|node| !in_doubt(node));
            assert!(
                !eligible.any(is_active) || state.leader.is_some(),
                "{name} has nobody to lead it: {state:?}"
            );
            assert!(
                state.leader.is_none_or(|leader| !self.image.brokers()[&leader].fenced),
                "{name}: {state:?}"
            );
        }
    }
}

fn at(node: NodeId) -> usize {
    count(node.0)
}

fn id(at: usize) -> NodeId {
    NodeId(i32::try_from(at).expect("nodes are few"))
}

fn count(number: i32) -> usize {
    usize::try_from(number).expect("it is not negative")
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8, u8, u8)>> {
    prop::collection::vec((0_u8..100, any::<u8>(), any::<u8>(), any::<u8>()), 60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_eligible_has_all_that_was_committed(steps in steps()) {
        let mut world = World::new(Failures::Disks);
        steps.into_iter().for_each(|step| world.step(step));
    }

    #[test]
    fn doubt_costs_nothing_while_fewer_than_min_insync_replicas_are_damaged(steps in steps()) {
        let mut world = World::new(Failures::OneHidden);
        steps.into_iter().for_each(|step| world.step(step));
    }
}

/// More are run with `MODEL_CASES=20000`.
fn cases() -> u32 {
    std::env::var("MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}
