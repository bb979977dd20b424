//! `seedlog consume`: finds the starting offsets, then prints records until it has enough. As a member of a group: see
//! `as_member`; what a record looks like: see `print`.

mod as_member;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::Args;

use super::output::{CliError, CliResult, Output};
use super::remote::RemoteArgs;
use super::time::parse_time;
use crate::client::admin::{self, EARLIEST, LATEST};
use crate::client::{Cluster, Consumer, ConsumerOptions, PartitionName, TopicView};

/// How often the loop looks at the clock while nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait for a topic that was created a moment ago.
const TOPIC_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct ConsumeArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The topic to read; may be repeated
    #[arg(long, required = true)]
    topic: Vec<String>,
    /// Read as a member of this consumer group: share the partitions with its other members, go on where the group stopped,
    /// and commit what was printed
    #[arg(long, conflicts_with_all = ["partition", "offset", "from_time"])]
    group: Option<String>,
    /// The name of a static member, which keeps its partitions over a restart within the session timeout
    #[arg(long, value_name = "ID", requires = "group")]
    group_instance_id: Option<String>,
    /// Milliseconds of silence after which the group goes on without this member
    #[arg(long, value_name = "MS", requires = "group", default_value_t = 45_000, value_parser = clap::value_parser!(u32).range(1..=1_800_000))]
    session_timeout_ms: u32,
    /// Read this partition; may be repeated; all of them without it
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Start with the first records that are left; in a group, where it committed nothing yet
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
    args.check()?;
    let cluster = args.remote.cluster()?;
    match &args.group {
        Some(group) => as_member::run(args, group, cluster, output).await,
        None => alone(args, cluster, output).await,
    }
}

/// Reads as a member of no group.
async fn alone(args: &ConsumeArgs, cluster: Cluster, output: &mut Output) -> CliResult {
    let mut positions = BTreeMap::new();
    for topic in args.topics() {
        let view = cluster.topic_within(topic, false, TOPIC_PATIENCE).await?;
        let partitions = args.partitions(&view)?;
        let found = starting_offsets(args, &cluster, topic, &partitions).await?;
        let named = |(partition, offset)| (PartitionName::new(topic, partition), offset);
        positions.extend(found.into_iter().map(named));
    }
    let mut consumer = Consumer::of(cluster, positions, ConsumerOptions::default());
    let mut patience = Patience::of(args);
    let mut left = args.max_messages.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(wait) = patience.wait() else { break };
        let batches = consumer.poll(wait).await?;
        for batch in &batches {
            let printed = print::batch(args, batch, left, output)?;
            if printed.records > 0 {
                patience.renew();
            }
            left -= printed.records;
        }
        output.flush()?;
        for notice in consumer.take_notices() {
            output.notice(&notice);
        }
    }
    Ok(())
}

/// How long nothing may come.
struct Patience {
    idle_max: Option<Duration>,
    since: Instant,
}

impl Patience {
    fn of(args: &ConsumeArgs) -> Self {
        Self { idle_max: args.timeout_ms.map(Duration::from_millis), since: Instant::now() }
    }

    /// Something came.
    fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// How long to wait before the next look at the clock; `None`: it is used up.
    fn wait(&self) -> Option<Duration> {
        let Some(max) = self.idle_max else { return Some(TICK) };
        let left = max.saturating_sub(self.since.elapsed());
        (!left.is_zero()).then_some(left.min(TICK))
    }
}

async fn starting_offsets(
    args: &ConsumeArgs,
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
) -> CliResult<BTreeMap<i32, i64>> {
    let patience = args.remote.request_timeout();
    let ask = async |place: i64| {
        let wanted = partitions.iter().map(|&partition| (partition, place)).collect();
        admin::list_offsets(cluster, topic, &wanted, patience).await
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
                    "{topic}-{partition} has no offset {offset}: its log has {first} to {end}; choose one of these, or --from-beginning"
                )));
            }
        };
        positions.insert(partition, position);
    }
    Ok(positions)
}

impl ConsumeArgs {
    fn check(&self) -> CliResult {
        if self.topic.len() > 1 && !self.partition.is_empty() {
            return Err(CliError::Usage(
                "--partition is of one topic: leave out the other --topic".to_owned(),
            ));
        }
        if self.group.as_deref() == Some("") {
            return Err(CliError::Usage("the group has no name: give it at least one character".to_owned()));
        }
        Ok(())
    }

    /// The topics, each once.
    fn topics(&self) -> BTreeSet<&str> {
        self.topic.iter().map(String::as_str).collect()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("17"), Ok(Start::At(17)));
        assert_eq!(parse_start("-5"), Ok(Start::BeforeEnd(5)));
        assert!(parse_start("5x").is_err());
        assert!(parse_start("-9223372036854775808").is_err());
    }
}
