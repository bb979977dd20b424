//! What is asked of one node and of what is true, whichever world the node lives in: at every entry that it writes, and at what
//! its steps changed ([`super::sight`]). What takes a look at several nodes at once is the world's own.

use super::node_log::NodeLog;
use super::oracle::{Oracle, partition_of};
use super::s24::Register;
use super::shadow::{ShadowBatch, hashes, shadow_of};
use super::sight::Sight;
use super::truth::{Founding, Life, Truth};
use super::{Judge, q1, s1, s2, s3, s4, s6, s7, s9, s11, s13, s15, s16, s19, s20, s25};
use crate::marks::{Mark, Marks};
use crate::store::stamped;
use bytes::Bytes;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::{MetadataRecord, Voter};
use seedlog_core::group::records::{ConsumerRecord, GroupRecord};
use seedlog_core::ids::{LeaderEpoch, Offset, TopicPartition};
use seedlog_core::journal::Entry;
use seedlog_core::log::CompactionOrder;
use seedlog_core::output::Output;
use seedlog_core::records::BatchHeader;
use std::sync::Arc;

/// A node before the judges.
#[derive(Debug)]
pub struct Witness<'a> {
    /// What is true.
    pub truth: &'a mut Truth,
    /// What the node's folder holds.
    pub oracle: &'a mut Oracle,
    /// What clients produced.
    pub register: &'a Register,
    /// Coverage.
    pub marks: &'a mut Marks,
    /// The process, and the folder that it has.
    pub who: (Life, Voter),
    /// Nodes of the cluster, all of which are configured as voters.
    pub configured: usize,
    /// Virtual µs.
    pub now_us: u64,
    /// What was found, in order.
    pub heard: Vec<(Judge, String)>,
}

/// What a step changed, and what is left to be looked at.
#[derive(Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// A process leads the quorum.
    LeadsQuorum,
    /// It leads a partition.
    Leads(TopicPartition),
    /// More of a partition is committed than anybody knew before.
    Grown(TopicPartition),
}

/// An entry of the metadata that is committed from now on.
#[derive(Debug)]
pub struct Committed {
    /// Its records.
    pub records: Arc<[u8]>,
    /// The partitions that they are about.
    pub touched: Vec<TopicPartition>,
}

impl Witness<'_> {
    fn hear(&mut self, judge: Judge, said: Result<(), String>) {
        if let Err(says) = said {
            self.heard.push((judge, says));
        }
    }

    fn mark_if(&mut self, marks: &[(Mark, bool)]) {
        for (mark, _) in marks.iter().filter(|(_, hit)| *hit) {
            self.marks.hit(*mark);
        }
    }

    /// The node writes an entry, in a step that left its broker like this.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
    pub fn on_entry(&mut self, entry: &Entry, batch: Option<&(BatchHeader, Bytes)>, broker: Option<&Broker>) {
        self.judge_entry(entry, broker);
        let mut shadows = Vec::new();
        let mut whole = None;
        if let (Some(partition), Some((header, bytes))) = (partition_of(entry), batch) {
            whole = Some(hashes(header, bytes).0);
            shadows = self.batches_of(partition, header, bytes);
        }
        let lsn = self.oracle.end().next();
        match entry {
            Entry::Reset { partition, start, .. } | Entry::LogStart { partition, start } => {
                let front = self.front(*partition, *start);
                self.oracle.on_start(lsn, entry, front);
            }
            _ => self.oracle.on_append(lsn, entry, shadows, whole),
        }
    }

    /// What a batch that is appended stands for: it, or those that its leader has made it of by cleaning.
    fn batches_of(
        &mut self,
        partition: TopicPartition,
        header: &BatchHeader,
        bytes: &Bytes,
    ) -> Vec<Arc<ShadowBatch>> {
        let end = self.oracle.logs.get(&partition).map_or(Offset::ZERO, NodeLog::end);
        let patience = self.truth.patience;
        let truth = self.truth.log_mut(partition);
        if truth.is_compacted
            && let Ok(mut made_of) = s20::recognise(truth, patience, &stamped(header, bytes))
        {
            made_of.retain(|batch| batch.header.next_offset() > end);
            return made_of;
        }
        match truth.named.name(header, bytes) {
            Ok(named) => {
                // What coordinators write, no client produced.
                if named.groups.is_empty() {
                    let produced = self.register.check(named.payload, header.base_offset);
                    self.hear(Judge::S24, produced);
                }
                vec![named]
            }
            Err(says) => {
                self.hear(Judge::S2, Err(format!("{partition}: {says}")));
                vec![Arc::new(shadow_of(header, bytes))]
            }
        }
    }

    /// The node has a log cleaned.
    pub fn on_compact(&mut self, order: &CompactionOrder) {
        let truth = self.truth.log_mut(order.partition);
        truth.is_compacted = true;
        let said = s20::check_order(truth, order.partition, order.up_to);
        self.hear(Judge::S20, said);
    }

    /// What a log that starts there would have before.
    fn front(&self, partition: TopicPartition, start: Offset) -> Vec<Arc<ShadowBatch>> {
        let Some(truth) = self.truth.logs.get(&partition) else { return Vec::new() };
        let own = self.oracle.logs.get(&partition).filter(|_| truth.is_beyond);
        match own {
            // What counts as true there may lack what this one had.
            Some(own) => {
                let held = own.batches[..own.count_below(start)].iter();
                held.map(|held| Arc::clone(&held.batch)).collect()
            }
            None => truth.front(start).map(Arc::clone).collect(),
        }
    }

    fn judge_entry(&mut self, entry: &Entry, broker: Option<&Broker>) {
        match entry {
            Entry::Cut { partition, to } => {
                let had = self.judge_cut(*partition, *to);
                self.mark_if(&[(Mark::FollowerCut, had)]);
            }
            Entry::Reset { partition, start: Offset::ZERO, .. } if self.is_let_go(*partition, broker) => {
                self.marks.hit(Mark::CopyLetGo);
            }
            Entry::Reset { partition, start, tombstones_gone_to, .. } => {
                if self.misses_tombstones(*partition, *tombstones_gone_to) {
                    self.marks.hit(Mark::CopyMissedTombstones);
                } else {
                    self.judge_cut(*partition, *start);
                }
                self.judge_start(*partition, *start);
                let is_above_zero = *start > Offset::ZERO;
                self.mark_if(&[(Mark::LogReset, true), (Mark::ResetAboveZero, is_above_zero)]);
            }
            Entry::LogStart { partition, start } => {
                self.judge_start(*partition, *start);
                self.marks.hit(Mark::RecordsDeleted);
            }
            Entry::MetadataCut { to } => self.judge_metadata_cut(*to),
            Entry::MetadataImage { from: 0, .. } => self.marks.hit(Mark::MetadataSnapshot),
            Entry::Trusted { .. } => self.marks.hit(Mark::DoubtResolved),
            Entry::Damaged { partition, .. } => {
                let says = "a copy is given up, though no fault touched it";
                let is_excused = self.oracle.may_be_given_up(*partition);
                self.hear(Judge::S18, if is_excused { Ok(()) } else { Err(format!("{partition}: {says}")) });
                self.marks.hit(Mark::RotFound);
            }
            Entry::Founded { cluster_id, voters } => {
                let said = q1::check(voters, self.configured);
                self.hear(Judge::Q1, said);
                let lsn = self.oracle.end().next();
                let new = Founding { cluster: *cluster_id, by: self.who.1, lsn, is_shared: false };
                let oracle = &self.oracle;
                let is_lost = |lsn| {
                    let entry = oracle.ghost(lsn).map(|ghost| &ghost.entry);
                    !entry.is_some_and(|entry| matches!(entry, Entry::Founded { .. }))
                };
                if let Err(first) = self.truth.on_founded(new, voters, is_lost) {
                    let says = format!("cluster {cluster_id} is founded, and {first} was");
                    self.hear(Judge::Q1, Err(says));
                }
            }
            Entry::Compacted { .. } => self.marks.hit(Mark::LogCompacted),
            Entry::Append(_)
            | Entry::EpochStart { .. }
            | Entry::Metadata { .. }
            | Entry::MetadataImage { .. }
            | Entry::ProducersExpired { .. }
            | Entry::Dropped { .. }
            | Entry::Dropping { .. }
            | Entry::Started { .. }
            | Entry::Stopped
            | Entry::Vote { .. } => {}
        }
    }

    fn judge_start(&mut self, partition: TopicPartition, start: Offset) {
        let truth = self.truth.log_mut(partition);
        let log = self.oracle.logs.entry(partition).or_default();
        let from = (!log.given_up && !truth.is_beyond).then(|| log.start());
        let committed = if truth.is_beyond { Offset(i64::MAX) } else { truth.end() };
        let is_within = truth.is_within_a_batch(start);
        let said = s6::check_start(s6::Moving { from, to: start, asked: truth.asked, committed });
        self.hear(Judge::S6, said.map_err(|says| format!("{partition}: {says}")));
        self.mark_if(&[(Mark::StartWithinBatch, is_within)]);
    }

    /// A copy of which nobody counts on anything ends below tombstones that its leader has dropped: it has to begin anew, whatever
    /// it holds.
    fn misses_tombstones(&mut self, partition: TopicPartition, gone_to: Offset) -> bool {
        let me = self.who.1.node_id;
        let is_counted_on = self
            .truth
            .image
            .partition(partition)
            .is_some_and(|held| held.state.isr.contains(&me) || held.state.elr.contains(&me));
        let log = self.oracle.logs.entry(partition).or_default();
        self.truth.log_mut(partition).is_compacted && log.end() < gone_to && !is_counted_on
    }

    /// Its replicas are others by the committed metadata that the node knows, which nobody else may have seen yet; or they were,
    /// and the node is about to become one anew.
    fn is_let_go(&self, partition: TopicPartition, broker: Option<&Broker>) -> bool {
        let image = broker.map_or(&self.truth.image, Broker::image);
        image.partition(partition).is_some_and(|held| {
            let (assignment, me) = (&held.assignment, self.who.1.node_id);
            !assignment.replicas().contains(&me)
                || assignment.adding().contains(&me) && !held.state.isr.contains(&me)
        })
    }

    /// Gives back whether anything is cut off.
    fn judge_cut(&mut self, partition: TopicPartition, to: Offset) -> bool {
        let truth = self.truth.log_mut(partition);
        let log = self.oracle.logs.entry(partition).or_default();
        let had = log.end() > to;
        let said = s7::check_cut(truth, log, to).map_err(|says| format!("{partition}: {says}"));
        self.hear(Judge::S7, said);
        had
    }

    fn judge_metadata_cut(&mut self, to: Offset) {
        let committed = i64::try_from(self.truth.entries.len()).unwrap_or(i64::MAX);
        self.match_metadata();
        let matched = self.oracle.metadata.matched.min(committed);
        // An observer's copy counts for nothing: a leader may ask it to begin earlier than it would have to.
        if to.0 < matched && self.truth.image.voters().contains(&self.who.1) {
            let says = format!("the metadata log is cut at {to}, and what is below {matched} is committed");
            self.hear(Judge::S7, Err(says));
        }
    }

    fn match_metadata(&mut self) -> Option<i64> {
        let metadata = &mut self.oracle.metadata;
        while let Some(own) = metadata.at(metadata.matched)
            && let Some(held) =
                usize::try_from(metadata.matched).ok().and_then(|at| self.truth.entries.get(at))
        {
            if (own.epoch, own.hash) != (held.epoch, held.hash) {
                return Some(metadata.matched);
            }
            metadata.matched += 1;
        }
        None
    }

    /// A step changed something. What it takes for committed metadata goes through [`Self::commit_next`] before.
    pub fn on_sight(&mut self, sight: &Sight, broker: &Broker) -> Left {
        match sight {
            Sight::Term { before, now } => {
                self.hear(Judge::S11, s11::check_forward("its term", *before, *now));
            }
            Sight::Committed(_) => {}
            Sight::LeadsQuorum(term) => {
                self.on_quorum_leader(*term);
                return Left::LeadsQuorum;
            }
            Sight::Image { end, hash } => {
                let said = s15::check_image(&self.truth.entries, *end, *hash);
                self.hear(Judge::S15, said);
            }
            Sight::Epoch { partition, before, now } => {
                let what = format!("{partition}: its leader epoch");
                self.hear(Judge::S11, s11::check_forward(&what, *before, *now));
            }
            Sight::Leads { partition, epoch } => {
                self.on_partition_leader(*partition, *epoch, broker);
                return Left::Leads(*partition);
            }
            Sight::Watermark { partition, end, .. } => {
                if self.on_watermark(*partition, *end, broker) {
                    return Left::Grown(*partition);
                }
            }
        }
        Left::Nothing
    }

    fn on_quorum_leader(&mut self, term: LeaderEpoch) {
        if let Err((judge, says)) = s16::check_leader(&mut self.truth.terms, term, self.who.0) {
            self.hear(judge, Err(format!("the quorum: {says}")));
        }
        self.match_metadata();
        let committed = i64::try_from(self.truth.entries.len()).unwrap_or(i64::MAX);
        let matched = self.oracle.metadata.matched;
        let has_successor = self.truth.terms.keys().next_back().is_some_and(|latest| *latest > term);
        let said = s3::check_quorum(term, matched, committed, has_successor);
        self.hear(Judge::S1, said.clone());
        self.hear(Judge::S3, said);
    }

    /// The node takes the metadata up to `end` for committed. Gives back the next entry of it that nobody knew to be.
    pub fn commit_next(&mut self, end: Offset) -> Option<Committed> {
        if let Some(offset) = self.match_metadata().filter(|offset| *offset < end.0) {
            let says = format!(
                "entry {offset} of the metadata is committed, and this node has another one committed"
            );
            self.hear(Judge::S2, Err(says));
            return None;
        }
        let next = i64::try_from(self.truth.entries.len()).unwrap_or(i64::MAX);
        if next >= end.0 {
            return None;
        }
        let Some(held) = self.oracle.metadata.at(next).cloned() else {
            self.hear(Judge::S4, s4::check_end("the metadata", Offset(next), end));
            return None;
        };
        let decoded = MetadataRecord::decode(&held.records).unwrap_or_default();
        let (of_elr, unclean) = self.truth.elections(&decoded);
        self.mark_if(&[(Mark::ElrElected, of_elr), (Mark::UncleanElected, unclean)]);
        let (arrived, went_back) = self.truth.moves(&decoded);
        self.mark_if(&[(Mark::PartitionMoved, arrived), (Mark::MoveTakenBack, went_back)]);
        match self.truth.commit(held.epoch, &held.records) {
            Ok(touched) => {
                self.oracle.metadata.matched = next + 1;
                for &partition in &touched {
                    let said = s13::check(&self.truth.image, partition);
                    self.hear(Judge::S13, said);
                    self.mark_state(partition);
                }
                Some(Committed { records: held.records, touched })
            }
            Err(says) => {
                self.hear(Judge::S15, Err(says));
                None
            }
        }
    }

    fn mark_state(&mut self, partition: TopicPartition) {
        let Some(held) = self.truth.image.partition(partition) else { return };
        let alone = held.replicas().len() > 1 && held.state.isr.len() == 1;
        let (has_elr, doubts) = (!held.state.elr.is_empty(), !held.state.doubts.is_empty());
        self.mark_if(&[(Mark::IsrOfOne, alone), (Mark::HasElr, has_elr), (Mark::DoubtsInMetadata, doubts)]);
    }

    fn judge_epochs(&mut self, partition: TopicPartition, broker: &Broker) {
        let Some(replica) = broker.replicas().get(&partition) else { return };
        let Some(log) = self.oracle.logs.get(&partition) else { return };
        if log.given_up || replica.damage().is_some() || self.oracle.lost_a_start(partition) {
            return;
        }
        let said = s9::check(replica.log(), log).map_err(|says| format!("{partition}: {says}"));
        self.hear(Judge::S9, said);
    }

    fn on_partition_leader(&mut self, partition: TopicPartition, epoch: LeaderEpoch, broker: &Broker) {
        self.judge_epochs(partition, broker);
        let truth = self.truth.log_mut(partition);
        let led = s16::check_leader(&mut truth.leaders, epoch, self.who.0);
        let log = self.oracle.logs.entry(partition).or_default();
        let complete = s1::check_leader(truth, log, partition, epoch);
        if let Err((judge, says)) = led {
            self.hear(judge, Err(format!("{partition}: {says}")));
        }
        if let Err((judge, says)) = complete {
            self.hear(judge, Err(says));
        }
    }

    /// A step wrote outputs, or read batches back: what it knows of groups that it wrote, or read, is what its log says.
    pub fn on_groups(&mut self, broker: &Broker, outputs: &[Output], was_read: bool) {
        let written: Vec<TopicPartition> = outputs.iter().filter_map(appended_to).collect();
        if written.is_empty() && !was_read {
            return;
        }
        for (partition, groups) in broker.coordinated() {
            if groups.has_gaps() {
                self.truth.groups.excuse();
                self.mark_if(&[(Mark::GroupsWithGaps, was_read)]);
            } else if was_read || written.contains(&partition) {
                let said = s19::check(groups, self.oracle.logs.get(&partition));
                self.hear(Judge::S19, said.map_err(|says| format!("{partition}: {says}")));
            }
        }
        self.mark_if(&[(Mark::GroupLoaded, was_read)]);
    }

    fn on_groups_committed(&mut self, records: &[GroupRecord]) {
        for record in records {
            if let Err((judge, says)) = self.truth.groups.on_committed(self.now_us, record) {
                self.hear(judge, Err(says));
            }
            let is_forgotten = matches!(record, GroupRecord::Offset(_, None));
            self.mark_if(&[(Mark::OffsetsForgotten, is_forgotten)]);
        }
        let is = |what: fn(&GroupRecord) -> bool| records.iter().any(what);
        let ends_classic = is(|record| matches!(record, GroupRecord::Classic(_, None)));
        let is_classic = is(|record| matches!(record, GroupRecord::Classic(_, Some(_))));
        let is_consumer =
            is(|record| matches!(record, GroupRecord::Consumer(ConsumerRecord::Group(_, Some(_)))));
        let ends_consumer =
            is(|record| matches!(record, GroupRecord::Consumer(ConsumerRecord::Group(_, None))));
        self.mark_if(&[
            (Mark::GroupUpgraded, ends_classic && is_consumer),
            (Mark::GroupDowngraded, ends_consumer && is_classic),
        ]);
    }

    /// Gives back whether more is committed than before.
    fn on_watermark(&mut self, partition: TopicPartition, end: Offset, broker: &Broker) -> bool {
        let truth = self.truth.log_mut(partition);
        if truth.is_beyond {
            return false;
        }
        let log = self.oracle.logs.entry(partition).or_default();
        if log.given_up {
            return false;
        }
        if let Err(says) = s2::check_committed(truth, log, end) {
            self.hear(Judge::S2, Err(format!("{partition}: {says}")));
            return false;
        }
        if let Err(says) = s4::check_end(&partition.to_string(), log.end(), end) {
            self.hear(Judge::S4, Err(says));
            return false;
        }
        let mut sequences = Ok(());
        let mut committed: Vec<Vec<GroupRecord>> = Vec::new();
        let grew = truth.end() < end;
        while truth.end() < end
            && let Some(held) = log.batches.get(truth.batches.len())
        {
            sequences = sequences.and_then(|()| s25::check_next(&mut truth.producers, &held.batch));
            truth.on_committed(&held.batch, self.now_us);
            log.matched = truth.batches.len();
            committed.extend((!held.batch.groups.is_empty()).then(|| held.batch.groups.clone()));
        }
        committed.iter().for_each(|records| self.on_groups_committed(records));
        self.hear(Judge::S25, sequences.map_err(|says| format!("{partition}: {says}")));
        self.judge_epochs(partition, broker);
        grew
    }
}

/// The partition that an output appends to.
fn appended_to(output: &Output) -> Option<TopicPartition> {
    if let Output::Journal { entry: Entry::Append(append), .. } = output {
        Some(append.partition)
    } else {
        None
    }
}
