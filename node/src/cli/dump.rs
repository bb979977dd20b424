//! `seedlog log dump`: the entries of a journal and the batches of segments, one line each. One journal file, or one batch
//! of a segment, is in memory at a time.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use seedlog_core::cluster::records::MetadataRecord;
use seedlog_core::journal::entry::Located;
use seedlog_core::journal::scan::payload_is_intact;
use seedlog_core::journal::{AppendEntry, Entry, scan_file};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader};
use serde::Serialize;

use super::batch::{JsonBatch, each_record};
use super::json::JsonRecordBody;
use super::log::lock;
use super::output::{CliError, CliResult, Output};
use crate::store::inspect::Held;

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// The folder of log.dirs for its journal, a partition's folder in it, a journal file, or a segment
    #[arg(value_name = "FOLDER|FILE")]
    path: PathBuf,
    /// Begin with this entry of the journal, or with the batch of this offset
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Stop after so many entries or batches; the last line says where to go on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Also print the records
    #[arg(long)]
    records: bool,
    /// Print a line of JSON for each entry or batch
    #[arg(long)]
    json: bool,
}

/// Does what `seedlog log dump ...` says.
pub(super) fn run(args: &DumpArgs, output: &mut Output) -> CliResult {
    let path = &args.path;
    let held = Held::of(path).map_err(|error| CliError::io(path.display(), error))?;
    let Some(held) = held else {
        return Err(CliError::Failed(format!(
            "{}: is neither a folder of a node nor one of its files; name the folder of log.dirs, a partition's folder, \
             journal-<number>.log or <offset>.log",
            path.display()
        )));
    };
    let _lock = lock(&held.home(path))?;
    let mut dump = Dump { args, output, left: args.max.unwrap_or(u64::MAX) };
    let outcome = match &held {
        Held::Folder(files) => dump.all(files, Dump::journal),
        Held::Partition(files) => dump.all(files, Dump::segment),
        Held::Journal => dump.journal(path),
        Held::Segment => dump.segment(path),
    };
    outcome.and_then(|()| output.flush())
}

struct Dump<'a> {
    args: &'a DumpArgs,
    output: &'a mut Output,
    /// Lines that may still be printed.
    left: u64,
}

/// An entry of the journal.
#[derive(Debug, Serialize)]
struct EntryLine<'a> {
    file: &'a str,
    /// Where its group begins, in bytes.
    position: u64,
    lsn: u64,
    #[serde(flatten)]
    details: Details,
}

/// A record of the batch in the line before.
#[derive(Debug, Serialize)]
struct RecordLine<'a> {
    record: JsonRecordBody<'a>,
}

/// A batch of a segment.
#[derive(Debug, Serialize)]
struct BatchLine<'a> {
    file: &'a str,
    /// Where it begins, in bytes.
    position: u64,
    #[serde(flatten)]
    batch: JsonBatch,
}

/// What an entry says.
#[derive(Debug, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Details {
    Append {
        partition: String,
        base_offset: i64,
        next_offset: i64,
        epoch: i32,
        append_time: i64,
        opens_segment: bool,
        /// The batch is what was written.
        is_intact: bool,
        /// `null` where no header can be read.
        batch: Option<JsonBatch>,
    },
    EpochStart {
        partition: String,
        epoch: i32,
        start: i64,
    },
    Metadata {
        offset: i64,
        epoch: i32,
        records: Vec<String>,
    },
    ProducersExpired {
        partition: String,
        producers: Vec<i64>,
    },
    Dropped {
        topic_id: String,
    },
    Started {
        boot: u64,
        is_doubtful: bool,
    },
    Stopped,
    Founded {
        cluster_id: String,
        voters: Vec<i32>,
    },
    Vote {
        epoch: i32,
        candidate: Option<i32>,
    },
    MetadataCut {
        to: i64,
    },
    MetadataImage {
        end: i64,
        epoch: i32,
        from: u64,
        total: u64,
        bytes: usize,
    },
    Cut {
        partition: String,
        to: i64,
    },
    Reset {
        partition: String,
        start: i64,
        tombstones_gone_to: i64,
    },
    Dropping {
        topic_id: String,
        partitions: i32,
    },
    Trusted {
        partition: String,
    },
    Damaged {
        partition: String,
        from: i64,
    },
    LogStart {
        partition: String,
        start: i64,
    },
    Compacted {
        partition: String,
        from: i64,
        to: i64,
        cleaned_to: i64,
        tombstones_gone_to: i64,
        segments: usize,
        bytes: u64,
    },
}

impl Details {
    fn of(located: &Located, group: &[u8]) -> Self {
        let text = ToString::to_string;
        match &located.entry {
            Entry::Append(append) => Self::append(append, located, group),
            Entry::EpochStart { partition, epoch, start } => {
                Self::EpochStart { partition: partition.to_string(), epoch: epoch.0, start: start.0 }
            }
            Entry::Metadata { offset, epoch, records } => Self::Metadata {
                offset: offset.0,
                epoch: epoch.0,
                records: match MetadataRecord::decode(records) {
                    Ok(records) => records.iter().map(|record| format!("{record:?}")).collect(),
                    Err(why) => vec![why.to_owned()],
                },
            },
            Entry::ProducersExpired { partition, producers } => Self::ProducersExpired {
                partition: partition.to_string(),
                producers: producers.iter().map(|producer| producer.0).collect(),
            },
            Entry::Dropped { topic_id } => Self::Dropped { topic_id: topic_id.to_string() },
            Entry::Started { boot, is_doubtful } => Self::Started { boot: *boot, is_doubtful: *is_doubtful },
            Entry::Stopped => Self::Stopped,
            Entry::Founded { cluster_id, voters } => Self::Founded {
                cluster_id: cluster_id.to_string(),
                voters: voters.iter().map(|voter| voter.node_id.0).collect(),
            },
            Entry::Vote { epoch, candidate } => {
                Self::Vote { epoch: epoch.0, candidate: candidate.map(|node| node.0) }
            }
            Entry::MetadataCut { to } => Self::MetadataCut { to: to.0 },
            Entry::MetadataImage { end, epoch, from, total, bytes } => Self::MetadataImage {
                end: end.0,
                epoch: epoch.0,
                from: *from,
                total: *total,
                bytes: bytes.len(),
            },
            Entry::Cut { partition, to } => Self::Cut { partition: partition.to_string(), to: to.0 },
            Entry::Reset { partition, start, producers: _, tombstones_gone_to } => Self::Reset {
                partition: partition.to_string(),
                start: start.0,
                tombstones_gone_to: tombstones_gone_to.0,
            },
            Entry::Dropping { topic_id, partitions } => {
                Self::Dropping { topic_id: topic_id.to_string(), partitions: *partitions }
            }
            Entry::Trusted { partition } => Self::Trusted { partition: text(partition) },
            Entry::Damaged { partition, from } => Self::Damaged { partition: text(partition), from: from.0 },
            Entry::LogStart { partition, start } => {
                Self::LogStart { partition: text(partition), start: start.0 }
            }
            Entry::Compacted { partition, compaction } => Self::Compacted {
                partition: text(partition),
                from: compaction.from.0,
                to: compaction.to.0,
                cleaned_to: compaction.cleaned_to.0,
                tombstones_gone_to: compaction.tombstones_gone_to.0,
                segments: compaction.segments.len(),
                bytes: compaction.segments.iter().map(|segment| segment.bytes).sum(),
            },
        }
    }

    fn append(append: &AppendEntry, located: &Located, group: &[u8]) -> Self {
        let batch = batch_of(located, group);
        let header = batch.and_then(|batch| BatchHeader::parse(batch).ok());
        Self::Append {
            partition: append.partition.to_string(),
            base_offset: append.base_offset.0,
            next_offset: append.next_offset().0,
            epoch: append.epoch.0,
            append_time: append.append_time.0,
            opens_segment: append.roll,
            is_intact: payload_is_intact(located, group),
            batch: header.zip(batch).map(|(header, batch)| JsonBatch::of(&header, batch)),
        }
    }

    /// On one line.
    fn text(&self) -> String {
        if let Self::Append { partition, base_offset, next_offset, is_intact, batch, opens_segment, .. } =
            self
        {
            let batch = batch.as_ref().map_or_else(
                || format!("offsets {base_offset}-{}  without a header", next_offset - 1),
                JsonBatch::text,
            );
            let damaged = if *is_intact { "" } else { "  DAMAGED" };
            let opens = if *opens_segment { "  opens a segment" } else { "" };
            return format!("append  {partition}  {batch}{opens}{damaged}");
        }
        // Names and values as in JSON: one list of them is enough.
        let value = serde_json::to_value(self).unwrap_or_default();
        let mut text = value["entry"].as_str().unwrap_or_default().to_owned();
        for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| *name != "entry") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("  {name} {value}"));
        }
        text
    }
}

fn batch_of<'a>(located: &Located, group: &'a [u8]) -> Option<&'a [u8]> {
    let start = located.payload_at as usize;
    let bytes = located.entry.payload_bytes() as usize;
    (bytes > 0).then(|| group.get(start..start + bytes)).flatten()
}

impl Dump<'_> {
    fn all(&mut self, files: &[PathBuf], each: fn(&mut Self, &Path) -> CliResult) -> CliResult {
        for file in files {
            if self.left == 0 {
                break;
            }
            each(self, file)?;
        }
        Ok(())
    }

    /// Takes a line, or says where to go on; `false` when there is enough.
    fn takes(&mut self, next: u64) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        self.output.notice(&format_args!("there is more: go on with --from {next}"));
        false
    }

    fn journal(&mut self, path: &Path) -> CliResult {
        let content = fs::read(path).map_err(|error| CliError::io(path.display(), error))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let seq = name.trim_start_matches("journal-").trim_end_matches(".log").parse().unwrap_or(0);
        let scan = scan_file(seq, &content)
            .map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
        for group in &scan.groups {
            let start = usize::try_from(group.position).unwrap_or(usize::MAX);
            let bytes = content.get(start..).unwrap_or(&[]);
            let entries = group.prefix.entries(bytes).unwrap_or_default();
            for located in entries.iter().filter(|located| located.lsn.0 >= self.args.from) {
                if !self.takes(located.lsn.0) {
                    return Ok(());
                }
                self.entry(&name, group.position, located, bytes)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, file: &str, position: u64, located: &Located, group: &[u8]) -> CliResult {
        let details = Details::of(located, group);
        if self.args.json {
            let line = EntryLine { file, position, lsn: located.lsn.0, details };
            self.output.json_unflushed(&line)?;
        } else {
            self.output.unflushed(&format!("{}  at {position}  {}", located.lsn, details.text()))?;
        }
        batch_of(located, group).map_or(Ok(()), |batch| self.records(batch))
    }

    fn segment(&mut self, path: &Path) -> CliResult {
        let failed = |error| CliError::io(path.display(), error);
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(file);
        let mut position = 0;
        while position < length {
            let batch = next_batch(&mut file, length - position).map_err(failed)?;
            let (header, batch) = batch.map_err(|why| {
                CliError::Failed(format!(
                    "{} at byte {position}: {why}; what follows may be left over from a crash: `seedlog log verify` on the \
                     folder says",
                    path.display()
                ))
            })?;
            if header.next_offset().0.cast_unsigned() > self.args.from {
                if !self.takes(header.base_offset.0.cast_unsigned()) {
                    return Ok(());
                }
                let line = BatchLine { file: &name, position, batch: JsonBatch::of(&header, &batch) };
                if self.args.json {
                    self.output.json_unflushed(&line)?;
                } else {
                    self.output.unflushed(&format!("at {position}  {}", line.batch.text()))?;
                }
                self.records(&batch)?;
            }
            position += batch.len() as u64;
        }
        Ok(())
    }

    /// The records of a batch, if they are wanted.
    fn records(&mut self, batch: &[u8]) -> CliResult {
        if !self.args.records {
            return Ok(());
        }
        let Ok(header) = BatchHeader::parse(batch) else { return Ok(()) };
        let (json, output) = (self.args.json, &mut *self.output);
        let read = each_record(&header, batch, |record| {
            if json {
                output.json_unflushed(&RecordLine { record })
            } else {
                output.unflushed(&format!("    {}", record.text()))
            }
        })?;
        if let Err(why) = read {
            self.output.notice(&format_args!("the batch at offset {}: {why}", header.base_offset));
        }
        Ok(())
    }
}

/// Reads a whole batch, or says why there is none. `left` bytes are left in the file.
fn next_batch(file: &mut impl Read, left: u64) -> std::io::Result<Result<(BatchHeader, Vec<u8>), String>> {
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    match file.read_exact(&mut batch) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Ok(Err("the file ends within a batch".to_owned()));
        }
        read => read?,
    }
    let header = match BatchHeader::parse(&batch) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // The length is the file's word: no more memory is taken than the file has bytes.
    if u64::from(header.batch_bytes) > left {
        return Ok(Err("the file ends within a batch".to_owned()));
    }
    batch.resize(header.batch_bytes as usize, 0);
    file.read_exact(&mut batch[BATCH_HEADER_BYTES..])?;
    Ok(Ok((header, batch)))
}
