//! Cleaning, against a map of what a log's records say: whatever is written, and however often and with however little memory
//! it is cleaned, a reader from the start gets the last value of each key.

use bytes::Bytes;
use proptest::prelude::*;
use seedlog_core::ids::{Generation, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use seedlog_core::log::Log as Numbers;
use seedlog_core::records::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, Cleaner, Cleaning, KeyOffsets, Payload, RecordIter,
    check_batch, rest_of_empty,
};
use seedlog_core::time::WallMs;
use std::collections::{BTreeMap, BTreeSet};

const RETENTION_MS: i64 = 1_000;
const NO_LIMIT: Offset = Offset(i64::MAX);

/// A record's key, its value or a tombstone, and what stands around it.
type Written = (u8, Option<u8>);

#[derive(Debug, Clone)]
struct Plan {
    /// Each with whether a new epoch begins with it, and who produced it.
    batches: Vec<(Vec<Written>, bool, Option<u8>)>,
    /// Cleaning passes: so much of the log in percent, so many keys at most, so many ms after the one before.
    passes: Vec<(u8, usize, i64)>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let record = (0..6_u8, prop::option::weighted(0.7, any::<u8>()));
    let batch = (prop::collection::vec(record, 1..5), prop::bool::weighted(0.1), prop::option::of(0..3_u8));
    let batches = prop::collection::vec(batch, 1..30);
    let passes = prop::collection::vec((1..=100_u8, 1..8_usize, 0..1_500_i64), 1..5);
    (batches, passes).prop_map(|(batches, passes)| Plan { batches, passes })
}

type Log = Vec<(BatchHeader, Bytes)>;

fn write(plan: &Plan) -> Log {
    let (mut end, mut epoch) = (Offset::ZERO, 0);
    let mut sequences = BTreeMap::new();
    let batch = |(records, new_epoch, producer): &(Vec<Written>, bool, Option<u8>)| {
        epoch += i32::from(*new_epoch);
        let mut builder = BatchBuilder::new().stamped(end, LeaderEpoch(epoch));
        if let Some(producer) = producer {
            let next = sequences.entry(*producer).or_insert(0);
            builder = builder.producer(ProducerId(i64::from(*producer)), ProducerEpoch(0), *next);
            *next += i32::try_from(records.len()).expect("few");
        }
        for (index, (key, value)) in records.iter().enumerate() {
            let timestamp = 50 + end.0 * 3 + i64::try_from(index).expect("few");
            let header: &[(&[u8], Option<&[u8]>)] = &[(b"name", Some(&[*key]))];
            builder.add(timestamp, Some(&[*key]), value.as_ref().map(std::slice::from_ref), header);
        }
        let bytes = builder.finish();
        let header = BatchHeader::parse(&bytes).expect("a batch");
        end = header.next_offset();
        (header, bytes)
    };
    plan.batches.iter().map(batch).collect()
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn records(log: &Log) -> BTreeMap<Offset, Seen> {
    let mut all = BTreeMap::new();
    for (header, bytes) in log {
        for record in RecordIter::new(header, &bytes[BATCH_HEADER_BYTES..]) {
            let record = record.expect("what is left can be read");
            let seen = Seen {
                key: record.key.expect("records here have keys").to_vec(),
                value: record.value.map(<[u8]>::to_vec),
                timestamp: record.timestamp,
                headers: record
                    .headers
                    .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                    .collect(),
            };
            assert!(all.insert(record.offset, seen).is_none(), "an offset names one record");
        }
    }
    all
}

/// The last value of each key; a deleted one has none.
fn table(log: &Log) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut table = BTreeMap::new();
    for seen in records(log).into_values() {
        match seen.value {
            Some(value) => table.insert(seen.key, value),
            None => table.remove(&seen.key),
        };
    }
    table
}

fn noted(log: &Log, dirty_from: Offset, up_to: Offset, keys_max: usize) -> (KeyOffsets, Offset) {
    let mut keys = KeyOffsets::new([7, 9], 0);
    let mut mapped_to = dirty_from;
    let mut known = BTreeSet::new();
    for (header, bytes) in log.iter().filter(|(header, _)| header.next_offset() > dirty_from) {
        if header.next_offset() > up_to {
            break;
        }
        let found: Vec<_> = RecordIter::new(header, &bytes[BATCH_HEADER_BYTES..])
            .map(|record| record.expect("it can be read"))
            .collect();
        let mut after = known.clone();
        after.extend(found.iter().map(|record| record.key.expect("records here have keys")[0]));
        if after.len() > keys_max && mapped_to > dirty_from {
            break;
        }
        known = after;
        for record in found {
            assert!(keys.note(record.key.expect("records here have keys"), record.offset));
        }
        mapped_to = header.next_offset();
    }
    (keys, mapped_to)
}

/// The last batches of producers.
fn last_of_producers(log: &Log) -> BTreeSet<Offset> {
    let mut last = BTreeMap::new();
    for (header, _) in log.iter().filter(|(header, _)| header.has_producer_id()) {
        last.insert(header.producer_id.0, header.last_offset());
    }
    last.into_values().collect()
}

/// What a pass over so much of a log, in percent, goes by.
struct Order {
    up_to: Offset,
    keys: KeyOffsets,
    mapped_to: Offset,
    producers_last: BTreeSet<Offset>,
}

impl Order {
    fn new(log: &Log, dirty_from: Offset, percent: u8, keys_max: usize) -> Self {
        let count = (log.len() * usize::from(percent)).div_ceil(100);
        let up_to = log[count - 1].0.next_offset().max(dirty_from);
        let (keys, mapped_to) = noted(log, dirty_from, up_to, keys_max);
        Self { up_to, keys, mapped_to, producers_last: last_of_producers(log) }
    }

    fn rules(&self, now: i64, tombstones_to: Offset) -> Cleaning<'_> {
        Cleaning {
            keys: &self.keys,
            mapped_to: self.mapped_to,
            tombstones_to,
            now: WallMs(now),
            delete_retention_ms: RETENTION_MS,
            producers_last: &self.producers_last,
        }
    }
}

fn clean(log: &Log, rules: &Cleaning<'_>, up_to: Offset) -> Log {
    pass(log, rules, up_to).0
}

/// What a pass leaves, and up to where tombstones went.
fn pass(log: &Log, rules: &Cleaning<'_>, up_to: Offset) -> (Log, Offset) {
    let mut left = Vec::new();
    let mut cleaner = Cleaner::new();
    let mut put = |header: BatchHeader, bytes: Bytes| left.push((header, bytes));
    for (header, bytes) in log.iter().filter(|(header, _)| header.next_offset() <= up_to) {
        let records = &bytes[BATCH_HEADER_BYTES..];
        let payload = Payload { records, compress: |records: &[u8]| Some(records.to_vec()) };
        cleaner.add(rules, header, bytes, payload, &mut put).expect("batches are sound");
    }
    cleaner.end_gap(&mut put);
    left.extend(log.iter().filter(|(header, _)| header.next_offset() > up_to).cloned());
    (left, cleaner.tombstones_gone_to())
}

/// The log's numbers, before any pass.
fn numbers(log: &Log) -> Numbers {
    let mut numbers = Numbers::new(Generation(0));
    for (header, _) in log {
        numbers.append(header, WallMs(0));
    }
    numbers
}

fn epochs(log: &Log) -> BTreeMap<LeaderEpoch, Offset> {
    let mut begins = BTreeMap::new();
    for (header, _) in log {
        begins.entry(header.leader_epoch).or_insert(header.base_offset);
    }
    begins
}

fn check_whole(before: &Log, after: &Log) {
    let mut end = before[0].0.base_offset;
    for (header, bytes) in after {
        assert_eq!(check_batch(bytes), Ok(*header), "a batch of a cleaned log is one");
        assert_eq!(header.base_offset, end, "no gap, and no overlap");
        end = header.next_offset();
    }
    assert_eq!(end, before[before.len() - 1].0.next_offset());
    assert_eq!(epochs(after), epochs(before), "epochs begin where they began");
}

/// A copy takes what it does not have.
fn go_on(copy: &mut Log, copied_to: &mut Offset, log: &Log, to: Offset) {
    let is_new = |header: &BatchHeader| *copied_to < header.next_offset() && header.next_offset() <= to;
    let new: Vec<_> = log.iter().filter(|(header, _)| is_new(header)).cloned().collect();
    for (header, bytes) in new {
        let rest = rest_of_empty(&header, *copied_to);
        copy.push(rest.map_or((header, bytes), |rest| (rest.header, rest.bytes)));
        *copied_to = header.next_offset();
    }
}

proptest! {
    #[test]
    fn a_reader_of_a_cleaned_log_gets_the_last_value_of_each_key(plan in plans()) {
        let whole = write(&plan);
        let (all, wanted) = (records(&whole), table(&whole));
        let (mut log, mut now, mut dirty_from) = (whole.clone(), 1_000_000, Offset::ZERO);
        let mut horizons: BTreeMap<Offset, i64> = BTreeMap::new();
        for (percent, keys_max, later_ms) in &plan.passes {
            now += later_ms;
            let order = Order::new(&log, dirty_from, *percent, *keys_max);
            let after = clean(&log, &order.rules(now, NO_LIMIT), order.up_to);
            let Order { keys, mapped_to, producers_last, .. } = order;
            check_whole(&whole, &after);
            prop_assert_eq!(last_of_producers(&after), producers_last, "KAFKA-5490");
            prop_assert_eq!(table(&after), wanted.clone());
            let left = records(&after);
            for (offset, seen) in &left {
                prop_assert_eq!(seen, &all[offset], "what stays is what it was");
            }
            // Where the pass was, each key stands once at most.
            let mut once = BTreeSet::new();
            for (_, seen) in left.range(..mapped_to) {
                prop_assert!(once.insert(seen.key.clone()) , "a key stands there twice");
            }
            // A tombstone stays for its time from the first pass that kept it.
            for (offset, seen) in records(&log).range(..mapped_to) {
                let is_last = keys.last(&seen.key).is_none_or(|last| last <= *offset);
                if seen.value.is_none() && is_last {
                    let due = *horizons.entry(*offset).or_insert(now + RETENTION_MS);
                    prop_assert_eq!(left.contains_key(offset), now <= due, "at {} with {}", now, due);
                }
            }
            log = after;
            dirty_from = dirty_from.max(mapped_to);
        }
    }

    /// Whoever copies a log while it is cleaned, with interruptions, has no deleted key in the end, unless the log says that he has
    /// to begin anew: tombstones went that he did not have.
    #[test]
    fn a_copy_that_may_go_on_has_no_deleted_key_in_the_end(
        plan in plans(),
        stops in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..5),
    ) {
        let whole = write(&plan);
        let wanted = table(&whole);
        let (mut log, mut numbers) = (whole.clone(), numbers(&whole));
        let (mut now, mut dirty_from) = (1_000_000, Offset::ZERO);
        let (mut copy, mut copied_to, mut gone_to_for_copy) = (Log::new(), Offset::ZERO, Offset::ZERO);
        for ((percent, keys_max, later_ms), (stop, waits)) in plan.passes.iter().zip(stops.iter().cycle()) {
            now += later_ms;
            let order = Order::new(&log, dirty_from, *percent, *keys_max);
            let tombstones_to = if *waits { copied_to } else { NO_LIMIT };
            let (after, gone_to) = pass(&log, &order.rules(now, tombstones_to), order.up_to);
            prop_assert!(gone_to <= tombstones_to);
            numbers.compacted(order.mapped_to, gone_to);
            (log, dirty_from) = (after, dirty_from.max(order.mapped_to));
            if numbers.has_tombstones_gone_for(copied_to, gone_to_for_copy) {
                prop_assert!(!waits, "tombstones stayed for it");
                (copy, copied_to, gone_to_for_copy) = (Log::new(), Offset::ZERO, numbers.tombstones_gone_to());
            }
            let to = log[stop.index(log.len())].0.next_offset();
            go_on(&mut copy, &mut copied_to, &log, to);
        }
        go_on(&mut copy, &mut copied_to, &log, NO_LIMIT);
        prop_assert_eq!(table(&copy), wanted);
    }

    /// A follower that ended anywhere goes on from a leader that has cleaned its log since.
    #[test]
    fn whatever_a_copy_ends_with_a_cleaned_log_goes_on_from_there(plan in plans(), at in any::<prop::sample::Index>()) {
        let whole = write(&plan);
        let end = whole[whole.len() - 1].0.next_offset();
        let (keys, mapped_to) = noted(&whole, Offset::ZERO, end, usize::MAX);
        let producers_last = BTreeSet::new();
        let rules = Cleaning {
            keys: &keys, mapped_to, tombstones_to: NO_LIMIT, now: WallMs(1), delete_retention_ms: 0,
            producers_last: &producers_last,
        };
        let cleaned = clean(&whole, &rules, end);
        let copied_to = whole[at.index(whole.len())].0.next_offset();
        let mut position = copied_to;
        for (header, bytes) in cleaned.iter().filter(|(header, _)| header.next_offset() > copied_to) {
            let rest = rest_of_empty(header, position);
            prop_assert_eq!(rest.is_some(), header.base_offset < position);
            let (header, bytes) = rest.map_or((*header, bytes.clone()), |rest| (rest.header, rest.bytes));
            prop_assert_eq!(check_batch(&bytes), Ok(header));
            prop_assert_eq!(header.base_offset, position);
            position = header.next_offset();
        }
        prop_assert_eq!(position, end);
    }
}

#[test]
fn keys_beyond_the_memory_are_not_noted() {
    let mut keys = KeyOffsets::new([1, 2], 0);
    let noted =
        (0..10_000_i64).take_while(|offset| keys.note(&offset.to_be_bytes(), Offset(*offset))).count();
    assert_eq!((noted, keys.len()), (768, 768));
    assert!(keys.note(&5_i64.to_be_bytes(), Offset(99_999)), "one that is known already takes no more room");
    assert_eq!(keys.last(&5_i64.to_be_bytes()), Some(Offset(99_999)));
    assert_eq!(keys.last(b"nobody"), None);
    let mut keys = KeyOffsets::new([1, 2], 1 << 20);
    let noted =
        (0..100_000_i64).take_while(|offset| keys.note(&offset.to_be_bytes(), Offset(*offset))).count();
    assert_eq!(noted, 12_288, "three quarters of the 16,384 places that 1 MiB has room for while it grows");
}

#[test]
fn a_record_without_a_key_goes_and_a_broken_batch_stays() {
    let mut builder = BatchBuilder::new().stamped(Offset(0), LeaderEpoch(1));
    builder.add(5, None, Some(b"nobody asks for it"), &[]);
    builder.add(6, Some(b"k"), Some(b"v"), &[]);
    let bytes = builder.finish();
    let header = BatchHeader::parse(&bytes).expect("a batch");
    let (keys, producers_last) = (KeyOffsets::new([0; 2], 0), BTreeSet::new());
    let rules = Cleaning {
        keys: &keys,
        mapped_to: Offset(2),
        tombstones_to: NO_LIMIT,
        now: WallMs(1),
        delete_retention_ms: 0,
        producers_last: &producers_last,
    };
    let log = clean(&vec![(header, bytes.clone())], &rules, Offset(2));
    assert_eq!(records(&log).into_keys().collect::<Vec<_>>(), [Offset(1)]);

    let mut left = Vec::new();
    let payload = Payload { records: b"no records", compress: |_: &[u8]| None };
    let result =
        Cleaner::new().add(&rules, &header, &bytes, payload, &mut |header, bytes| left.push((header, bytes)));
    assert!(result.is_err());
    assert_eq!(left, [(header, bytes)]);
}
