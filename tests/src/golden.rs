//! Golden scenarios: a story told line by line to one real broker, with what it says between the lines.
//!
//! The broker is the core itself, behind a driver of a few hundred lines: requests and answers are wire frames, the journal
//! is bytes in memory, time stands still until the script says otherwise. A line that begins with `> ` is a command, one that
//! begins with `#` is prose, an indented one is what came of the command above it; see `tests/golden/`.
//!
//! | command | what happens |
//! |---|---|
//! | `start`, `start flush=interval`, `start group.max.size=2`, `start killed` | recovery, then a broker, with these settings of groups from then on; killed: the process dies once the fresh file has its groups and before it has its header |
//! | `stop`, `crash`, `power-cut`, `power-cut keeps 1 3` | an end in order; one of the process; one of the machine, where of the unsynced sectors the 1st and 3rd get to the disk |
//! | `by-hand`, `at-once` | who writes the journal: the script, or the driver after each command (as at first) |
//! | `write`, `sync`, `sync fails`, `vouch` | by hand: the next group goes to the page cache; to the disk; an empty group states what is on disk |
//! | `flip record orders-0@2`, `flip group orders-0@2`, `flip group metadata@3` | one bit on the disk: in the bytes of the record, or in the header of the group that holds it |
//! | `advance 500 ms` | time passes: timers fire, an idle writer vouches |
//! | `state` | where the journal and the logs are |
//! | `disk-full`, `disk-has-room` | what the driver tells of free room |
//! | `create orders partitions=2 message.timestamp.type=LogAppendTime`, `delete orders`, `metadata orders`, `metadata orders auto-create=yes`, `metadata orders by-id=yes version=13` | topics |
//! | `produce orders-0 'a' 'b' orders-1 'x'*2000 acks=all producer=0 epoch=0 seq=0` | one batch for each partition; also `timeout=500`, `at=10000`, `crc=wrong` |
//! | `fetch orders-0 from=0 wait=500 min-bytes=1` | also `max-bytes=`, `epoch=`, `last-epoch=`, `replica=`, `session=open`, `session=next`, `session=same` |
//! | `offsets orders-0 latest` | or `earliest`, `max-timestamp`, a time in ms; `version=1` asks as an older client, as with every request |
//! | `epoch-end orders-0 epoch=1`, `init-producer` | the end of a leader's epoch; a producer id |
//! | `grow orders partitions=4 replicas=1,2/2,3`, `elect orders-0 kind=1` | more partitions, with these replicas for the new ones; elections: preferred ones, or of kind 1; without names of all |
//! | `settings topic orders`, `settings broker 1 key=num.partitions` | what is set, and what is not the default; named ones with everything there is to say |
//! | `alter topic orders retention.ms=5 delete=segment.ms append=... subtract=...` | single settings; also `only-check=yes` |
//! | `replace-settings topic orders retention.ms=5`, `resources topic broker` | all settings of a topic; what has settings |
//! | `quorum`, `quorum orders-0`, `log-dirs`, `log-dirs orders-0`, `producers orders-0` | who copies the metadata; how large logs are; who wrote them |
//! | `acls`, `quotas user/any ip/default client-id/NAME`, `scram-users ann`, `update-features metadata.version=1` | what there is none of |
//! | `join readers range 'a' roundrobin 'b' member=ann-1 instance=i-1`, `sync-group readers member=ann-1 generation=1 ann-1 'a'` | a group's next generation; also `reads=orders,payments`, `session=`, `rebalance=`, `type=`, and `protocol=`. `ann-1` is the first id that `ann` was given |
//! | `heartbeat readers member=ann-1 generation=1`, `leave readers ann-1` | staying, and going |
//! | `commit readers orders-0 'metadata' at=5 epoch=0`, `committed readers orders-0`, `committed readers` | how far a group has come; commits also with `member=`, `generation=` and `retention=`; from `version=10` on topics go by id |
//! | `ann: consume readers epoch=0 reads=orders`, `ann: consume readers epoch=1 owns=orders-0`, `describe-consumers readers` | members of consumer groups (KIP-848); an epoch of -1 leaves, -2 leaves for now |
//! | `groups state=Stable`, `describe-groups readers`, `delete-groups readers`, `delete-offsets readers orders-0` | groups as administrators see them |
//! | `disconnect` | the connection ends |
//!
//! A scenario of several nodes begins with `nodes 3`; its commands are in [`Cluster`]'s file.
//!
//! A request is sent by `client` over a connection of its own, or by another: `reader: fetch orders-0 from=0`. Its version is the
//! latest in which topics go by name, or `version=N`.

mod ask;
mod cluster;
mod consumers;
mod described;
mod disk;
mod groups;
mod ids;
mod journal;
mod node;
mod partitions;
mod say;
mod settings;
mod words;

use bytes::Bytes;
pub use cluster::Cluster;
use disk::Disk;
use ids::MemberIds;
use journal::Group;
use node::Process;
use seedlog_core::broker::Broker;
use seedlog_core::group::GroupSettings;
use seedlog_core::ids::{ConnId, NodeId, RequestNumber, Uuid};
use seedlog_core::input::Input;
use seedlog_core::journal::Entry;
use seedlog_core::wire::ApiKey;
use std::collections::{BTreeMap, VecDeque};
use words::Line;

/// Plays a scenario. Gives it back with what happened this time: the same text, if nothing has changed.
///
/// # Errors
/// The line that makes no sense, and why.
pub fn play(script: &str) -> Result<String, String> {
    let is_cluster = script.lines().any(|line| line.starts_with("> nodes "));
    let mut cluster = Cluster::default();
    let mut world = World::default();
    let mut ids = MemberIds::default();
    let mut obey = |command: &str| {
        if is_cluster { cluster.obey(command) } else { world.obey(command) }
    };
    let mut told = String::new();
    for (number, line) in (1..).zip(script.lines()) {
        if line.starts_with("  ") {
            continue; // What happened the last time.
        }
        told.push_str(line);
        told.push('\n');
        if let Some(command) = line.strip_prefix("> ") {
            let said = obey(&ids.whole(command)).map_err(|why| format!("line {number}: {command}: {why}"))?;
            for said in said {
                told.push_str(&format!("  {}\n", ids.shortened(&said)));
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            return Err(format!("line {number}: neither a command, nor prose, nor an answer"));
        }
    }
    Ok(told)
}

/// What one node says to another.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// The message's header.
    pub(crate) message: Vec<u8>,
    /// The record batches behind it.
    pub(crate) batches: Bytes,
}

/// One machine, and what is known of it.
pub struct World {
    node: NodeId,
    /// Which folder it has: wiped machines get another.
    folder: u8,
    voters: Vec<NodeId>,
    /// `producer.id.expiration.ms`, which is also how often idle producers are looked for.
    expiration_ms: Option<u64>,
    /// What groups may do.
    group_settings: GroupSettings,
    /// Nodes whose disks were replaced become voters again by themselves.
    joins: bool,
    /// What it has said to others and nobody has carried yet.
    outbox: VecDeque<Letter>,
    disk: Disk,
    /// Every group that was ever written: where bits are flipped.
    groups: Vec<Group>,
    up: Option<Process>,
    now_ms: u64,
    by_hand: bool,
    next_conn: u64,
    /// Topics by id, for printing.
    names: BTreeMap<Uuid, String>,
    /// The request that the command being obeyed has sent.
    asked: Option<(ConnId, RequestNumber)>,
    said: Vec<String>,
    frames: Vec<Frame>,
}

/// A frame that was sent or answered, without its length.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its API.
    pub api: ApiKey,
    /// The API's version.
    pub version: i16,
    /// It is the answer.
    pub is_answer: bool,
    /// The frame.
    pub bytes: Bytes,
}

impl Default for World {
    fn default() -> Self {
        Self::of(NodeId(1), vec![NodeId(1)])
    }
}

impl World {
    /// A machine of a cluster with these voters.
    fn of(node: NodeId, voters: Vec<NodeId>) -> Self {
        Self {
            node,
            folder: 0,
            voters,
            expiration_ms: None,
            group_settings: groups::of_broker(),
            joins: false,
            outbox: VecDeque::new(),
            disk: Disk::default(),
            groups: Vec::new(),
            up: None,
            now_ms: 0,
            by_hand: false,
            next_conn: 0,
            names: BTreeMap::new(),
            asked: None,
            said: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Obeys a command. Gives back what came of it, a line each.
    ///
    /// # Errors
    /// The command makes no sense, or not at this time.
    pub fn obey(&mut self, command: &str) -> Result<Vec<String>, String> {
        let obeyed = self.carry_on(command);
        let said = std::mem::take(&mut self.said);
        obeyed.map(|()| said)
    }

    /// All frames so far.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// A broker runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// The disk is replaced by an empty one.
    fn wipe(&mut self) {
        self.disk = Disk::default();
        self.groups.clear();
        self.folder += 1;
    }

    /// The broker, while it runs.
    fn broker(&self) -> Option<&Broker> {
        self.up.as_ref().map(|process| &process.broker)
    }

    /// When the broker wants to be woken.
    fn wake_at_ms(&self) -> Option<u64> {
        self.up.as_ref().and_then(Process::wake_at_ms)
    }

    /// The first journal file, as a process sees it.
    #[must_use]
    pub fn journal_file(&self) -> &[u8] {
        self.disk.read(1, 0)
    }

    fn carry_on(&mut self, command: &str) -> Result<(), String> {
        let mut line = Line::parse(command)?;
        self.asked = None;
        match &*line.verb.clone() {
            "start" => self.start(&mut line)?,
            "by-hand" => self.by_hand = true,
            "at-once" => {
                self.by_hand = false;
                self.settle();
            }
            "power-cut" => {
                self.up = None;
                self.power_cut(&mut line)?;
            }
            "flip" => self.flip(&mut line)?,
            "crash" => {
                self.process()?;
                self.up = None;
            }
            "stop" => self.tell(Input::Stop)?,
            "write" => self.write()?,
            "sync" => self.sync(&mut line)?,
            "vouch" => self.vouch()?,
            "advance" => self.advance(&mut line)?,
            "state" => self.say_state()?,
            "disk-full" => self.tell(Input::Space { free_bytes: 0 })?,
            "disk-has-room" => self.tell(Input::Space { free_bytes: 1 << 40 })?,
            "disconnect" => self.disconnect(&line)?,
            _ => self.ask(&mut line)?,
        }
        line.finish()
    }

    fn process(&mut self) -> Result<&mut Process, String> {
        self.up.as_mut().ok_or_else(|| "nothing runs".to_owned())
    }

    fn tell(&mut self, input: Input) -> Result<(), String> {
        self.process()?;
        self.step(input);
        self.settle();
        Ok(())
    }

    fn power_cut(&mut self, line: &mut Line) -> Result<(), String> {
        let mut kept = Vec::new();
        if let Some(word) = line.next_plain() {
            if word != "keeps" {
                return Err(format!("{word}: only `keeps`"));
            }
            while let Some(number) = line.next_plain() {
                kept.push(words::number(&number)?);
            }
        }
        let (unsynced, kept) = self.disk.power_cut(&kept);
        if unsynced > 0 {
            self.said
                .push(format!("sectors that were not synced: {unsynced}, of which {kept} got to the disk"));
        }
        Ok(())
    }

    /// Flips a bit where a record or a metadata record stands.
    fn flip(&mut self, line: &mut Line) -> Result<(), String> {
        let what = line.next_plain().ok_or("flip what?")?;
        let place = line.next_plain().ok_or("flip where?")?;
        let (log, offset) = place.split_once('@').ok_or("a place is log@offset")?;
        let offset: i64 = words::number(offset)?;
        let names = &self.names;
        let holds = |entry: &Entry| {
            if let Entry::Append(append) = entry {
                let offsets = append.base_offset.0..append.next_offset().0;
                return say::partition(names, append.partition) == log && offsets.contains(&offset);
            }
            log == "metadata" && matches!(entry, Entry::Metadata { offset: at, .. } if at.0 == offset)
        };
        let found = self.groups.iter().rev().find_map(|group| {
            let located = group.entries.iter().find(|located| holds(&located.entry))?;
            Some((group, located))
        });
        let (group, located) = found.ok_or("it was never written")?;
        let inside = match &*what {
            // The last byte of the batch: its records, not its header.
            "record" => u64::from(located.payload_at + located.entry.payload_bytes()) - 1,
            // A byte of its first lsn.
            "group" => 18,
            _ => return Err(format!("{what}: a record or a group")),
        };
        self.disk.flip(group.seq, group.at + inside);
        Ok(())
    }
}
