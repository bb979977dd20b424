//! What survives of a write: full disks, failing syncs, crashes, power cuts, lost folders.

use super::*;
use seedlog_sim::disk::SECTOR_BYTES;
use seedlog_sim::rng::{Purpose, Stream};
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn rng(seed: u64) -> Stream {
    Stream::new(seed, Purpose::Disk, 0)
}

/// A folder with a file that holds so many bytes, all of it durable.
fn files(bytes: usize) -> (Files, Inode) {
    let mut files = Files::default();
    files.create_dir("data").unwrap();
    let inode = files.open("data/file", Open::Write).unwrap();
    files.write(inode, 0, &vec![1; bytes]).unwrap();
    files.sync_all();
    (files, inode)
}

/// A write of `bytes` with its sync, submitted and under way.
fn begun(lanes: &mut Lanes, inode: Inode, bytes: usize) -> Completion<()> {
    let (completer, completion) = completion();
    let buffers = vec![Bytes::from(vec![2; bytes])];
    let work = Work::Write { inode, position: 0, buffers, sync: true };
    lanes.push(Lane::Journal, Op::unit(work, lane::Done::new(completer)));
    completion
}

fn answer<T>(completion: Completion<T>) -> Option<io::Result<T>> {
    match pin!(completion).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_takes_what_has_room() {
    let (mut files, inode) = files(1_000);
    files.full = true;
    assert_eq!(files.free_bytes(), 0);
    files.write(inode, 500, &[3; 500]).unwrap();
    assert_eq!(files.write(inode, 501, &[3; 500]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(files.open("data/new", Open::Write).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(files.create_dir("data/more").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(files.refused, 3);
    files.set_length(inode, 10).unwrap();
    files.full = false;
    assert!(files.write(inode, 501, &[3; 500]).is_ok() && files.free_bytes() > 0);
}

#[test]
fn a_power_cut_undoes_names_that_nobody_synced_and_a_lost_folder_takes_its_files_along() {
    let (mut kept, mut undone) = (0, 0);
    for seed in 0..64 {
        let (mut files, _) = files(10);
        files.create_dir("data/topic").unwrap();
        let inode = files.open("data/topic/segment", Open::Write).unwrap();
        files.write(inode, 0, &[1; 10]).unwrap();
        files.disk.sync(inode);
        files.disk.sync_names_in("data/topic");
        let (_, changed) = files.power_cut(&mut rng(seed));
        assert!(files.open("data/file", Open::Read).is_ok(), "it was synced");
        match (files.has_dir("data/topic"), files.open("data/topic/segment", Open::Read)) {
            (true, Ok(_)) => kept += 1,
            (false, Err(_)) => {
                assert_eq!(changed, 2);
                undone += 1;
            }
            other => panic!("a file without its folder, or a synced one lost: {other:?}"),
        }
    }
    assert!(kept > 10 && undone > 10, "{kept} and {undone}");
}

#[test]
fn a_crash_leaves_whole_sectors_of_a_write_under_way_and_answers_nobody() {
    let (mut cut, mut whole) = (0, 0);
    for seed in 0..64 {
        let (mut files, inode) = files(8 * SECTOR_BYTES);
        let (mut lanes, mut rng) = (Lanes::new(1), rng(seed));
        let completion = begun(&mut lanes, inode, 8 * SECTOR_BYTES);
        let (_, epoch) = lanes.begin(Lane::Journal, &mut rng).unwrap();
        let (writes, _) = lanes.crash(&mut files, &mut rng);
        let content = files.read(inode, 0, 8 * SECTOR_BYTES).unwrap();
        let written = content.iter().take_while(|&&byte| byte == 2).count();
        assert!(written.is_multiple_of(SECTOR_BYTES) && content[written..].iter().all(|&byte| byte == 1));
        assert_eq!(writes, usize::from(written < content.len()));
        *(if writes > 0 { &mut cut } else { &mut whole }) += 1;
        // What the disk was at when the process died is nobody's any more.
        assert!(lanes.finish(Lane::Journal, epoch, &mut files, &mut rng, &mut Vec::new()).is_none());
        assert!(answer(completion).is_none());
    }
    assert!(cut > 10 && whole > 10, "{cut} and {whole}");
}

#[test]
fn a_write_and_its_sync_are_two_and_a_sync_that_fails_says_so_once() {
    let (mut files, inode) = files(SECTOR_BYTES);
    let (mut lanes, mut rng) = (Lanes::new(1), rng(1));
    lanes.sync_fails = true;
    let mut events = Vec::new();
    let mut step = |lanes: &mut Lanes, files: &mut Files| {
        let (_, epoch) = lanes.begin(Lane::Journal, &mut rng).unwrap();
        lanes.finish(Lane::Journal, epoch, files, &mut rng, &mut events)
    };
    let failing = begun(&mut lanes, inode, SECTOR_BYTES);
    assert!(step(&mut lanes, &mut files).is_none(), "it is written, and not synced");
    assert!(!files.disk.is_on_platter(inode, 0, SECTOR_BYTES));
    step(&mut lanes, &mut files).unwrap().complete();
    assert!(answer(failing).unwrap().is_err());
    let fine = begun(&mut lanes, inode, SECTOR_BYTES);
    step(&mut lanes, &mut files);
    step(&mut lanes, &mut files).unwrap().complete();
    assert!(answer(fine).unwrap().is_ok());
    assert!(files.disk.is_on_platter(inode, 0, SECTOR_BYTES));
    assert!(events.iter().any(|event| matches!(event, DiskEvent::SyncFailed { journal: true })));
}
