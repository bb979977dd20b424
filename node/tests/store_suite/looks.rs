//! Look-ups by timestamp, wherever the batch stands and whatever its codec.

use crate::support::*;
use seedlog::codec;
use seedlog::store::StoreEvent;
use seedlog::store::disk::Disk;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::input::ReadResult;
use seedlog_core::output::{Look, StoreCommand};
use seedlog_core::records::{BatchBuilder, Compression};
use std::fs;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn append<D: Disk>(
    node: &mut Node<D>,
    partition: TopicPartition,
    codec: Compression,
    timestamps: &[i64],
    roll: bool,
) {
    let mut builder = BatchBuilder::new();
    for timestamp in timestamps {
        builder.add(*timestamp, None, Some(&[b'v'; 400]), &[]);
    }
    let batch = builder.finish_with(codec, |payload| codec::compress(codec, payload).expect("it compresses"));
    node.append_batch(partition, &batch, roll);
}

async fn look<D: Disk>(
    node: &mut Node<D>,
    partition: TopicPartition,
    from: i64,
    to: i64,
    look: Look,
) -> ReadResult {
    let op = node.op();
    let mut extent = node.extent(partition, Offset(from), u32::MAX);
    extent.to = Offset(to);
    node.store.look(op, &extent, look);
    match node.done(op).await {
        StoreEvent::ReadDone { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn timestamps_are_found_in_every_place_and_codec() {
    run(async {
        for codec in CODECS {
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = options(dir.path());
            options.tail_cache_bytes = 64 << 10;
            let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let p = partition(1, 0);
            // Offsets 0 to 399; timestamps grow but for a peak at offset 202.
            for batch in 0..100_i64 {
                let peak = if batch == 50 { 1_000_000 } else { 0 };
                let base = batch * 40;
                append(
                    &mut node,
                    p,
                    codec,
                    &[base, base + 10, base + 20 + peak, base + 30],
                    batch % 30 == 29,
                );
                if batch % 10 == 0 {
                    node.sync().await;
                }
            }
            node.sync().await;
            for stage in 0..3 {
                let found = |offset, timestamp_ms| ReadResult::Found { offset: Offset(offset), timestamp_ms };
                let what = format!("{codec:?}, stage {stage}");
                for (from, to, wanted, expected) in [
                    (0, 400, Look::Timestamp(0), found(0, 0)),
                    (0, 400, Look::Timestamp(51), found(6, 60)),
                    (0, 400, Look::Timestamp(1990), found(199, 1990)),
                    (0, 400, Look::Timestamp(2011), found(202, 1_002_020)),
                    (204, 400, Look::Timestamp(3000), found(300, 3000)),
                    (301, 400, Look::Timestamp(100), found(301, 3010)),
                    (0, 400, Look::Timestamp(2_000_000), ReadResult::NotFound),
                    (0, 100, Look::Timestamp(1500), ReadResult::NotFound),
                    (0, 400, Look::MaxTimestamp, found(202, 1_002_020)),
                    (0, 200, Look::MaxTimestamp, found(199, 1990)),
                    (204, 400, Look::MaxTimestamp, found(399, 3990)),
                    (203, 400, Look::MaxTimestamp, found(399, 3990)),
                    (203, 204, Look::MaxTimestamp, found(203, 2030)),
                    (203, 400, Look::Timestamp(2025), found(203, 2030)),
                    (400, 400, Look::MaxTimestamp, ReadResult::NotFound),
                ] {
                    let result = look(&mut node, p, from, to, wanted).await;
                    assert_eq!(result, expected, "{what}: {wanted:?} from {from} to {to}");
                }
                if stage == 0 {
                    node.take_snapshot().await;
                    for batch in 100..110_i64 {
                        append(&mut node, p, codec, &[batch * 40], false);
                    }
                    node.sync().await;
                } else {
                    node.take_snapshot().await;
                }
            }
        }
    });
}

#[test]
fn a_batch_that_would_not_fit_into_memory_fails_the_look_up_alone() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.decompressed_bytes_max = 1 << 20;
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let mut builder = BatchBuilder::new();
        builder.add(10, None, Some(&vec![0; 2 << 20]), &[]);
        let batch = builder.finish_with(Compression::Zstd, |payload| {
            codec::compress(Compression::Zstd, payload).expect("it compresses")
        });
        node.append_batch(partition(1, 0), &batch, false);
        node.sync().await;
        assert_eq!(look(&mut node, partition(1, 0), 0, 1, Look::Timestamp(5)).await, ReadResult::Failed);
        node.check_all(1 << 20).await;
    });
}

#[test]
fn a_deleted_topic_goes_and_one_that_nobody_knows_is_set_aside() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 2);
        node.create_topic(2, 2);
        for round in 0..200 {
            node.append(partition(1 + (round % 2) as u8, round / 2 % 2), 1, 2000, false);
        }
        node.sync().await;
        node.take_snapshot().await;
        for round in 0..50 {
            node.append(partition(1 + (round % 2) as u8, round / 2 % 2), 1, 2000, false);
        }
        node.sync().await;
        let folder = |p: TopicPartition| dir.path().join(p.to_string());
        assert!(folder(partition(1, 0)).is_dir());
        let lease = node.store.lease(&node.extent(partition(1, 0), Offset(60), 1 << 20));
        for _ in 0..2 {
            let op = node.op();
            node.store.command(op, StoreCommand::Drop { topic_id: topic(1), partitions: 2 });
            assert_eq!(node.done(op).await, StoreEvent::StoreDone { op, result: Ok(()) });
        }
        assert!(!folder(partition(1, 0)).exists());
        assert!(!folder(partition(1, 1)).exists());
        assert!(!lease.resolve(1 << 20, true).await.expect("a lease keeps its bytes").is_empty());
        assert!(
            node.store.lease(&node.extent(partition(1, 0), Offset(0), 100)).resolve(100, true).await.is_err()
        );
        let kept = node.model.partitions.remove(&partition(1, 0)).is_some()
            && node.model.partitions.remove(&partition(1, 1)).is_some();
        assert!(kept);
        node.check_all(10_000).await;
        node.store.close().await.expect("it closes");

        // A folder of a topic that the metadata does not name.
        let stranger = partition(77, 4);
        fs::create_dir(folder(stranger)).expect("created");
        fs::write(folder(stranger).join("00000000000000000000.log"), b"somebody's").expect("written");
        let (store, _, report) =
            seedlog::store::Store::open(options, real_disk(true), salts(3)).await.expect("it opens");
        assert_eq!(report.set_aside, [stranger.to_string()]);
        let aside = dir.path().join("set-aside").join(stranger.to_string()).join("00000000000000000000.log");
        assert_eq!(fs::read(aside).expect("it is there"), b"somebody's");
        assert!(!folder(stranger).exists());
        drop(store);
    });
}

/// What the store says of two logs, and that it says where they are.
async fn measured<D: Disk>(node: &mut Node<D>, dir: &std::path::Path) -> Vec<u64> {
    let op = node.op();
    node.store.measure(op, &[partition(1, 0), partition(1, 1), partition(9, 9)]);
    let StoreEvent::LogsMeasured { dir: found, .. } = node.done(op).await else { panic!("it was measured") };
    assert_eq!(found.path, dir.to_string_lossy());
    let (total, usable) = (found.total_bytes.expect("it is known"), found.usable_bytes.expect("so is this"));
    assert!(0 < usable && usable <= total, "{usable} of {total}");
    assert_eq!(found.sizes[2], (partition(9, 9), 0), "a log that is not there has no bytes");
    found.sizes[..2].iter().map(|(_, bytes)| *bytes).collect()
}

fn modelled(model: &Model) -> Vec<u64> {
    let bytes = |index| model.partitions[&partition(1, index)].iter().map(|batch| batch.bytes.len() as u64);
    (0..2).map(|index| bytes(index).sum()).collect()
}

#[test]
fn the_size_of_a_log_is_that_of_its_batches_wherever_they_are() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.tail_cache_bytes = 0;
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 2);
        assert_eq!(measured(&mut node, dir.path()).await, [0, 0]);
        for round in 0..50 {
            node.append(partition(1, 0), 1 + round % 3, 300 + round, round % 30 == 0);
            node.append(partition(1, 1), 1, 400, false);
        }
        let before_write = measured(&mut node, dir.path()).await;
        assert_eq!(before_write, modelled(&node.model));
        assert!(before_write.iter().all(|&bytes| bytes > 15_000));
        node.sync().await;
        node.take_snapshot().await;
        assert_eq!(measured(&mut node, dir.path()).await, modelled(&node.model), "all is in segments");
        for index in [0, 1, 0] {
            node.append(partition(1, index), 2, 500, false);
        }
        node.sync().await;
        assert_eq!(measured(&mut node, dir.path()).await, modelled(&node.model), "some is in the journal");
        // All that is left of the second log is its last batch, of the first one nothing: also what is still in memory counts no more.
        let (of_first, of_second) = (node.end(partition(1, 0)), node.boundaries(partition(1, 1)));
        node.move_start(partition(1, 0), of_first);
        node.move_start(partition(1, 1), of_second[of_second.len() - 2]);
        node.sync().await;
        let left = measured(&mut node, dir.path()).await;
        assert_eq!(left[0], 0);
        assert!(left[1] > 1_000 && left[1] < 1_200, "two records of 500 bytes: {}", left[1]);
        let model = {
            node.store.close().await.expect("it closes");
            node.model
        };
        let mut node = open_when_free(&options, real_disk(true), model).await;
        assert_eq!(measured(&mut node, dir.path()).await, left, "it was read back");
    });
}
