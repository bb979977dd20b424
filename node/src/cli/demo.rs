//! `seedlog demo`: the promise of acks=all, shown on a real process. A node is killed with SIGKILL while records are written,
//! restarted on its folder, and everything is read back and counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use seedlog_core::records::RecordIter;
use serde::Serialize;
use tokio::sync::mpsc;

use super::demo_node::{DemoNode, log_path};
use super::output::{CliError, CliResult, Output};
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
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep the node's data and log in this folder; without it a temporary one is used and removed
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
    restart_ms: u64,
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
    let folder = Folder::open(args.dir.as_deref())?;
    let goal = Goal {
        records: if args.seconds.is_some() { RECORDS_MAX } else { args.records.unwrap_or(RECORDS) },
        time: args.seconds.map(Duration::from_secs),
    };
    let mut node = DemoNode::start(&folder.path, 0).await?;
    let cluster = Cluster::new(vec![node.address().to_owned()], ConnectionOptions::default());
    let clock = Clock::start();
    let topic = format!("demo-{}", clock.now().wall.0);
    create_topic(&cluster, &topic).await?;

    if !args.json {
        output
            .line(&format!("node at {}, topic {topic}, {PARTITIONS} partitions, acks=all", node.address()))?;
    }
    let mut ledger = Ledger::new(PARTITIONS as usize, goal.records);
    let started = Instant::now();
    let restart = write_through_a_crash(&cluster, &topic, goal, &folder.path, &mut node, &mut ledger).await?;
    let write_ms = millis(started.elapsed());
    read_back(&cluster, &topic, &mut ledger).await?;

    let verdict = ledger.verdict();
    let clean = verdict.is_clean();
    let text = verdict.text();
    let report = Report { verdict, restart_ms: millis(restart), write_ms, clean };
    if args.json {
        output.json(&report)?;
    } else {
        output.bytes(text.as_bytes())?;
        output.line(&format!(
            "killed with SIGKILL in the middle; served again after {} ms",
            report.restart_ms
        ))?;
    }
    drop(node);
    if !clean {
        let kept = folder.keep();
        let log = log_path(&kept);
        let sentence = format!(
            "records did not survive; data and log are kept in {}, begin with {}",
            kept.display(),
            log.display()
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

/// Writes all records, kills and restarts the node when half of them are acknowledged; how long the node was away.
async fn write_through_a_crash(
    cluster: &Cluster,
    topic: &str,
    goal: Goal,
    folder: &Path,
    node: &mut DemoNode,
    ledger: &mut Ledger,
) -> CliResult<Duration> {
    let (deliveries, acknowledged) = mpsc::channel(1024);
    let producer = Producer::open(cluster.clone(), topic, ProducerOptions::default(), deliveries).await?;
    let (halfway, is_halfway) = mpsc::channel(1);
    let bar = progress_bar(goal);
    let crash = crash_and_restart(is_halfway, folder, node);
    let count = count_acknowledged(acknowledged, goal, halfway, ledger, &bar);
    // The producer ends the count: it holds the other end of `deliveries`.
    let work = async { tokio::try_join!(write(producer, goal), crash) };
    let (outcome, ()) = tokio::join!(work, count);
    bar.finish_and_clear();
    Ok(outcome?.1)
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

/// Counts acknowledgements until the producer is done; says when it is time for the crash.
async fn count_acknowledged(
    mut acknowledged: mpsc::Receiver<Delivery>,
    goal: Goal,
    halfway: mpsc::Sender<()>,
    ledger: &mut Ledger,
    bar: &ProgressBar,
) {
    let started = Instant::now();
    while let Some(Delivery { partition, count, .. }) = acknowledged.recv().await {
        ledger.on_acknowledged(
            usize::try_from(partition).unwrap_or(usize::MAX),
            u64::from(count.unsigned_abs()),
        );
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
}

async fn crash_and_restart(
    mut halfway: mpsc::Receiver<()>,
    folder: &Path,
    node: &mut DemoNode,
) -> CliResult<Duration> {
    if halfway.recv().await.is_none() {
        return Err(CliError::Failed(
            "all records were written before the crash; ask for more with --records".to_owned(),
        ));
    }
    let port = node.port()?;
    let killed = Instant::now();
    node.kill()?;
    *node = DemoNode::start(folder, port).await?;
    Ok(killed.elapsed())
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
        .any(|(partition, &at)| at < end.get(partition).copied().flatten().unwrap_or(0))
    {
        let batches = consumer.poll(Duration::from_secs(1)).await?;
        if !batches.is_empty() {
            last_batch = Instant::now();
        } else if last_batch.elapsed() > PATIENCE {
            return Err(CliError::Failed(
                "the node stopped handing out records before the end of its log".to_owned(),
            ));
        }
        for batch in batches.iter().filter(|batch| !batch.header.is_control()) {
            let unreadable = |error: &dyn ToString| {
                CliError::Unhealthy(format!("a batch cannot be read: {}", error.to_string()))
            };
            let payload = batch.payload(BATCH_BYTES_MAX).map_err(|error| unreadable(&error))?;
            for record in RecordIter::new(&batch.header, &payload) {
                let record = record.map_err(|error| unreadable(&error))?;
                ledger.on_read(usize::try_from(batch.partition).unwrap_or(usize::MAX), record.value);
            }
        }
    }
    Ok(())
}

fn progress_bar(goal: Goal) -> ProgressBar {
    let length = goal.time.map_or(goal.records, millis);
    // `stderr` draws nothing where no terminal is.
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {percent}% acknowledged, {elapsed}")
        .expect("the template is constant");
    bar.with_style(style)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The folder of the node; a temporary one goes away with this value.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(wanted: Option<&Path>) -> CliResult<Self> {
        let folder = match wanted {
            Some(path) => Self { path: path.to_owned(), temporary: false },
            None => {
                let name = format!("seedlog-demo-{}-{}", std::process::id(), Clock::start().now().wall.0);
                Self { path: std::env::temp_dir().join(name), temporary: true }
            }
        };
        let created = std::fs::create_dir_all(folder.path.join("data"));
        created.map_err(|error| CliError::io(format!("cannot create {}", folder.path.display()), error))?;
        Ok(folder)
    }

    /// Leaves a temporary folder where it is.
    fn keep(mut self) -> PathBuf {
        self.temporary = false;
        self.path.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}
