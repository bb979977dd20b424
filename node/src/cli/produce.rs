//! `seedlog produce`: lines become records, acknowledgements become lines if asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use seedlog_core::records::Compression;
use serde::Serialize;
use tokio::sync::mpsc;

use super::input::{self, LineFormat};
use super::output::{CliError, CliResult, Output, progress};
use super::remote::{RemoteArgs, key_value};
use crate::client::{Acks, Delivery, Producer, ProducerOptions, ProducerRecord};
use crate::clock::Clock;

#[derive(Debug, Args)]
pub(super) struct ProduceArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic to write to
    #[arg(long)]
    topic: String,
    /// Write to this partition; without it the key decides, as in Kafka's Java client
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Write this one record instead of reading lines; may be repeated
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["file", "key_separator"])]
    value: Vec<String>,
    /// The key of the records of --value
    #[arg(long, value_name = "TEXT", requires = "value")]
    key: Option<String>,
    /// Read lines from this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Cut each line into key and value at the first of these
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Kafka's spelling: parse.key=true, key.separator=TEXT, null.marker=TEXT; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    property: Vec<(String, String)>,
    /// A key or value that reads so is null
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,
    /// Who must have a record before it counts: all in-sync replicas, the leader (1), nobody (0)
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// How to compress batches
    #[arg(long, value_enum, default_value = "none")]
    compression_codec: CodecArg,
    /// Whether the broker drops what it gets twice after an error; on if acks=all
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    idempotent: Option<bool>,
    /// The records' time in milliseconds since 1970; without it the present
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..))]
    timestamp: Option<i64>,
    /// Bytes of a batch before compression
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=0x4000_0000))]
    batch_bytes: u32,
    /// Milliseconds that a batch waits for more records
    #[arg(long, value_name = "N", default_value_t = 5)]
    linger_ms: u64,
    /// Milliseconds until a record that is not acknowledged counts as failed, with all attempts
    #[arg(long, value_name = "MS", default_value_t = 120_000)]
    delivery_timeout_ms: u64,
    /// Print topic-partition@offset of each acknowledged record
    #[arg(long)]
    print_offsets: bool,
    /// Print the same as a JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcksArg {
    #[value(name = "all", alias = "-1")]
    All,
    #[value(name = "1")]
    Leader,
    #[value(name = "0")]
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CodecArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// One acknowledged record in JSON.
#[derive(Serialize)]
struct Written<'a> {
    topic: &'a str,
    partition: i32,
    offset: Option<i64>,
}

/// Does what `seedlog produce ...` says.
pub(super) async fn run(args: &ProduceArgs, output: &mut Output) -> CliResult {
    let format = args.line_format()?;
    let options = args.options()?;
    // Lines about offsets say how far it is.
    let shows_progress = !(args.print_offsets || args.json);
    let bar =
        if shows_progress { progress(0, "{bytes} of {total_bytes} read") } else { ProgressBar::hidden() };
    let mut source = Source::open(args, format, &bar)?;
    let (deliveries, written) = mpsc::channel(1024);
    let producer = Producer::open(args.remote.cluster()?, &args.topic, options, deliveries).await?;

    // Both sides run at once: what is acknowledged is printed while more is read.
    let mut taken = 0_u64;
    let (sent, printed) =
        tokio::join!(send_all(args, producer, &mut source, &mut taken), print_all(args, written, output));
    bar.finish_and_clear();
    let acknowledged = printed?;
    sent.map_err(|error| match error {
        CliError::Client(error) => {
            CliError::Failed(format!("{error} ({acknowledged} of {taken} records acknowledged)"))
        }
        other @ (CliError::Io { .. } | CliError::Failed(_) | CliError::Usage(_) | CliError::Unhealthy(_)) => {
            other
        }
    })
}

async fn send_all(
    args: &ProduceArgs,
    mut producer: Producer,
    source: &mut Source,
    taken: &mut u64,
) -> CliResult {
    let clock = Clock::start();
    let headers: Arc<[(Bytes, Option<Bytes>)]> = args.header.iter().map(header).collect();
    let stopped = loop {
        let next = tokio::select! {
            biased;
            next = source.next() => next,
            failure = producer.failure() => return Err(failure.into()),
        };
        let (key, value) = match next {
            Ok(Some(record)) => record,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        *taken += 1;
        let timestamp = args.timestamp.unwrap_or_else(|| clock.now().wall.0);
        let headers = Arc::clone(&headers);
        producer.send(ProducerRecord { partition: args.partition, timestamp, key, value, headers }).await?;
    };
    producer.finish().await?;
    stopped
}

async fn print_all(
    args: &ProduceArgs,
    mut written: mpsc::Receiver<Delivery>,
    output: &mut Output,
) -> CliResult<i64> {
    let mut acknowledged = 0;
    while let Some(Delivery { partition, base_offset, count }) = written.recv().await {
        acknowledged += i64::from(count);
        for place in 0..i64::from(count) {
            let offset = base_offset.and_then(|base| base.checked_add(place));
            if args.json {
                output.json_unflushed(&Written { topic: &args.topic, partition, offset })?;
            } else if args.print_offsets {
                let offset = offset.map_or_else(|| "unknown".to_owned(), |offset| offset.to_string());
                output.bytes(format!("{}-{partition}@{offset}\n", args.topic).as_bytes())?;
            }
        }
        output.flush()?;
    }
    Ok(acknowledged)
}

fn header((name, value): &(String, String)) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(name.as_bytes()), Some(Bytes::copy_from_slice(value.as_bytes())))
}

type KeyValue = (Option<Bytes>, Option<Bytes>);

/// Where records come from.
enum Source {
    Values { key: Option<Bytes>, values: std::vec::IntoIter<String>, format: LineFormat },
    Lines { lines: mpsc::Receiver<CliResult<Bytes>>, format: LineFormat, line: u64 },
}

impl Source {
    fn open(args: &ProduceArgs, format: LineFormat, bar: &ProgressBar) -> CliResult<Self> {
        if args.value.is_empty() {
            return Ok(Self::Lines { lines: input::lines(args.file.as_deref(), bar)?, format, line: 0 });
        }
        let key = args.key.clone().and_then(|key| format.or_null(Bytes::from(key)));
        Ok(Self::Values { key, values: args.value.clone().into_iter(), format })
    }

    async fn next(&mut self) -> CliResult<Option<KeyValue>> {
        match self {
            Self::Values { key, values, format } => {
                Ok(values.next().map(|value| (key.clone(), format.or_null(Bytes::from(value)))))
            }
            Self::Lines { lines, format, line } => {
                let Some(text) = lines.recv().await.transpose()? else { return Ok(None) };
                *line += 1;
                let missing = || {
                    let separator = format.key_separator.as_deref().unwrap_or_default();
                    CliError::Failed(format!(
                        "line {line} has no key separator {separator:?}: the lines before it were written; correct it and send the rest"
                    ))
                };
                format.split(&text).map(Some).ok_or_else(missing)
            }
        }
    }
}

impl ProduceArgs {
    fn line_format(&self) -> CliResult<LineFormat> {
        let mut format =
            LineFormat { key_separator: self.key_separator.clone(), null_marker: self.null_marker.clone() };
        let (mut parse_key, mut separator) = (false, None);
        for (name, value) in &self.property {
            match (name.as_str(), value.as_str()) {
                ("parse.key", "true") => parse_key = true,
                ("parse.key", "false") => parse_key = false,
                ("key.separator", text) => separator = Some(text.to_owned()),
                ("null.marker", text) => format.null_marker = Some(text.to_owned()),
                (name, value) => {
                    return Err(CliError::Usage(format!(
                        "--property {name}={value}: only parse.key=true|false, key.separator and null.marker are known"
                    )));
                }
            }
        }
        if parse_key {
            format.key_separator.get_or_insert(separator.unwrap_or_else(|| "\t".to_owned()));
        }
        if format.key_separator.as_deref() == Some("") {
            return Err(CliError::Usage(
                "the key separator is empty: give it at least one character".to_owned(),
            ));
        }
        Ok(format)
    }

    fn options(&self) -> CliResult<ProducerOptions> {
        let acks = match self.acks {
            AcksArg::All => Acks::All,
            AcksArg::Leader => Acks::Leader,
            AcksArg::None => Acks::None,
        };
        let idempotent = self.idempotent.unwrap_or(acks == Acks::All);
        if idempotent && acks != Acks::All {
            return Err(CliError::Usage("--idempotent needs --acks all: leave out one of them".to_owned()));
        }
        Ok(ProducerOptions {
            acks,
            codec: match self.compression_codec {
                CodecArg::None => Compression::None,
                CodecArg::Gzip => Compression::Gzip,
                CodecArg::Snappy => Compression::Snappy,
                CodecArg::Lz4 => Compression::Lz4,
                CodecArg::Zstd => Compression::Zstd,
            },
            idempotent,
            batch_bytes: self.batch_bytes as usize,
            linger: Duration::from_millis(self.linger_ms),
            delivery_timeout: Duration::from_millis(self.delivery_timeout_ms),
            ..ProducerOptions::default()
        })
    }
}
