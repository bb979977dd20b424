//! What happened in a run: one event a line, fixed columns, and a hash that rolls over all of them. Events are numbers
//! until somebody reads them, so that a run that nobody watches pays for the hash only.

use crate::hash::{hash64, mix};
use seedlog_core::ids::OpId;
use seedlog_core::input::Input;
use seedlog_core::records::ProducedBatch;
use std::collections::VecDeque;
use std::fmt;

/// Writes the enum and the names from one table: a name, and what the three numbers are called.
macro_rules! kinds {
    ($($kind:ident $name:literal $a:literal $b:literal $c:literal;)+) => {
        /// A kind of event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $(
                #[doc = concat!("`", $name, "`: ", $a, ", ", $b, ", ", $c)]
                $kind,
            )+
        }

        impl Kind {
            fn labels(self) -> [&'static str; 4] {
                match self {
                    $(Self::$kind => [$name, $a, $b, $c],)+
                }
            }
        }
    };
}

kinds! {
    Boot "boot" "boot" "delay_us" "";
    Recovered "recovered" "end" "vouched" "holes";
    Rewrite "rewrite" "groups" "first_lsn" "seq";
    Refused "refused-start" "boot" "" "";
    Serving "serving" "boot" "end" "partitions";
    Kill "kill" "boot" "in_recovery" "";
    PowerCut "power-cut" "kept" "lost" "torn";
    Halt "halt" "boot" "clean" "";
    Fault "fault" "index" "fault" "";
    Flip "bit-flip" "lsn" "position" "cached";
    Step "step" "input" "outputs" "last_lsn";
    CutShort "cut-short" "taken" "of" "";
    GroupWrite "group-write" "first_lsn" "entries" "bytes";
    GroupWritten "group-written" "last_lsn" "hash" "";
    GroupSynced "group-synced" "last_lsn" "" "";
    SyncFailed "sync-failed" "lane" "" "";
    FileReady "file-ready" "seq" "first_lsn" "recycled";
    FileReleased "file-released" "seq" "last_lsn" "";
    Snapshot "snapshot" "through" "batches" "bytes";
    SnapshotDone "snapshot-done" "through" "" "";
    Dropped "dropped" "op" "files" "";
    Fill "fill" "conn" "bytes" "late_us";
    Frame "frame-in" "conn" "bytes" "hash";
    Reply "frame-out" "conn" "bytes" "hash";
    Send "send" "to" "header" "batches";
    Connect "connect" "conn" "client" "";
    Disconnect "disconnect" "conn" "client" "";
    Produced "produced" "client" "number" "offset";
    Abandoned "abandoned" "client" "batches" "";
    Read "read" "client" "offset" "batches";
    Heal "heal" "" "" "";
    End "end" "acked" "read" "";
    NetFault "net-fault" "index" "client" "kind";
    Accepted "accepted" "client" "" "";
    ReadBack "read-back" "op" "batches" "hash";
    Compacted "compacted" "op" "segments" "bytes";
}

/// Inputs of the broker, by the number that stands for them in events.
pub const INPUTS: [&str; 18] = [
    "conn-opened",
    "request",
    "conn-closed",
    "durable",
    "read-done",
    "store-done",
    "disk-failed",
    "space",
    "wake",
    "stop",
    "peer-up",
    "peer",
    "peer-lost",
    "damaged",
    "voters",
    "logs",
    "batches",
    "compacted",
];

/// What stands for an input in events: an index of [`INPUTS`].
#[must_use]
pub fn input_number(input: &Input) -> u64 {
    match input {
        Input::ConnOpened { .. } => 0,
        Input::Request { .. } => 1,
        Input::ConnClosed { .. } => 2,
        Input::Durable { .. } => 3,
        Input::ReadDone { .. } => 4,
        Input::StoreDone { .. } => 5,
        Input::DiskFailed { .. } => 6,
        Input::Space { .. } => 7,
        Input::Wake => 8,
        Input::Stop => 9,
        Input::PeerUp { .. } => 10,
        Input::Peer { .. } => 11,
        Input::PeerLost { .. } => 12,
        Input::Damaged { .. } => 13,
        Input::ChangeVoters { .. } => 14,
        Input::LogsMeasured { .. } => 15,
        Input::BatchesRead { .. } => 16,
        Input::Compacted { .. } => 17,
    }
}

/// The numbers of [`Kind::ReadBack`]: how many batches came, and a hash of all their bytes; 0 and 0 where they cannot be read.
#[must_use]
pub fn read_back_numbers(op: OpId, batches: Option<&[ProducedBatch]>) -> [u64; 3] {
    let hash = |batches: &[ProducedBatch]| {
        batches.iter().fold(batches.len() as u64, |hash, batch| mix(hash, hash64(&batch.bytes)))
    };
    [op.0, batches.map_or(0, <[_]>::len) as u64, batches.map_or(0, hash)]
}

/// Faults, by the number that stands for them in events.
pub const FAULTS: [&str; 13] = [
    "kill",
    "power-cut",
    "sync-error",
    "disk-full",
    "slow-disk",
    "bit-flip",
    "clock-jump",
    "stop",
    "pause",
    "wipe",
    "cut",
    "noise",
    "tell",
];

fn named(names: &[&'static str], number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| names.get(number)).copied().unwrap_or("?")
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Virtual µs since the run began.
    pub at_us: u64,
    /// The node, or [`NOWHERE`].
    pub node: u32,
    /// What happened.
    pub kind: Kind,
    /// Its numbers.
    pub numbers: [u64; 3],
}

/// The node of an event that belongs to none.
pub const NOWHERE: u32 = u32::MAX;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, labels @ ..] = self.kind.labels();
        write!(f, "{:>6}.{:06} ", self.at_us / 1_000_000, self.at_us % 1_000_000)?;
        if self.node == NOWHERE {
            f.write_str(" - ")?
        } else {
            write!(f, "n{:<2}", self.node)?
        }
        write!(f, " {name:<14}")?;
        for (label, number) in labels.iter().zip(self.numbers) {
            if label.is_empty() {
                continue;
            }
            match *label {
                "hash" => write!(f, " {label}={number:016x}")?,
                "input" => write!(f, " {label}={:<11}", named(&INPUTS, number))?,
                "fault" => write!(f, " {label}={:<11}", named(&FAULTS, number))?,
                _ => write!(f, " {label}={number:<9}")?,
            }
        }
        Ok(())
    }
}

/// Events that a failure's report shows.
const KEPT: usize = 60;

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    count: u64,
    last: VecDeque<Event>,
    /// Every event with the hash up to it, if somebody wants to read them.
    all: Option<Vec<(Event, u64)>>,
    /// What was said aloud, and how many events came before it.
    said: Vec<(usize, String)>,
}

impl Trace {
    /// An empty trace that keeps every event if `keep_all`.
    #[must_use]
    pub fn new(keep_all: bool) -> Self {
        Self { all: keep_all.then(Vec::new), ..Self::default() }
    }

    /// Notes an event.
    pub fn note(&mut self, event: Event) {
        let head = (u64::from(event.node) << 8) | event.kind as u64;
        self.hash = mix(mix(self.hash, event.at_us), head);
        for number in event.numbers {
            self.hash = mix(self.hash, number);
        }
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event);
        if let Some(all) = &mut self.all {
            all.push((event, self.hash));
        }
    }

    /// The hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last events, oldest first.
    pub fn last(&self) -> impl Iterator<Item = &Event> {
        self.last.iter()
    }

    /// Adds words to what happened last. They are no part of the hash.
    pub fn say(&mut self, words: String) {
        self.said.push((self.all.as_ref().map_or(0, Vec::len), words));
    }

    /// Every event as a line, if they were kept: the hash so far, in short, and the event; and what was said after it.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let all = self.all.iter().flatten();
        let mut said = self.said.iter().peekable();
        (1..).zip(all).flat_map(move |(number, (event, hash))| {
            let mut lines = vec![format!("{:08x} {event}", hash >> 32).trim_end().to_owned()];
            while let Some((_, words)) = said.next_if(|(at, _)| *at <= number) {
                lines.push(format!("         {words}"));
            }
            lines
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_number_and_on_the_order() {
        let event = |at_us, a| Event { at_us, node: 1, kind: Kind::Kill, numbers: [a, 0, 0] };
        let hash = |events: &[Event]| {
            let mut trace = Trace::new(false);
            events.iter().for_each(|&event| trace.note(event));
            trace.hash()
        };
        assert_eq!(hash(&[event(1, 2), event(3, 4)]), hash(&[event(1, 2), event(3, 4)]));
        assert_ne!(hash(&[event(1, 2), event(3, 4)]), hash(&[event(3, 4), event(1, 2)]));
        assert_ne!(hash(&[event(1, 2)]), hash(&[event(1, 3)]));
    }

    #[test]
    fn lines_bear_the_hash_up_to_them() {
        let event = Event { at_us: 1, node: 0, kind: Kind::Heal, numbers: [0; 3] };
        let mut trace = Trace::new(true);
        trace.note(event);
        let first = format!("{:08x}", trace.hash() >> 32);
        trace.note(event);
        let lines: Vec<String> = trace.lines().collect();
        assert!(lines[0].starts_with(&first));
        assert_ne!(lines[0], lines[1]);
        assert_eq!(lines[0][8..], lines[1][8..]);
    }

    #[test]
    fn a_line_has_fixed_columns() {
        let event = Event { at_us: 1_500_000, node: 2, kind: Kind::PowerCut, numbers: [3, 4, 5] };
        assert_eq!(
            event.to_string(),
            "     1.500000 n2  power-cut      kept=3         lost=4         torn=5        "
        );
    }
}
