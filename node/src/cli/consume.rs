//! `seedlog consume`: finds the starting offsets, then prints records until it has enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use seedlog_core::records::{Record, RecordIter, TimestampType};

use super::json::JsonRecord;
use super::output::{CliError, CliResult, Output};
use super::remote::RemoteArgs;
use crate::client::admin::{self, EARLIEST, LATEST};
use crate::client::{ClientError, Cluster, Consumer, ConsumerOptions, FetchedBatch, TopicView};

/// How often the loop looks at the clock while nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait for a topic that was created a moment ago.
const TOPIC_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that one batch may have after decompression.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ConsumeArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic to read
    #[arg(long)]
    topic: String,
    /// Read this partition; may be repeated; all of them without it
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Start with the first records that are left
    #[arg(long, conflicts_with_all = ["offset", "from_time"])]
    from_beginning: bool,
    /// Start here: a number, earliest, latest, or -N for the last N records of each partition
    #[arg(long, value_name = "OFFSET", value_parser = parse_start, allow_hyphen_values = true, conflicts_with = "from_time")]
    offset: Option<Start>,
    /// Start with the first record of this time: RFC 3339 or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from_time: Option<i64>,
    /// Stop after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_messages: Option<u64>,
    /// Stop when no record came for so many milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: Option<u64>,
    /// Print the key before the value
    #[arg(long)]
    print_key: bool,
    /// Print the headers before the key
    #[arg(long)]
    print_headers: bool,
    /// Print the timestamp and whose it is
    #[arg(long)]
    print_timestamp: bool,
    /// Print the offset
    #[arg(long)]
    print_offset: bool,
    /// Print the partition
    #[arg(long)]
    print_partition: bool,
    /// Stands between what is printed of a record; without it a tab
    #[arg(long, value_name = "TEXT", default_value = "\t", hide_default_value = true)]
    key_separator: String,
    /// Print each record as a JSON object on a line of its own
    #[arg(long)]
    json: bool,
}

/// Where to start in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
    BeforeEnd(i64),
    Time(i64),
}

/// Does what `seedlog consume ...` says.
pub(super) async fn run(args: &ConsumeArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let topic = cluster.topic_within(&args.topic, false, TOPIC_PATIENCE).await?;
    let partitions = args.partitions(&topic)?;
    let positions = starting_offsets(args, &cluster, &partitions).await?;
    let mut consumer = Consumer::new(cluster, &args.topic, positions, ConsumerOptions::default());

    let idle_max = args.timeout_ms.map(Duration::from_millis);
    let mut left = args.max_messages.unwrap_or(u64::MAX);
    let mut last_record = Instant::now();
    while left > 0 {
        let idle_left = idle_max.map(|max| max.saturating_sub(last_record.elapsed()));
        if idle_left == Some(Duration::ZERO) {
            break;
        }
        let batches = consumer.poll(idle_left.map_or(TICK, |left| left.min(TICK))).await?;
        for batch in &batches {
            let printed = print_batch(args, batch, left, output)?;
            if printed > 0 {
                last_record = Instant::now();
            }
            left -= printed;
        }
        output.flush()?;
        for notice in consumer.take_notices() {
            output.notice(&notice);
        }
    }
    Ok(())
}

/// Prints the records of a batch that are wanted; how many.
fn print_batch(args: &ConsumeArgs, batch: &FetchedBatch, left: u64, output: &mut Output) -> CliResult<u64> {
    // Markers of transactions are the broker's, not a producer's.
    if batch.header.is_control() || left == 0 {
        return Ok(0);
    }
    let corrupt = |reason: &dyn ToString| ClientError::Corrupt {
        partition: format!("{}-{}", args.topic, batch.partition),
        offset: batch.header.base_offset.0,
        reason: reason.to_string(),
    };
    let payload = batch.payload(BATCH_BYTES_MAX).map_err(|error| corrupt(&error))?;
    let mut printed = 0;
    for record in RecordIter::new(&batch.header, &payload) {
        let record = record.map_err(|error| corrupt(&error))?;
        if record.offset.0 < batch.from {
            continue;
        }
        print_record(args, batch, &record, output)?;
        printed += 1;
        if printed == left {
            break;
        }
    }
    Ok(printed)
}

fn print_record(
    args: &ConsumeArgs,
    batch: &FetchedBatch,
    record: &Record<'_>,
    output: &mut Output,
) -> CliResult {
    let kind = batch.header.timestamp_type();
    if args.json {
        return output.json_unflushed(&JsonRecord::new(&args.topic, batch.partition, kind, record));
    }
    output.bytes(&text_line(args, batch.partition, kind, record))
}

/// The line of Kafka's console consumer.
fn text_line(args: &ConsumeArgs, partition: i32, kind: TimestampType, record: &Record<'_>) -> Vec<u8> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    if args.print_timestamp {
        let whose = match kind {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        let text = if record.timestamp < 0 {
            "NO_TIMESTAMP".to_owned()
        } else {
            format!("{whose}:{}", record.timestamp)
        };
        fields.push(text.into_bytes());
    }
    if args.print_partition {
        fields.push(format!("Partition:{partition}").into_bytes());
    }
    if args.print_offset {
        fields.push(format!("Offset:{}", record.offset.0).into_bytes());
    }
    if args.print_headers {
        let headers: Vec<Vec<u8>> =
            record.headers.map(|(name, value)| [name, b":", value.unwrap_or(b"null")].concat()).collect();
        fields.push(if headers.is_empty() { b"NO_HEADERS".to_vec() } else { headers.join(&b","[..]) });
    }
    if args.print_key {
        fields.push(record.key.unwrap_or(b"null").to_vec());
    }
    fields.push(record.value.unwrap_or(b"null").to_vec());
    let mut line = fields.join(args.key_separator.as_bytes());
    line.push(b'\n');
    line
}

async fn starting_offsets(
    args: &ConsumeArgs,
    cluster: &Cluster,
    partitions: &[i32],
) -> CliResult<BTreeMap<i32, i64>> {
    let patience = args.remote.request_timeout();
    let ask = async |place: i64| {
        let wanted = partitions.iter().map(|&partition| (partition, place)).collect();
        admin::list_offsets(cluster, &args.topic, &wanted, patience).await
    };
    let start = args.start();
    let (earliest, latest) = (ask(EARLIEST).await?, ask(LATEST).await?);
    let by_time = match start {
        Start::Time(time) => ask(time).await?,
        Start::Earliest | Start::Latest | Start::At(_) | Start::BeforeEnd(_) => BTreeMap::new(),
    };
    let of = |offsets: &admin::Offsets, partition| offsets.get(&partition).copied().flatten();
    let mut positions = BTreeMap::new();
    for &partition in partitions {
        let (first, end) = (of(&earliest, partition).unwrap_or(0), of(&latest, partition).unwrap_or(0));
        let position = match start {
            Start::Earliest => first,
            Start::Latest => end,
            Start::BeforeEnd(count) => end.saturating_sub(count).max(first),
            // No record is that new: wait for the next one.
            Start::Time(_) => of(&by_time, partition).unwrap_or(end),
            Start::At(offset) if (first..=end).contains(&offset) => offset,
            Start::At(offset) => {
                return Err(CliError::Failed(format!(
                    "{}-{partition} has no offset {offset}: its log has {first} to {end}; choose one of these, or --from-beginning",
                    args.topic
                )));
            }
        };
        positions.insert(partition, position);
    }
    Ok(positions)
}

impl ConsumeArgs {
    fn start(&self) -> Start {
        match (self.from_beginning, self.offset, self.from_time) {
            (true, _, _) => Start::Earliest,
            (false, Some(start), _) => start,
            (false, None, Some(time)) => Start::Time(time),
            (false, None, None) => Start::Latest,
        }
    }

    fn partitions(&self, topic: &TopicView) -> CliResult<Vec<i32>> {
        if self.partition.is_empty() {
            return Ok(topic.partitions.keys().copied().collect());
        }
        for &partition in &self.partition {
            topic.partition(partition)?;
        }
        Ok(self.partition.clone())
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => match text.parse::<i64>() {
            Ok(offset @ 0..) => Ok(Start::At(offset)),
            Ok(before_end) => {
                before_end.checked_neg().map(Start::BeforeEnd).ok_or_else(|| "too far back".to_owned())
            }
            Err(_) => Err("write a number, earliest, latest, or -N for the last N records".to_owned()),
        },
    }
}

fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(millis @ 0..) = text.parse::<i64>() {
        return Ok(millis);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) if time.as_millisecond() >= 0 => Ok(time.as_millisecond()),
        Ok(_) | Err(_) => {
            Err("write a time such as 2026-11-21T12:00:00Z, or milliseconds since 1970".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_times() {
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("17"), Ok(Start::At(17)));
        assert_eq!(parse_start("-5"), Ok(Start::BeforeEnd(5)));
        assert!(parse_start("5x").is_err());
        assert!(parse_start("-9223372036854775808").is_err());
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T23:13:20.5+01:00"), Ok(1_700_000_000_500));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("-1").is_err());
    }
}
