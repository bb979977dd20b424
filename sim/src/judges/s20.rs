//! S20 compaction keeps the last value of each key, S21 no tombstone goes before its time (INVARIANTS.md 3a): what a cleaned
//! batch lacks of those that were appended is what the rules let go.
//!
//! The other judges know of appended batches alone: a cleaned one is taken for those that it stands for ([`recognise`]).

use super::Judge;
use super::shadow::{ShadowBatch, ShadowRecord, content_of, whole_hash};
use super::truth::TrueLog;
use crate::hash::hash64;
use seedlog_core::ids::{Offset, TopicPartition};
use seedlog_core::records::{BATCH_HEADER_BYTES, BatchHeader, RecordIter};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a key stands last, of what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastOfKey {
    /// Its offset.
    pub offset: Offset,
    /// What it says; `None`: that the key is deleted.
    pub content: Option<u64>,
    /// When it was committed, in virtual µs.
    pub at_us: u64,
}

/// The clock, and how long tombstones stay from their commit on at least, where clocks can be trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    /// Virtual µs.
    pub now_us: u64,
    /// In µs.
    pub tombstones_us: Option<u64>,
}

/// The appended batches that the bytes of one stand for: it, or those that a cleaner made it of.
///
/// # Errors
/// What is wrong with it, and which judge says so.
pub fn recognise(
    log: &TrueLog,
    patience: Patience,
    bytes: &[u8],
) -> Result<Vec<Arc<ShadowBatch>>, (Judge, String)> {
    let Ok(header) = BatchHeader::parse(bytes) else {
        return Err((Judge::S24, "these bytes are no batch".to_owned()));
    };
    let named = log.named.get(header.leader_epoch, header.base_offset);
    if let Some(named) = named.filter(|named| named.whole == whole_hash(bytes)) {
        return Ok(vec![Arc::clone(named)]);
    }
    let unknown = || {
        let (base, epoch) = (header.base_offset, header.leader_epoch);
        (
            Judge::S24,
            format!("a batch at offset {base} of epoch {epoch}, and none like it was appended there"),
        )
    };
    let stands_for = if log.is_compacted { log.named.span(&header) } else { None };
    let stands_for = stands_for.ok_or_else(unknown)?;
    let keeps = header.record_count > 0 || header.has_producer_id();
    let is_of = |batch: &ShadowBatch| {
        let of = &batch.header;
        (of.producer_id, of.producer_epoch, of.base_sequence)
            == (header.producer_id, header.producer_epoch, header.base_sequence)
    };
    if keeps && (stands_for.len() != 1 || !is_of(&stands_for[0])) {
        return Err(unknown());
    }
    check(log, patience, &stands_for, &header, bytes)?;
    Ok(stands_for)
}

fn check(
    log: &TrueLog,
    patience: Patience,
    stands_for: &[Arc<ShadowBatch>],
    header: &BatchHeader,
    bytes: &[u8],
) -> Result<(), (Judge, String)> {
    let mut left = BTreeMap::new();
    for record in RecordIter::new(header, &bytes[BATCH_HEADER_BYTES..]) {
        let record = record.map_err(|error| (Judge::S24, format!("a cleaned batch: {error}")))?;
        left.insert(record.offset, content_of(&record));
    }
    for record in stands_for.iter().flat_map(|batch| &batch.records) {
        match left.remove(&record.offset) {
            Some(content) if content == record.content => {}
            Some(_) => {
                let says = format!("the record at offset {} is not the one that was appended", record.offset);
                return Err((Judge::S20, says));
            }
            None if log.is_beyond => {}
            None => check_gone(log, patience, record)?,
        }
    }
    match left.first_key_value() {
        // Records without keys are not kept in mind.
        Some((offset, _)) if stands_for.iter().all(|batch| !batch.has_keyless) => {
            Err((Judge::S20, format!("the record at offset {offset} was never appended")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A record is missing: something later has its key, or it deleted it long ago.
fn check_gone(log: &TrueLog, patience: Patience, record: &ShadowRecord) -> Result<(), (Judge, String)> {
    let last = log.keys.get(&record.key);
    if last.is_some_and(|last| last.offset > record.offset) {
        return Ok(());
    }
    let Some(last) = last.filter(|last| last.offset == record.offset && record.is_tombstone) else {
        let says = format!("the record at offset {} is the last of its key, and it is gone", record.offset);
        return Err((Judge::S20, says));
    };
    let stays_us = patience.tombstones_us.unwrap_or(0);
    if patience.now_us >= last.at_us + stays_us {
        return Ok(());
    }
    let says = format!(
        "the tombstone at offset {} is gone {} ms after its commit, and it stays for {} ms",
        record.offset,
        (patience.now_us - last.at_us) / 1_000,
        stays_us / 1_000
    );
    Err((Judge::S21, says))
}

/// What a reader of a compacted log got from an offset to its end: the last content of each key, `None` for a tombstone.
#[derive(Debug, Clone, Default)]
pub struct Table(BTreeMap<u64, Option<u64>>);

impl Table {
    /// The reader got a batch, of which it wants the records from an offset on.
    pub fn on_read(&mut self, header: &BatchHeader, bytes: &[u8], from: Offset) {
        let records = RecordIter::new(header, &bytes[BATCH_HEADER_BYTES..]).map_while(Result::ok);
        for record in records.filter(|record| record.offset >= from) {
            if let Some(key) = record.key {
                self.0.insert(hash64(key), record.value.map(|_| content_of(&record)));
            }
        }
    }

    /// Checks it against what is committed from `from` on. `may_miss_tombstones`: the reader took longer than they stay, or went
    /// from one copy to another, and may have a value from before a tombstone that was gone when the reader got there.
    ///
    /// # Errors
    /// Which key has another value.
    pub fn check(&self, log: &TrueLog, may_miss_tombstones: bool, from: Offset) -> Result<(), String> {
        for (key, last) in log.keys.iter().filter(|(_, last)| last.offset >= from) {
            let read = self.0.get(key).copied().flatten();
            if read != last.content && !(last.content.is_none() && may_miss_tombstones) {
                return Err(format!(
                    "a reader of the log from {from} on has {read:?} for a key whose last record, at offset {}, says {:?}",
                    last.offset, last.content
                ));
            }
        }
        Ok(())
    }
}

/// Checks what a node is about to clean against what is committed.
///
/// # Errors
/// It reaches further.
pub fn check_order(log: &TrueLog, partition: TopicPartition, up_to: Offset) -> Result<(), String> {
    if up_to <= log.end() || log.is_beyond {
        return Ok(());
    }
    Err(format!("{partition}: a pass goes up to {up_to}, and what is below {} is committed", log.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::LeaderEpoch;
    use seedlog_core::records::{BatchBuilder, empty_batch};

    fn batch(base: i64, records: &[(&str, Option<&str>)]) -> (BatchHeader, bytes::Bytes) {
        let mut builder = BatchBuilder::new().stamped(Offset(base), LeaderEpoch(1));
        for (key, value) in records {
            builder.add(5, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
        }
        let bytes = builder.finish();
        (BatchHeader::parse(&bytes).unwrap(), bytes)
    }

    /// a=1, a=2 b=1, b deleted: offsets 0, 1..3, 3.
    fn log() -> TrueLog {
        let mut log = TrueLog { is_compacted: true, ..TrueLog::default() };
        for (base, records) in
            [(0, &[("a", Some("1"))][..]), (1, &[("a", Some("2")), ("b", Some("1"))]), (3, &[("b", None)])]
        {
            let (header, bytes) = batch(base, records);
            let batch = log.named.name(&header, &bytes).unwrap();
            log.on_committed(&batch, 1_000_000);
        }
        log
    }

    const SOON: Patience = Patience { now_us: 2_000_000, tombstones_us: Some(5_000_000) };
    const LATE: Patience = Patience { now_us: 9_000_000, ..SOON };

    fn said(log: &TrueLog, patience: Patience, bytes: &[u8]) -> Result<usize, Judge> {
        recognise(log, patience, bytes).map(|batches| batches.len()).map_err(|(judge, _)| judge)
    }

    #[test]
    fn a_cleaned_batch_stands_for_those_that_it_was_made_of() {
        let mut log = log();
        let empty = |base, next| empty_batch(Offset(base), Offset(next), LeaderEpoch(1));
        assert_eq!(said(&log, SOON, &empty(0, 1)), Ok(1));
        assert_eq!(said(&log, SOON, &empty(0, 2)), Err(Judge::S24), "it ends within a batch");
        assert_eq!(said(&log, SOON, &empty(0, 3)), Err(Judge::S20), "a=2 is the last of its key");
        assert_eq!(said(&log, SOON, &empty(3, 4)), Err(Judge::S21));
        assert_eq!(said(&log, LATE, &empty(3, 4)), Ok(1));
        log.is_compacted = false;
        assert_eq!(said(&log, SOON, &empty(0, 1)), Err(Judge::S24), "nobody cleaned it");
    }

    #[test]
    fn a_record_that_is_left_must_be_the_one_that_was_there() {
        let log = log();
        let (_, mut other) = batch(1, &[("a", Some("3"))]);
        assert_eq!(said(&log, SOON, &other), Err(Judge::S24), "its bounds are others");
        let (_, two) = batch(1, &[("a", Some("3")), ("b", Some("1"))]);
        other = two;
        assert_eq!(said(&log, SOON, &other), Err(Judge::S20));
    }

    #[test]
    fn a_table_has_the_last_of_each_key() {
        let log = log();
        let mut table = Table::default();
        let mut read = |base, records: &[(&str, Option<&str>)]| {
            let (header, bytes) = batch(base, records);
            table.on_read(&header, &bytes, Offset(0));
            (table.check(&log, false, Offset(0)).is_ok(), table.check(&log, true, Offset(0)).is_ok())
        };
        assert_eq!(read(0, &[("a", Some("1"))]), (false, false));
        let deleted = "b is deleted, or the reader was too slow to see that";
        assert_eq!(read(1, &[("a", Some("2")), ("b", Some("1"))]), (false, true), "{deleted}");
        assert_eq!(read(3, &[("b", None)]), (true, true));
        let mut without = Table::default();
        let (header, bytes) = batch(1, &[("a", Some("2"))]);
        without.on_read(&header, &bytes, Offset(0));
        assert_eq!(without.check(&log, false, Offset(0)), Ok(()), "a key that nobody saw is deleted as well");
    }
}
