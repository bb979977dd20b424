//! `seedlog log`: the folder of a node that does not run. Nothing is ever written or repaired here.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use seedlog_core::ids::TopicPartition;
use serde::Serialize;

use super::dump::{self, DumpArgs};
use super::output::{CliError, CliResult, Output, progress};
use super::topic::table;
use crate::store::inspect::{self, Finding, Inspection, PartitionSeen, ReadLock, Weight};
use crate::store::{RealDisk, RealDiskOptions, StoreError};

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print the entries of the journal, or the batches of a partition's segments.
    Dump(DumpArgs),
    /// Check every checksum in a folder and tell what each partition has. Ends with code 1 if something is damaged.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The folder of log.dirs
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Verified {
    /// Nothing is damaged.
    whole: bool,
    node_id: Option<i32>,
    /// The last entry of the journal that the snapshot holds; `null` without a snapshot.
    snapshot_entry: Option<u64>,
    /// The last entry that a start would accept.
    last_entry: u64,
    stopped_in_order: bool,
    journal: Vec<JournalFile>,
    partitions: Vec<Partition>,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct JournalFile {
    file: String,
    groups: usize,
    entries: u64,
    first_entry: Option<u64>,
    last_entry: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Partition {
    /// `null` where the folder's metadata does not name it.
    topic: Option<String>,
    partition: i32,
    /// The partition's folder, if it has segments.
    folder: String,
    start_offset: i64,
    end_offset: i64,
    segments: usize,
    segment_bytes: u64,
    segment_batches: u64,
    journal_batches: u64,
    journal_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    /// `damage`, or `note` for what a node deals with by itself.
    finding: &'static str,
    file: String,
    /// Where in the file, in bytes.
    position: Option<u64>,
    what: String,
    then: Option<String>,
}

/// Does what `seedlog log ...` says.
pub(super) async fn run(command: &LogCommand, output: &mut Output) -> CliResult {
    match command {
        LogCommand::Dump(args) => dump::run(args, output),
        LogCommand::Verify(args) => verify(args, output).await,
    }
}

/// Keeps nodes away while their files are read.
pub(super) fn lock(folder: &Path) -> CliResult<ReadLock> {
    inspect::lock(folder).map_err(|error| {
        if let StoreError::InUse(folder) = &error {
            let folder = folder.display();
            return CliError::Failed(format!(
                "{folder} is in use by a running node: stop the node first, or look at a copy of the folder"
            ));
        }
        failed(&error)
    })
}

fn failed(error: &StoreError) -> CliError {
    CliError::Failed(error.to_string())
}

async fn verify(args: &VerifyArgs, output: &mut Output) -> CliResult {
    let folder = &args.folder;
    if !folder.is_dir() {
        return Err(CliError::Failed(format!(
            "{}: there is no such folder; name the folder of log.dirs",
            folder.display()
        )));
    }
    let _lock = lock(folder)?;
    let options = RealDiskOptions { direct: false, ..RealDiskOptions::default() };
    let disk = RealDisk::new(options).map_err(|error| CliError::io("the disk's threads", error))?;
    let bytes = inspect::readable_bytes(folder).map_err(|error| CliError::io(folder.display(), error))?;
    let bar = progress(bytes, "{bytes} of {total_bytes} read");
    let found = inspect::inspect(&disk, folder, &|bytes| bar.inc(bytes)).await;
    bar.finish_and_clear();
    let found = found.map_err(|error| failed(&error))?;
    let verified = Verified::of(&found);
    if args.json {
        output.json(&verified)?;
    } else {
        verified.print(output)?;
    }
    let damaged = verified.findings.iter().filter(|found| found.finding == "damage").count();
    match damaged {
        0 => Ok(()),
        1 => Err(CliError::Failed("1 thing is damaged: see above where it is and what to do".to_owned())),
        many => Err(CliError::Failed(format!(
            "{many} things are damaged: see above where they are and what to do"
        ))),
    }
}

impl Verified {
    fn of(found: &Inspection) -> Self {
        let file =
            |path: &Path| path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let journal = found.journal.iter().map(|seen| JournalFile {
            file: file(&seen.path),
            groups: seen.groups,
            entries: seen.entries,
            first_entry: seen.lsns.map(|(first, _)| first.0),
            last_entry: seen.lsns.map(|(_, last)| last.0),
        });
        let mut partitions: Vec<Partition> = found.partitions.iter().map(Partition::of).collect();
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Self {
            whole: found.is_whole(),
            node_id: found.identity.map(|identity| identity.node_id.0),
            snapshot_entry: found.snapshot.map(|lsn| lsn.0),
            last_entry: found.end.0,
            stopped_in_order: found.clean,
            journal: journal.collect(),
            partitions,
            findings: found.findings.iter().map(Found::of).collect(),
        }
    }

    fn print(&self, output: &mut Output) -> CliResult {
        let node = self.node_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let stopped = if self.stopped_in_order { "stopped in order" } else { "did not stop in order" };
        let snapshot =
            self.snapshot_entry.map_or_else(|| "none".to_owned(), |lsn| format!("through entry {lsn}"));
        output
            .line(&format!("node {node}  {stopped}  snapshot {snapshot}  last entry {}", self.last_entry))?;
        let mut rows = table(["JOURNAL FILE", "GROUPS", "ENTRIES", "FIRST", "LAST"]);
        let or_none = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
        for file in &self.journal {
            let (groups, entries) = (file.groups.to_string(), file.entries.to_string());
            rows.add_row([
                file.file.clone(),
                groups,
                entries,
                or_none(file.first_entry),
                or_none(file.last_entry),
            ]);
        }
        output.line(&rows.trim_fmt())?;
        if !self.partitions.is_empty() {
            let columns = [
                "TOPIC",
                "PARTITION",
                "START",
                "END",
                "SEGMENTS",
                "BYTES",
                "BATCHES",
                "IN JOURNAL",
                "FOLDER",
            ];
            let mut rows = table(columns);
            for it in &self.partitions {
                rows.add_row([
                    it.topic.clone().unwrap_or_else(|| "unknown".to_owned()),
                    it.partition.to_string(),
                    it.start_offset.to_string(),
                    it.end_offset.to_string(),
                    it.segments.to_string(),
                    it.segment_bytes.to_string(),
                    it.segment_batches.to_string(),
                    it.journal_batches.to_string(),
                    it.folder.clone(),
                ]);
            }
            output.line(&rows.trim_fmt())?;
        }
        for found in &self.findings {
            let place = found.position.map_or_else(String::new, |at| format!(" at byte {at}"));
            output.line(&format!("{}  {}{place}: {}", found.finding, found.file, found.what))?;
            if let Some(then) = &found.then {
                output.line(&format!("        next: {then}"))?;
            }
        }
        if self.whole { output.line("every checksum is right") } else { Ok(()) }
    }
}

impl Partition {
    fn of(seen: &PartitionSeen) -> Self {
        let TopicPartition { partition, .. } = seen.partition;
        Self {
            topic: seen.topic.clone(),
            partition: partition.0,
            folder: seen.partition.to_string(),
            start_offset: seen.start.0,
            end_offset: seen.end.0,
            segments: seen.segments,
            segment_bytes: seen.segment_bytes,
            segment_batches: seen.segment_batches,
            journal_batches: seen.journal_batches,
            journal_bytes: seen.journal_bytes,
        }
    }
}

impl Found {
    fn of(finding: &Finding) -> Self {
        Self {
            finding: match finding.weight {
                Weight::Damage => "damage",
                Weight::Note => "note",
            },
            file: finding.path.display().to_string(),
            position: finding.position,
            what: finding.what.clone(),
            then: Some(finding.then.clone()).filter(|then| !then.is_empty()),
        }
    }
}
