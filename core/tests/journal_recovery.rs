//! Recovery against random journals and random faults: what it accepts is what was written, what was on disk is there or
//! named as lost, and a crash in the middle of recovery changes nothing (SAFETY J1 to J5).

mod journal_support;

use journal_support::{Files, Interrupted, Outcome, Rig, SECTOR, Written, read};
use proptest::prelude::*;
use seedlog_core::ids::{Lsn, TopicPartition};
use seedlog_core::journal::format::PREFIX_BYTES;
use seedlog_core::journal::{BLOCK_BYTES, Entry, FILE_HEADER_BYTES, FileHeader};
use seedlog_core::recovered::{Recovered, ReplayError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a node does in a run.
#[derive(Debug, Clone)]
enum Op {
    Append { at: usize, records: usize, value_bytes: usize },
    Topic { partitions: i32 },
    Remove { at: usize },
    Expire { at: usize },
    ProducerIds,
    Write,
    Sync,
    Vouch,
    Roll,
    Snapshot,
    Kill,
    PowerCut,
    Stop,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..6_usize, 1..4_usize, 0..2500_usize)
            .prop_map(|(at, records, value_bytes)| Op::Append { at, records, value_bytes }),
        2 => (1..3_i32).prop_map(|partitions| Op::Topic { partitions }),
        1 => (0..6_usize).prop_map(|at| Op::Remove { at }),
        1 => (0..6_usize).prop_map(|at| Op::Expire { at }),
        1 => Just(Op::ProducerIds),
        6 => Just(Op::Write),
        2 => Just(Op::Sync),
        2 => Just(Op::Vouch),
        1 => Just(Op::Roll),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Kill),
        1 => Just(Op::PowerCut),
        1 => Just(Op::Stop),
    ];
    prop::collection::vec(op, 1..60)
}

fn run(rig: &mut Rig, ops: &[Op]) {
    rig.create_topic(2);
    rig.write();
    for op in ops {
        match *op {
            Op::Append { at, records, value_bytes } => rig.append(at, records, &vec![b'v'; value_bytes]),
            Op::Topic { partitions } => rig.create_topic(partitions),
            Op::Remove { at } => rig.remove_topic(at),
            Op::Expire { at } => rig.expire(at),
            Op::ProducerIds => rig.producer_ids(),
            Op::Write => rig.write(),
            Op::Sync => rig.sync(),
            Op::Vouch => rig.vouch(),
            Op::Roll => rig.roll(0),
            Op::Snapshot => rig.take_snapshot(),
            Op::Kill => restart(rig),
            Op::PowerCut => {
                rig.power_cut();
                restart(rig);
            }
            Op::Stop => {
                rig.push(Entry::Stopped, None);
                rig.vouch();
                restart(rig);
            }
        }
    }
}

/// A start after a crash that damaged nothing: whatever was on disk is there.
fn restart(rig: &mut Rig) {
    let before = rig.clone();
    let outcome = rig.restart().expect("a crash alone never keeps a node from starting");
    judge_crash(&before, &outcome);
}

fn judge_crash(rig: &Rig, outcome: &Outcome) {
    let plan = &outcome.plan;
    assert!(plan.end.0 >= rig.synced, "lost {} of {}: {plan:#?}", plan.end, rig.synced);
    assert!(plan.end.0 <= rig.written, "nothing is invented");
    assert_eq!(plan.damage, [], "a crash is not damage");
    assert!(plan.groups.iter().all(|group| group.damaged.is_empty()));
    if plan.clean {
        assert_eq!(rig.truth[plan.end.0 as usize - 1].0, Entry::Stopped);
    }
    let recovered = outcome.recovered.as_ref().expect("an undamaged journal is recovered");
    assert_eq!(same(recovered), same(&rig.state_at(plan.end.0)), "the state is that of the accepted entries");
}

/// A state without the mark that only the journal's end decides.
fn same(recovered: &Recovered) -> Recovered {
    Recovered {
        clean: false,
        has_holes: false,
        doubtful: BTreeSet::new(),
        is_newly_doubtful: false,
        ..recovered.clone()
    }
}

/// What rots, in units that shrink well.
#[derive(Debug, Clone)]
enum Rot {
    /// A bit in the prefix, the payload, or the table of a group.
    Flip { group: prop::sample::Index, part: u8, at: prop::sample::Index, bit: u8 },
    /// Sectors from anywhere in a group on.
    Zero { group: prop::sample::Index, at: prop::sample::Index, sectors: usize },
    /// A bit in one copy of a file's header.
    Header { file: prop::sample::Index, copy: usize, at: usize, bit: u8 },
    /// Both copies of a file's header.
    Headers { file: prop::sample::Index },
    /// The end of a file.
    Cut { file: prop::sample::Index, at: prop::sample::Index },
    /// A group's bytes in another place that no group has.
    Misplaced { group: prop::sample::Index, file: prop::sample::Index, block: prop::sample::Index },
}

fn rot() -> impl Strategy<Value = Rot> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 0..3_u8, index(), 0..8_u8)
            .prop_map(|(group, part, at, bit)| Rot::Flip { group, part, at, bit }),
        2 => (index(), index(), 1..9_usize).prop_map(|(group, at, sectors)| Rot::Zero { group, at, sectors }),
        1 => (index(), 0..2_usize, 0..64_usize, 0..8_u8)
            .prop_map(|(file, copy, at, bit)| Rot::Header { file, copy, at, bit }),
        1 => (index(), index()).prop_map(|(file, at)| Rot::Cut { file, at }),
        2 => (index(), index(), index())
            .prop_map(|(group, file, block)| Rot::Misplaced { group, file, block }),
    ]
}

/// One or two faults. Both copies of a file's header and more is beyond what recovery promises: where the file's groups
/// begin is then known from the first of them alone.
fn rots() -> impl Strategy<Value = Vec<Rot>> {
    let headers = any::<prop::sample::Index>().prop_map(|file| vec![Rot::Headers { file }]);
    prop_oneof![1 => headers, 9 => prop::collection::vec(rot(), 1..3)]
}

fn damage(rig: &mut Rig, rot: &Rot) {
    let groups = rig.groups.clone();
    let seqs: Vec<u64> = rig.files.keys().copied().collect();
    if groups.is_empty() {
        return;
    }
    match rot {
        Rot::Flip { group, part, at, bit } => {
            let group = group.get(&groups);
            let table = group.prefix.table_at as usize;
            let range = match part {
                0 => 0..PREFIX_BYTES,
                1 => PREFIX_BYTES..table.max(PREFIX_BYTES + 1),
                _ => table..(table + group.prefix.table_bytes as usize).max(table + 1),
            };
            let at = group.position + range.start + at.index(range.len());
            let file = &mut rig.files.get_mut(&group.seq).expect("its file").cache;
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Rot::Zero { group, at, sectors } => {
            let group = group.get(&groups);
            let from = group.position + at.index(group.bytes.len() / SECTOR) * SECTOR;
            let file = &mut rig.files.get_mut(&group.seq).expect("its file").cache;
            let to = (from + sectors * SECTOR).min(file.len());
            file[from.min(to)..to].fill(0);
        }
        Rot::Header { file, copy, at, bit } => {
            let file = &mut rig.files.get_mut(file.get(&seqs)).expect("listed").cache;
            file[copy * BLOCK_BYTES + at] ^= 1 << bit;
        }
        Rot::Headers { file } => {
            rig.files.get_mut(file.get(&seqs)).expect("listed").cache[..FILE_HEADER_BYTES].fill(0xff);
        }
        Rot::Cut { file, at } => {
            let file = &mut rig.files.get_mut(file.get(&seqs)).expect("listed").cache;
            file.truncate(FILE_HEADER_BYTES + at.index(file.len() - FILE_HEADER_BYTES));
        }
        Rot::Misplaced { group, file, block } => {
            let (group, seq) = (group.get(&groups), *file.get(&seqs));
            let used = groups.iter().filter(|group| group.seq == seq);
            let used =
                used.map(|group| group.position + group.bytes.len()).max().unwrap_or(FILE_HEADER_BYTES);
            let file = &mut rig.files.get_mut(&seq).expect("listed").cache;
            let blocks = file.len().saturating_sub(used) / BLOCK_BYTES;
            let at = if blocks == 0 { file.len() } else { used + block.index(blocks) * BLOCK_BYTES };
            file.resize(file.len().max(at + group.bytes.len()), 0);
            file[at..at + group.bytes.len()].copy_from_slice(&group.bytes);
        }
    }
}

/// What rot did to the groups that count.
struct Hits {
    /// Groups whose prefix and table are as written, in a file that tells what it is.
    whole: Vec<Written>,
    /// Entries in groups whose prefix or table is not.
    lost: BTreeSet<u64>,
    /// Entries whose batch is not as written.
    spoiled: BTreeSet<u64>,
    /// The last lsn that something whole vouches for.
    vouched: u64,
}

fn hits(rig: &Rig) -> Hits {
    let files = rig.bytes();
    let through = rig.snapshot.as_ref().map_or(0, |snapshot| snapshot.through.0);
    let mut hits =
        Hits { whole: Vec::new(), lost: BTreeSet::new(), spoiled: BTreeSet::new(), vouched: through };
    let headers = files.iter().filter_map(|(seq, file)| {
        let header = FileHeader::decode(file).ok()?;
        (header.seq == *seq).then_some((*seq, header))
    });
    let headers: BTreeMap<u64, FileHeader> = headers.collect();
    let is_whole = |group: &Written| {
        let table = group.prefix.table_at as usize;
        let table = table..table + group.prefix.table_bytes as usize;
        let is_in_file = group.position + group.bytes.len() <= files[&group.seq].len();
        is_in_file && is_as_written(&files, group, 0..62) && is_as_written(&files, group, table)
    };
    // A file without header counts when a younger one has a header, or when its own groups vouch for one another: they
    // were written when the header was on disk. One that does not count leaves the groups that were copied to it.
    let youngest = headers.keys().next_back().copied().unwrap_or(0);
    let counts = |seq: u64| {
        let of_file = || rig.groups.iter().filter(|group| group.seq == seq && is_whole(group));
        let first = of_file().map(|group| group.prefix.first_lsn).min().unwrap_or(Lsn::ZERO);
        headers.contains_key(&seq) || seq < youngest || of_file().any(|group| group.prefix.durable >= first)
    };
    let copied = rig.copied.iter().filter(|(_, copy)| !counts(*copy)).map(|(group, _)| group);
    for group in rig.groups.iter().chain(copied) {
        if is_whole(group) && counts(group.seq) {
            hits.whole.push(group.clone());
        } else {
            hits.lost.extend(group.lsns());
        }
    }
    for group in &hits.whole {
        let entries = group.prefix.entries(&group.bytes).expect("as written");
        for found in entries {
            hits.lost.remove(&found.lsn.0);
            let payload = found.payload_at as usize;
            let payload = payload..payload + found.entry.payload_bytes() as usize;
            if !is_as_written(&files, group, payload) {
                hits.spoiled.insert(found.lsn.0);
            }
        }
    }
    let stated = hits.whole.iter().map(|group| group.prefix.durable.0);
    let stated = stated.chain(headers.values().map(|header| header.durable.0)).max().unwrap_or(0);
    hits.vouched = hits.vouched.max(stated);
    hits
}

fn is_as_written(files: &Files, group: &Written, range: Range<usize>) -> bool {
    let found = files[&group.seq].get(group.position + range.start..group.position + range.end);
    found == Some(&group.bytes[range])
}

fn judge_rot(rig: &Rig, outcome: &Outcome) {
    let hits = hits(rig);
    let plan = &outcome.plan;
    let through = rig.snapshot.as_ref().map_or(0, |snapshot| snapshot.through.0);
    assert!(plan.end.0 <= rig.written.max(through), "nothing is invented");

    let mut accepted = BTreeSet::new();
    let mut damaged = BTreeSet::new();
    for group in &plan.groups {
        let written = hits
            .whole
            .iter()
            .find(|written| written.prefix.first_lsn == group.prefix.first_lsn && written.prefix.entries > 0);
        let written = written.expect("a group that is accepted was written and is whole");
        assert_eq!((group.seq, group.position as usize), (written.seq, written.position));
        accepted.extend(written.lsns());
        damaged.extend(group.damaged.iter().map(|lsn| lsn.0));
    }
    let holes: BTreeSet<u64> = plan.damage.iter().flat_map(|range| range.first.0..=range.last.0).collect();
    assert!(holes.is_subset(&hits.lost), "what is reported as lost is lost: {holes:?} {:?}", hits.lost);
    assert!(damaged.is_subset(&hits.spoiled), "what is reported as damaged is damaged");
    for lsn in through + 1..=plan.end.0 {
        assert!(
            accepted.contains(&lsn) != holes.contains(&lsn),
            "entry {lsn} is accepted or reported as lost"
        );
    }
    assert!(plan.end.0 >= hits.vouched, "what is vouched for is never cut: {} {}", plan.end, hits.vouched);
    let first_hit = hits.lost.iter().chain(&hits.spoiled).filter(|&&lsn| lsn > through).min();
    let untouched = first_hit.map_or(rig.written, |lsn| lsn - 1);
    let boundary =
        hits.whole.iter().map(|group| group.prefix.last_lsn().0).filter(|&last| last <= untouched).max();
    assert!(plan.end.0 >= boundary.unwrap_or(0), "what nothing touched is never cut");

    for (_, _, located) in &outcome.visited {
        let (entry, _) = &rig.truth[located.lsn.0 as usize - 1];
        assert_eq!(entry, &located.entry, "a store is told of what was written");
        assert!(!hits.spoiled.contains(&located.lsn.0), "a store is told of what is intact");
    }
    let spoiled: BTreeSet<u64> = hits.spoiled.intersection(&accepted).copied().collect();
    assert_eq!(damaged, spoiled, "every batch that rotted is reported, after a stop in order too");
    let lost: BTreeSet<u64> = holes.union(&spoiled).copied().collect();
    judge_state(rig, outcome, &hits, &holes, &lost);
}

fn judge_state(rig: &Rig, outcome: &Outcome, hits: &Hits, holes: &BTreeSet<u64>, lost: &BTreeSet<u64>) {
    let through = rig.snapshot.as_ref().map_or(0, |snapshot| snapshot.through.0);
    let lost = || lost.iter().copied().filter(|&lsn| lsn > through);
    let end = outcome.plan.end.0;
    let told = |lsn: u64| &rig.truth[lsn as usize - 1].0;
    let last_hole = holes.last().copied();
    let follows = |hole: u64| {
        hits.whole.iter().any(|group| group.prefix.first_lsn.0 > hole && group.prefix.last_lsn().0 <= end)
    };
    let metadata_is_lost = lost().any(|lsn| matches!(told(lsn), Entry::Metadata { .. }));
    let metadata_is_in_doubt = metadata_is_lost || last_hole.is_some_and(|hole| !follows(hole));
    let recovered = match &outcome.recovered {
        Ok(recovered) => recovered,
        Err(ReplayError::MetadataLost { .. }) => {
            assert!(metadata_is_in_doubt, "metadata that a later group proves whole is not given up");
            return;
        }
        Err(other) => panic!("a journal of one history never contradicts itself: {other:?}"),
    };
    assert!(!metadata_is_in_doubt, "metadata may be lost, and the node would start without it");
    let full = rig.state_at(end);
    assert_eq!(recovered.quorum, full.quorum);
    for partition in full.partitions.keys().filter(|partition| !recovered.partitions.contains_key(partition))
    {
        let mut entries = (1..=end).filter(|&lsn| of_partition(told(lsn), *partition));
        assert!(
            recovered.has_holes && entries.all(|lsn| lost().any(|gone| gone == lsn)),
            "{partition} is forgotten"
        );
    }
    for (partition, held) in &recovered.partitions {
        let Some(whole) = full.partitions.get(partition) else {
            let mut gone = lost().map(told);
            let is_dropping = |entry: &Entry| matches!(entry, Entry::Dropping { topic_id, .. } if *topic_id == partition.topic_id);
            assert!(gone.any(is_dropping), "{partition} was dropped");
            continue;
        };
        let whole = &whole.log;
        let of = |lsn: &u64| of_partition(told(*lsn), *partition);
        let lost_appends = lost().filter(of).filter(|&lsn| matches!(told(lsn), Entry::Append(_))).count();
        if held.damage.is_none() {
            assert_eq!(lost_appends, 0, "{partition} lost records and is called whole");
            assert_eq!(held.log.end(), whole.end());
            if lost().filter(of).count() == 0 {
                assert_eq!(&held.log, whole, "{partition} is what its entries make it");
            }
        } else {
            assert!(held.log.end() <= whole.end());
            let proof = (last_hole.unwrap_or(0) + 1..=end).find(|&lsn| proves_end(told(lsn), *partition));
            let unproven = last_hole.is_some() && proof.is_none();
            assert!(
                lost_appends > 0 || unproven,
                "{partition} lost nothing and is given up: {:?}",
                held.damage
            );
        }
    }
}

/// The entry says where the partition's log ended when it was written.
fn proves_end(entry: &Entry, wanted: TopicPartition) -> bool {
    of_partition(entry, wanted) && !matches!(entry, Entry::ProducersExpired { .. })
}

/// The entry is part of what makes the partition's log.
fn of_partition(entry: &Entry, wanted: TopicPartition) -> bool {
    match entry {
        Entry::Append(append) => append.partition == wanted,
        Entry::EpochStart { partition, .. } | Entry::ProducersExpired { partition, .. } => {
            *partition == wanted
        }
        Entry::Cut { partition, .. } | Entry::Reset { partition, .. } => *partition == wanted,
        Entry::Metadata { .. }
        | Entry::Dropped { .. }
        | Entry::Started { .. }
        | Entry::Stopped
        | Entry::Founded { .. }
        | Entry::Vote { .. }
        | Entry::MetadataCut { .. }
        | Entry::MetadataImage { .. }
        | Entry::Dropping { .. }
        | Entry::Trusted { .. }
        | Entry::Damaged { .. }
        | Entry::LogStart { .. }
        | Entry::Compacted { .. } => false,
    }
}

/// What of an outcome must not depend on how often recovery ran.
fn content(outcome: &Outcome) -> impl PartialEq + std::fmt::Debug + use<> {
    let recovered = outcome.recovered.as_ref().map(same).map_err(ToString::to_string);
    (outcome.plan.end, outcome.plan.damage.clone(), recovered)
}

fn recover(rig: &Rig) -> Outcome {
    read(&rig.bytes(), rig.snapshot.as_ref()).expect("memory can be read, and all of it is of this format")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_loses_nothing_that_was_synced(seed: u64, flush_always: bool, ops in ops(), power: bool) {
        let mut rig = Rig::new(seed, flush_always);
        run(&mut rig, &ops);
        if power {
            rig.power_cut();
        }
        judge_crash(&rig, &recover(&rig));
    }

    #[test]
    fn a_crash_in_recovery_starts_it_anew(
        seed: u64,
        flush_always: bool,
        ops in ops(),
        tries in prop::collection::vec((0..3_usize, any::<bool>()), 0..4),
    ) {
        let mut rig = Rig::new(seed, flush_always);
        run(&mut rig, &ops);
        rig.power_cut();
        let first = recover(&rig);
        for (step, power) in tries {
            let step = [Interrupted::AfterGroups, Interrupted::AfterSync, Interrupted::AfterHeader][step];
            let outcome = recover(&rig);
            rig.write_fresh(&outcome.plan, step);
            if power {
                rig.power_cut();
            }
            prop_assert_eq!(content(&recover(&rig)), content(&first));
        }
        rig.write_fresh(&recover(&rig).plan, Interrupted::Never);
        rig.power_cut();
        prop_assert_eq!(content(&recover(&rig)), content(&first), "a second recovery changes nothing");
        prop_assert!(recover(&rig).plan.end.0 >= rig.synced);
    }

    #[test]
    fn rot_is_named_and_never_believed(
        seed: u64,
        flush_always: bool,
        ops in ops(),
        stop: bool,
        rots in rots(),
    ) {
        let mut rig = Rig::new(seed, flush_always);
        run(&mut rig, &ops);
        if stop {
            rig.push(Entry::Stopped, None);
            rig.vouch();
        }
        for rot in &rots {
            damage(&mut rig, rot);
        }
        rig.settle();
        let outcome = recover(&rig);
        judge_rot(&rig, &outcome);
        // Also damage is the same the next time.
        rig.write_fresh(&outcome.plan, Interrupted::AfterHeader);
        rig.power_cut();
        prop_assert_eq!(content(&recover(&rig)), content(&outcome));
    }
}
