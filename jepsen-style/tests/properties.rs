//! What a correct log shows is valid, whatever happens; and one thing that is changed in it is named.

#![expect(clippy::unwrap_used, reason = "a helper fails as its test does")]
#![expect(clippy::ptr_arg, reason = "all ways to spoil a history have one type")]

mod support;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use seedlog_checker::history::{Event, Offset, Operation, Partition, Phase, Process, Read, Sent, Value};
use seedlog_checker::verdict::{AnomalyKind, Verdict};
use seedlog_checker::{Judge, judge};
use support::{LAST_READER, Rng, Size, history, text};

fn verdict(events: &[Event]) -> Verdict {
    let mut judge = Judge::new();
    for event in events {
        judge.on_event(event).unwrap_or_else(|error| panic!("{error}\n{}", text(events)));
    }
    judge.verdict()
}

fn sizes() -> impl Strategy<Value = Size> {
    (1_usize..400, 1_u64..4, 1_u64..4, 1_u32..4).prop_map(|(steps, producers, consumers, partitions)| Size {
        steps,
        producers,
        consumers,
        partitions,
    })
}

/// A record of a poll of the last reader: its event, its place in it, and what it is.
#[derive(Debug, Clone)]
struct Seen {
    event: usize,
    place: usize,
    read: Read,
}

/// A record of a send that was acknowledged.
#[derive(Debug, Clone)]
struct Acked {
    invoked: usize,
    ended: usize,
    place: usize,
    process: Process,
    sent: Sent,
}

fn reads(event: &mut Event) -> Option<&mut Vec<Read>> {
    if let Operation::Poll(polled) = &mut event.operation { Some(&mut polled.records) } else { None }
}

fn sends(event: &mut Event) -> Option<&mut Vec<Sent>> {
    if let Operation::Send(records) = &mut event.operation { Some(records) } else { None }
}

fn seen(events: &[Event]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (event, line) in events.iter().enumerate().filter(|(_, line)| line.process == LAST_READER) {
        if let Operation::Poll(polled) = &line.operation {
            let records = polled.records.iter().cloned().enumerate();
            seen.extend(records.map(|(place, read)| Seen { event, place, read }));
        }
    }
    seen
}

fn acked(events: &[Event]) -> Vec<Acked> {
    let mut acked = Vec::new();
    for (ended, line) in events.iter().enumerate().filter(|(_, line)| line.phase == Phase::Ok) {
        let Operation::Send(records) = &line.operation else { continue };
        let began = |event: &Event| {
            let Operation::Send(invoked) = &event.operation else { return false };
            invoked[0].value == records[0].value
        };
        let invoked = events.iter().position(began).unwrap();
        for (place, sent) in records.iter().cloned().enumerate().filter(|(_, sent)| sent.offset.is_some()) {
            acked.push(Acked { invoked, ended, place, process: line.process, sent });
        }
    }
    acked
}

/// Pairs of acknowledged records of one process in one partition, the first of which was sent first.
fn in_order(events: &[Event], is_wanted: impl Fn(&Acked, &Acked) -> bool) -> Vec<(Acked, Acked)> {
    let acked = acked(events);
    let mut pairs = Vec::new();
    for one in &acked {
        let later = acked.iter().filter(|other| {
            (other.process, other.sent.partition) == (one.process, one.sent.partition)
                && is_wanted(one, other)
        });
        pairs.extend(later.map(|other| (one.clone(), other.clone())));
    }
    pairs
}

/// Spoils a history, if it has what that takes, and says what is to be found.
type Spoil = fn(&mut Vec<Event>, &mut Rng) -> Option<AnomalyKind>;

/// Nobody reads a record that was acknowledged, and the last reader reads one behind it.
fn lose(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let seen = seen(events);
    let is_passed = |acked: &Acked| {
        let behind = |seen: &Seen| Some(seen.read.partition.index) == acked.sent.partition;
        seen.iter().any(|seen| behind(seen) && Some(seen.read.offset) > acked.sent.offset)
    };
    let lost = acked(events).into_iter().filter(is_passed).collect::<Vec<_>>();
    let lost = rng.pick(&lost)?;
    for event in events {
        if let Some(reads) = reads(event) {
            reads.retain(|read| read.value != lost.sent.value);
        }
    }
    Some(AnomalyKind::LostWrite)
}

/// The last reader leaves out one record that was acknowledged and has another one behind it.
fn skip(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let acked: Vec<Value> = acked(events).into_iter().map(|acked| acked.sent.value).collect();
    let seen = seen(events);
    let in_partition = |partition: &Partition| {
        let partition = partition.clone();
        seen.iter().filter(move |seen| seen.read.partition == partition)
    };
    let skippable: Vec<(&Seen, AnomalyKind)> = seen
        .iter()
        .filter(|seen| acked.contains(&seen.read.value))
        .filter_map(|skipped| {
            let after =
                in_partition(&skipped.read.partition).find(|seen| seen.read.offset > skipped.read.offset)?;
            let before =
                in_partition(&skipped.read.partition).rfind(|seen| seen.read.offset < skipped.read.offset);
            let is_internal = before.is_some_and(|before| before.event == after.event);
            Some((skipped, if is_internal { AnomalyKind::IntPollSkip } else { AnomalyKind::PollSkip }))
        })
        .collect();
    let (skipped, kind) = rng.pick(&skippable)?;
    reads(&mut events[skipped.event])?.remove(skipped.place);
    Some(*kind)
}

/// The last reader does not see the last record of a partition, which was acknowledged or read by another.
fn stop_early(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let (acked, seen) = (acked(events), seen(events));
    let last = seen.iter().filter(|one| {
        let is_last = !seen
            .iter()
            .any(|other| other.read.partition == one.read.partition && other.read.offset > one.read.offset);
        is_last && acked.iter().any(|acked| acked.sent.value == one.read.value)
    });
    let last = last.cloned().collect::<Vec<_>>();
    let last = rng.pick(&last)?;
    reads(&mut events[last.event])?.remove(last.place);
    Some(AnomalyKind::Unseen)
}

/// A poll of the last reader has two neighbours of one partition in the wrong order.
fn turn(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let seen = seen(events);
    let neighbours = seen
        .windows(2)
        .filter(|pair| pair[0].event == pair[1].event && pair[0].read.partition == pair[1].read.partition);
    let neighbours = neighbours.collect::<Vec<_>>();
    let pair = rng.pick(&neighbours)?;
    reads(&mut events[pair[0].event])?.swap(pair[0].place, pair[1].place);
    Some(AnomalyKind::IntNonmonotonicPoll)
}

/// A poll of the last reader has a record twice.
fn stutter(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let seen = seen(events);
    let twice = rng.pick(&seen)?;
    reads(&mut events[twice.event])?.insert(twice.place, twice.read.clone());
    Some(AnomalyKind::IntNonmonotonicPoll)
}

/// The last reader gets a record again in a poll of its own.
fn go_back(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let seen = seen(events);
    let again = rng.pick(&seen)?.read.clone();
    let at = events.len() - 1;
    events.insert(at, Event::new(0, LAST_READER, Phase::Ok, Operation::Poll(vec![again].into())));
    Some(AnomalyKind::NonmonotonicPoll)
}

/// A record stands at the end of its partition once more.
fn append_again(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let seen = seen(events);
    let again = rng.pick(&seen)?.read.clone();
    let last = seen.iter().filter(|seen| seen.read.partition == again.partition).map(|seen| seen.read.offset);
    let offset = Offset(last.max()?.0 + 1000);
    let at = events.len() - 1;
    let poll = Operation::Poll(vec![Read { offset, ..again }].into());
    events.insert(at, Event::new(0, LAST_READER, Phase::Ok, poll));
    Some(AnomalyKind::Duplicate)
}

/// The last reader finds another value where one was acknowledged.
fn replace(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let acked: Vec<Value> = acked(events).into_iter().map(|acked| acked.sent.value).collect();
    let seen = seen(events);
    let replaced = seen.iter().filter(|seen| acked.contains(&seen.read.value)).collect::<Vec<_>>();
    let replaced = *rng.pick(&replaced)?;
    reads(&mut events[replaced.event])?[replaced.place].value = Value::Integer(-1);
    Some(AnomalyKind::InconsistentOffsets)
}

/// A reader finds what nobody sent.
fn invent(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    replace(events, rng).map(|_| AnomalyKind::Phantom)
}

/// A send that was acknowledged and read failed.
fn fail(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let acked = acked(events);
    let event = &mut events[rng.pick(&acked)?.ended];
    event.phase = Phase::Fail;
    Some(AnomalyKind::AbortedRead)
}

/// Two acknowledgements of one process in one partition name each other's offsets.
fn swap_offsets(events: &mut [Event], pairs: &[(Acked, Acked)], rng: &mut Rng) -> Option<()> {
    let (one, other) = rng.pick(pairs)?;
    sends(&mut events[one.ended])?[one.place].offset = other.sent.offset;
    sends(&mut events[other.ended])?[other.place].offset = one.sent.offset;
    Some(())
}

fn acknowledge_backwards(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let pairs = in_order(events, |one, other| one.ended < other.invoked);
    swap_offsets(events, &pairs, rng)?;
    Some(AnomalyKind::NonmonotonicSend)
}

fn acknowledge_backwards_inside(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let pairs = in_order(events, |one, other| one.ended == other.ended && one.place < other.place);
    swap_offsets(events, &pairs, rng)?;
    Some(AnomalyKind::IntNonmonotonicSend)
}

/// Everybody reads two records of one process and key where the other should be; acknowledgements do not say where.
fn turn_keys(events: &mut Vec<Event>, rng: &mut Rng) -> Option<AnomalyKind> {
    let pairs = in_order(events, |one, other| {
        let is_after = one.ended < other.invoked || one.ended == other.ended && one.place < other.place;
        is_after && one.sent.key.is_some() && one.sent.key == other.sent.key
    });
    let (one, other) = rng.pick(&pairs)?;
    for acked in [one, other] {
        sends(&mut events[acked.ended])?[acked.place].offset = None;
    }
    for read in events.iter_mut().filter_map(reads).flatten() {
        if read.value == one.sent.value {
            read.value = other.sent.value.clone();
        } else if read.value == other.sent.value {
            read.value = one.sent.value.clone();
        }
    }
    Some(AnomalyKind::KeyOrder)
}

const SPOILS: [Spoil; 13] = [
    lose,
    skip,
    stop_early,
    turn,
    stutter,
    go_back,
    append_again,
    replace,
    invent,
    fail,
    acknowledge_backwards,
    acknowledge_backwards_inside,
    turn_keys,
];

fn is_named(events: &[Event], kind: AnomalyKind) -> Result<(), TestCaseError> {
    let verdict = verdict(events);
    let anomaly = verdict.anomalies.iter().find(|anomaly| anomaly.kind == kind);
    prop_assert!(anomaly.is_some(), "{kind} is due\n{verdict}{}", text(events));
    let example = &anomaly.unwrap().example;
    let lines = events.len() as u64;
    prop_assert!(!example.lines.is_empty() && example.lines.iter().all(|line| (1..=lines).contains(&line.0)));
    prop_assert!(
        !example.records.is_empty() && !example.processes.is_empty() && example.words.ends_with('.')
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_correct_log_shows_is_valid(seed: u64, size in sizes()) {
        let events = history(seed, size);
        let verdict = verdict(&events);
        prop_assert!(verdict.valid, "{verdict}{}", text(&events));
        prop_assert_eq!(judge(text(&events).as_bytes()).unwrap(), verdict);
    }

    #[test]
    fn what_is_spoilt_is_named(seed: u64, size in sizes(), spoil in prop::sample::select(&SPOILS[..])) {
        let mut events = history(seed, size);
        if let Some(kind) = spoil(&mut events, &mut Rng(seed)) {
            is_named(&events, kind)?;
        }
    }

    /// Damage of a text is an error or another verdict, never a panic.
    #[test]
    fn a_damaged_text_is_refused_or_judged(seed: u64, size in sizes(), at: prop::sample::Index, with: Vec<u8>) {
        let mut damaged = text(&history(seed, size)).into_bytes();
        let from = at.index(damaged.len());
        let to = damaged.len().min(from + with.len() / 2);
        damaged.splice(from..to, with);
        drop(judge(&*damaged));
    }

    /// So are lines that are missing, doubled or exchanged.
    #[test]
    fn lines_in_any_order_are_refused_or_judged(
        seed: u64,
        size in sizes(),
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3), 1..20),
    ) {
        let mut events = history(seed, size);
        for (one, other, how) in moves {
            let (one, other) = (one.index(events.len()), other.index(events.len()));
            match how {
                0 => events.swap(one, other),
                1 => events[one] = events[other].clone(),
                _ => events[one].phase = events[other].phase,
            }
        }
        drop(judge(text(&events).as_bytes()));
        let mut judge = Judge::new();
        let is_taken = events.iter().try_for_each(|event| judge.on_event(event));
        drop((is_taken, judge.verdict()));
    }
}

/// Every way to spoil a history is tried, with success.
#[test]
fn every_way_to_spoil_is_found() {
    let size = Size { steps: 500, producers: 2, consumers: 2, partitions: 2 };
    for (number, spoil) in SPOILS.into_iter().enumerate() {
        let mut spoilt = 0;
        for seed in 0..12 {
            let mut events = history(seed, size);
            if let Some(kind) = spoil(&mut events, &mut Rng(seed)) {
                is_named(&events, kind).unwrap();
                spoilt += 1;
            }
        }
        assert!(spoilt >= 4, "way {number} found something to spoil {spoilt} times");
    }
}
