//! What became of the demo's records: each carries its number, so what is read back tells what is missing, twice or out of
//! order. No I/O here.

use std::fmt::Write;

use serde::Serialize;

/// Bytes of a record's value.
const VALUE_BYTES: usize = 100;

/// The value of record `number`.
pub(super) fn value_of(number: u64) -> String {
    let mut text = format!("record {number} ");
    while text.len() < VALUE_BYTES {
        text.push('.');
    }
    text
}

fn number_of(value: &[u8]) -> Option<u64> {
    str::from_utf8(value).ok()?.strip_prefix("record ")?.split(' ').next()?.parse().ok()
}

/// Compares what was acknowledged with what is read. Record `n` goes to partition `n % partitions`, in order of numbers.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Acknowledged records of each partition: acknowledgements come in order, so a count says which.
    acknowledged: Vec<u64>,
    /// How often each record was read.
    reads: Vec<u8>,
    /// The number after the last one read, by partition.
    next: Vec<u64>,
    read: u64,
    out_of_order: u64,
    foreign: u64,
}

/// The demo's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// Records that the node acknowledged.
    pub(super) acknowledged: u64,
    /// Records that were read back.
    pub(super) read: u64,
    /// Acknowledged, but not read back.
    pub(super) lost: u64,
    /// Read more than once.
    pub(super) duplicated: u64,
    /// Read after a record of their partition that was written later, or from another partition.
    pub(super) out_of_order: u64,
}

impl Ledger {
    /// A ledger for records `0..records`.
    pub(super) fn new(partitions: usize, records: u64) -> Self {
        Self {
            acknowledged: vec![0; partitions],
            reads: vec![0; usize::try_from(records).unwrap_or(usize::MAX)],
            next: vec![0; partitions],
            read: 0,
            out_of_order: 0,
            foreign: 0,
        }
    }

    /// Further records of a partition are acknowledged.
    pub(super) fn on_acknowledged(&mut self, partition: usize, count: u64) {
        if let Some(acknowledged) = self.acknowledged.get_mut(partition) {
            *acknowledged += count;
        }
    }

    /// A record is read back.
    pub(super) fn on_read(&mut self, partition: usize, value: Option<&[u8]>) {
        self.read += 1;
        let number = value.and_then(number_of);
        let known =
            number.and_then(|number| Some((number, self.reads.get_mut(usize::try_from(number).ok()?)?)));
        let Some((number, reads)) = known else {
            self.foreign += 1;
            return;
        };
        let again = *reads > 0;
        *reads = reads.saturating_add(1);
        let partitions = self.next.len() as u64;
        match self.next.get_mut(partition) {
            Some(next) if number % partitions == partition as u64 => {
                self.out_of_order += u64::from(number < *next && !again);
                *next = (*next).max(number + 1);
            }
            Some(_) | None => self.out_of_order += 1,
        }
    }

    /// Records acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.iter().sum()
    }

    /// The result.
    pub(super) fn verdict(&self) -> Verdict {
        let partitions = self.acknowledged.len();
        let promised = |number: usize| {
            (number / partitions) as u64 <= self.acknowledged[number % partitions].wrapping_sub(1)
                && self.acknowledged[number % partitions] > 0
        };
        let lost =
            self.reads.iter().enumerate().filter(|&(number, &reads)| reads == 0 && promised(number)).count();
        let repeats: u64 = self.reads.iter().map(|&reads| u64::from(reads.saturating_sub(1))).sum();
        Verdict {
            acknowledged: self.acknowledged(),
            read: self.read,
            lost: lost as u64,
            // A record that nobody wrote is none of ours, and one too many.
            duplicated: repeats + self.foreign,
            out_of_order: self.out_of_order,
        }
    }
}

impl Verdict {
    /// Whether every promise was kept.
    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.out_of_order == 0
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, number) in [
            ("acknowledged", self.acknowledged),
            ("read back", self.read),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
        ] {
            writeln!(text, "{name:<13}{number:>12}").expect("writing to a string cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(ledger: &mut Ledger, numbers: &[(usize, u64)]) {
        for &(partition, number) in numbers {
            ledger.on_read(partition, Some(value_of(number).as_bytes()));
        }
    }

    fn ledger(acknowledged: [u64; 2]) -> Ledger {
        let mut ledger = Ledger::new(2, 6);
        for (partition, count) in acknowledged.into_iter().enumerate() {
            ledger.on_acknowledged(partition, count);
        }
        ledger
    }

    #[test]
    fn all_there_once_and_in_order_is_clean() {
        let mut ledger = ledger([3, 3]);
        read_all(&mut ledger, &[(0, 0), (1, 1), (0, 2), (0, 4), (1, 3), (1, 5)]);
        let verdict = ledger.verdict();
        let expected = Verdict { acknowledged: 6, read: 6, lost: 0, duplicated: 0, out_of_order: 0 };
        assert_eq!(verdict, expected);
        assert!(verdict.is_clean());
    }

    #[test]
    fn a_record_that_was_not_acknowledged_may_be_missing_or_there() {
        let mut missing = ledger([2, 3]);
        read_all(&mut missing, &[(0, 0), (0, 2), (1, 1), (1, 3), (1, 5)]);
        assert!(missing.verdict().is_clean());
        let mut there = ledger([2, 0]);
        read_all(&mut there, &[(0, 0), (0, 2), (0, 4)]);
        assert!(there.verdict().is_clean());
    }

    #[test]
    fn every_broken_promise_is_counted() {
        let mut lost = ledger([3, 3]);
        read_all(&mut lost, &[(0, 0), (0, 4), (1, 1), (1, 3)]);
        assert_eq!(lost.verdict().lost, 2);
        let mut twice = ledger([3, 0]);
        read_all(&mut twice, &[(0, 0), (0, 2), (0, 2), (0, 4)]);
        assert_eq!(
            twice.verdict(),
            Verdict { acknowledged: 3, read: 4, lost: 0, duplicated: 1, out_of_order: 0 }
        );
        let mut swapped = ledger([3, 0]);
        read_all(&mut swapped, &[(0, 2), (0, 0), (0, 4)]);
        assert_eq!(swapped.verdict().out_of_order, 1);
        let mut elsewhere = ledger([1, 0]);
        read_all(&mut elsewhere, &[(1, 0)]);
        assert_eq!(elsewhere.verdict().out_of_order, 1);
        let mut foreign = ledger([0, 0]);
        foreign.on_read(0, Some(b"something else"));
        foreign.on_read(0, None);
        read_all(&mut foreign, &[(0, 99)]);
        assert_eq!(foreign.verdict().duplicated, 3);
        assert!(!foreign.verdict().is_clean());
    }
}
