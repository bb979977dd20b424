//! A compacted topic: each key is written many times, then the topic's policy changes from delete to compact, so that cleaning begins
//! once all is there. It is done when each replica is about as large as what is left of it.

use super::caller::Stopwatch;
use super::client::{Client, Leaders, check};
use super::{Latency, LoadError, Loaded};
use crate::load::fetch::{ANSWER_BYTES_MAX, PARTITION_BYTES_MAX};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchBuilder, Batches, RecordIter};
use seedlog_core::wire::describe_log_dirs::DescribableLogDirTopic;
use seedlog_core::wire::fetch::{FetchPartition, FetchTopic};
use seedlog_core::wire::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use seedlog_core::wire::produce::{PartitionProduceData, TopicProduceData};
use seedlog_core::wire::{
    ApiKey, DescribeLogDirsRequest, FetchRequest, IncrementalAlterConfigsRequest, ProduceRequest, Records,
    Response, Str,
};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of values that are written for each second that rows last.
const BYTES_A_SECOND: f64 = 50e6;
const VALUE_BYTES: usize = 1024;
/// How often each key is written, on average.
const WRITES_A_KEY: usize = 10;
/// Records of a batch.
const BATCH_RECORDS: usize = 256;
/// Segments of a partition, about: the newest is never cleaned.
const SEGMENTS: usize = 16;
/// The least that Kafka takes for segment.bytes.
const SEGMENT_BYTES_MIN: usize = 1 << 20;
/// How often brokers are asked how large partitions are.
const LOOK: Duration = Duration::from_millis(100);
/// Longer than cleaning takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much there is in a run of this length, in each of some partitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    records: usize,
    keys: usize,
    segment_bytes: usize,
}

impl Size {
    pub(crate) fn of(time: Duration, partitions: i32) -> Self {
        let values = (time.as_secs_f64() * BYTES_A_SECOND) as usize / VALUE_BYTES;
        let records =
            values.div_ceil(usize::try_from(partitions).unwrap_or(1)).next_multiple_of(BATCH_RECORDS);
        let segment_bytes = (records * VALUE_BYTES / SEGMENTS).max(SEGMENT_BYTES_MIN);
        Self { records, keys: records.div_ceil(WRITES_A_KEY), segment_bytes }
    }

    /// The topic's settings while it is written.
    pub(crate) fn configs(self) -> Vec<(&'static str, String)> {
        vec![
            ("cleanup.policy", "delete".to_owned()),
            ("min.cleanable.dirty.ratio", "0.5".to_owned()),
            ("segment.bytes", self.segment_bytes.to_string()),
        ]
    }
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Compaction {
    bootstrap: SocketAddr,
    topic: Str,
    partitions: Vec<Partition>,
    size: Size,
    batch_bytes: u64,
}

#[derive(Debug)]
struct Partition {
    leader: SocketAddr,
    /// The number of each key's last record, if it has one.
    last: Vec<Option<u64>>,
}

impl Compaction {
    /// Writes all records.
    ///
    /// # Errors
    /// A broker refuses.
    pub(crate) fn written(
        bootstrap: SocketAddr,
        topic: &str,
        leaders: &Leaders,
        size: Size,
    ) -> Result<Self, LoadError> {
        let (mut partitions, mut batch_bytes) = (Vec::new(), 0);
        let topic = Str::from(topic);
        for (index, &leader) in (0..).zip(leaders) {
            let mut client = Client::connect(leader)?;
            // A broker may learn later than others that it leads.
            client.end_offset(&topic, index)?;
            let mut last = vec![None; size.keys];
            let mut random = u64::from(u32::MAX - u32::try_from(index).unwrap_or(0));
            for number in 0..size.records / BATCH_RECORDS {
                let mut batch = BatchBuilder::new();
                for number in (number * BATCH_RECORDS..).take(BATCH_RECORDS) {
                    // Knuth's MMIX generator.
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let key = usize::try_from(random >> 33).unwrap_or(0) % size.keys;
                    let number = number as u64;
                    batch.add(now_ms(), Some(&(key as u64).to_be_bytes()), Some(&value(number, random)), &[]);
                    last[key] = Some(number);
                }
                let batch = batch.finish();
                batch_bytes += batch.len() as u64;
                produce(&mut client, &topic, index, batch.into())?;
            }
            partitions.push(Partition { leader, last });
        }
        Ok(Self { bootstrap, topic, partitions, size, batch_bytes })
    }

    /// Lets it be cleaned, and waits until it is.
    ///
    /// # Errors
    /// A broker refuses, or takes too long.
    pub(crate) fn clean(&self) -> Result<Loaded, LoadError> {
        let watch = Stopwatch::start();
        let mut client = Client::connect(self.bootstrap)?;
        let mut brokers = Vec::new();
        for address in client.broker_addresses()? {
            brokers.push(Client::connect(address)?);
        }
        self.compact(&mut client)?;
        for broker in &mut brokers {
            while !self.is_clean(broker)? {
                if watch.seconds() > PATIENCE.as_secs_f64() {
                    return Err(LoadError::Refused(format!("not clean after {} s", PATIENCE.as_secs())));
                }
                std::thread::sleep(LOOK);
            }
        }
        let records = (self.size.records * self.partitions.len()) as u64;
        Ok(Loaded {
            requests: 0,
            records,
            value_bytes: records * VALUE_BYTES as u64,
            batch_bytes: self.batch_bytes,
            seconds: watch.seconds(),
            own_cpu_s: watch.own_cpu_s(),
            latency: Latency::default(),
        })
    }

    fn compact(&self, client: &mut Client) -> Result<(), LoadError> {
        const TOPIC: i8 = 2;
        let policy = AlterableConfig {
            name: Str::from_static("cleanup.policy"),
            value: Some(Str::from_static("compact")),
            ..AlterableConfig::default()
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: self.topic.clone(),
            configs: vec![policy],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let Response::IncrementalAlterConfigs(response) = client.ask(request, 1)? else {
            return Err(LoadError::unexpected(ApiKey::IncrementalAlterConfigs, "of another kind"));
        };
        let mut codes = response.responses.iter().map(|answer| answer.error_code);
        codes.try_for_each(|code| check(ApiKey::IncrementalAlterConfigs, code))
    }

    /// Whether each replica of a broker is at most as large as its keys with a tenth more, and the segment that is written to.
    fn is_clean(&self, broker: &mut Client) -> Result<bool, LoadError> {
        let partitions = (0..).take(self.partitions.len()).collect();
        let topic = DescribableLogDirTopic { topic: self.topic.clone(), partitions };
        let request = DescribeLogDirsRequest { topics: Some(vec![topic]) };
        let Response::DescribeLogDirs(response) = broker.ask(request, 3)? else {
            return Err(LoadError::unexpected(ApiKey::DescribeLogDirs, "of another kind"));
        };
        check(ApiKey::DescribeLogDirs, response.error_code)?;
        let per_record = self.batch_bytes as usize / (self.size.records * self.partitions.len());
        let segment = self.size.segment_bytes + BATCH_RECORDS * (VALUE_BYTES + BATCH_HEADER_BYTES);
        let bytes_max = self.size.keys * per_record * 11 / 10 + segment;
        let topics = response.results.iter().flat_map(|folder| &folder.topics);
        let mut replicas = topics.flat_map(|topic| &topic.partitions).peekable();
        if replicas.peek().is_none() {
            return Err(LoadError::unexpected(ApiKey::DescribeLogDirs, "empty"));
        }
        Ok(replicas.all(|it| usize::try_from(it.partition_size).unwrap_or(0) <= bytes_max))
    }

    /// Reads all that is left: each key has the record that was written last, and nothing comes behind it.
    ///
    /// # Errors
    /// A key has another one, or none.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        for (index, partition) in (0..).zip(&self.partitions) {
            let found = self.read(index, partition)?;
            if let Some(key) = (0..self.size.keys).find(|&key| found[key] != partition.last[key]) {
                return Err(LoadError::Refused(format!(
                    "of key {key} in partition {index} record {:?} was written last, and {:?} is read last",
                    partition.last[key], found[key]
                )));
            }
        }
        Ok(())
    }

    /// The number of each key's last record, as a reader sees it.
    fn read(&self, index: i32, partition: &Partition) -> Result<Vec<Option<u64>>, LoadError> {
        let mut client = Client::connect(partition.leader)?;
        let (end, mut next) = (client.end_offset(&self.topic, index)?, 0);
        let mut found = vec![None; self.size.keys];
        while next < end {
            let before = next;
            let records = fetch(&mut client, &self.topic, index, next)?;
            for (header, range) in Batches::new(&records) {
                next = header.next_offset().0;
                for record in RecordIter::new(&header, &records[range][BATCH_HEADER_BYTES..]) {
                    let record = record.map_err(|error| LoadError::Refused(error.to_string()))?;
                    let key = record.key.and_then(|key| key.first_chunk()).copied().map(u64::from_be_bytes);
                    let key = key.and_then(|key| usize::try_from(key).ok()).filter(|key| *key < found.len());
                    let number = record.value.and_then(|value| value.first_chunk()).copied();
                    let (Some(key), Some(number)) = (key, number.map(u64::from_be_bytes)) else {
                        return Err(LoadError::Refused(format!(
                            "nobody wrote the record at {}",
                            record.offset.0
                        )));
                    };
                    found[key] = Some(number);
                }
            }
            if next == before {
                return Err(LoadError::Refused(format!(
                    "nothing is read of partition {index} from {next} on"
                )));
            }
        }
        Ok(found)
    }
}

/// A record's number, and letters that are not the same in all of them.
fn value(number: u64, mut random: u64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    while value.len() < VALUE_BYTES {
        // Marsaglia's xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        value.extend_from_slice(&random.to_be_bytes());
    }
    value
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0)
}

fn produce(client: &mut Client, topic: &Str, index: i32, records: Records) -> Result<(), LoadError> {
    let partition_data = vec![PartitionProduceData { index, records: Some(records) }];
    let topic = TopicProduceData { name: topic.clone(), partition_data, ..TopicProduceData::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    let Response::Produce(response) = client.ask(request, 8)? else {
        return Err(LoadError::unexpected(ApiKey::Produce, "of another kind"));
    };
    let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    answers.into_iter().try_for_each(|answer| check(ApiKey::Produce, answer.error_code))
}

/// The records of a partition from an offset on, in one piece.
fn fetch(client: &mut Client, topic: &Str, partition: i32, fetch_offset: i64) -> Result<Vec<u8>, LoadError> {
    let wanted = FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: PARTITION_BYTES_MAX,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic: topic.clone(), partitions: vec![wanted], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: ANSWER_BYTES_MAX,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    let Response::Fetch(response) = client.ask(request, 4)? else {
        return Err(LoadError::unexpected(ApiKey::Fetch, "of another kind"));
    };
    let mut records = Vec::new();
    for answer in response.responses.iter().flat_map(|topic| &topic.partitions) {
        check(ApiKey::Fetch, answer.error_code)?;
        answer.records.iter().flat_map(Records::pieces).for_each(|piece| records.extend_from_slice(piece));
    }
    Ok(records)
}
