//! Everybody reads as much as everybody else who wants the same, and keeps what it has where that is possible.
//!
//! Where all want the same, shares differ by one at most, and nobody loses more than the share of others asks for. Otherwise
//! partitions go to the one with the fewest among those who want them, and then move, one by one, from who has more to who has
//! at least two fewer, until nobody does.

use super::{Partitions, Subscribed};
use crate::ids::Uuid;
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Rounds of moves where members want different things. Each about halves what is uneven.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(group: &Subscribed) -> BTreeMap<Str, Partitions> {
    let mut shares = Shares::kept(group);
    if group.is_homogeneous() {
        shares.cut_to_quota(group);
    }
    shares.hand_out(group);
    if !group.is_homogeneous() {
        shares.balance(group);
    }
    let ids = group.members.keys().cloned();
    ids.zip(shares.of_member).collect()
}

/// Who has what. Members go by their place in the order of ids.
struct Shares {
    of_member: Vec<Partitions>,
    /// How many that are.
    counts: Vec<usize>,
    /// Who has each partition of a topic.
    owners: BTreeMap<Uuid, Vec<Option<usize>>>,
}

impl Shares {
    /// What members had, as far as they still want it and it still exists.
    fn kept(group: &Subscribed) -> Self {
        let owners =
            group.topics.iter().map(|(&topic_id, &partitions)| (topic_id, alloc::vec![None; partitions]));
        let mut shares = Self {
            of_member: alloc::vec![Partitions::default(); group.members.len()],
            counts: alloc::vec![0; group.members.len()],
            owners: owners.collect(),
        };
        for (at, member) in group.members.values().enumerate() {
            let wanted = group.wanted_by(member);
            for (topic_id, partition) in
                member.before.iter().filter(|(topic_id, _)| wanted.contains(topic_id))
            {
                if shares.owner(topic_id, partition) == Some(None) {
                    shares.give(at, topic_id, partition);
                }
            }
        }
        shares
    }

    /// Nobody keeps more than its part. Who has one more than the others need have keeps it, while there are such parts.
    fn cut_to_quota(&mut self, group: &Subscribed) {
        let Some(first) = group.members.values().next() else { return };
        let wanted = group.wanted_by(first);
        let all: usize = wanted.iter().filter_map(|topic_id| group.topics.get(topic_id)).sum();
        let (share, mut extra) = (all / group.members.len(), all % group.members.len());
        for at in 0..self.of_member.len() {
            let mut quota = share;
            if self.counts[at] > share && extra > 0 {
                (quota, extra) = (share + 1, extra - 1);
            }
            let surplus: Vec<(Uuid, i32)> = self.of_member[at].iter().skip(quota).collect();
            for (topic_id, partition) in surplus {
                self.take(topic_id, partition);
            }
        }
    }

    /// What nobody has goes to who has the fewest. Topics that fewer members can read for each partition come first.
    fn hand_out(&mut self, group: &Subscribed) {
        let readers = readers(group);
        let mut topics: Vec<(&Uuid, &Vec<usize>)> = readers.iter().collect();
        // By partitions for each reader, most first: as fractions they are compared without dividing.
        topics.sort_by(|(one, its), (other, others)| {
            let (its_partitions, other_partitions) = (group.topics[*one], group.topics[*other]);
            let by_load = (other_partitions * its.len()).cmp(&(its_partitions * others.len()));
            by_load.then(its.len().cmp(&others.len())).then(one.cmp(other))
        });
        for (&topic_id, readers) in topics {
            let free: Vec<i32> = super::indexes(group.topics[&topic_id])
                .filter(|&partition| self.owner(topic_id, partition) == Some(None))
                .collect();
            let mut queue: BTreeSet<(usize, usize)> =
                readers.iter().map(|&at| (self.counts[at], at)).collect();
            for partition in free {
                let Some((count, at)) = queue.pop_first() else { break };
                self.give(at, topic_id, partition);
                queue.insert((count + 1, at));
            }
        }
    }

    fn balance(&mut self, group: &Subscribed) {
        let readers = readers(group);
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = false;
            for (&topic_id, readers) in &readers {
                has_moved |= self.balance_topic(topic_id, readers);
            }
            if !has_moved {
                break;
            }
        }
    }

    /// Moves partitions of one topic until nobody who reads it has two more than another one who could.
    fn balance_topic(&mut self, topic_id: Uuid, readers: &[usize]) -> bool {
        let mut has_moved = false;
        let mut queue: BTreeSet<(usize, usize)> = readers.iter().map(|&at| (self.counts[at], at)).collect();
        let mut givers = queue.clone();
        while let Some((most, from)) = givers.pop_last() {
            let Some(&(fewest, to)) = queue.first() else { break };
            if most < fewest + 2 {
                break;
            }
            let held = self.of_member[from].0.get(&topic_id).and_then(BTreeSet::last).copied();
            // Who has nothing of this topic cannot give of it.
            let Some(partition) = held else { continue };
            self.take(topic_id, partition);
            self.give(to, topic_id, partition);
            for (at, before) in [(from, most), (to, fewest)] {
                queue.remove(&(before, at));
                queue.insert((self.counts[at], at));
                givers.remove(&(before, at));
            }
            givers.insert((self.counts[from], from));
            givers.insert((self.counts[to], to));
            has_moved = true;
        }
        has_moved
    }

    /// Who has a partition; `None`: it does not exist.
    fn owner(&self, topic_id: Uuid, partition: i32) -> Option<Option<usize>> {
        self.owners.get(&topic_id)?.get(usize::try_from(partition).ok()?).copied()
    }

    fn give(&mut self, at: usize, topic_id: Uuid, partition: i32) {
        self.of_member[at].insert(topic_id, partition);
        self.counts[at] += 1;
        self.set_owner(topic_id, partition, Some(at));
    }

    fn take(&mut self, topic_id: Uuid, partition: i32) {
        let Some(Some(at)) = self.owner(topic_id, partition) else { return };
        let of_member = &mut self.of_member[at].0;
        if let Some(of_topic) = of_member.get_mut(&topic_id) {
            of_topic.remove(&partition);
            if of_topic.is_empty() {
                of_member.remove(&topic_id);
            }
        }
        self.counts[at] -= 1;
        self.set_owner(topic_id, partition, None);
    }

    fn set_owner(&mut self, topic_id: Uuid, partition: i32, owner: Option<usize>) {
        let slot = self.owners.get_mut(&topic_id).zip(usize::try_from(partition).ok());
        if let Some(slot) = slot.and_then(|(owners, at)| owners.get_mut(at)) {
            *slot = owner;
        }
    }
}

/// Who wants each topic.
fn readers(group: &Subscribed) -> BTreeMap<Uuid, Vec<usize>> {
    let mut readers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (at, member) in group.members.values().enumerate() {
        for &topic_id in group.wanted_by(member).iter().filter(|topic_id| group.topics.contains_key(topic_id))
        {
            readers.entry(topic_id).or_default().push(at);
        }
    }
    readers
}
