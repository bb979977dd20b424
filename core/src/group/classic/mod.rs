//! The classic protocol: members meet, agree on a protocol, one of them assigns, all are told (KIP-62, KIP-345, KIP-394).
//!
//! ```text
//!              first JoinGroup            all joined, or time is up        the leader's SyncGroup
//!    Empty ───────────────────► Preparing ──────────────────► Completing ─────────────────► Stable
//!      ▲                         ▲  │ ▲                            │                          │
//!      └── all members left ─────│──┘ └── somebody came or went ───┴──────────────────────────┘
//! ```
//!
//! The log gets a record when a generation is assigned and when the last member left. Who waits for whom is not in it: after a
//! change of coordinator those who were joining ask again.
//!
//! * `member`: one member; * `join`: JoinGroup; * `rebalance`: from Preparing to Completing; * `sync`: SyncGroup, Heartbeat and
//!   LeaveGroup.

mod join;
mod member;
mod rebalance;
mod sync;

pub(super) use join::{MEMBER_ID_FIRST_FROM, refused as refused_join};
pub(super) use member::{Member, kept, new_id};
pub(super) use sync::heartbeat as refused_heartbeat;

use member::MEMBER_BYTES;

use super::Turn;
use super::records::{GroupMetadataKey, GroupMetadataValue, GroupRecord};
use crate::errors::ErrorCode;
use crate::time::WallMs;
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};
use bytes::Bytes;

/// The members of a group, and what they are doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Classic {
    pub(super) phase: Phase,
    /// What kind of group it is: `consumer`, `connect`. Stays when the last member leaves.
    pub(super) protocol_type: Option<Str>,
    /// What the members agreed on.
    pub(super) protocol: Option<Str>,
    /// Number of the rebalance.
    pub(super) generation: i32,
    /// The member that assigns.
    leader: Option<Str>,
    pub(super) members: BTreeMap<Str, Member>,
    /// The ids of static members by their place (KIP-345).
    statics: BTreeMap<Str, Str>,
    /// Ids that were given out, to be joined with (KIP-394).
    pending: BTreeSet<Str>,
    /// Members that did not ask for their assignment in this generation.
    unsynced: BTreeSet<Str>,
    /// When the phase changed last.
    pub(super) since: WallMs,
}

/// What the members are doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// There is none.
    #[default]
    Empty,
    /// They join.
    Preparing(Begun),
    /// They joined, and wait for the leader to assign.
    Completing,
    /// Each knows what it reads.
    Stable,
}

/// What a rebalance began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// Nobody: others are given the time to come.
    Empty {
        /// How much longer, when newcomers came.
        remaining_ms: u64,
        has_newcomers: bool,
    },
    /// Members, which have to join again.
    Members,
}

impl Phase {
    /// Kafka's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing(_) => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl Classic {
    /// The members as the log has them.
    pub(super) fn restored(written: &GroupMetadataValue, turn: &mut Turn<'_>) -> Self {
        let protocol = written.protocol.clone().unwrap_or_default();
        let mut restored = Self {
            phase: if written.members.is_empty() { Phase::Empty } else { Phase::Stable },
            protocol_type: Some(written.protocol_type.clone()).filter(|kind| !kind.is_empty()),
            protocol: written.protocol.clone(),
            generation: written.generation,
            leader: written.leader.clone(),
            since: WallMs(written.current_state_timestamp),
            ..Self::default()
        };
        for member in &written.members {
            if restored.members.contains_key(&member.member_id) {
                continue; // Nobody writes such a record; one is no reason to end.
            }
            restored.insert(member.member_id.clone(), Member::restored(member, &protocol), turn);
            restored.arm_session(&member.member_id, turn);
        }
        // They were adopted from a consumer group, and nobody has led them since.
        if written.leader.is_none() && !restored.members.is_empty() {
            restored.prepare(turn);
        }
        restored
    }

    /// Nobody is in it, or waits for somebody.
    pub(super) fn is_empty(&self) -> bool {
        self.phase == Phase::Empty && self.is_idle()
    }

    /// Nobody is in it or about to be.
    pub(super) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// The request comes from who it says it does (KIP-345).
    ///
    /// # Errors
    /// FENCED_INSTANCE_ID: another member has taken its place. UNKNOWN_MEMBER_ID.
    pub(super) fn check_member(&self, member: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        match instance_id.map(|instance_id| self.statics.get(instance_id)) {
            Some(None) => Err(ErrorCode::UnknownMemberId),
            Some(Some(known)) if *known != *member => Err(ErrorCode::FencedInstanceId),
            Some(Some(_)) | None if self.members.contains_key(member) => Ok(()),
            Some(Some(_)) | None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// The record of these members, each with what `assignment` gives it.
    fn written(&self, assignment: impl Fn(&Str, &Member) -> Bytes) -> GroupMetadataValue {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.iter();
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.since.0,
            members: members.map(|(id, it)| it.written(id, &protocol, assignment(id, it))).collect(),
        }
    }

    fn record(&self, turn: &mut Turn<'_>, value: GroupMetadataValue) {
        let key = GroupMetadataKey { group: turn.id.clone() };
        turn.record(GroupRecord::Classic(key, Some(value)));
    }

    /// Writes it if it fits into one record. `false`: it does not, and nothing is written.
    fn record_if_it_fits(&self, turn: &mut Turn<'_>, value: GroupMetadataValue) -> bool {
        let record = GroupRecord::Classic(GroupMetadataKey { group: turn.id.clone() }, Some(value));
        let fits = record.bytes() <= turn.settings.record_bytes_max;
        if fits {
            turn.record(record);
        }
        fits
    }

    fn enter(&mut self, phase: Phase, turn: &Turn<'_>) {
        self.phase = phase;
        self.since = turn.now.wall;
    }

    fn insert(&mut self, id: Str, member: Member, turn: &mut Turn<'_>) {
        *turn.member_bytes += member.bytes();
        if let Some(instance_id) = &member.instance_id {
            self.statics.insert(instance_id.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        let old = self.members.insert(id, member);
        assert!(old.is_none(), "a member is taken in once");
    }

    /// Takes a member out. The caller answers what it waited for.
    fn take(&mut self, id: &Str, turn: &mut Turn<'_>) -> Option<Member> {
        turn.disarm_session(id);
        self.unsynced.remove(id);
        let member = self.members.remove(id)?;
        *turn.member_bytes -= member.bytes();
        if let Some(instance_id) = &member.instance_id
            && self.statics.get(instance_id) == Some(id)
        {
            self.statics.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// A member of a group that was none of the classic protocol.
    pub(super) fn adopt(&mut self, id: Str, member: Member, turn: &mut Turn<'_>) {
        self.insert(id.clone(), member, turn);
        self.arm_session(&id, turn);
    }

    fn insert_pending(&mut self, id: Str, turn: &mut Turn<'_>) {
        *turn.member_bytes += MEMBER_BYTES;
        let is_new = self.pending.insert(id);
        assert!(is_new, "an id is given out once");
    }

    /// An id is used, or given up. `false`: it was not given out.
    fn take_pending(&mut self, id: &str, turn: &mut Turn<'_>) -> bool {
        let was_pending = self.pending.remove(id);
        if was_pending {
            *turn.member_bytes -= MEMBER_BYTES;
        }
        was_pending
    }

    /// A member has a whole session from here on.
    pub(super) fn arm_session(&self, id: &Str, turn: &mut Turn<'_>) {
        if let Some(member) = self.members.get(id) {
            turn.arm_session(id, member.session_ms());
        }
    }

    /// How long the slowest member may take to join again, in ms.
    fn rebalance_ms(&self) -> u64 {
        self.members.values().map(Member::rebalance_ms).max().unwrap_or(0)
    }
}
