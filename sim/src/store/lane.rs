//! A lane does disk operations one after the other, each of which takes time: a crash falls before, between or into them.

use crate::disk::{Disk, SECTOR_BYTES};
use crate::rng::Stream;
use std::collections::VecDeque;

/// One operation. Files are named, because what a script creates has no inode before the script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op<D> {
    /// Create an empty file.
    Create {
        /// Its name.
        name: String,
    },
    /// Rename a file.
    Rename {
        /// Its name.
        from: String,
        /// Its next name.
        to: String,
    },
    /// Remove a file.
    Unlink {
        /// Its name.
        name: String,
    },
    /// Make names durable.
    SyncDir,
    /// Write into a file.
    Write {
        /// Its name.
        name: String,
        /// Where.
        at: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Sync a file.
    Sync {
        /// Its name.
        name: String,
    },
    /// All before this is done; takes no time.
    Done(D),
}

/// Operations in order, the first of them under way.
#[derive(Debug)]
pub struct Lane<D> {
    ops: VecDeque<Op<D>>,
    busy: bool,
}

impl<D> Default for Lane<D> {
    fn default() -> Self {
        Self { ops: VecDeque::new(), busy: false }
    }
}

/// How fast a disk is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// All times are multiplied by this.
    pub factor: u64,
}

/// What the end of an operation means.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished<D> {
    /// Go on with the next.
    Next,
    /// A script got here.
    Done(D),
    /// A sync failed.
    SyncFailed,
}

impl<D> Lane<D> {
    /// Adds operations at the end.
    pub fn extend(&mut self, ops: impl IntoIterator<Item = Op<D>>) {
        self.ops.extend(ops);
    }

    /// Nothing is under way or waiting.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.ops.is_empty()
    }

    /// An operation is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Starts the next operation if none is under way: µs until it ends.
    pub fn start(&mut self, pace: Pace, rng: &mut Stream) -> Option<u64> {
        if self.busy {
            return None;
        }
        let micros = match self.ops.front()? {
            Op::Create { .. } | Op::Rename { .. } | Op::Unlink { .. } => rng.range(5, 40),
            Op::SyncDir => rng.range(80, 300),
            Op::Write { bytes, .. } => rng.range(10, 60) + bytes.len() as u64 / 1_500,
            Op::Sync { .. } => rng.range(80, 400),
            Op::Done(_) => 0,
        };
        self.busy = true;
        Some(micros * pace.factor)
    }

    /// Ends the operation under way. `fails` makes a sync fail.
    pub fn finish(&mut self, disk: &mut Disk, fails: bool, rng: &mut Stream) -> Finished<D> {
        assert!(self.busy, "only what was started ends");
        self.busy = false;
        match self.ops.pop_front().expect("what is under way is the first") {
            Op::Done(done) => return Finished::Done(done),
            Op::Sync { name } if fails => {
                if let Some(inode) = disk.lookup(&name) {
                    disk.sync_failing(inode, rng);
                }
                return Finished::SyncFailed;
            }
            op @ (Op::Create { .. }
            | Op::Rename { .. }
            | Op::Unlink { .. }
            | Op::SyncDir
            | Op::Write { .. }
            | Op::Sync { .. }) => apply(disk, op),
        }
        Finished::Next
    }

    /// The operation under way is a sync: the moment for one to fail.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.busy && matches!(self.ops.front(), Some(Op::Sync { .. }))
    }

    /// Nothing more is begun: what is under way is still done, and tells nobody.
    pub fn halt(&mut self) {
        let under_way = if self.busy { self.ops.pop_front() } else { None };
        self.ops.clear();
        match under_way {
            Some(Op::Done(_)) | None => self.busy = false,
            Some(op) => self.ops.push_front(op),
        }
    }

    /// The process dies: what was under way is done in part, what follows never happens.
    pub fn crash(&mut self, disk: &mut Disk, rng: &mut Stream) {
        let under_way = if self.busy { self.ops.pop_front() } else { None };
        self.ops.clear();
        self.busy = false;
        match under_way {
            Some(Op::Write { name, at, mut bytes }) => {
                let sectors = bytes.len().div_ceil(SECTOR_BYTES);
                let done = if rng.chance(500) { sectors } else { rng.index(sectors + 1) };
                bytes.truncate(done * SECTOR_BYTES);
                apply::<D>(disk, Op::Write { name, at, bytes });
            }
            Some(op @ (Op::Create { .. } | Op::Rename { .. } | Op::Unlink { .. } | Op::Sync { .. })) => {
                if rng.chance(500) {
                    apply(disk, op);
                }
            }
            Some(Op::SyncDir | Op::Done(_)) | None => {}
        }
    }
}

fn apply<D>(disk: &mut Disk, op: Op<D>) {
    match op {
        Op::Create { name } => {
            disk.create(&name);
        }
        Op::Rename { from, to } => disk.rename(&from, &to),
        Op::Unlink { name } => disk.unlink(&name),
        Op::SyncDir => disk.sync_dir(),
        Op::Write { name, at, bytes } => {
            let inode = disk.lookup(&name).expect("a script writes into files that are there");
            disk.write(inode, at, &bytes);
        }
        Op::Sync { name } => {
            let inode = disk.lookup(&name).expect("a script syncs files that are there");
            disk.sync(inode);
        }
        Op::Done(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn script() -> Vec<Op<u8>> {
        let name = || "f".to_owned();
        vec![
            Op::Create { name: name() },
            Op::Write { name: name(), at: 0, bytes: vec![1; 2_000] },
            Op::Sync { name: name() },
            Op::SyncDir,
            Op::Done(9),
        ]
    }

    #[test]
    fn a_script_runs_in_order_and_reports() {
        let (mut disk, mut rng) = (Disk::default(), Stream::new(1, Purpose::Disk, 0));
        let mut lane = Lane::default();
        lane.extend(script());
        let mut reports = Vec::new();
        while lane.start(Pace { factor: 1 }, &mut rng).is_some() {
            reports.push(lane.finish(&mut disk, false, &mut rng));
        }
        assert_eq!(reports.last(), Some(&Finished::Done(9)));
        let file = disk.lookup("f").unwrap();
        assert!(disk.is_on_platter(file, 0, 2_000));
    }

    #[test]
    fn a_crash_leaves_a_prefix_of_the_write_under_way() {
        let mut lengths = Vec::new();
        for seed in 0..40 {
            let (mut disk, mut rng) = (Disk::default(), Stream::new(seed, Purpose::Disk, 0));
            let mut lane = Lane::default();
            lane.extend(script());
            lane.start(Pace { factor: 1 }, &mut rng);
            lane.finish(&mut disk, false, &mut rng);
            lane.start(Pace { factor: 1 }, &mut rng);
            lane.crash(&mut disk, &mut rng);
            assert!(lane.is_idle());
            let file = disk.lookup("f").unwrap();
            assert!(disk.content(file).iter().all(|&byte| byte == 1));
            lengths.push(disk.content(file).len());
        }
        assert!(lengths.contains(&2_000) && lengths.contains(&0) && lengths.contains(&512));
    }
}
