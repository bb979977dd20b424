//! Compacted logs with everything that can come between: crashes, full and damaged disks, cuts, drops, appends.

use crate::compaction::*;
use crate::faults::copy_dir;
use crate::faulty::FaultyDisk;
use crate::support::*;
use seedlog::store::disk::{Disk, Lane};
use seedlog::store::{StoreEvent, StoreOptions};
use seedlog_core::ids::{Offset, OpId, TopicPartition};
use seedlog_core::log::{CompactionOrder, CompactionResult};
use seedlog_core::output::StoreCommand;
use seedlog_core::records::Compression;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A store whose one log is worth a pass up to the offset that is given.
async fn filled(
    dir: &Path,
    segments: usize,
    with_snapshot: bool,
) -> (StoreOptions, FaultyDisk, Node<FaultyDisk>, Offset) {
    let options = cold(dir);
    let disk = FaultyDisk::new(real_disk(true));
    let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
    node.create_topic(1, 1);
    let sealed_to = fill(&mut node, log(), segments, 11);
    if with_snapshot {
        node.take_snapshot().await;
    }
    in_segments(&mut node, log()).await;
    (options, disk, node, sealed_to)
}

fn log() -> TopicPartition {
    partition(1, 0)
}

/// A pass, its swap, and all that follows from it. `None`: the disk stood still before that was done.
async fn pass_and_swap(node: &mut Node<FaultyDisk>, disk: &FaultyDisk, sealed_to: Offset) -> Option<()> {
    let order = order(node, log(), sealed_to);
    let work = async {
        let compaction = cleaned(node, &order).await;
        swap_in(node, log(), &compaction);
        node.take_snapshot().await;
    };
    tokio::select! {
        () = work => Some(()),
        () = disk.faults.gate.reached.notified() => None,
    }
}

#[test]
fn wherever_a_pass_or_its_swap_is_interrupted_the_log_is_whole() {
    run(async {
        for with_snapshot in [true, false] {
            let origin = tempfile::tempdir().expect("a folder");
            let (_, _, node, sealed_to) = filled(origin.path(), 3, with_snapshot).await;
            let origin_model = node.model.clone();
            drop(node);
            let mut crashes = 0;
            for operations in 0.. {
                let dir = tempfile::tempdir().expect("a folder");
                copy_dir(origin.path(), dir.path());
                let options = cold(dir.path());
                let disk = FaultyDisk::new(real_disk(operations % 2 == 0));
                let mut node = open_when_free(&options, disk.clone(), origin_model.clone()).await;
                in_segments(&mut node, log()).await;
                disk.faults.gate.close_after(operations);
                let done = pass_and_swap(&mut node, &disk, sealed_to).await;
                check(&node, log()).await;
                let model = node.model.clone();
                drop((node, disk));
                let mut node = open_when_free(&options, real_disk(true), model).await;
                check(&node, log()).await;
                in_segments(&mut node, log()).await;
                let again = order(&node, log(), sealed_to);
                let compaction = cleaned(&mut node, &again).await;
                swap_in(&mut node, log(), &compaction);
                node.take_snapshot().await;
                assert_clean(&check(&node, log()).await, Offset(0), sealed_to);
                let wanted = swapped_files(&compaction, sealed_to);
                assert_eq!(files(dir.path(), log()), wanted, "{operations}: nothing is left over");
                if done.is_some() {
                    break;
                }
                crashes += 1;
            }
            assert!(crashes > 20, "{crashes}");
        }
    });
}

#[test]
fn a_pass_for_which_there_is_no_room_leaves_nothing_behind() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (_, disk, mut node, sealed_to) = filled(dir.path(), 12, true).await;
        let (old, old_files) = (check(&node, log()).await, files(dir.path(), log()));
        let mut failures = 0;
        for writes in 0.. {
            disk.faults.room_ends_after.store(writes + 1, Ordering::SeqCst);
            let mut order = order(&node, log(), sealed_to);
            order.segment_bytes = 10_000;
            let result = compact(&mut node, &order).await;
            disk.faults.room_ends_after.store(0, Ordering::SeqCst);
            if let CompactionResult::Done(compaction) = result {
                assert!(compaction.segments.len() > 1);
                swap_in(&mut node, log(), &compaction);
                break;
            }
            assert_eq!(result, CompactionResult::Failed);
            assert_eq!(files(dir.path(), log()), old_files, "{writes} writes");
            assert!(read_log(&node, log(), 5_000).await == old);
            failures += 1;
        }
        assert!(failures > 6, "{failures}");
        assert_clean(&check(&node, log()).await, Offset(0), sealed_to);
    });
}

#[test]
fn a_pass_ends_rather_than_take_the_room_that_is_to_stay_free() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut options, _, node, sealed_to) = filled(dir.path(), 4, true).await;
        let model = node.model.clone();
        drop(node);
        let free_bytes =
            real_disk(true).room(Lane::Background, dir.path()).await.expect("it is known").free_bytes;
        for (free_bytes_min, fits) in [(free_bytes * 2, false), (free_bytes / 2, true)] {
            options.free_bytes_min = free_bytes_min;
            let mut node = open_when_free(&options, real_disk(true), model.clone()).await;
            let old_files = files(dir.path(), log());
            let order = order(&node, log(), sealed_to);
            let result = compact(&mut node, &order).await;
            assert_eq!(matches!(result, CompactionResult::Done(_)), fits, "{result:?}");
            assert_eq!(files(dir.path(), log()) == old_files, !fits);
        }
    });
}

/// Waits until the store says of its disk that it is full, or that it is not; meanwhile asks for what lies in the journal to be
/// in segments, if `asks`.
async fn heard(node: &mut Node<FaultyDisk>, wanted_full: bool, asks: bool) {
    let wait = async {
        loop {
            let event = tokio::time::timeout(Duration::from_millis(20), node.store.next_event()).await;
            match event {
                Ok(StoreEvent::Space { free_bytes }) if wanted_full == (free_bytes == 0) => return,
                Ok(StoreEvent::Durable { synced, .. }) => node.model.synced = synced,
                Ok(StoreEvent::Space { .. } | StoreEvent::Compacted { .. }) => {}
                Ok(other) => panic!("{other:?}"),
                Err(_) if asks => {
                    let end = node.end(log());
                    let asks = CompactionOrder { up_to: end, dirty_from: end, ..order(node, log(), end) };
                    node.store.compact(OpId(u64::MAX), asks);
                }
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it says so");
}

/// Seed 4,262 of the whole world.
#[test]
fn a_round_that_an_order_asked_for_and_that_found_no_room_is_made_again() {
    run(async {
        for is_deleted in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let (_, disk, mut node, _) = filled(dir.path(), 1, true).await;
            append_keyed(&mut node, log(), &[("key", Some(b"value"))], Compression::None, true);
            node.sync().await;
            // One small batch is too little for write-behind: nobody but the order wants it in a segment.
            disk.faults.full.store(true, Ordering::SeqCst);
            heard(&mut node, true, true).await;
            if is_deleted {
                node.cut(log(), Offset(0));
                node.store.end_step();
            }
            disk.faults.full.store(false, Ordering::SeqCst);
            heard(&mut node, false, false).await;
            assert_eq!(node.store.unsegmented_bytes(), 0);
        }
    });
}

/// Flips a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_damaged_segment_is_told_of_and_not_swapped() {
    run(async {
        for file in ["log", "index"] {
            let dir = tempfile::tempdir().expect("a folder");
            let (_, _, mut node, sealed_to) = filled(dir.path(), 3, true).await;
            let old_files = files(dir.path(), log());
            // The second segment.
            let base = Offset(60);
            let path = dir.path().join(log().to_string()).join(format!("{:020}.{file}", base.0));
            let whole = std::fs::read(&path).expect("it is there");
            damage(&path);
            let order = order(&node, log(), sealed_to);
            assert_eq!(compact(&mut node, &order).await, CompactionResult::Failed);
            loop {
                match node.store.next_event().await {
                    StoreEvent::Damaged { partition, from } => {
                        assert_eq!(partition, log());
                        assert!(from >= base && from < Offset(120), "{from}");
                        break;
                    }
                    StoreEvent::DiskFailed { reason } => panic!("{reason}"),
                    _ => {}
                }
            }
            assert_eq!(files(dir.path(), log()), old_files);
            std::fs::write(&path, whole).expect("written");
            assert!(check(&node, log()).await == model_log(&node, log()));
        }
    });
}

#[test]
fn a_compacted_log_is_cut_and_begins_anew() {
    run(async {
        for with_snapshot in [true, false] {
            for act in 0..5 {
                let dir = tempfile::tempdir().expect("a folder");
                let (options, _, mut node, sealed_to) = filled(dir.path(), 4, with_snapshot).await;
                let end = node.end(log());
                let mut order = order(&node, log(), sealed_to);
                order.segment_bytes = 10_000;
                let compaction = cleaned(&mut node, &order).await;
                swap_in(&mut node, log(), &compaction);
                let second = compaction.segments[1];
                match act {
                    0 => {
                        append_more(&mut node, 4);
                        node.cut(log(), end);
                    }
                    1 => node.cut(log(), sealed_to),
                    2 => node.reset(log(), Offset(1_000)),
                    3 => node.reset(log(), Offset(0)),
                    _ => node.move_start(log(), Offset(second.next.0 - 1)),
                }
                check(&node, log()).await;
                append_more(&mut node, 30);
                for restarts in 0..3 {
                    node.sync().await;
                    check(&node, log()).await;
                    if with_snapshot && restarts == 1 {
                        node.take_snapshot().await;
                        check(&node, log()).await;
                    }
                    let model = node.model.clone();
                    drop(node);
                    node = open_when_free(&options, real_faulty(), model).await;
                    check(&node, log()).await;
                }
                node.take_snapshot().await;
                check(&node, log()).await;
                let names = files(dir.path(), log());
                let is_held = |base: Offset| !named(&[(base, compaction.made)]).is_disjoint(&names);
                let held: Vec<bool> =
                    compaction.segments.iter().map(|segment| is_held(segment.base)).collect();
                let wanted = |index: usize| match act {
                    0 | 1 => true,
                    2 | 3 => false,
                    _ => index > 0,
                };
                let expected: Vec<bool> = (0..held.len()).map(wanted).collect();
                assert_eq!(held, expected, "act {act}");
            }
        }
    });
}

fn real_faulty() -> FaultyDisk {
    FaultyDisk::new(real_disk(true))
}

fn append_more<D: Disk>(node: &mut Node<D>, batches: usize) {
    for batch in 0..batches {
        let value = format!("more {batch} after {}", node.model.cuts).repeat(20);
        let key = format!("key-{}", batch % 9);
        let records = [(key.as_str(), Some(value.as_bytes()))];
        append_keyed(node, log(), &records, Compression::None, batch % 10 == 0);
    }
}

/// Begins a pass and waits until it has come to its new segments, which the disk does not let through.
async fn pass_is_under_way(node: &mut Node<FaultyDisk>, disk: &FaultyDisk, sealed_to: Offset) -> OpId {
    let mut order = order(node, log(), sealed_to);
    order.segment_bytes = 10_000;
    let op = node.op();
    disk.faults.gate.close_after(9);
    node.store.compact(op, order);
    tokio::select! {
        event = node.done(op) => panic!("{event:?}"),
        () = disk.faults.gate.reached.notified() => op,
    }
}

async fn ended(node: &mut Node<FaultyDisk>, op: OpId) -> CompactionResult {
    match node.done(op).await {
        StoreEvent::Compacted { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_whose_start_moves_during_a_pass_keeps_what_lies_behind_it() {
    run(async {
        for start in [1, 61, 150, 239, 240, 243] {
            let dir = tempfile::tempdir().expect("a folder");
            let (options, disk, mut node, sealed_to) = filled(dir.path(), 4, true).await;
            assert_eq!((sealed_to, node.end(log())), (Offset(240), Offset(243)));
            let op = pass_is_under_way(&mut node, &disk, sealed_to).await;
            node.move_start(log(), Offset(start));
            disk.faults.gate.open();
            if let CompactionResult::Done(compaction) = ended(&mut node, op).await {
                swap_in(&mut node, log(), &compaction);
                check(&node, log()).await;
            }
            append_more(&mut node, 12);
            node.sync().await;
            check(&node, log()).await;
            let model = node.model.clone();
            drop(node);
            let mut node = open_when_free(&options, real_faulty(), model).await;
            check(&node, log()).await;
            node.take_snapshot().await;
            check(&node, log()).await;
        }
    });
}

#[test]
fn a_log_that_is_cut_during_a_pass_stays_as_it_is() {
    run(async {
        for to in [3, 90, 240] {
            let dir = tempfile::tempdir().expect("a folder");
            let (options, disk, mut node, sealed_to) = filled(dir.path(), 4, true).await;
            let op = pass_is_under_way(&mut node, &disk, sealed_to).await;
            node.cut(log(), Offset(to));
            append_more(&mut node, 12);
            disk.faults.gate.open();
            // Whatever it came to, the core lets go of it.
            ended(&mut node, op).await;
            node.sync().await;
            check(&node, log()).await;
            let model = node.model.clone();
            drop(node);
            let mut node = open_when_free(&options, real_faulty(), model).await;
            check(&node, log()).await;
            let sealed_to = fill(&mut node, log(), 1, 12);
            node.take_snapshot().await;
            let order = order(&node, log(), sealed_to);
            let compaction = cleaned(&mut node, &order).await;
            swap_in(&mut node, log(), &compaction);
            assert_clean(&check(&node, log()).await, Offset(0), sealed_to);
            node.take_snapshot().await;
            assert_eq!(files(dir.path(), log()), swapped_files(&compaction, sealed_to));
        }
    });
}

#[test]
fn a_topic_that_is_dropped_during_a_pass_goes_with_all_its_files() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let (options, disk, mut node, sealed_to) = filled(dir.path(), 6, true).await;
        let op = pass_is_under_way(&mut node, &disk, sealed_to).await;
        let drop_op = node.op();
        node.store.command(drop_op, StoreCommand::Drop { topic_id: topic(1), partitions: 1 });
        // The pass hears of it while it waits for the disk.
        let waits = tokio::time::timeout(Duration::from_millis(20), node.store.next_event()).await;
        assert!(!matches!(waits, Ok(StoreEvent::StoreDone { .. })), "{waits:?}");
        disk.faults.gate.open();
        assert_eq!(ended(&mut node, op).await, CompactionResult::Failed);
        assert_eq!(node.done(drop_op).await, StoreEvent::StoreDone { op: drop_op, result: Ok(()) });
        assert!(!dir.path().join(log().to_string()).exists());
        // As it is with the core's entries around it.
        node.drop_topic(1, 1, true).await;
        let model = node.model.clone();
        drop(node);
        let mut node = open_when_free(&options, real_faulty(), model).await;
        node.create_topic(1, 1);
        let sealed_to = fill(&mut node, log(), 2, 13);
        node.take_snapshot().await;
        let order = order(&node, log(), sealed_to);
        let compaction = cleaned(&mut node, &order).await;
        swap_in(&mut node, log(), &compaction);
        assert_clean(&check(&node, log()).await, Offset(0), sealed_to);
        node.drop_topic(1, 1, true).await;
        assert!(!dir.path().join(log().to_string()).exists());
    });
}

/// What a test knows of a log beside its model.
#[derive(Default)]
struct Known {
    /// No cut goes below what was swapped in: that is committed.
    swapped_to: Offset,
    /// Only what this life of the node has swapped in: a crash may take a swap back.
    cleaned_to: Offset,
    passes: i64,
    swaps: usize,
}

/// A pass, with something else that is done while it is under way.
async fn random_pass(node: &mut Node<FaultyDisk>, known: &mut Known, random: &mut dyn FnMut() -> u64) {
    let sealed_to = fill(node, log(), 0, random());
    if !random().is_multiple_of(4) {
        node.take_snapshot().await;
    }
    let mut order = order(node, log(), sealed_to);
    known.passes += 1;
    order.now.0 += known.passes * 700;
    order.segment_bytes = 8_000 + random() % 40_000;
    order.dirty_from = known.cleaned_to.max(order.start);
    let op = node.op();
    node.store.compact(op, order);
    let meanwhile = random() % 6;
    match meanwhile {
        0 => move_start(node, random),
        1 => cut(node, known, random),
        2 => append_more(node, 5),
        _ => {}
    }
    let CompactionResult::Done(compaction) = ended(node, op).await else { return };
    // A log that was cut is another one.
    if meanwhile == 1 || random().is_multiple_of(5) {
        return;
    }
    swap_in(node, log(), &compaction);
    known.swapped_to = known.swapped_to.max(compaction.to);
    known.cleaned_to = known.cleaned_to.max(compaction.cleaned_to);
    known.swaps += 1;
}

fn move_start(node: &mut Node<FaultyDisk>, random: &mut dyn FnMut() -> u64) {
    let (start, end) = (node.start(log()), node.end(log()));
    let room = (end.0 - start.0).unsigned_abs();
    node.move_start(log(), Offset(start.0 + (random() % (room / 3 + 1)).cast_signed()));
}

fn cut(node: &mut Node<FaultyDisk>, known: &Known, random: &mut dyn FnMut() -> u64) {
    let boundaries = node.boundaries(log());
    let open: Vec<Offset> = boundaries.into_iter().filter(|to| *to >= known.swapped_to).collect();
    if let Some(to) = open.get(open.len().saturating_sub(1 + (random() % 6) as usize)) {
        node.cut(log(), *to);
    }
}

#[test]
fn whatever_is_done_and_wherever_it_ends_readers_see_the_last_values() {
    run(async {
        let mut swaps = 0;
        for seed in 0..8 {
            let mut random = salts(seed);
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = cold(dir.path());
            options.tail_cache_bytes = (random() % 3) as usize * (64 << 10);
            options.cold_cache_bytes = 16 << (10 + 3 * (random() % 4));
            let (mut model, mut known) = (Model::default(), Known::default());
            for life in 0..6 {
                let disk = FaultyDisk::new(real_disk(random().is_multiple_of(2)));
                let mut node = open_when_free(&options, disk, model).await;
                if life == 0 {
                    node.create_topic(1, 1);
                }
                check(&node, log()).await;
                known.cleaned_to = Offset(0);
                for _ in 0..12 {
                    match random() % 12 {
                        0..4 => drop(fill(&mut node, log(), (random() % 3) as usize, random())),
                        4..8 => random_pass(&mut node, &mut known, &mut random).await,
                        8 => cut(&mut node, &known, &mut random),
                        9 if random().is_multiple_of(3) => move_start(&mut node, &mut random),
                        10 => node.take_snapshot().await,
                        _ => {
                            node.sync().await;
                            check(&node, log()).await;
                        }
                    }
                }
                node.store.flush();
                if random().is_multiple_of(2) {
                    node.idle(Duration::from_micros(random() % 3_000)).await;
                }
                model = node.model;
            }
            swaps += known.swaps;
            let node = open_when_free(&options, real_faulty(), model).await;
            check(&node, log()).await;
        }
        assert!(swaps > 50, "{swaps} passes were swapped in");
    });
}

#[test]
fn a_segment_that_is_still_being_added_to_is_not_cleaned() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut node =
            Node::open(cold(dir.path()), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let log = log();
        let grows_from = fill(&mut node, log, 3, 8);
        node.take_snapshot().await;
        // More of the last segment is in the journal only, and then the next one begins.
        append_keyed(&mut node, log, &[("key-1", Some(b"late"))], Compression::None, false);
        let sealed_to = fill(&mut node, log, 0, 9);
        node.sync().await;
        let whole = order(&node, log, sealed_to);
        assert!(node.store.unsegmented_bytes() > 0);
        let compaction = cleaned(&mut node, &whole).await;
        assert_eq!(compaction.to, grows_from, "all but the one that grows");
        swap_in(&mut node, log, &compaction);
        check(&node, log).await;
        in_segments(&mut node, log).await;
        let rest = CompactionOrder { dirty_from: grows_from, ..order(&node, log, sealed_to) };
        let compaction = cleaned(&mut node, &rest).await;
        assert_eq!(compaction.to, sealed_to, "now it is whole");
        swap_in(&mut node, log, &compaction);
        assert_clean(&check(&node, log).await, Offset(0), sealed_to);
        node.take_snapshot().await;
        assert_eq!(files(dir.path(), log), swapped_files(&compaction, sealed_to));
        // Appends go on where they went.
        fill(&mut node, log, 1, 10);
        node.take_snapshot().await;
        check(&node, log).await;
    });
}
