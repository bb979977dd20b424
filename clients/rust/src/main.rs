//! rskafka: its cases, and what it does while nodes go away.
//!
//! ```text
//! seedlog-clients cases                               every case that needs one node; the topic `rskafka-large` takes 3 MiB
//! seedlog-clients wide TOPIC PARTITIONS               a topic with very many partitions, which exists
//! seedlog-clients history rskafka TOPIC HISTORY STOP  writes and reads until the file STOP is there; see history.rs
//! ```
//!
//! $BOOTSTRAP names the nodes. Each case is one line, "pass SUITE: NAME" or "FAIL ...: WHY". $CODECS_OF, when set, is a command that
//! prints the codecs of a topic's batches.

mod compacted;
mod history;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::chrono::DateTime;
use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const MIB: usize = 1 << 20;
const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::NoCompression),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all was well.
async fn run(words: &[&str]) -> Outcome<bool> {
    let brokers = env::var("BOOTSTRAP")?.split(',').map(str::to_owned).collect();
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(500),
        base: 2.0,
        deadline: Some(Duration::from_secs(100)),
    };
    let client = ClientBuilder::new(brokers).backoff_config(backoff).build().await?;
    match words {
        ["cases"] => Ok(cases(&client).await),
        ["wide", topic, partitions] => {
            let name = format!("rskafka: metadata: a topic of {partitions} partitions");
            Ok(report("fleet", &name, wide(&client, topic, partitions.parse()?).await))
        }
        ["history", _, topic, path, stop] => {
            history::write(&client, topic, path.as_ref(), stop.as_ref()).await
        }
        _ => Err("cases, wide or history".into()),
    }
}

pub(crate) fn report(suite: &str, name: &str, outcome: Outcome) -> bool {
    match outcome {
        Ok(()) => println!("pass {suite}: {name}"),
        Err(ref error) => println!("FAIL {suite}: {name}: {}", error.to_string().replace('\n', " | ")),
    }
    outcome.is_ok()
}

async fn cases(client: &Client) -> bool {
    let mut all_well = true;
    for (name, codec) in CODECS {
        all_well &=
            report("rust", &format!("round trip: codec={name}"), round_trip(client, name, codec).await);
    }
    all_well &= report("rust", "records: 1 MiB, and one that is too large", large(client).await);
    all_well &= report("rust", "consumer: from an offset; ends", starting_points(client).await);
    all_well & compacted::cases(client).await
}

pub(crate) async fn partition(client: &Client, topic: &str, index: i32) -> Outcome<PartitionClient> {
    Ok(client.partition_client(topic, index, UnknownTopicHandling::Retry).await?)
}

pub(crate) fn record(key: Option<&str>, value: Option<Vec<u8>>, timestamp_ms: i64) -> Record {
    let timestamp = DateTime::from_timestamp_millis(timestamp_ms).unwrap_or_default();
    Record { key: key.map(|key| key.as_bytes().to_vec()), value, headers: BTreeMap::new(), timestamp }
}

/// All that a record can have here: the library has one header of a name.
fn shapes() -> Vec<Record> {
    let values = [Some(&b"plain"[..]), None, Some(&[]), Some("日本語 é".as_bytes()), Some(&[b'c'; 1_000])];
    let mut records = Vec::new();
    for round in 0..30 {
        for (number, value) in values.into_iter().enumerate() {
            let key = [Some("key"), None, Some("")][round % 3];
            let mut record = record(key, value.map(<[u8]>::to_vec), 1_700_000_000_000 + records.len() as i64);
            if (round + number) % 2 == 0 {
                record.headers = [("one", b"1".to_vec()), ("", vec![]), ("ключ", vec![0xff])]
                    .map(|(name, value)| (name.to_owned(), value))
                    .into();
            }
            records.push(record);
        }
    }
    records
}

/// Reads from an offset on: the records have to be these.
async fn compare(log: &PartitionClient, from: i64, sent: &[Record]) -> Outcome {
    let mut got: Vec<RecordAndOffset> = Vec::new();
    while got.len() < sent.len() {
        let (records, _) = log.fetch_records(from + got.len() as i64, 1..10_000_000, 1_000).await?;
        if records.is_empty() {
            return Err(format!("{} records, want {}", got.len(), sent.len()).into());
        }
        got.extend(records);
    }
    for (number, (got, want)) in got.iter().zip(sent).enumerate() {
        if got.offset != from + number as i64 || got.record != *want {
            let key = got.record.key.as_deref().map(String::from_utf8_lossy);
            return Err(format!(
                "record {number}, at {}, is not as it was sent; its key is {key:?}",
                got.offset
            )
            .into());
        }
    }
    Ok(())
}

async fn round_trip(client: &Client, name: &str, codec: Compression) -> Outcome {
    let topic = format!("rskafka-{name}");
    client.controller_client()?.create_topic(&topic, 1, 1, 20_000).await?;
    let log = partition(client, &topic, 0).await?;
    let records = shapes();
    let offsets = log.produce(records.clone(), codec).await?;
    if offsets != (0..records.len() as i64).collect::<Vec<_>>() {
        return Err(format!("the offsets are {offsets:?}").into());
    }
    compare(&log, 0, &records).await?;
    let Ok(command) = env::var("CODECS_OF") else { return Ok(()) };
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let found = String::from_utf8(Command::new(program).args(words).arg(&topic).output()?.stdout)?;
    if found.trim() == name { Ok(()) } else { Err(format!("the codec in the log is {found}").into()) }
}

/// The topic is there: the library creates none with a limit of its own.
async fn large(client: &Client) -> Outcome {
    let log = partition(client, "rskafka-large", 0).await?;
    let mut records = Vec::new();
    for number in 0..3 {
        records.push(record(Some("large"), Some(vec![number; MIB]), 1_000));
        log.produce(records[records.len() - 1..].to_vec(), Compression::NoCompression).await?;
    }
    let refused =
        log.produce(vec![record(None, Some(vec![9; 3 * MIB]), 1_000)], Compression::NoCompression).await;
    match refused {
        Err(KafkaError::ServerError { protocol_error: ProtocolError::MessageTooLarge, .. }) => {}
        other => return Err(format!("a record above the topic's limit: {other:?}").into()),
    }
    compare(&log, 0, &records).await
}

async fn starting_points(client: &Client) -> Outcome {
    client.controller_client()?.create_topic("rskafka-starts", 2, 1, 20_000).await?;
    let records: Vec<Record> =
        (0..100).map(|number| record(None, Some(number.to_string().into_bytes()), 1_000 + number)).collect();
    let log = partition(client, "rskafka-starts", 1).await?;
    log.produce(records.clone(), Compression::NoCompression).await?;
    let empty = partition(client, "rskafka-starts", 0).await?;
    let ends = (empty.get_offset(OffsetAt::Latest).await?, log.get_offset(OffsetAt::Latest).await?);
    if ends != (0, 100) {
        return Err(format!("the ends are {ends:?}").into());
    }
    compare(&log, 37, &records[37..]).await
}

async fn wide(client: &Client, topic: &str, partitions: usize) -> Outcome {
    let listed = client.list_topics().await?;
    let known = listed.iter().find(|listed| listed.name == topic).map_or(0, |listed| listed.partitions.len());
    if known != partitions {
        return Err(format!("{known} partitions, want {partitions}").into());
    }
    let log = partition(client, topic, i32::try_from(partitions)? - 1).await?;
    let last = vec![record(None, Some(b"rskafka".to_vec()), 1_000)];
    let offsets = log.produce(last.clone(), Compression::NoCompression).await?;
    compare(&log, offsets[0], &last).await
}
