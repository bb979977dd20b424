//! S23 single owner (INVARIANTS.md 3a): in one generation a partition has one owner at most, and what a member of a former
//! generation commits is refused.

use super::groups::Slot;
use std::collections::BTreeMap;

/// Who owns what, as members were told.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    by_slot: BTreeMap<(i32, Slot), String>,
    /// The latest generation in which somebody was told what to read.
    generation: i32,
}

impl Owners {
    /// The group was forgotten: its generations begin anew.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// The latest generation that is known to be in force.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// A member was told what it reads.
    ///
    /// # Errors
    /// Somebody else was told so.
    pub fn on_told(&mut self, generation: i32, member: &str, slots: &[Slot]) -> Result<(), String> {
        self.generation = self.generation.max(generation);
        for slot in slots {
            let owner = self.by_slot.entry((generation, slot.clone())).or_insert_with(|| member.to_owned());
            if owner != member {
                return Err(format!(
                    "{}-{} is {owner}'s in generation {generation}, and {member} is told to read it",
                    slot.0, slot.1
                ));
            }
        }
        Ok(())
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

    #[test]
    fn two_owners_and_a_zombie_are_found() {
        let slot = |index| (seedlog_core::wire::Str::from("t0"), index);
        let mut owners = Owners::default();
        assert_eq!(owners.on_told(1, "a", &[slot(0)]), Ok(()));
        assert_eq!(owners.on_told(1, "b", &[slot(1)]), Ok(()));
        assert_eq!(owners.on_told(1, "a", &[slot(0)]), Ok(()), "told again");
        assert_eq!(owners.on_told(2, "b", &[slot(0)]), Ok(()), "in another generation");
        assert!(owners.on_told(2, "a", &[slot(0)]).unwrap_err().contains("t0-0 is b's"));
        assert_eq!(check_commit(2, owners.generation()), Ok(()));
        assert!(check_commit(1, owners.generation()).unwrap_err().contains("2 was in force"));
    }
}
