//! Recovery takes any bytes, and any story: a node that writes, crashes, loses power and rots.
//!
//! What it acknowledged it serves after every start, or refuses by name if a bit has rotted; what nobody wrote it never serves;
//! and what it has cut never comes back.

use crate::golden::World;
use seedlog_core::broker::Broker;
use seedlog_core::config::{AdvertisedListener, Config};
use seedlog_core::ids::{Lsn, NodeId, Uuid};
use seedlog_core::input::Input;
use seedlog_core::journal::format::GroupPrefix;
use seedlog_core::journal::recovery::{JournalSource, recover};
use seedlog_core::journal::{BLOCK_BYTES, FILE_HEADER_BYTES, Plan};
use seedlog_core::recovered::replay;
use seedlog_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// First byte of an input that is a journal file; any other begins a story.
pub(super) const FILE: u8 = b'F';
/// First bytes of the two kinds of stories: with `flush=always` and with `flush=interval`.
pub(super) const ALWAYS: u8 = b'A';
pub(super) const INTERVAL: u8 = b'I';

/// Recovery of any bytes and any story.
pub fn recovery(data: &[u8]) {
    match data {
        [FILE, file @ ..] => {
            read_file(file);
            read_file_structure(&repaired(file));
        }
        [first, steps @ ..] => tell(*first == INTERVAL, steps),
        [] => {}
    }
}

/// One journal file.
struct OneFile<'a>(&'a [u8]);

impl JournalSource for OneFile<'_> {
    type Error = Infallible;

    fn files(&self) -> Vec<u64> {
        vec![1]
    }

    fn with_file<T>(&mut self, _seq: u64, read: impl FnOnce(&[u8]) -> T) -> Result<T, Infallible> {
        Ok(read(self.0))
    }
}

/// A file is refused, or it is a state that a broker can start from.
fn read_file(file: &[u8]) {
    let Some(plan) = read_file_structure(file) else { return };
    let Ok(recovered) = replay(&mut OneFile(file), &plan, None, &mut |_, _, _| {}) else { return };
    let listener = AdvertisedListener { host: "fuzz".to_owned(), port: 9092 };
    let config = Config::new(NodeId(1), Uuid([2; 16]), listener);
    let mut broker = Broker::new(config, 1, recovered, Now::default());
    broker.step(Now::default(), Input::Wake, &mut Vec::new());
}

/// What is accepted stands in order, in the file, and holds only entries that may be there.
fn read_file_structure(file: &[u8]) -> Option<Plan> {
    let plan = recover(&mut OneFile(file), Lsn::ZERO).ok()?;
    let mut last = Lsn::ZERO;
    for group in &plan.groups {
        let end = usize::try_from(group.position).expect("a small file") + group.prefix.padded_bytes();
        assert!(end <= file.len(), "a group that is moved is in its file");
        assert!(group.prefix.first_lsn > last, "groups are in order");
        last = group.prefix.last_lsn();
        assert!(group.damaged.iter().all(|lsn| *lsn <= plan.vouched), "what may be torn is cut, not damaged");
    }
    assert!(last <= plan.end);
    assert!(
        plan.damage.iter().all(|hole| hole.first <= hole.last && hole.last <= plan.vouched.max(plan.end))
    );
    Some(plan)
}

/// The same file with every group's CRC made right: the checks behind it are to be seen too.
fn repaired(file: &[u8]) -> Vec<u8> {
    /// What a prefix's CRC covers, ahead of the table; it stands right behind.
    const COVERED_BYTES: usize = 58;
    let mut file = file.to_vec();
    let mut at = FILE_HEADER_BYTES;
    while let Some(group) = file.get_mut(at..).filter(|rest| rest.len() >= BLOCK_BYTES) {
        let word =
            |at: usize| u32::from_le_bytes([group[at], group[at + 1], group[at + 2], group[at + 3]]) as usize;
        let (start, len) = (word(6), word(10));
        let table = start.checked_add(len).and_then(|end| group.get(start..end));
        if let Some(table) = table {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&group[..COVERED_BYTES]), table);
            group[COVERED_BYTES..COVERED_BYTES + 4].copy_from_slice(&crc.to_le_bytes());
        }
        at += GroupPrefix::read(group).map_or(BLOCK_BYTES, |prefix| prefix.padded_bytes());
    }
    file
}

const PARTITIONS: usize = 3;
const STEPS_MAX: usize = 64;

/// A story, and what must be true of it.
#[derive(Default)]
struct Teller {
    world: World,
    is_interval: bool,
    /// Records so far; each has a value of its own.
    produced: usize,
    /// Where each value was to go.
    sent: BTreeMap<String, (usize, String)>,
    /// What was acknowledged: partition and offset.
    acked: BTreeMap<(String, i64), String>,
    /// Values that were sent to a partition.
    written: BTreeSet<(String, String)>,
    /// What was gone at a start.
    dead: BTreeSet<String>,
    /// A bit has rotted: what was acknowledged may be refused.
    is_rotten: bool,
    /// It has rotted where nothing vouched for it yet: that looks like a torn write, and it may be cut (SAFETY J4).
    is_in_doubt: bool,
    /// The node refuses to start, as it may when it has lost metadata.
    is_over: bool,
}

/// Two bytes a step: what, and with what.
fn tell(is_interval: bool, steps: &[u8]) {
    let mut teller = Teller { is_interval, ..Teller::default() };
    teller.start();
    teller.obey("create t partitions=3");
    for step in steps.chunks_exact(2).take(STEPS_MAX) {
        teller.step(step[0], step[1]);
        if teller.is_over {
            return;
        }
    }
    teller.obey("at-once");
    teller.obey("crash");
    teller.start();
}

impl Teller {
    fn step(&mut self, what: u8, with: u8) {
        let with_index = usize::from(with);
        match what % 14 {
            0..=3 => self.produce(with_index % PARTITIONS, [1, 100, 1_500][with_index / PARTITIONS % 3]),
            4 => self.obey("by-hand"),
            5 => self.obey("at-once"),
            6 => self.obey("write"),
            7 if with % 4 == 3 => {
                self.obey("sync fails");
                self.start();
            }
            7 => self.obey("sync"),
            8 => self.obey(&format!("advance {with} ms")),
            9 => {
                self.obey("crash");
                self.start();
            }
            10 => {
                let kept = (0..8).filter(|bit| with >> bit & 1 == 1).map(|bit| format!(" {}", bit + 1));
                self.power_cut(&kept.collect::<String>());
            }
            11 => {
                self.obey("stop");
                if self.world.is_up() {
                    // By hand nobody has written its last entry.
                    self.obey("crash");
                }
                self.start();
            }
            12 => {
                self.obey("crash");
                self.obey("start killed");
                self.power_cut(if with.is_multiple_of(2) { "" } else { " 1 2 3 4 5 6 7 8" });
            }
            _ => self.rot(with_index),
        }
    }

    /// Commands that make no sense at the time are nothing.
    fn obey(&mut self, command: &str) {
        if let Ok(said) = self.world.obey(command) {
            for line in said {
                self.hear(&line);
            }
        }
    }

    fn start(&mut self) {
        self.obey(if self.is_interval { "start flush=interval" } else { "start" });
        self.is_over = !self.world.is_up();
        assert!(!self.is_over || self.is_rotten, "a node starts from a disk on which nothing has rotted");
        if !self.is_over {
            self.read();
        }
    }

    fn power_cut(&mut self, kept: &str) {
        let kept = if kept.is_empty() { String::new() } else { format!(" keeps{kept}") };
        self.obey(&format!("power-cut{kept}"));
        if self.is_interval {
            // Acknowledged and not synced: the promise of this mode ends here (SAFETY J6).
            self.acked.clear();
        }
        self.start();
    }

    fn produce(&mut self, partition: usize, times: usize) {
        self.produced += 1;
        let (client, value) = (format!("c{}", self.produced), format!("v{}.", self.produced));
        self.sent.insert(client.clone(), (partition, value.repeat(times)));
        self.written.insert((format!("t-{partition}"), value.repeat(times)));
        self.obey(&format!("{client}: produce t-{partition} '{value}'*{times}"));
    }

    fn rot(&mut self, with: usize) {
        let (what, offset) = (if with.is_multiple_of(2) { "record" } else { "group" }, with / 6 % 16);
        let log = with / 2 % PARTITIONS;
        let is_in_doubt = with >= 192;
        if !is_in_doubt {
            self.obey("at-once");
            self.obey("advance 1 ms");
        }
        if self.world.obey(&format!("flip {what} t-{log}@{offset}")).is_ok() {
            self.is_rotten = true;
            self.is_in_doubt |= is_in_doubt;
        }
    }

    /// Learns of acknowledgements from `offset 3` and `c5's produce: t-0: offset 3`.
    fn hear(&mut self, line: &str) {
        let Some((head, offset)) = line.split_once(": offset ") else { return };
        let client =
            head.split_once("'s ").map_or_else(|| format!("c{}", self.produced), |(name, _)| name.to_owned());
        let (partition, value) =
            self.sent.remove(&client).expect("only producers are told an offset, each once");
        let offset = offset.parse().expect("an offset is a number");
        self.acked.insert((format!("t-{partition}"), offset), value);
    }

    /// Reads everything after a start, and compares.
    fn read(&mut self) {
        let mut refused = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let name = format!("t-{partition}");
            let Ok(said) = self.world.obey(&format!("reader: fetch {name} from=0 max-bytes=10000000")) else {
                return;
            };
            let [line] = &said[..] else { unreachable!("one partition, one line") };
            let Some((records, _)) = line.split_once("; high watermark ") else {
                let may_be = self.is_rotten || line.ends_with("UNKNOWN_TOPIC_OR_PARTITION");
                assert!(may_be, "{line}: refused, and nothing has rotted");
                refused.insert(name);
                continue;
            };
            let records = records.strip_prefix(&format!("{name}: ")).expect("it is this partition");
            let found: BTreeMap<i64, &str> = records.split(", ").filter_map(read_record).collect();
            for (offset, value) in &found {
                let is_ours = self.written.contains(&(name.clone(), (*value).to_owned()));
                assert!(is_ours, "{name}@{offset}: {value} was never written there");
                assert!(!self.dead.contains(*value), "{name}@{offset}: {value} was gone at an earlier start");
                seen.insert((*value).to_owned());
            }
            if !self.is_in_doubt {
                for ((_, offset), value) in self.acked.iter().filter(|((of, _), _)| *of == name) {
                    assert_eq!(found.get(offset), Some(&&**value), "{name}@{offset} was acknowledged");
                }
            }
        }
        let gone =
            self.written.iter().filter(|(name, value)| !refused.contains(name) && !seen.contains(value));
        self.dead.extend(gone.map(|(_, value)| value.clone()));
    }
}

/// `3 'value'`, or `nothing`.
fn read_record(text: &str) -> Option<(i64, &str)> {
    let (offset, value) = text.split_once(' ')?;
    Some((offset.parse().ok()?, value.trim_matches('\'')))
}
