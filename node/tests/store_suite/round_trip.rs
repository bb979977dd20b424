//! What goes in comes out: from memory, from the journal, from segments, and after every kind of end.

use crate::faulty::FaultyDisk;
use crate::support::*;
use seedlog::store::{StoreError, StoreEvent, StoreOptions};
use seedlog_core::ids::Offset;
use seedlog_core::output::StoreCommand;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn what_was_synced_is_there_after_a_clean_stop() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        assert!(node.report.first_use);
        node.create_topic(1, 2);
        for round in 0..20 {
            node.append(partition(1, round % 2), 3, 100, false);
        }
        node.sync().await;
        node.check_all(1000).await;
        node.store.close().await.expect("it closes");
        let node = Node::reopen(options, real_disk(true), node.model).await;
        assert!(!node.report.first_use);
        assert!(!node.report.cut);
        assert_eq!(node.report.rewritten, 0, "a closed journal vouches for all of it");
        node.check_all(500).await;
    });
}

#[test]
fn a_store_that_is_dropped_loses_nothing_that_was_durable() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let mut model = Model::default();
        for life in 0..8_usize {
            let mut node = open_when_free(&options, real_disk(life % 2 == 0), model).await;
            if life == 0 {
                node.create_topic(1, 3);
            }
            node.check_all(4000).await;
            for round in 0..30 {
                node.append(partition(1, round % 3), 1 + life, 2000, round % 7 == 0);
                if round % 4 == 3 {
                    node.sync().await;
                }
            }
            // The last groups are in flight or not even submitted.
            node.store.flush();
            if life % 3 == 1 {
                node.idle(Duration::from_micros(300)).await;
            }
            model = node.model;
        }
        let node = open_when_free(&options, real_disk(true), model).await;
        node.check_all(100_000).await;
    });
}

#[test]
fn snapshots_release_journal_files_and_segments_serve_what_they_held() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.tail_cache_bytes = 0;
        let mut model = Model::default();
        for life in 0..3 {
            let mut node = open_when_free(&options, real_disk(true), model).await;
            if life == 0 {
                node.create_topic(1, 3);
            }
            for round in 0..300 {
                node.append(partition(1, round % 3), 2, 3000, round % 40 == 0);
                if round % 5 == 0 {
                    node.sync().await;
                }
            }
            node.sync().await;
            assert!(node.store.journal_file_bytes() > 1 << 20);
            node.check_all(10_000).await;
            node.take_snapshot().await;
            assert!(node.store.journal_file_bytes() < 1 << 20, "{}", node.store.journal_file_bytes());
            assert_eq!(node.store.unsegmented_bytes(), 0);
            node.check_all(10_000).await;
            node.append(partition(1, 0), 1, 50, false);
            node.sync().await;
            model = node.model;
        }
        let node = open_when_free(&options, real_disk(false), model).await;
        node.check_all(1 << 20).await;
        node.check_all(1).await;
        let journals = std::fs::read_dir(dir.path()).expect("a folder").filter_map(Result::ok);
        let journals =
            journals.filter(|entry| entry.file_name().to_string_lossy().starts_with("journal-")).count();
        assert!(journals < 10, "{journals} journal files are left");
    });
}

#[test]
fn the_interval_mode_reports_the_write_before_the_sync() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        interval(&mut options, Duration::from_millis(30));
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        node.sync().await;
        let mut ahead = false;
        for _ in 0..200 {
            node.append(partition(1, 0), 1, 3000, false);
            node.store.flush();
            loop {
                if let StoreEvent::Durable { written, synced } = node.store.next_event().await {
                    ahead |= synced < written;
                    node.model.synced = synced;
                    if written == node.model.last {
                        break;
                    }
                }
            }
            node.check_all(100_000).await;
        }
        assert!(ahead);
        node.sync().await;
        node.take_snapshot().await;
        let node = open_when_free(&options, real_disk(true), {
            let m = node.model;
            drop(node.store);
            m
        })
        .await;
        node.check_all(100_000).await;
    });
}

/// Only what is synced and vouched for goes to segments: producers were held back until the next interval, over and over.
#[test]
fn in_the_interval_mode_much_that_is_written_is_synced_before_it_is_time() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.write_behind_bytes = 64 << 10;
        options.tail_cache_bytes = 256 << 10;
        interval(&mut options, Duration::from_secs(3600));
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let mut held_back = 0;
        for _ in 0..500 {
            node.append(partition(1, 0), 1, 10_000, false);
            node.store.flush();
            while node.store.is_full() {
                held_back += 1;
                node.store.next_event().await;
            }
        }
        assert!(node.store.unsegmented_bytes() < 256 << 10);
        assert!(held_back > 0, "nothing is written while nobody waits for it");
        node.store.close().await.expect("it closes");
        let node = open_when_free(&options, real_disk(true), node.model).await;
        node.check_all(100_000).await;
    });
}

/// What a round had written stayed in the index until something else moved: nothing did, all producers were held back.
#[test]
fn who_is_held_back_by_a_full_index_hears_of_room() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = StoreOptions { index_bytes_max: 32 << 10, ..options(dir.path()) };
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        let mut held_back = 0;
        for _ in 0..3_000 {
            node.append(partition(1, 0), 1, 100, false);
            node.store.flush();
            while node.store.is_full() {
                held_back += 1;
                node.store.next_event().await;
            }
        }
        assert!(held_back > 0, "nothing is written while nobody waits for it");
        node.sync().await;
        node.check_all(100_000).await;
    });
}

#[test]
fn a_folder_is_used_by_one_process_and_one_node() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let node = Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        let second = Node::open(options.clone(), real_disk(true), Model::default()).await;
        assert!(matches!(second.err(), Some(StoreError::InUse(_))));
        node.store.close().await.expect("it closes");

        let mut other = options.clone();
        other.node_id.0 = 77;
        let error = Node::open(other, real_disk(true), Model::default()).await.err().expect("refused");
        assert!(matches!(error, StoreError::OtherNode { .. }));

        let meta = dir.path().join("meta.properties");
        let text = std::fs::read_to_string(&meta).expect("it is there");
        std::fs::write(&meta, text.replace("version=2", "version=3")).expect("written");
        let error =
            Node::open(options.clone(), real_disk(true), Model::default()).await.err().expect("refused");
        assert!(matches!(error, StoreError::NewerMeta { version: 3, .. }));
        std::fs::remove_file(&meta).expect("removed");
        let error =
            Node::open(options.clone(), real_disk(true), Model::default()).await.err().expect("refused");
        assert!(matches!(error, StoreError::NoMeta(_)));
        std::fs::write(&meta, text).expect("written");
        Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
    });
}

#[test]
fn limits_of_a_read_are_kept_and_batches_are_never_split() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.tail_cache_bytes = 0;
        let mut node = Node::open(options, real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        for _ in 0..10 {
            node.append(partition(1, 0), 2, 1000, false);
        }
        node.sync().await;
        for stage in 0..2 {
            let size = node.model.partitions[&partition(1, 0)][0].bytes.len() as u32;
            let read = async |from: i64, limit: u32, may_exceed: bool| {
                let lease = node.store.lease(&node.extent(partition(1, 0), Offset(from), u32::MAX));
                let chain = lease.resolve(limit, may_exceed).await.expect("it is there");
                chain.iter().map(|bytes| bytes.len() as u32).sum::<u32>()
            };
            assert_eq!(read(0, size - 1, true).await, size, "stage {stage}");
            assert_eq!(read(0, size - 1, false).await, 0);
            assert_eq!(
                read(1, 2 * size, false).await,
                2 * size,
                "an offset in the middle begins with its batch"
            );
            assert_eq!(read(2, 3 * size + 5, true).await, 3 * size);
            let lease = node.store.lease(&node.extent(partition(1, 0), Offset(20), 100));
            assert!(lease.resolve(100, true).await.expect("nothing is asked for").is_empty());
            let mut beyond = node.extent(partition(1, 0), Offset(20), 100);
            beyond.to = Offset(30);
            assert!(node.store.lease(&beyond).resolve(100, true).await.is_err());
            node.take_snapshot().await;
        }
    });
}

#[test]
fn many_partitions_are_written_behind_with_few_files_open() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = FaultyDisk::new(real_disk(true));
        let faults = Arc::clone(&disk.faults);
        let mut options = options(dir.path());
        options.open_segments_max = 8;
        let mut node = Node::open(options, disk, Model::default()).await.expect("it opens");
        node.create_topic(1, 300);
        for index in 0..300 {
            node.append(partition(1, index), 1, 100, false);
        }
        node.take_snapshot().await;
        node.check_all(1000).await;
        let open = faults.open_files_max.load(Ordering::SeqCst);
        assert!(open < 64, "{open} files were open at once");
    });
}

/// Of each of many partitions there is little: their files are written together. Where there is no room for all of it, all of it is
/// written again.
#[test]
fn a_little_for_each_of_many_partitions_comes_to_their_segments() {
    run(async {
        for room_ends_after in [0, 1, 2, 40, 150] {
            let dir = tempfile::tempdir().expect("a folder");
            let options = StoreOptions { write_behind_bytes: 1 << 20, ..options(dir.path()) };
            let disk = FaultyDisk::new(real_disk(true));
            let mut node =
                Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
            node.create_topic(1, 40);
            for round in 0..3 {
                for index in 0..40 {
                    for batch in 0..3 {
                        // In some of them segments end.
                        node.append(partition(1, index), 1, 200, (index + batch + round) % 7 == 0);
                    }
                }
                // One gets more than all others.
                for _ in 0..8 {
                    node.append(partition(1, 20), 1, 20_000, false);
                }
                node.sync().await;
                let rounds = node.store.counters().rounds;
                disk.faults.room_ends_after.store(room_ends_after, Ordering::SeqCst);
                let op = node.op();
                let snapshot = node.snapshot();
                node.store.command(op, StoreCommand::Snapshot { snapshot });
                if room_ends_after > 0 && round == 1 {
                    node.idle(Duration::from_millis(100)).await;
                    assert_eq!(node.store.counters().rounds, rounds, "there was no room for all of it");
                }
                disk.faults.room_ends_after.store(0, Ordering::SeqCst);
                assert_eq!(node.done(op).await, StoreEvent::StoreDone { op, result: Ok(()) });
                assert_eq!(node.store.unsegmented_bytes(), 0);
            }
            node.store.close().await.expect("it closes");
            let node = open_when_free(&options, real_disk(true), node.model).await;
            node.check_all(100_000).await;
        }
    });
}
