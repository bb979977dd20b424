//! Opening a data folder: snapshot, journal, the fresh file that recovery itself writes (SAFETY J2), and the index.

use super::buffers::aligned_copy;
use super::cuts::Cuts;
use super::disk::{DirEntry, Disk, Lane, Open, Then};
use super::error::StoreError;
use super::folder::SNAPSHOT;
use super::index::{Home, Index, JournalFile};
use super::journal::{Current, Old, Start, journal_path, parse_journal_name};
use super::options::{Identity, StoreOptions};
use super::replay::{Replay, TakenTable};
use super::segment::{SegmentTable, end_of, parse_partition_dir};
use seedlog_core::cluster::snapshot::Snapshot;
use seedlog_core::ids::{Lsn, Uuid};
use seedlog_core::journal::entry::Located;
use seedlog_core::journal::format::{GroupPlace, rewrite_group, unseal};
use seedlog_core::journal::recovery::{JournalSource, recover};
use seedlog_core::journal::{Entry, FILE_HEADER_BYTES, FileHeader, GroupRef, LsnRange, Plan};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, NO_TIMESTAMP};
use seedlog_core::recovered::{Recovered, replay};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Where folders go that belong to no topic anybody knows (SAFETY Q4).
const SET_ASIDE: &str = "set-aside";
pub(super) const SNAPSHOT_MAGIC: [u8; 8] = *b"SEEDSNAP";

/// The snapshot file: the core's state, and what of it is in segments.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoreSnapshot {
    pub(super) core: Snapshot,
    pub(super) table: TakenTable,
}

/// What opening a folder found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Whose folder it is.
    pub identity: Identity,
    /// It was empty.
    pub first_use: bool,
    /// The broker had stopped in order.
    pub clean: bool,
    /// Something at the journal's end was cut: a torn write, or damage that looks like one (SAFETY J4).
    pub cut: bool,
    /// Lost entries of the journal (SAFETY J5).
    pub damage: Vec<LsnRange>,
    /// Groups that were written again because nothing vouched for them.
    pub rewritten: usize,
    /// Journal files found.
    pub journal_files: usize,
    /// Folders of partitions that nobody knows; moved to `set-aside`.
    pub set_aside: Vec<String>,
}

/// A folder that was read back.
pub(super) struct Opened<F> {
    pub(super) start: Start<F>,
    pub(super) index: Index<F>,
    pub(super) segments: SegmentTable,
    pub(super) cuts: Cuts,
    pub(super) recovered: Recovered,
    pub(super) report: OpenReport,
    /// The last entry that the snapshot holds.
    pub(super) through: Lsn,
}

/// Reads a folder back.
pub(super) async fn open<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    identity: Identity,
    first_use: bool,
    salt: u64,
) -> Result<Opened<D::File>, StoreError> {
    let dir = &options.log_dir;
    let (snapshot, table) = read_snapshot(disk, dir)?;
    let through = snapshot.as_ref().map_or(Lsn::ZERO, |snapshot| snapshot.through);
    let entries = disk.list(Lane::Background, dir).await;
    let entries = entries.map_err(StoreError::disk("cannot list", dir))?;
    let files: BTreeMap<u64, u64> =
        entries.iter().filter_map(|entry| Some((parse_journal_name(&entry.name)?, entry.bytes))).collect();
    // A node that ever wrote anything has a journal file; only one that died in its first start has none.
    let holds_data =
        snapshot.is_some() || entries.iter().any(|entry| parse_partition_dir(&entry.name).is_some());
    if files.is_empty() && holds_data {
        return Err(StoreError::NoJournal(dir.clone()));
    }
    let plan = recover(&mut Source::new(disk, dir, &files), through)
        .map_err(|e| StoreError::Journal(e.to_string()))?;

    let fresh = write_fresh(disk, options, identity, &files, &plan, salt).await?;
    let mut handles = BTreeMap::new();
    for &seq in files.keys() {
        let path = journal_path(dir, seq);
        let file = disk.open(Lane::Background, &path, Open::Direct).await;
        let file = file.map_err(StoreError::disk("cannot open", path))?;
        handles.insert(seq, Arc::new(JournalFile { seq, file }));
    }
    let mut indexer = Indexer::new(&plan, table, &handles, &fresh);
    let recovered = index_journal(disk, options, &files, &plan, snapshot, &mut indexer)?;
    let (mut index, Replay { table: mut segments, mut cuts, .. }) = indexer.finish();
    let is_held = |partition| recovered.partitions.contains_key(&partition);
    index.retain(is_held);
    cuts.retain(is_held);
    segments.retain(|partition, _| is_held(*partition));
    for (&partition, held) in &recovered.partitions {
        cuts.set_start(partition, held.log.start(), &mut segments);
    }
    check_segments(&segments, &recovered)?;
    let set_aside = set_aside(disk, options, &entries, &recovered).await?;

    let report = OpenReport {
        identity,
        first_use,
        clean: plan.clean,
        cut: plan.cut,
        damage: plan.damage.clone(),
        rewritten: plan.rewrite().count(),
        journal_files: files.len(),
        set_aside,
    };
    let old = old_files(&plan, handles, &files, through);
    let quorum = recovered.quorum.chain;
    let start = Start { current: fresh.current, old, end: plan.end, quorum };
    Ok(Opened { start, index, segments, cuts, recovered, report, through })
}

pub(super) fn read_snapshot<D: Disk>(
    disk: &D,
    dir: &Path,
) -> Result<(Option<Snapshot>, TakenTable), StoreError> {
    let path = dir.join(SNAPSHOT);
    let mut bytes = Vec::new();
    match disk.read_now(&path, &mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((None, TakenTable::default()));
        }
        Err(error) => return Err(StoreError::disk("cannot read", path)(error)),
    }
    let snapshot: StoreSnapshot = unseal(SNAPSHOT_MAGIC, &bytes)
        .map_err(|error| StoreError::BadSnapshot { path, what: error.to_string() })?;
    Ok((Some(snapshot.core), snapshot.table))
}

/// Journal files, one in memory at a time.
pub(super) struct Source<'a, D> {
    disk: &'a D,
    dir: &'a Path,
    files: &'a BTreeMap<u64, u64>,
    /// The file read last. Shared, so that a visitor can look into the file that is being replayed.
    content: Rc<RefCell<Rc<Vec<u8>>>>,
    loaded: Option<u64>,
}

impl<'a, D: Disk> Source<'a, D> {
    pub(super) fn new(disk: &'a D, dir: &'a Path, files: &'a BTreeMap<u64, u64>) -> Self {
        Self { disk, dir, files, content: Rc::default(), loaded: None }
    }
}

impl<D: Disk> JournalSource for Source<'_, D> {
    type Error = StoreError;

    fn files(&self) -> Vec<u64> {
        self.files.keys().copied().collect()
    }

    fn with_file<T>(&mut self, seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, StoreError> {
        if self.loaded != Some(seq) {
            self.loaded = None;
            let mut content = std::mem::take(&mut *self.content.borrow_mut());
            let buffer = Rc::make_mut(&mut content);
            let path = journal_path(self.dir, seq);
            self.disk.read_now(&path, buffer).map_err(StoreError::disk("cannot read", path))?;
            *self.content.borrow_mut() = content;
            self.loaded = Some(seq);
        }
        let content = Rc::clone(&self.content.borrow());
        Ok(read(&content))
    }
}

/// The file that recovery begins.
struct Fresh<F> {
    current: Current<F>,
    /// Where groups went that were written again: by old file and position.
    moved: BTreeMap<(u64, u64), u64>,
}

/// Writes what is accepted above the last vouched lsn into a fresh file under a new salt: groups, sync, header, sync. Only
/// then may anything rest on it (SAFETY J2).
async fn write_fresh<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    identity: Identity,
    files: &BTreeMap<u64, u64>,
    plan: &Plan,
    salt: u64,
) -> Result<Fresh<D::File>, StoreError> {
    let path = journal_path(&options.log_dir, plan.next_seq);
    let failed = || StoreError::disk("cannot write", path.clone());
    let file = disk.open(Lane::Journal, &path, Open::Direct).await.map_err(failed())?;
    let mut position = FILE_HEADER_BYTES as u64;
    let mut moved = BTreeMap::new();
    for group in plan.rewrite() {
        let bytes = moved_group(disk, options, files, group, plan.fresh_place(salt, position))?;
        let length = bytes.len() as u64;
        let write = disk.write_at(Lane::Journal, &file, position, vec![aligned_copy(&bytes)], Then::Nothing);
        write.await.map_err(failed())?;
        moved.insert((group.seq, group.position), position);
        position += length;
    }
    disk.sync(Lane::Journal, &file).await.map_err(failed())?;
    let header = FileHeader {
        seq: plan.next_seq,
        salt,
        first_lsn: plan.fresh_first_lsn(),
        // Everything accepted is on disk: the vouched part was, the rest is since the line above.
        durable: plan.end,
        node_id: identity.node_id,
        incarnation: identity.incarnation,
        cut_at: plan.cut_at(),
    };
    let header = vec![aligned_copy(&header.encode())];
    disk.write_at(Lane::Journal, &file, 0, header, Then::Sync).await.map_err(failed())?;
    disk.sync_dir(Lane::Journal, &options.log_dir).await.map_err(failed())?;
    let current = Current {
        file: Arc::new(JournalFile { seq: plan.next_seq, file }),
        salt,
        position,
        zeroed_to: position,
        capacity: options.journal_file_bytes.max(position),
    };
    Ok(Fresh { current, moved })
}

fn moved_group<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    files: &BTreeMap<u64, u64>,
    group: &GroupRef,
    place: GroupPlace,
) -> Result<Vec<u8>, StoreError> {
    let changed = || StoreError::Journal(format!("journal file {} changed while it was read", group.seq));
    let mut source = Source::new(disk, &options.log_dir, files);
    let bytes = source.with_file(group.seq, |file| {
        let start = usize::try_from(group.position).ok()?;
        Some(file.get(start..start.checked_add(group.prefix.padded_bytes())?)?.to_vec())
    })?;
    let mut bytes = bytes.ok_or_else(changed)?;
    rewrite_group(&mut bytes, place).map_err(|_| changed())?;
    Ok(bytes)
}

/// Collects the batches of the journal that are not in segments.
struct Indexer<'a, F> {
    index: Index<F>,
    replay: Replay,
    handles: &'a BTreeMap<u64, Arc<JournalFile<F>>>,
    fresh: &'a Fresh<F>,
    last_lsns: BTreeMap<(u64, u64), Lsn>,
    group: Option<((u64, u64), super::index::GroupNumber)>,
}

impl<'a, F> Indexer<'a, F> {
    fn new(
        plan: &Plan,
        table: TakenTable,
        handles: &'a BTreeMap<u64, Arc<JournalFile<F>>>,
        fresh: &'a Fresh<F>,
    ) -> Self {
        let last_lsns = plan.groups.iter().map(|g| ((g.seq, g.position), g.prefix.last_lsn())).collect();
        Self { index: Index::new(), replay: Replay::new(table), handles, fresh, last_lsns, group: None }
    }

    fn visit(&mut self, place: (u64, u64), located: &Located, file: &[u8]) {
        self.replay.visit(located, &mut self.index);
        let Entry::Append(append) = &located.entry else { return };
        let end = self.replay.end_of(append.partition);
        let indexed = self.index.end(append.partition).unwrap_or(end);
        if append.next_offset() <= end || append.base_offset < indexed {
            return;
        }
        let number = match self.group {
            Some((at, number)) if at == place => number,
            Some(_) | None => {
                self.complete();
                let number = self.index.begin_group();
                self.group = Some((place, number));
                number
            }
        };
        let at = usize::try_from(place.1).unwrap_or(usize::MAX).saturating_add(located.payload_at as usize);
        let header = file.get(at..at.saturating_add(BATCH_HEADER_BYTES)).map(BatchHeader::parse);
        let max_timestamp = header.and_then(Result::ok).map_or(NO_TIMESTAMP, |header| header.max_timestamp);
        self.index.push(number, append, located.payload_at, max_timestamp);
    }

    fn complete(&mut self) {
        let Some(((seq, position), number)) = self.group.take() else { return };
        let last_lsn = self.last_lsns.get(&(seq, position)).copied().unwrap_or(Lsn::ZERO);
        let home = match self.fresh.moved.get(&(seq, position)) {
            Some(&position) => Home { file: Arc::clone(&self.fresh.current.file), position },
            None => {
                let file =
                    self.handles.get(&seq).expect("a group that is visited stands in a file that was found");
                Home { file: Arc::clone(file), position }
            }
        };
        self.index.complete(number, last_lsn, home, None);
    }

    fn finish(mut self) -> (Index<F>, Replay) {
        self.complete();
        (self.index, self.replay)
    }
}

fn index_journal<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    files: &BTreeMap<u64, u64>,
    plan: &Plan,
    snapshot: Option<Snapshot>,
    indexer: &mut Indexer<'_, D::File>,
) -> Result<Recovered, StoreError> {
    let mut source = Source::new(disk, &options.log_dir, files);
    let content = Rc::clone(&source.content);
    let mut visit = |seq: u64, position: u64, located: &Located| {
        let file = Rc::clone(&content.borrow());
        indexer.visit((seq, position), located, &file);
    };
    replay(&mut source, plan, snapshot, &mut visit).map_err(|error| StoreError::Journal(error.to_string()))
}

/// A log ends behind its segments: they take only what a recovery can never cut.
pub(super) fn check_segments(segments: &SegmentTable, recovered: &Recovered) -> Result<(), StoreError> {
    for (&partition, of_partition) in segments {
        let Some(held) = recovered.partitions.get(&partition) else { continue };
        let (end, log) = (end_of(of_partition), held.log.end());
        if end > log && held.damage.is_none() {
            return Err(StoreError::SegmentsAhead { partition, segments: end, log });
        }
    }
    Ok(())
}

/// The files that were found, with what must be in segments before they can go.
fn old_files<F>(
    plan: &Plan,
    handles: BTreeMap<u64, Arc<JournalFile<F>>>,
    files: &BTreeMap<u64, u64>,
    through: Lsn,
) -> VecDeque<Old<F>> {
    // While something is damaged or cut, no file goes before a snapshot has taken note of that.
    let floor = if plan.damage.is_empty() && !plan.cut { through } else { plan.end };
    let old = handles.into_iter().map(|(seq, file)| {
        let held = plan.groups.iter().filter(|group| group.seq == seq).map(|group| group.prefix.last_lsn());
        let last_lsn = held.max().map_or(floor, |last| last.max(floor));
        Old { file, last_lsn, bytes: files.get(&seq).copied().unwrap_or(0) }
    });
    old.collect()
}

/// Moves folders of partitions away that no known topic owns (SAFETY Q4).
async fn set_aside<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    entries: &[DirEntry],
    recovered: &Recovered,
) -> Result<Vec<String>, StoreError> {
    let dir = &options.log_dir;
    // Metadata that is not known to be committed may name the topic as well: the log itself is proof enough (SAFETY Q4).
    let is_known = |topic: Uuid| {
        recovered.quorum.image.topic(topic).is_some()
            || recovered.partitions.keys().any(|partition| partition.topic_id == topic)
    };
    let unknown: Vec<&DirEntry> = entries
        .iter()
        .filter(|entry| entry.is_dir)
        .filter(|entry| {
            parse_partition_dir(&entry.name).is_some_and(|partition| {
                let topic = partition.topic_id;
                !is_known(topic) && !recovered.drops.contains_key(&topic)
            })
        })
        .collect();
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let aside = dir.join(SET_ASIDE);
    let failed = || StoreError::disk("cannot move folders to", aside.clone());
    let lane = Lane::Background;
    disk.create_dir(lane, &aside).await.map_err(failed())?;
    let taken = disk.list(lane, &aside).await.map_err(failed())?;
    let mut moved = Vec::new();
    for entry in unknown {
        let mut name = entry.name.clone();
        let mut number = 1;
        while taken.iter().any(|old| old.name == name) {
            number += 1;
            name = format!("{}.{number}", entry.name);
        }
        disk.rename(lane, &dir.join(&entry.name), &aside.join(&name)).await.map_err(failed())?;
        tracing::warn!("folder {} belongs to no topic; it was moved to {SET_ASIDE}/{name}", entry.name);
        moved.push(entry.name.clone());
    }
    disk.sync_dir(lane, &aside).await.map_err(failed())?;
    disk.sync_dir(lane, dir).await.map_err(failed())?;
    Ok(moved)
}
