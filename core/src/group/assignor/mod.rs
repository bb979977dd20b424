//! Who is to read what: the assignors of consumer groups (KIP-848). Functions of who is there, what each wants and what each
//! was to read so far; the same question has the same answer.
//!
//! Racks have no part in it, as in Kafka since 4.0: that they change makes a group assign anew, and that is all.
//!
//! * `uniform`: everybody reads as much as everybody else, and keeps what it has; * `range`: partitions of the same index of
//!   several topics go to the same member.

mod range;
mod uniform;

use crate::ids::Uuid;
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Partitions by topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partitions(pub BTreeMap<Uuid, BTreeSet<i32>>);

impl Partitions {
    /// Takes one in.
    pub fn insert(&mut self, topic_id: Uuid, partition: i32) {
        self.0.entry(topic_id).or_default().insert(partition);
    }

    /// It is among them.
    #[must_use]
    pub fn contains(&self, topic_id: Uuid, partition: i32) -> bool {
        self.0.get(&topic_id).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, i32)> + '_ {
        self.0.iter().flat_map(|(&topic_id, partitions)| partitions.iter().map(move |&it| (topic_id, it)))
    }
}

/// An assignor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As much for each as for the others.
    Uniform,
    /// Ranges of each topic.
    Range,
}

impl Assignor {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member is to read. Nobody reads what it does not want, or what somebody else reads.
    #[must_use]
    pub fn assign(self, group: &Subscribed) -> BTreeMap<Str, Partitions> {
        match self {
            Self::Uniform => uniform::assign(group),
            Self::Range => range::assign(group),
        }
    }
}

/// What an assignor is told.
#[derive(Debug, Clone, Default)]
pub struct Subscribed {
    /// How many partitions each topic has that somebody wants.
    pub topics: BTreeMap<Uuid, usize>,
    /// What members want, each such set once.
    pub subscriptions: Vec<BTreeSet<Uuid>>,
    /// The members.
    pub members: BTreeMap<Str, Subscriber>,
}

/// A member, to an assignor.
#[derive(Debug, Clone, Default)]
pub struct Subscriber {
    /// Its name as a static member.
    pub instance_id: Option<Str>,
    /// The place of what it wants among the subscriptions.
    pub subscription: usize,
    /// What it was to read so far.
    pub before: Partitions,
}

impl Subscribed {
    fn wanted_by(&self, member: &Subscriber) -> &BTreeSet<Uuid> {
        &self.subscriptions[member.subscription]
    }

    /// All want the same.
    fn is_homogeneous(&self) -> bool {
        let mut wanted = self.members.values().map(|member| self.wanted_by(member));
        let first = wanted.next();
        wanted.all(|other| Some(other) == first)
    }
}

/// The partitions of a topic by index.
fn indexes(partitions: usize) -> impl Iterator<Item = i32> {
    0..i32::try_from(partitions).unwrap_or(i32::MAX)
}
