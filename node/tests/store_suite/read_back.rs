//! Batches that the broker reads back for itself, wherever they stand.

use crate::support::*;
use seedlog::store::StoreEvent;
use seedlog::store::disk::Disk;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::output::Extent;
use seedlog_core::records::{BatchHeader, ProducedBatch};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Three records each, so that a batch has an inside.
const RECORDS: usize = 3;
const RECORD_BYTES: usize = 300;

async fn read_back<D: Disk>(node: &mut Node<D>, extent: Extent) -> Option<Vec<ProducedBatch>> {
    let op = node.op();
    node.store.read_batches(op, extent);
    match node.done(op).await {
        StoreEvent::BatchesRead { batches, .. } => batches,
        other => panic!("{other:?}"),
    }
}

/// They are the batches from the one that holds `from` on.
fn check(read: &[ProducedBatch], written: &[Expected], from: Offset) -> Offset {
    let at = written.partition_point(|batch| batch.next <= from);
    for (batch, expected) in read.iter().zip(&written[at..]) {
        assert_eq!(batch.bytes, expected.bytes, "from {from}, at {}", expected.base);
        assert_eq!(Ok(batch.header), BatchHeader::parse(&expected.bytes));
    }
    assert!(!read.is_empty() && read.len() <= written.len() - at, "from {from}: {} batches", read.len());
    written[at + read.len() - 1].next
}

/// Reads a log from its start to its end; gives how many reads it took.
async fn read_all<D: Disk>(node: &mut Node<D>, partition: TopicPartition, bytes_max: u32) -> usize {
    let written = node.model.partitions[&partition].clone();
    let (mut from, mut reads) = (node.start(partition), 0);
    while from < node.end(partition) {
        let read = read_back(node, node.extent(partition, from, bytes_max)).await;
        let read = read.unwrap_or_else(|| panic!("{partition} from {from}: nothing"));
        let bytes: usize = read.iter().map(|batch| batch.bytes.len()).sum();
        assert!(bytes <= bytes_max as usize || read.len() == 1, "{bytes} bytes of {bytes_max}");
        from = check(&read, &written, from);
        reads += 1;
    }
    reads
}

/// All of a log, in large reads and in small ones, and from within each batch.
async fn check_reads<D: Disk>(node: &mut Node<D>, partition: TopicPartition) {
    let written = node.model.partitions[&partition].clone();
    let largest = written.iter().map(|batch| batch.bytes.len()).max().expect("there are batches");
    assert_eq!(read_all(node, partition, 1).await, written.len(), "one at a time");
    let in_threes = read_all(node, partition, 3 * largest as u32 + 1).await;
    assert!(in_threes >= written.len() / 3 && in_threes < written.len(), "{in_threes} reads");
    assert!(read_all(node, partition, 1 << 20).await <= 4, "as many as fit");
    for batch in &written {
        for inside in batch.base.0..batch.next.0 {
            let from = Offset(inside);
            let read = read_back(node, node.extent(partition, from, 1)).await.expect("it is there");
            assert_eq!(check(&read, &written, from), batch.next);
            // The extent ends in front of what follows.
            let mut extent = node.extent(partition, from, 1 << 20);
            extent.to = batch.next;
            let read = read_back(node, extent).await.expect("it is there");
            assert_eq!(check(&read, &written, from), batch.next);
        }
    }
    let end = node.end(partition);
    assert_eq!(read_back(node, node.extent(partition, end, 100)).await, Some(Vec::new()));
}

fn append<D: Disk>(node: &mut Node<D>, partition: TopicPartition, batches: usize) {
    for round in 0..batches {
        node.append(partition, RECORDS, RECORD_BYTES, round == batches / 2);
    }
}

#[test]
fn batches_come_back_from_memory_the_journal_and_segments() {
    run(async {
        for tail_cache_bytes in [0, 2 << 20] {
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = options(dir.path());
            options.tail_cache_bytes = tail_cache_bytes;
            let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 2);
            let p = partition(1, 0);
            append(&mut node, p, 20);
            node.append(partition(1, 1), 1, 3000, false);
            node.sync().await;
            let first = node.store.lease(&node.extent(p, Offset(0), 1));
            assert_eq!(first.resolve_now(1, true).is_some(), tail_cache_bytes > 0, "as the cache says");
            assert!(node.store.unsegmented_bytes() > 0, "in the journal only");
            check_reads(&mut node, p).await;
            node.take_snapshot().await;
            assert_eq!(node.store.unsegmented_bytes(), 0, "in segments");
            check_reads(&mut node, p).await;
            append(&mut node, p, 20);
            node.sync().await;
            assert!(node.store.unsegmented_bytes() > 0, "some here, some there");
            check_reads(&mut node, p).await;
            // What is gone below the start is not there; nor is a log that nobody knows.
            let start = node.boundaries(p)[10];
            node.move_start(p, start);
            node.sync().await;
            read_all(&mut node, p, 5000).await;
            let mut unknown = node.extent(p, Offset(0), 1 << 20);
            unknown.partition = partition(9, 9);
            assert_eq!(read_back(&mut node, unknown).await, None);
        }
    });
}

#[test]
fn what_is_not_written_yet_comes_back_only_where_reads_run_ahead() {
    run(async {
        for reads_ahead in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = options(dir.path());
            options.reads_ahead = reads_ahead;
            let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let p = partition(1, 0);
            append(&mut node, p, 4);
            let extent = node.extent(p, Offset(0), 1 << 20);
            let read = read_back(&mut node, extent).await;
            assert_eq!(
                read.map(|read| check(&read, &node.model.partitions[&p], Offset(0))).is_some(),
                reads_ahead
            );
            node.sync().await;
            check_reads(&mut node, p).await;
        }
    });
}

/// A node with so many batches in one partition, on the disk only: in the journal or in segments.
async fn uncached(dir: &Path, batches: usize, in_segments: bool) -> Node<impl Disk> {
    let mut options = options(dir);
    options.tail_cache_bytes = 0;
    let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
    node.create_topic(1, 1);
    append(&mut node, partition(1, 0), batches);
    node.sync().await;
    if in_segments {
        node.take_snapshot().await;
    }
    node
}

#[test]
fn a_read_that_a_cut_overtakes_gives_what_was_there_and_later_ones_what_is() {
    run(async {
        for in_segments in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let p = partition(1, 0);
            let mut node = uncached(dir.path(), 20, in_segments).await;
            let (before, boundaries) = (node.model.partitions[&p].clone(), node.boundaries(p));
            let (op, from) = (node.op(), boundaries[3]);
            node.store.read_batches(op, node.extent(p, from, 1 << 20));
            node.cut(p, boundaries[6]);
            append(&mut node, p, 10);
            node.store.flush();
            let StoreEvent::BatchesRead { batches: Some(read), .. } = node.done(op).await else {
                panic!("the lease keeps what it names")
            };
            assert!(check(&read, &before, from) > boundaries[6], "what was cut as well");
            node.sync().await;
            check_reads(&mut node, p).await;
            node.take_snapshot().await;
            check_reads(&mut node, p).await;
            node.reset(p, Offset(1000));
            append(&mut node, p, 5);
            node.sync().await;
            check_reads(&mut node, p).await;
            let below = Extent { to: Offset(900), ..node.extent(p, boundaries[2], 1 << 20) };
            assert_eq!(read_back(&mut node, below).await, None, "no byte of an earlier life");
        }
    });
}

/// Spoils a batch where it stands in one of a folder's files.
fn spoil(dir: &Path, batch: &Expected) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mut bytes = if path.is_file() { fs::read(&path).expect("it is there") } else { Vec::new() };
        if let Some(at) = bytes.windows(batch.bytes.len()).position(|window| window == batch.bytes) {
            bytes[at + batch.bytes.len() - 5] ^= 4;
            fs::write(&path, bytes).expect("written");
            return;
        }
    }
    panic!("no file in {} holds the batch", dir.display());
}

#[test]
fn damaged_batches_do_not_come_back_and_are_told_of() {
    run(async {
        for in_segments in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let p = partition(1, 0);
            let mut node = uncached(dir.path(), 100, in_segments).await;
            let folder = if in_segments { dir.path().join(p.to_string()) } else { dir.path().to_owned() };
            let written = node.model.partitions[&p].clone();
            spoil(&folder, &written[60]);
            let mut intact = 0;
            for (at, batch) in written.iter().enumerate() {
                let extent = node.extent(p, batch.base, 1);
                match read_back(&mut node, extent).await {
                    Some(read) => {
                        assert_eq!(check(&read, &written, batch.base), batch.next);
                        assert_ne!(at, 60, "it is damaged");
                        intact += 1;
                    }
                    None => {
                        let told = StoreEvent::Damaged { partition: p, from: batch.base };
                        while node.store.next_event().await != told {}
                    }
                }
            }
            assert!((50..100).contains(&intact), "{intact} of 100");
        }
    });
}

#[test]
fn offsets_that_were_lost_in_the_journal_are_told_of_whenever_they_are_asked_for() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let p = partition(1, 0);
        let mut node = uncached(dir.path(), 100, false).await;
        let written = node.model.partitions[&p].clone();
        // One in the middle, and the last of all.
        for at in [60, 99] {
            spoil(dir.path(), &written[at]);
        }
        node.take_snapshot().await;
        for at in [60, 99, 60, 99] {
            let extent = node.extent(p, written[at].base, 1);
            assert_eq!(read_back(&mut node, extent).await, None);
            let told = StoreEvent::Damaged { partition: p, from: written[at].base };
            let wait = async { while node.store.next_event().await != told {} };
            tokio::time::timeout(Duration::from_secs(5), wait).await.expect("the core hears of it");
        }
        let extent = node.extent(p, written[61].base, 1 << 20);
        let read = read_back(&mut node, extent).await.expect("it is there");
        assert_eq!(check(&read, &written, written[61].base), written[98].next);
    });
}
