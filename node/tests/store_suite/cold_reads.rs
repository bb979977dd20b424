//! Old records: what is read of the disk, by whom it is shared, and what a failed read leaves behind.

use super::faulty::{Faults, FaultyDisk};
use super::support::*;
use seedlog::store::StoreOptions;
use seedlog_core::ids::Offset;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a log whose records are all in segments, `rolls` of them, in `batches` batches.
async fn filled(
    options: StoreOptions,
    batches: usize,
    batch_bytes: usize,
    rolls: usize,
) -> (Node<FaultyDisk>, Arc<Faults>, u64) {
    let disk = FaultyDisk::new(real_disk(true));
    let faults = Arc::clone(&disk.faults);
    let mut node = Node::open(options, disk, Model::default()).await.expect("it opens");
    node.create_topic(1, 1);
    for batch in 0..batches {
        node.append(partition(1, 0), 1, batch_bytes, batch > 0 && batch % batches.div_ceil(rolls) == 0);
        if batch % 64 == 0 {
            node.sync().await;
        }
    }
    node.take_snapshot().await;
    let bytes = node.model.partitions[&partition(1, 0)].iter().map(|batch| batch.bytes.len() as u64).sum();
    (node, faults, bytes)
}

fn without_tail_cache(dir: &Path, cold_cache_bytes: usize) -> StoreOptions {
    StoreOptions { tail_cache_bytes: 0, cold_cache_bytes, ..options(dir) }
}

#[test]
fn a_reader_that_goes_on_reads_every_byte_once() {
    run(async {
        // Pieces of 128 KiB; limits below and above that, and batches that never fit exactly.
        for (limit, batch_bytes) in [(20_000, 3_000), (128 << 10, 3_000), (1 << 20, 3_000), (50_000, 30_001)]
        {
            let dir = tempfile::tempdir().expect("a folder");
            let options = without_tail_cache(dir.path(), 1 << 20);
            let (node, faults, bytes) = filled(options, 3_000_000 / batch_bytes, batch_bytes, 2).await;
            node.check_all(limit).await;
            let read = faults.cold_bytes.swap(0, Ordering::SeqCst);
            // Besides the records: lines of the side files.
            assert!((bytes..bytes + bytes / 20).contains(&read), "limit {limit}: {read} read of {bytes}");
        }
    });
}

#[test]
fn the_next_reader_finds_in_memory_what_the_last_one_read() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (node, faults, bytes) = filled(without_tail_cache(dir.path(), 16 << 20), 300, 10_000, 3).await;
        node.check_all(100_000).await;
        assert!(faults.cold_bytes.swap(0, Ordering::SeqCst) >= bytes);
        node.check_all(300_000).await;
        node.check_all(1).await;
        let read = faults.cold_bytes.load(Ordering::SeqCst);
        assert!(read < bytes / 10, "{read} read again of {bytes}");
    });
}

#[test]
fn a_look_at_one_place_reads_little() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (node, faults, _) = filled(without_tail_cache(dir.path(), 1 << 20), 300, 10_000, 1).await;
        let lease = node.store.lease(&node.extent(partition(1, 0), Offset(150), 15_000));
        let chain = lease.resolve(15_000, true).await.expect("it is there");
        let expected = &node.model.partitions[&partition(1, 0)][150].bytes;
        assert_eq!(chain.concat(), expected[..]);
        let read = faults.cold_bytes.load(Ordering::SeqCst);
        assert!(read < 40_000, "{read} read for one batch");
    });
}

#[test]
fn a_segment_that_grows_under_its_reader_is_read_on() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut node =
            Node::open(without_tail_cache(dir.path(), 512 << 10), real_disk(true), Model::default())
                .await
                .expect("it opens");
        node.create_topic(1, 1);
        for round in 0..40 {
            for _ in 0..=round % 7 {
                node.append(partition(1, 0), 1, 7_000, false);
            }
            node.take_snapshot().await;
            node.check_all(if round % 2 == 0 { 64 << 10 } else { 1 << 20 }).await;
        }
    });
}

/// A batch that could be read was told to be damaged, and the node gave its copy of the log up.
#[test]
fn a_late_reader_of_a_shorter_segment_goes_on_where_one_of_the_longer_stopped() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = without_tail_cache(dir.path(), 1 << 20);
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let grow = async |node: &mut Node<_>| {
            for _ in 0..40 {
                node.append(partition(1, 0), 1, 7_000, false);
            }
            node.take_snapshot().await;
        };
        grow(&mut node).await;
        let late = [5, 20].map(|from| {
            let extent = node.extent(partition(1, 0), Offset(from), u32::MAX);
            (from as usize, node.store.lease(&extent))
        });
        grow(&mut node).await;
        for to in [5, 20] {
            let limit = 7_000 * to - 1;
            let first = node.store.lease(&node.extent(partition(1, 0), Offset(0), limit));
            first.resolve(limit, true).await.expect("it is there");
            let next = node.store.lease(&node.extent(partition(1, 0), Offset(i64::from(to) - 1), 7_000));
            next.resolve(7_000, true).await.expect("it is there");
        }
        for (from, lease) in late {
            let chain = lease.resolve(u32::MAX, true).await.expect("all of it is there");
            let expected = node.model.partitions[&partition(1, 0)][from..40].iter();
            assert_eq!(chain.concat(), expected.flat_map(|batch| batch.bytes.to_vec()).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_read_that_failed_is_made_again() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (node, faults, _) = filled(without_tail_cache(dir.path(), 1 << 20), 300, 10_000, 1).await;
        let read = async |from: i64| {
            let lease = node.store.lease(&node.extent(partition(1, 0), Offset(from), 200_000));
            lease.resolve(200_000, true).await
        };
        // Opens the segment and reads ahead.
        let first = read(0).await.expect("it is there");
        let next = first.iter().map(|bytes| bytes.len()).sum::<usize>() / 10_000;
        faults.cold_reads_fail.store(true, Ordering::SeqCst);
        assert!(read(250).await.is_err(), "nothing of that is in memory");
        faults.cold_reads_fail.store(false, Ordering::SeqCst);
        read(250).await.expect("the disk is well again");
        read(next as i64).await.expect("and where the first reader goes on");
        node.check_all(100_000).await;
    });
}

#[test]
fn what_a_late_reader_reads_of_a_topic_that_is_gone_is_not_given_to_those_of_its_successor() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut node, _, _) = filled(without_tail_cache(dir.path(), 16 << 20), 100, 10_000, 1).await;
        let lease = |node: &Node<FaultyDisk>, from| {
            node.store.lease(&node.extent(partition(1, 0), Offset(from), 200_000))
        };
        lease(&node, 0).resolve(200_000, true).await.expect("it is there");
        let late = lease(&node, 0);
        node.drop_topic(1, 1, true).await;
        late.resolve(200_000, true).await.expect("its files are open still");
        // The same id again, with other records at the same offsets and places.
        node.create_topic(1, 1);
        for _ in 0..100 {
            node.append(partition(1, 0), 1, 10_000, false);
        }
        node.take_snapshot().await;
        node.check_all(200_000).await;
    });
}
