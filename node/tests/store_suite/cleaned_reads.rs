//! Consumers and batches without records: they get none, unless there is nothing else.

use crate::support::*;
use seedlog::codec;
use seedlog::store::{StoreEvent, StoreOptions};
use seedlog_core::ids::{Generation, Offset};
use seedlog_core::journal::Entry;
use seedlog_core::log::{CompactionOrder, CompactionResult, CompactionRules};
use seedlog_core::output::Extent;
use seedlog_core::records::{BatchBuilder, Batches, Compression};
use seedlog_core::time::WallMs;
use std::time::Duration;

/// Base offset and number of records of each batch.
fn shapes(chain: &[bytes::Bytes]) -> Vec<(i64, i32)> {
    let all = chain.concat();
    Batches::new(&all).map(|(header, _)| (header.base_offset.0, header.record_count)).collect()
}

#[test]
fn a_consumer_is_given_records_at_once_after_a_cleaning_and_no_batch_without_any() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        // Memory has room for all of it.
        let options = StoreOptions { write_behind_bytes: 1, ..options(dir.path()) };
        let mut node = Node::open(options, real_disk(false), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        // One key each, and nobody wants what has none: a batch that is left stands between two that are not.
        let keys: [Option<&[u8]>; 6] = [Some(b"a"), Some(b"b"), None, Some(b"a"), None, Some(b"a")];
        for (offset, key) in keys.into_iter().enumerate() {
            let mut builder = BatchBuilder::new();
            builder.add(1_000, key, Some(b"value"), &[]);
            let plain = |payload: &[u8]| codec::compress(Compression::None, payload).expect("it compresses");
            let batch = builder.finish_with(Compression::None, plain);
            node.append_batch(log, &batch, offset == 5);
        }
        node.sync().await;
        let sealed_to = Offset(5);
        let order = CompactionOrder {
            partition: log,
            generation: Generation(0),
            made: node.model.last,
            start: Offset(0),
            dirty_from: Offset(0),
            up_to: sealed_to,
            sealed_to,
            now: WallMs(1_000_000),
            rules: CompactionRules {
                dirty_ppm_min: 0,
                lag_ms_min: 0,
                lag_ms_max: i64::MAX,
                delete_retention_ms: 1,
            },
            segment_bytes: 64 << 10,
            producers_last: Vec::new(),
            hash_key: [1, 2],
        };
        let compaction = loop {
            let op = node.op();
            node.store.compact(op, order.clone());
            match node.done(op).await {
                StoreEvent::Compacted { result: CompactionResult::Done(compaction), .. } => break compaction,
                _ => node.idle(Duration::from_millis(1)).await,
            }
        };
        node.entry(&Entry::Compacted { partition: log, compaction: Box::new(compaction) });
        node.store.end_step();
        let extent = |from, to| Extent {
            partition: log,
            generation: Generation(0),
            from: Offset(from),
            to: Offset(to),
            bytes_max: 1 << 20,
        };
        for (from, to, wanted) in [
            (0, 6, vec![(1, 1), (3, 1)]),
            (2, 6, vec![(3, 1)]),
            // Nothing of this segment is left: the next one goes on.
            (4, 6, vec![(5, 1)]),
            // Nor is there a next one that it may see.
            (4, 5, vec![(4, 0)]),
        ] {
            let chain =
                node.store.lease(&extent(from, to)).resolve(1 << 20, true).await.expect("it is there");
            assert_eq!(shapes(&chain), wanted, "a consumer from {from} to {to}");
        }
        let chain = node.store.lease_ahead(&extent(0, 6)).resolve(1 << 20, true).await.expect("it is there");
        assert_eq!(shapes(&chain), [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)], "a follower has all");
    });
}
