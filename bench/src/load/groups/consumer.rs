//! A member of the consumer protocol (KIP-848): it does what heartbeats tell it, and says so at once.

use super::{Described, HEARTBEAT_MS, Member, Shared, is_early, unexpected};
use crate::load::LoadError;
use crate::load::caller::Caller;
use crate::load::client::{Client, check};
use seedlog_core::wire::consumer_group_heartbeat::OwnedPartitions;
use seedlog_core::wire::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    Response, Str,
};
use std::time::{Duration, Instant};

const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// Says that a member leaves.
const LEAVING: i32 = -1;

/// One member.
#[derive(Debug)]
pub(crate) struct Consumer {
    caller: Caller,
    member_id: Str,
    epoch: i32,
    heartbeat_at: Instant,
    /// What it owns is other than what it said last.
    must_tell: bool,
    state: State,
    owned: Vec<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Member,
    Leaving,
    Gone,
}

impl Member for Consumer {
    fn new(caller: Caller, number: u64) -> Self {
        // Members make their own ids (KIP-1082).
        let member_id = Str::from(format!("member-{number}"));
        let (heartbeat_at, owned) = (Instant::now(), Vec::new());
        Self { caller, member_id, epoch: 0, heartbeat_at, must_tell: false, state: State::Member, owned }
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn act(&mut self, shared: &Shared, now: Instant) -> Result<(), LoadError> {
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: shared.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        match self.state {
            State::Gone => return Ok(()),
            State::Leaving => {
                // As clients do, it stops reading first: whoever gets its partitions may hear of it earlier than this member.
                self.owned.clear();
                request.member_epoch = LEAVING;
            }
            State::Member if !self.must_tell && now < self.heartbeat_at => return Ok(()),
            State::Member => {
                let partitions = self.owned.clone();
                let owned = OwnedPartitions { topic_id: shared.topic_id, partitions };
                if self.epoch == 0 {
                    request.rebalance_timeout_ms = REBALANCE_TIMEOUT_MS;
                    request.subscribed_topic_names = Some(vec![shared.topic.clone()]);
                    request.server_assignor = Some(Str::from_static("uniform"));
                    request.topic_partitions = Some(Vec::new());
                } else if self.must_tell {
                    request.topic_partitions = Some(vec![owned]);
                }
                self.must_tell = false;
            }
        }
        self.heartbeat_at = now + Duration::from_millis(HEARTBEAT_MS);
        self.caller.ask(request, 1)
    }

    fn take(&mut self, shared: &Shared) -> Result<(), LoadError> {
        let Some(response) = self.caller.take()? else { return Ok(()) };
        if let Response::ConsumerGroupHeartbeat(response) = response {
            return self.on_told(response, shared);
        }
        Err(unexpected(&response))
    }

    fn leave(&mut self) {
        self.state = State::Leaving;
    }

    fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    fn stable_in(&self) -> Option<i32> {
        let is_stable = self.state == State::Member && self.epoch > 0 && !self.must_tell;
        is_stable.then_some(self.epoch)
    }

    fn owned(&self) -> &[i32] {
        &self.owned
    }

    fn described(coordinator: &mut Client, group: &Str) -> Result<Described, LoadError> {
        let api = ApiKey::ConsumerGroupDescribe;
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group.clone()],
            include_authorized_operations: false,
        };
        let Response::ConsumerGroupDescribe(response) = coordinator.ask(request, 1)? else {
            return Err(LoadError::unexpected(api, "of another kind"));
        };
        let found = response.groups.into_iter().next();
        let found = found.ok_or_else(|| LoadError::unexpected(api, "without the group"))?;
        check(api, found.error_code)?;
        Ok(Described { state: found.group_state.detached(), members: found.members.len() })
    }
}

impl Consumer {
    fn on_told(
        &mut self,
        response: ConsumerGroupHeartbeatResponse,
        shared: &Shared,
    ) -> Result<(), LoadError> {
        if is_early(response.error_code) {
            return Ok(());
        }
        check(ApiKey::ConsumerGroupHeartbeat, response.error_code)?;
        if response.member_epoch == LEAVING {
            self.state = State::Gone;
            return Ok(());
        }
        if u64::try_from(response.heartbeat_interval_ms) != Ok(HEARTBEAT_MS) {
            let said = response.heartbeat_interval_ms;
            return Err(LoadError::Refused(format!("heartbeats are to come every {said} ms")));
        }
        self.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.iter();
            let ours = topics.filter(|topic| topic.topic_id == shared.topic_id);
            let mut assigned: Vec<i32> = ours.flat_map(|topic| topic.partitions.iter().copied()).collect();
            assigned.sort_unstable();
            self.must_tell |= assigned != self.owned;
            self.owned = assigned;
        }
        Ok(())
    }
}
