//! The steps of one member from what it reads to what it is to read (KIP-848, "Reconciliation of the group").
//!
//! ```text
//!   has and is to keep      stays
//!   has and is to lose      it is told so, and stays in its epoch until it says that it stopped
//!   is to get, and is free  given at once, with the target's epoch
//!   is to get, and another  it waits
//!   has it
//! ```

use super::Refusal;
use super::member::{Current, Held, State};
use crate::errors::ErrorCode;
use crate::group::assignor::Partitions;
use crate::ids::Uuid;
use crate::wire::consumer_group_heartbeat::OwnedPartitions;

/// What a step is taken by.
pub(super) struct Step<'a> {
    /// The epoch of the target.
    pub(super) target_epoch: i32,
    /// What the member is to read in the end.
    pub(super) target: &'a Partitions,
    /// What the member says that it reads; `None`: it did not say.
    pub(super) owned: Option<&'a [OwnedPartitions]>,
    /// It said something else than before about the topics that it wants.
    pub(super) subscription_changed: bool,
    /// It wants this topic.
    pub(super) wants: &'a dyn Fn(Uuid) -> bool,
    /// Somebody has this partition.
    pub(super) is_owned: &'a dyn Fn(Uuid, i32) -> bool,
}

impl Step<'_> {
    /// The next step; the same, if there is none.
    ///
    /// # Errors
    /// FENCED_MEMBER_EPOCH: another release left it in a state that this one does not know.
    pub(super) fn take(&self, current: &Current) -> Result<Current, Refusal> {
        match current.state {
            State::Stable if current.epoch != self.target_epoch => Ok(self.next(current, current.epoch)),
            State::Stable if self.subscription_changed => Ok(self.without_unwanted(current)),
            State::Stable => Ok(current.clone()),
            State::Unrevoked if self.owns_any(&current.revoking) => {
                Ok(if self.subscription_changed { self.without_unwanted(current) } else { current.clone() })
            }
            State::Unrevoked | State::Unreleased => Ok(self.next(current, current.epoch)),
            State::Unknown(_) if self.owned.is_some_and(<[OwnedPartitions]>::is_empty) => {
                Ok(self.next(current, self.target_epoch))
            }
            State::Unknown(_) => Err(Refusal::new(
                ErrorCode::FencedMemberEpoch,
                "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
            )),
        }
    }

    /// It still reads some of these, or did not say.
    fn owns_any(&self, held: &Held) -> bool {
        let Some(owned) = self.owned else { return true };
        owned
            .iter()
            .any(|of_topic| of_topic.partitions.iter().any(|&it| held.contains(of_topic.topic_id, it)))
    }

    fn next(&self, current: &Current, epoch: i32) -> Current {
        let (mut assigned, mut revoking) = (Held::default(), Held::default());
        for (topic_id, partition, since) in current.assigned.iter() {
            let stays = (self.wants)(topic_id) && self.target.contains(topic_id, partition);
            if stays { &mut assigned } else { &mut revoking }.insert(topic_id, partition, since);
        }
        if !revoking.is_empty() && self.owns_any(&revoking) {
            return Current { epoch, previous: current.epoch, state: State::Unrevoked, assigned, revoking };
        }
        let mut waits = false;
        for (topic_id, partition) in self.target.iter() {
            if assigned.contains(topic_id, partition) || !(self.wants)(topic_id) {
                continue;
            }
            // What it has just let go of is its own as long as nobody else has it.
            let is_free =
                !(self.is_owned)(topic_id, partition) || current.revoking.contains(topic_id, partition);
            if is_free {
                assigned.insert(topic_id, partition, self.target_epoch);
            } else {
                waits = true;
            }
        }
        let state = if waits { State::Unreleased } else { State::Stable };
        Current {
            epoch: self.target_epoch,
            previous: current.epoch,
            state,
            assigned,
            revoking: Held::default(),
        }
    }

    /// Topics that it no longer wants go at once, whatever its target says.
    fn without_unwanted(&self, current: &Current) -> Current {
        let (mut assigned, mut revoking) = (Held::default(), current.revoking.clone());
        let mut is_less = false;
        for (topic_id, partition, since) in current.assigned.iter() {
            if (self.wants)(topic_id) {
                assigned.insert(topic_id, partition, since);
            } else {
                revoking.insert(topic_id, partition, since);
                is_less = true;
            }
        }
        if !is_less {
            return current.clone();
        }
        let (epoch, previous) = (current.epoch, current.epoch);
        if self.owns_any(&revoking) {
            Current { epoch, previous, state: State::Unrevoked, assigned, revoking }
        } else {
            // It stopped before it was told to.
            Current { epoch, previous, state: current.state, assigned, revoking: current.revoking.clone() }
        }
    }
}
