//! The data folder: whether it can be written, how much room there is, how long a sync takes, and what file system it is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::Check;
use crate::config::{DirectIo, NodeConfig};
use crate::store::buffers::aligned_zeros;
use crate::store::inspect;

/// Writes that are timed, each of a journal's block.
const SYNCS: usize = 32;
const BLOCK_BYTES: usize = 4_096;
/// A median above this makes every acknowledgement slow.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// No medium is that fast: what was written is in memory only.
const SYNC_TOO_FAST: Duration = Duration::from_micros(3);

pub(super) fn check(node: &NodeConfig) -> Vec<Check> {
    let wanted = &node.log_dir;
    let Some(folder) = wanted.ancestors().map(or_here).find(|path| path.is_dir()) else {
        let found = format!("{} is below nothing that exists", wanted.display());
        return vec![Check::fail("folder", found, "create the folder, or correct log.dirs")];
    };
    let mut checks = Vec::new();
    let is_there = folder == or_here(wanted);
    if wanted.exists() && !is_there {
        let found = format!("{} is no folder", wanted.display());
        return vec![Check::fail("folder", found, "move that file away, or correct log.dirs")];
    }
    let probe = match Probe::new(folder) {
        Ok(probe) => probe,
        Err(error) => {
            let found = format!("{} cannot be written: {error}", folder.display());
            let then = "give the folder to the user that the node runs as, or correct log.dirs";
            return vec![Check::fail("folder", found, then)];
        }
    };
    checks.push(match (is_there, inspect::lock(folder)) {
        (false, _) => Check::ok("folder", format!("{} will be created", wanted.display())),
        (true, Ok(_)) => Check::ok("folder", format!("{} can be written", wanted.display())),
        (true, Err(error)) => {
            Check::warn("folder", error.to_string(), "measure again while no node runs there")
        }
    });
    checks.push(free_bytes(folder, node));
    checks.push(file_system(folder));
    checks.push(sync_latency(&probe));
    checks.push(direct_io(&probe, node.direct_io));
    checks
}

/// `log.dirs` may be relative: above `data` is the folder that the node is started in.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// A temporary file, removed when this value goes away.
struct Probe {
    path: PathBuf,
    file: File,
}

impl Probe {
    fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".seedlog-doctor-{}.tmp", process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It was created here; whoever removed it before did this work.
        fs::remove_file(&self.path).ok();
    }
}

fn free_bytes(folder: &Path, node: &NodeConfig) -> Check {
    let stat = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => {
            return Check::warn("free_bytes", format!("not known: {}", io::Error::from(error)), "see `df`");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    judge_free(free, node.disk_free_bytes_min, node.journal_bytes_max)
}

fn judge_free(free: u64, least: u64, journal: u64) -> Check {
    let found = format!("{free} bytes are free");
    if free < least {
        let then = format!("free some room: below disk.free.bytes.min={least} every append is refused");
        Check::fail("free_bytes", found, then)
    } else if free < least.saturating_add(journal) {
        let then = format!("free some room: the journal alone may take journal.bytes.max={journal}");
        Check::warn("free_bytes", found, then)
    } else {
        Check::ok("free_bytes", found)
    }
}

fn file_system(folder: &Path) -> Check {
    let magic = match rustix::fs::statfs(folder) {
        // The type is signed on some platforms and wider than the number on others.
        Ok(stat) => (stat.f_type as u64) & 0xffff_ffff,
        Err(error) => {
            return Check::warn(
                "file_system",
                format!("not known: {}", io::Error::from(error)),
                "see `df -T`",
            );
        }
    };
    judge_file_system(magic)
}

fn judge_file_system(magic: u64) -> Check {
    /// Numbers of statfs(2), and what is to be known of them.
    const KNOWN: &[(u64, &str, Option<&str>)] = &[
        (0xef53, "ext2, ext3 or ext4", None),
        (0x5846_5342, "xfs", None),
        (
            0x9123_683e,
            "btrfs",
            Some("it copies on every write: turn that off for the folder with `chattr +C`"),
        ),
        (0x2fc1_2fc1, "zfs", None),
        (0xf2f5_2010, "f2fs", None),
        (
            0x794c_7630,
            "overlayfs",
            Some("it is the file system of a container's image: mount a volume for log.dirs"),
        ),
        (0x0102_1994, "tmpfs", Some("it is in memory: every record is gone with the machine's power")),
        (0x8584_58f6, "ramfs", Some("it is in memory: every record is gone with the machine's power")),
        (0x6969, "nfs", Some("syncs and locks depend on the server: use a local disk")),
        (0xff53_4d42, "cifs", Some("syncs and locks depend on the server: use a local disk")),
        (0xfe53_4d42, "smb2", Some("syncs and locks depend on the server: use a local disk")),
        (0x0102_1997, "9p", Some("syncs depend on the host: use a disk of this machine")),
        (0x6573_5546, "fuse", Some("syncs depend on the program behind it: use a local disk")),
    ];
    match KNOWN.iter().find(|(known, ..)| *known == magic) {
        Some((_, name, None)) => Check::ok("file_system", *name),
        Some((_, name, Some(why))) => {
            let then = "point log.dirs to ext4 or xfs where records must last";
            Check::warn("file_system", format!("{name}: {why}"), then)
        }
        None => Check::ok("file_system", format!("number {magic:#x} of statfs(2)")),
    }
}

fn sync_latency(probe: &Probe) -> Check {
    let measure = || -> io::Result<Vec<Duration>> {
        let block = [0xa5; BLOCK_BYTES];
        // As in the journal: the place is there before it is written.
        probe.file.write_all_at(&[0; BLOCK_BYTES * SYNCS], 0)?;
        probe.file.sync_all()?;
        let mut times = Vec::with_capacity(SYNCS);
        for number in 0..SYNCS {
            let begin = Instant::now();
            probe.file.write_all_at(&block, (number * BLOCK_BYTES) as u64)?;
            probe.file.sync_data()?;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    };
    match measure() {
        Ok(times) => judge_sync(times[SYNCS / 2], times[SYNCS - 1]),
        Err(error) => Check::fail(
            "sync",
            format!("a synced write failed: {error}"),
            "free some room, or replace the disk",
        ),
    }
}

fn judge_sync(median: Duration, worst: Duration) -> Check {
    let ms = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    let found =
        format!("{SYNCS} synced writes of 4 KiB took {} in the median, {} at worst", ms(median), ms(worst));
    if median > SYNC_SLOW {
        let then = "every acknowledgement waits so long: use a faster disk, or one of its own for log.dirs";
        Check::warn("sync", found, then)
    } else if median < SYNC_TOO_FAST {
        let then = "nothing syncs in so little time: check that the disk really holds what it says it holds";
        Check::warn("sync", found, then)
    } else {
        Check::ok("sync", found)
    }
}

fn direct_io(probe: &Probe, wanted: DirectIo) -> Check {
    if wanted == DirectIo::Off {
        return Check::ok("direct_io", "turned off by disk.direct.io");
    }
    let flags = OFlags::DIRECT.bits().cast_signed();
    let write = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(&probe.path)
        .and_then(|file| file.write_all_at(&aligned_zeros(BLOCK_BYTES), 0));
    match (write, wanted) {
        (Ok(()), _) => Check::ok("direct_io", "the journal is written past the page cache"),
        (Err(error), DirectIo::On) => {
            let then = "set disk.direct.io=auto, or point log.dirs to a file system that has it";
            Check::fail(
                "direct_io",
                format!("disk.direct.io=on, and direct writes are refused: {error}"),
                then,
            )
        }
        (Err(error), DirectIo::Auto | DirectIo::Off) => {
            let then = "a node runs without, at more processor time; ext4 and xfs have it";
            Check::warn("direct_io", format!("direct writes are refused: {error}"), then)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn room_is_judged_by_what_the_node_goes_by() {
        assert_eq!(judge_free(99, 100, 50).state, State::Fail);
        assert_eq!(judge_free(149, 100, 50).state, State::Warn);
        assert_eq!(judge_free(150, 100, 50).state, State::Ok);
    }

    #[test]
    fn slow_and_impossible_syncs_are_told() {
        let ms = Duration::from_millis;
        assert_eq!(judge_sync(ms(2), ms(300)).state, State::Ok);
        assert_eq!(judge_sync(ms(21), ms(300)).state, State::Warn);
        assert_eq!(judge_sync(Duration::from_micros(1), ms(1)).state, State::Warn);
    }

    #[test]
    fn file_systems_that_forget_are_told() {
        assert_eq!(judge_file_system(0xef53).state, State::Ok);
        assert_eq!(judge_file_system(0x0102_1994).state, State::Warn);
        assert_eq!(judge_file_system(0x6969).state, State::Warn);
        assert_eq!(judge_file_system(1).state, State::Ok);
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let probe = Probe::new(folder.path()).unwrap();
        assert_ne!(sync_latency(&probe).state, State::Fail);
        drop(probe);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
