//! Logs that lose their tails or begin anew: from memory, from the journal, from segments, and with a crash at any point.
//! What was there before a cut is never given for what was written since (SAFETY R8, J8, J9).

use crate::faulty::FaultyDisk;
use crate::support::*;
use seedlog::store::disk::Disk;
use seedlog::store::{Lease, ReadError, StoreEvent, StoreOptions};
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::input::ReadResult;
use seedlog_core::log::Retention;
use seedlog_core::output::{Extent, Look, StoreCommand};
use seedlog_core::time::WallMs;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Everything goes to segments soon and is forgotten by memory.
fn cold(dir: &std::path::Path) -> StoreOptions {
    let mut options = options(dir);
    options.tail_cache_bytes = 0;
    options.write_behind_bytes = 16 << 10;
    options
}

async fn bytes_of<D: Disk>(lease: Lease<D>) -> Option<Vec<u8>> {
    match lease.resolve(u32::MAX, true).await {
        Ok(chain) => Some(chain.iter().flat_map(|bytes| bytes.to_vec()).collect()),
        Err(error) => {
            assert!(
                matches!(error, ReadError::Gone | ReadError::Lost),
                "what was cut away is not damaged: {error}"
            );
            None
        }
    }
}

fn expected<D: Disk>(node: &Node<D>, extent: &Extent) -> Vec<u8> {
    let batches = node.model.partitions[&extent.partition].iter();
    let batches = batches.filter(|batch| batch.next > extent.from && batch.next <= extent.to);
    batches.flat_map(|batch| batch.bytes.to_vec()).collect()
}

#[test]
fn a_tail_that_is_in_no_segment_is_cut_and_written_again() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 2);
        let cut = partition(1, 0);
        for _ in 0..10 {
            node.append(cut, 2, 500, false);
            node.append(partition(1, 1), 1, 500, false);
        }
        node.sync().await;
        let before = node.extent(cut, Offset(6), u32::MAX);
        let (lease, held) = (node.store.lease(&before), expected(&node, &before));
        node.cut(cut, Offset(10));
        assert!(
            bytes_of(node.store.lease(&node_extent(cut, 10, 20))).await.is_none(),
            "nothing is there any more"
        );
        for _ in 0..3 {
            node.append(cut, 1, 700, false);
        }
        node.cut(cut, Offset(12));
        node.append(cut, 5, 100, false);
        node.sync().await;
        node.check_all(1000).await;
        assert_eq!(bytes_of(lease).await, Some(held), "a lease keeps its bytes");
        let mut node = open_when_free(&options, real_disk(true), close(node).await).await;
        node.check_all(1000).await;
        node.take_snapshot().await;
        node.check_all(1000).await;
        let node = open_when_free(&options, real_disk(true), close(node).await).await;
        node.check_all(100_000).await;
    });
}

fn node_extent(partition: TopicPartition, from: i64, to: i64) -> Extent {
    let generation = seedlog_core::ids::Generation(0);
    Extent { partition, generation, from: Offset(from), to: Offset(to), bytes_max: u32::MAX }
}

async fn close<D: Disk>(node: Node<D>) -> Model {
    node.store.close().await.expect("it closes");
    node.model
}

#[test]
fn segments_are_cut_at_any_batch_and_old_leases_never_give_new_bytes() {
    run(async {
        for cut_at in [0, 1, 2, 3, 7, 39, 40, 41, 59, 60, 118, 119, 120] {
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = cold(dir.path());
            // Some leases have their files open, others open them later.
            options.open_segments_max = 2;
            let mut node =
                Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let cut = partition(1, 0);
            for batch in 0..120 {
                node.append(cut, 1, 900, batch % 40 == 0);
            }
            node.take_snapshot().await;
            assert_eq!(node.store.unsegmented_bytes(), 0);
            node.check_all(30_000).await;
            let mut leases = Vec::new();
            for from in [0, 1, 20, 39, 40, 58, 80, 100, 119] {
                let extent = node_extent(cut, from, 120);
                leases.push((node.store.lease(&extent), expected(&node, &extent)));
            }
            node.cut(cut, Offset(cut_at));
            node.check_all(5000).await;
            for batch in 0..70 {
                node.append(cut, 1, 800, batch == 60);
            }
            node.sync().await;
            node.check_all(5000).await;
            node.take_snapshot().await;
            assert_eq!(node.store.unsegmented_bytes(), 0);
            node.check_all(5000).await;
            for (lease, held) in leases {
                if let Some(bytes) = bytes_of(lease).await {
                    assert!(held.starts_with(&bytes), "cut at {cut_at}: a lease gives what it was taken for");
                }
            }
            let node = open_when_free(&options, real_disk(true), close(node).await).await;
            node.check_all(3000).await;
            // Once more, with the files as short as they should be.
            let node = open_when_free(&options, real_disk(true), close(node).await).await;
            node.check_all(3000).await;
        }
    });
}

#[test]
fn a_cut_that_a_crash_takes_back_has_changed_nothing() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let disk = FaultyDisk::new(real_disk(true));
        let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
        node.create_topic(1, 2);
        for batch in 0..60 {
            node.append(partition(1, 0), 1, 900, batch % 20 == 0);
        }
        node.take_snapshot().await;
        for _ in 0..10 {
            node.append(partition(1, 0), 1, 900, false);
            node.append(partition(1, 1), 1, 900, false);
        }
        node.sync().await;
        // Everything so far is vouched for; the cut never gets to the disk.
        node.idle(Duration::from_millis(20)).await;
        disk.faults.journal_stalls.store(true, Ordering::SeqCst);
        let model = node.model.clone();
        let (op, snapshot) = (node.op(), node.snapshot());
        node.store.command(op, StoreCommand::Snapshot { snapshot });
        node.cut(partition(1, 0), Offset(15));
        node.cut(partition(1, 1), Offset(3));
        node.store.flush();
        node.check_all(5000).await;
        node.idle(Duration::from_millis(50)).await;
        drop(node);
        disk.faults.journal_stalls.store(false, Ordering::SeqCst);
        let node = open_when_free(&options, disk, model).await;
        node.check_all(5000).await;
        assert_eq!(node.end(partition(1, 0)), Offset(70));
    });
}

#[test]
fn a_look_up_finds_nothing_that_was_cut_away() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut node =
            Node::open(cold(dir.path()), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let cut = partition(1, 0);
        for _ in 0..50 {
            node.append(cut, 1, 900, false);
        }
        node.take_snapshot().await;
        node.cut(cut, Offset(23));
        for settled in [false, true] {
            if settled {
                node.sync().await;
                node.idle(Duration::from_millis(30)).await;
            }
            let extent = node.extent(cut, Offset(0), u32::MAX);
            for (look, found) in [
                (Look::MaxTimestamp, Some((22, 1220))),
                (Look::Timestamp(1220), Some((22, 1220))),
                (Look::Timestamp(1225), None),
            ] {
                let op = node.op();
                node.store.look(op, &extent, look);
                let result = found.map_or(ReadResult::NotFound, |(offset, timestamp_ms)| ReadResult::Found {
                    offset: Offset(offset),
                    timestamp_ms,
                });
                assert_eq!(node.done(op).await, StoreEvent::ReadDone { op, result }, "{look:?}");
            }
        }
    });
}

#[test]
fn a_log_begins_anew_at_a_later_start() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 2);
        for _ in 0..60 {
            node.append(partition(1, 0), 1, 900, false);
            node.append(partition(1, 1), 1, 900, false);
        }
        node.take_snapshot().await;
        node.append(partition(1, 0), 1, 900, false);
        node.reset(partition(1, 0), Offset(1000));
        node.check_all(5000).await;
        for _ in 0..40 {
            node.append(partition(1, 0), 1, 900, false);
        }
        node.sync().await;
        let model = node.model.clone();
        drop(node);
        let mut node = open_when_free(&options, real_disk(true), model).await;
        node.check_all(5000).await;
        node.take_snapshot().await;
        // Back to where the first segment of all was.
        node.reset(partition(1, 0), Offset(0));
        node.append(partition(1, 0), 1, 900, false);
        node.take_snapshot().await;
        node.check_all(5000).await;
        let node = open_when_free(&options, real_disk(true), close(node).await).await;
        node.check_all(5000).await;
    });
}

/// The first offsets of a partition's segment files.
fn segments_on_disk(dir: &std::path::Path, of: TopicPartition) -> Vec<i64> {
    let entries = std::fs::read_dir(dir.join(of.to_string())).expect("the partition has a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut bases: Vec<i64> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    bases.sort_unstable();
    bases
}

#[test]
fn segments_before_a_logs_start_are_removed() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        for batch in 0..120 {
            node.append(log, 2, 900, batch % 40 == 0);
        }
        node.take_snapshot().await;
        assert_eq!(segments_on_disk(dir.path(), log), [0, 80, 160]);
        // Within a batch of the second segment.
        node.move_start(log, Offset(101));
        node.check_all(5000).await;
        node.take_snapshot().await;
        assert_eq!(segments_on_disk(dir.path(), log), [80, 160]);
        node.move_start(log, Offset(240));
        node.take_snapshot().await;
        assert_eq!(segments_on_disk(dir.path(), log), [0; 0]);
        let mut node = open_when_free(&options, real_disk(true), close(node).await).await;
        node.append(log, 2, 900, false);
        node.take_snapshot().await;
        node.check_all(5000).await;
        assert_eq!(segments_on_disk(dir.path(), log), [240]);
    });
}

/// A folder with a log of three segments, of which some lie before its start: their removal is held back.
async fn with_a_removal_under_way(options: &StoreOptions, start: Offset) -> (FaultyDisk, Node<FaultyDisk>) {
    let disk = FaultyDisk::new(real_disk(true));
    let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
    node.create_topic(1, 1);
    let log = partition(1, 0);
    for batch in 0..120 {
        node.append(log, 2, 900, batch % 40 == 0);
    }
    node.take_snapshot().await;
    disk.faults.removals.close_after(0);
    node.move_start(log, start);
    node.sync().await;
    // The second sync vouches for the first.
    node.append(log, 1, 100, false);
    node.sync().await;
    node.idle(Duration::from_millis(50)).await;
    (disk, node)
}

#[test]
fn segments_are_written_and_snapshots_taken_while_others_are_removed() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let log = partition(1, 0);
        let (disk, mut node) = with_a_removal_under_way(&options, Offset(170)).await;
        node.append(log, 2, 900, true);
        node.take_snapshot().await;
        node.check_all(5000).await;
        assert_eq!(segments_on_disk(dir.path(), log), [0, 80, 160, 241]);
        // The process dies: the next one finds in the snapshot what is left to do.
        let model = node.model.clone();
        drop(node);
        disk.faults.removals.open();
        let mut node = open_when_free(&options, disk, model).await;
        node.check_all(5000).await;
        node.idle(Duration::from_millis(50)).await;
        assert_eq!(segments_on_disk(dir.path(), log), [160, 241]);
    });
}

#[test]
fn a_log_that_begins_anew_comes_to_the_names_of_segments_that_are_being_removed() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let log = partition(1, 0);
        // Nothing is left of it: there is nothing to cut.
        let (disk, mut node) = with_a_removal_under_way(&options, Offset(240)).await;
        node.reset(log, Offset(80));
        for _ in 0..60 {
            node.append(log, 1, 900, false);
        }
        node.sync().await;
        node.idle(Duration::from_millis(50)).await;
        disk.faults.removals.open();
        node.take_snapshot().await;
        node.check_all(5000).await;
        assert_eq!(segments_on_disk(dir.path(), log), [80]);
        let mut node = open_when_free(&options, disk, close(node).await).await;
        node.check_all(5000).await;
        node.idle(Duration::from_millis(50)).await;
        assert_eq!(segments_on_disk(dir.path(), log), [80]);
    });
}

#[test]
fn segments_that_expire_are_found_up_to_what_is_committed() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut node =
            Node::open(cold(dir.path()), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        // Timestamps are 1,000 and ten more for each offset.
        for batch in 0..120 {
            node.append(log, 2, 900, batch % 40 == 0);
        }
        node.take_snapshot().await;
        node.append(log, 2, 900, true);
        node.sync().await;
        let size = node.model.partitions[&log].iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
        let segment =
            node.model.partitions[&log][..40].iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
        let by_age = |ms| Retention { oldest: Some(WallMs(ms)), bytes_min: None };
        let by_size = |bytes| Retention { oldest: None, bytes_min: Some(bytes) };
        let found = |offset| ReadResult::Found { offset: Offset(offset), timestamp_ms: -1 };
        for (retention, up_to, expected) in [
            (by_age(1_781), 242, ReadResult::NotFound),
            (by_age(1_782), 242, found(80)),
            (by_age(9_000), 242, found(240)),
            (by_age(9_000), 239, found(160)),
            (by_size(size), 242, ReadResult::NotFound),
            (by_size(size - segment), 242, found(80)),
            (by_size(size - segment + 1), 242, ReadResult::NotFound),
            (by_size(0), 100, found(80)),
        ] {
            let op = node.op();
            node.store.find_expired(op, log, Offset(up_to), &retention);
            assert_eq!(node.done(op).await, StoreEvent::ReadDone { op, result: expected }, "{retention:?}");
        }
    });
}

#[test]
fn a_start_that_a_crash_takes_back_has_removed_nothing() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let disk = FaultyDisk::new(real_disk(true));
        let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        for batch in 0..60 {
            node.append(log, 1, 900, batch % 20 == 0);
        }
        node.take_snapshot().await;
        node.idle(Duration::from_millis(20)).await;
        disk.faults.journal_stalls.store(true, Ordering::SeqCst);
        let model = node.model.clone();
        node.move_start(log, Offset(45));
        node.store.flush();
        node.idle(Duration::from_millis(50)).await;
        drop(node);
        disk.faults.journal_stalls.store(false, Ordering::SeqCst);
        let node = open_when_free(&options, disk, model).await;
        node.check_all(5000).await;
        assert_eq!(segments_on_disk(dir.path(), log), [0, 20, 40]);
    });
}

#[test]
fn a_topic_that_comes_back_begins_anew() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = cold(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        for _ in 0..40 {
            node.append(partition(1, 0), 1, 900, false);
        }
        node.take_snapshot().await;
        for _ in 0..20 {
            node.append(partition(1, 0), 1, 900, false);
        }
        node.sync().await;
        for is_done in [false, true] {
            node.drop_topic(1, 1, is_done).await;
            let model = node.model.clone();
            drop(node);
            node = open_when_free(&options, real_disk(true), model).await;
            if !is_done {
                // The end of the drop is missing: the core asks for it again.
                assert!(node.recovered.drops.contains_key(&topic(1)));
                assert!(node.recovered.partitions.is_empty());
            }
        }
        node.create_topic(1, 1);
        for _ in 0..10 {
            node.append(partition(1, 0), 1, 800, false);
        }
        node.sync().await;
        node.check_all(3000).await;
        let model = node.model.clone();
        drop(node);
        let mut node = open_when_free(&options, real_disk(true), model).await;
        node.check_all(3000).await;
        node.take_snapshot().await;
        node.check_all(3000).await;
    });
}

#[test]
fn followers_are_sent_what_is_not_in_the_journal_yet() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.reads_ahead = true;
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = partition(1, 0);
        node.append(log, 2, 500, false);
        node.sync().await;
        node.append(log, 1, 300, false);
        node.append(log, 3, 200, false);
        for (from, may_see) in [(0, 2), (2, 0), (3, 0)] {
            let extent = node.extent(log, Offset(from), u32::MAX);
            let ahead =
                node.store.lease_ahead(&extent).resolve_now(u32::MAX, true).expect("all is in memory");
            assert_eq!(ahead.concat(), expected(&node, &extent));
            let consumer = bytes_of(node.store.lease(&extent)).await;
            let committed = expected(&node, &node_extent(log, from, may_see));
            assert_eq!(consumer.unwrap_or_default(), committed, "a consumer sees nothing of it");
        }
        let first = node.extent(log, Offset(2), 10);
        let one = node.store.lease_ahead(&first).resolve_now(10, true).expect("all is in memory");
        assert_eq!(one.concat(), expected(&node, &node_extent(log, 2, 3)), "the first batch in any case");
        let lease = node.store.lease_ahead(&first);
        node.sync().await;
        node.cut(log, Offset(2));
        node.append(log, 1, 10, false);
        node.sync().await;
        assert_eq!(lease.resolve_now(10, true).expect("all is in memory"), one, "a lease keeps its bytes");
        node.check_all(1 << 20).await;
    });
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[test]
fn whatever_is_done_and_wherever_it_ends_a_log_is_what_its_entries_say() {
    run(async {
        for seed in 0..24 {
            let mut dice = Dice(seed);
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = cold(dir.path());
            options.reads_ahead = dice.roll(2) == 0;
            options.tail_cache_bytes = dice.roll(3) as usize * (64 << 10);
            options.cold_cache_bytes = 16 << (10 + 3 * dice.roll(4));
            let mut model = Model::default();
            for life in 0..6 {
                let mut node = open_when_free(&options, real_disk(dice.roll(2) == 0), model).await;
                if life == 0 {
                    node.create_topic(1, 3);
                }
                node.check_all(20_000).await;
                for _ in 0..40 {
                    act(&mut node, &mut dice).await;
                }
                node.store.flush();
                if dice.roll(2) == 0 {
                    node.idle(Duration::from_micros(dice.roll(3000))).await;
                }
                model = node.model;
            }
            let node = open_when_free(&options, real_disk(true), model).await;
            node.check_all(20_000).await;
        }
    });
}

/// Something that a core may do next.
async fn act<D: Disk>(node: &mut Node<D>, dice: &mut Dice) {
    let log = partition(1, dice.roll(3) as i32);
    match dice.roll(24) {
        0..12 => {
            for _ in 0..=dice.roll(8) {
                node.append(
                    log,
                    1 + dice.roll(3) as usize,
                    100 + dice.roll(2500) as usize,
                    dice.roll(9) == 0,
                );
            }
        }
        12..16 => {
            let boundaries = node.boundaries(log);
            // Mostly near the end, as cuts are.
            let back = if dice.roll(3) == 0 { boundaries.len() as u64 } else { 6 };
            let at = boundaries.len().saturating_sub(1 + dice.roll(back) as usize);
            node.cut(log, boundaries[at]);
        }
        16 if dice.roll(2) == 0 => {
            let (start, end) = (node.start(log), node.end(log));
            node.move_start(log, Offset(start.0 + dice.roll((end.0 - start.0) as u64 + 1) as i64));
        }
        16 if dice.roll(2) == 0 => node.reset(log, Offset(dice.roll(node.end(log).0 as u64 + 1) as i64)),
        16 => node.reset(log, Offset(node.end(log).0 + dice.roll(3) as i64 * 50)),
        17..20 => drop(node.sync().await),
        20 => node.idle(Duration::from_micros(dice.roll(5000))).await,
        21 => node.take_snapshot().await,
        22 => node.store.flush(),
        _ => {
            node.sync().await;
            node.check_all(10_000).await;
        }
    }
}
