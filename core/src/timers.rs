//! A queue of timers, each armed once at most. Its owner says when to wake it and asks for what is due.

use crate::time::MonoMs;
use alloc::collections::{BTreeMap, BTreeSet};

/// The queue. `K` says what a timer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(MonoMs, K)>,
    by_timer: BTreeMap<K, MonoMs>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_timer: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Arms a timer, in place of what it was armed for.
    pub(crate) fn arm(&mut self, at: MonoMs, timer: K) {
        if let Some(old) = self.by_timer.insert(timer.clone(), at) {
            let old = (old, timer);
            self.by_time.remove(&old);
            self.by_time.insert((at, old.1));
        } else {
            self.by_time.insert((at, timer));
        }
    }

    /// Arms a timer, unless it is armed for an earlier moment.
    pub(crate) fn arm_by(&mut self, at: MonoMs, timer: K) {
        if self.by_timer.get(&timer).is_none_or(|&armed| at < armed) {
            self.arm(at, timer);
        }
    }

    /// A timer that is not needed.
    pub(crate) fn disarm(&mut self, timer: K) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// The next timer that is due.
    pub(crate) fn pop_due(&mut self, now: MonoMs) -> Option<K> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.by_timer.remove(&timer);
        Some(timer)
    }

    /// The next timer.
    pub(crate) fn first(&self) -> Option<(MonoMs, &K)> {
        self.by_time.first().map(|(at, timer)| (*at, timer))
    }

    /// None is left.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
