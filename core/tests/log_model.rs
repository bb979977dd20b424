//! A partition's log against models that keep every batch and recompute each answer from all of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::{Generation, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use seedlog_core::log::{
    AppendCheck, AppendError, AppendLimits, BATCHES_KEPT, EpochEnd, Log, LogSnapshot, MARK_SPACING_BYTES,
    SegmentLimits, Truncated, UNDO_MAX,
};
use seedlog_core::records::{Attributes, BatchHeader, TimestampType, next_sequence};
use seedlog_core::time::WallMs;

const LIMITS: AppendLimits = AppendLimits {
    timestamp_type: TimestampType::CreateTime,
    timestamp_before_ms_max: i64::MAX,
    timestamp_after_ms_max: i64::MAX,
    producers_max: usize::MAX,
    first_sequence_zero: false,
};

/// A batch without producer.
fn header(base: i64, count: i32, epoch: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base),
        batch_bytes: 100,
        leader_epoch: LeaderEpoch(epoch),
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: count - 1,
        base_timestamp: 1000,
        max_timestamp: 1000,
        producer_id: ProducerId(-1),
        producer_epoch: ProducerEpoch(-1),
        base_sequence: -1,
        record_count: count,
    }
}

fn produced(id: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    BatchHeader {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
        ..header(0, count, 0)
    }
}

fn append_at_end(log: &mut Log, batch: &BatchHeader) {
    let stamped = BatchHeader { base_offset: log.end(), ..*batch };
    log.append(&stamped, WallMs(1000));
}

/// Checks a client's batch and appends it when it is to be.
fn produce(log: &mut Log, batch: &BatchHeader) -> Result<AppendCheck, AppendError> {
    let checked = log.check_append(batch, WallMs(1000), &LIMITS);
    if checked == Ok(AppendCheck::Append) {
        append_at_end(log, batch);
    }
    log.check_invariants();
    checked
}

fn reread(log: &Log) -> Log {
    let bytes = postcard::to_allocvec(&log.to_snapshot()).expect("memory suffices");
    Log::from_snapshot(postcard::from_bytes::<LogSnapshot>(&bytes).expect("what was written reads back"))
}

/// One thing that happens to a log.
#[derive(Debug, Clone)]
enum Op {
    Append { count: i32, new_epoch: bool, bytes: u32, producer: Option<Producer> },
    BeginEpoch,
    Roll,
    Expire { id: i64 },
    AdvanceStart { back: prop::sample::Index },
    Truncate { back: prop::sample::Index },
}

#[derive(Debug, Clone)]
struct Producer {
    id: i64,
    bump: bool,
    flags: i16,
}

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

fn producer() -> impl Strategy<Value = Producer> {
    let flags = prop_oneof![4 => Just(0), 2 => Just(TRANSACTIONAL), 1 => Just(TRANSACTIONAL | CONTROL)];
    (0..4_i64, prop::bool::weighted(0.15), flags).prop_map(|(id, bump, flags)| Producer { id, bump, flags })
}

fn append() -> impl Strategy<Value = Op> {
    (1..5_i32, prop::bool::weighted(0.1), 61..40_000_u32, proptest::option::weighted(0.7, producer()))
        .prop_map(|(count, new_epoch, bytes, producer)| Op::Append { count, new_epoch, bytes, producer })
}

fn op(shrinking: u32) -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => append(),
        2 => Just(Op::BeginEpoch),
        1 => Just(Op::Roll),
        shrinking => (0..4_i64).prop_map(|id| Op::Expire { id }),
        shrinking => any::<prop::sample::Index>().prop_map(|back| Op::AdvanceStart { back }),
        shrinking => any::<prop::sample::Index>().prop_map(|back| Op::Truncate { back }),
    ]
}

/// A log beside what happened to it.
#[derive(Debug, Clone, Default)]
struct World {
    log: Log,
    /// Every batch in the log, with its append time.
    batches: Vec<(BatchHeader, WallMs)>,
    /// Elections above the start: epoch and start offset.
    elections: Vec<(LeaderEpoch, Offset)>,
    /// Next sequence of each producer's epoch.
    sequences: BTreeMap<i64, (i16, i32)>,
    epoch: i32,
    clock: i64,
}

impl World {
    fn run(ops: &[Op]) -> Self {
        let mut world = Self::default();
        for op in ops {
            world.step(op);
            world.log.check_invariants();
        }
        world
    }

    /// A batch boundary within the log.
    fn boundary(&self, at: prop::sample::Index) -> Offset {
        let inside =
            || self.batches.iter().map(|(b, _)| b.base_offset).filter(|&base| base >= self.log.start());
        let all: Vec<_> = inside().chain([self.log.end()]).collect();
        *at.get(&all)
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Append { count, new_epoch, bytes, producer } => {
                self.epoch += i32::from(*new_epoch);
                self.clock += 7;
                let mut batch = header(self.log.end().0, *count, self.epoch);
                batch.batch_bytes = *bytes;
                batch.max_timestamp = self.clock * 3;
                if let Some(producer) = producer {
                    let next = self.sequences.entry(producer.id).or_insert((0, i32::MAX - 6));
                    if producer.bump {
                        *next = (next.0 + 1, 0);
                    }
                    batch.attributes = Attributes(producer.flags);
                    batch.producer_id = ProducerId(producer.id);
                    batch.producer_epoch = ProducerEpoch(next.0);
                    if !batch.is_control() {
                        batch.base_sequence = next.1;
                        next.1 = next_sequence(next.1, *count);
                    }
                }
                assert!(self.log.follows(&batch));
                self.log.append(&batch, WallMs(self.clock));
                self.batches.push((batch, WallMs(self.clock)));
            }
            Op::BeginEpoch => {
                self.epoch += 1;
                self.log.begin_epoch(LeaderEpoch(self.epoch));
                self.elections.push((LeaderEpoch(self.epoch), self.log.end()));
            }
            Op::Roll => self.log.roll(),
            Op::Expire { id } => self.log.expire(&[ProducerId(*id)]),
            Op::AdvanceStart { back } => {
                let to = self.boundary(*back);
                self.log.advance_start(to);
            }
            Op::Truncate { back } => {
                let to = self.boundary(*back);
                let before = self.log.clone();
                let cut = self.log.truncate_to(to);
                assert_eq!(cut, Truncated::Done);
                assert_eq!(before.generation() == self.log.generation(), to == before.end());
                self.batches.retain(|(batch, _)| batch.base_offset < to);
                self.elections.retain(|&(_, start)| start < to);
                for (id, next) in &mut self.sequences {
                    if let Some(state) = self.log.producers().state(ProducerId(*id)) {
                        let after =
                            |last: &seedlog_core::log::KeptBatch| next_sequence(last.last_sequence(), 1);
                        *next = (state.epoch.0, state.batches().last().map_or(0, after));
                    }
                }
            }
        }
    }

    /// The log that only what is below `to` gives.
    fn prefix(&self, to: Offset) -> Log {
        let mut log = Log::new(Generation(0));
        let mut elections = self.elections.iter().filter(|(_, start)| *start < to).peekable();
        for (batch, time) in self.batches.iter().filter(|(batch, _)| batch.base_offset < to) {
            while let Some((epoch, _)) = elections.next_if(|(_, start)| *start <= batch.base_offset) {
                log.begin_epoch(*epoch);
            }
            log.append(batch, *time);
        }
        assert!(elections.next().is_none(), "an election below the cut has a batch behind it");
        log
    }

    /// Bytes in a range of offsets, from all batches.
    fn bytes(&self, from: Offset, to: Offset) -> u64 {
        let inside = |b: &BatchHeader| b.last_offset() >= from && b.base_offset < to;
        self.batches.iter().filter(|(b, _)| inside(b)).map(|(b, _)| u64::from(b.batch_bytes)).sum()
    }

    /// Epochs with records or, at the end, without: (epoch, start), from all batches and elections.
    fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        let mut all: Vec<_> = self.batches.iter().map(|(b, _)| (b.leader_epoch, b.base_offset)).collect();
        all.extend(self.elections.iter().copied());
        all.sort();
        all.dedup_by_key(|(epoch, _)| *epoch);
        // Of epochs that start at one offset only the last has a record there, or may get one.
        let starts: Vec<_> = all.iter().map(|&(_, start)| start).collect();
        all.iter()
            .enumerate()
            .filter(|(i, (_, start))| starts.get(i + 1) != Some(start))
            .map(|(_, entry)| *entry)
            .collect()
    }
}

proptest! {
    // SAFETY R7: truncation is a step back to what the log was.
    #[test]
    fn truncation_gives_the_log_of_the_prefix(
        ops in proptest::collection::vec(op(0), 1..80),
        at in any::<prop::sample::Index>(),
        more in proptest::collection::vec(append(), 0..10),
    ) {
        let mut world = World::run(&ops);
        let to = world.boundary(at);
        let mut prefix = World { log: world.prefix(to), ..world.clone() };
        let cut = world.log.truncate_to(to);
        prop_assert_eq!(cut, Truncated::Done);
        world.log.check_invariants();
        prop_assert_eq!(world.log.producers(), prefix.log.producers());
        prop_assert_eq!(world.log.epochs(), prefix.log.epochs());
        prop_assert_eq!(world.log.end(), prefix.log.end());
        // And it goes on like it.
        world.sequences.clear();
        prefix.sequences.clear();
        for op in &more {
            if let Op::Append { producer: None, .. } = op {
                world.step(op);
                prefix.step(op);
            }
        }
        prop_assert_eq!(world.log.producers(), prefix.log.producers());
        prop_assert_eq!(world.log.epochs(), prefix.log.epochs());
        prop_assert_eq!(world.log.end(), prefix.log.end());
    }

    // S15: a snapshot and what followed give the log that everything gives.
    #[test]
    fn a_snapshot_and_the_suffix_give_the_whole(
        ops in proptest::collection::vec(op(1), 1..120),
        at in any::<prop::sample::Index>(),
    ) {
        let mut world = World::default();
        let mut restored = World::default();
        let at = at.index(ops.len());
        for (i, op) in ops.iter().enumerate() {
            world.step(op);
            if i < at {
                continue;
            }
            if i == at {
                restored = World { log: reread(&world.log), ..world.clone() };
            } else {
                restored.step(op);
            }
            prop_assert_eq!(&restored.log, &world.log);
        }
    }

    #[test]
    fn epochs_are_those_of_all_batches(ops in proptest::collection::vec(op(0), 1..60), to in any::<prop::sample::Index>()) {
        let mut world = World::run(&ops);
        world.step(&Op::Truncate { back: to });
        let epochs = world.epochs();
        let ours: Vec<_> = world.log.epochs().entries().iter().map(|e| (e.epoch, e.start)).collect();
        prop_assert_eq!(&ours, &epochs);
        prop_assert_eq!(world.log.latest_epoch(), epochs.last().map(|(epoch, _)| *epoch));
        for (batch, _) in &world.batches {
            for offset in batch.base_offset.0..=batch.last_offset().0 {
                prop_assert_eq!(world.log.epoch_at(Offset(offset)), Some(batch.leader_epoch));
            }
        }
        prop_assert_eq!(world.log.epoch_at(world.log.end()), None);
        let end = world.log.end();
        for requested in -1..=world.epoch + 2 {
            let requested = LeaderEpoch(requested);
            // KIP-279: the largest epoch up to the requested one, and where the next one starts.
            let floor = epochs.iter().rev().find(|(epoch, _)| *epoch <= requested).map(|(epoch, _)| *epoch);
            let next = epochs.iter().find(|(epoch, _)| *epoch > requested).map(|(_, start)| *start);
            let expected = match (floor, next) {
                _ if requested.0 < 0 => None,
                (Some(epoch), Some(end)) => Some(EpochEnd { epoch, end }),
                (None, Some(end)) => Some(EpochEnd { epoch: requested, end }),
                (Some(epoch), None) if epoch == requested => Some(EpochEnd { epoch, end }),
                (Some(_) | None, None) => None,
            };
            prop_assert_eq!(world.log.end_offset_for_epoch(requested), expected);
        }
    }

    #[test]
    fn advancing_the_start_keeps_what_is_left(
        ops in proptest::collection::vec(op(0), 1..60),
        to in any::<prop::sample::Index>(),
    ) {
        let mut world = World::run(&ops);
        let start = world.boundary(to);
        let before = world.log.clone();
        prop_assert_eq!(world.log.advance_start(start), start > before.start());
        world.log.check_invariants();
        prop_assert!(!world.log.advance_start(start));
        prop_assert_eq!(world.log.producers(), before.producers());
        prop_assert_eq!(world.log.latest_epoch(), before.latest_epoch());
        for offset in start.0..world.log.end().0 {
            prop_assert_eq!(world.log.epoch_at(Offset(offset)), before.epoch_at(Offset(offset)));
        }
        for epoch in (0..=world.epoch).map(LeaderEpoch) {
            if let (Some(now), Some(then)) =
                (world.log.end_offset_for_epoch(epoch), before.end_offset_for_epoch(epoch))
            {
                prop_assert_eq!(now.end, then.end.max(start));
            }
        }
        let (from, end) = (start, world.log.end());
        prop_assert!(world.log.bytes_between(from, end) >= world.bytes(from, end));
    }

    #[test]
    fn sizes_are_never_under_estimated(
        ops in proptest::collection::vec(op(1), 1..300),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let world = World::run(&ops);
        let (from, to) = (world.boundary(from), world.boundary(to));
        let (truth, estimate) = (world.bytes(from, to), world.log.bytes_between(from, to));
        prop_assert!(truth <= estimate, "{truth} bytes, estimated as {estimate}");
        prop_assert_eq!(estimate == 0, from >= to);
    }
}

/// A producer's batches as a plain list, with sequence numbers that never wrap.
#[derive(Debug, Default)]
struct PlainProducer {
    epoch: i16,
    /// Base sequence, count, base offset.
    batches: Vec<(i64, i32, Offset)>,
}

#[derive(Debug, Clone)]
enum Send {
    Next,
    Again(usize),
    Gap(i32),
    Back(i32),
    OtherLength,
}

proptest! {
    // S25, KIP-98: no gaps, no repeats, and each of the last five batches is recognised.
    #[test]
    fn idempotence_is_that_of_a_list_of_all_batches(
        first in prop_oneof![Just(0_i64), Just(i64::from(i32::MAX) - 10)],
        sends in proptest::collection::vec(
            (0..2_i64, -1..=1_i16, 1..5_i32, prop_oneof![
                4 => Just(Send::Next),
                2 => (0..8_usize).prop_map(Send::Again),
                1 => (1..4_i32).prop_map(Send::Gap),
                1 => (1..4_i32).prop_map(Send::Back),
                1 => Just(Send::OtherLength),
            ], prop::bool::weighted(0.03)),
            1..60,
        ),
    ) {
        let wrap = |sequence: i64| (sequence % (1 << 31)) as i32;
        let mut log = Log::default();
        append_at_end(&mut log, &header(0, 1, 0));
        let mut model: BTreeMap<i64, PlainProducer> = BTreeMap::new();
        for (id, epoch_step, count, send, expire) in sends {
            if expire {
                log.expire(&[ProducerId(id)]);
                model.remove(&id);
            }
            let known = model.get(&id);
            // Most sends stay in the epoch.
            let step = if count == 4 { epoch_step } else { 0 };
            let epoch = (known.map_or(3, |p| p.epoch) + step).max(0);
            let same_epoch = known.filter(|p| p.epoch == epoch);
            let next = match known {
                None => first,
                Some(p) if p.epoch == epoch => p.batches.last().map_or(0, |b| b.0 + i64::from(b.1)),
                Some(_) => 0,
            };
            let (sequence, count) = match send {
                Send::Next => (next, count),
                Send::Gap(by) => (next + i64::from(by), count),
                Send::Back(by) => ((next - i64::from(by)).max(0), count),
                Send::Again(back) => match same_epoch.and_then(|p| p.batches.iter().rev().nth(back)) {
                    Some(&(sequence, count, _)) => (sequence, count),
                    None => (next, count),
                },
                Send::OtherLength => match same_epoch.and_then(|p| p.batches.last()) {
                    Some(&(sequence, count, _)) => (sequence, count + 1),
                    None => (next, count),
                },
            };
            let duplicate = same_epoch.and_then(|p| {
                p.batches.iter().rev().take(BATCHES_KEPT).find(|b| (b.0, b.1) == (sequence, count))
            });
            let end = log.end();
            let answer = produce(&mut log, &produced(id, epoch, wrap(sequence), count));
            match (known, duplicate) {
                (_, Some(&(_, count, base_offset))) => {
                    let expected = AppendCheck::Duplicate {
                        base_offset,
                        last_offset: base_offset.plus(i64::from(count) - 1),
                        max_timestamp: 1000,
                        log_start: Offset::ZERO,
                    };
                    prop_assert_eq!(answer, Ok(expected));
                }
                (Some(p), None) if epoch < p.epoch => {
                    prop_assert_eq!(answer, Err(AppendError::InvalidProducerEpoch { current: ProducerEpoch(p.epoch) }));
                }
                (Some(_), None) if sequence != next => {
                    let error = AppendError::OutOfOrderSequence { expected: wrap(next), found: wrap(sequence) };
                    prop_assert_eq!(answer, Err(error));
                }
                (Some(_) | None, None) => {
                    prop_assert_eq!(answer, Ok(AppendCheck::Append));
                    let p = model.entry(id).or_default();
                    if p.epoch != epoch {
                        *p = PlainProducer { epoch, batches: Vec::new() };
                    }
                    p.batches.push((sequence, count, end));
                }
            }
            let grew = answer == Ok(AppendCheck::Append);
            prop_assert_eq!(log.end(), if grew { end.plus(i64::from(count)) } else { end });
        }
    }
}

fn kept(log: &Log, id: i64) -> usize {
    log.producers().state(ProducerId(id)).map_or(0, |state| state.batches().len())
}

#[test]
fn an_empty_log_is_small_and_owns_nothing_else() {
    assert!(size_of::<Log>() <= 256, "{} bytes", size_of::<Log>());
    let log = Log::default();
    assert_eq!((log.start(), log.end(), log.latest_epoch()), (Offset::ZERO, Offset::ZERO, None));
    assert!(postcard::to_allocvec(&log.to_snapshot()).unwrap().len() < 20);
}

#[test]
fn sequences_wrap_to_zero() {
    let mut log = Log::default();
    append_at_end(&mut log, &header(0, 1, 0));
    assert_eq!(produce(&mut log, &produced(1, 0, i32::MAX - 1, 3)), Ok(AppendCheck::Append));
    let gap = AppendError::OutOfOrderSequence { expected: 1, found: 0 };
    assert_eq!(produce(&mut log, &produced(1, 0, 0, 1)), Err(gap));
    assert_eq!(produce(&mut log, &produced(1, 0, 1, 1)), Ok(AppendCheck::Append));
    let again = produce(&mut log, &produced(1, 0, i32::MAX - 1, 3));
    assert!(matches!(
        again,
        Ok(AppendCheck::Duplicate { base_offset: Offset(1), last_offset: Offset(3), .. })
    ));
}

#[test]
fn a_log_that_was_never_written_takes_sequence_zero_only() {
    // KAFKA-15591: the batch with sequence 0 was refused while the topic was being created; this one overtook it.
    let mut log = Log::default();
    let early = AppendError::OutOfOrderSequence { expected: 0, found: 5 };
    assert_eq!(produce(&mut log, &produced(1, 0, 5, 1)), Err(early));
    assert_eq!(early.code(), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(produce(&mut log, &produced(1, 0, 0, 5)), Ok(AppendCheck::Append));
    assert_eq!(produce(&mut log, &produced(1, 0, 5, 1)), Ok(AppendCheck::Append));
    // KIP-360: where records were, an unknown producer may be in the middle of its sequence.
    assert_eq!(produce(&mut log, &produced(2, 0, 77, 1)), Ok(AppendCheck::Append));
    let strict = AppendLimits { first_sequence_zero: true, ..LIMITS };
    assert!(log.check_append(&produced(3, 0, 77, 1), WallMs(0), &strict).is_err());
}

#[test]
fn deleting_records_keeps_their_producers() {
    // KIP-360, KAFKA-7190.
    let mut log = Log::default();
    assert_eq!(produce(&mut log, &produced(1, 4, 0, 5)), Ok(AppendCheck::Append));
    assert!(log.advance_start(Offset(5)));
    assert!(matches!(produce(&mut log, &produced(1, 4, 0, 5)), Ok(AppendCheck::Duplicate { .. })));
    let fenced = AppendError::InvalidProducerEpoch { current: ProducerEpoch(4) };
    assert_eq!(produce(&mut log, &produced(1, 3, 5, 1)), Err(fenced));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(0)));
}

#[test]
fn a_full_table_refuses_new_producers_and_serves_known_ones() {
    let mut log = Log::default();
    assert_eq!(produce(&mut log, &produced(1, 0, 0, 1)), Ok(AppendCheck::Append));
    let limits = AppendLimits { producers_max: 1, ..LIMITS };
    let refused = log.check_append(&produced(2, 0, 0, 1), WallMs(0), &limits);
    assert_eq!(refused, Err(AppendError::TooManyProducers));
    assert_eq!(log.check_append(&produced(1, 0, 1, 1), WallMs(0), &limits), Ok(AppendCheck::Append));
    log.forget_undo_below(log.end());
    assert_eq!(log.plan_expiry(WallMs(1999), 1000), []);
    assert_eq!(log.plan_expiry(WallMs(2000), 1000), [ProducerId(1)]);
    log.expire(&[ProducerId(1)]);
    assert_eq!(log.check_append(&produced(2, 0, 0, 1), WallMs(0), &limits), Ok(AppendCheck::Append));
}

#[test]
fn a_producer_with_work_to_do_does_not_expire() {
    let mut log = Log::default();
    append_at_end(&mut log, &produced(1, 0, 0, 1));
    assert_eq!(log.plan_expiry(WallMs(i64::MAX), 1), [], "its batch may still be taken back");
    let transactional = BatchHeader { attributes: Attributes(TRANSACTIONAL), ..produced(1, 0, 1, 1) };
    append_at_end(&mut log, &transactional);
    log.forget_undo_below(log.end());
    assert_eq!(log.plan_expiry(WallMs(i64::MAX), 1), [], "its transaction is open");
    assert_eq!(
        log.check_append(&produced(1, 0, 2, 1), WallMs(0), &LIMITS),
        Err(AppendError::TransactionOpen),
        "a plain batch does not belong to the transaction"
    );
    // A new epoch of the producer goes on with the transaction until a marker ends it.
    let mut bumped = log.clone();
    append_at_end(
        &mut bumped,
        &BatchHeader { producer_epoch: ProducerEpoch(1), base_sequence: 0, ..transactional },
    );
    let start = |log: &Log| log.producers().state(ProducerId(1)).and_then(|state| state.transaction_start);
    assert_eq!((start(&log), start(&bumped)), (Some(Offset(1)), Some(Offset(1))));
    // KIP-890: the marker raises the epoch, and with it sequences start anew.
    let marker = BatchHeader { attributes: Attributes(TRANSACTIONAL | CONTROL), ..produced(1, 1, -1, 1) };
    append_at_end(&mut log, &marker);
    assert_eq!(kept(&log, 1), 0);
    assert_eq!(log.check_append(&produced(1, 1, 0, 1), WallMs(0), &LIMITS), Ok(AppendCheck::Append));
    log.forget_undo_below(log.end());
    assert_eq!(log.plan_expiry(WallMs(i64::MAX), 1), [ProducerId(1)]);
}

#[test]
fn an_expired_producer_stays_away_when_its_batches_are_cut() {
    let mut log = Log::default();
    append_at_end(&mut log, &produced(1, 0, 0, 1));
    append_at_end(&mut log, &produced(2, 0, 0, 1));
    append_at_end(&mut log, &produced(1, 1, 0, 1));
    log.expire(&[ProducerId(1)]);
    assert_eq!(log.truncate_to(Offset(2)), Truncated::Done);
    log.check_invariants();
    assert_eq!((kept(&log, 1), kept(&log, 2)), (0, 1));
}

#[test]
fn a_cut_below_what_can_be_undone_costs_the_table() {
    let mut log = Log::default();
    for sequence in 0..UNDO_MAX as i32 + 10 {
        assert_eq!(produce_unchecked(&mut log, sequence), Offset(i64::from(sequence)));
    }
    log.check_invariants();
    assert_eq!(log.truncate_to(Offset(10)), Truncated::Done, "the last that is kept");
    assert_eq!(kept(&log, 1), BATCHES_KEPT);
    let whole = log.producers().clone();
    assert_eq!(log.truncate_to(Offset(9)), Truncated::ProducersLost);
    assert!(log.producers().is_empty());
    log.check_invariants();
    // The leader's table brings it back; its undo entries do not belong here.
    append_at_end(&mut log, &header(0, 1, 0));
    log.replace_producers(whole);
    assert_eq!(kept(&log, 1), BATCHES_KEPT);
    log.check_invariants();
}

fn produce_unchecked(log: &mut Log, sequence: i32) -> Offset {
    let stamped = BatchHeader { base_offset: log.end(), ..produced(1, 0, sequence, 1) };
    log.append(&stamped, WallMs(0)).base_offset
}

#[test]
fn below_the_high_watermark_nothing_is_kept_to_undo() {
    let mut log = Log::default();
    for sequence in 0..10 {
        produce_unchecked(&mut log, sequence);
    }
    log.forget_undo_below(Offset(6));
    assert_eq!(log.truncate_to(Offset(6)), Truncated::Done);
    assert_eq!(kept(&log, 1), BATCHES_KEPT);
    assert_eq!(log.truncate_to(Offset(5)), Truncated::ProducersLost);
}

#[test]
fn a_leader_takes_no_more_than_can_be_taken_back() {
    let mut log = Log::default();
    produce_unchecked(&mut log, 0);
    log.forget_undo_below(log.end());
    let committed = log.clone();
    for sequence in 1..=UNDO_MAX as i32 {
        assert_eq!(produce(&mut log, &produced(1, 0, sequence, 1)), Ok(AppendCheck::Append));
    }
    let next = UNDO_MAX as i32 + 1;
    assert_eq!(produce(&mut log, &produced(1, 0, next, 1)), Err(AppendError::TooManyUncommitted));
    assert_eq!(produce(&mut log, &produced(2, 0, 0, 1)), Err(AppendError::TooManyUncommitted));
    assert!(
        matches!(produce(&mut log, &produced(1, 0, next - 1, 1)), Ok(AppendCheck::Duplicate { .. })),
        "a retry adds nothing"
    );
    assert_eq!(produce(&mut log, &header(0, 1, 0)), Ok(AppendCheck::Append), "no producer, nothing to undo");
    let mut cut = log.clone();
    assert_eq!(cut.truncate_to(Offset(1)), Truncated::Done, "a cut at the watermark loses no producer");
    assert_eq!(cut.producers().state(ProducerId(1)), committed.producers().state(ProducerId(1)));
    log.forget_undo_below(Offset(2));
    assert_eq!(produce(&mut log, &produced(1, 0, next, 1)), Ok(AppendCheck::Append));
}

#[test]
fn a_copy_forgets_what_its_leader_had_forgotten() {
    // SAFETY R10: the leader took sequence 7 of a producer that it did not know any more.
    let (mut leader, mut follower) = (Log::default(), Log::default());
    for log in [&mut leader, &mut follower] {
        append_at_end(log, &produced(1, 0, 0, 2));
        append_at_end(log, &produced(1, 0, 2, 1));
        log.forget_undo_below(log.end());
    }
    leader.expire(&[ProducerId(1)]);
    for log in [&mut leader, &mut follower] {
        append_at_end(log, &produced(1, 0, 7, 1));
        log.check_invariants();
    }
    assert_eq!(kept(&follower, 1), 1);
    let batches = |log: &Log| log.producers().state(ProducerId(1)).map(|state| state.batches().to_vec());
    assert_eq!(batches(&follower), batches(&leader));
    // Cut off, it leaves what was known before.
    assert_eq!(follower.truncate_to(Offset(3)), Truncated::Done);
    assert_eq!(kept(&follower, 1), 2);
}

#[test]
fn elections_without_data_leave_one_epoch() {
    // A6, A7 of the museum: an epoch is known from its election on, and a cut at the end forgets it.
    let mut log = Log::default();
    log.begin_epoch(LeaderEpoch(0));
    assert_eq!(
        log.end_offset_for_epoch(LeaderEpoch(0)),
        Some(EpochEnd { epoch: LeaderEpoch(0), end: Offset(0) })
    );
    append_at_end(&mut log, &header(0, 3, 0));
    log.begin_epoch(LeaderEpoch(4));
    log.begin_epoch(LeaderEpoch(7));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(7)));
    let end = Some(EpochEnd { epoch: LeaderEpoch(0), end: Offset(3) });
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(5)), end);
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(8)), None);
    let generation = log.generation();
    assert_eq!(log.truncate_to(Offset(3)), Truncated::Done);
    assert_eq!((log.latest_epoch(), log.generation()), (Some(LeaderEpoch(0)), generation));
}

#[test]
fn a_reset_starts_anew_and_changes_the_generation() {
    let mut log = Log::new(Generation(3));
    append_at_end(&mut log, &produced(1, 0, 0, 4));
    log.reset_to(Offset(100), Offset::ZERO);
    log.check_invariants();
    assert_eq!((log.start(), log.end(), log.generation()), (Offset(100), Offset(100), Generation(4)));
    assert!(log.producers().is_empty());
    assert_eq!((log.latest_epoch(), log.bytes_between(Offset(0), Offset(200))), (None, 0));
}

#[test]
fn timestamps_are_checked_by_the_header() {
    let log = Log::default();
    let limits = AppendLimits { timestamp_before_ms_max: 100, timestamp_after_ms_max: 10, ..LIMITS };
    let at = |base_timestamp, max_timestamp| BatchHeader { base_timestamp, max_timestamp, ..header(0, 2, 0) };
    let check = |header, limits: &AppendLimits| log.check_append(&header, WallMs(1000), limits);
    assert!(check(at(900, 1010), &limits).is_ok());
    assert!(check(at(-1, -1), &limits).is_ok());
    for (base, max) in [(899, 1000), (1000, 1011), (i64::MIN, 1000), (1000, i64::MAX)] {
        assert_eq!(check(at(base, max), &limits), Err(AppendError::InvalidTimestamp));
        let ours = AppendLimits { timestamp_type: TimestampType::LogAppendTime, ..limits };
        assert!(check(at(base, max), &ours).is_ok());
    }
}

/// Seed 8,603 of the whole world: a pass took the segment before for one that had ended, and what was appended to it meanwhile was
/// gone with it.
#[test]
fn what_follows_a_cut_of_the_whole_active_segment_does_not_join_the_one_before() {
    let limits = SegmentLimits { segment_bytes: 10_000, segment_ms: 1_000_000 };
    let next = header(0, 1, 0);
    let mut log = Log::default();
    append_at_end(&mut log, &next);
    append_at_end(&mut log, &next);
    log.roll();
    append_at_end(&mut log, &next);
    assert_eq!(log.truncate_to(Offset(2)), Truncated::Done);
    assert_eq!(log.active_segment().base, Offset(2));
    assert!(log.plan_roll(&next, WallMs(1000), &limits));
    assert_eq!(log.truncate_to(Offset(0)), Truncated::Done);
    assert!(!log.plan_roll(&next, WallMs(1000), &limits), "nothing is before");
}

#[test]
fn segments_roll_by_bytes_and_by_age() {
    let mut log = Log::default();
    let limits = SegmentLimits { segment_bytes: 250, segment_ms: 1000 };
    let next = header(0, 1, 0);
    assert!(!log.plan_roll(&next, WallMs(i64::MAX), &limits), "an empty segment takes any batch");
    append_at_end(&mut log, &next);
    assert!(!log.plan_roll(&next, WallMs(1999), &limits));
    assert!(log.plan_roll(&next, WallMs(2000), &limits));
    append_at_end(&mut log, &next);
    assert!(log.plan_roll(&next, WallMs(1000), &limits));
    log.roll();
    assert_eq!(log.active_segment().base, Offset(2));
    append_at_end(&mut log, &next);
    assert_eq!(log.active_segment().bytes, 100);
    let generation = log.generation();
    assert_eq!(log.truncate_to(Offset(1)), Truncated::Done);
    assert_eq!((log.active_segment().base, log.active_segment().bytes), (Offset(1), 0));
    assert_ne!(log.generation(), generation);
}

#[test]
fn size_estimates_are_close_over_a_long_log() {
    const BATCH: u32 = 5000;
    const COUNT: i64 = 40_000;
    let mut log = Log::default();
    for i in 0..COUNT {
        log.append(&BatchHeader { batch_bytes: BATCH, ..header(i, 1, 0) }, WallMs(0));
    }
    log.check_invariants();
    for from in (0..COUNT).step_by(13) {
        let truth = (COUNT - from) as u64 * u64::from(BATCH);
        let estimate = log.bytes_between(Offset(from), Offset(COUNT));
        let error_max = (MARK_SPACING_BYTES + u64::from(BATCH)).max(truth / 3);
        assert!(truth <= estimate && estimate - truth <= error_max, "{truth} bytes, estimated as {estimate}");
    }
    assert_eq!(log.bytes_between(Offset(0), Offset(COUNT)), COUNT as u64 * u64::from(BATCH));
    // Retention leaves the estimate of what is left as close.
    log.advance_start(Offset(COUNT - 100));
    assert!(log.bytes_between(Offset(0), Offset(COUNT)) <= 100 * u64::from(BATCH) * 4 / 3);
}
