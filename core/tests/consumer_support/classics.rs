//! Clients of the classic protocol in a group that changes its protocol: they let go of everything before they join again.

use std::collections::BTreeSet;

use seedlog_core::errors::ErrorCode;
use seedlog_core::group::subscription::{assignment, assignment_bytes};
use seedlog_core::group::{Caller, Topics};
use seedlog_core::ids::Uuid;
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::leave_group::MemberIdentity;
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, Response, Str,
    SyncGroupRequest, SyncGroupResponse,
};

use super::{CLASSIC_SESSION_MS, GROUP, Part, World};

/// What a classic client knows and does.
#[derive(Debug, Clone, Default)]
pub(super) struct Classic {
    pub(super) id: Str,
    pub(super) generation: i32,
    /// The members that it was told of, as their leader.
    pub(super) leads: Vec<Str>,
    pub(super) reads: BTreeSet<Part>,
    pub(super) heard_at: u64,
}

/// What a classic client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Join(usize),
    Sync(usize),
}

impl World {
    pub(super) fn join(&mut self, client: usize) {
        if self.asked.values().any(|asked| *asked == Asked::Join(client)) {
            return;
        }
        let ticket = self.next_ticket();
        self.asked.insert(ticket, Asked::Join(client));
        let this = &mut self.classics[client];
        // It lets go before it joins.
        this.reads.clear();
        let metadata = [&[0, 0, 0, 0, 0, 1, 0, 6][..], b"orders", &[255, 255, 255, 255]].concat();
        let request = JoinGroupRequest {
            group_id: GROUP,
            session_timeout_ms: i32::try_from(CLASSIC_SESSION_MS).expect("a short time"),
            rebalance_timeout_ms: 20_000,
            member_id: this.id.clone(),
            protocol_type: Str::from_static("consumer"),
            protocols: vec![JoinGroupRequestProtocol {
                name: Str::from_static("range"),
                metadata: metadata.into(),
            }],
            ..JoinGroupRequest::default()
        };
        let caller = Caller { ticket, client_id: "classic", host: "/127.0.0.1", version: 9 };
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&self.tickets.to_be_bytes());
        let (held, cluster) = (self.groups.member_bytes(), self.cluster.clone());
        let effects = self.groups.on_join(self.now, &request, &caller, (Uuid(fresh), held), &cluster);
        self.apply(effects);
    }

    pub(super) fn on_joined(&mut self, client: usize, joined: &JoinGroupResponse) {
        let now = self.now.mono.0;
        let this = &mut self.classics[client];
        match ErrorCode::from_code(joined.error_code) {
            Some(ErrorCode::None) => {
                let leads = joined.members.iter().map(|member| member.member_id.clone()).collect();
                *this = Classic {
                    id: joined.member_id.clone(),
                    generation: joined.generation_id,
                    leads,
                    reads: BTreeSet::new(),
                    heard_at: now,
                };
            }
            Some(ErrorCode::MemberIdRequired) => this.id = joined.member_id.clone(),
            Some(ErrorCode::UnknownMemberId) => *this = Classic::default(),
            Some(ErrorCode::RebalanceInProgress) => {}
            refused => panic!("{refused:?}"),
        }
    }

    pub(super) fn sync(&mut self, client: usize) {
        let Classic { id, generation, leads, .. } = self.classics[client].clone();
        if generation == 0 || self.asked.values().any(|asked| *asked == Asked::Sync(client)) {
            return;
        }
        let ticket = self.next_ticket();
        self.asked.insert(ticket, Asked::Sync(client));
        let partitions = self.cluster.topics.get("orders").map_or(0, |(_, partitions)| *partitions);
        let part = |(at, member_id): (usize, &Str)| {
            let own = (0..partitions).filter(|index| index % leads.len() == at);
            let own: Vec<i32> = own.map(|index| i32::try_from(index).expect("a few")).collect();
            let assignment = assignment_bytes(0, &[(Str::from_static("orders"), own)]);
            SyncGroupRequestAssignment { member_id: member_id.clone(), assignment }
        };
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id: generation,
            member_id: id,
            assignments: leads.iter().enumerate().map(part).collect(),
            ..SyncGroupRequest::default()
        };
        let cluster = self.cluster.clone();
        let effects = self.groups.on_sync(self.now, &request, ticket, &cluster);
        self.apply(effects);
    }

    pub(super) fn on_synced(&mut self, client: usize, synced: &SyncGroupResponse) {
        let this = &mut self.classics[client];
        this.reads.clear();
        match ErrorCode::from_code(synced.error_code) {
            Some(ErrorCode::None) => {
                let parts = assignment(&synced.assignment).expect("an assignment");
                for (name, indexes) in parts {
                    let Some(topic_id) = self.cluster.id_of(&name) else { continue };
                    this.reads.extend(indexes.into_iter().map(|index| (topic_id, index)));
                }
                this.heard_at = self.now.mono.0;
            }
            Some(ErrorCode::UnknownMemberId) => *this = Classic::default(),
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => this.generation = 0,
            refused => panic!("{refused:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, client: usize) {
        let Classic { id, generation, .. } = self.classics[client].clone();
        if generation == 0 {
            return;
        }
        let ticket = self.next_ticket();
        let request = HeartbeatRequest {
            group_id: GROUP,
            generation_id: generation,
            member_id: id,
            group_instance_id: None,
        };
        let cluster = self.cluster.clone();
        let mut effects = self.groups.on_heartbeat(self.now, &request, ticket, &cluster);
        let Some((_, Response::Heartbeat(beaten))) = effects.answers.pop() else { panic!("it is answered") };
        let this = &mut self.classics[client];
        match ErrorCode::from_code(beaten.error_code) {
            Some(ErrorCode::None) => this.heard_at = self.now.mono.0,
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {
                this.reads.clear();
                this.generation = 0;
            }
            Some(ErrorCode::UnknownMemberId) => *this = Classic::default(),
            refused => panic!("{refused:?}"),
        }
        self.apply(effects);
    }

    pub(super) fn leave_group(&mut self, client: usize) {
        let this = std::mem::take(&mut self.classics[client]);
        let ticket = self.next_ticket();
        let leaving = MemberIdentity { member_id: this.id, ..MemberIdentity::default() };
        let request = LeaveGroupRequest { group_id: GROUP, members: vec![leaving], ..Default::default() };
        let cluster = self.cluster.clone();
        let mut effects = self.groups.on_leave(self.now, &request, (ticket, 5), &cluster);
        let own = effects.answers.iter().position(|(to, _)| *to == ticket).expect("it is answered");
        effects.answers.remove(own);
        self.apply(effects);
    }
}
