//! Folders of compacted logs that are opened after a crash: the snapshot is older than its table, or knows what a crash takes back.

use crate::compaction::*;
use crate::faulty::FaultyDisk;
use crate::support::*;
use seedlog::store::StoreEvent;
use seedlog::store::disk::Disk;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::log::Compaction;
use seedlog_core::output::StoreCommand;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn log() -> TopicPartition {
    partition(1, 0)
}

/// What happens to a log between two looks at it.
async fn something(node: &mut Node<impl Disk>, random: &mut impl FnMut() -> u64, cleaned_to: &mut Offset) {
    match random() % 8 {
        0 | 1 => {
            // What was cleaned is committed: no leader asks for less.
            let bounds = node.boundaries(log());
            let bounds: Vec<Offset> = bounds.into_iter().filter(|&bound| bound >= *cleaned_to).collect();
            if !bounds.is_empty() {
                node.cut(log(), bounds[random() as usize % bounds.len()]);
            }
        }
        2 => {
            let start = Offset((random() % 200).cast_signed());
            node.reset(log(), start);
            *cleaned_to = start;
        }
        3 => {
            let bounds = node.boundaries(log());
            node.move_start(log(), bounds[random() as usize % bounds.len()]);
        }
        4 | 5 => {
            fill(node, log(), 1 + random() as usize % 2, random());
            in_segments(node, log()).await;
        }
        _ => {
            let sealed_to = fill(node, log(), 1, random());
            in_segments(node, log()).await;
            let order = order(node, log(), sealed_to);
            let compaction = cleaned(node, &order).await;
            *cleaned_to = compaction.cleaned_to;
            swap_in(node, log(), &compaction);
        }
    }
    check(node, log()).await;
}

#[test]
fn a_snapshot_whose_table_is_later_than_its_state_loses_nothing() {
    run(async {
        for seed in 0..60 {
            let mut random = salts(seed);
            let dir = tempfile::tempdir().expect("a folder");
            let options = cold(dir.path());
            let mut node =
                Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            let mut cleaned_to = Offset(0);
            for _ in 0..2 {
                something(&mut node, &mut random, &mut cleaned_to).await;
            }
            let early = node.snapshot();
            for _ in 0..4 {
                something(&mut node, &mut random, &mut cleaned_to).await;
            }
            node.sync().await;
            let op = node.op();
            node.store.command(op, StoreCommand::Snapshot { snapshot: early });
            assert_eq!(node.done(op).await, StoreEvent::StoreDone { op, result: Ok(()) });
            for _ in 0..2 {
                something(&mut node, &mut random, &mut cleaned_to).await;
            }
            node.sync().await;
            for _ in 0..2 {
                let model = node.model.clone();
                drop(node);
                node = open_when_free(&options, real_disk(true), model).await;
                check(&node, log()).await;
                in_segments(&mut node, log()).await;
                check(&node, log()).await;
                node.take_snapshot().await;
            }
        }
    });
}

/// A log, what a pass over its first segments made and nobody has swapped in yet, and where the segment that takes appends begins.
async fn half_cleaned(dir: &Path, disk: &FaultyDisk) -> (Node<FaultyDisk>, Compaction, Offset) {
    let mut node = Node::open(cold(dir), disk.clone(), Model::default()).await.expect("it opens");
    node.create_topic(1, 1);
    let sealed_to = fill(&mut node, log(), 4, 1);
    in_segments(&mut node, log()).await;
    let mut order = order(&node, log(), sealed_to);
    order.segment_bytes = 10_000;
    let compaction = cleaned(&mut node, &order).await;
    assert!(compaction.segments.len() > 1, "{compaction:?}");
    let behind = fill(&mut node, log(), 2, 2);
    in_segments(&mut node, log()).await;
    (node, compaction, behind)
}

/// SAFETY J8: what is not certain to be on the disk has removed nothing.
#[test]
fn a_pass_leaves_the_files_that_a_start_gave_up_and_a_crash_gives_back() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = FaultyDisk::new(real_disk(true));
        let (mut node, compaction, behind) = half_cleaned(dir.path(), &disk).await;
        swap_in(&mut node, log(), &compaction);
        node.take_snapshot().await;
        let model = node.model.clone();
        drop(node);
        let mut node = open_when_free(&cold(dir.path()), disk.clone(), model.clone()).await;
        in_segments(&mut node, log()).await;
        let before = files(dir.path(), log());

        disk.faults.journal_stalls.store(true, Ordering::SeqCst);
        node.move_start(log(), compaction.segments[0].next);
        let order = order(&node, log(), behind);
        cleaned(&mut node, &order).await;
        assert!(before.is_subset(&files(dir.path(), log())));

        drop(node);
        let node = open_when_free(&cold(dir.path()), real_disk(true), model).await;
        assert_eq!(node.start(log()), Offset(0), "the start is as it was");
        check(&node, log()).await;
    });
}

/// As before, for what is swept when a swap is done again.
#[test]
fn a_swap_that_is_done_again_leaves_the_files_that_a_start_gave_up() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = FaultyDisk::new(real_disk(true));
        let (mut node, compaction, behind) = half_cleaned(dir.path(), &disk).await;
        node.take_snapshot().await;
        swap_in(&mut node, log(), &compaction);
        node.sync().await;
        let model = node.model.clone();
        drop(node);
        let stray = "00000000000000000001.log";
        std::fs::write(dir.path().join(log().to_string()).join(stray), "written behind")
            .expect("it is written");
        let mut node = open_when_free(&cold(dir.path()), disk.clone(), model.clone()).await;
        disk.faults.journal_stalls.store(true, Ordering::SeqCst);
        node.move_start(log(), behind);
        while files(dir.path(), log()).contains(stray) {
            node.idle(Duration::from_millis(1)).await;
        }
        drop(node);
        let node = open_when_free(&cold(dir.path()), real_disk(true), model).await;
        assert_eq!(node.start(log()), Offset(0), "the start is as it was");
        check(&node, log()).await;
    });
}
