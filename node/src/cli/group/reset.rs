//! `seedlog group reset-offsets`: where a group without members goes on, in the forms of Kafka's tool.
//!
//! Without `--execute` it says what would change and changes nothing. What it prints is what it commits: new offsets are
//! found once, and lie within their logs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use seedlog_core::errors::ErrorCode;
use serde::Serialize;

use super::super::output::{CliError, CliResult, Output};
use super::super::remote::RemoteArgs;
use super::super::time::{parse_duration, parse_time};
use super::super::topic::table;
use crate::client::admin::{self, EARLIEST, LATEST, Offsets};
use crate::client::groups::{self, CommitPoint};
use crate::client::{Cluster, PartitionName};

/// A larger file is refused: some hundred thousand partitions fit.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a group without members is, by Kafka's name.
const EMPTY: &str = "Empty";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("place").required(true)), group(ArgGroup::new("which").required(true)))]
pub(in super::super) struct ResetArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The group
    #[arg(long)]
    group: String,
    /// Of this topic, or of these partitions of it; may be repeated
    #[arg(long, value_name = "TOPIC[:N,...]", group = "which", value_parser = parse_scope)]
    topic: Vec<Scope>,
    /// Of all partitions that the group committed something of
    #[arg(long, group = "which")]
    all_topics: bool,
    /// To the first records that are left
    #[arg(long, group = "place")]
    to_earliest: bool,
    /// To the ends of the logs
    #[arg(long, group = "place")]
    to_latest: bool,
    /// To what is committed; where that is nothing, to the end
    #[arg(long, group = "place")]
    to_current: bool,
    /// To this offset, or the nearest that its log has
    #[arg(long, value_name = "N", group = "place", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// By so many records, backwards if it is negative
    #[arg(long, value_name = "N", group = "place", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record of this time: RFC 3339, without a zone in UTC, or milliseconds since 1970
    #[arg(long, value_name = "TIME", group = "place", value_parser = parse_time)]
    to_datetime: Option<i64>,
    /// To the first record of this duration before now, such as PT12H or P7D
    #[arg(long, value_name = "DURATION", group = "place", value_parser = parse_duration)]
    by_duration: Option<i64>,
    /// To what stands in a file, a line for each partition: topic,partition,offset
    #[arg(long, value_name = "FILE", groups = ["place", "which"])]
    from_file: Option<PathBuf>,
    /// Change it
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,
    /// Change nothing, as without --execute
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A topic, or some of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    topic: String,
    partitions: Option<Vec<i32>>,
}

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Shift(i64),
    Time(i64),
}

#[derive(Debug, Serialize)]
struct Reset<'a> {
    group: &'a str,
    executed: bool,
    partitions: Vec<Move>,
}

#[derive(Debug, Serialize)]
struct Move {
    topic: String,
    partition: i32,
    old_offset: Option<i64>,
    new_offset: i64,
}

pub(super) async fn run(args: &ResetArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let patience = args.remote.request_timeout();
    check_empty(args, &cluster).await?;
    let committed = groups::committed_offsets(&cluster, &args.group, patience).await?;
    let wanted = wanted(args, &cluster, &committed).await?;
    let mut moves = Vec::new();
    for (topic, partitions) in &wanted {
        let logs = Logs::look(args, &cluster, topic, partitions).await?;
        for (&partition, &goal) in partitions {
            let place = PartitionName::new(topic, partition);
            let old_offset = committed.get(&place).copied();
            let new_offset = logs.goal(goal, &place, old_offset)?;
            moves.push(Move { topic: topic.clone(), partition, old_offset, new_offset });
        }
    }
    if args.execute {
        let offsets = moves
            .iter()
            .map(|it| (PartitionName::new(&it.topic, it.partition), CommitPoint::at(it.new_offset)));
        let committed = groups::commit_offsets(&cluster, &args.group, &offsets.collect(), patience).await;
        committed.map_err(|error| match error.code() {
            Some(ErrorCode::UnknownMemberId) => has_members(&args.group, "somebody has just joined"),
            Some(_) | None => error.into(),
        })?;
    }
    print(args, moves, output)
}

/// Members would go on where they are, and commit that: nothing is moved under them.
async fn check_empty(args: &ResetArgs, cluster: &Cluster) -> CliResult {
    let patience = args.remote.request_timeout();
    let state = match groups::describe_group(cluster, &args.group, patience).await {
        Ok((group, _)) => group.group_state,
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
            // One that is not there begins with what is committed for it here; others are of another protocol.
            match groups::listed_group(cluster, &args.group, patience).await? {
                Some(group) => group.group_state,
                None => return Ok(()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    if state == EMPTY { Ok(()) } else { Err(has_members(&args.group, &format!("its state is {state}"))) }
}

fn has_members(group: &str, what: &str) -> CliError {
    CliError::Failed(format!(
        "group {group} has members ({what}), and they would commit over it: stop its consumers first, then try again"
    ))
}

/// The partitions that are meant by topic, and where each is to go on.
type Wanted = BTreeMap<String, BTreeMap<i32, Goal>>;

async fn wanted(
    args: &ResetArgs,
    cluster: &Cluster,
    committed: &BTreeMap<PartitionName, i64>,
) -> CliResult<Wanted> {
    let mut wanted = match &args.from_file {
        Some(path) => read_file(path)?,
        None => Wanted::new(),
    };
    if args.all_topics {
        for place in committed.keys() {
            wanted.entry(place.topic.to_string()).or_default().insert(place.partition, args.goal());
        }
    }
    for scope in &args.topic {
        let partitions = match &scope.partitions {
            Some(partitions) => partitions.clone(),
            None => cluster.fresh_topic(&scope.topic, false).await?.partitions.keys().copied().collect(),
        };
        let partitions = partitions.into_iter().map(|partition| (partition, args.goal()));
        wanted.entry(scope.topic.clone()).or_default().extend(partitions);
    }
    if wanted.is_empty() {
        let advice = "name its topics with --topic";
        return Err(CliError::Failed(match &args.from_file {
            Some(path) => format!("{} has no lines", path.display()),
            None => format!("group {} committed nothing: {advice}", args.group),
        }));
    }
    for (topic, partitions) in &wanted {
        let view = cluster.fresh_topic(topic, false).await?;
        for &partition in partitions.keys() {
            view.partition(partition)?;
        }
    }
    Ok(wanted)
}

fn read_file(path: &Path) -> CliResult<Wanted> {
    let name = path.display();
    let failed = |error| CliError::io(format!("cannot read {name}"), error);
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CliError::Failed(format!("{name} is over {FILE_BYTES_MAX} bytes: cut it into several")));
    }
    let mut wanted = Wanted::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let Some((topic, partition, offset)) = parse_line(line) else {
            return Err(CliError::Failed(format!(
                "{name}, line {number}: write topic,partition,offset, such as orders,0,1200"
            )));
        };
        if wanted.entry(topic.to_owned()).or_default().insert(partition, Goal::Offset(offset)).is_some() {
            return Err(CliError::Failed(format!(
                "{name}, line {number}: {topic}-{partition} stands there twice"
            )));
        }
    }
    Ok(wanted)
}

fn parse_line(line: &str) -> Option<(&str, i32, i64)> {
    let mut fields = line.split(',').map(str::trim);
    let (topic, partition, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
    let is_sound = !topic.is_empty() && partition >= 0 && offset >= 0 && fields.next().is_none();
    is_sound.then_some((topic, partition, offset))
}

/// What the logs of a topic have.
struct Logs {
    earliest: Offsets,
    latest: Offsets,
    /// The first record of a time, if that is asked for.
    by_time: Offsets,
}

impl Logs {
    async fn look(
        args: &ResetArgs,
        cluster: &Cluster,
        topic: &str,
        partitions: &BTreeMap<i32, Goal>,
    ) -> CliResult<Self> {
        let patience = args.remote.request_timeout();
        let ask = async |place: i64| {
            let wanted = partitions.keys().map(|&partition| (partition, place)).collect();
            admin::list_offsets(cluster, topic, &wanted, patience).await
        };
        let by_time = match args.goal() {
            Goal::Time(time) => ask(time).await?,
            Goal::Earliest | Goal::Latest | Goal::Current | Goal::Offset(_) | Goal::Shift(_) => {
                Offsets::new()
            }
        };
        Ok(Self { earliest: ask(EARLIEST).await?, latest: ask(LATEST).await?, by_time })
    }

    fn goal(&self, goal: Goal, place: &PartitionName, old: Option<i64>) -> CliResult<i64> {
        let of = |offsets: &Offsets| offsets.get(&place.partition).copied().flatten();
        let first = of(&self.earliest).unwrap_or(0);
        let end = of(&self.latest).unwrap_or(0).max(first);
        Ok(match goal {
            Goal::Earliest => first,
            Goal::Latest => end,
            Goal::Current => old.unwrap_or(end),
            Goal::Offset(offset) => offset.clamp(first, end),
            Goal::Shift(by) => {
                let nothing = || {
                    CliError::Failed(format!(
                        "{place}: nothing is committed that could be shifted; use --to-offset, --to-earliest or --to-latest"
                    ))
                };
                old.ok_or_else(nothing)?.saturating_add(by).clamp(first, end)
            }
            // No record is that new.
            Goal::Time(_) => of(&self.by_time).unwrap_or(end).clamp(first, end),
        })
    }
}

fn print(args: &ResetArgs, moves: Vec<Move>, output: &mut Output) -> CliResult {
    if args.json {
        return output.json(&Reset { group: &args.group, executed: args.execute, partitions: moves });
    }
    let mut rows = table(["TOPIC", "PARTITION", "OLD", "NEW"]);
    for Move { topic, partition, old_offset, new_offset } in &moves {
        let old = old_offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
        rows.add_row([topic.clone(), partition.to_string(), old, new_offset.to_string()]);
    }
    output.line(&rows.trim_fmt())?;
    let group = &args.group;
    output.line(&if args.execute {
        format!("moved group {group}")
    } else {
        format!("nothing is changed: this is what --execute does to group {group}")
    })
}

impl ResetArgs {
    fn goal(&self) -> Goal {
        let Self { to_earliest, to_latest, to_offset, shift_by, to_datetime, by_duration, .. } = *self;
        let since = by_duration.map(|duration| now_ms().saturating_sub(duration).max(0));
        let numbered = to_offset.map(Goal::Offset).or(shift_by.map(Goal::Shift));
        let timed = to_datetime.or(since).map(Goal::Time);
        match (to_earliest, to_latest) {
            (true, _) => Goal::Earliest,
            (false, true) => Goal::Latest,
            (false, false) => numbered.or(timed).unwrap_or(Goal::Current),
        }
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let whole = |topic: &str| Scope { topic: topic.to_owned(), partitions: None };
    let Some((topic, partitions)) = text.split_once(':') else {
        return if text.is_empty() { Err(SCOPE.to_owned()) } else { Ok(whole(text)) };
    };
    let partitions: Option<Vec<i32>> =
        partitions.split(',').map(|index| index.parse().ok().filter(|&index| index >= 0)).collect();
    match partitions {
        Some(partitions) if !topic.is_empty() => Ok(Scope { partitions: Some(partitions), ..whole(topic) }),
        Some(_) | None => Err(SCOPE.to_owned()),
    }
}

const SCOPE: &str = "write a topic, or some of its partitions, such as orders:0,1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        let scope = |topic: &str, partitions| Scope { topic: topic.to_owned(), partitions };
        assert_eq!(parse_scope("t"), Ok(scope("t", None)));
        assert_eq!(parse_scope("t:0,12"), Ok(scope("t", Some(vec![0, 12]))));
        for wrong in ["", ":0", "t:", "t:0,", "t:-1", "t:a"] {
            assert!(parse_scope(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_of_a_file() {
        assert_eq!(parse_line("t,0,12"), Some(("t", 0, 12)));
        assert_eq!(parse_line(" t , 3 , 0 "), Some(("t", 3, 0)));
        for wrong in ["t,0", "t,0,1,2", ",0,1", "t,-1,1", "t,0,-1", "t,x,1", "t:0:1"] {
            assert_eq!(parse_line(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn goals_stay_within_the_log() {
        let one = |offset| Offsets::from([(0, offset)]);
        let logs = Logs { earliest: one(Some(5)), latest: one(Some(9)), by_time: one(None) };
        let goal = |goal, old| logs.goal(goal, &PartitionName::new("t", 0), old).ok();
        for (wanted, old, expected) in [
            (Goal::Earliest, None, Some(5)),
            (Goal::Latest, Some(6), Some(9)),
            (Goal::Current, Some(6), Some(6)),
            (Goal::Current, None, Some(9)),
            (Goal::Offset(7), None, Some(7)),
            (Goal::Offset(1), None, Some(5)),
            (Goal::Offset(100), None, Some(9)),
            (Goal::Shift(2), Some(6), Some(8)),
            (Goal::Shift(-2), Some(6), Some(5)),
            (Goal::Shift(i64::MAX), Some(6), Some(9)),
            (Goal::Shift(1), None, None),
            (Goal::Time(1), Some(6), Some(9)),
        ] {
            assert_eq!(goal(wanted, old), expected, "{wanted:?} from {old:?}");
        }
    }
}
