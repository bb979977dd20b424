//! A data folder looked at while no node uses it: what it holds, and whether every checksum is right. Reads only: nothing is
//! created, repaired or moved. What the files mean is decided by the code that a node starts with.

mod segments;

use super::cuts::cut_of;
use super::disk::{Disk, Lane};
use super::error::StoreError;
use super::folder::{LOCK, META, SNAPSHOT, parse_meta};
use super::index::Index;
use super::journal::{journal_path, parse_journal_name};
use super::options::Identity;
use super::recovery::{Source, check_segments, read_snapshot};
use super::replay::{Replay, TakenTable};
use super::segment::{SegmentName, parse_partition_dir, partition_dir};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use seedlog_core::ids::{Lsn, Offset, TopicPartition};
use seedlog_core::journal::entry::Located;
use seedlog_core::journal::recovery::JournalSource;
use seedlog_core::journal::{
    BLOCK_BYTES, Entry, FILE_HEADER_BYTES, FileHeader, FileScan, LsnRange, Plan, plan, scan_file,
};
use seedlog_core::recovered::{Recovered, lost_offsets, replay};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What to do about records that cannot be read.
const RECORDS_LOST: &str = "start the node: what is whole is served, what is lost is named and filled again from another \
                            replica; where there is none, restore the folder from a copy or delete the topic";
/// What to do about a folder that no node starts on.
const FOLDER_LOST: &str =
    "restore the folder from a copy; in a cluster the node may also start empty and is filled again";

/// Is told of bytes that were read.
pub type Done<'a> = &'a dyn Fn(u64);

/// Keeps nodes from starting on the folder until it is dropped.
#[derive(Debug)]
pub struct ReadLock(#[expect(dead_code, reason = "the lock lives as long as its descriptor")] Option<File>);

/// Locks the folder against nodes, beside other readers. A folder without a lock file was never used by a node.
///
/// # Errors
/// [`StoreError::InUse`] while a node uses it.
pub fn lock(dir: &Path) -> Result<ReadLock, StoreError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ReadLock(None)),
        Err(error) => return Err(StoreError::disk("cannot open", path)(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(ReadLock(Some(file))),
        Err(Errno::WOULDBLOCK) => Err(StoreError::InUse(dir.to_owned())),
        Err(error) => Err(StoreError::disk("cannot lock", path)(error.into())),
    }
}

/// A file or folder of a node, by its name or by the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The folder of `log.dirs`, with its journal's files, oldest first.
    Folder(Vec<PathBuf>),
    /// A partition's folder, with its segments, oldest first.
    Partition(Vec<PathBuf>),
    /// A journal file.
    Journal,
    /// A segment.
    Segment,
}

impl Held {
    /// What stands at `path`; `None` for something else.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        if !std::fs::metadata(path)?.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_journal = parse_journal_name(name).map(|_| Self::Journal);
            return Ok(is_journal.or_else(|| parse_segment_name(name).map(|_| Self::Segment)));
        }
        let (mut journal, mut segments) = (BTreeMap::new(), BTreeMap::new());
        for entry in std::fs::read_dir(path)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if let Some(seq) = parse_journal_name(&name) {
                journal.insert(seq, path.join(name));
            } else if let Some(base) = parse_segment_name(&name) {
                segments.insert(base, path.join(name));
            }
        }
        if !journal.is_empty() {
            return Ok(Some(Self::Folder(journal.into_values().collect())));
        }
        Ok((!segments.is_empty()).then(|| Self::Partition(segments.into_values().collect())))
    }

    /// The folder whose lock keeps nodes from it.
    #[must_use]
    pub fn home(&self, path: &Path) -> PathBuf {
        let above = match self {
            Self::Folder(_) => 0,
            Self::Journal | Self::Partition(_) => 1,
            Self::Segment => 2,
        };
        // Of `.` the system knows what is above it.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.ancestors().nth(above).map_or_else(|| path.clone(), Path::to_owned)
    }
}

fn parse_segment_name(name: &str) -> Option<SegmentName> {
    SegmentName::parse(name).filter(|_| name.ends_with(".log"))
}

/// Whether something is wrong, or only worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Bytes are not what was written, or are missing.
    Damage,
    /// A node deals with it by itself.
    Note,
}

/// Something that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is damage.
    pub weight: Weight,
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes, if it is in one place.
    pub position: Option<u64>,
    /// What is there.
    pub what: String,
    /// What to do about it; empty for nothing.
    pub then: String,
}

/// A journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSeen {
    /// The file.
    pub path: PathBuf,
    /// Its intact groups.
    pub groups: usize,
    /// Entries in them.
    pub entries: u64,
    /// The first and the last of them.
    pub lsns: Option<(Lsn, Lsn)>,
}

/// A partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSeen {
    /// The partition; also the name of its folder.
    pub partition: TopicPartition,
    /// Its topic's name, if the folder's metadata has it.
    pub topic: Option<String>,
    /// Where the log begins.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
    /// Its segments.
    pub segments: usize,
    /// Their size in bytes.
    pub segment_bytes: u64,
    /// Batches that were read from segments and are right.
    pub segment_batches: u64,
    /// Batches that only the journal has.
    pub journal_batches: u64,
    /// Their size in bytes.
    pub journal_bytes: u64,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Whose it is.
    pub identity: Option<Identity>,
    /// The last entry that the snapshot holds.
    pub snapshot: Option<Lsn>,
    /// The journal's files, oldest first.
    pub journal: Vec<JournalSeen>,
    /// The last entry that a start would accept.
    pub end: Lsn,
    /// The node stopped in order.
    pub clean: bool,
    /// The logs.
    pub partitions: Vec<PartitionSeen>,
    /// What is wrong or worth knowing.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Everything that was read is what was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight == Weight::Note)
    }

    fn damage(&mut self, path: PathBuf, position: Option<u64>, what: String, then: &str) {
        self.findings.push(Finding { weight: Weight::Damage, path, position, what, then: then.to_owned() });
    }

    fn note(&mut self, path: PathBuf, position: Option<u64>, what: String) {
        self.findings.push(Finding { weight: Weight::Note, path, position, what, then: String::new() });
    }
}

/// The bytes that [`inspect`] will tell of: the journal's files and the segments.
///
/// # Errors
/// As the operating system says.
pub fn readable_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if parse_journal_name(&name).is_some() {
            bytes += entry.metadata()?.len();
        } else if parse_partition_dir(&name).is_some() && entry.metadata()?.is_dir() {
            for file in std::fs::read_dir(entry.path())? {
                let file = file?;
                let name = file.file_name().into_string().unwrap_or_default();
                let is_segment = parse_segment_name(&name).is_some();
                bytes += if is_segment { file.metadata()?.len() } else { 0 };
            }
        }
    }
    Ok(bytes)
}

/// Reads the whole folder; hold a [`lock`] meanwhile. Takes memory for one journal file and the metadata. Tells `done` of the
/// bytes that were read since it told before.
///
/// # Errors
/// The operating system refuses something, or there is no folder of a node. Damage is no error but a finding.
pub async fn inspect<D: Disk>(disk: &D, dir: &Path, done: Done<'_>) -> Result<Inspection, StoreError> {
    let entries = disk.list(Lane::Background, dir).await;
    let entries = entries.map_err(StoreError::disk("cannot list", dir))?;
    let mut found = Inspection::default();
    let files: BTreeMap<u64, u64> =
        entries.iter().filter_map(|entry| Some((parse_journal_name(&entry.name)?, entry.bytes))).collect();
    let has_partitions = entries.iter().any(|entry| parse_partition_dir(&entry.name).is_some());
    read_identity(disk, dir, &mut found)?;
    if files.is_empty() {
        if has_partitions || entries.iter().any(|entry| entry.name == SNAPSHOT) {
            let what = "the folder holds data but no journal files".to_owned();
            found.damage(dir.to_owned(), None, what, FOLDER_LOST);
        } else if found.identity.is_none() && found.is_whole() {
            return Err(StoreError::Journal(format!(
                "{}: holds nothing of a node; name the folder of log.dirs",
                dir.display()
            )));
        }
        return Ok(found);
    }
    let (snapshot, table) = match read_snapshot(disk, dir) {
        Ok(read) => read,
        Err(StoreError::BadSnapshot { path, what }) => {
            found.damage(path, None, what, FOLDER_LOST);
            (None, TakenTable::default())
        }
        Err(error) => return Err(error),
    };
    found.snapshot = snapshot.as_ref().map(|snapshot| snapshot.through);
    let snapshot_is_whole = found.is_whole();

    let mut source = Source::new(disk, dir, &files);
    let Some(scans) = scan_all(&mut source, dir, done, &mut found)? else { return Ok(found) };
    if !snapshot_is_whole {
        // Without it nothing says what the journal begins with.
        return Ok(found);
    }
    let plan = plan(&scans, found.snapshot.unwrap_or(Lsn::ZERO));
    judge_journal(&plan, &scans, dir, &mut found);
    judge_entries(&mut source, &plan, &scans, dir, &mut found)?;
    let mut logs = Logs { replay: Replay::new(table), behind: BTreeMap::new() };
    let mut visit = |_: u64, _: u64, located: &Located| logs.visit::<D::File>(located);
    match replay(&mut source, &plan, snapshot, &mut visit) {
        Ok(recovered) => judge_logs((disk, dir, done), logs, &recovered, &mut found).await?,
        Err(error) => found.damage(dir.to_owned(), None, error.to_string(), FOLDER_LOST),
    }
    Ok(found)
}

fn read_identity<D: Disk>(disk: &D, dir: &Path, found: &mut Inspection) -> Result<(), StoreError> {
    let path = dir.join(META);
    let mut text = Vec::new();
    match disk.read_now(&path, &mut text) {
        Ok(()) => match parse_meta(&path, &text) {
            Ok(identity) => found.identity = Some(identity),
            Err(StoreError::BadMeta { path, what }) => {
                found.damage(path, None, what.to_owned(), "restore the file from a copy");
            }
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if exists(&dir.join(SNAPSHOT)) {
                found.damage(path, None, "it is not there".to_owned(), "restore the file from a copy");
            }
        }
        Err(error) => return Err(StoreError::disk("cannot read", path)(error)),
    }
    Ok(())
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

/// Reads the structure of all files and checks their record bytes. `None`: one is of another release.
fn scan_all<D: Disk>(
    source: &mut Source<'_, D>,
    dir: &Path,
    done: Done<'_>,
    found: &mut Inspection,
) -> Result<Option<Vec<FileScan>>, StoreError> {
    let mut scans = Vec::new();
    for seq in source.files() {
        let path = journal_path(dir, seq);
        let scan = source.with_file(seq, |file| {
            let mut scan = scan_file(seq, file)?;
            scan.verify(file);
            done(file.len() as u64);
            Ok((scan, bad_header_copies(file)))
        })?;
        let (scan, bad_headers) = match scan {
            Ok(scan) => scan,
            Err(error) => {
                let error: seedlog_core::journal::format::FormatError = error;
                found.damage(path, None, error.to_string(), "use the release that wrote it");
                return Ok(None);
            }
        };
        if scan.header.is_some() {
            for position in bad_headers {
                let what = "one of the two copies of the file's header cannot be read".to_owned();
                found.note(path.clone(), Some(position), what);
            }
        }
        let firsts = scan.groups.iter().map(|group| group.prefix.first_lsn);
        let lasts = scan.groups.iter().filter(|group| group.prefix.entries > 0).map(|g| g.prefix.last_lsn());
        found.journal.push(JournalSeen {
            path,
            groups: scan.groups.len(),
            entries: scan.groups.iter().map(|group| u64::from(group.prefix.entries)).sum(),
            lsns: firsts.min().zip(lasts.max()),
        });
        scans.push(scan);
    }
    Ok(Some(scans))
}

fn bad_header_copies(file: &[u8]) -> Vec<u64> {
    let copies = [0, BLOCK_BYTES].into_iter().filter(|&at| {
        let copy = file.get(at..at + BLOCK_BYTES);
        copy.is_none_or(|copy| FileHeader::decode(copy).is_err())
    });
    copies.map(|at| at as u64).collect()
}

/// Groups that are lost, and where.
fn judge_journal(plan: &Plan, scans: &[FileScan], dir: &Path, found: &mut Inspection) {
    found.end = plan.end;
    found.clean = plan.clean;
    for hole in &plan.damage {
        let (seq, position) = place_of(hole, plan, scans);
        let what = format!("entries {} to {} of the journal are lost", hole.first, hole.last);
        found.damage(journal_path(dir, seq), Some(position), what, RECORDS_LOST);
    }
    if plan.cut {
        let last = plan.groups.last();
        let seq = last.map_or_else(|| scans.last().map_or(0, |scan| scan.seq), |group| group.seq);
        let position = last.map(|group| group.position + group.prefix.padded_bytes() as u64);
        let what = format!("a write behind entry {} was torn by a crash; a start cuts it off", plan.end);
        found.note(journal_path(dir, seq), position, what);
    }
}

/// Where a hole begins: behind the group before it, or in front of the one after it if that is not the first of its file.
fn place_of(hole: &LsnRange, plan: &Plan, scans: &[FileScan]) -> (u64, u64) {
    let header = FILE_HEADER_BYTES as u64;
    let before = plan.groups.iter().rev().find(|group| group.prefix.last_lsn() < hole.first);
    let after = plan.groups.iter().find(|group| group.prefix.first_lsn > hole.last);
    match (before, after) {
        (Some(before), Some(after)) if before.seq != after.seq && after.position > header => {
            (after.seq, header)
        }
        (Some(before), _) => (before.seq, before.position + before.prefix.padded_bytes() as u64),
        (None, Some(after)) => (after.seq, header),
        (None, None) => (scans.first().map_or(0, |scan| scan.seq), header),
    }
}

/// Batches in the journal that are not what was written.
fn judge_entries<D: Disk>(
    source: &mut Source<'_, D>,
    plan: &Plan,
    scans: &[FileScan],
    dir: &Path,
    found: &mut Inspection,
) -> Result<(), StoreError> {
    let through = found.snapshot.unwrap_or(Lsn::ZERO);
    for scan in scans.iter().filter(|scan| scan.groups.iter().any(|group| !group.damaged.is_empty())) {
        let places = source.with_file(scan.seq, |file| damaged_entries(scan, file))?;
        for (position, lsn, place) in places {
            let path = journal_path(dir, scan.seq);
            let what = format!("entry {lsn}: the batch of {place} is not what was written");
            if lsn <= through {
                found.note(path, Some(position), format!("{what}; the snapshot is past it"));
            } else if lsn <= plan.end {
                found.damage(path, Some(position), what, RECORDS_LOST);
            } else {
                found.note(path, Some(position), format!("{what}; nobody was told that it was"));
            }
        }
    }
    Ok(())
}

fn damaged_entries(scan: &FileScan, file: &[u8]) -> Vec<(u64, Lsn, String)> {
    let mut places = Vec::new();
    for group in scan.groups.iter().filter(|group| !group.damaged.is_empty()) {
        let bytes = usize::try_from(group.position).ok().and_then(|at| file.get(at..)).unwrap_or(&[]);
        for located in group.prefix.entries(bytes).unwrap_or_default() {
            if let Entry::Append(append) = &located.entry
                && group.damaged.contains(&located.lsn)
            {
                let place = format!("{} at offset {}", append.partition, append.base_offset);
                places.push((group.position + u64::from(located.payload_at), located.lsn, place));
            }
        }
    }
    places
}

/// The logs as the journal leaves them.
struct Logs {
    replay: Replay,
    /// Batches that no segment has: where each ends, and its size.
    behind: BTreeMap<TopicPartition, Vec<(Offset, u32)>>,
}

impl Logs {
    /// As a node's index does when it starts.
    fn visit<F>(&mut self, located: &Located) {
        self.replay.visit(located, &mut Index::<F>::new());
        if let Some((partition, to)) = cut_of(&located.entry)
            && let Some(behind) = self.behind.get_mut(&partition)
        {
            behind.retain(|&(next, _)| next <= to);
        }
        if let Entry::Compacted { partition, compaction } = &located.entry
            && let Some(behind) = self.behind.get_mut(partition)
        {
            behind.retain(|&(next, _)| next > compaction.to);
        }
        if let Entry::Dropping { topic_id, .. } = &located.entry {
            self.behind.retain(|partition, _| partition.topic_id != *topic_id);
        }
        let Entry::Append(append) = &located.entry else { return };
        if append.next_offset() > self.replay.end_of(append.partition) {
            let behind = self.behind.entry(append.partition).or_default();
            behind.push((append.next_offset(), append.batch_bytes));
        }
    }
}

async fn judge_logs<D: Disk>(
    (disk, dir, done): (&D, &Path, Done<'_>),
    logs: Logs,
    recovered: &Recovered,
    found: &mut Inspection,
) -> Result<(), StoreError> {
    let Logs { replay: Replay { mut table, mut cuts, .. }, behind } = logs;
    table.retain(|partition, _| recovered.partitions.contains_key(partition));
    for (&partition, held) in &recovered.partitions {
        cuts.set_start(partition, held.log.start(), &mut table);
    }
    if let Err(error) = check_segments(&table, recovered) {
        found.damage(dir.to_owned(), None, error.to_string(), FOLDER_LOST);
    }
    for (partition, lost) in lost_offsets(recovered) {
        let to = lost.to.map_or_else(|| "its end".to_owned(), |to| to.to_string());
        let what = format!("{partition}: records from offset {} to {to} are lost", lost.from);
        found.damage(partition_dir(dir, partition), None, what, RECORDS_LOST);
    }
    for (&partition, held) in &recovered.partitions {
        let segments = table.get(&partition).map_or(&[][..], Vec::as_slice);
        let mut segment_batches = 0;
        for segment in segments {
            match segments::check((disk, dir, done), partition, segment).await {
                Ok(batches) => segment_batches += batches,
                Err(segments::Unsound { path, position, what }) => {
                    found.damage(path, Some(position), what, RECORDS_LOST);
                }
            }
        }
        let behind = behind.get(&partition).map_or(&[][..], Vec::as_slice);
        found.partitions.push(PartitionSeen {
            partition,
            topic: recovered.topic_name(partition.topic_id),
            start: held.log.start(),
            end: held.log.end(),
            segments: segments.len(),
            segment_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segment_batches,
            journal_batches: behind.len() as u64,
            journal_bytes: behind.iter().map(|&(_, bytes)| u64::from(bytes)).sum(),
        });
    }
    Ok(())
}

/// What the system says of a file, as damage of that file.
fn unreadable(path: &Path, position: u64, error: &io::Error) -> segments::Unsound {
    let what = if error.kind() == ErrorKind::NotFound {
        "the file is not there".to_owned()
    } else if error.kind() == ErrorKind::UnexpectedEof {
        "the file ends too early".to_owned()
    } else {
        format!("cannot be read: {error}")
    };
    segments::Unsound { path: path.to_owned(), position, what }
}
