//! Keys in compressed batches. A compacted topic takes no record without one, and the core, which has no codecs, cannot look
//! for itself: batches for such topics are looked into here, before it sees them, on the threads that also look into batches
//! for lookups and the cleaner.
//!
//! Whatever a request holds for such topics, it has no more decompressed than [`EXPANSION_MAX`] times its size and [`FREE_BYTES`], one batch at a
//! time. A topic that becomes compacted while a request is on its way takes that request's batches unseen: the cleaner drops
//! records without keys.

use crate::codec;
use crate::store::disk::Completion;
use seedlog_core::broker::CompactedTopics;
use seedlog_core::door::{ClientBody, Produce, ProduceTopic, Refused};
use seedlog_core::ids::Uuid;
use seedlog_core::records::{BATCH_HEADER_BYTES, Compression, ProducedBatch, first_without_key};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// How many times its size what a request has for compacted topics may grow when it is decompressed.
const EXPANSION_MAX: usize = 100;
/// What it may take besides, for small batches that say much the same again and again.
const FREE_BYTES: usize = 16 << 20;
/// The most that one batch may take, as for lookups and the cleaner, in bytes.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Decompresses one batch and says what is wrong with its keys.
pub type Work = Box<dyn FnOnce() -> Looked + Send>;
/// Runs that somewhere else than on the thread of the connections.
pub type Run = Box<dyn Fn(Work) -> Completion<Looked> + Send + Sync>;

/// What came of looking into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    refused: Option<Refused>,
    /// Bytes that were decompressed.
    bytes: usize,
}

/// The topics that are compacted, told by the driver to all connections.
#[derive(Debug, Default)]
pub struct Compacted(RwLock<Named>);

#[derive(Debug, Default)]
struct Named {
    ids: BTreeSet<Uuid>,
    names: BTreeSet<String>,
}

impl Compacted {
    /// These are all from here on.
    pub fn set(&self, topics: &CompactedTopics) {
        let (ids, names) = topics.names().iter().map(|(topic_id, name)| (*topic_id, name.clone())).unzip();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Named { ids, names };
    }

    /// The batches of a request that are to be looked into.
    fn suspects(&self, produce: &Produce) -> Vec<(Place, ProducedBatch)> {
        let named = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = compressed_batches(produce).filter(|((topic, _), _)| named.has(&produce.topics[*topic]));
        found.map(|(place, batch)| (place, batch.clone())).collect()
    }
}

impl Named {
    fn has(&self, topic: &ProduceTopic) -> bool {
        self.ids.contains(&topic.topic_id) || self.names.contains(&*topic.name)
    }
}

/// Looks for keys.
pub struct Keys {
    compacted: Arc<Compacted>,
    run: Run,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("compacted", &self.compacted).finish_non_exhaustive()
    }
}

impl Keys {
    /// For these topics, elsewhere.
    pub fn new(compacted: Arc<Compacted>, run: Run) -> Self {
        Self { compacted, run }
    }

    /// Refuses batches of a request for compacted topics that are compressed and hold a record without a key, cannot be read,
    /// or are too large. All other requests pass at once.
    pub(super) async fn check(&self, body: &mut ClientBody) {
        let ClientBody::Produce(produce) = body else { return };
        let suspects = self.compacted.suspects(produce);
        let compressed: usize = suspects.iter().map(|(_, batch)| batch.bytes.len()).sum();
        let mut left = compressed.saturating_mul(EXPANSION_MAX).saturating_add(FREE_BYTES);
        for ((topic, partition), batch) in suspects {
            let budget = left.min(BATCH_BYTES_MAX);
            // Who does the work is gone when the node ends: then nothing is appended either.
            let Ok(looked) = (self.run)(Box::new(move || look(&batch, budget))).await else { return };
            left -= looked.bytes;
            if let Some(refused) = looked.refused {
                produce.topics[topic].partitions[partition].batch = Err(refused);
            }
        }
    }
}

/// A batch in a request: which of its topics, and which of the partitions there.
type Place = (usize, usize);

fn compressed_batches(produce: &Produce) -> impl Iterator<Item = (Place, &ProducedBatch)> {
    produce.topics.iter().enumerate().flat_map(|(topic_at, topic)| {
        topic.partitions.iter().enumerate().filter_map(move |(part_at, part)| {
            let batch = part.batch.as_ref().ok()?;
            (codec_of(batch) != Some(Compression::None)).then_some(((topic_at, part_at), batch))
        })
    })
}

fn codec_of(batch: &ProducedBatch) -> Option<Compression> {
    batch.header.compression()
}

/// Decompresses a batch to at most `budget` bytes.
fn look(batch: &ProducedBatch, budget: usize) -> Looked {
    let Some(codec) = codec_of(batch) else { return Looked { refused: Some(Refused::Unreadable), bytes: 0 } };
    match codec::decompress(codec, &batch.bytes[BATCH_HEADER_BYTES..], budget) {
        Ok(records) => {
            let lacking = first_without_key(&batch.header, &records);
            Looked { refused: lacking.map(Refused::WithoutKey), bytes: records.len() }
        }
        // As much may have been decompressed before it was known.
        Err(error) => {
            let refused = match error {
                codec::CodecError::OverBudget { .. } => Refused::TooLargeInside,
                codec::CodecError::Corrupt { .. } => Refused::Unreadable,
            };
            Looked { refused: Some(refused), bytes: budget }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::completion;
    use bytes::Bytes;
    use seedlog_core::door::{Acks, ProducePartition};
    use seedlog_core::records::{BatchBuilder, BatchHeader};
    use seedlog_core::wire::Str;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const CODECS: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    const ID: Uuid = Uuid([7; 16]);

    /// Records with these keys and a value of so many zeros, compressed.
    fn batch(codec: Compression, keys: &[Option<&[u8]>], zeros: usize) -> ProducedBatch {
        let mut builder = BatchBuilder::new();
        let value = vec![0; zeros];
        for key in keys {
            builder.add(1, *key, Some(&value), &[]);
        }
        let plain = builder.finish();
        let payload = codec::compress(codec, &plain[BATCH_HEADER_BYTES..]).unwrap();
        with_payload(&plain, codec, &payload)
    }

    fn with_payload(plain: &[u8], codec: Compression, payload: &[u8]) -> ProducedBatch {
        let mut bytes = plain[..BATCH_HEADER_BYTES].to_vec();
        bytes[22] = codec as u8;
        bytes.extend_from_slice(payload);
        let length = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let bytes = Bytes::from(bytes);
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.compression(), Some(codec));
        ProducedBatch::parse(bytes, u32::MAX).unwrap()
    }

    /// What becomes of a request with these batches, by name or by id, and how many were looked into.
    fn checked(
        compacted: &[(Uuid, &str)],
        name: &str,
        batches: Vec<ProducedBatch>,
    ) -> (Vec<Option<Refused>>, usize) {
        let shared = Arc::new(Compacted::default());
        let (ids, names) = compacted.iter().map(|(topic_id, name)| (*topic_id, (*name).to_owned())).unzip();
        *shared.0.write().unwrap() = Named { ids, names };
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let run: Run = Box::new(move |work: Work| {
            counted.fetch_add(1, Ordering::Relaxed);
            let (completer, completion) = completion();
            completer.complete(Ok(work()));
            completion
        });
        let part = |batch| ProducePartition { index: 0, batch: Ok(batch) };
        let topic_id = if name.is_empty() { ID } else { Uuid::ZERO };
        let topic = ProduceTopic {
            name: Str::from(name),
            topic_id,
            partitions: batches.into_iter().map(part).collect(),
        };
        let acks = Acks::All;
        let produce = Produce { transactional_id: None, acks, timeout_ms: 0, topics: vec![topic] };
        let mut body = ClientBody::Produce(produce);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Keys::new(shared, run).check(&mut body));
        let ClientBody::Produce(produce) = body else { unreachable!("it was one") };
        let outcomes = produce.topics[0].partitions.iter().map(|part| part.batch.as_ref().err().copied());
        (outcomes.collect(), runs.load(Ordering::Relaxed))
    }

    const TABLE: &[(Uuid, &str)] = &[(ID, "table")];

    #[test]
    fn a_compressed_record_without_a_key_is_found_in_every_codec() {
        for codec in CODECS {
            let good = || batch(codec, &[Some(b"a"), Some(b"")], 10);
            let bad = || batch(codec, &[Some(b"a"), None, Some(b"c")], 10);
            for name in ["table", ""] {
                let (outcomes, _) = checked(TABLE, name, vec![good(), bad(), good()]);
                assert_eq!(outcomes, [None, Some(Refused::WithoutKey(1)), None], "{codec:?}");
            }
            // Nobody looks where keys are not asked for.
            assert_eq!(checked(TABLE, "stream", vec![bad()]), (vec![None], 0));
            assert_eq!(checked(&[], "table", vec![bad()]), (vec![None], 0));
        }
    }

    #[test]
    fn what_is_not_compressed_is_the_cores_to_look_at() {
        let mut builder = BatchBuilder::new();
        builder.add(1, None, Some(b"v"), &[]);
        let plain = ProducedBatch::parse(builder.finish(), u32::MAX).unwrap();
        assert_eq!(checked(TABLE, "table", vec![plain]), (vec![None], 0));
    }

    #[test]
    fn a_bomb_is_refused_and_costs_a_bounded_amount_however_many_there_are() {
        const ZEROS: usize = 40 << 20;
        for codec in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
            let bomb = batch(codec, &[Some(b"a")], ZEROS);
            assert!(bomb.bytes.len() < ZEROS / EXPANSION_MAX, "{codec:?}: it is one");
            let budget = bomb.bytes.len() * EXPANSION_MAX + FREE_BYTES;
            let small = budget < ZEROS;
            let (outcomes, _) = checked(TABLE, "table", vec![bomb.clone()]);
            assert_eq!(outcomes == [Some(Refused::TooLargeInside)], small, "{codec:?}");
            assert_eq!(
                look(&bomb, 1 << 20),
                Looked { refused: Some(Refused::TooLargeInside), bytes: 1 << 20 }
            );
        }
        // The first ones use up what the request may take.
        let bomb = batch(Compression::Zstd, &[Some(b"a")], ZEROS);
        let good = batch(Compression::Zstd, &[Some(b"a")], 10);
        let (outcomes, _) = checked(TABLE, "table", vec![bomb.clone(), bomb, good]);
        assert_eq!(outcomes, [Some(Refused::TooLargeInside); 3]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for codec in CODECS {
            let whole = batch(codec, &[Some(b"a"), Some(b"b")], 100);
            let garbage = with_payload(&whole.bytes, codec, b"this is no compressed payload at all");
            let (outcomes, _) = checked(TABLE, "table", vec![garbage]);
            assert!(
                matches!(outcomes[..], [Some(Refused::Unreadable | Refused::TooLargeInside)]),
                "{codec:?}: {outcomes:?}"
            );
            // Fewer records than the header promises.
            let mut fewer = batch(codec, &[Some(b"a")], 100).bytes.to_vec();
            let payload = fewer.split_off(BATCH_HEADER_BYTES);
            let promises = with_payload(&whole.bytes, codec, &payload);
            let (outcomes, _) = checked(TABLE, "table", vec![promises]);
            assert_eq!(outcomes, [Some(Refused::WithoutKey(1))], "{codec:?}");
        }
    }
}
