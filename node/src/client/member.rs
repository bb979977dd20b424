//! One member of a consumer group, by the classic protocol (KIP-62, KIP-345, KIP-394): it joins, deals out the partitions if it
//! is made the leader, lets itself be heard, commits, leaves.
//!
//! ```text
//!   join ──► JoinGroup ──► SyncGroup ──► Membership ──► read, commit ... lost ──► join again
//!                                            └── heartbeats, on a connection of their own
//! ```
//!
//! The protocol is the eager one: whoever joins holds nothing. A JoinGroup is answered when all others have joined, which may
//! take minutes, and answers come in the order of requests: so the coordinator has connections of its own here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::join_group::JoinGroupRequestProtocol;
use seedlog_core::wire::leave_group::MemberIdentity;
use seedlog_core::wire::sync_group::SyncGroupRequestAssignment;
use seedlog_core::wire::{
    ApiKey, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, Request, Response, Str,
    SyncGroupRequest,
};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::assignor::{Assignor, Subscriber};
use super::cluster::{Backoff, Cluster};
use super::connection::{Connection, unexpected};
use super::consumer_protocol::{
    CONSUMER_PROTOCOL_TYPE, decode_assignment, encode_assignment, encode_subscription, subscribed_topics,
};
use super::error::{ClientError, Result};
use super::groups::{Commits, Committer, OFFSETS_BY_NAME_MAX, check_commits, find_coordinator};
use super::partition_name::PartitionName;

/// How long others may take to join, whatever this member was set up with: Kafka's consumers have five minutes.
const OTHERS_JOIN_MAX: Duration = Duration::from_secs(305);
/// The first version of LeaveGroup that takes several members.
const LEAVE_MANY_MIN: i16 = 3;
/// How long a member that goes waits for the answer.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// What a member is.
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// The group.
    pub group: String,
    /// Its name, if it is a static member (KIP-345).
    pub instance_id: Option<String>,
    /// What it wants to read.
    pub topics: Vec<String>,
    /// Silent for so long, it is out.
    pub session_timeout: Duration,
    /// How long others wait for it to join again.
    pub rebalance_timeout: Duration,
    /// How often it lets itself be heard.
    pub heartbeat_interval: Duration,
    /// How long the coordinator may be out of reach.
    pub outage_max: Duration,
}

/// What a member is given in one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The number of the generation.
    pub generation: i32,
    /// What it reads.
    pub partitions: BTreeSet<PartitionName>,
}

/// One member of a consumer group.
pub struct Member {
    options: Arc<MemberOptions>,
    line: Line,
    /// As the coordinator named it; empty before.
    member_id: String,
    generation: i32,
    /// What the leader dealt out by.
    dealt_by: Option<Deck>,
    heartbeats: Option<Heartbeats>,
}

/// What there was to be dealt out.
#[derive(Debug, PartialEq, Eq)]
struct Deck {
    /// The topics that anybody wants, also those that are not there.
    wanted: BTreeSet<String>,
    /// How many partitions those had that are there.
    partition_counts: BTreeMap<String, i32>,
}

/// The task that lets a member be heard.
struct Heartbeats {
    task: AbortHandle,
    /// Why it ended.
    refusal: oneshot::Receiver<ClientError>,
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Member {
    /// Somebody who is in no group yet.
    #[must_use]
    pub fn new(cluster: Cluster, options: MemberOptions) -> Self {
        let options = Arc::new(options);
        Self {
            line: Line { cluster, options: Arc::clone(&options), connection: None },
            options,
            member_id: String::new(),
            generation: -1,
            dealt_by: None,
            heartbeats: None,
        }
    }

    /// Joins the group, or its next generation, and stays until that is done.
    ///
    /// # Errors
    /// The coordinator was out of reach for too long, or a refusal that joining again does not help.
    pub async fn join(&mut self) -> Result<Membership> {
        self.heartbeats = None;
        self.generation = -1;
        let mut failing: Option<(Instant, Backoff)> = None;
        let mut was_named = false;
        loop {
            let error = match self.try_join(&mut failing).await {
                Ok(membership) => {
                    self.start_heartbeats();
                    return Ok(membership);
                }
                Err(error) => error,
            };
            if error.code() == Some(ErrorCode::MemberIdRequired) && !was_named {
                was_named = true;
                continue;
            }
            if !self.may_join_again(&error) {
                return Err(error);
            }
            let (since, backoff) = failing.get_or_insert_with(|| (Instant::now(), Backoff::default()));
            if since.elapsed() >= self.options.outage_max {
                return Err(error);
            }
            backoff.wait(*since + self.options.outage_max).await;
        }
    }

    /// Whether a refusal is one after which a member joins again; forgets what is over.
    pub fn may_join_again(&mut self, error: &ClientError) -> bool {
        if error.is_transient() {
            self.line.connection = None;
            return true;
        }
        match error.code() {
            Some(ErrorCode::UnknownMemberId) => {
                self.member_id.clear();
                true
            }
            Some(
                ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration | ErrorCode::MemberIdRequired,
            ) => true,
            Some(_) | None => false,
        }
    }

    async fn try_join(&mut self, failing: &mut Option<(Instant, Backoff)>) -> Result<Membership> {
        let joined = self.join_group().await?;
        *failing = None;
        let protocol = joined.protocol_name.clone().unwrap_or_default();
        self.dealt_by = None;
        let mut assignments = Vec::new();
        if *joined.leader == *self.member_id && !joined.skip_assignment {
            assignments = self.deal_out(&protocol, &joined).await?;
        }
        let request = SyncGroupRequest {
            group_id: Str::from(self.options.group.as_str()),
            generation_id: joined.generation_id,
            member_id: Str::from(self.member_id.as_str()),
            group_instance_id: self.options.instance_id.as_deref().map(Str::from),
            protocol_type: Some(Str::from_static(CONSUMER_PROTOCOL_TYPE)),
            protocol_name: Some(protocol),
            assignments,
        };
        let response = self.line.call(request, i16::MAX, self.join_patience()).await?;
        let Response::SyncGroup(response) = response else {
            return Err(self.line.unexpected(ApiKey::SyncGroup));
        };
        self.line.check(response.error_code)?;
        let Some(given) = decode_assignment(&response.assignment) else {
            return Err(self.line.broken("the assignment of its group's leader cannot be read"));
        };
        self.generation = joined.generation_id;
        let places = given.iter().flat_map(|(topic, partitions)| {
            let topic: Arc<str> = Arc::from(topic.as_str());
            partitions.iter().map(move |&partition| PartitionName { topic: Arc::clone(&topic), partition })
        });
        Ok(Membership { generation: self.generation, partitions: places.collect() })
    }

    async fn join_group(&mut self) -> Result<JoinGroupResponse> {
        let metadata = encode_subscription(self.options.topics.iter().map(String::as_str));
        let offered = |assignor: Assignor| JoinGroupRequestProtocol {
            name: Str::from_static(assignor.name()),
            metadata: metadata.clone(),
        };
        let request = JoinGroupRequest {
            group_id: Str::from(self.options.group.as_str()),
            session_timeout_ms: millis(self.options.session_timeout),
            rebalance_timeout_ms: millis(self.options.rebalance_timeout),
            member_id: Str::from(self.member_id.as_str()),
            group_instance_id: self.options.instance_id.as_deref().map(Str::from),
            protocol_type: Str::from_static(CONSUMER_PROTOCOL_TYPE),
            protocols: Assignor::ALL.into_iter().map(offered).collect(),
            reason: None,
        };
        let response = self.line.call(request, i16::MAX, self.join_patience()).await?;
        let Response::JoinGroup(response) = response else {
            return Err(self.line.unexpected(ApiKey::JoinGroup));
        };
        if response.error_code == ErrorCode::MemberIdRequired.code() {
            // KIP-394: with this name it is to come again.
            self.member_id = response.member_id.to_string();
        }
        self.line.check(response.error_code)?;
        self.member_id = response.member_id.to_string();
        Ok(response)
    }

    /// What the leader hands in: the partitions of all topics that anybody wants.
    async fn deal_out(
        &mut self,
        protocol: &str,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>> {
        let Some(assignor) = Assignor::named(protocol) else {
            return Err(self.line.broken("it chose a way to assign that nobody offered"));
        };
        let texts = |topics: Vec<Str>| topics.iter().map(ToString::to_string).collect::<Vec<String>>();
        let members: Vec<Subscriber> = joined
            .members
            .iter()
            .map(|member| Subscriber {
                member_id: member.member_id.to_string(),
                instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
                topics: subscribed_topics(&member.metadata).map(texts).unwrap_or_default(),
            })
            .collect();
        let wanted: BTreeSet<String> = members.iter().flat_map(|member| member.topics.clone()).collect();
        let partition_counts = partition_counts(&self.line.cluster, &wanted).await?;
        let dealt = assignor.assign(&members, &partition_counts);
        self.dealt_by = Some(Deck { wanted, partition_counts });
        let handed = dealt.iter().map(|(member_id, given)| SyncGroupRequestAssignment {
            member_id: Str::from(member_id.as_str()),
            assignment: encode_assignment(given),
        });
        Ok(handed.collect())
    }

    /// Whether this member leads and dealt out partitions of topics that have others by now: then it should join again.
    pub async fn deals_anew(&self) -> Result<bool> {
        let Some(dealt_by) = &self.dealt_by else { return Ok(false) };
        let counts = partition_counts(&self.line.cluster, &dealt_by.wanted).await?;
        Ok(counts != dealt_by.partition_counts)
    }

    /// Waits until the member is told that its generation is over. What it is told, `may_join_again` judges.
    pub async fn lost(&mut self) -> ClientError {
        let Some(heartbeats) = &mut self.heartbeats else { return std::future::pending().await };
        let told = (&mut heartbeats.refusal).await;
        self.heartbeats = None;
        told.unwrap_or_else(|_| self.line.broken("heartbeats ended without a reason"))
    }

    /// Commits in the name of the generation that it is in.
    pub async fn commit(&mut self, offsets: &Commits) -> Result<()> {
        let options = Arc::clone(&self.options);
        let request = Committer {
            group: &options.group,
            generation: self.generation,
            member_id: &self.member_id,
            instance_id: options.instance_id.as_deref(),
        }
        .request(offsets);
        let timeout = self.line.cluster.options().request_timeout;
        let Response::OffsetCommit(response) = self.line.call(request, OFFSETS_BY_NAME_MAX, timeout).await?
        else {
            return Err(self.line.unexpected(ApiKey::OffsetCommit));
        };
        let outcome = check_commits(&response.topics);
        if outcome.as_ref().is_err_and(ClientError::is_transient) {
            self.line.connection = None;
        }
        outcome
    }

    /// Goes, so that others need not wait for its session to end. A static member keeps its place for when it comes back.
    pub async fn leave(mut self) -> Result<()> {
        self.heartbeats = None;
        if self.member_id.is_empty() || self.options.instance_id.is_some() {
            return Ok(());
        }
        // A JoinGroup may be waiting on the other connection.
        self.line.connection = None;
        let connection = self.line.connection().await?;
        let version = connection.version_of(ApiKey::LeaveGroup, i16::MAX)?;
        let member_id = Str::from(self.member_id.as_str());
        let mut request = LeaveGroupRequest {
            group_id: Str::from(self.options.group.as_str()),
            ..LeaveGroupRequest::default()
        };
        if version < LEAVE_MANY_MIN {
            request.member_id = member_id;
        } else {
            request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
        }
        let Response::LeaveGroup(response) = self.line.call(request, version, LEAVE_PATIENCE).await? else {
            return Err(self.line.unexpected(ApiKey::LeaveGroup));
        };
        self.line.check(response.error_code)
    }

    fn start_heartbeats(&mut self) {
        let request = HeartbeatRequest {
            group_id: Str::from(self.options.group.as_str()),
            generation_id: self.generation,
            member_id: Str::from(self.member_id.as_str()),
            group_instance_id: self.options.instance_id.as_deref().map(Str::from),
        };
        let line = Line { connection: None, ..self.line.clone() };
        let (told, refusal) = oneshot::channel();
        let task = tokio::spawn(async move {
            let error = beat(line, request).await;
            // Nobody may want to know any more.
            drop(told.send(error));
        });
        self.heartbeats = Some(Heartbeats { task: task.abort_handle(), refusal });
    }

    fn join_patience(&self) -> Duration {
        let own = self.options.rebalance_timeout + self.line.cluster.options().request_timeout;
        own.max(OTHERS_JOIN_MAX)
    }
}

/// Lets a member be heard until the coordinator says that its generation is over.
async fn beat(mut line: Line, request: HeartbeatRequest) -> ClientError {
    let mut wait = line.options.heartbeat_interval;
    loop {
        sleep(wait).await;
        wait = line.options.heartbeat_interval;
        match line.heartbeat(&request).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                // It moved or is away: it is looked for before the session ends.
                line.connection = None;
                wait /= 4;
            }
            Err(error) => return error,
        }
    }
}

/// A connection to the group's coordinator, wherever that is.
#[derive(Clone)]
struct Line {
    cluster: Cluster,
    options: Arc<MemberOptions>,
    connection: Option<Connection>,
}

impl Line {
    async fn connection(&mut self) -> Result<Connection> {
        if let Some(open) = self.connection.as_ref().filter(|connection| !connection.is_broken()) {
            return Ok(open.clone());
        }
        let coordinator = find_coordinator(&self.cluster, &self.options.group).await?;
        let connection = Connection::open(&coordinator.address, self.cluster.options().clone()).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn call(
        &mut self,
        request: impl Into<Request>,
        version_max: i16,
        patience: Duration,
    ) -> Result<Response> {
        let request = request.into();
        let connection = self.connection().await?;
        let version = connection.version_of(request.api_key(), version_max)?;
        connection.call_version(request, version, patience).await
    }

    async fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<()> {
        let timeout = self.cluster.options().request_timeout;
        let Response::Heartbeat(response) = self.call(request.clone(), i16::MAX, timeout).await? else {
            return Err(self.unexpected(ApiKey::Heartbeat));
        };
        self.check(response.error_code)
    }

    fn check(&self, error_code: i16) -> Result<()> {
        ClientError::check(error_code, None, || format!("group {}", self.options.group))
    }

    fn address(&self) -> &str {
        self.connection.as_ref().map_or("the coordinator", Connection::address)
    }

    fn unexpected(&self, api: ApiKey) -> ClientError {
        unexpected(self.address(), api)
    }

    fn broken(&self, reason: &str) -> ClientError {
        ClientError::Protocol { address: self.address().to_owned(), reason: reason.to_owned() }
    }
}

/// How many partitions those of these topics have that exist.
async fn partition_counts(cluster: &Cluster, topics: &BTreeSet<String>) -> Result<BTreeMap<String, i32>> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let response = cluster.metadata(Some(&topics), false).await?;
    let known = response.topics.iter().filter(|topic| topic.error_code == ErrorCode::None.code());
    let counts = known.filter_map(|topic| {
        let name = topic.name.as_deref().filter(|name| topics.contains(name))?;
        Some((name.to_owned(), i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)))
    });
    Ok(counts.collect())
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
