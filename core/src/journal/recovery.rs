//! What all journal files together mean after a crash: which groups are accepted, what is cut, what is damaged.
//!
//! ```text
//!               vouched                       end
//!                  v                           v
//!   | G1 | G2 | G3 | G4 | G5 (torn or missing) | anything
//!   `--- hole here: -----'`-- hole here: torn tail, cut; never look behind it
//!        damage, never cut
//! ```
//!
//! * A group says which lsn was on disk when it was written; the greatest such lsn is *vouched* (SAFETY J3).
//! * A hole at or below it is damage with an address: it stays a hole, and what it held is given up by name (SAFETY J5).
//! * A hole above it is a torn tail: everything from there on is cut.
//! * A younger file voids older groups from its first lsn on; every recovery begins a fresh file (SAFETY J1, J2).

use super::format::{FormatError, GroupPlace, GroupPrefix, QuorumChain};
use super::scan::{FileScan, ScannedGroup, scan_file};
use crate::ids::Lsn;
use crate::museum::exhibit;
use alloc::vec::Vec;
use core::fmt;

/// A run of entry numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsnRange {
    /// The first.
    pub first: Lsn,
    /// The last.
    pub last: Lsn,
}

/// A group that recovery accepted, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRef {
    /// The file's number.
    pub seq: u64,
    /// Position in the file in bytes.
    pub position: u64,
    /// Its prefix.
    pub prefix: GroupPrefix,
    /// Entries whose record bytes are damaged: below the vouched lsn, so they stay as holes of their partition.
    pub damaged: Vec<Lsn>,
}

/// The verdict over a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Accepted groups with entries above the snapshot, in lsn order.
    pub groups: Vec<GroupRef>,
    /// The last lsn that is certainly on disk.
    pub vouched: Lsn,
    /// The last accepted lsn.
    pub end: Lsn,
    /// Lost groups below `vouched`: nothing of them can be read, not even what they held.
    pub damage: Vec<LsnRange>,
    /// Something above `end` was there and was cut.
    pub cut: bool,
    /// That, or an earlier recovery did so and no run has begun since: the last records of any log may be missing
    /// (SAFETY J4).
    pub is_doubtful: bool,
    /// The broker stopped in order, and nothing was written since.
    pub clean: bool,
    /// The digest of the quorum's entries as the last accepted group states it; `None` if the journal ends in a hole.
    pub quorum: Option<QuorumChain>,
    /// The number that the fresh file takes.
    pub next_seq: u64,
}

impl Plan {
    /// What the fresh file's header says of a cut.
    #[must_use]
    pub fn cut_at(&self) -> Option<Lsn> {
        self.is_doubtful.then_some(self.end)
    }

    /// The groups that must be written into the fresh file, under its salt, and synced, before the broker starts
    /// (SAFETY J2).
    pub fn rewrite(&self) -> impl Iterator<Item = &GroupRef> {
        // N3: what was read may be in the page cache alone; a power cut after the first acknowledgement takes it away.
        let safe = exhibit!(N3, self.vouched, self.end);
        self.groups.iter().filter(move |group| group.prefix.entries > 0 && group.prefix.last_lsn() > safe)
    }

    /// The first lsn of the fresh file.
    #[must_use]
    pub fn fresh_first_lsn(&self) -> Lsn {
        self.rewrite().next().map_or(self.end.next(), |group| group.prefix.first_lsn)
    }

    /// The place in the fresh file of a group that is rewritten at `position`.
    #[must_use]
    pub fn fresh_place(&self, salt: u64, position: u64) -> GroupPlace {
        let durable = Lsn(self.fresh_first_lsn().0 - 1);
        GroupPlace { seq: self.next_seq, salt, position, durable }
    }
}

/// Where journal files are read from.
pub trait JournalSource {
    /// What can go wrong.
    type Error;
    /// Numbers of the files that exist, in any order.
    fn files(&self) -> Vec<u64>;
    /// Hands the whole content of a file to `read`.
    ///
    /// # Errors
    /// The file cannot be read.
    fn with_file<T>(&mut self, seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Self::Error>;
}

/// Why a journal cannot be recovered at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryError<E> {
    /// A file cannot be read.
    Source(E),
    /// Part of it was written by a newer release.
    Format {
        /// The file's number.
        seq: u64,
        /// What is wrong.
        error: FormatError,
    },
}

impl<E: fmt::Display> fmt::Display for RecoveryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => write!(f, "a journal file cannot be read: {error}"),
            Self::Format { seq, error } => write!(f, "journal file {seq}: {error}"),
        }
    }
}

/// Reads all files and judges them. `through` is the lsn up to which a snapshot holds everything, or zero.
///
/// # Errors
/// [`RecoveryError`]; damage is not an error but part of the plan.
pub fn recover<S: JournalSource>(source: &mut S, through: Lsn) -> Result<Plan, RecoveryError<S::Error>> {
    let mut seqs = source.files();
    seqs.sort_unstable();
    let mut scans = Vec::with_capacity(seqs.len());
    for &seq in &seqs {
        let scan = source.with_file(seq, |bytes| scan_file(seq, bytes)).map_err(RecoveryError::Source)?;
        scans.push(scan.map_err(|error| RecoveryError::Format { seq, error })?);
    }
    // After a stop in order too: a disk rots while nobody looks, and what is copied on from here gets new checksums. H3: a
    // mark that an earlier stop left, and that no later start consumed, would skip the checks after a crash.
    let skip_checks = exhibit!(H3, false, current_groups(&scans).iter().any(|(_, group)| group.ends_stopped));
    if !skip_checks {
        for scan in &mut scans {
            source.with_file(scan.seq, |bytes| scan.verify(bytes)).map_err(RecoveryError::Source)?;
        }
    }
    Ok(plan(&scans, through))
}

/// The journal's last entry says that the broker stopped in order, and a later group vouches for it.
fn stopped_clean(scans: &[FileScan]) -> bool {
    let groups = current_groups(scans);
    let vouched = vouched(scans, &groups, Lsn::ZERO);
    let last = groups.iter().rev().find(|(_, group)| group.prefix.entries > 0);
    last.is_some_and(|(_, group)| group.ends_stopped && group.prefix.last_lsn() <= vouched)
}

/// Judges what [`scan_file`] found; `scans` in the order of their numbers.
#[must_use]
pub fn plan(scans: &[FileScan], through: Lsn) -> Plan {
    let groups = current_groups(scans);
    // H4: if nothing vouched for what was written before it, the first bad checksum would end the log.
    let vouched = exhibit!(H4, vouched(scans, &groups, through), through);
    let mut plan = Plan {
        groups: Vec::new(),
        vouched,
        end: through,
        damage: Vec::new(),
        cut: false,
        is_doubtful: false,
        clean: stopped_clean(scans),
        quorum: None,
        next_seq: scans.last().map_or(1, |last| last.seq + 1),
    };
    for (seq, group) in groups {
        if !plan.take(seq, group) {
            plan.cut = true;
            break;
        }
    }
    if plan.end < vouched {
        // What vouched for it is a file header or a group that is not part of the sequence.
        plan.damage.push(LsnRange { first: plan.end.next(), last: vouched });
        plan.end = vouched;
        plan.quorum = None;
    }
    assert!(plan.end >= through);
    assert!(plan.end >= vouched);
    plan.is_doubtful = plan.cut || inherits_doubt(scans);
    plan
}

/// The youngest file was begun by a recovery that cut something off, and crashed before a run had begun.
fn inherits_doubt(scans: &[FileScan]) -> bool {
    let youngest = scans.iter().rev().find_map(|scan| Some((scan, scan.header?)));
    youngest.is_some_and(|(scan, header)| {
        header.cut_at.is_some_and(|cut_at| !scan.groups.iter().any(|group| group.start > Some(cut_at)))
    })
}

impl Plan {
    /// Takes the next group, with the hole before it if that is damage. `false`: the journal ends before this group.
    fn take(&mut self, seq: u64, group: &ScannedGroup) -> bool {
        let prefix = group.prefix;
        let last = prefix.last_lsn();
        if last < self.end || last == self.end && prefix.entries > 0 {
            // Held by the snapshot. One without entries too: it states a metadata end that the snapshot is past.
            return true;
        }
        if prefix.first_lsn > self.end.next() {
            if self.end >= self.vouched {
                return false;
            }
            self.damage.push(LsnRange { first: self.end.next(), last: Lsn(prefix.first_lsn.0 - 1) });
            self.end = Lsn(prefix.first_lsn.0 - 1);
            // Until a group behind the hole is accepted nothing states where the metadata ends.
            self.quorum = None;
        }
        if !group.damaged.is_empty() && last > self.vouched {
            return false;
        }
        self.quorum = Some(prefix.quorum);
        if prefix.entries > 0 {
            self.end = prefix.last_lsn();
            self.groups.push(GroupRef {
                seq,
                position: group.position,
                prefix,
                damaged: group.damaged.clone(),
            });
        }
        true
    }
}

/// Groups that no younger file voids, in lsn order, each with its file's number.
fn current_groups(scans: &[FileScan]) -> Vec<(u64, &ScannedGroup)> {
    let youngest = scans.iter().rposition(|scan| scan.header.is_some());
    let mut groups: Vec<(u64, &ScannedGroup)> = Vec::new();
    for (index, scan) in scans.iter().enumerate() {
        let Some(first_lsn) = first_lsn(scan, youngest.is_some_and(|youngest| index < youngest)) else {
            continue;
        };
        // N5: groups that an earlier recovery cut would fit again behind what was written since.
        let void_from = exhibit!(N5, first_lsn, Lsn(u64::MAX));
        // One without entries right at the cut stays: what it states of the entries before it is still true, and after a
        // hole nothing else may prove that no metadata was lost.
        groups.retain(|(_, group)| {
            let first = group.prefix.first_lsn;
            first < void_from || first == void_from && group.prefix.entries == 0
        });
        groups.extend(scan.groups.iter().map(|group| (scan.seq, group)));
    }
    groups.sort_by_key(|(seq, group)| (group.prefix.first_lsn, *seq, group.position));
    groups
}

/// The first lsn of a file that counts. One whose header never got to disk holds nothing that was acknowledged and does not
/// count; one whose header was lost does. It is told by what was written after the header was on disk: a younger file with
/// a header, which voids the file again if it is the half-written one of a recovery, or a group that vouches for another.
fn first_lsn(scan: &FileScan, has_younger: bool) -> Option<Lsn> {
    if let Some(header) = scan.header {
        return Some(header.first_lsn);
    }
    let first = scan.groups.first()?.prefix.first_lsn;
    let had_header = has_younger || scan.groups.iter().any(|group| group.prefix.durable >= first);
    had_header.then_some(first)
}

/// The greatest lsn that something written later states to be on disk.
fn vouched(scans: &[FileScan], groups: &[(u64, &ScannedGroup)], through: Lsn) -> Lsn {
    let by_groups = groups.iter().map(|(_, group)| group.prefix.durable);
    let by_headers = scans.iter().filter_map(|scan| scan.header).map(|header| header.durable);
    by_groups.chain(by_headers).fold(through, Lsn::max)
}
