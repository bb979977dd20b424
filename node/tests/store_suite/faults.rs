//! Full disks, failing syncs, torn and damaged files: a prefix comes back or a refusal, never anything else.

use crate::faulty::FaultyDisk;
use crate::support::*;
use seedlog::store::{ReadError, Store, StoreError, StoreEvent};
use seedlog_core::ids::Offset;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn a_full_disk_stops_appends_and_nothing_that_was_accepted_is_lost() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.journal_file_bytes = 2 << 20;
        let disk = FaultyDisk::new(real_disk(true));
        let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
        node.create_topic(1, 2);
        node.append(partition(1, 0), 1, 1000, false);
        node.sync().await;
        disk.faults.full.store(true, Ordering::SeqCst);
        let mut told = false;
        // What is accepted before the core hears of it waits where there is no room left.
        for round in 0..2000 {
            node.append(partition(1, round % 2), 1, 3000, false);
            node.store.flush();
            let event = tokio::time::timeout(Duration::from_millis(20), node.store.next_event()).await;
            match event {
                Ok(StoreEvent::Space { free_bytes: 0 }) => {
                    told = true;
                    break;
                }
                Ok(StoreEvent::Durable { synced, .. }) => node.model.synced = synced,
                Ok(StoreEvent::Space { .. }) | Err(_) => {}
                Ok(other) => panic!("{other:?}"),
            }
        }
        assert!(told, "the core hears that the disk is full");
        for round in 0..300 {
            node.append(partition(1, round % 2), 1, 3000, false);
        }
        node.store.flush();
        node.idle(Duration::from_millis(200)).await;
        assert!(disk.faults.refused.load(Ordering::SeqCst) > 0);
        disk.faults.full.store(false, Ordering::SeqCst);
        node.sync().await;
        node.check_all(100_000).await;
        let mut free = 0;
        while free == 0 {
            if let StoreEvent::Space { free_bytes } = node.store.next_event().await {
                free = free_bytes;
            }
        }
        let model = node.model.clone();
        drop((node, disk));
        let node = open_when_free(&options, real_disk(true), model).await;
        node.check_all(100_000).await;
    });
}

#[test]
fn a_snapshot_on_a_full_disk_waits_and_then_succeeds() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let disk = FaultyDisk::new(real_disk(true));
        let mut node = Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        node.append(partition(1, 0), 1, 1000, false);
        node.sync().await;
        disk.faults.full.store(true, Ordering::SeqCst);
        let op = node.op();
        let snapshot = node.snapshot();
        node.store.command(op, seedlog_core::output::StoreCommand::Snapshot { snapshot });
        node.idle(Duration::from_millis(100)).await;
        disk.faults.full.store(false, Ordering::SeqCst);
        assert_eq!(node.done(op).await, StoreEvent::StoreDone { op, result: Ok(()) });
        assert_eq!(node.store.unsegmented_bytes(), 0);
    });
}

#[test]
fn a_failed_sync_is_the_end() {
    run(async {
        for interval_mode in [false, true] {
            let dir = tempfile::tempdir().expect("a folder");
            let mut options = options(dir.path());
            if interval_mode {
                interval(&mut options, Duration::from_millis(5));
            }
            let disk = FaultyDisk::new(real_disk(true));
            let mut node =
                Node::open(options.clone(), disk.clone(), Model::default()).await.expect("it opens");
            node.create_topic(1, 1);
            node.append(partition(1, 0), 1, 1000, false);
            node.sync().await;
            disk.faults.journal_sync_fails.store(true, Ordering::SeqCst);
            node.append(partition(1, 0), 1, 1000, false);
            node.store.flush();
            let failed = loop {
                match node.store.next_event().await {
                    StoreEvent::DiskFailed { reason } => break reason,
                    StoreEvent::Durable { synced, .. } => assert!(synced <= node.model.synced),
                    StoreEvent::Space { .. } => {}
                    other => panic!("{other:?}"),
                }
            };
            assert!(failed.contains("input/output error"), "{failed}");
            disk.faults.journal_sync_fails.store(false, Ordering::SeqCst);
            // A sync that works again proves nothing: the store stays as it is.
            let at = node.model.last;
            node.append(partition(1, 0), 1, 1000, false);
            assert!(node.model.last <= at);
            node.store.flush();
            let nothing = tokio::time::timeout(Duration::from_millis(50), node.store.next_event()).await;
            assert!(nothing.is_err(), "{nothing:?}");
            assert!(node.store.is_full());
        }
    });
}

#[test]
fn a_failed_sync_of_a_segment_is_the_end() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = FaultyDisk::new(real_disk(true));
        let mut node =
            Node::open(options(dir.path()), disk.clone(), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        node.append(partition(1, 0), 1, 1000, false);
        node.sync().await;
        disk.faults.background_sync_fails.store(true, Ordering::SeqCst);
        let op = node.op();
        let snapshot = node.snapshot();
        node.store.command(op, seedlog_core::output::StoreCommand::Snapshot { snapshot });
        loop {
            match node.store.next_event().await {
                StoreEvent::DiskFailed { .. } => break,
                StoreEvent::Durable { .. } | StoreEvent::Space { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

fn files(dir: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").filter_map(Result::ok);
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").filter_map(Result::ok) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Damages one place; says where.
fn damage(dir: &Path, random: &mut dyn FnMut() -> u64) -> String {
    let journals = files(dir, "journal-");
    let path = &journals[random() as usize % journals.len()];
    let mut bytes = fs::read(path).expect("it is there");
    // Most of a file may be zeros: aim where something is.
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) + 1;
    let at = random() as usize % used;
    let what = match random() % 4 {
        0 => {
            bytes[at] ^= 1 << (random() % 8);
            "a bit"
        }
        1 => {
            let sector = at / 512 * 512;
            let end = (sector + 512).min(bytes.len());
            bytes[sector..end].fill(0);
            "a sector"
        }
        2 => {
            bytes.truncate(at);
            "the tail"
        }
        _ => {
            let from = random() as usize % used / 512 * 512;
            let block: Vec<u8> = bytes[from..(from + 512).min(bytes.len())].to_vec();
            let to = at / 512 * 512;
            let length = block.len().min(bytes.len() - to);
            bytes[to..to + length].copy_from_slice(&block[..length]);
            "a misdirected sector"
        }
    };
    fs::write(path, bytes).expect("written");
    format!("{what} at {at} of {}", path.display())
}

#[test]
fn damage_gives_a_prefix_or_a_refusal_never_anything_else() {
    run(async {
        let origin = tempfile::tempdir().expect("a folder");
        let origin_options = options(origin.path());
        let mut model = Model::default();
        for life in 0..2 {
            let mut node = open_when_free(&origin_options, real_disk(true), model).await;
            if life == 0 {
                node.create_topic(1, 3);
            }
            for round in 0..60 {
                node.append(partition(1, round % 3), 2, 1500, false);
                if round % 3 == 0 {
                    node.sync().await;
                }
            }
            if life == 0 {
                node.take_snapshot().await;
            }
            // An idle writer vouches for its last group: from there on one damaged place is never taken for a torn tail.
            node.sync().await;
            node.idle(Duration::from_millis(50)).await;
            model = node.model;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut random = salts(4711);
        let (mut refused, mut cut, mut given_up) = (0, 0, 0);
        for _ in 0..120 {
            let dir = tempfile::tempdir().expect("a folder");
            copy_dir(origin.path(), dir.path());
            let what = damage(dir.path(), &mut random);
            let options = options(dir.path());
            let opened = Node::open(options.clone(), real_disk(false), model.clone()).await;
            let mut node = match opened {
                Ok(node) => node,
                Err(StoreError::Journal(_)) => {
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{what}: {error}"),
            };
            let before = node.model.partitions.clone();
            node.cut_model();
            let damaged: Vec<_> =
                node.recovered.partitions.iter().filter(|(_, p)| p.damage.is_some()).collect();
            given_up += usize::from(!damaged.is_empty());
            let shorter = node.model.partitions.iter().any(|(p, batches)| batches.len() < before[p].len());
            cut += usize::from(shorter);
            // Only a file that lost its end gives no sign of what it held.
            let is_named = !damaged.is_empty() || what.starts_with("the tail");
            assert!(!shorter || is_named, "{what}: what is gone is given up by name");
            node.check_all(5000).await;
            // Life goes on in what is whole, and the verdict stands.
            let partitions: Vec<_> = node.recovered.partitions.clone().into_iter().collect();
            for (partition, _) in partitions.iter().filter(|(_, held)| held.damage.is_none()) {
                node.append(*partition, 1, 700, false);
            }
            node.sync().await;
            let (model, lost) = (node.model.clone(), node.recovered.clone());
            drop(node.store);
            let node = open_when_free(&options, real_disk(false), model).await;
            for (partition, held) in &lost.partitions {
                let damage = node.recovered.partitions[partition].damage;
                assert_eq!(damage.is_some(), held.damage.is_some(), "{what}: {partition}");
            }
            node.check_all(5000).await;
        }
        assert!(cut > 10, "{refused} refused, {cut} cut, {given_up} given up");
        assert!(given_up > 5, "{refused} refused, {cut} cut, {given_up} given up");
    });
}

#[test]
fn damaged_segments_give_errors_that_are_told_and_never_wrong_bytes() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.tail_cache_bytes = 0;
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        for round in 0..100 {
            node.append(partition(1, 0), 2, 1500, round == 50);
        }
        node.sync().await;
        node.take_snapshot().await;
        let folder = dir.path().join(partition(1, 0).to_string());
        let mut random = salts(99);
        let paths = files(&folder, "0");
        assert_eq!(paths.len(), 4, "two segments, each with its side file");
        let (mut errors, mut right) = (0, 0);
        for _ in 0..60 {
            let path = &paths[random() as usize % paths.len()];
            let before = fs::read(path).expect("it is there");
            let mut bytes = before.clone();
            let at = random() as usize % bytes.len();
            if random().is_multiple_of(4) {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1 << (random() % 8)
            }
            fs::write(path, &bytes).expect("written");
            for batch in node.model.partitions[&partition(1, 0)].clone() {
                let lease = node.store.lease(&node.extent(partition(1, 0), batch.base, 1));
                match lease.resolve(1, true).await {
                    Ok(chain) => {
                        right += 1;
                        assert_eq!(chain.concat(), batch.bytes.to_vec());
                    }
                    Err(ReadError::Damaged(_)) => {
                        errors += 1;
                        let told = StoreEvent::Damaged { partition: partition(1, 0), from: batch.base };
                        while node.store.next_event().await != told {}
                    }
                    Err(ReadError::Gone | ReadError::Lost | ReadError::Disk(_)) => errors += 1,
                }
            }
            fs::write(path, before).expect("written");
        }
        assert!(errors > 0);
        assert!(right > 0);
        node.check_all(10_000).await;
    });
}

#[test]
fn a_damaged_snapshot_is_refused() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let mut node =
            Node::open(options.clone(), real_disk(true), Model::default()).await.expect("it opens");
        node.create_topic(1, 1);
        node.append(partition(1, 0), 1, 10, false);
        node.sync().await;
        node.take_snapshot().await;
        node.store.close().await.expect("it closes");
        let path = dir.path().join("snapshot");
        let mut bytes = fs::read(&path).expect("it is there");
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("written");
        let error = Store::open(options, real_disk(true), salts(1)).await.expect_err("refused");
        assert!(matches!(error, StoreError::BadSnapshot { .. }), "{error}");
    });
}

#[test]
fn ends_at_any_moment_lose_nothing_durable() {
    run(async {
        let dir = tempfile::tempdir().expect("a folder");
        let mut options = options(dir.path());
        options.journal_file_bytes = 64 << 10;
        options.write_behind_bytes = 16 << 10;
        options.tail_cache_bytes = 100 << 10;
        let mut random = salts(5);
        let mut model = Model::default();
        for life in 0..60 {
            if life % 10 == 9 {
                options.flush = match options.flush {
                    seedlog_core::config::FlushMode::Always => seedlog_core::config::FlushMode::Interval,
                    seedlog_core::config::FlushMode::Interval => seedlog_core::config::FlushMode::Always,
                };
                options.flush_interval = Duration::from_millis(1);
            }
            let mut node = open_when_free(&options, real_disk(life % 2 == 0), model).await;
            if node.model.metadata.is_empty() {
                node.create_topic(1, 20);
                node.sync().await;
            }
            node.check_all(20_000).await;
            for _ in 0..random() % 60 {
                let partition = partition(1, (random() % 20) as i32);
                node.append(
                    partition,
                    1 + (random() % 3) as usize,
                    (random() % 4000) as usize,
                    random().is_multiple_of(10),
                );
                match random() % 20 {
                    0..5 => drop(node.sync().await),
                    5 => {
                        node.sync().await;
                        let op = node.op();
                        let snapshot = node.snapshot();
                        node.store.command(op, seedlog_core::output::StoreCommand::Snapshot { snapshot });
                    }
                    6 => node.idle(Duration::from_micros(random() % 3000)).await,
                    7 => node.append(partition, 1, 150_000, false),
                    _ => node.store.flush(),
                }
            }
            model = node.model;
        }
        let node = open_when_free(&options, real_disk(true), model).await;
        assert!(node.end(partition(1, 3)) > Offset(0));
        node.check_all(20_000).await;
    });
}
