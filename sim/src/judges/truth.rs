//! What the cluster has promised, whoever was asked: the committed records of every partition, the committed metadata, who
//! led what and when (INVARIANTS.md, "cheap oracle": the shadow log). Records enter the moment any node's high watermark
//! passes them; every later sighting is compared with them.

use super::groups::Groups;
use super::node_log::NodeLog;
use super::s2::Named;
use super::s20::{LastOfKey, Patience};
use super::shadow::ShadowBatch;
use crate::hash::hash64;
use crate::plan::Flush;
use seedlog_core::cluster::image::Image;
use seedlog_core::cluster::records::{MetadataRecord, Voter};
use seedlog_core::group::{OFFSETS_TOPIC, group_partition};
use seedlog_core::ids::{
    LeaderEpoch, Lsn, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition, Uuid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One process: the machine, and which of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The machine.
    pub machine: usize,
    /// Number of the process.
    pub life: u64,
}

/// Who wrote down first that a cluster was founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founding {
    /// It.
    pub cluster: Uuid,
    /// The folder.
    pub by: Voter,
    /// The entry in its journal.
    pub lsn: Lsn,
    /// Another folder has it as well.
    pub is_shared: bool,
}

/// What is true.
#[derive(Debug, Default)]
pub struct Truth {
    /// By partition; deleted ones stay.
    pub logs: BTreeMap<TopicPartition, TrueLog>,
    /// By id; deleted ones stay.
    pub topics: BTreeMap<Uuid, ShadowTopic>,
    /// The committed metadata as far as anybody knows it.
    pub image: Image,
    /// The least that a topic ever needed in sync: the losses that all of its records must survive.
    pub needed: BTreeMap<Uuid, i32>,
    /// Its entries.
    pub entries: Vec<TrueEntry>,
    /// Who led the quorum in a term.
    pub terms: BTreeMap<LeaderEpoch, Life>,
    /// The cluster, once it was founded.
    pub cluster: Option<Founding>,
    /// Nodes whose disks lost what counted as durable.
    pub losers: BTreeSet<NodeId>,
    /// With flush=interval a last known leader may be elected although it stopped uncleanly: what it lacks is lost, and the
    /// metadata says so (SAFETY R5). With flush=always nothing excuses that.
    pub allows_unclean: bool,
    /// What groups were told.
    pub groups: Groups,
    /// How long tombstones stay at least, and what time it is.
    pub patience: Patience,
}

/// One partition.
#[derive(Debug, Default)]
pub struct TrueLog {
    /// Every batch that was ever appended anywhere.
    pub named: Named,
    /// The committed ones, in order, without gaps.
    pub batches: Vec<TrueBatch>,
    /// More copies were lost than the topic promises to survive.
    pub is_beyond: bool,
    /// Somebody has begun to clean a copy.
    pub is_compacted: bool,
    /// Where each key of the committed records stands last.
    pub keys: BTreeMap<u64, LastOfKey>,
    /// Who led in an epoch.
    pub leaders: BTreeMap<LeaderEpoch, Life>,
    /// Producers as the committed records leave them: epoch and the sequence that is due.
    pub producers: BTreeMap<ProducerId, (ProducerEpoch, i32)>,
    /// Replicas that were let go of, each with the leader epoch that began then: what they had counted before it.
    pub left: BTreeMap<NodeId, LeaderEpoch>,
    /// The greatest offset before which clients asked for records to be deleted, or records expired: no log starts behind it.
    pub asked: Offset,
    /// The greatest that was answered: every log that was live then starts there or later.
    pub deleted: Offset,
}

/// A committed batch.
#[derive(Debug, Clone)]
pub struct TrueBatch {
    /// It.
    pub batch: Arc<ShadowBatch>,
    /// An acknowledgement of all replicas left.
    pub acked: bool,
    /// It was sent to a reader.
    pub served: bool,
}

/// An entry of the committed metadata.
#[derive(Debug, Clone)]
pub struct TrueEntry {
    /// Its term.
    pub epoch: LeaderEpoch,
    /// Hash of its records.
    pub hash: u64,
    /// Hash of the image behind it.
    pub image: u64,
}

/// One topic.
#[derive(Debug, Clone)]
pub struct ShadowTopic {
    /// Its name.
    pub name: String,
    /// It was removed.
    pub is_removed: bool,
}

impl TrueLog {
    /// The true high watermark: the greatest that any node ever had.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |held| held.batch.header.next_offset())
    }

    /// The next batch is committed.
    pub fn on_committed(&mut self, batch: &Arc<ShadowBatch>, now_us: u64) {
        for record in &batch.records {
            let content = (!record.is_tombstone).then_some(record.content);
            self.keys.insert(record.key, LastOfKey { offset: record.offset, content, at_us: now_us });
        }
        self.batches.push(TrueBatch { batch: Arc::clone(batch), acked: false, served: false });
    }

    /// The batches that have an offset within these bounds.
    pub fn within(&mut self, from: Offset, to: Offset) -> impl Iterator<Item = &mut TrueBatch> {
        let first = self.batches.partition_point(|held| held.batch.header.next_offset() <= from);
        self.batches[first..].iter_mut().take_while(move |held| held.batch.header.base_offset < to)
    }

    /// The batches before a start.
    pub fn front(&self, start: Offset) -> impl Iterator<Item = &Arc<ShadowBatch>> {
        self.batches
            .iter()
            .map(|held| &held.batch)
            .take_while(move |batch| batch.header.next_offset() <= start)
    }

    /// A log that starts there begins with part of a batch.
    #[must_use]
    pub fn is_within_a_batch(&self, start: Offset) -> bool {
        let at = self.batches.partition_point(|held| held.batch.header.next_offset() <= start);
        self.batches.get(at).is_some_and(|held| held.batch.header.base_offset < start)
    }

    /// A client asks for the records before an offset to be deleted, or they have expired.
    pub fn ask(&mut self, before: Offset) {
        self.asked = self.asked.max(before);
    }

    /// The batch that begins at an offset.
    #[must_use]
    pub fn at(&self, base: Offset) -> Option<&TrueBatch> {
        self.index_of(base).map(|at| &self.batches[at])
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, base: Offset) -> Option<&mut TrueBatch> {
        self.index_of(base).map(|at| &mut self.batches[at])
    }

    fn index_of(&self, base: Offset) -> Option<usize> {
        self.batches.binary_search_by_key(&base, |held| held.batch.header.base_offset).ok()
    }

    /// Compares what a node's log holds with what is true, from where they were compared before. Gives back whether they
    /// agree as far as both go.
    pub fn compare(&self, log: &mut NodeLog) -> Result<(), Offset> {
        while let (Some(own), Some(held)) = (log.batches.get(log.matched), self.batches.get(log.matched)) {
            if !Arc::ptr_eq(&own.batch, &held.batch) && own.batch.whole != held.batch.whole {
                return Err(held.batch.header.base_offset);
            }
            log.matched += 1;
        }
        Ok(())
    }

    /// The node's log has every committed batch.
    pub fn is_held_by(&self, log: &mut NodeLog) -> bool {
        self.compare(log).is_ok() && log.matched >= self.batches.len()
    }

    /// The first committed batch that a log lacks, as far as it was compared.
    #[must_use]
    pub fn first_lacking(&self, log: &NodeLog) -> Option<&TrueBatch> {
        self.batches.get(log.matched)
    }
}

impl Truth {
    /// The log of a group, once there is one.
    #[must_use]
    pub fn log_of_group(&self, group: &str) -> Option<TopicPartition> {
        let (topic_id, topic) = self.image.topic_named(OFFSETS_TOPIC)?;
        let index = group_partition(group, topic.partitions.len());
        Some(partition_of(topic_id, i32::try_from(index).ok()?))
    }

    /// A disk of a node lost something. Partitions of which too many copies were lost are beyond the promise.
    pub fn on_loss(&mut self, node: NodeId) {
        self.losers.insert(node);
        let Self { logs, image, losers, needed, .. } = self;
        for (partition, log) in logs {
            log.is_beyond |= is_beyond(image, needed, losers, *partition);
        }
    }

    /// Whether more copies of a partition were lost than its topic promises to survive.
    #[must_use]
    pub fn is_beyond(&self, partition: TopicPartition) -> bool {
        self.logs.get(&partition).is_some_and(|log| log.is_beyond)
            || is_beyond(&self.image, &self.needed, &self.losers, partition)
    }

    /// A node is in ISR or ELR of a partition, as far as anybody knows the committed metadata.
    #[must_use]
    pub fn may_lead(&self, partition: TopicPartition, node: NodeId) -> bool {
        let held = self.image.partition(partition);
        held.is_some_and(|held| held.state.isr.contains(&node) || held.state.elr.contains(&node))
    }

    /// A node holds a partition, as far as anybody knows the committed metadata.
    #[must_use]
    pub fn is_replica(&self, partition: TopicPartition, node: NodeId) -> bool {
        self.image.partition(partition).is_some_and(|held| held.replicas().contains(&node))
    }

    /// A node held a partition in a leader epoch and was let go of since; it may be about to hold it anew.
    #[must_use]
    pub fn has_left(&self, partition: TopicPartition, node: NodeId, epoch: LeaderEpoch) -> bool {
        let left = self.logs.get(&partition).and_then(|log| log.left.get(&node));
        left.is_some_and(|begun| epoch < *begun)
    }

    /// A partition's log, which is made if nothing was known of it.
    pub fn log_mut(&mut self, partition: TopicPartition) -> &mut TrueLog {
        let Self { logs, image, losers, needed, .. } = self;
        logs.entry(partition).or_insert_with(|| TrueLog {
            is_beyond: is_beyond(image, needed, losers, partition),
            ..TrueLog::default()
        })
    }

    /// A node writes down that the cluster was founded. `is_lost`: its journal does not have such an entry (any more).
    ///
    /// # Errors
    /// Another cluster was founded before, and that counts.
    pub fn on_founded(
        &mut self,
        new: Founding,
        voters: &[Voter],
        is_lost: impl Fn(Lsn) -> bool,
    ) -> Result<(), Uuid> {
        match &mut self.cluster {
            Some(known) if known.cluster == new.cluster => known.is_shared |= known.by != new.by,
            // Nobody hears of a founding that is not on its founder's disk yet: it may be lost, and founded anew.
            Some(known) if known.is_shared || known.by != new.by || !is_lost(known.lsn) => {
                return Err(known.cluster);
            }
            Some(_) | None => {
                self.cluster = Some(new);
                self.image = Image::founded(voters.to_vec());
            }
        }
        Ok(())
    }

    /// What an entry is about to change in who leads: an eligible replica outside of the ISR is elected, or one that may lack
    /// records.
    #[must_use]
    pub fn elections(&self, records: &[MetadataRecord]) -> (bool, bool) {
        let mut elected = (false, false);
        for record in records {
            if let MetadataRecord::PartitionChange { topic_id, partition, state }
            | MetadataRecord::Reassignment { topic_id, partition, state, .. } = record
            {
                let name = TopicPartition { topic_id: *topic_id, partition: *partition };
                let Some(before) = self.image.partition(name).map(|held| &held.state) else { continue };
                let is_new = state.leader != before.leader;
                elected.0 |= is_new && state.leader.is_some_and(|leader| before.elr.contains(&leader));
                elected.1 |= state.unclean_epoch > before.unclean_epoch;
            }
        }
        elected
    }

    /// What an entry is about to do to partitions that move: one arrives, or goes back.
    #[must_use]
    pub fn moves(&self, records: &[MetadataRecord]) -> (bool, bool) {
        let mut ended = (false, false);
        for record in records {
            if let MetadataRecord::Reassignment { topic_id, partition, assignment, .. } = record {
                let name = TopicPartition { topic_id: *topic_id, partition: *partition };
                let Some(before) = self.image.partition(name).map(|held| &held.assignment) else { continue };
                let ends = before.is_moving() && !assignment.is_moving();
                ended.0 |= ends && assignment.replicas() == before.target();
                ended.1 |= ends && assignment.replicas() == before.origin();
            }
        }
        ended
    }

    /// The next entry of the metadata is committed. Gives back the partitions that it is about.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn commit(&mut self, epoch: LeaderEpoch, records: &[u8]) -> Result<Vec<TopicPartition>, String> {
        let decoded = MetadataRecord::decode(records).map_err(str::to_owned)?;
        let mut touched = Vec::new();
        self.note_who_leaves(&decoded);
        for record in &decoded {
            match record {
                MetadataRecord::Topic { topic_id, name, min_insync_replicas, .. } => {
                    self.needed.insert(*topic_id, *min_insync_replicas);
                    self.topics.insert(*topic_id, ShadowTopic { name: name.clone(), is_removed: false });
                }
                MetadataRecord::TopicConfig { topic_id, min_insync_replicas, .. } => {
                    if let Some(needed) = self.needed.get_mut(topic_id) {
                        *needed = (*needed).min(*min_insync_replicas);
                    }
                }
                MetadataRecord::RemoveTopic { topic_id } => {
                    if let Some(topic) = self.topics.get_mut(topic_id) {
                        topic.is_removed = true;
                    }
                }
                MetadataRecord::Partition { topic_id, partition, .. }
                | MetadataRecord::PartitionChange { topic_id, partition, .. }
                | MetadataRecord::Reassignment { topic_id, partition, .. } => {
                    touched.push(TopicPartition { topic_id: *topic_id, partition: *partition });
                }
                MetadataRecord::GroupConfig { group, config } => {
                    let own = config.typed().heartbeat_interval_ms;
                    self.groups.group(&group.as_str().into()).heartbeats_ms.extend(own);
                }
                MetadataRecord::LeaderChange { .. }
                | MetadataRecord::Voters { .. }
                | MetadataRecord::RegisterBroker { .. }
                | MetadataRecord::BrokerState { .. }
                | MetadataRecord::ProducerIds { .. } => {}
            }
        }
        let offset = Offset(i64::try_from(self.entries.len()).unwrap_or(i64::MAX));
        self.image.replay(offset, &decoded);
        let entry = TrueEntry { epoch, hash: hash64(records), image: image_hash(&self.image) };
        self.entries.push(entry);
        let image = &self.image;
        touched.retain(|partition| image.partition(*partition).is_some());
        let unclean: Vec<TopicPartition> = touched
            .iter()
            .copied()
            .filter(|name| image.partition(*name).is_some_and(|held| held.state.unclean_epoch.is_some()))
            .filter(|_| self.allows_unclean)
            .collect();
        for partition in unclean {
            self.log_mut(partition).is_beyond = true;
        }
        for partition in &touched {
            self.log_mut(*partition);
        }
        Ok(touched)
    }

    fn note_who_leaves(&mut self, records: &[MetadataRecord]) {
        for record in records {
            let MetadataRecord::Reassignment { topic_id, partition, assignment, state } = record else {
                continue;
            };
            let name = TopicPartition { topic_id: *topic_id, partition: *partition };
            let before = self.image.partition(name).map(|held| held.replicas().to_vec()).unwrap_or_default();
            let left = before.into_iter().filter(|node| !assignment.replicas().contains(node));
            let left = left.map(|node| (node, state.leader_epoch));
            self.log_mut(name).left.extend(left);
        }
    }

    /// Nobody is left who may lead a partition, and the promise allows that: too many copies were lost; or, with
    /// flush=interval, every copy lost its cache, and each would have to be trusted without reason (SAFETY R5).
    #[must_use]
    pub fn may_stay_offline(&self, partition: TopicPartition, flush: Flush) -> bool {
        let Some(held) = self.image.partition(partition) else { return true };
        let nobody = held.state.isr.is_empty() && held.state.elr.is_empty();
        self.is_beyond(partition) || flush != Flush::Always && nobody
    }

    /// The topic that has this name.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<Uuid> {
        self.image.topic_named(name).map(|(topic_id, _)| topic_id)
    }

    /// Partitions of the topics that exist.
    #[must_use]
    pub fn is_live(&self, partition: TopicPartition) -> bool {
        self.image.partition(partition).is_some()
    }
}

fn is_beyond(
    image: &Image,
    needed: &BTreeMap<Uuid, i32>,
    losers: &BTreeSet<NodeId>,
    partition: TopicPartition,
) -> bool {
    let Some(held) = image.partition(partition) else { return false };
    let needed = needed.get(&partition.topic_id).copied().unwrap_or(1);
    let lost = held.replicas().iter().filter(|node| losers.contains(node)).count();
    lost > 0 && i32::try_from(lost).unwrap_or(i32::MAX) >= needed
}

/// The hash of an image.
#[must_use]
pub fn image_hash(image: &Image) -> u64 {
    hash64(&postcard::to_allocvec(image).expect("in-memory serialisation of plain data cannot fail"))
}

/// A partition of the topic.
#[must_use]
pub fn partition_of(topic_id: Uuid, index: i32) -> TopicPartition {
    TopicPartition { topic_id, partition: PartitionIndex(index) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::judges::oracle::Oracle;
    use crate::judges::oracle::tests::partition;
    use seedlog_core::cluster::assignment::Assignment;
    use seedlog_core::cluster::records::PartitionState;
    use seedlog_core::cluster::topic_config::TopicConfig;
    use seedlog_core::ids::PartitionEpoch;

    /// Seed 10,744: a founder's sync failed.
    #[test]
    fn a_founding_that_its_founder_alone_had_and_lost_is_none() {
        let voter = |id| Voter { node_id: NodeId(id), incarnation: Uuid([id.unsigned_abs() as u8; 16]) };
        let founding = |cluster, by| Founding {
            cluster: Uuid([cluster; 16]),
            by: voter(by),
            lsn: Lsn(2),
            is_shared: false,
        };
        let (first, second) = (Uuid([1; 16]), Uuid([2; 16]));
        let mut truth = Truth::default();
        let mut told = |new, is_lost| truth.on_founded(new, &[voter(1), voter(2)], |_| is_lost);
        assert_eq!(told(founding(1, 1), false), Ok(()));
        assert_eq!(told(founding(2, 1), false), Err(first), "it has the first one still");
        assert_eq!(told(founding(2, 2), true), Err(first), "another node knows nothing of that journal");
        assert_eq!(told(founding(2, 1), true), Ok(()));
        assert_eq!(told(founding(2, 2), false), Ok(()));
        assert_eq!(told(founding(3, 1), true), Err(second), "node 2 has it, too");
    }

    /// A log of which everything that an oracle holds is committed.
    pub(crate) fn true_log(oracle: &Oracle) -> TrueLog {
        let held = &oracle.logs[&partition()].batches;
        let batches =
            held.iter().map(|held| TrueBatch { batch: Arc::clone(&held.batch), acked: false, served: false });
        TrueLog { batches: batches.collect(), ..TrueLog::default() }
    }

    // Seed 1,805 of the whole world.
    #[test]
    fn who_was_let_go_of_had_what_counts_before_and_not_what_counts_once_it_is_back() {
        let TopicPartition { topic_id, partition: index } = partition();
        let (one, two) = (vec![NodeId(1)], vec![NodeId(1), NodeId(2)]);
        let state = |epoch: i32| PartitionState {
            leader: Some(NodeId(1)),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(epoch),
            isr: one.clone(),
            ..PartitionState::default()
        };
        let moves = |epoch: i32, replicas: &[NodeId]| {
            let assignment = Assignment::settled(replicas.to_vec());
            MetadataRecord::Reassignment { topic_id, partition: index, assignment, state: state(epoch) }
        };
        let mut truth = Truth::default();
        let created = [
            MetadataRecord::Topic {
                topic_id,
                name: "t".to_owned(),
                config: TopicConfig::default(),
                min_insync_replicas: 1,
            },
            MetadataRecord::Partition { topic_id, partition: index, replicas: two.clone(), state: state(0) },
        ];
        let commit = |truth: &mut Truth, records: &[MetadataRecord]| {
            truth.commit(LeaderEpoch(1), &MetadataRecord::encode(records)).unwrap();
        };
        commit(&mut truth, &created);
        commit(&mut truth, &[moves(1, &one)]);
        commit(&mut truth, &[moves(2, &two)]);
        assert!(truth.is_replica(partition(), NodeId(2)));
        assert!(truth.has_left(partition(), NodeId(2), LeaderEpoch(0)));
        assert!(!truth.has_left(partition(), NodeId(2), LeaderEpoch(1)));
        assert!(!truth.has_left(partition(), NodeId(1), LeaderEpoch(0)));
    }
}
