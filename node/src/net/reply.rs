//! From an answer to bytes: record bytes are put into a Fetch response at the last moment, cut at batch boundaries to what
//! the answer may hold, and the whole is encoded as a chain of slices that nobody copies.

use super::outbox::{About, Answer};
use bytes::{Buf, Bytes};
use seedlog_core::errors::ErrorCode;
use seedlog_core::output::{Fill, Reply};
use seedlog_core::wire::fetch::PartitionData;
use seedlog_core::wire::{FetchResponse, Records, Response, WireError, encode_response};
use tracing::error;

/// A claim on record bytes that was taken with the output that named them (SAFETY R8).
pub trait Lease: Send + Sync + 'static {
    /// The bytes: whole batches, at most `bytes_max` bytes, except that the first batch is given in any case when
    /// `may_exceed` says so (KIP-74); or why they cannot be had.
    fn resolve(
        self,
        bytes_max: u32,
        may_exceed: bool,
    ) -> impl Future<Output = Result<Vec<Bytes>, String>> + Send;
}

/// The record bytes that an answer takes at most. A first batch that is larger is not foreseen here: it is in memory
/// already, or a cold read of its size.
pub(super) fn fill_bytes(reply: &Reply) -> u64 {
    let wanted: u64 = reply.fills.iter().map(|fill| u64::from(fill.extent.bytes_max)).sum();
    wanted.min(reply.fill_bytes_max.into())
}

/// Puts the records in.
pub(super) async fn fill<L: Lease>(answer: Answer<L>) -> Response {
    let Answer { reply, leases } = answer;
    let Reply { mut response, fills, fill_bytes_max, .. } = *reply;
    assert!(leases.len() == fills.len(), "the driver takes one lease a fill");
    let Response::Fetch(fetch) = &mut response else {
        // Only Fetch has records to fill in; the core's own tests hold it to that.
        return response;
    };
    let mut left = fill_bytes_max;
    let mut is_first = true;
    let mut omitted = Vec::new();
    for (fill, lease) in fills.iter().zip(leases) {
        let result = lease.resolve(left.min(fill.extent.bytes_max), is_first).await;
        let data = &mut fetch.responses[fill.topic].partitions[fill.partition];
        match result {
            Ok(pieces) => {
                let records: Records = pieces.into_iter().collect();
                if records.is_empty() && fill.omit_if_empty {
                    omitted.push((fill.topic, fill.partition));
                }
                is_first &= records.is_empty();
                left = left.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX));
                data.records = Some(records);
            }
            Err(reason) => fail(data, fill, &reason),
        }
    }
    omit(fetch, omitted);
    response
}

/// What can no longer be filled is an error of its partition (SAFETY R8).
fn fail(data: &mut PartitionData, fill: &Fill, reason: &str) {
    let extent = &fill.extent;
    error!(
        partition = %extent.partition,
        from = extent.from.0,
        to = extent.to.0,
        "records cannot be read: {reason}"
    );
    data.error_code = ErrorCode::KafkaStorageError as i16;
    data.high_watermark = -1;
    data.last_stable_offset = -1;
    data.log_start_offset = -1;
    data.aborted_transactions = None;
    data.records = Some(Records::default());
}

/// Leaves out what the version has no field for and Kafka's schema does not call ignorable: Kafka's broker sets the leader
/// epoch of ListOffsets from version 4 on only (KIP-320).
fn fit(response: &mut Response, version: i16) {
    const LIST_OFFSETS_EPOCH_FROM: i16 = 4;
    if let Response::ListOffsets(list) = response
        && version < LIST_OFFSETS_EPOCH_FROM
    {
        for partition in list.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.leader_epoch = -1;
        }
    }
}

/// Takes partitions out that have nothing to say (KIP-227), and topics that have none left.
fn omit(fetch: &mut FetchResponse, mut omitted: Vec<(usize, usize)>) {
    if omitted.is_empty() {
        return;
    }
    // From the back, so that the places in front keep their numbers.
    omitted.sort_unstable();
    for (topic, partition) in omitted.into_iter().rev() {
        fetch.responses[topic].partitions.remove(partition);
    }
    fetch.responses.retain(|topic| !topic.partitions.is_empty());
}

/// Encoded replies on their way to the stream.
#[derive(Debug, Default)]
pub(super) struct Written {
    pieces: Vec<Bytes>,
    /// Pieces before this one are gone.
    start: usize,
    bytes: usize,
}

/// Enough for one write.
const WRITE_BYTES: usize = 256 << 10;

impl Written {
    /// Encodes a reply behind those that are here already.
    pub(super) fn encode(&mut self, about: About, response: &mut Response) -> Result<(), WireError> {
        fit(response, about.version);
        let chain = encode_response(about.version, about.correlation_id, response)?;
        self.bytes += chain.len();
        self.pieces.extend(chain.into_pieces());
        Ok(())
    }

    /// Notes that bytes from the front are written.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while bytes > 0 {
            let front = &mut self.pieces[self.start];
            if bytes < front.len() {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            // Its memory may be a group buffer that waits to go back.
            *front = Bytes::new();
            self.start += 1;
        }
        if self.start == self.pieces.len() {
            self.pieces.clear();
            self.start = 0;
        }
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WRITE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::{Generation, Offset, PartitionIndex, TopicPartition, Uuid};
    use seedlog_core::output::Extent;
    use seedlog_core::wire::fetch::{EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, SnapshotId};
    use seedlog_core::wire::{ApiKey, LENGTH_PREFIX_BYTES, Str};

    /// Batches of these sizes.
    #[derive(Debug)]
    struct Sizes(&'static [usize]);

    impl Lease for Sizes {
        async fn resolve(self, bytes_max: u32, may_exceed: bool) -> Result<Vec<Bytes>, String> {
            if self.0 == [0] {
                return Err("gone".to_owned());
            }
            let mut left = bytes_max as usize;
            let mut pieces = Vec::new();
            for &size in self.0 {
                if size > left && !(may_exceed && pieces.is_empty()) {
                    break;
                }
                left = left.saturating_sub(size);
                pieces.push(Bytes::from(vec![1; size]));
            }
            Ok(pieces)
        }
    }

    fn partition(index: i32) -> PartitionData {
        PartitionData {
            partition_index: index,
            error_code: 0,
            high_watermark: 9,
            last_stable_offset: 9,
            log_start_offset: 0,
            diverging_epoch: EpochEndOffset { epoch: -1, end_offset: -1 },
            current_leader: LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 },
            snapshot_id: SnapshotId { end_offset: -1, epoch: -1 },
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: None,
        }
    }

    fn answer(fill_bytes_max: u32, leases: Vec<Sizes>) -> Answer<Sizes> {
        let at = TopicPartition { topic_id: Uuid([1; 16]), partition: PartitionIndex(0) };
        let fills = (0..leases.len()).map(|index| Fill {
            topic: index / 2,
            partition: index % 2,
            extent: Extent {
                partition: at,
                generation: Generation(0),
                from: Offset(0),
                to: Offset(9),
                bytes_max: 100,
            },
            omit_if_empty: index % 2 == 1,
        });
        let topic = |name: &'static str| FetchableTopicResponse {
            topic: Str::from_static(name),
            topic_id: Uuid::ZERO,
            partitions: vec![partition(0), partition(1)],
        };
        let fetch = FetchResponse {
            throttle_time_ms: 0,
            error_code: 0,
            session_id: 0,
            responses: vec![topic("a"), topic("b")],
            node_endpoints: Vec::new(),
        };
        let fills = fills.collect();
        let response = Response::Fetch(fetch);
        let reply = Reply { response, fills, fill_bytes_max, close: false, throttle_ms: 0 };
        Answer { reply: Box::new(reply), leases }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn sizes(response: Response) -> Vec<(String, i32, i16, usize)> {
        let Response::Fetch(fetch) = response else { panic!("a fetch stays a fetch") };
        let of_topic = |topic: FetchableTopicResponse| {
            let name = topic.topic.to_string();
            topic.partitions.into_iter().map(move |data| {
                let bytes = data.records.map_or(0, |records| records.len());
                (name.clone(), data.partition_index, data.error_code, bytes)
            })
        };
        fetch.responses.into_iter().flat_map(of_topic).collect()
    }

    #[test]
    fn the_first_batch_may_exceed_the_limit_and_later_ones_may_not() {
        let response = run(fill(answer(50, vec![Sizes(&[]), Sizes(&[60, 10]), Sizes(&[10])])));
        let expected =
            [("a".into(), 0, 0, 0), ("a".into(), 1, 0, 60), ("b".into(), 0, 0, 0), ("b".into(), 1, 0, 0)];
        assert_eq!(sizes(response), expected);
    }

    #[test]
    fn empty_partitions_are_left_out_where_the_session_says_so() {
        let leases = vec![Sizes(&[30]), Sizes(&[30]), Sizes(&[0]), Sizes(&[])];
        let response = run(fill(answer(50, leases)));
        let storage_error = ErrorCode::KafkaStorageError as i16;
        assert_eq!(sizes(response), [("a".into(), 0, 0, 30), ("b".into(), 0, storage_error, 0)]);
    }

    #[test]
    fn partial_writes_go_on_where_they_ended() {
        let mut response = run(fill(answer(100, vec![Sizes(&[30]), Sizes(&[40])])));
        let mut written = Written::default();
        let about = About { api: ApiKey::Fetch, version: 12, correlation_id: 7 };
        written.encode(about, &mut response).unwrap();
        let whole: Vec<u8> = written.pieces().iter().flatten().copied().collect();
        assert_eq!(whole.len(), written.len());
        let length = i32::from_be_bytes(*whole.first_chunk().unwrap());
        assert_eq!(length as usize, whole.len() - LENGTH_PREFIX_BYTES);
        let mut seen = Vec::new();
        while !written.is_empty() {
            let some = written.pieces()[0].slice(..written.pieces()[0].len().min(7));
            seen.extend_from_slice(&some);
            written.advance(some.len());
        }
        assert_eq!(seen, whole);
        assert!(written.pieces().is_empty());
    }
}
