//! What the store is told when it is opened.

use seedlog_core::config::FlushMode;
use seedlog_core::ids::{NodeId, Uuid};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the store. Every queue, cache and file has its limit here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// The data folder: `log.dirs`.
    pub log_dir: PathBuf,
    /// `node.id`.
    pub node_id: NodeId,
    /// The incarnation that a new folder gets; freshly drawn.
    pub fresh_incarnation: Uuid,
    /// When an append counts as durable (SAFETY J6).
    pub flush: FlushMode,
    /// `flush.interval.ms`, in the mode of that name.
    pub flush_interval: Duration,
    /// `journal.file.bytes`.
    pub journal_file_bytes: u64,
    /// The journal's greatest size: beyond it the store is full until a snapshot releases files.
    pub journal_bytes_max: u64,
    /// Released journal files that are kept to be used again.
    pub journal_spare_files_max: usize,
    /// Memory of group buffers that are kept for readers.
    pub tail_cache_bytes: usize,
    /// Memory of pieces of segments that were read and are kept for the next reader, or read ahead.
    pub cold_cache_bytes: usize,
    /// Memory of the index of batches: beyond it the store is full.
    pub index_bytes_max: usize,
    /// Bytes of groups that may wait to be written: beyond it the store is full.
    pub queued_bytes_max: usize,
    /// Batches go to segments once so many bytes are in the journal only.
    pub write_behind_bytes: u64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// Segments that are kept open for reading.
    pub open_segments_max: usize,
    /// Memory of the table of keys of a cleaning pass.
    pub cleaner_keys_bytes_max: usize,
    /// Bytes that a cleaning pass may read and write in a second.
    pub cleaner_bytes_per_second_max: Option<u64>,
    /// A cleaning pass ends rather than leave less than this on the disk.
    pub free_bytes_min: u64,
    /// Memory that one batch may take when it is decompressed for a look-up or a cleaning pass.
    pub decompressed_bytes_max: usize,
    /// Batches are kept as they came until their group is complete, to be read by followers at once.
    pub reads_ahead: bool,
}

impl StoreOptions {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(log_dir: PathBuf, node_id: NodeId, fresh_incarnation: Uuid) -> Self {
        Self {
            log_dir,
            node_id,
            fresh_incarnation,
            flush: FlushMode::Always,
            flush_interval: Duration::from_millis(1_000),
            journal_file_bytes: 64 << 20,
            journal_bytes_max: 1 << 30,
            journal_spare_files_max: 4,
            tail_cache_bytes: 256 << 20,
            cold_cache_bytes: 32 << 20,
            index_bytes_max: 128 << 20,
            queued_bytes_max: 64 << 20,
            write_behind_bytes: 64 << 20,
            index_interval_bytes: 4096,
            open_segments_max: 256,
            cleaner_keys_bytes_max: 128 << 20,
            cleaner_bytes_per_second_max: None,
            free_bytes_min: 0,
            decompressed_bytes_max: 64 << 20,
            reads_ahead: false,
        }
    }
}

/// Whose folder this is. Which cluster the node belongs to is in the journal, once the cluster is founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node_id: NodeId,
    /// Drawn when the folder was first used: the same node without its disk is another one.
    pub incarnation: Uuid,
}
