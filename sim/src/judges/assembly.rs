//! What takes a look at several folders at once, whichever world their machines stand in: who backs a watermark, who may become
//! leader, what nodes say to each other. What is asked of one node alone is in [`super::witness`].

use super::oracle::Oracle;
use super::sight::{Seen, resolve};
use super::truth::{Truth, partition_of};
use super::{Judge, s5, s6, s8, s16, s32};
use crate::history::History;
use crate::marks::{Mark, Marks};
use crate::plan::Flush;
use seedlog_core::broker::Broker;
use seedlog_core::cluster::image::Image;
use seedlog_core::cluster::records::{MetadataRecord, Voter};
use seedlog_core::ids::{LeaderEpoch, Lsn, NodeId, Offset, RunId, TopicPartition, Uuid};
use seedlog_core::journal::Entry;
use seedlog_core::log::Retention;
use seedlog_core::peer::{Ack, Found, PeerBody, PeerMessage};
use seedlog_core::time::WallMs;
use seedlog_core::wire::{DeleteRecordsRequest, DeleteRecordsResponse};

/// A machine's folder, and the process that has it open.
pub trait Folder {
    /// Whose it is.
    fn voter(&self) -> Voter;

    /// What it holds.
    fn oracle(&self) -> &Oracle;

    /// The same, to be compared with others.
    fn oracle_mut(&mut self) -> &mut Oracle;

    /// What was on its disk may be gone since, and the controller does not know yet.
    fn is_suspect(&self) -> bool;

    /// The controller knows.
    fn clear(&mut self);

    /// What counts as acknowledged has to be on the platter.
    fn flushes_always(&self) -> bool;

    /// Nobody will start a broker on it any more.
    fn is_dead(&self) -> bool;

    /// The run of the broker that is up.
    fn run(&self) -> Option<RunId>;

    /// What was seen of that broker.
    fn seen(&self) -> Option<&Seen>;

    /// The same, to be remembered.
    fn seen_mut(&mut self) -> Option<&mut Seen>;

    /// By its broker's metadata it does not hold a partition, or no more.
    fn has_dropped(&self, partition: TopicPartition) -> bool {
        self.seen().is_some_and(|seen| !seen.holds(partition))
    }

    /// The last entry of which the mode asks whether it is on the platter.
    fn durable(&self) -> Lsn {
        if self.flushes_always() { self.oracle().durable } else { Lsn(u64::MAX) }
    }
}

fn machine_with(folders: &[impl Folder], node_id: NodeId, incarnation: Uuid) -> Option<usize> {
    folders.iter().position(|folder| folder.voter() == Voter { node_id, incarnation })
}

/// S5: the watermark of the leader at `at` has moved to the true end; `members` are its maximal ISR, each with its folder.
///
/// # Errors
/// Who lacks what.
pub fn check_backed(
    truth: &Truth,
    folders: &mut [impl Folder],
    (at, partition): (usize, TopicPartition),
    members: &[(NodeId, Uuid)],
) -> Result<(), String> {
    let leads = folders[at].seen().and_then(|seen| seen.leads(partition));
    for &(node_id, incarnation) in members {
        // A folder that is lost had what it acknowledged, and so had one whose disk lost it: the controller took that one out
        // of ISR and ELR, of which a leader that was paused may know nothing yet (seed 12,843).
        if truth.losers.contains(&node_id) && !truth.may_lead(partition, node_id) {
            continue;
        }
        // It had it too, and the partition has moved elsewhere since (seed 1,007), and may be on its way back, of which a leader
        // of an earlier epoch knows nothing yet (seed 1,805 of the whole world).
        if !truth.is_replica(partition, node_id)
            || leads.is_some_and(|epoch| truth.has_left(partition, node_id, epoch))
        {
            continue;
        }
        let Some(machine) = machine_with(folders, node_id, incarnation) else { continue };
        let folder = &mut folders[machine];
        if folder.has_dropped(partition) {
            continue;
        }
        let (durable, is_suspect) = (folder.durable(), folder.is_suspect());
        let log = folder.oracle_mut().logs.entry(partition).or_default();
        if is_suspect || log.given_up {
            continue;
        }
        s5::check_backed(&truth.logs[&partition], node_id, log, durable)
            .map_err(|says| format!("{partition}: {says}"))?;
    }
    Ok(())
}

/// S8: everybody who may become leader of a partition, by the committed metadata, has what is committed of it. Gives back who
/// lacks what, by machine.
pub fn check_candidates(
    truth: &Truth,
    folders: &mut [impl Folder],
    partition: TopicPartition,
) -> Vec<(usize, String)> {
    let Some(held) = truth.image.partition(partition) else { return Vec::new() };
    let Some(log) = truth.logs.get(&partition).filter(|log| !log.is_beyond) else { return Vec::new() };
    let candidates = held.state.isr.iter().map(|node| (node, "ISR"));
    let candidates = candidates.chain(held.state.elr.iter().map(|node| (node, "ELR")));
    let mut heard = Vec::new();
    for (&node_id, what) in candidates {
        let known = truth.image.brokers().get(&node_id);
        let Some(machine) = known.and_then(|known| machine_with(folders, node_id, known.incarnation)) else {
            continue;
        };
        let folder = &mut folders[machine];
        if folder.has_dropped(partition) || folder.is_suspect() {
            continue; // It knows more of the metadata than is looked at here: the topic is gone, or its copy.
        }
        let own = folder.oracle_mut().logs.entry(partition).or_default();
        if !own.given_up
            && let Err(says) = s8::check_candidate(log, node_id, own, what)
        {
            heard.push((machine, format!("{partition}: {says}")));
        }
    }
    heard
}

/// Records of the metadata are committed: the controller knows the folders that register with them for what they are.
pub fn clear_registered(folders: &mut [impl Folder], records: &[MetadataRecord]) {
    for record in records {
        if let MetadataRecord::RegisterBroker { node_id, incarnation, run, .. } = record {
            let voter = Voter { node_id: *node_id, incarnation: *incarnation };
            folders
                .iter_mut()
                .filter(|folder| folder.voter() == voter && folder.run() == Some(*run))
                .for_each(Folder::clear);
        }
    }
}

/// Everything of the partition has to be there in the end. Not where a copy rots that is the last of ISR and ELR: nobody could
/// give back what cannot be read.
pub fn is_owed(truth: &Truth, folders: &[impl Folder], partition: TopicPartition, flush: Flush) -> bool {
    let Some(held) = truth.image.partition(partition) else { return false };
    let mut members = held.state.isr.iter().chain(&held.state.elr);
    let (last, others) = (members.next(), members.next());
    let has_rotted = |node: &NodeId| {
        let mut folders = folders.iter().filter(|folder| folder.voter().node_id == *node);
        folders.any(|folder| folder.oracle().may_be_given_up(partition))
    };
    let rots_alone = others.is_none() && last.is_some_and(has_rotted);
    !truth.may_stay_offline(partition, flush) && !rots_alone
}

/// A reader has to get to the end of the partition. Not where some replicas still start, but fewer than min.insync.replicas: the
/// high watermark stays where the leader learned of it, and what was acknowledged behind it is held, and not shown (seed 12,033).
pub fn is_readable(truth: &Truth, folders: &[impl Folder], partition: TopicPartition, flush: Flush) -> bool {
    let Some(topic) = truth.image.topic(partition.topic_id) else { return false };
    let Some(held) = truth.image.partition(partition) else { return false };
    let starts =
        |id: &&NodeId| folders.iter().any(|folder| folder.voter().node_id == **id && !folder.is_dead());
    let starting = held.replicas().iter().filter(starts).count();
    let is_too_few =
        i32::try_from(starting).is_ok_and(|count| (1..topic.min_insync_replicas).contains(&count));
    is_owed(truth, folders, partition, flush) && !is_too_few
}

/// S32: a follower acknowledges an end.
fn check_ack(folders: &mut [impl Folder], at: usize, to: NodeId, ack: &Ack) -> Result<(), String> {
    let leads = |seen: &Seen| seen.leads(ack.partition) == Some(ack.epoch);
    let leader =
        folders.iter().position(|folder| folder.voter().node_id == to && folder.seen().is_some_and(leads));
    let Some(leader) = leader.filter(|&leader| leader != at) else { return Ok(()) };
    let Ok([leader, follower]) = folders.get_disjoint_mut([leader, at]) else { return Ok(()) };
    let durable = follower.durable();
    let Some(theirs) = leader.oracle().logs.get(&ack.partition) else { return Ok(()) };
    let own = follower.oracle_mut().logs.entry(ack.partition).or_default();
    if own.given_up || theirs.given_up {
        return Ok(());
    }
    s32::check_ack(theirs, own, ack.epoch, ack.durable, durable)
        .map_err(|says| format!("{}: {says}", ack.partition))
}

/// A request to delete records reaches a node: what everything is that is committed, the node knows.
pub fn on_delete_records(truth: &mut Truth, seen: Option<&Seen>, request: &DeleteRecordsRequest) {
    for topic in &request.topics {
        let Some(topic_id) = truth.topic_named(&topic.name) else { continue };
        for wanted in topic.partitions.iter().filter(|wanted| wanted.offset == -1) {
            let partition = partition_of(topic_id, wanted.partition_index);
            if let Some(high_watermark) = seen.and_then(|seen| seen.high_watermark(partition)) {
                truth.log_mut(partition).ask(high_watermark);
            }
        }
    }
}

/// S6: a broker answers that records are deleted. Those that are live are so by what it knows.
///
/// # Errors
/// Whose log starts earlier.
pub fn check_deleted(
    truth: &mut Truth,
    folders: &[impl Folder],
    broker: &Broker,
    response: &DeleteRecordsResponse,
) -> Result<(), String> {
    let image = broker.image();
    for topic in &response.topics {
        let Some(topic_id) = resolve(broker, Uuid::ZERO, &topic.name) else { continue };
        for answer in topic.partitions.iter().filter(|answer| answer.error_code == 0) {
            let (partition, low) =
                (partition_of(topic_id, answer.partition_index), Offset(answer.low_watermark));
            let log = truth.log_mut(partition);
            log.deleted = log.deleted.max(low);
            if log.is_beyond {
                continue;
            }
            let replicas = image.partition(partition).map(|held| held.replicas()).unwrap_or_default();
            for node in replicas {
                let Some(known) = image.brokers().get(node).filter(|known| !known.fenced) else { continue };
                let Some(machine) = machine_with(folders, *node, known.incarnation) else { continue };
                let oracle = folders[machine].oracle();
                // Its disk was wiped since it said so, and nothing was written on the new one (seed 12,329).
                if oracle.end() == Lsn::ZERO {
                    continue;
                }
                let log = oracle.logs.get(&partition);
                if folders[machine].has_dropped(partition) || log.is_some_and(|log| log.given_up) {
                    continue;
                }
                let start = log.map_or(Offset::ZERO, |log| log.start_at(oracle.durable));
                s6::check_deleted(low, *node, start).map_err(|says| format!("{partition}: {says}"))?;
            }
        }
    }
    Ok(())
}

/// An entry is about to move the start of a log that its node leads, to where the log of another one is already.
#[must_use]
pub fn is_taken_over(folders: &[impl Folder], at: usize, entry: &Entry) -> bool {
    let Entry::LogStart { partition, start } = entry else { return false };
    let has_it =
        |folder: &dyn Folder| folder.oracle().logs.get(partition).is_some_and(|log| log.start() >= *start);
    let leads = folders[at].seen().is_some_and(|seen| seen.leads(*partition).is_some());
    let mut others = folders.iter().enumerate().filter(|(other, _)| *other != at);
    leads && others.any(|(_, folder)| has_it(folder))
}

/// How long a topic's records are kept by metadata: in ms, and in bytes.
#[must_use]
pub fn kept_by(image: &Image, topic_id: Uuid) -> (Option<i64>, Option<u64>) {
    let topic = image.topic(topic_id);
    let set = |key| {
        let own = topic.and_then(|topic| topic.config.own().get(key));
        own.and_then(|value| value.parse::<i64>().ok()).filter(|value| *value >= 0)
    };
    (set("retention.ms"), set("retention.bytes").map(i64::unsigned_abs))
}

/// S6: a leader asks its store which records are too old or too many. It goes by what its metadata says ([`kept_by`]), and by
/// its clock, where that is known.
///
/// # Errors
/// It goes by something else.
pub fn check_retention(
    folders: &mut [impl Folder],
    at: usize,
    (partition, retention): (TopicPartition, Retention),
    (ms, bytes_min): (Option<i64>, Option<u64>),
    wall: Option<WallMs>,
) -> Result<(), String> {
    if let Some(seen) = folders[at].seen_mut() {
        seen.asked_expiry.insert(partition, retention);
    }
    let by_clock = |ms| wall.map_or(retention.oldest, |wall| Some(WallMs(wall.0 - ms)));
    let expected = Retention { oldest: ms.and_then(by_clock), bytes_min };
    if retention == expected {
        return Ok(());
    }
    Err(format!("{partition}: records go by {retention:?}, and by its settings and clock it is {expected:?}"))
}

/// S6: an entry is about to move the start of a log that its node leads, because of records that have expired by what it asked
/// its store. From here on they may be missing, and the history says so.
///
/// # Errors
/// Some of them have not expired.
pub fn check_expiry(
    truth: &mut Truth,
    folders: &[impl Folder],
    (marks, history): (&mut Marks, &mut History),
    (at, now_us): (usize, u64),
    entry: &Entry,
) -> Result<(), String> {
    let Entry::LogStart { partition, start } = entry else { return Ok(()) };
    let truth = truth.log_mut(*partition);
    let asked = folders[at].seen().filter(|seen| seen.leads(*partition).is_some());
    let Some(retention) = asked.and_then(|seen| seen.asked_expiry.get(partition)) else { return Ok(()) };
    let Some(log) = folders[at].oracle().logs.get(partition) else { return Ok(()) };
    let held = log.batches[log.count_below(log.start())..].iter();
    let headers: Vec<_> = held.map(|held| &held.batch.header).collect();
    match s6::check_expired(*retention, &headers, *start) {
        Ok(()) => {
            truth.ask(*start);
            marks.hit(Mark::RecordsExpired);
            history.on_expired(now_us, *partition, *start);
            Ok(())
        }
        // A client asked for it, perhaps in vain; that it has expired as well would be a reason of its own.
        Err(_) if *start <= truth.asked => Ok(()),
        Err(says) => Err(format!("{partition}: {says}")),
    }
}

/// The machine at `at` says something to another node. Gives back what is wrong with that (S16, S32).
#[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns the question is looked at")]
pub fn check_message<F: Folder>(
    truth: &Truth,
    folders: &mut [F],
    marks: &mut Marks,
    (at, to): (usize, NodeId),
    message: &PeerMessage,
) -> Vec<(Judge, String)> {
    let mut heard = Vec::new();
    let voted = |folders: &[F], term: LeaderEpoch, candidate: NodeId| {
        let said = s16::check_vote(folders[at].oracle(), term, candidate);
        said.err().map(|says| (Judge::S16, says))
    };
    match &message.body {
        PeerBody::VoteReply(reply) if reply.is_granted && !reply.is_pre_vote => {
            heard.extend(voted(folders, reply.epoch, to));
        }
        PeerBody::Vote(vote) if !vote.is_pre_vote => {
            heard.extend(voted(folders, vote.epoch, folders[at].voter().node_id));
        }
        PeerBody::Acks(acks) => {
            for ack in acks.iter().filter(|ack| ack.partition.is_data()) {
                let said = check_ack(folders, at, to, ack);
                heard.extend(said.err().map(|says| (Judge::S32, says)));
            }
            if acks.iter().any(|ack| ack.resend_from.is_some()) {
                marks.hit(Mark::GapResend);
            }
        }
        PeerBody::Forward(_) => marks.hit(Mark::Forwarded),
        PeerBody::Open(open) if open.partition.is_data() && open.reset_bytes.is_none() => {
            let before =
                folders[at].seen_mut().and_then(|seen| seen.opened.insert(open.partition, open.epoch));
            if before == Some(open.epoch) {
                marks.hit(Mark::SessionReopened);
            }
        }
        PeerBody::Register(_) => {
            let Voter { node_id, incarnation } = folders[at].voter();
            let known = truth.image.brokers().get(&node_id);
            if known.is_some_and(|known| known.incarnation != incarnation && !known.fenced) {
                marks.hit(Mark::IdRefused);
            }
        }
        _ => {}
    }
    heard
}

/// A node waits for others to found a cluster.
#[must_use]
pub fn waits_for_founding(message: &PeerMessage) -> bool {
    matches!(message.body, PeerBody::Found(Found::Blank { .. }))
}
