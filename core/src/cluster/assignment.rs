//! Which brokers hold a partition, and which are to (KIP-455).
//!
//! ```text
//!   settled     replicas = target
//!   on the move replicas = target, then the brokers that are left for last;  adding: new;  removing: to go
//! ```
//!
//! `replicas` without `adding` is where the partition was, `replicas` without `removing` is where it goes: a reassignment
//! can be taken back, and carried on by a controller that did not begin it.

use crate::ids::NodeId;
use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The brokers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    replicas: Vec<NodeId>,
    adding: Vec<NodeId>,
    removing: Vec<NodeId>,
}

impl Assignment {
    /// These brokers hold it, the preferred leader first.
    #[must_use]
    pub fn settled(replicas: Vec<NodeId>) -> Self {
        Self { replicas, adding: Vec::new(), removing: Vec::new() }
    }

    /// From where this one was to `target`. What an earlier reassignment was about to add, and `target` does not name, is let
    /// go of at once.
    #[must_use]
    pub fn moving_to(&self, target: &[NodeId]) -> Self {
        let origin = self.origin();
        let adding = target.iter().copied().filter(|node| !origin.contains(node)).collect();
        let mut removing: Vec<NodeId> = origin.into_iter().filter(|node| !target.contains(node)).collect();
        removing.sort_unstable();
        let replicas = target.iter().chain(&removing).copied().collect();
        Self { replicas, adding, removing }
    }

    /// All brokers that hold it, the preferred leader first.
    #[must_use]
    pub fn replicas(&self) -> &[NodeId] {
        &self.replicas
    }

    /// Those that a reassignment adds.
    #[must_use]
    pub fn adding(&self) -> &[NodeId] {
        &self.adding
    }

    /// Those that a reassignment takes away once it is done.
    #[must_use]
    pub fn removing(&self) -> &[NodeId] {
        &self.removing
    }

    /// A reassignment is going on.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas when a reassignment is done.
    #[must_use]
    pub fn target(&self) -> Vec<NodeId> {
        self.replicas.iter().copied().filter(|node| !self.removing.contains(node)).collect()
    }

    /// The replicas if a reassignment is taken back.
    #[must_use]
    pub fn origin(&self) -> Vec<NodeId> {
        self.replicas.iter().copied().filter(|node| !self.adding.contains(node)).collect()
    }

    /// Replicas are named once, and what is added or removed is among them.
    pub fn check_invariants(&self) {
        let is_once = |node| self.replicas.iter().filter(|other| *other == node).count() == 1;
        assert!(self.replicas.iter().all(is_once), "a broker holds one copy");
        assert!(self.adding.iter().all(|node| self.replicas.contains(node)), "what is added is a replica");
        assert!(self.removing.iter().all(|node| self.replicas.contains(node)), "what is to go is a replica");
        assert!(self.adding.iter().all(|node| !self.removing.contains(node)), "nothing comes and goes");
    }
}

/// As long as nothing moves, the list of replicas: what releases before reassignment wrote. Otherwise an empty list, which no
/// partition has, and the three lists.
impl Serialize for Assignment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_moving() {
            return self.replicas.serialize(serializer);
        }
        let mut tuple = serializer.serialize_tuple(4)?;
        tuple.serialize_element(&MOVING)?;
        tuple.serialize_element(&self.replicas)?;
        tuple.serialize_element(&self.adding)?;
        tuple.serialize_element(&self.removing)?;
        tuple.end()
    }
}

/// The length of a list that is none.
const MOVING: u64 = 0;
/// Replicas of one partition, at most: far more than a cluster has brokers.
const REPLICAS_MAX: usize = 1 << 16;

impl<'de> Deserialize<'de> for Assignment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The length, and the list or the three of them.
        deserializer.deserialize_tuple(1 + REPLICAS_MAX, Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Assignment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the brokers of a partition")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Assignment, A::Error> {
        let replicas: u64 = next(&mut seq)?;
        if replicas == MOVING {
            return Ok(Assignment {
                replicas: next(&mut seq)?,
                adding: next(&mut seq)?,
                removing: next(&mut seq)?,
            });
        }
        if replicas > REPLICAS_MAX as u64 {
            return Err(A::Error::custom("a partition has too many replicas"));
        }
        let replicas = (0..replicas).map(|_| next(&mut seq)).collect::<Result<_, _>>()?;
        Ok(Assignment::settled(replicas))
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("a partition's replicas end early"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().map(|&id| NodeId(id)).collect()
    }

    #[test]
    fn a_move_names_what_comes_and_what_goes() {
        let moving = Assignment::settled(nodes(&[1, 2, 3])).moving_to(&nodes(&[4, 3]));
        assert_eq!(moving.replicas(), nodes(&[4, 3, 1, 2]));
        assert_eq!(moving.adding(), nodes(&[4]));
        assert_eq!(moving.removing(), nodes(&[1, 2]));
        assert_eq!(moving.target(), nodes(&[4, 3]));
        assert_eq!(moving.origin(), nodes(&[3, 1, 2]));
    }

    #[test]
    fn another_target_is_counted_from_where_the_partition_was() {
        let first = Assignment::settled(nodes(&[1, 2])).moving_to(&nodes(&[1, 3]));
        let second = first.moving_to(&nodes(&[1, 4]));
        assert_eq!(second.replicas(), nodes(&[1, 4, 2]));
        assert_eq!((second.adding(), second.removing()), (&*nodes(&[4]), &*nodes(&[2])));
        assert!(!second.moving_to(&nodes(&[2, 1])).is_moving());
    }

    fn ids() -> impl Strategy<Value = Vec<NodeId>> {
        let ids = prop::collection::btree_set(0..40i32, 1..6);
        ids.prop_map(|ids| ids.into_iter().map(NodeId).collect::<Vec<_>>()).prop_shuffle()
    }

    proptest! {
        #[test]
        fn an_assignment_is_read_as_it_was_written(from in ids(), to in ids(), then in ids(), rest in any::<u32>()) {
            let moving = Assignment::settled(from).moving_to(&to);
            for assignment in [moving.moving_to(&then), moving] {
                assignment.check_invariants();
                let bytes = postcard::to_allocvec(&(&assignment, rest)).unwrap();
                let (read, behind): (Assignment, u32) = postcard::from_bytes(&bytes).unwrap();
                prop_assert_eq!((read, behind), (assignment, rest));
            }
        }

        #[test]
        fn a_list_of_replicas_is_an_assignment(replicas in ids()) {
            let bytes = postcard::to_allocvec(&replicas).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Assignment>(&bytes).unwrap(), Assignment::settled(replicas.clone()));
            prop_assert_eq!(postcard::to_allocvec(&Assignment::settled(replicas)).unwrap(), bytes);
        }
    }
}
