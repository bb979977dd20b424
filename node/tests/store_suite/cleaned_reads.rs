//! Consumers and batches without records: they get none, unless there is nothing else.

use crate::compaction::{cleaned, in_segments, order, swap_in};
use crate::support::*;
use seedlog::store::StoreOptions;
use seedlog::store::disk::Disk;
use seedlog_core::ids::{Generation, LeaderEpoch, Offset, TopicPartition};
use seedlog_core::output::Extent;
use seedlog_core::records::{BatchBuilder, Batches, empty_batch};

/// Base offset and number of records of each batch.
fn shapes(chain: &[bytes::Bytes]) -> Vec<(i64, i32)> {
    let all = chain.concat();
    Batches::new(&all).map(|(header, _)| (header.base_offset.0, header.record_count)).collect()
}

fn append_one<D: Disk>(node: &mut Node<D>, log: TopicPartition, key: Option<&[u8]>, roll: bool) {
    let mut builder = BatchBuilder::new();
    builder.add(1_000, key, Some(b"value"), &[]);
    node.append_batch(log, &builder.finish(), roll);
}

/// What a consumer is given, and a follower, from an offset up to another.
async fn given<D: Disk>(
    node: &Node<D>,
    log: TopicPartition,
    (from, to): (i64, i64),
    is_cluster: bool,
) -> (Vec<(i64, i32)>, Vec<(i64, i32)>) {
    let extent = Extent {
        partition: log,
        generation: Generation(0),
        from: Offset(from),
        to: Offset(to),
        bytes_max: 1 << 20,
    };
    let lease = if is_cluster { node.store.lease_of_cluster(&extent) } else { node.store.lease(&extent) };
    let consumer = lease.resolve(1 << 20, true).await.expect("it is there");
    let follower = node.store.lease_ahead(&extent).resolve(1 << 20, true).await.expect("it is there");
    (shapes(&consumer), shapes(&follower))
}

#[test]
fn a_consumer_is_given_records_at_once_after_a_cleaning_and_no_batch_without_any() {
    run(async {
        // A node of a cluster reads ahead of its journal.
        for reads_ahead in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            // Memory has room for all of it.
            let options = StoreOptions { reads_ahead, ..options(dir.path()) };
            let mut node = Node::open(options, real_disk(false), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let log = partition(1, 0);
            // One key each, and nobody wants what has none: a batch that is left stands between two that are not.
            let keys: [Option<&[u8]>; 6] = [Some(b"a"), Some(b"b"), None, Some(b"a"), None, Some(b"a")];
            for (offset, key) in keys.into_iter().enumerate() {
                append_one(&mut node, log, key, offset == 5);
            }
            in_segments(&mut node, log).await;
            let order = order(&node, log, Offset(5));
            let compaction = cleaned(&mut node, &order).await;
            swap_in(&mut node, log, &compaction);
            for (bounds, wanted) in [
                ((0, 6), vec![(1, 1), (3, 1)]),
                ((2, 6), vec![(3, 1)]),
                // Nothing of this segment is left: the next one goes on.
                ((4, 6), vec![(5, 1)]),
                // Nor is there a next one that it may see.
                ((4, 5), vec![(4, 0)]),
            ] {
                let (consumer, _) = given(&node, log, bounds, reads_ahead).await;
                assert_eq!(consumer, wanted, "a consumer of {bounds:?}, reads ahead: {reads_ahead}");
            }
            let (_, follower) = given(&node, log, (0, 6), reads_ahead).await;
            assert_eq!(follower, [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)], "a follower has all");
        }
    });
}

#[test]
fn a_copy_of_a_cleaned_log_gives_consumers_no_batch_without_records_either() {
    run(async {
        // From memory before and behind the journal, and from the journal's file.
        for (is_synced, tail_cache_bytes) in [(false, 64 << 20), (true, 64 << 20), (true, 0)] {
            let dir = tempfile::tempdir().expect("a folder");
            let options = StoreOptions { reads_ahead: true, tail_cache_bytes, ..options(dir.path()) };
            let mut node = Node::open(options, real_disk(false), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let log = partition(1, 0);
            for is_left in [false, true, false, false, true, false, false] {
                if is_left {
                    append_one(&mut node, log, Some(b"k"), false);
                } else {
                    node.append_batch(log, &empty_batch(Offset(0), Offset(1), LeaderEpoch(0)), false);
                }
            }
            if is_synced {
                node.sync().await;
            }
            for (bounds, wanted) in [
                ((0, 7), vec![(1, 1), (4, 1)]),
                ((2, 7), vec![(4, 1)]),
                // A reader goes on to the end.
                ((5, 7), vec![(5, 0), (6, 0)]),
            ] {
                let (consumer, _) = given(&node, log, bounds, true).await;
                let how = format!("synced: {is_synced}, cache: {tail_cache_bytes}");
                assert_eq!(consumer, wanted, "a consumer of {bounds:?}; {how}");
            }
            let (_, follower) = given(&node, log, (0, 7), true).await;
            assert_eq!(follower.len(), 7, "a follower has all");
        }
    });
}
