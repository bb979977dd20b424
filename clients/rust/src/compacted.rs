//! Compacted topics: $COMPACTED is a folder with a file for each that the node has cleaned; without it there are no cases. Its
//! first line is "END GAP LASTGAP": where the topic ends, and offsets of which nothing is left, far from the end and close to it.
//! Then comes a line of each record, "OFFSET TIMESTAMP KEY VALUE", with "-" for null.

use std::env;
use std::fs;

use rskafka::client::Client;
use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient};
use rskafka::record::RecordAndOffset;

use crate::{Outcome, partition, record, report};

const TOPICS: [&str; 2] = ["compacted-brief", "compacted-long"];
const USUAL_FETCH_BYTES: i32 = 10_000_000;

pub(crate) async fn cases(client: &Client) -> bool {
    let Ok(folder) = env::var("COMPACTED") else { return true };
    let read = read_all(client, &folder).await;
    let read = report("rust", "a compacted topic: read from the start, and from where nothing is left", read);
    read & report("rust", "a compacted topic: a record without a key is refused", keyless(client).await)
}

async fn read_all(client: &Client, folder: &str) -> Outcome {
    for topic in TOPICS {
        let text = fs::read_to_string(format!("{folder}/{topic}"))?;
        let (bounds, left) = text.split_once('\n').ok_or("the file is empty")?;
        let bounds = bounds.split(' ').map(str::parse).collect::<Result<Vec<i64>, _>>()?;
        let &[end, gap, last_gap] = bounds.as_slice() else { return Err("END GAP LASTGAP".into()) };
        let log = partition(client, topic, 0).await?;
        if log.get_offset(OffsetAt::Latest).await? != end {
            return Err(format!("{topic} does not end at {end}").into());
        }
        for from in [0, gap, last_gap] {
            read_from(&log, left, (from, end))
                .await
                .map_err(|error| format!("{topic} from {from}: {error}"))?;
        }
    }
    Ok(())
}

/// Where a fetch gives no record the library does not tell how to go on.
async fn read_from(log: &PartitionClient, left: &str, (from, end): (i64, i64)) -> Outcome {
    let mut next = from;
    let mut got = Vec::new();
    while next < end {
        let (records, high_watermark) = log.fetch_records(next, 1..USUAL_FETCH_BYTES, 1_000).await?;
        let Some(last) = records.last() else { return Err(format!("nothing comes from {next} on").into()) };
        if high_watermark != end {
            return Err(format!("the high watermark is {high_watermark}, want {end}").into());
        }
        next = last.offset + 1;
        got.extend(records.iter().map(line));
    }
    let is_wanted = |line: &&str| line.split(' ').next().and_then(|word| word.parse().ok()) >= Some(from);
    let want: Vec<&str> = left.lines().filter(is_wanted).collect();
    if got.len() != want.len() {
        return Err(format!("{} records, want {}", got.len(), want.len()).into());
    }
    match got.iter().zip(want).find(|(got, want)| got != want) {
        Some((got, want)) => Err(format!("read {got}, want {want}").into()),
        None => Ok(()),
    }
}

fn line(read: &RecordAndOffset) -> String {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_deref().map_or_else(|| "-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let record = &read.record;
    let timestamp = record.timestamp.timestamp_millis();
    format!("{} {timestamp} {} {}", read.offset, text(&record.key), text(&record.value))
}

async fn keyless(client: &Client) -> Outcome {
    let log = partition(client, "compacted-keys", 0).await?;
    let sent = vec![record(None, Some(b"no key".to_vec()), 1_000)];
    match log.produce(sent, Compression::NoCompression).await {
        Err(KafkaError::ServerError { protocol_error: ProtocolError::InvalidRecord, .. }) => Ok(()),
        other => Err(format!("it is not refused so: {other:?}").into()),
    }
}
