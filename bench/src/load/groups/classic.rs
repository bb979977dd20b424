//! A member of the classic protocol, as eager clients are: it stops reading before it joins again. The leader deals the partitions out
//! in turn.

use super::{Described, HEARTBEAT_MS, Member, PARTITIONS, Shared, is_early, unexpected};
use crate::load::LoadError;
use crate::load::caller::Caller;
use crate::load::client::{Client, check};
use bytes::{Buf, BufMut, Bytes};
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::leave_group::MemberIdentity;
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    ApiKey, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    Response, Str, SyncGroupRequest,
};
use std::time::{Duration, Instant};

/// Longer than a cluster takes to come to rest after a run.
const SESSION_TIMEOUT_MS: i32 = 300_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// One member.
#[derive(Debug)]
pub(crate) struct Classic {
    caller: Caller,
    member_id: Str,
    generation: i32,
    step: Step,
    wants_to_leave: bool,
    owned: Vec<i32>,
}

/// What it does next, or waits for.
#[derive(Debug)]
enum Step {
    /// It joins, not before this time.
    Join(Instant),
    /// It asks for its partitions; the leader says what all get.
    Sync(Vec<SyncGroupRequestAssignment>),
    /// It reads, and says so when it is time.
    Stable {
        heartbeat_at: Instant,
    },
    Gone,
}

impl Member for Classic {
    fn new(caller: Caller, _number: u64) -> Self {
        let step = Step::Join(Instant::now());
        let (member_id, owned) = (Str::default(), Vec::new());
        Self { caller, member_id, generation: -1, step, wants_to_leave: false, owned }
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn act(&mut self, shared: &Shared, now: Instant) -> Result<(), LoadError> {
        if self.wants_to_leave {
            // As clients do, it stops reading first.
            self.owned.clear();
            let member = MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() };
            let (group_id, members) = (shared.group.clone(), vec![member]);
            return self
                .caller
                .ask(LeaveGroupRequest { group_id, members, ..LeaveGroupRequest::default() }, 5);
        }
        match &mut self.step {
            Step::Join(at) if *at <= now => {
                self.owned.clear();
                self.caller.ask(join(shared, &self.member_id), 9)
            }
            Step::Sync(assignments) => {
                let request = SyncGroupRequest {
                    group_id: shared.group.clone(),
                    generation_id: self.generation,
                    member_id: self.member_id.clone(),
                    protocol_type: Some(Str::from_static(PROTOCOL_TYPE)),
                    protocol_name: Some(Str::from_static(PROTOCOL)),
                    assignments: std::mem::take(assignments),
                    ..SyncGroupRequest::default()
                };
                self.caller.ask(request, 5)
            }
            Step::Stable { heartbeat_at } if *heartbeat_at <= now => {
                *heartbeat_at = now + Duration::from_millis(HEARTBEAT_MS);
                let request = HeartbeatRequest {
                    group_id: shared.group.clone(),
                    generation_id: self.generation,
                    member_id: self.member_id.clone(),
                    ..HeartbeatRequest::default()
                };
                self.caller.ask(request, 4)
            }
            Step::Join(_) | Step::Stable { .. } | Step::Gone => Ok(()),
        }
    }

    fn take(&mut self, shared: &Shared) -> Result<(), LoadError> {
        let Some(response) = self.caller.take()? else { return Ok(()) };
        if let Response::JoinGroup(response) = response {
            return self.on_joined(response, shared);
        }
        if let Response::SyncGroup(response) = response {
            if !self.must_join_again(response.error_code) {
                check(ApiKey::SyncGroup, response.error_code)?;
                self.owned = read_assignment(response.assignment)
                    .ok_or_else(|| LoadError::unexpected(ApiKey::SyncGroup, "without an assignment"))?;
                let heartbeat_at = Instant::now() + Duration::from_millis(HEARTBEAT_MS);
                self.step = Step::Stable { heartbeat_at };
            }
            return Ok(());
        }
        if let Response::Heartbeat(response) = response {
            if !self.must_join_again(response.error_code) {
                check(ApiKey::Heartbeat, response.error_code)?;
            }
            return Ok(());
        }
        if let Response::LeaveGroup(response) = response {
            check(ApiKey::LeaveGroup, response.error_code)?;
            response.members.iter().try_for_each(|member| check(ApiKey::LeaveGroup, member.error_code))?;
            self.step = Step::Gone;
            return Ok(());
        }
        Err(unexpected(&response))
    }

    fn leave(&mut self) {
        self.wants_to_leave = true;
    }

    fn is_gone(&self) -> bool {
        matches!(self.step, Step::Gone)
    }

    fn stable_in(&self) -> Option<i32> {
        let is_stable = matches!(self.step, Step::Stable { .. }) && !self.wants_to_leave;
        is_stable.then_some(self.generation)
    }

    fn owned(&self) -> &[i32] {
        &self.owned
    }

    fn described(coordinator: &mut Client, group: &Str) -> Result<Described, LoadError> {
        let api = ApiKey::DescribeGroups;
        let request =
            DescribeGroupsRequest { groups: vec![group.clone()], include_authorized_operations: false };
        let Response::DescribeGroups(response) = coordinator.ask(request, 6)? else {
            return Err(LoadError::unexpected(api, "of another kind"));
        };
        let found = response.groups.into_iter().next();
        let found = found.ok_or_else(|| LoadError::unexpected(api, "without the group"))?;
        check(api, found.error_code)?;
        Ok(Described { state: found.group_state.detached(), members: found.members.len() })
    }
}

impl Classic {
    fn on_joined(&mut self, response: JoinGroupResponse, shared: &Shared) -> Result<(), LoadError> {
        if response.error_code == ErrorCode::MemberIdRequired.code() {
            self.member_id = response.member_id.detached();
            return Ok(());
        }
        if is_early(response.error_code) {
            self.step = Step::Join(Instant::now() + Duration::from_millis(HEARTBEAT_MS));
            return Ok(());
        }
        check(ApiKey::JoinGroup, response.error_code)?;
        self.generation = response.generation_id;
        let mut assignments = Vec::new();
        if response.leader == self.member_id {
            let members: Vec<Str> =
                response.members.iter().map(|member| member.member_id.detached()).collect();
            assignments = deal_out(&members, &shared.topic);
        }
        self.step = Step::Sync(assignments);
        Ok(())
    }

    /// Whether a rebalance has begun. A member reads until it joins.
    fn must_join_again(&mut self, code: i16) -> bool {
        let begun = [ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration];
        let has_begun = begun.iter().any(|begun| begun.code() == code);
        if has_begun {
            self.step = Step::Join(Instant::now());
        }
        has_begun
    }
}

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "roundrobin";

fn join(shared: &Shared, member_id: &Str) -> JoinGroupRequest {
    // ConsumerProtocolSubscription, version 0: the topics, no data of the user's.
    let mut metadata = Vec::new();
    metadata.put_i16(0);
    metadata.put_i32(1);
    put_name(&mut metadata, &shared.topic);
    metadata.put_i32(-1);
    JoinGroupRequest {
        group_id: shared.group.clone(),
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        member_id: member_id.clone(),
        protocol_type: Str::from_static(PROTOCOL_TYPE),
        protocols: vec![JoinGroupRequestProtocol {
            name: Str::from_static(PROTOCOL),
            metadata: metadata.into(),
        }],
        ..JoinGroupRequest::default()
    }
}

/// Partitions go to members in turn.
fn deal_out(members: &[Str], topic: &Str) -> Vec<SyncGroupRequestAssignment> {
    let deal = |(at, member_id): (usize, &Str)| {
        let partitions: Vec<i32> = (0..PARTITIONS).skip(at).step_by(members.len()).collect();
        // ConsumerProtocolAssignment, version 0: one topic, its partitions, no data of the user's.
        let mut assignment = Vec::new();
        assignment.put_i16(0);
        assignment.put_i32(1);
        put_name(&mut assignment, topic);
        assignment.put_i32(i32::try_from(partitions.len()).unwrap_or(0));
        partitions.into_iter().for_each(|partition| assignment.put_i32(partition));
        assignment.put_i32(-1);
        SyncGroupRequestAssignment { member_id: member_id.clone(), assignment: assignment.into() }
    };
    members.iter().enumerate().map(deal).collect()
}

fn put_name(out: &mut Vec<u8>, name: &Str) {
    out.put_i16(i16::try_from(name.as_bytes().len()).unwrap_or(i16::MAX));
    out.put_slice(name.as_bytes());
}

/// The partitions of an assignment of one topic.
fn read_assignment(mut assignment: Bytes) -> Option<Vec<i32>> {
    // Version, one topic, its name.
    assignment.try_get_i16().ok()?;
    let topics = assignment.try_get_i32().ok()?;
    let name_bytes = usize::try_from(assignment.try_get_i16().ok()?).ok()?;
    if topics != 1 || assignment.len() < name_bytes {
        return None;
    }
    assignment.advance(name_bytes);
    let count = assignment.try_get_i32().ok()?;
    (0..count).map(|_| assignment.try_get_i32().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_leader_deals_out_is_read_again_and_is_all() {
        let members: Vec<Str> = ["a", "b", "c"].map(Str::from).to_vec();
        let dealt = deal_out(&members, &Str::from("topic"));
        let mut all: Vec<i32> =
            dealt.into_iter().flat_map(|it| read_assignment(it.assignment).unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..PARTITIONS).collect::<Vec<_>>());
        assert_eq!(read_assignment(Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 9])), None);
    }
}
