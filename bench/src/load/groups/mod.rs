//! Groups of members that read nothing: what is measured is how they share partitions.
//!
//! * [`classic`], [`consumer`]: a member of either protocol; * [`commits`]: groups that only commit.
//!
//! A [`Group`] runs its members on one thread. It looks after every answer that no partition has two owners, and says that it is
//! stable only if all partitions have one, evenly.

pub(crate) mod classic;
pub(crate) mod commits;
pub(crate) mod consumer;

use super::caller::{Caller, Stopwatch};
use super::client::Client;
use super::socket::{Socket, wait};
use super::{Latencies, LoadError, Loaded};
use seedlog_core::errors::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_core::wire::{ApiKey, Response, Str};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A rebalance that takes longer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Members of a group.
pub(crate) const MEMBERS: usize = 50;
/// Partitions that they share.
pub(crate) const PARTITIONS: i32 = 100;
/// How often a member says that it is alive: the classic protocol leaves it to clients, the other one to the broker.
pub(crate) const HEARTBEAT_MS: u64 = 100;
/// Rebalances of a run, at least: a member leaves, another one joins, twice.
const ROUNDS_MIN: u64 = 2;

/// What all members of a group know.
#[derive(Debug)]
pub(crate) struct Shared {
    group: Str,
    topic: Str,
    topic_id: Uuid,
}

/// What a member of a group does by itself.
pub(crate) trait Member: Sized {
    /// One that has yet to join. No other member of its group has its number.
    fn new(caller: Caller, number: u64) -> Self;

    /// Its connection.
    fn caller(&self) -> &Caller;

    /// Sends what is due. It is not called before the answer to the last request.
    fn act(&mut self, shared: &Shared, now: Instant) -> Result<(), LoadError>;

    /// Reads what has come.
    fn take(&mut self, shared: &Shared) -> Result<(), LoadError>;

    /// It is to leave the group.
    fn leave(&mut self);

    /// Whether it has left.
    fn is_gone(&self) -> bool;

    /// The generation, or the epoch, in which it has nothing to do but to read.
    fn stable_in(&self) -> Option<i32>;

    /// The partitions that it reads.
    fn owned(&self) -> &[i32];

    /// What the coordinator says of a group of such members, in its protocol's own words.
    fn described(coordinator: &mut Client, group: &Str) -> Result<Described, LoadError>;
}

/// A group as its coordinator sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    state: Str,
    members: usize,
}

/// A group and its members.
pub(crate) struct Group<M> {
    shared: Shared,
    coordinator: SocketAddr,
    members: Vec<M>,
    /// The generation or epoch in which it was stable last.
    epoch: i32,
    next_number: u64,
    readable: Vec<bool>,
}

impl<M: Member> Group<M> {
    /// A group of [`MEMBERS`] that share a topic of [`PARTITIONS`], once it is stable.
    ///
    /// # Errors
    /// A broker refuses, or it does not become stable.
    pub(crate) fn formed(bootstrap: SocketAddr, name: &str) -> Result<Self, LoadError> {
        let mut client = Client::connect(bootstrap)?;
        let (group, topic) = (Str::from(name), Str::from(name));
        let shared = Shared { group: group.clone(), topic, topic_id: client.topic_id(name)? };
        let coordinators = client.coordinators(&[group])?;
        let coordinator =
            coordinators.first().copied().ok_or_else(|| LoadError::Refused("no broker".to_owned()))?;
        let (members, readable) = (Vec::new(), Vec::new());
        let mut group = Self { shared, coordinator, members, epoch: -1, next_number: 0, readable };
        for _ in 0..MEMBERS {
            group.join()?;
        }
        group.until_stable()?;
        Ok(group)
    }

    /// Members leave and others join, in turns, for so long. The latency is from when a member wants to leave, or a new one to join,
    /// until all members are stable.
    ///
    /// # Errors
    /// A broker refuses, two members own a partition, or the group does not become stable.
    pub(crate) fn rebalance(&mut self, time: Duration) -> Result<Loaded, LoadError> {
        let (watch, mut latencies) = (Stopwatch::start(), Latencies::new());
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || watch.seconds() < time.as_secs_f64() {
            let leaving = self.members.len() * 7 / 10 * usize::from(rounds % 2 == 0);
            self.members[leaving].leave();
            latencies.add(self.until_stable()?);
            self.rest(rounds)?;
            self.join()?;
            latencies.add(self.until_stable()?);
            self.rest(rounds + 1)?;
            rounds += 1;
        }
        Ok(Loaded {
            requests: 2 * rounds,
            records: 0,
            value_bytes: 0,
            batch_bytes: 0,
            seconds: watch.seconds(),
            own_cpu_s: watch.own_cpu_s(),
            latency: latencies.summary(),
        })
    }

    /// The coordinator, too, has the group as its members have it: stable, and all of them in it.
    ///
    /// # Errors
    /// It has it otherwise.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let described = M::described(&mut Client::connect(self.coordinator)?, &self.shared.group)?;
        let expected = Described { state: Str::from_static("Stable"), members: MEMBERS };
        if described == expected {
            return Ok(());
        }
        Err(LoadError::Refused(format!("a group is to be {expected:?} in the end, and is {described:?}")))
    }

    /// All members leave.
    ///
    /// # Errors
    /// A broker refuses.
    pub(crate) fn leave(&mut self) -> Result<(), LoadError> {
        self.members.iter_mut().for_each(Member::leave);
        let began = Instant::now();
        while !self.members.is_empty() {
            self.step(began)?;
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), LoadError> {
        self.members.push(M::new(Caller::connect(self.coordinator)?, self.next_number));
        self.next_number += 1;
        Ok(())
    }

    fn until_stable(&mut self) -> Result<Duration, LoadError> {
        let began = Instant::now();
        loop {
            if let Some(epoch) = self.stable_in().filter(|epoch| *epoch > self.epoch) {
                self.epoch = epoch;
                return Ok(began.elapsed());
            }
            self.step(began)?;
        }
    }

    /// Lets the group be until heartbeats come at other times of a rebalance than the last time.
    fn rest(&mut self, number: u64) -> Result<(), LoadError> {
        let (began, time) = (Instant::now(), Duration::from_millis(number * 37 % HEARTBEAT_MS));
        while began.elapsed() < time {
            self.step(began)?;
        }
        match self.stable_in() {
            Some(epoch) if epoch == self.epoch => Ok(()),
            other => {
                let epoch = self.epoch;
                Err(LoadError::Refused(format!(
                    "a group that was stable in {epoch} is so in {other:?} unasked"
                )))
            }
        }
    }

    /// Sends what is due and takes what has come, once.
    fn step(&mut self, began: Instant) -> Result<(), LoadError> {
        let now = Instant::now();
        for member in self.members.iter_mut().filter(|member| !member.caller().is_waiting()) {
            member.act(&self.shared, now)?;
        }
        let sockets: Vec<&Socket> = self.members.iter().map(|member| &member.caller().socket).collect();
        // No heartbeat is late by more than this.
        wait(&sockets, Duration::from_millis(1), &mut self.readable)?;
        for (member, _) in self.members.iter_mut().zip(&self.readable).filter(|(_, readable)| **readable) {
            member.take(&self.shared)?;
        }
        self.members.retain(|member| !member.is_gone());
        check_nobody_shares(self.members.iter().map(Member::owned))?;
        if began.elapsed() > PATIENCE {
            return Err(LoadError::Refused(format!("a group is not stable after {} s", PATIENCE.as_secs())));
        }
        Ok(())
    }

    /// The generation or epoch in which all members are stable and own all partitions, evenly.
    fn stable_in(&self) -> Option<i32> {
        let mut epochs = self.members.iter().map(Member::stable_in);
        let first = epochs.next()??;
        let is_one = epochs.all(|epoch| epoch == Some(first));
        (is_one && is_balanced(self.members.iter().map(|member| member.owned().len()))).then_some(first)
    }
}

/// No partition is owned twice.
fn check_nobody_shares<'a>(owned: impl Iterator<Item = &'a [i32]>) -> Result<(), LoadError> {
    let mut is_owned = vec![false; usize::try_from(PARTITIONS).unwrap_or(0)];
    for &partition in owned.flatten() {
        let at = usize::try_from(partition).ok().and_then(|at| is_owned.get_mut(at));
        let at = at.ok_or_else(|| LoadError::Refused(format!("there is no partition {partition}")))?;
        if std::mem::replace(at, true) {
            return Err(LoadError::Refused(format!("two members own partition {partition}")));
        }
    }
    Ok(())
}

/// Whether members own so many partitions that together it is all of them, and none has two more than another.
fn is_balanced(counts: impl Iterator<Item = usize> + Clone) -> bool {
    let spread = counts.clone().max().unwrap_or(0) - counts.clone().min().unwrap_or(0);
    spread <= 1 && i32::try_from(counts.sum::<usize>()) == Ok(PARTITIONS)
}

/// A coordinator that has yet to load the group, or to learn that it is the one, is asked again.
fn is_early(code: i16) -> bool {
    [ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable, ErrorCode::NotCoordinator]
        .iter()
        .any(|early| early.code() == code)
}

fn unexpected(response: &Response) -> LoadError {
    let api: ApiKey = response.api_key();
    LoadError::unexpected(api, "to another request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_with_two_owners_or_none_is_seen() {
        let halves: [Vec<i32>; 2] = [(0..50).collect(), (50..100).collect()];
        assert!(check_nobody_shares(halves.iter().map(Vec::as_slice)).is_ok());
        assert!(is_balanced(halves.iter().map(Vec::len)));
        for (wrong, is_shared) in [(vec![49], true), (vec![100], true), (vec![], false)] {
            let parts = [&halves[0], &wrong];
            assert_eq!(check_nobody_shares(parts.iter().map(|part| part.as_slice())).is_err(), is_shared);
            assert!(!is_balanced(parts.iter().map(|part| part.len())));
        }
        assert!(!is_balanced([51, 49].into_iter()));
    }
}
