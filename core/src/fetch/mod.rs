//! Fetches in progress and fetch sessions (KIP-227): which partitions a reader wants, what it was told, and which of them
//! may have something new to say.
//!
//! A fetch without a session is a session for one answer. An answer costs the partitions in the session's queue: those that
//! were asked for, moved, or failed since the last one; never the number of partitions in the session.

pub mod session;

use crate::ids::{ConnId, RequestNumber, TopicPartition, Uuid};
use crate::time::MonoMs;
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use session::Session;

/// A session's number here. Real sessions use their id on the wire; fetches without a session count on from 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

impl SessionKey {
    const FIRST_ONE_SHOT: u64 = 1 << 32;

    /// The id on the wire; 0 for a fetch without a session.
    #[must_use]
    pub fn wire_id(self) -> i32 {
        i32::try_from(self.0).unwrap_or(0)
    }

    /// The key of a session id.
    #[must_use]
    pub fn of(session_id: i32) -> Option<Self> {
        u64::try_from(session_id).ok().filter(|&id| id > 0).map(Self)
    }

    /// The fetch stands alone.
    #[must_use]
    pub fn is_one_shot(self) -> bool {
        self.0 >= Self::FIRST_ONE_SHOT
    }
}

/// How a reader named a partition: by topic name (up to version 12) or by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartKey {
    /// The topic's id as the reader gave it; zero if it gave the name.
    pub topic_id: Uuid,
    /// The topic's name; empty if it gave the id.
    pub name: Str,
    /// The partition's index as the reader gave it.
    pub index: i32,
}

/// The request that a session is waiting to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where the answer goes.
    pub conn: ConnId,
    /// Which request it answers.
    pub number: RequestNumber,
    /// The request's version.
    pub version: i16,
    /// Bytes that are worth an answer.
    pub bytes_min: u64,
    /// Bytes that the answer may have.
    pub bytes_max: u32,
    /// When it leaves in any case.
    pub deadline: MonoMs,
    /// Bytes known to be there.
    pub available: u64,
    /// The reader wants committed transactions only.
    pub read_committed: bool,
}

/// All sessions of a broker, and who is to be told when a partition moves.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    by_key: BTreeMap<SessionKey, Session>,
    watchers: BTreeMap<TopicPartition, BTreeSet<(SessionKey, PartKey)>>,
    /// Real sessions by last use, for eviction.
    idle: BTreeSet<(MonoMs, SessionKey)>,
    /// Partitions of all real sessions.
    parts: usize,
    next_one_shot: u64,
}

/// A session that was not used for this long may make room for a new one (Kafka's
/// MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS).
const EVICTION_MS: u64 = 120_000;

impl Sessions {
    /// A key for a fetch without a session.
    pub fn one_shot_key(&mut self) -> SessionKey {
        self.next_one_shot += 1;
        SessionKey(SessionKey::FIRST_ONE_SHOT + self.next_one_shot)
    }

    /// Makes room for one more real session, if that is possible.
    pub fn make_room(&mut self, now: MonoMs, sessions_max: usize) -> bool {
        if self.idle.len() < sessions_max {
            return true;
        }
        let oldest = self.idle.first().copied().filter(|&(used, key)| {
            now - used >= EVICTION_MS
                && self.by_key.get(&key).is_none_or(|session| session.waiting().is_none())
        });
        oldest.map(|(_, key)| self.remove(key)).is_some()
    }

    /// Real sessions that exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Partitions that they hold.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Requests that wait, with a session or without.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.by_key.values().filter(|session| session.waiting().is_some()).count()
    }

    /// A session holds a partition.
    #[must_use]
    pub fn holds(&self, key: SessionKey, part_key: &PartKey) -> bool {
        self.by_key.get(&key).is_some_and(|session| session.parts.contains_key(part_key))
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// Adds a session, with all its partitions watched.
    pub fn insert(&mut self, key: SessionKey, session: Session) {
        assert!(!self.by_key.contains_key(&key), "a session's key is used once");
        if !key.is_one_shot() {
            self.idle.insert((session.last_used, key));
            self.parts += session.parts.len();
        }
        for (part_key, part) in &session.parts {
            watch(&mut self.watchers, part.partition, key, part_key);
        }
        self.by_key.insert(key, session);
    }

    /// Ends a session.
    pub fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.by_key.remove(&key)?;
        if self.idle.remove(&(session.last_used, key)) {
            self.parts -= session.parts.len();
        }
        for (part_key, part) in &session.parts {
            unwatch(&mut self.watchers, part.partition, key, part_key);
        }
        Some(session)
    }

    /// A session.
    #[must_use]
    pub fn contains(&self, key: SessionKey) -> bool {
        self.by_key.contains_key(&key)
    }

    /// A session, to be changed without touching which partitions it has.
    pub fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.by_key.get_mut(&key)
    }

    /// Notes that a session was used.
    pub fn touch(&mut self, key: SessionKey, now: MonoMs) {
        if let Some(session) = self.by_key.get_mut(&key)
            && self.idle.remove(&(session.last_used, key))
        {
            session.last_used = now;
            self.idle.insert((now, key));
        }
    }

    /// Adds a partition to a session, or changes what is wanted of it; either way it is looked at again.
    pub fn want(&mut self, key: SessionKey, part_key: PartKey, part: session::Part) {
        let Some(session) = self.by_key.get_mut(&key) else { return };
        let before = session.parts.len();
        let old = session.want(part_key.clone(), part);
        if !key.is_one_shot() {
            self.parts += session.parts.len() - before;
        }
        let new = session.parts.get(&part_key).and_then(|part| part.partition);
        if old != new {
            unwatch(&mut self.watchers, old, key, &part_key);
            watch(&mut self.watchers, new, key, &part_key);
        }
    }

    /// Takes a partition out of a session.
    pub fn forget(&mut self, key: SessionKey, part_key: &PartKey) {
        if let Some(part) = self.by_key.get_mut(&key).and_then(|session| session.parts.remove(part_key)) {
            self.parts -= usize::from(!key.is_one_shot());
            unwatch(&mut self.watchers, part.partition, key, part_key);
        }
    }

    /// A partition of a session now stands for another one, because its topic was created or deleted.
    pub fn resolve(&mut self, key: SessionKey, part_key: &PartKey, partition: Option<TopicPartition>) {
        let Some(part) = self.by_key.get_mut(&key).and_then(|session| session.parts.get_mut(part_key)) else {
            return;
        };
        let old = core::mem::replace(&mut part.partition, partition);
        if old != partition {
            unwatch(&mut self.watchers, old, key, part_key);
            watch(&mut self.watchers, partition, key, part_key);
        }
    }

    /// Puts a partition into the queues of all sessions that watch it and names those with a waiting request.
    pub fn moved(&mut self, partition: TopicPartition) -> Vec<(SessionKey, PartKey)> {
        let mut waiting = Vec::new();
        for (key, part_key) in self.watchers.get(&partition).into_iter().flatten() {
            let session = self.by_key.get_mut(key).expect("a watcher is a session that exists");
            session.enqueue(part_key);
            if session.waiting().is_some() {
                waiting.push((*key, part_key.clone()));
            }
        }
        waiting
    }

    /// What must hold; O(all sessions).
    pub fn check_invariants(&self) {
        let real = self.by_key.iter().filter(|(key, _)| !key.is_one_shot());
        assert!(self.parts == real.map(|(_, session)| session.parts.len()).sum::<usize>());
        for (key, session) in &self.by_key {
            session.check_invariants();
            assert!(key.is_one_shot() || self.idle.contains(&(session.last_used, *key)));
            assert!(!key.is_one_shot() || session.waiting().is_some(), "a lone fetch lives while it waits");
            for (part_key, part) in &session.parts {
                if let Some(partition) = part.partition {
                    let watched = self.watchers.get(&partition).is_some_and(|watchers| {
                        watchers.iter().any(|(watcher, watched)| watcher == key && watched == part_key)
                    });
                    assert!(watched, "every partition of a session is watched");
                }
            }
        }
    }
}

type Watchers = BTreeMap<TopicPartition, BTreeSet<(SessionKey, PartKey)>>;

fn watch(watchers: &mut Watchers, partition: Option<TopicPartition>, key: SessionKey, part_key: &PartKey) {
    if let Some(partition) = partition {
        watchers.entry(partition).or_default().insert((key, part_key.clone()));
    }
}

fn unwatch(watchers: &mut Watchers, partition: Option<TopicPartition>, key: SessionKey, part_key: &PartKey) {
    let Some(partition) = partition else { return };
    if let Some(of_partition) = watchers.get_mut(&partition) {
        of_partition.remove(&(key, part_key.clone()));
        if of_partition.is_empty() {
            watchers.remove(&partition);
        }
    }
}
