//! Scenarios of several nodes. Each is a [`super::World`] of its own; letters between them are carried at once, in order,
//! unless the script cuts or holds a link.
//!
//! | command | what happens |
//! |---|---|
//! | `nodes 3`, `nodes 5 voters=3`, `nodes 3 producer.id.expiration.ms=5000 offsets.topic.num.partitions=2` | machines 1 to n with empty disks; the first are configured as voters |
//! | `start 1 2 3`, `crash 2`, `crash 2 quietly`, `power-cut 2`, `wipe 2`, `stop 2` | of processes and disks; quietly: nobody is told that the connections broke |
//! | `cut 1-2`, `cut 1>2`, `heal` | both directions of a link, or one, lose everything; all links are whole again |
//! | `hold 1>2`, `release 1>2` | letters wait, and are carried in order |
//! | `lose 1>2` | what waits on a held link is lost |
//! | `by-hand 2`, `at-once 2`, `write 2`, `sync 2` | who writes a node's journal |
//! | `advance 500 ms` | time passes, on all nodes alike |
//! | `at 2: produce orders-0 'a'` | a client of node 2 |
//! | `voters add 4`, `voters remove 2`, `voters remove 2 at 1` | the quorum's members change: the node that decides is asked, or a named one. The disk is the node's at present; `voters remove old 2` is the one before |
//! | `voters` | whom each node takes for the quorum's members |
//! | `state` | what each node is |

use super::journal::incarnation;
use super::words::number;
use super::{Letter, World, say};
use seedlog_core::broker::Broker;
use seedlog_core::cluster::records::Voter;
use seedlog_core::ids::NodeId;
use seedlog_core::input::Input;
use seedlog_core::peer::{PeerMessage, admit_batches};
use seedlog_core::quorum::voters::VoterChange;
use seedlog_core::records::ProducedBatch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Letters that are carried for one command: more means that the nodes do not come to rest.
const LETTERS_MAX: usize = 10_000;

/// All machines and the links between them.
#[derive(Default)]
pub struct Cluster {
    nodes: BTreeMap<i32, World>,
    cut: BTreeSet<(i32, i32)>,
    held: BTreeMap<(i32, i32), VecDeque<Letter>>,
    now_ms: u64,
    said: Vec<String>,
    /// What was carried so far.
    letters: Vec<Letter>,
}

impl Cluster {
    /// Obeys a command. Gives back what came of it, a line each.
    ///
    /// # Errors
    /// The command makes no sense, or not at this time.
    pub fn obey(&mut self, command: &str) -> Result<Vec<String>, String> {
        let obeyed = self.carry_on(command);
        let said = std::mem::take(&mut self.said);
        obeyed.map(|()| said)
    }

    /// All letters that were carried so far.
    pub(crate) fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// A node hears what none of the others has said, and all go on from there.
    pub(crate) fn hear(
        &mut self,
        node: i32,
        message: PeerMessage,
        batches: &[ProducedBatch],
    ) -> Result<(), String> {
        self.step(node, Input::Peer { message: Box::new(message), batches: batches.to_vec() });
        self.settle()
    }

    fn carry_on(&mut self, command: &str) -> Result<(), String> {
        if let Some(of_node) = command.strip_prefix("at ") {
            let (node, command) = of_node.split_once(": ").ok_or("at which node?")?;
            return self.on_node(number(node)?, command);
        }
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        match verb {
            "nodes" => self.found(&rest)?,
            "start" => {
                for node in nodes(&rest)? {
                    self.start(node)?;
                }
            }
            "crash" | "power-cut" | "stop" => {
                let quietly = rest.last() == Some(&"quietly");
                for node in nodes(&rest[..rest.len() - usize::from(quietly)])? {
                    self.end(node, verb, quietly)?;
                }
            }
            "wipe" => {
                for node in nodes(&rest)? {
                    let world = self.world(node)?;
                    if world.is_up() {
                        return Err("it runs".to_owned());
                    }
                    world.wipe();
                }
            }
            "by-hand" | "at-once" | "write" | "sync" => {
                for node in nodes(&rest)? {
                    self.on_node(node, verb)?;
                }
            }
            "cut" => {
                for link in &rest {
                    self.cut.extend(directions(link)?);
                }
            }
            "heal" => self.heal(),
            "hold" => {
                for link in &rest {
                    for direction in directions(link)? {
                        self.held.entry(direction).or_default();
                    }
                }
            }
            "release" | "lose" => {
                for link in &rest {
                    for direction in directions(link)? {
                        let letters = self.held.remove(&direction).unwrap_or_default();
                        if verb == "release" {
                            letters.into_iter().for_each(|letter| self.deliver(&letter));
                        }
                    }
                }
                self.settle()?;
            }
            "advance" => self.advance(&rest)?,
            "voters" if rest.is_empty() => self.say_voters(),
            "voters" => self.change_voters(&rest)?,
            "state" => self.say_state(),
            _ => return Err("no such command".to_owned()),
        }
        self.settle()
    }

    fn found(&mut self, words: &[&str]) -> Result<(), String> {
        let count: i32 = number(words.first().ok_or("how many?")?)?;
        let voters = match words.iter().find_map(|word| word.strip_prefix("voters=")) {
            Some(voters) => number(voters)?,
            None => count,
        };
        let voters: Vec<NodeId> = (1..=voters).map(NodeId).collect();
        let expiration_ms = words.iter().find_map(|word| word.strip_prefix("producer.id.expiration.ms="));
        let expiration_ms = expiration_ms.map(number).transpose()?;
        let joins = words.contains(&"joins");
        let mut group_settings = super::groups::of_broker();
        for word in words {
            if let Some((name, value)) = word.split_once('=')
                && (name.starts_with("group.") || name.starts_with("offsets."))
            {
                super::groups::set(&mut group_settings, name, value)?;
            }
        }
        let world =
            |node| World { expiration_ms, group_settings, joins, ..World::of(NodeId(node), voters.clone()) };
        self.nodes = (1..=count).map(|node| (node, world(node))).collect();
        Ok(())
    }

    fn world(&mut self, node: i32) -> Result<&mut World, String> {
        self.nodes.get_mut(&node).ok_or_else(|| format!("there is no node {node}"))
    }

    /// A command for one node; what it says is put behind its number.
    fn on_node(&mut self, node: i32, command: &str) -> Result<(), String> {
        let now_ms = self.now_ms;
        let world = self.world(node)?;
        world.now_ms = now_ms;
        let said = world.obey(command)?;
        self.said.extend(said.into_iter().map(|line| format!("{node}: {line}")));
        self.settle()
    }

    fn start(&mut self, node: i32) -> Result<(), String> {
        self.on_node(node, "start")?;
        let others: Vec<i32> = self.nodes.keys().copied().filter(|&other| other != node).collect();
        for other in others {
            let is_up = self.nodes.get(&other).is_some_and(World::is_up);
            if is_up && !self.cut.contains(&(node, other)) && !self.cut.contains(&(other, node)) {
                self.step(node, Input::PeerUp { node: NodeId(other) });
                self.step(other, Input::PeerUp { node: NodeId(node) });
            }
        }
        self.settle()
    }

    fn end(&mut self, node: i32, verb: &str, quietly: bool) -> Result<(), String> {
        self.on_node(node, verb)?;
        if verb != "stop" && !quietly {
            self.tell_lost(node);
        }
        Ok(())
    }

    fn tell_lost(&mut self, node: i32) {
        let others: Vec<i32> = self.nodes.keys().copied().filter(|&other| other != node).collect();
        for other in others {
            if !self.cut.contains(&(node, other)) {
                self.step(other, Input::PeerLost { node: NodeId(node) });
            }
        }
    }

    fn heal(&mut self) {
        let cut = std::mem::take(&mut self.cut);
        for (from, to) in cut {
            self.step(from, Input::PeerUp { node: NodeId(to) });
        }
    }

    fn step(&mut self, node: i32, input: Input) {
        let now_ms = self.now_ms;
        if let Some(world) = self.nodes.get_mut(&node) {
            world.now_ms = now_ms;
            world.step(input);
            world.settle();
        }
    }

    /// Carries letters until there are none.
    fn settle(&mut self) -> Result<(), String> {
        let mut carried = 0;
        loop {
            let mut letters = Vec::new();
            for (node, world) in &mut self.nodes {
                letters.extend(world.outbox.drain(..));
                self.said.extend(world.said.drain(..).map(|line| format!("{node}: {line}")));
            }
            if letters.is_empty() {
                return Ok(());
            }
            for letter in letters {
                carried += 1;
                let link = (letter.from.0, letter.to.0);
                if self.cut.contains(&link) {
                    continue;
                }
                match self.held.get_mut(&link) {
                    Some(held) => held.push_back(letter),
                    None => self.deliver(&letter),
                }
            }
            if carried > LETTERS_MAX {
                return Err("the nodes do not come to rest".to_owned());
            }
        }
    }

    fn deliver(&mut self, letter: &Letter) {
        let message = PeerMessage::decode(&letter.message).expect("what was encoded is decoded");
        let batches = admit_batches(&letter.batches).expect("a leader sends whole batches");
        self.letters.push(letter.clone());
        self.step(letter.to.0, Input::Peer { message: Box::new(message), batches });
    }

    fn advance(&mut self, words: &[&str]) -> Result<(), String> {
        let by: u64 = number(words.first().ok_or("how far?")?)?;
        let end = self.now_ms + by;
        while let Some((at, node)) = self.next_wake(end) {
            self.now_ms = self.now_ms.max(at);
            self.step(node, Input::Wake);
            self.settle()?;
        }
        self.now_ms = end;
        Ok(())
    }

    fn next_wake(&self, end: u64) -> Option<(u64, i32)> {
        let wakes = self.nodes.iter().filter_map(|(&node, world)| Some((world.wake_at_ms()?, node)));
        wakes.filter(|(at, _)| *at <= end).min()
    }

    fn change_voters(&mut self, words: &[&str]) -> Result<(), String> {
        let (words, asked) = match words {
            [words @ .., "at", asked] => (words, Some(number(asked)?)),
            _ => (words, None),
        };
        let (verb, node, age) = match words {
            [verb, "old", node] => (*verb, number(node)?, 1),
            [verb, node] => (*verb, number(node)?, 0),
            _ => return Err("add or remove whom?".to_owned()),
        };
        let folder = self.world(node)?.folder.checked_sub(age).ok_or("it never had another disk")?;
        let voter = Voter { node_id: NodeId(node), incarnation: incarnation(NodeId(node), folder) };
        let change = match verb {
            "add" => VoterChange::Add(voter),
            "remove" => VoterChange::Remove(voter),
            _ => return Err("add or remove".to_owned()),
        };
        let decides = |world: &World| world.broker().is_some_and(Broker::is_controller);
        let asked =
            asked.or_else(|| self.nodes.iter().find(|(_, world)| decides(world)).map(|(&node, _)| node));
        let asked = asked.ok_or("no node decides")?;
        let broker = self.nodes.get(&asked).and_then(World::broker).ok_or("it does not run")?;
        match broker.plan_voters(change) {
            Ok(_) => self.step(asked, Input::ChangeVoters { change }),
            Err(refusal) => self.said.push(format!("{asked}: refuses: {refusal}")),
        }
        self.settle()
    }

    fn say_voters(&mut self) {
        for (node, world) in &self.nodes {
            let Some(broker) = world.broker() else { continue };
            let nodes: Vec<String> =
                broker.quorum().voters().iter().map(|voter| voter.node_id.to_string()).collect();
            let is_committed = broker.quorum().voters() == broker.image().voters();
            let open = if is_committed { "" } else { ", not committed" };
            self.said.push(format!("{node}: {}{open}", nodes.join(" ")));
        }
    }

    fn say_state(&mut self) {
        for (node, world) in &self.nodes {
            let lines = match world.broker() {
                Some(broker) => say::role(broker),
                None => vec!["down".to_owned()],
            };
            self.said.extend(lines.into_iter().map(|line| format!("{node}: {line}")));
        }
    }
}

fn nodes(words: &[&str]) -> Result<Vec<i32>, String> {
    words.iter().map(|word| number(word)).collect()
}

/// `1-2` is both directions of a link, `1>2` one.
fn directions(link: &str) -> Result<Vec<(i32, i32)>, String> {
    if let Some((from, to)) = link.split_once('>') {
        return Ok(vec![(number(from)?, number(to)?)]);
    }
    let (one, other) = link.split_once('-').ok_or("a link is 1-2 or 1>2")?;
    let (one, other) = (number(one)?, number(other)?);
    Ok(vec![(one, other), (other, one)])
}
