//! What the fuzz targets in `fuzz/` do with bytes, so that plain tests can do the same with the corpus and with mutations of
//! it. A harness takes any bytes at all; it panics where the core breaks a promise, and for no other reason.
//!
//! * [`frame_decode`]: frames of clients, and of brokers as a client reads them; * [`batch`]: a record batch on its way into
//!   a log; * [`peer_message`]: what one node says to another, and [`hear`]: what nodes make of it; * [`recovery()`]: a journal,
//!   as any bytes and as the story of a node that crashes; * [`seeds()`]: the corpus.

mod recovery;
mod seeds;

pub use recovery::recovery;
pub use seeds::seeds;

use crate::golden::Cluster;
use bytes::Bytes;
use seedlog_core::cluster::records::MetadataRecord;
use seedlog_core::door::admit;
use seedlog_core::ids::{Generation, LeaderEpoch, Offset};
use seedlog_core::log::{AppendCheck, AppendLimits, Log};
use seedlog_core::peer::{PeerBody, PeerMessage, admit_batches};
use seedlog_core::records::{
    BATCH_HEADER_BYTES, BatchHeader, Batches, Compression, ProducedBatch, RecordIter, TimestampType,
    check_batch, find_by_timestamp, max_timestamp_record, stamped_header, verify_crc,
};
use seedlog_core::rng::Random;
use seedlog_core::time::WallMs;
use seedlog_core::wire::{
    APIS, LENGTH_PREFIX_BYTES, RequestBody, decode_request, decode_response, encode_request, encode_response,
};

/// A harness: takes any bytes, panics where a promise is broken.
pub type Harness = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Harness); 4] = [
    ("frame_decode", frame_decode),
    ("batch", batch),
    ("peer_message", peer_message),
    ("recovery", recovery),
];

/// First byte of an input of [`frame_decode`] that is an answer: API and version follow, then the frame. Anything else is a
/// request: the first byte of an API's key is 0.
const ANSWER: u8 = 1;

/// Decoding never panics, and what was decoded is what it is encoded from: a frame that was written anew reads the same.
pub fn frame_decode(data: &[u8]) {
    if let [ANSWER, api, version, frame @ ..] = data {
        let api = &APIS[usize::from(*api) % APIS.len()];
        let version = i16::from(*version) % (api.served.max + 1);
        if !api.served.contains(version) {
            return;
        }
        let Ok((correlation_id, response)) =
            decode_response(api.api_key, version, Bytes::copy_from_slice(frame))
        else {
            return;
        };
        let again =
            encode_response(version, correlation_id, &response).expect("what was read can be written");
        let again = again.to_bytes().slice(LENGTH_PREFIX_BYTES..);
        let again = decode_response(api.api_key, version, again).expect("what was written can be read");
        assert_eq!(again, (correlation_id, response));
        return;
    }
    let frame = Bytes::copy_from_slice(data);
    let admitted = admit(frame.clone());
    let Ok(decoded) = decode_request(frame) else {
        assert!(admitted.is_err(), "the door lets in only what can be decoded");
        return;
    };
    if let RequestBody::Known(request) = &decoded.body {
        assert!(admitted.is_ok(), "the door lets in every request that is served");
        let header = &decoded.header;
        let again =
            encode_request(header.api_version, header.correlation_id, header.client_id.as_ref(), request);
        let again = again.expect("what was read can be written").to_bytes().slice(LENGTH_PREFIX_BYTES..);
        assert_eq!(decode_request(again).expect("what was written can be read"), decoded);
    }
}

/// A batch is refused, or it goes into a log, is stamped, and comes out as the batch that it was. Checks that come behind the
/// CRC see the bytes a second time with a CRC that is right.
pub fn batch(data: &[u8]) {
    take_batch(data);
    if data.len() > BATCH_HEADER_BYTES {
        let mut repaired = data.to_vec();
        let length = u32::try_from(data.len() - 12).unwrap_or(0);
        repaired[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&repaired[21..]);
        repaired[17..21].copy_from_slice(&crc.to_be_bytes());
        take_batch(&repaired);
    }
}

fn take_batch(data: &[u8]) {
    let mut batches = Batches::new(data);
    let whole: usize = batches.by_ref().map(|(_, range)| range.len()).sum();
    assert_eq!(whole, batches.end(), "whole batches stand back to back");
    if let Ok(header) = check_batch(data) {
        assert!(verify_crc(data), "a checked batch matches its CRC");
        read_records(&header, &data[BATCH_HEADER_BYTES..]);
    }
    let Ok(produced) = ProducedBatch::parse(Bytes::copy_from_slice(data), u32::MAX) else { return };
    assert_eq!(check_batch(data).as_ref(), Ok(&produced.header), "a client's batch is a batch");
    for append_time in [None, Some(WallMs(1_234))] {
        let mut log = Log::new(Generation(0));
        log.begin_epoch(LeaderEpoch(3));
        let limits = AppendLimits {
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: i64::MAX,
            producers_max: 8,
            first_sequence_zero: false,
        };
        if !matches!(log.check_append(&produced.header, WallMs(1_234), &limits), Ok(AppendCheck::Append)) {
            return;
        }
        let stamped = stamped_header(&produced.header, log.end(), LeaderEpoch(3), append_time);
        let mut bytes = data.to_vec();
        let mut head = [0; BATCH_HEADER_BYTES];
        stamped.write(&mut head);
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&head);
        assert_eq!(check_batch(&bytes), Ok(stamped), "a stamped batch is a batch, with a CRC that is right");
        let appended = log.append(&stamped, WallMs(1_234));
        assert_eq!(appended.base_offset, Offset::ZERO);
        assert_eq!(log.end(), stamped.next_offset());
        log.check_invariants();
        if let Ok(AppendCheck::Append) = log.check_append(&produced.header, WallMs(1_234), &limits) {
            assert!(!produced.header.has_producer_id(), "a batch that comes twice is never appended twice");
        }
    }
}

/// What came over a peer's stream: two bytes that say how long the header is, the header, and the record batches behind it. It
/// is refused, or it is what it is encoded from; batches are all of the bytes, in order, each as its CRC says; and what
/// travels inside of a message is taken apart in the same way.
pub fn peer_message(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let (header, batches) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    if let Ok(message) = PeerMessage::decode(header) {
        let again = PeerMessage::decode(&message.encode()).expect("what was written can be read");
        assert_eq!(again, message);
        read_inside(&message.body);
    }
    let batches = Bytes::copy_from_slice(batches);
    let Ok(admitted) = admit_batches(&batches) else { return };
    let whole: Vec<u8> = admitted.iter().flat_map(|batch| batch.bytes.to_vec()).collect();
    assert_eq!(whole, batches, "nothing is left out");
    for batch in &admitted {
        assert!(verify_crc(&batch.bytes), "a batch matches its CRC");
        assert!(batch.header.base_offset >= Offset::ZERO && batch.header.leader_epoch.0 >= 0);
        read_records(&batch.header, &batch.bytes[BATCH_HEADER_BYTES..]);
    }
    for pair in admitted.windows(2) {
        assert!(pair[0].header.next_offset() <= pair[1].header.base_offset, "offsets grow");
        assert!(pair[0].header.leader_epoch <= pair[1].header.leader_epoch, "epochs never shrink");
    }
}

/// A cluster of three hears the message, each node in a cluster of its own, and time goes on: whatever it says, no node panics.
pub fn hear(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let (header, batches) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let Ok(message) = PeerMessage::decode(header) else { return };
    let Ok(admitted) = admit_batches(&Bytes::copy_from_slice(batches)) else { return };
    // The node closes such a stream.
    if message.is_bulk() == batches.is_empty() {
        return;
    }
    for node in 1..=3 {
        let mut cluster = Cluster::default();
        for command in HEARING_STORY {
            cluster.obey(command).expect("the story makes sense");
        }
        // Nodes that never come to rest over it are no harm: their clock stands still here.
        let _ = cluster.hear(node, message.clone(), &admitted);
        let _ = cluster.obey("advance 1000 ms");
    }
}

/// As the corpus begins, so that its letters are of the same cluster.
const HEARING_STORY: [&str; 4] = [
    "nodes 3",
    "start 1 2 3",
    "at 2: create orders partitions=2 replicas=3",
    "at 1: produce orders-0 'a' 'b'",
];

/// Metadata and clients' frames that are on their way to another node.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these carry bytes of another format")]
fn read_inside(body: &PeerBody) {
    match body {
        PeerBody::MetadataAppend { entries, .. } => {
            for (_, entry) in entries {
                if let Ok(records) = MetadataRecord::decode(entry) {
                    let again = MetadataRecord::decode(&MetadataRecord::encode(&records));
                    assert_eq!(again.as_ref(), Ok(&records), "what was written can be read");
                }
            }
        }
        PeerBody::Forward(forward) => frame_decode(&forward.frame),
        _ => {}
    }
}

fn read_records(header: &BatchHeader, payload: &[u8]) {
    if header.compression() != Some(Compression::None) {
        return;
    }
    let mut last = None;
    for record in RecordIter::new(header, payload) {
        let Ok(record) = record else { break };
        assert!(record.offset >= header.base_offset && record.offset <= header.last_offset());
        assert!(last.is_none_or(|last| last < record.offset), "offsets grow");
        last = Some(record.offset);
        assert_eq!(record.headers.len(), record.headers.count());
    }
    if let Some((_, most)) = max_timestamp_record(header, payload, header.base_offset) {
        let found = find_by_timestamp(header, payload, header.base_offset, most).map(|found| found.1);
        assert_eq!(found, Some(most), "the largest timestamp is found when it is asked for");
    }
}

/// One of the endless variations of some bytes: a few of them changed, cut out, repeated or made up.
#[must_use]
pub fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=below(random, 4) {
        let at = below(random, bytes.len() + 1);
        let len = below(random, 9).min(bytes.len() - at);
        match below(random, 7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + len)),
            2 => {
                let piece = bytes[at..at + len].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let made_up = random.next_u64().to_be_bytes();
                bytes.splice(at..at, made_up[..len].to_vec());
            }
            4 => bytes[at..at + len].fill([0x00, 0x7f, 0x80, 0xff][below(random, 4)]),
            _ if at < bytes.len() => bytes[at] ^= 1 << below(random, 8),
            _ => {}
        }
    }
    bytes
}

/// A number below `end`, which is not 0.
pub(crate) fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.next_u64() % end as u64).expect("below a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise every letter would be dropped unread.
    #[test]
    fn the_corpus_is_of_the_cluster_that_hears_it() {
        let mut cluster = Cluster::default();
        for command in HEARING_STORY {
            cluster.obey(command).expect("the story makes sense");
        }
        let of = |message: &[u8]| PeerMessage::decode(message).expect("a node said it").cluster_id;
        let own = cluster.letters().iter().find_map(|letter| of(&letter.message));
        assert!(own.is_some());
        for (target, name, bytes) in seeds() {
            if target == "peer_message" && name != "found" {
                let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
                assert_eq!(of(&bytes[2..2 + length]), own, "{name}");
            }
        }
    }
}
