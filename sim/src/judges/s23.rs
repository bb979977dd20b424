//! S23 single owner (INVARIANTS.md 3a): in one generation a partition has one owner at most, a member is told to read what the
//! committed log gives it, and what a member of a former generation commits is refused.
//!
//! Simulated members give each other partitions by their numbers, one byte each.

use bytes::Bytes;
use seedlog_core::group::records::GroupMetadataValue;
use std::collections::{BTreeMap, BTreeSet};

/// Who owns what, by the committed log.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// By member and generation. Ids of members are never used twice, whatever becomes of their group.
    given: BTreeMap<(String, i32), Bytes>,
    generation: i32,
}

impl Owners {
    /// The group was forgotten: its generations begin anew.
    pub fn begin_anew(&mut self) {
        self.generation = 0;
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// The log gives members what they read.
    ///
    /// # Errors
    /// Two of them the same, or a generation that is over is in force again.
    pub fn on_logged(&mut self, value: &GroupMetadataValue) -> Result<(), String> {
        let generation = value.generation;
        if generation < self.generation {
            return Err(format!("generation {generation} begins behind generation {}", self.generation));
        }
        self.generation = generation;
        let mut taken = BTreeSet::new();
        for member in &value.members {
            if let Some(twice) = member.assignment.iter().find(|&&index| !taken.insert(index)) {
                return Err(format!("partition {twice} has two owners in generation {generation}"));
            }
            self.given.insert((member.member_id.to_string(), generation), member.assignment.clone());
        }
        Ok(())
    }

    /// A member was told what it reads.
    ///
    /// # Errors
    /// The log does not give it that.
    pub fn check_told(&self, generation: i32, member: &str, told: &Bytes) -> Result<(), String> {
        match self.given.get(&(member.to_owned(), generation)) {
            Some(given) if given == told => Ok(()),
            given => Err(format!(
                "{member} is told to read {told:?} in generation {generation}, and the committed log gives it {given:?}"
            )),
        }
    }
}

/// A commit of a generation was accepted; `in_force` was the latest one when it was sent.
///
/// # Errors
/// A later one was in force.
pub fn check_commit(generation: i32, in_force: i32) -> Result<(), String> {
    if generation < in_force {
        return Err(format!(
            "a commit of generation {generation} is accepted, and {in_force} was in force when it was sent"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::group::records::MemberMetadata;

    fn record(generation: i32, members: &[(&str, &'static [u8])]) -> GroupMetadataValue {
        let members = members.iter().map(|(id, assignment)| MemberMetadata {
            member_id: (*id).into(),
            assignment: Bytes::from_static(assignment),
            ..MemberMetadata::default()
        });
        GroupMetadataValue { generation, members: members.collect(), ..GroupMetadataValue::default() }
    }

    #[test]
    fn two_owners_and_what_no_log_gives_are_found() {
        let mut owners = Owners::default();
        assert_eq!(owners.on_logged(&record(1, &[("a", b"\0\x01"), ("b", b"\x02")])), Ok(()));
        assert_eq!(owners.check_told(1, "b", &Bytes::from_static(b"\x02")), Ok(()));
        assert!(owners.check_told(1, "b", &Bytes::from_static(b"\0")).unwrap_err().contains("gives it"));
        assert!(owners.check_told(2, "b", &Bytes::from_static(b"\x02")).is_err());
        let twice = record(2, &[("a", b"\x01"), ("b", b"\x01")]);
        assert!(owners.on_logged(&twice).unwrap_err().contains("partition 1 has two owners"));
        assert!(owners.on_logged(&record(1, &[])).unwrap_err().contains("behind generation 2"));
        owners.begin_anew();
        assert_eq!(owners.on_logged(&record(1, &[("c", b"\x01")])), Ok(()));
    }

    #[test]
    fn a_zombie_is_found() {
        assert_eq!(check_commit(2, 2), Ok(()));
        assert!(check_commit(1, 2).unwrap_err().contains("2 was in force"));
    }
}
