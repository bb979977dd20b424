//! `seedlog demo`: the promise of acks=all, shown on real processes. While records are written, the node that leads is
//! killed with SIGKILL; others lead on, it is restarted on its folder, and everything is read back through another node and
//! counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use indicatif::ProgressBar;
use seedlog_core::records::RecordIter;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::local::{self, Folder, LocalNode, NODES_MAX, bootstrap};
use super::output::{CliError, CliResult, Output, progress};
use super::verdict::{Ledger, Verdict, value_of};
use crate::client::admin::{self, EARLIEST, LATEST, NewTopic};
use crate::client::{
    Cluster, ConnectionOptions, Consumer, ConsumerOptions, Delivery, Producer, ProducerOptions,
    ProducerRecord,
};
use crate::clock::Clock;

const PARTITIONS: i32 = 4;
const RECORDS: u64 = 200_000;
/// With --seconds: what no machine writes in the time, so that the ledger has a bound.
const RECORDS_MAX: u64 = 50_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked who leads.
const METADATA_LOOK: Duration = Duration::from_millis(10);
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many nodes; without it 3, or as many as the folder has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    nodes: Option<u16>,
    /// Keep the nodes' data and logs in this folder; without it a temporary one is used and removed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many records to write
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=RECORDS_MAX), conflicts_with = "seconds")]
    records: Option<u64>,
    /// Write for so long instead
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result in JSON.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    verdict: Verdict,
    nodes: usize,
    killed_node: i32,
    /// Until the partitions that it led had a leader again.
    leaderless_ms: u64,
    /// Until it served again itself.
    restart_ms: u64,
    /// The longest time that a partition acknowledged nothing.
    longest_pause_ms: u64,
    write_ms: u64,
    clean: bool,
}

/// When to stop writing.
#[derive(Clone, Copy)]
struct Goal {
    records: u64,
    time: Option<Duration>,
}

/// Does what `seedlog demo ...` says.
pub(super) async fn run(args: &DemoArgs, output: &mut Output) -> CliResult {
    let folder = Folder::open(args.dir.as_deref(), "demo")?;
    let goal = Goal {
        records: if args.seconds.is_some() { RECORDS_MAX } else { args.records.unwrap_or(RECORDS) },
        time: args.seconds.map(Duration::from_secs),
    };
    let mut nodes = local::start_all(local::plan(folder.path(), args.nodes, Some(0))?).await?;
    let cluster = Cluster::new(bootstrap(&nodes), ConnectionOptions::default());
    let clock = Clock::start();
    let topic = format!("demo-{}", clock.now().wall.0);
    create_topic(&cluster, &topic).await?;

    if !args.json {
        let (count, replicas) = (nodes.len(), cluster.topic(&topic, false).await?.replication_factor());
        let addresses = bootstrap(&nodes).join(", ");
        output.line(&format!("{count} node(s) at {addresses}"))?;
        output.line(&format!("topic {topic}, {PARTITIONS} partitions, {replicas} replica(s), acks=all"))?;
    }
    let mut ledger = Ledger::new(PARTITIONS as usize, goal.records);
    let started = Instant::now();
    let (crash, longest_pause) =
        write_through_a_crash(&cluster, &topic, goal, &mut nodes, &mut ledger).await?;
    let write_ms = millis(started.elapsed());
    // Not through the one that was killed, where there is another.
    let others = nodes.iter().filter(|node| node.id() != crash.node || nodes.len() == 1);
    let reader = Cluster::new(bootstrap(others), ConnectionOptions::default());
    read_back(&reader, &topic, &mut ledger).await?;

    let verdict = ledger.verdict();
    let clean = verdict.is_clean();
    let text = verdict.text();
    let report = Report {
        verdict,
        nodes: nodes.len(),
        killed_node: crash.node,
        leaderless_ms: millis(crash.leaderless),
        restart_ms: millis(crash.restart),
        longest_pause_ms: millis(longest_pause),
        write_ms,
        clean,
    };
    if args.json {
        output.json(&report)?;
    } else {
        output.bytes(text.as_bytes())?;
        output.line(&format!(
            "node {} was killed with SIGKILL in the middle: {} ms without a leader, itself back after {} ms",
            report.killed_node, report.leaderless_ms, report.restart_ms
        ))?;
        output.line(&format!("no partition paused for longer than {} ms", report.longest_pause_ms))?;
    }
    let log = nodes.iter().find(|node| node.id() == crash.node).map(|node| node.log().to_owned());
    drop(nodes);
    if !clean {
        let kept = folder.keep();
        let sentence = format!(
            "records did not survive; data and logs are kept in {}, begin with {}",
            kept.display(),
            log.unwrap_or_default().display()
        );
        return Err(CliError::Unhealthy(sentence));
    }
    Ok(())
}

async fn create_topic(cluster: &Cluster, topic: &str) -> CliResult {
    let new = NewTopic {
        name: topic.to_owned(),
        partitions: Some(PARTITIONS),
        replication_factor: None,
        configs: Vec::new(),
    };
    admin::create_topic(cluster, &new, PATIENCE).await?;
    Ok(())
}

/// What the crash did.
struct Crash {
    /// Who was killed.
    node: i32,
    leaderless: Duration,
    restart: Duration,
}

/// Writes all records; kills and restarts the node that leads when half of them are acknowledged. Gives the longest time
/// that a partition acknowledged nothing as well.
async fn write_through_a_crash(
    cluster: &Cluster,
    topic: &str,
    goal: Goal,
    nodes: &mut [LocalNode],
    ledger: &mut Ledger,
) -> CliResult<(Crash, Duration)> {
    let (deliveries, acknowledged) = mpsc::channel(1024);
    let producer = Producer::open(cluster.clone(), topic, ProducerOptions::default(), deliveries).await?;
    let (halfway, is_halfway) = mpsc::channel(1);
    let bar = progress(goal.time.map_or(goal.records, millis), "{percent}% acknowledged");
    let crash = crash_and_restart(is_halfway, topic, nodes);
    let count = count_acknowledged(acknowledged, goal, halfway, ledger, &bar);
    // The producer ends the count: it holds the other end of `deliveries`.
    let work = async { tokio::try_join!(write(producer, goal), crash) };
    let (outcome, longest_pause) = tokio::join!(work, count);
    bar.finish_and_clear();
    Ok((outcome?.1, longest_pause))
}

async fn write(mut producer: Producer, goal: Goal) -> CliResult {
    let clock = Clock::start();
    let started = Instant::now();
    let partitions = PARTITIONS as u64;
    for number in 0..goal.records {
        if goal.time.is_some_and(|time| started.elapsed() >= time) {
            break;
        }
        let record = ProducerRecord {
            partition: Some((number % partitions) as i32),
            timestamp: clock.now().wall.0,
            value: Some(Bytes::from(value_of(number))),
            ..ProducerRecord::default()
        };
        producer.send(record).await?;
    }
    Ok(producer.finish().await?)
}

/// Counts acknowledgements until the producer is done; says when it is time for the crash. Gives the longest pause of a
/// partition.
async fn count_acknowledged(
    mut acknowledged: mpsc::Receiver<Delivery>,
    goal: Goal,
    halfway: mpsc::Sender<()>,
    ledger: &mut Ledger,
    bar: &ProgressBar,
) -> Duration {
    let started = Instant::now();
    let mut last = [started; PARTITIONS as usize];
    let mut longest_pause = Duration::ZERO;
    while let Some(Delivery { partition, count, .. }) = acknowledged.recv().await {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        ledger.on_acknowledged(partition, u64::from(count.unsigned_abs()));
        if let Some(last) = last.get_mut(partition) {
            let now = Instant::now();
            longest_pause = longest_pause.max(now - *last);
            *last = now;
        }
        let is_halfway = match goal.time {
            None => ledger.acknowledged() >= goal.records / 2,
            Some(time) => started.elapsed() >= time / 2,
        };
        if is_halfway {
            halfway.try_send(()).ok();
        }
        match goal.time {
            None => bar.set_position(ledger.acknowledged()),
            Some(_) => bar.set_position(millis(started.elapsed())),
        }
    }
    longest_pause
}

async fn crash_and_restart(
    mut halfway: mpsc::Receiver<()>,
    topic: &str,
    nodes: &mut [LocalNode],
) -> CliResult<Crash> {
    if halfway.recv().await.is_none() {
        return Err(CliError::Failed(
            "all records were written before the crash; ask for more with --records".to_owned(),
        ));
    }
    // Asked by a client of its own: the producer has to find out by itself.
    let led = leaders(&Cluster::new(bootstrap(&*nodes), ConnectionOptions::default()), topic).await?;
    let victim = led.get(&0).copied().flatten();
    let at = nodes.iter().position(|node| Some(node.id()) == victim).unwrap_or(0);
    let id = nodes[at].id();
    let killed = Instant::now();
    nodes[at].kill()?;
    let leaderless = if nodes.len() > 1 {
        let others = nodes.iter().filter(|node| node.id() != id);
        let observer = Cluster::new(bootstrap(others), ConnectionOptions::default());
        let orphans = led.iter().filter(|(_, leader)| **leader == Some(id)).map(|(&partition, _)| partition);
        wait_for_leaders(&observer, topic, &orphans.collect::<Vec<_>>(), id).await?;
        Some(killed.elapsed())
    } else {
        None
    };
    nodes[at].restart()?;
    nodes[at].ready().await?;
    let restart = killed.elapsed();
    Ok(Crash { node: id, leaderless: leaderless.unwrap_or(restart), restart })
}

/// Who leads which partition.
async fn leaders(cluster: &Cluster, topic: &str) -> CliResult<BTreeMap<i32, Option<i32>>> {
    let view = cluster.topic_within(topic, false, PATIENCE).await?;
    Ok(view.partitions.iter().map(|(&index, partition)| (index, partition.leader)).collect())
}

/// Waits until somebody else leads these partitions.
async fn wait_for_leaders(cluster: &Cluster, topic: &str, partitions: &[i32], dead: i32) -> CliResult {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let leaders = leaders(cluster, topic).await?;
        let led = |partition: &i32| leaders.get(partition).copied().flatten().is_some_and(|id| id != dead);
        if partitions.iter().all(led) {
            return Ok(());
        }
        sleep(METADATA_LOOK).await;
    }
    let waited = PATIENCE.as_secs();
    Err(CliError::Unhealthy(format!(
        "node {dead} was killed, and within {waited} s nobody leads in its place; the nodes' logs say why (--dir keeps them)"
    )))
}

async fn read_back(cluster: &Cluster, topic: &str, ledger: &mut Ledger) -> CliResult {
    let places = |place| (0..PARTITIONS).map(|partition| (partition, place)).collect::<BTreeMap<i32, i64>>();
    let start = admin::list_offsets(cluster, topic, &places(EARLIEST), PATIENCE).await?;
    let end = admin::list_offsets(cluster, topic, &places(LATEST), PATIENCE).await?;
    let positions = start.iter().map(|(&partition, offset)| (partition, offset.unwrap_or(0))).collect();
    let mut consumer = Consumer::new(cluster.clone(), topic, positions, ConsumerOptions::default());
    let mut last_batch = Instant::now();
    while consumer
        .positions()
        .iter()
        .any(|(place, &at)| at < end.get(&place.partition).copied().flatten().unwrap_or(0))
    {
        let batches = consumer.poll(Duration::from_secs(1)).await?;
        if !batches.is_empty() {
            last_batch = Instant::now();
        } else if last_batch.elapsed() > PATIENCE {
            return Err(CliError::Failed(
                "the nodes stopped handing out records before the end of their logs; theirs say why (--dir keeps them)".to_owned(),
            ));
        }
        for batch in batches.iter().filter(|batch| !batch.header.is_control()) {
            let unreadable = |error: &dyn ToString| {
                CliError::Unhealthy(format!(
                    "a batch cannot be read: {}; please report it, with the folder (--dir keeps it)",
                    error.to_string()
                ))
            };
            let payload = batch.payload(BATCH_BYTES_MAX).map_err(|error| unreadable(&error))?;
            for record in RecordIter::new(&batch.header, &payload) {
                let record = record.map_err(|error| unreadable(&error))?;
                ledger.on_read(usize::try_from(batch.place.partition).unwrap_or(usize::MAX), record.value);
            }
        }
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
