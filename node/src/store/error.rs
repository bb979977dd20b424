//! Why a data folder cannot be used: each a sentence for whoever reads the log.

use crate::advice;
use seedlog_core::ids::{NodeId, Offset, TopicPartition};
use std::io;
use std::path::PathBuf;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refuses something.
    #[error("{what} {path}: {source}{}", advice::of_io(source), path = path.display())]
    Disk {
        /// What was tried: "cannot read", for example.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("the data folder {} is in use by another process; stop it, or give this node a folder of its own", .0.display())]
    InUse(PathBuf),
    /// The folder belongs to another node.
    #[error(
        "the data folder {} belongs to node {found}, but node.id is {expected}; point log.dirs to another folder, or correct \
         node.id", path.display()
    )]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// Its node.
        found: NodeId,
        /// The configured one.
        expected: NodeId,
    },
    /// `meta.properties` was written by a newer release.
    #[error(
        "{} has version {version}, written by a newer release of Seedlog; this release reads version 1: start the newer \
         release", path.display()
    )]
    NewerMeta {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// `meta.properties` cannot be understood.
    #[error("{}: {what}; restore the file from a copy, or move the whole folder away and start the node empty", path.display())]
    BadMeta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is data, but nothing that says whose.
    #[error(
        "the data folder {} holds data but no meta.properties: it is not known whose data this is; restore the file from a \
         copy, or move the folder's content away", .0.display()
    )]
    NoMeta(PathBuf),
    /// There is data, and no journal at all.
    #[error(
        "the data folder {} holds data but no journal files: what was acknowledged last is not there; restore the folder from \
         a copy, or move it away and start the node empty", .0.display()
    )]
    NoJournal(PathBuf),
    /// The snapshot cannot be read.
    #[error("{}: {what}; restore the folder from a copy, or move it away and start the node empty", path.display())]
    BadSnapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The journal cannot be recovered.
    #[error("{0}")]
    Journal(String),
    /// The segments hold more than the journal admits.
    #[error(
        "the segments of {partition} reach offset {segments}, its log ends at {log}: the end of the journal is lost; restore \
         the folder from a copy, or move it away and start the node empty"
    )]
    SegmentsAhead {
        /// The partition.
        partition: TopicPartition,
        /// Where its segments end.
        segments: Offset,
        /// Where its log ends.
        log: Offset,
    },
}

impl StoreError {
    pub(super) fn disk(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { what, path, source }
    }
}
