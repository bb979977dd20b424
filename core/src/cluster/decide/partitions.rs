//! One partition: who is in sync, who is eligible, who leads. All other decisions about partitions go through here.
//!
//! ```text
//!            catches up (KIP-497)             leaves while |ISR| < min.insync.replicas (KIP-966)
//!   replica ---------------------> ISR ---------------------------------------------> ELR
//!      ^  ^                        | ^  elected: ISR of one                            | |
//!      |  '------------------------' '------------------------------------------------' |
//!      |    leaves while |ISR| >= min                                                   |
//!      '--------------------------------------------------------------------------------'
//!           lost records, or |ISR| >= min again
//! ```
//!
//! Why members of the ELR have every committed record: the high watermark stands still while the committed ISR is smaller
//! than `min.insync.replicas`, and when it last moved they were in the ISR (SAFETY R3). So whoever leaves an ISR that
//! becomes too small joins the ELR, and the ELR is emptied as soon as the watermark may move without it. A replica that
//! lacks records, or may lack them without saying how many, is in neither.
//!
//! Replicas that move (KIP-455) join the ISR like any other. Once all that are to come are in it, the others go; nobody that is
//! counted on is let go of while fewer than `min.insync.replicas` would be left in sync.

use crate::cluster::assignment::Assignment;
use crate::cluster::decide::brokers::Standing;
use crate::cluster::image::{Image, PartitionImage, TopicImage};
use crate::cluster::records::{Doubt, MetadataRecord, PartitionState};
use crate::errors::ErrorCode;
use crate::ids::{BrokerEpoch, NodeId, PartitionEpoch, TopicPartition};
use crate::peer::AlterPartition;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

/// A partition while a decision is made about it.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    held: &'a Assignment,
    /// The assignment that takes the place of the one that is held.
    reassigned: Option<Assignment>,
    /// Whoever leads does so in a new epoch.
    ends_epoch: bool,
    min_insync: usize,
    before: PartitionState,
    state: PartitionState,
}

/// What becomes of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The assignment, where that changes too.
    assignment: Option<Assignment>,
    /// The state from here on.
    pub(crate) state: PartitionState,
}

/// A replica that is let go of is counted on: fewer than `min.insync.replicas` others are in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFewInSync {
    /// How many are.
    pub(crate) others: usize,
    /// How many it takes.
    pub(crate) min_insync: usize,
}

/// Who is to lead, and why he may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    /// It is in sync.
    InSync(NodeId),
    /// It is an eligible leader replica (KIP-966).
    Eligible(NodeId),
    /// All of ISR and ELR are in doubt, and no log is longer (SAFETY J4).
    Longest(Doubt),
    /// Nobody certainly has every committed record, and it was the last that had (SAFETY R5).
    LastKnown(NodeId),
}

impl<'a> Draft<'a> {
    /// A draft over a partition as it is.
    pub(crate) fn new(topic: &TopicImage, partition: &'a PartitionImage) -> Self {
        Self::over(topic, partition, partition.state.clone())
    }

    /// A draft over a partition as earlier records of the same entry leave it.
    pub(crate) fn over(topic: &TopicImage, partition: &'a PartitionImage, before: PartitionState) -> Self {
        Self {
            held: &partition.assignment,
            reassigned: None,
            ends_epoch: false,
            min_insync: usize::try_from(topic.min_insync_replicas)
                .expect("min.insync.replicas is 1 at least"),
            state: before.clone(),
            before,
        }
    }

    /// `node` is in ISR or ELR.
    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.state.isr.contains(&node) || self.state.elr.contains(&node)
    }

    /// Changes the ISR and keeps the ELR's rules (KIP-966): those who leave an ISR that becomes smaller than
    /// `min.insync.replicas` stay eligible, unless they are among the `incomplete`.
    pub(crate) fn set_isr(&mut self, isr: &[NodeId], incomplete: &[NodeId]) {
        let old = core::mem::take(&mut self.state);
        let replicas = self.reassigned.as_ref().unwrap_or(self.held).replicas();
        let was_member = |node: &NodeId| old.isr.contains(node) || old.elr.contains(node);
        let in_order = |keep: &dyn Fn(&NodeId) -> bool| -> Vec<NodeId> {
            replicas.iter().copied().filter(|node| keep(node)).collect()
        };
        let elr = if isr.len() >= self.min_insync {
            Vec::new()
        } else {
            in_order(&|node| was_member(node) && !isr.contains(node) && !incomplete.contains(node))
        };
        let isr = in_order(&|node| isr.contains(node));
        let doubts = old.doubts.into_iter().filter(|doubt| elr.contains(&doubt.node)).collect();
        let last_known = old.last_known.filter(|_| isr.is_empty() && elr.is_empty());
        self.state = PartitionState { isr, elr, doubts, last_known, ..old };
    }

    fn assignment(&self) -> &Assignment {
        self.reassigned.as_ref().unwrap_or(self.held)
    }

    /// Other brokers hold the partition from here on. Those that are let go of are no members any more: what was committed
    /// stays on `min.insync.replicas` disks all the same. The caller settles.
    pub(crate) fn reassign(&mut self, assignment: Assignment) -> Result<(), TooFewInSync> {
        let stays = |node: &NodeId| assignment.replicas().contains(node);
        let is_counted_on = |node: NodeId| self.is_member(node) || self.state.last_known == Some(node);
        let goes = self.assignment().replicas().iter().filter(|node| !stays(node));
        let isr: Vec<NodeId> = self.state.isr.iter().copied().filter(stays).collect();
        if goes.copied().any(is_counted_on) && isr.len() < self.min_insync {
            return Err(TooFewInSync { others: isr.len(), min_insync: self.min_insync });
        }
        // What a replica said before it went must not be taken for what it says when it is back (SAFETY R1).
        self.end_epoch();
        self.reassigned = Some(assignment);
        self.set_isr(&isr, &[]);
        Ok(())
    }

    /// A reassignment is done as soon as all that it adds are in sync, and nobody leads in vain. Whether it is.
    fn arrive(&mut self, standing: impl Fn(NodeId) -> Standing) -> bool {
        let assignment = self.assignment();
        let isr = &self.state.isr;
        if !assignment.is_moving() || !assignment.adding().iter().all(|node| isr.contains(node)) {
            return false;
        }
        let target = assignment.target();
        let leader = self.state.leader.filter(|leader| isr.contains(leader));
        let stays_led = leader.is_none_or(|leader| target.contains(&leader));
        let mut in_sync = target.iter().filter(|node| isr.contains(node));
        // Not as long as too few of the target are in sync.
        (stays_led || in_sync.any(|&node| standing(node) == Standing::Active))
            && self.reassign(Assignment::settled(target)).is_ok()
    }

    /// Replicas said things to the leader that do not hold any more: the sessions of its epoch end, and what it proposed.
    pub(crate) fn end_epoch(&mut self) {
        self.ends_epoch = true;
    }

    /// Members leave the ISR; they have what was committed so far.
    pub(crate) fn leave_isr(&mut self, leaves: impl Fn(NodeId) -> bool) {
        let isr: Vec<NodeId> = self.state.isr.iter().copied().filter(|&node| !leaves(node)).collect();
        self.set_isr(&isr, &[]);
    }

    /// `node` has nothing of the partition any more, or not what it is needed for.
    pub(crate) fn forget(&mut self, node: NodeId) {
        let isr: Vec<NodeId> = self.state.isr.iter().copied().filter(|&member| member != node).collect();
        self.state.elr.retain(|&member| member != node);
        self.set_isr(&isr, &[node]);
        if self.state.last_known == Some(node) {
            self.state.last_known = None;
        }
    }

    /// `node` may lack its last records, because the run before did not stop in order: it is forgotten, or, with nobody
    /// else left, remembered by name only (SAFETY R5).
    pub(crate) fn distrust(&mut self, node: NodeId) {
        if !self.is_member(node) {
            return; // And if it is the last known leader, it stays that.
        }
        self.forget(node);
        if self.state.isr.is_empty() && self.state.elr.is_empty() {
            self.state.last_known = Some(node);
        }
    }

    /// A member may lack its last records, and says which it has: it leaves the ISR, and is in the ELR only as one in doubt
    /// (SAFETY J4).
    pub(crate) fn doubt(&mut self, doubt: Doubt) {
        self.leave_isr(|node| node == doubt.node);
        if self.state.elr.contains(&doubt.node) {
            self.state.doubts.retain(|other| other.node != doubt.node);
            self.state.doubts.push(doubt);
            self.state.doubts.sort_by_key(|doubt| doubt.node);
        }
    }

    /// `min.insync.replicas` changed: where the watermark may move without the ELR from here on, it is emptied. Elsewhere
    /// it moves by neither value, and who has every committed record goes on having them (SAFETY R3).
    pub(crate) fn on_min_insync_changed(&mut self, min_insync_replicas: i32) {
        self.min_insync = usize::try_from(min_insync_replicas).expect("min.insync.replicas is 1 at least");
        let isr = self.state.isr.clone();
        self.set_isr(&isr, &[]);
    }

    /// Brings leader and members into line with who is there: fenced members leave the ISR, a leader that is about to stop
    /// hands over, and who may lead does.
    pub(crate) fn settle(&mut self, standing: impl Fn(NodeId) -> Standing) {
        self.leave_isr(|node| standing(node) == Standing::Fenced);
        self.arrive(&standing);
        self.elect(&standing);
        if self.arrive(&standing) {
            self.elect(&standing); // Who was elected was the last that it waited for.
        }
    }

    fn elect(&mut self, standing: impl Fn(NodeId) -> Standing) {
        match self.candidate(|node| standing(node) == Standing::Active) {
            Some(candidate) => {
                self.lead(candidate);
                // KIP-841: a broker in controlled shutdown is in no ISR that can do without it.
                self.leave_isr(|node| standing(node) == Standing::Leaving);
            }
            None if self.leads_on(|leader| standing(leader) == Standing::Leaving) => {
                // Nobody can take over: it leads until it stops, and those who stop with it leave before.
                let leader = self.state.leader;
                self.leave_isr(|node| Some(node) != leader && standing(node) == Standing::Leaving);
            }
            None => self.set_leader(None),
        }
    }

    /// The leader is such a one, and has what it needs to lead.
    fn leads_on(&self, is_such: impl Fn(NodeId) -> bool) -> bool {
        self.state.leader.is_some_and(|leader| self.state.isr.contains(&leader) && is_such(leader))
    }

    /// `node` leads instead, being in sync.
    pub(crate) fn prefer(&mut self, node: NodeId) {
        self.lead(Candidate::InSync(node));
    }

    /// Who leads, given who is there. Never one that may lack a committed record while another may still return that has
    /// them all.
    fn candidate(&self, is_active: impl Fn(NodeId) -> bool) -> Option<Candidate> {
        let PartitionState { leader, isr, elr, doubts, last_known, .. } = &self.state;
        let in_doubt = |node: NodeId| doubts.iter().any(|doubt| doubt.node == node);
        let active =
            |nodes: &[NodeId]| nodes.iter().copied().find(|&node| is_active(node) && !in_doubt(node));
        if let Some(leader) = leader.filter(|leader| isr.contains(leader) && is_active(*leader)) {
            return Some(Candidate::InSync(leader));
        }
        if let Some(node) = active(isr) {
            return Some(Candidate::InSync(node));
        }
        if let Some(node) = active(elr) {
            return Some(Candidate::Eligible(node));
        }
        if isr.is_empty() && elr.iter().all(|&node| in_doubt(node)) {
            // SAFETY J4: all have said what they have. Who has most has all that any of them has; it is waited for.
            let most = doubts.iter().map(|doubt| (doubt.epoch, doubt.end)).max();
            let longest = doubts.iter().filter(|doubt| Some((doubt.epoch, doubt.end)) == most);
            if let Some(doubt) = longest.copied().find(|doubt| is_active(doubt.node)) {
                return Some(Candidate::Longest(doubt));
            }
        }
        last_known.filter(|&node| is_active(node)).map(Candidate::LastKnown)
    }

    /// Makes a candidate the leader. One that is not in sync becomes an ISR of one; others that were eligible stay so.
    fn lead(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::InSync(node) => self.set_leader(Some(node)),
            Candidate::Eligible(node) => {
                self.set_isr(&[node], &[]);
                self.set_leader(Some(node));
            }
            Candidate::Longest(doubt) => {
                // (epoch, offset) names one record for ever: logs that end alike are alike, and no longer in doubt.
                self.state.doubts.retain(|other| (other.epoch, other.end) != (doubt.epoch, doubt.end));
                self.set_isr(&[doubt.node], &[]);
                self.set_leader(Some(doubt.node));
            }
            Candidate::LastKnown(node) => {
                self.set_isr(&[node], &[]);
                self.set_leader(Some(node));
                self.state.unclean_epoch = Some(self.state.leader_epoch);
            }
        }
    }

    fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.state.leader != leader {
            // The epoch that a leader left behind is nobody's yet: the next leader takes it.
            if self.state.leader.is_some() {
                self.state.leader_epoch.0 += 1;
            }
            self.state.leader = leader;
        }
    }

    /// What is to be written, if anything changed.
    pub(crate) fn changed(self) -> Option<Change> {
        let is_changed = self.state != self.before || self.reassigned.is_some() || self.ends_epoch;
        is_changed.then(|| self.renumbered())
    }

    /// The state under the next partition epoch, even if nothing else changed.
    pub(crate) fn renumbered(mut self) -> Change {
        assert!(self.state.partition_epoch == self.before.partition_epoch, "a draft is numbered once");
        assert!(
            self.state.leader.is_none_or(|leader| self.state.isr.contains(&leader)),
            "the leader is in sync"
        );
        let leads_on = self.before.leader.is_some() && self.state.leader_epoch == self.before.leader_epoch;
        if self.ends_epoch && leads_on {
            self.state.leader_epoch.0 += 1;
        }
        self.state.partition_epoch = PartitionEpoch(self.before.partition_epoch.0 + 1);
        Change { assignment: self.reassigned, state: self.state }
    }
}

impl Change {
    /// The record that says so.
    pub(crate) fn record(self, TopicPartition { topic_id, partition }: TopicPartition) -> MetadataRecord {
        let state = self.state;
        match self.assignment {
            Some(assignment) => MetadataRecord::Reassignment { topic_id, partition, assignment, state },
            None => MetadataRecord::PartitionChange { topic_id, partition, state },
        }
    }
}

/// Why a leader's ISR is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterRefusal {
    /// The leader is not registered as it says.
    StaleBrokerEpoch,
    /// There is no such partition.
    UnknownPartition,
    /// It does not lead in this epoch any more.
    FencedLeaderEpoch,
    /// It does not lead.
    NotLeader,
    /// It wants to change a state that is not the latest.
    StalePartitionEpoch,
    /// It has seen metadata that this controller has not.
    NotController,
    /// The ISR is without its leader, names a node twice or one that is no replica.
    InvalidIsr,
    /// A member may not be in an ISR: it is fenced, about to stop (KIP-841), or another run than the leader knows (KIP-903).
    Ineligible(NodeId),
}

impl AlterRefusal {
    /// Kafka's code.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::StaleBrokerEpoch => ErrorCode::StaleBrokerEpoch,
            Self::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Self::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
            Self::NotLeader | Self::InvalidIsr => ErrorCode::InvalidRequest,
            Self::StalePartitionEpoch => ErrorCode::InvalidUpdateVersion,
            Self::NotController => ErrorCode::NotController,
            Self::Ineligible(_) => ErrorCode::IneligibleReplica,
        }
    }
}

impl fmt::Display for AlterRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleBrokerEpoch => f.write_str("the leader registered anew"),
            Self::UnknownPartition => f.write_str("there is no such partition"),
            Self::FencedLeaderEpoch => f.write_str("the leader's epoch is over"),
            Self::NotLeader => f.write_str("the sender does not lead"),
            Self::StalePartitionEpoch => f.write_str("the partition's state has changed since"),
            Self::NotController => f.write_str("the leader knows newer metadata"),
            Self::InvalidIsr => f.write_str("the ISR lacks its leader, or names others than replicas"),
            Self::Ineligible(node) => write!(f, "node {node} may not be in an ISR as the leader knows it"),
        }
    }
}

impl core::error::Error for AlterRefusal {}

/// A leader wants its ISR changed (KIP-497). An ISR that is the same makes a new state all the same: it takes back what the
/// leader proposed before, which can then no longer be accepted.
///
/// # Errors
/// [`AlterRefusal`]; nothing is changed.
pub fn decide_alter_partition(
    image: &Image,
    from: NodeId,
    request: &AlterPartition,
) -> Result<Vec<MetadataRecord>, AlterRefusal> {
    let is_registered = |node: NodeId, epoch: BrokerEpoch| {
        image.brokers().get(&node).is_some_and(|broker| broker.epoch == epoch)
    };
    if !is_registered(from, request.broker_epoch) {
        return Err(AlterRefusal::StaleBrokerEpoch);
    }
    let topic = image.topic(request.partition.topic_id).ok_or(AlterRefusal::UnknownPartition)?;
    let partition = image.partition(request.partition).ok_or(AlterRefusal::UnknownPartition)?;
    let state = &partition.state;
    if request.epoch < state.leader_epoch {
        return Err(AlterRefusal::FencedLeaderEpoch);
    }
    if request.epoch > state.leader_epoch || request.partition_epoch > state.partition_epoch {
        return Err(AlterRefusal::NotController);
    }
    if state.leader != Some(from) {
        return Err(AlterRefusal::NotLeader);
    }
    if request.partition_epoch < state.partition_epoch {
        return Err(AlterRefusal::StalePartitionEpoch);
    }
    let isr: BTreeSet<NodeId> = request.isr.iter().map(|&(node, _)| node).collect();
    let are_replicas = isr.iter().all(|node| partition.replicas().contains(node));
    let lost_one = request.lost.iter().any(|node| isr.contains(node));
    if isr.len() != request.isr.len() || !isr.contains(&from) || !are_replicas || lost_one {
        return Err(AlterRefusal::InvalidIsr);
    }
    for &(node, epoch) in &request.isr {
        // A leader that is about to stop and has no successor asks for one to join.
        let may_join = node == from || standing(image, node) == Standing::Active;
        if !is_registered(node, epoch) || !may_join {
            return Err(AlterRefusal::Ineligible(node));
        }
    }
    let mut draft = Draft::new(topic, partition);
    let isr: Vec<NodeId> = isr.into_iter().collect();
    draft.set_isr(&isr, &request.lost);
    draft.settle(|node| standing(image, node));
    Ok(alloc::vec![draft.renumbered().record(request.partition)])
}

/// Records for changes, in the order of partitions.
pub(crate) fn change_records(changes: BTreeMap<TopicPartition, Change>) -> Vec<MetadataRecord> {
    changes.into_iter().map(|(partition, change)| change.record(partition)).collect()
}

/// How a broker stands in an image.
pub(crate) fn standing(image: &Image, node: NodeId) -> Standing {
    image.brokers().get(&node).map_or(Standing::Fenced, Standing::of)
}
