//! Logs that are compacted: whatever a pass does and wherever a log is in it, a reader from the start finds every offset accounted
//! for and the last value of each key.

use crate::support::*;
use bytes::Bytes;
use seedlog::codec;
use seedlog::store::disk::Disk;
use seedlog::store::{Lease, ReadError, StoreEvent, StoreOptions};
use seedlog_core::ids::{Generation, Lsn, Offset, TopicPartition};
use seedlog_core::input::ReadResult;
use seedlog_core::journal::Entry;
use seedlog_core::log::{Compaction, CompactionOrder, CompactionResult, CompactionRules, Retention};
use seedlog_core::output::Look;
use seedlog_core::records::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, Batches, Compression, RecordIter, verify_crc,
};
use seedlog_core::time::WallMs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Budget for batches that the tests look into.
const BUDGET: usize = 64 << 20;

pub(crate) type Log = Vec<(BatchHeader, Bytes)>;
type Written<'a> = (&'a str, Option<&'a [u8]>);

/// Everything goes to segments soon and is forgotten by memory.
pub(crate) fn cold(dir: &Path) -> StoreOptions {
    let mut options = options(dir);
    options.tail_cache_bytes = 0;
    options.write_behind_bytes = 16 << 10;
    options
}

/// A batch of these records, in a codec.
pub(crate) fn append_keyed<D: Disk>(
    node: &mut Node<D>,
    log: TopicPartition,
    records: &[Written<'_>],
    codec: Compression,
    roll: bool,
) {
    let base = node.end(log);
    let mut builder = BatchBuilder::new();
    for (index, (key, value)) in records.iter().enumerate() {
        builder.add(1_000 + base.0 * 10 + index as i64 * 10, Some(key.as_bytes()), *value, &[]);
    }
    let batch = builder.finish_with(codec, |payload| codec::compress(codec, payload).expect("it compresses"));
    node.append_batch(log, &batch, roll);
}

/// Appends so many segments of twenty batches each, and one batch that begins the next: where that is.
pub(crate) fn fill<D: Disk>(node: &mut Node<D>, log: TopicPartition, segments: usize, seed: u64) -> Offset {
    let mut random = salts(seed);
    let mut sealed_to = node.end(log);
    for batch in 0..segments * 20 + 1 {
        let roll = batch % 20 == 0;
        if roll {
            sealed_to = node.end(log);
        }
        let records: Vec<(String, Option<Vec<u8>>)> = (0..3)
            .map(|record| {
                let value = format!("{seed}/{batch}/{record}/").into_bytes();
                let value = value.into_iter().cycle().take(200 + (random() % 200) as usize).collect();
                (format!("key-{}", random() % 40), (!random().is_multiple_of(8)).then_some(value))
            })
            .collect();
        let records: Vec<Written<'_>> =
            records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        append_keyed(node, log, &records, Compression::None, roll);
    }
    sealed_to
}

/// A pass over all that lies before `sealed_to`, where the segment that takes appends begins.
pub(crate) fn order<D: Disk>(node: &Node<D>, log: TopicPartition, sealed_to: Offset) -> CompactionOrder {
    CompactionOrder {
        partition: log,
        generation: Generation(0),
        made: node.model.last,
        start: node.start(log),
        dirty_from: node.start(log),
        up_to: sealed_to,
        sealed_to,
        tombstones_to: Offset(i64::MAX),
        now: WallMs(1_000_000),
        rules: CompactionRules {
            dirty_ppm_min: 0,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX,
            delete_retention_ms: 1_000,
        },
        segment_bytes: 64 << 10,
        producers_last: Vec::new(),
        hash_key: [1, 2],
    }
}

pub(crate) async fn compact<D: Disk>(node: &mut Node<D>, order: &CompactionOrder) -> CompactionResult {
    let op = node.op();
    node.store.compact(op, order.clone());
    match node.done(op).await {
        StoreEvent::Compacted { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

/// A pass that comes to something.
pub(crate) async fn cleaned<D: Disk>(node: &mut Node<D>, order: &CompactionOrder) -> Compaction {
    match compact(node, order).await {
        CompactionResult::Done(compaction) => compaction,
        other => panic!("{other:?}"),
    }
}

/// The journal says that a pass's segments are the log's.
pub(crate) fn swap_in<D: Disk>(node: &mut Node<D>, log: TopicPartition, compaction: &Compaction) {
    node.entry(&Entry::Compacted { partition: log, compaction: Box::new(compaction.clone()) });
    node.store.end_step();
}

/// Waits until what was pushed is in segments, without a snapshot.
pub(crate) async fn in_segments<D: Disk>(node: &mut Node<D>, log: TopicPartition) {
    node.sync().await;
    while node.store.unsegmented_bytes() > 0 {
        // Nothing to be done yet: the order asks for a round.
        let end = node.end(log);
        let asks = CompactionOrder { up_to: end, dirty_from: end, ..order(node, log, end) };
        assert_eq!(compact(node, &asks).await, CompactionResult::NotDue);
        node.idle(Duration::from_millis(1)).await;
    }
}

/// The segment files of a log, by name.
pub(crate) fn files(dir: &Path, log: TopicPartition) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir.join(log.to_string())).expect("the partition has a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
}

/// The two files of each of these segments.
pub(crate) fn named(segments: &[(Offset, Lsn)]) -> BTreeSet<String> {
    let stems = segments.iter().map(|(base, made)| match made.0 {
        0 => format!("{:020}", base.0),
        made => format!("{:020}-{made}", base.0),
    });
    stems.flat_map(|stem| [format!("{stem}.log"), format!("{stem}.index")]).collect()
}

/// What a log's folder holds after a pass: its segments, and the one that takes appends.
pub(crate) fn swapped_files(compaction: &Compaction, active: Offset) -> BTreeSet<String> {
    let new = compaction.segments.iter().map(|segment| (segment.base, compaction.made));
    named(&new.chain([(active, Lsn::ZERO)]).collect::<Vec<_>>())
}

/// Waits until the folder holds these files and no others.
pub(crate) async fn until_files<D: Disk>(
    (node, dir): (&mut Node<D>, &Path),
    log: TopicPartition,
    wanted: &BTreeSet<String>,
) {
    while files(dir, log) != *wanted {
        node.idle(Duration::from_millis(1)).await;
    }
}

/// Reads a log from its start to its end, each time from where the last chunk ended.
pub(crate) async fn read_log<D: Disk>(node: &Node<D>, log: TopicPartition, bytes_max: u32) -> Log {
    let mut read = Log::new();
    let mut from = node.start(log);
    while from < node.end(log) {
        let lease = node.store.lease_ahead(&node.extent(log, from, bytes_max));
        let chain = match lease.resolve_now(bytes_max, true) {
            Some(chain) => chain,
            None => lease.resolve(bytes_max, true).await.unwrap_or_else(|error| panic!("{from}: {error}")),
        };
        let chunk = parse(&chain.concat());
        let first = chunk.first().unwrap_or_else(|| panic!("a read from {from} gives nothing")).0;
        let holds = first.base_offset <= from && from < first.next_offset();
        assert!(holds && (first.base_offset == from || read.is_empty()), "a read from {from}: {first:?}");
        for (header, bytes) in chunk {
            let due = if read.is_empty() { header.base_offset } else { from };
            assert_eq!(header.base_offset, due, "offsets have no gap");
            from = header.next_offset();
            read.push((header, bytes));
        }
    }
    assert_eq!(from, node.end(log).max(from), "and end where the log does");
    read
}

fn parse(bytes: &[u8]) -> Log {
    let mut walk = Batches::new(bytes);
    let batches: Log =
        (&mut walk).map(|(header, range)| (header, Bytes::copy_from_slice(&bytes[range]))).collect();
    assert_eq!(walk.end(), bytes.len(), "a chunk holds whole batches");
    assert!(batches.iter().all(|(_, bytes)| verify_crc(bytes)));
    batches
}

/// A record: where it stands, its key and value.
type Seen = (Offset, Vec<u8>, Option<Vec<u8>>);

/// The records of a log from `start` on.
pub(crate) fn records(log: &Log, start: Offset) -> Vec<Seen> {
    let mut all = Vec::new();
    for (header, bytes) in log {
        let codec = header.compression().expect("a known codec");
        let payload =
            codec::decompress(codec, &bytes[BATCH_HEADER_BYTES..], BUDGET).expect("it decompresses");
        for record in RecordIter::new(header, &payload).map(|record| record.expect("a record")) {
            let key = record.key.expect("a key").to_vec();
            all.push((record.offset, key, record.value.map(<[u8]>::to_vec)));
        }
    }
    all.retain(|(offset, _, _)| *offset >= start);
    assert!(all.is_sorted_by(|one, next| one.0 < next.0), "an offset names one record");
    all
}

/// The last value of each key, with its offset; a deleted one has none.
fn table(records: Vec<Seen>) -> BTreeMap<Vec<u8>, (Offset, Vec<u8>)> {
    let mut table = BTreeMap::new();
    for (offset, key, value) in records {
        match value {
            Some(value) => table.insert(key, (offset, value)),
            None => table.remove(&key),
        };
    }
    table
}

/// What was appended to a log and is in it.
pub(crate) fn model_log<D: Disk>(node: &Node<D>, log: TopicPartition) -> Log {
    let batches = node.model.partitions[&log].iter();
    batches.map(|batch| (BatchHeader::parse(&batch.bytes).expect("a batch"), batch.bytes.clone())).collect()
}

/// A reader from the start finds what it should; gives what it read.
pub(crate) async fn check<D: Disk>(node: &Node<D>, log: TopicPartition) -> Log {
    let start = node.start(log);
    let expected = table(records(&model_log(node, log), start));
    let read = read_log(node, log, 5_000).await;
    assert!(table(records(&read, start)) == expected, "{log}: a reader sees other values");
    // Pieces of other sizes are cut elsewhere, which may not matter.
    let in_large_chunks = read_log(node, log, 1 << 20).await;
    assert!(table(records(&in_large_chunks, start)) == expected, "{log}: and so in large chunks");
    read
}

fn bytes_of(log: &Log) -> u64 {
    log.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Below `to` each key stands once at most.
pub(crate) fn assert_clean(log: &Log, start: Offset, to: Offset) {
    let mut keys = BTreeSet::new();
    for (offset, key, _) in records(log, start).into_iter().filter(|(offset, _, _)| *offset < to) {
        assert!(keys.insert(key), "the key at {offset} stands below {to} twice");
    }
}

async fn old_bytes<D: Disk>(lease: Lease<D>) -> Result<Vec<u8>, ReadError> {
    lease.resolve(u32::MAX, true).await.map(|chain| chain.concat())
}

async fn look<D: Disk>(node: &mut Node<D>, log: TopicPartition, look: Look) -> ReadResult {
    let op = node.op();
    let extent = node.extent(log, node.start(log), u32::MAX);
    node.store.look(op, &extent, look);
    match node.done(op).await {
        StoreEvent::ReadDone { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

/// Look-ups by timestamp, retention and sizes go by what is left of a log.
async fn check_questions<D: Disk>(node: &mut Node<D>, log: TopicPartition, compaction: &Compaction) {
    let read = read_log(node, log, 1 << 20).await;
    let left: Vec<Offset> = records(&read, Offset(0)).into_iter().map(|(offset, _, _)| offset).collect();
    let found = |offset: Offset| ReadResult::Found { offset, timestamp_ms: 1_000 + offset.0 * 10 };
    for wanted in (0..node.end(log).0 + 1).step_by(7) {
        let first = left.iter().copied().find(|offset| offset.0 >= wanted);
        let result = look(node, log, Look::Timestamp(1_000 + wanted * 10)).await;
        assert_eq!(result, first.map_or(ReadResult::NotFound, found), "from the time of {wanted} on");
    }
    let last = *left.last().expect("something is left");
    assert_eq!(look(node, log, Look::MaxTimestamp).await, found(last));
    let op = node.op();
    node.store.measure(op, &[log]);
    match node.done(op).await {
        StoreEvent::LogsMeasured { dir, .. } => assert_eq!(dir.sizes, [(log, bytes_of(&read))]),
        other => panic!("{other:?}"),
    }
    let (first, end) = (compaction.segments[0], compaction.to);
    let retention = |oldest, bytes_min| Retention { oldest, bytes_min };
    for (retention, expected) in [
        (retention(Some(WallMs(i64::MAX)), None), Some(end)),
        (retention(Some(WallMs(first.max_timestamp)), None), None),
        (retention(None, Some(bytes_of(&read) - first.bytes)), Some(first.next)),
        (retention(None, Some(bytes_of(&read))), None),
    ] {
        let op = node.op();
        node.store.find_expired(op, log, end, &retention);
        let result =
            expected.map_or(ReadResult::NotFound, |offset| ReadResult::Found { offset, timestamp_ms: -1 });
        assert_eq!(node.done(op).await, StoreEvent::ReadDone { op, result }, "{retention:?}");
    }
}

async fn a_life_of_a_compacted_log(direct: bool, with_snapshots: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let options = cold(dir.path());
    let disk = real_disk(direct);
    let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
    node.create_topic(1, 1);
    let log = partition(1, 0);
    let sealed_to = fill(&mut node, log, 6, 1);
    if with_snapshots {
        node.take_snapshot().await;
    }
    in_segments(&mut node, log).await;
    let old = check(&node, log).await;
    assert!(old == model_log(&node, log));
    let old_files = files(dir.path(), log);
    assert_eq!(old_files.len(), 2 * 7);

    let order = order(&node, log, sealed_to);
    let compaction = cleaned(&mut node, &order).await;
    assert_eq!((compaction.from, compaction.to, compaction.cleaned_to), (Offset(0), sealed_to, sealed_to));
    assert!(compaction.segments.len() < 3, "small segments are put together: {compaction:?}");
    let with_new = &old_files | &swapped_files(&compaction, sealed_to);
    assert_eq!(files(dir.path(), log), with_new, "both are there");
    assert!(check(&node, log).await == old, "nothing has changed for readers");
    let lease = node.store.lease(&node.extent(log, Offset(0), u32::MAX));
    swap_in(&mut node, log, &compaction);
    let new = check(&node, log).await;
    assert_clean(&new, Offset(0), sealed_to);
    assert!(bytes_of(&new) < bytes_of(&old) / 2, "{} of {} bytes are left", bytes_of(&new), bytes_of(&old));
    node.sync().await;
    until_files((&mut node, dir.path()), log, &swapped_files(&compaction, sealed_to)).await;
    let held = old_bytes(lease).await.expect("its files were open");
    let whole: Vec<u8> = old.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
    assert!(!held.is_empty() && whole.starts_with(&held), "a lease keeps its bytes");
    check_questions(&mut node, log, &compaction).await;
    for _ in 0..2 {
        if with_snapshots {
            node.take_snapshot().await;
            assert!(read_log(&node, log, 5_000).await == new);
        }
        let model = node.model.clone();
        drop(node);
        node = open_when_free(&options, disk.clone(), model).await;
        assert!(check(&node, log).await == new, "it was read back");
        in_segments(&mut node, log).await;
        check_questions(&mut node, log, &compaction).await;
        until_files((&mut node, dir.path()), log, &swapped_files(&compaction, sealed_to)).await;
    }
}

#[test]
fn a_log_of_several_segments_is_cleaned() {
    run(async {
        for direct in [true, false] {
            for with_snapshots in [true, false] {
                a_life_of_a_compacted_log(direct, with_snapshots).await;
            }
        }
    });
}

#[test]
fn a_log_is_cleaned_again_as_it_grows() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        let mut cleaned_to = Offset(0);
        for round in 0..5 {
            let sealed_to = fill(&mut node, log, 2, round);
            in_segments(&mut node, log).await;
            let order = CompactionOrder { dirty_from: cleaned_to, ..order(&node, log, sealed_to) };
            let compaction = cleaned(&mut node, &order).await;
            swap_in(&mut node, log, &compaction);
            cleaned_to = compaction.cleaned_to;
            assert_eq!(cleaned_to, sealed_to);
            let new = check(&node, log).await;
            assert_clean(&new, Offset(0), cleaned_to);
            if round % 2 == 0 {
                node.take_snapshot().await;
            } else {
                node.sync().await;
                let model = node.model.clone();
                drop(node);
                node = open_when_free(&options, real_disk(true), model).await;
            }
            assert!(check(&node, log).await == new);
            in_segments(&mut node, log).await;
            until_files((&mut node, dir.path()), log, &swapped_files(&compaction, sealed_to)).await;
        }
    });
}

#[test]
fn what_nobody_swaps_in_changes_nothing_and_goes_with_the_next_pass() {
    run(async {
        for restarts in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let options = cold(dir.path());
            let mut node =
                Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 2);
            let log = partition(1, 0);
            let sealed_to = fill(&mut node, log, 4, 2);
            let other_sealed_to = fill(&mut node, partition(1, 1), 2, 3);
            node.take_snapshot().await;
            let (old, old_files) = (check(&node, log).await, files(dir.path(), log));
            let first = order(&node, log, sealed_to);
            let given_up = cleaned(&mut node, &first).await;
            let left = &files(dir.path(), log) - &old_files;
            assert_eq!(left.len(), given_up.segments.len() * 2);
            if restarts {
                let model = node.model.clone();
                drop(node);
                node = open_when_free(&options, real_disk(true), model).await;
                assert!(check(&node, log).await == old);
            } else {
                // The pass of another log tidies up as well.
                let other = order(&node, partition(1, 1), other_sealed_to);
                cleaned(&mut node, &other).await;
                assert_eq!(files(dir.path(), log), old_files);
            }
            fill(&mut node, partition(1, 1), 0, 4);
            let next = order(&node, log, sealed_to);
            assert!(next.made > first.made);
            let compaction = cleaned(&mut node, &next).await;
            assert!(files(dir.path(), log).is_disjoint(&left), "the first pass's files are gone");
            swap_in(&mut node, log, &compaction);
            node.take_snapshot().await;
            check(&node, log).await;
            assert_eq!(files(dir.path(), log), swapped_files(&compaction, sealed_to));
        }
    });
}

#[test]
fn a_batch_keeps_its_codec_when_some_of_its_records_go() {
    run(async {
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = cold(dir.path());
            options.decompressed_bytes_max = 1 << 20;
            let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let log = partition(1, 0);
            let huge = vec![7; 2 << 20];
            append_keyed(&mut node, log, &[("huge", Some(&huge))], Compression::Zstd, true);
            for batch in 0..60 {
                // The first record of each batch stays.
                let once = format!("once-{batch}");
                let value = once.repeat(50).into_bytes();
                let records =
                    [(once.as_str(), Some(value.as_slice())), ("often", Some(&value)), ("gone", None)];
                append_keyed(&mut node, log, &records, codec, batch % 20 == 10);
            }
            append_keyed(&mut node, log, &[("huge", Some(b"small"))], codec, false);
            let sealed_to = fill(&mut node, log, 0, 5);
            node.take_snapshot().await;
            let old = check(&node, log).await;
            let order = order(&node, log, sealed_to);
            let compaction = cleaned(&mut node, &order).await;
            swap_in(&mut node, log, &compaction);
            let new = check(&node, log).await;
            assert_eq!(new[0], old[0], "nobody can look into it within the limit");
            assert_eq!(new.len(), old.len(), "every batch keeps a record");
            for ((was, _), (is, _)) in old.iter().zip(&new).skip(1).take(59) {
                assert_eq!((is.compression(), is.record_count), (Some(codec), 1));
                assert_eq!((is.base_offset, is.next_offset()), (was.base_offset, was.next_offset()));
            }
        }
    });
}

#[test]
fn a_tombstone_outlives_its_time_while_it_deletes_what_nobody_can_look_into() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = cold(dir.path());
        options.decompressed_bytes_max = 1 << 20;
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        append_keyed(&mut node, log, &[("first", Some(b"value"))], Compression::None, true);
        append_keyed(&mut node, log, &[("first", None)], Compression::None, false);
        let huge = vec![7; 2 << 20];
        append_keyed(&mut node, log, &[("huge", Some(&huge))], Compression::Zstd, false);
        append_keyed(&mut node, log, &[("huge", None)], Compression::None, false);
        let sealed_to = fill(&mut node, log, 0, 14);
        node.take_snapshot().await;
        for pass in 0..3 {
            let mut order = order(&node, log, sealed_to);
            order.now.0 += pass * 10_000;
            let compaction = cleaned(&mut node, &order).await;
            swap_in(&mut node, log, &compaction);
            let read = check(&node, log).await;
            let left: Vec<i64> = records(&read, Offset(0)).iter().map(|(offset, _, _)| offset.0).collect();
            let expected: &[i64] = if pass == 0 { &[1, 2, 3] } else { &[2, 3] };
            assert_eq!(left[..left.len() - 3], *expected, "pass {pass}");
            node.take_snapshot().await;
        }
    });
}

#[test]
fn with_memory_for_few_keys_several_passes_get_there() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = cold(dir.path());
        // 768 of them in any case.
        options.cleaner_keys_bytes_max = 1;
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        for batch in 0..60 {
            let keys: Vec<String> =
                (0..100).map(|key| format!("key-{}", (batch * 100 + key) % 2_500)).collect();
            let value = format!("of batch {batch}").into_bytes();
            let records: Vec<Written<'_>> = keys.iter().map(|key| (key.as_str(), Some(&value[..]))).collect();
            append_keyed(&mut node, log, &records, Compression::None, batch % 7 == 0);
        }
        let sealed_to = fill(&mut node, log, 0, 6);
        node.take_snapshot().await;
        let (mut passes, mut cleaned_to) = (0, Offset(0));
        while cleaned_to < sealed_to {
            let order = CompactionOrder { dirty_from: cleaned_to, ..order(&node, log, sealed_to) };
            let compaction = cleaned(&mut node, &order).await;
            assert!(compaction.cleaned_to > cleaned_to, "each pass gets further");
            cleaned_to = compaction.cleaned_to;
            swap_in(&mut node, log, &compaction);
            let read = check(&node, log).await;
            assert_clean(&read, Offset(0), cleaned_to);
            node.take_snapshot().await;
            passes += 1;
        }
        assert!(passes > 5, "{passes} passes");
    });
}

#[test]
fn a_batch_of_more_keys_than_there_is_memory_for_leaves_the_log_as_it_is() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = cold(dir.path());
        options.cleaner_keys_bytes_max = 1;
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        let keys: Vec<String> = (0..800).map(|key| format!("key-{key}")).collect();
        let records: Vec<Written<'_>> = keys.iter().map(|key| (key.as_str(), Some(&b"v"[..]))).collect();
        append_keyed(&mut node, log, &records, Compression::None, true);
        let sealed_to = fill(&mut node, log, 2, 7);
        node.take_snapshot().await;
        let (old, old_files) = (check(&node, log).await, files(dir.path(), log));
        let order = order(&node, log, sealed_to);
        assert_eq!(compact(&mut node, &order).await, CompactionResult::Failed);
        assert!(check(&node, log).await == old);
        assert_eq!(files(dir.path(), log), old_files);
    });
}
