//! This node as a broker of the cluster: it registers, lets itself be heard, does what the committed metadata says of its
//! partitions, and hands over before it stops.

use super::group_topics::changes_topics;
use super::timers::Timer;
use super::{Broker, Drop, Phase};
use crate::cluster::image::Image;
use crate::cluster::records::MetadataRecord;
use crate::cluster::snapshot::Damage;
use crate::cluster::topic_config::{TopicConfig, TopicSettings};
use crate::config::FlushMode;
use crate::errors::ErrorCode;
use crate::group::is_internal;
use crate::ids::{BrokerEpoch, NodeId, Offset, PartitionIndex, TopicPartition, Uuid};
use crate::journal::Entry;
use crate::log::SegmentLimits;
use crate::museum::exhibit;
use crate::output::{HaltReason, Outputs};
use crate::peer::{BrokerBeat, BrokerBeatReply, PeerBody, Register};
use crate::recovered::RecoveredPartition;
use crate::replica::Replica;
use crate::time::MonoMs;
use alloc::collections::BTreeSet;
use alloc::collections::btree_map::Entry as Slot;
use alloc::vec::Vec;

/// What the cluster knows of this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Membership {
    /// The registration of this run, once it is committed.
    pub(super) broker_epoch: Option<BrokerEpoch>,
    /// When the controller answered a beat last, or registered this run.
    pub(super) answered_at: MonoMs,
    /// It hands over what it leads, in order to stop.
    pub(super) is_stopping: bool,
    /// The run before did not stop in order.
    pub(super) was_unclean: bool,
    /// Copies that this run gave up, and the controller may not have heard of.
    pub(super) lost: BTreeSet<TopicPartition>,
}

impl Broker {
    /// The registration is wanted and not there.
    pub(super) fn seeks_registration(&self) -> bool {
        self.config.roles.broker
            && self.membership.broker_epoch.is_none()
            && self.quorum.cluster.is_some()
            && self.phase == Phase::Running
    }

    pub(super) fn resend_registration(&mut self, out: &mut Outputs) {
        if self.seeks_registration() {
            self.register(out);
        }
        if self.producer_ids.asked {
            self.want_producer_ids(out);
        }
    }

    /// The controller is known, or is another one.
    pub(super) fn on_controller_known(&mut self, out: &mut Outputs) {
        if self.seeks_registration() {
            self.register(out);
            self.arm_resend();
        } else if self.membership.broker_epoch.is_some() {
            self.on_broker_beat_due(out);
        }
        self.forward_waiting(out);
    }

    fn register(&mut self, out: &mut Outputs) {
        let listeners =
            self.config.listeners.iter().map(|listener| (listener.host.clone(), listener.port)).collect();
        let lost = self.replicas.iter().filter(|(_, replica)| replica.damage().is_some());
        let doubtful = self.doubtful.iter().filter_map(|partition| {
            let log = self.replicas.get(partition)?.log();
            Some((*partition, log.latest_epoch(), log.end()))
        });
        let register = Register {
            rack: self.config.rack.clone(),
            listeners,
            peer_listener: self
                .config
                .peer_listener
                .as_ref()
                .map(|listener| (listener.host.clone(), listener.port)),
            is_unclean: self.may_lack_records(),
            lost: lost.map(|(&partition, _)| partition).collect(),
            doubtful: doubtful.collect(),
        };
        self.send_to_controller(PeerBody::Register(register), out);
    }

    /// Timer: the controller hears that this broker is alive.
    pub(super) fn on_broker_beat_due(&mut self, out: &mut Outputs) {
        let Some(broker_epoch) = self.membership.broker_epoch else { return };
        let beat =
            BrokerBeat { broker_epoch, lost: self.lost_copies(), wants_to_stop: self.membership.is_stopping };
        self.timers.arm(self.now.mono + self.config.timings.broker_beat_ms, Timer::BrokerBeat);
        self.send_to_controller(PeerBody::BrokerBeat(beat), out);
        let silent_ms = self.now.mono - self.membership.answered_at;
        if silent_ms >= self.config.timings.broker_session_ms / 3 {
            self.look_for_followers(out);
        }
    }

    pub(super) fn on_broker_beat_reply(&mut self, reply: &BrokerBeatReply, out: &mut Outputs) {
        let is_own = self.membership.broker_epoch == Some(reply.broker_epoch);
        if is_own {
            self.membership.answered_at = self.now.mono;
        }
        if is_own && reply.may_stop && self.membership.is_stopping {
            self.stop_now(out);
        }
    }

    /// A leader that neither the controller nor anyone of its ISR answers: another one may lead by now, and clients that reach
    /// this one alone have to look for it. What is committed here stays readable: with the controller away and nobody else
    /// left, this may be all there is.
    pub(super) fn is_cut_off(&self, replica: &Replica) -> bool {
        let (me, now) = (self.config.node_id, self.now.mono);
        let session_ms = self.config.timings.broker_session_ms;
        now - self.membership.answered_at >= session_ms
            && replica.leader().is_some_and(|leader| leader.is_alone(me, now, session_ms))
    }

    /// Stop in order: what this node leads goes to others first, as long as there are any.
    pub(super) fn on_stop(&mut self, out: &mut Outputs) {
        if matches!(self.phase, Phase::Stopping { .. }) {
            return;
        }
        let hands_over = self.membership.broker_epoch.is_some() && !self.membership.is_stopping;
        if hands_over && self.can_hand_over() {
            self.membership.is_stopping = true;
            self.timers.arm(self.now.mono + self.config.timings.shutdown_ms, Timer::Shutdown);
            self.on_broker_beat_due(out);
        } else {
            self.stop_now(out);
        }
    }

    /// There is somebody to hand over to, and a majority that can decide it.
    pub(super) fn can_hand_over(&self) -> bool {
        let is_heard = |node: &NodeId| self.peers.get(node).is_some_and(|peer| peer.is_heard());
        let voters = self.quorum.other_voters().filter(is_heard).count();
        let majority = voters + usize::from(self.quorum.is_voter()) >= self.quorum.majority();
        let brokers = self.committed.brokers().iter();
        let mut others = brokers.filter(|(node, broker)| **node != self.config.node_id && broker.is_active());
        majority && others.any(|(node, _)| is_heard(node))
    }

    /// Nothing needs this node any more, or it has waited long enough.
    pub(super) fn stop_now(&mut self, out: &mut Outputs) {
        if !self.is_writable() {
            return;
        }
        self.hand_over_quorum(out);
        if self.may_lack_records() && self.membership.broker_epoch.is_none() {
            // Nobody has heard yet that it may: the next run has to say it, and does not if this one stopped in order.
            self.phase = Phase::Stopping { last: self.journal.last };
            self.halting = Some(HaltReason::Stopped);
            return;
        }
        let last = self.journal(Entry::Stopped, out);
        self.phase = Phase::Stopping { last };
    }

    /// What this broker acknowledged before it may not have been on its disk when it stopped (SAFETY R5).
    fn may_lack_records(&self) -> bool {
        self.membership.was_unclean && self.config.flush == FlushMode::Interval
    }

    /// This run is the one that the committed metadata means by this node's id.
    pub(super) fn is_registered(&self) -> bool {
        self.committed.brokers().get(&self.config.node_id).is_some_and(|broker| {
            // N1: a broker that comes back takes up what the metadata says it led, in the epoch it had.
            broker.incarnation == self.config.incarnation && exhibit!(N1, broker.run == self.run(), true)
        })
    }

    /// An entry is committed: the image follows, and this node does what it says.
    pub(super) fn on_entry_committed(
        &mut self,
        offset: Offset,
        records: &[MetadataRecord],
        out: &mut Outputs,
    ) {
        let mut touched = BTreeSet::new();
        let mut removed = Vec::new();
        let mut brokers = Vec::new();
        for record in records {
            match record {
                MetadataRecord::Partition { topic_id, partition, .. }
                | MetadataRecord::PartitionChange { topic_id, partition, .. }
                | MetadataRecord::Reassignment { topic_id, partition, .. } => {
                    touched.insert(TopicPartition { topic_id: *topic_id, partition: *partition });
                }
                MetadataRecord::RegisterBroker { node_id, .. } => {
                    let led = self.committed.all_partitions();
                    let led = led.filter(|(_, partition)| partition.state.leader == Some(*node_id));
                    touched.extend(led.map(|(partition, _)| partition));
                    brokers.push(*node_id);
                }
                MetadataRecord::BrokerState { node_id, .. } => brokers.push(*node_id),
                MetadataRecord::RemoveTopic { topic_id } => {
                    let partitions =
                        self.committed.topic(*topic_id).map_or(0, |topic| topic.partitions.len());
                    removed.push((*topic_id, partitions));
                }
                MetadataRecord::LeaderChange { .. }
                | MetadataRecord::Voters { .. }
                | MetadataRecord::Topic { .. }
                | MetadataRecord::TopicConfig { .. }
                | MetadataRecord::GroupConfig { .. }
                | MetadataRecord::ProducerIds { .. } => {}
            }
        }
        self.committed.replay(offset, records);
        if records.iter().any(changes_topics) {
            self.coordinators.topics_version = self.committed.end().0;
        }
        for (topic_id, partitions) in removed {
            touched.retain(|partition| partition.topic_id != topic_id);
            self.on_topic_removed(topic_id, partitions, out);
        }
        if brokers.contains(&self.config.node_id) {
            self.on_own_state(&mut touched, out);
        }
        for partition in touched {
            self.assume_role(partition, out);
        }
        if !brokers.is_empty() {
            self.on_brokers_changed(&brokers, out);
        }
        for record in records {
            self.on_record_committed(record, out);
        }
    }

    /// What a record means to this node besides partitions and brokers.
    fn on_record_committed(&mut self, record: &MetadataRecord, out: &mut Outputs) {
        match record {
            MetadataRecord::ProducerIds { node_id, broker_epoch, first, next } => {
                self.on_producer_ids(*node_id, *broker_epoch, (*first, *next), out);
            }
            MetadataRecord::LeaderChange { leader, epoch }
                if *leader == self.config.node_id
                    && *epoch == self.quorum.epoch()
                    && self.quorum.leading().is_some() =>
            {
                self.become_controller(out);
            }
            // Its first record is committed: from here on the controller answers.
            MetadataRecord::LeaderChange { .. } => self.on_controller_known(out),
            MetadataRecord::Voters { .. } => self.quorum.refresh_voters(&self.committed),
            MetadataRecord::Topic { topic_id, .. }
            | MetadataRecord::TopicConfig { topic_id, .. }
            | MetadataRecord::RemoveTopic { topic_id } => self.on_topic_settings(*topic_id),
            MetadataRecord::RegisterBroker { .. }
            | MetadataRecord::BrokerState { .. }
            | MetadataRecord::GroupConfig { .. }
            | MetadataRecord::Partition { .. }
            | MetadataRecord::PartitionChange { .. }
            | MetadataRecord::Reassignment { .. } => {}
        }
    }

    /// The metadata says something of this node: it may be its registration.
    fn on_own_state(&mut self, touched: &mut BTreeSet<TopicPartition>, out: &mut Outputs) {
        let own = self.committed.brokers().get(&self.config.node_id);
        let epoch = own.filter(|_| self.is_registered()).map(|broker| broker.epoch);
        if self.membership.broker_epoch == epoch {
            return;
        }
        self.membership.broker_epoch = epoch;
        touched.extend(self.concerned());
        if epoch.is_some() {
            self.membership.answered_at = self.now.mono;
            self.arm_producer_expiry();
            self.arm_retention();
            self.arm_compaction();
            self.arm_group_expiry();
            self.timers.arm(self.now.mono + self.config.timings.broker_beat_ms, Timer::BrokerBeat);
            self.unfinished_drops(out);
        }
    }

    /// Brokers came or went: some may join an ISR that they could not before.
    fn on_brokers_changed(&mut self, nodes: &[NodeId], out: &mut Outputs) {
        self.close_older_sessions(nodes);
        let led = self.replicas.iter().filter(|(_, replica)| {
            replica.leader().is_some_and(|leader| {
                nodes.iter().any(|node| leader.followers().contains_key(node) && !leader.isr().contains(node))
            })
        });
        let led: Vec<TopicPartition> = led.map(|(&partition, _)| partition).collect();
        for partition in led {
            self.review_isr(partition, out);
        }
    }

    /// What an earlier run of a broker acknowledged says nothing of what the one that registered has (SAFETY R1).
    fn close_older_sessions(&mut self, nodes: &[NodeId]) {
        for &node in nodes {
            let run = self.committed.brokers().get(&node).map(|broker| broker.run);
            for (partition, replica) in &mut self.replicas {
                let Some((leader, _)) = replica.leader_mut() else { continue };
                let Some(progress) = leader.follower_mut(node) else { continue };
                if progress.session().is_some_and(|(_, peer)| Some(peer.run) != run) {
                    let freed = progress.close();
                    let peer = self.peers.entry(node).or_default();
                    peer.in_flight_bytes = peer.in_flight_bytes.saturating_sub(freed);
                    peer.busy.remove(*partition);
                }
            }
        }
    }

    /// A snapshot took the place of the metadata: everything is looked at anew.
    pub(super) fn replace_image(&mut self, image: Image, out: &mut Outputs) {
        let before = core::mem::replace(&mut self.committed, image);
        self.coordinators.topics_version = self.committed.end().0;
        self.find_compacted();
        let gone: BTreeSet<Uuid> = self
            .replicas
            .keys()
            .map(|partition| partition.topic_id)
            .filter(|topic_id| self.committed.topic(*topic_id).is_none())
            .collect();
        for topic_id in gone {
            let last = self.replicas.keys().filter(|partition| partition.topic_id == topic_id).max();
            let partitions = last.map_or(0, |last| usize::try_from(last.partition.0).unwrap_or(0) + 1);
            self.on_topic_removed(topic_id, partitions, out);
        }
        let mut touched = self.concerned();
        self.on_own_state(&mut touched, out);
        for partition in touched {
            self.assume_role(partition, out);
        }
        let brokers = self.committed.brokers().iter();
        let changed: Vec<NodeId> = brokers
            .filter(|&(node, broker)| before.brokers().get(node) != Some(broker))
            .map(|(&node, _)| node)
            .collect();
        if !changed.is_empty() {
            self.on_brokers_changed(&changed, out);
        }
    }

    /// The partitions that this node is to hold, and those that it holds.
    fn concerned(&self) -> BTreeSet<TopicPartition> {
        let held = self.committed.held_by(self.config.node_id).map(|(partition, _)| partition);
        held.chain(self.replicas.keys().copied()).collect()
    }

    /// Becomes what the committed metadata says this node is for a partition.
    pub(super) fn assume_role(&mut self, partition: TopicPartition, out: &mut Outputs) {
        let me = self.config.node_id;
        let Some(image) = self.committed.partition(partition) else { return };
        let state = image.state.clone();
        let replicas = image.replicas().to_vec();
        let is_held = replicas.contains(&me);
        let replica = match self.replicas.entry(partition) {
            Slot::Occupied(held) => held.into_mut(),
            Slot::Vacant(free) if is_held => free.insert(Replica::new(RecoveredPartition::default())),
            Slot::Vacant(_) => return,
        };
        if self.membership.broker_epoch.is_none() {
            if replica.leader().is_some() || replica.session().is_some() {
                self.step_down(partition, out);
                if let Some(replica) = self.replicas.get_mut(&partition) {
                    replica.idle(state.leader_epoch);
                }
            }
            return;
        }
        if !is_held {
            self.let_go(partition, out);
            return;
        }
        let is_led_already = replica.leader().is_some_and(|leader| leader.epoch == state.leader_epoch)
            && state.leader == Some(me);
        if is_led_already {
            self.on_partition_state(partition, &state, out);
            return;
        }
        let follows_already = replica.session().is_some_and(|session| {
            Some(session.leader()) == state.leader && session.epoch() == state.leader_epoch
        });
        if follows_already {
            return;
        }
        let may_lead = replica.damage().is_none() && self.phase == Phase::Running;
        let leads_on = replica.leader().is_some() && state.leader == Some(me) && may_lead;
        if leads_on {
            // In a new epoch, with other followers: who waits here goes on waiting.
            self.close_sessions(partition);
        } else {
            self.step_down(partition, out);
        }
        let min_insync = self.min_insync(partition);
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        match state.leader {
            Some(leader) if leader != me => {
                replica.follow(leader, state.leader_epoch);
                self.open_session(partition, out);
            }
            Some(_) if may_lead => {
                let now = self.now.mono;
                let entry = replica.lead(partition, now, (me, &replicas), &state, min_insync);
                self.journal(entry, out);
                self.doubtful.remove(&partition);
                self.advance_watermark(partition, out);
                self.review_isr(partition, out);
                self.moved.push(partition);
                self.begin_coordinating(partition);
                let lag_ms = self.config.timings.replica_lag_ms_max;
                if replicas.len() > 1 {
                    self.timers.arm_by(now + lag_ms + 1, Timer::Lag(partition));
                    self.admit_early(partition, out);
                }
            }
            Some(_) | None => replica.idle(state.leader_epoch),
        }
    }

    /// A newer state of a partition that is led here.
    fn on_partition_state(
        &mut self,
        partition: TopicPartition,
        state: &crate::cluster::records::PartitionState,
        out: &mut Outputs,
    ) {
        let min_insync = self.min_insync(partition);
        let Some((leader, _)) = self.replicas.get_mut(&partition).and_then(Replica::leader_mut) else {
            return;
        };
        if state.partition_epoch > leader.partition_epoch {
            self.counts.on_isr(leader.isr().len(), state.isr.len());
            leader.on_state(state, min_insync);
            self.proposing.remove(partition);
            self.advance_watermark(partition, out);
            self.review_isr(partition, out);
        }
    }

    fn min_insync(&self, partition: TopicPartition) -> usize {
        let topic = self.committed.topic(partition.topic_id);
        topic.map_or(1, |topic| usize::try_from(topic.min_insync_replicas).unwrap_or(1))
    }

    /// When a partition begins a new segment, by its topic's settings.
    pub(super) fn segment_limits(&self, partition: TopicPartition) -> SegmentLimits {
        self.topic_settings(partition).segment_limits(partition)
    }

    /// The settings in force of a partition's topic.
    pub(super) fn topic_settings(&self, partition: TopicPartition) -> TopicSettings {
        let topic = self.committed.topic(partition.topic_id);
        let Some(topic) = topic else { return TopicConfig::default().resolve(&self.config.topic) };
        let settings = topic.config.resolve(&self.config.topic);
        if !is_internal(&topic.name) {
            return settings;
        }
        // What is in a topic of the brokers' own goes by its keys, whatever somebody set: a group's offsets may be old and in
        // force.
        TopicSettings { retention_ms: None, retention_bytes: None, is_compacted: true, ..settings }
    }

    /// Leads or follows no more: who waits here is sent elsewhere (SAFETY R6).
    pub(super) fn step_down(&mut self, partition: TopicPartition, out: &mut Outputs) {
        self.opening.remove(partition);
        self.close_sessions(partition);
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let waiters = replica.take_waiters();
        if replica.leader().is_some() {
            self.moved.push(partition);
        }
        self.stop_coordinating(partition, out);
        for waiter in waiters {
            self.on_part_failed(waiter, ErrorCode::NotLeaderOrFollower, out);
        }
    }

    /// The partition moved elsewhere (KIP-455), and its new replicas have what was acknowledged: this copy goes. Only a
    /// registered run knows that: an image from before may not show yet that the partition came here.
    fn let_go(&mut self, partition: TopicPartition, out: &mut Outputs) {
        if !self.is_writable() {
            return;
        }
        self.step_down(partition, out);
        let Some(mut replica) = self.replicas.remove(&partition) else { return };
        if replica.log().end() > Offset::ZERO || replica.damage().is_some() {
            let entry = replica.reset(partition, (Offset::ZERO, Offset::ZERO), Vec::new());
            self.journal(entry, out);
        }
        // What this step has acknowledged of it is not here any more.
        self.peers.values_mut().for_each(|peer| peer.forget_ack(partition));
        self.with_producers.remove(&partition);
        self.trust(partition, out);
        self.moved.push(partition);
    }

    fn on_topic_removed(&mut self, topic_id: Uuid, partitions: usize, out: &mut Outputs) {
        let partitions = i32::try_from(partitions).expect("partitions are numbered by i32");
        let mut held = false;
        for index in 0..partitions {
            let partition = TopicPartition { topic_id, partition: PartitionIndex(index) };
            self.opening.remove(partition);
            self.close_sessions(partition);
            self.stop_coordinating(partition, out);
            self.doubtful.remove(&partition);
            if let Some(mut replica) = self.replicas.remove(&partition) {
                held = true;
                for waiter in replica.take_waiters() {
                    self.on_part_failed(waiter, ErrorCode::UnknownTopicOrPartition, out);
                }
            }
            self.with_producers.remove(&partition);
            self.moved.push(partition);
        }
        if held && self.is_writable() {
            self.journal(Entry::Dropping { topic_id, partitions }, out);
            self.drops.insert(topic_id, Drop { partitions, op: None });
            self.drop_files(topic_id, out);
        }
    }

    /// Partitions that lost all of their log in a hole of the journal: they are held, and what they held is not (SAFETY J5).
    pub(super) fn mark_lost(&mut self) {
        let me = self.config.node_id;
        let mut held: BTreeSet<TopicPartition> =
            self.committed.held_by(me).map(|(partition, _)| partition).collect();
        let mut at = self.committed.end();
        while let Some(records) = self.quorum.log.records_at(at) {
            at = at.plus(1);
            for record in records {
                if let Some((partition, replicas)) = record.replicas()
                    && replicas.contains(&me)
                {
                    held.insert(partition);
                }
            }
        }
        for partition in held {
            self.replicas.entry(partition).or_insert_with(|| {
                let damage = Some(Damage { from: Offset::ZERO, to: None });
                Replica::new(RecoveredPartition { damage, ..RecoveredPartition::default() })
            });
        }
    }
}
