//! Groups that only commit: consumers that take their partitions by hand. Each commits all partitions of a topic at once, the offset
//! one more each time; the groups take turns on a few connections.

use super::is_early;
use crate::load::caller::Stopwatch;
use crate::load::client::{Client, check, client_id};
use crate::load::closed::{self, Pace, Work};
use crate::load::socket::Socket;
use crate::load::{LoadError, Loaded};
use bytes::Bytes;
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use seedlog_core::wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use seedlog_core::wire::{
    ApiKey, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, Request, Response, Str,
    decode_response, encode_request,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How many groups there are.
const GROUPS: usize = 1_000;
/// Connections to each coordinator.
const CONNECTIONS: usize = 4;
/// Commits without an answer, on each.
const IN_FLIGHT: usize = 16;
/// Groups that one request asks for.
const ASKED_AT_ONCE: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Versions that Kafka 4.3 serves and that go by names.
const COMMIT_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 9;

/// The groups.
#[derive(Debug)]
pub(crate) struct Commits {
    topic: Str,
    partitions: i32,
    lanes: Vec<Lane>,
}

/// The groups that commit over one connection.
#[derive(Debug)]
struct Lane {
    coordinator: SocketAddr,
    groups: Vec<Group>,
    next: usize,
    /// Which groups are still to be answered, in order.
    asked: VecDeque<usize>,
}

#[derive(Debug)]
struct Group {
    id: Str,
    /// What it committed last.
    sent: i64,
    /// What the coordinator has acknowledged.
    acknowledged: i64,
}

impl Commits {
    /// Finds the coordinators, and commits 0 for each group.
    ///
    /// # Errors
    /// A broker refuses.
    pub(crate) fn prepared(bootstrap: SocketAddr, topic: &str, partitions: i32) -> Result<Self, LoadError> {
        let ids: Vec<Str> = (0..GROUPS).map(|number| Str::from(format!("{topic}-{number}"))).collect();
        let coordinators = Client::connect(bootstrap)?.coordinators(&ids)?;
        let mut by_broker: BTreeMap<SocketAddr, Vec<Str>> = BTreeMap::new();
        for (id, coordinator) in ids.into_iter().zip(coordinators) {
            by_broker.entry(coordinator).or_default().push(id);
        }
        let topic = Str::from(topic);
        let mut lanes = Vec::new();
        for (coordinator, ids) in by_broker {
            let mut client = Client::connect(coordinator)?;
            for ids in ids.chunks(ids.len().div_ceil(CONNECTIONS)) {
                for id in ids {
                    first_commit(&mut client, commit(id, (&topic, partitions), 0))?;
                }
                let group = |id: &Str| Group { id: id.clone(), sent: 0, acknowledged: 0 };
                let groups = ids.iter().map(group).collect();
                lanes.push(Lane { coordinator, groups, next: 0, asked: VecDeque::new() });
            }
        }
        Ok(Self { topic, partitions, lanes })
    }

    /// Commits for so long. Asks afterwards what each group committed last.
    ///
    /// # Errors
    /// A broker refuses, or has not kept what it acknowledged.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Loaded, LoadError> {
        let sockets = self.lanes.iter().map(|lane| Socket::connect(lane.coordinator));
        let mut sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let watch = Stopwatch::start();
        let pace = Pace { in_flight: IN_FLIGHT, time, patience: PATIENCE };
        let (requests, latency) = closed::run(&mut sockets, pace, self)?;
        let (seconds, own_cpu_s) = (watch.seconds(), watch.own_cpu_s());
        Ok(Loaded { requests, records: 0, value_bytes: 0, batch_bytes: 0, seconds, own_cpu_s, latency })
    }

    /// What each group committed last is what it is told.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        for lane in &self.lanes {
            let mut client = Client::connect(lane.coordinator)?;
            for groups in lane.groups.chunks(ASKED_AT_ONCE) {
                let found = self.committed(&mut client, groups)?;
                for group in groups {
                    let of_it = found.get(&group.id);
                    let is_right = of_it.is_some_and(|offsets| {
                        offsets.len() == usize::try_from(self.partitions).unwrap_or(0)
                            && offsets.iter().all(|offset| *offset == group.acknowledged)
                    });
                    if group.sent != group.acknowledged || !is_right {
                        return Err(LoadError::Refused(format!(
                            "{} committed {} and {} was acknowledged, and what is there is {of_it:?}",
                            group.id, group.sent, group.acknowledged
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn committed(&self, client: &mut Client, groups: &[Group]) -> Result<BTreeMap<Str, Vec<i64>>, LoadError> {
        let topic = OffsetFetchRequestTopics {
            name: self.topic.clone(),
            partition_indexes: (0..self.partitions).collect(),
            ..OffsetFetchRequestTopics::default()
        };
        let wanted = |group: &Group| OffsetFetchRequestGroup {
            group_id: group.id.clone(),
            topics: Some(vec![topic.clone()]),
            ..OffsetFetchRequestGroup::default()
        };
        let groups = groups.iter().map(wanted).collect();
        let request = OffsetFetchRequest { groups, ..OffsetFetchRequest::default() };
        let Response::OffsetFetch(response) = client.ask(request, FETCH_VERSION)? else {
            return Err(LoadError::unexpected(ApiKey::OffsetFetch, "of another kind"));
        };
        let mut found = BTreeMap::new();
        for group in response.groups {
            check(ApiKey::OffsetFetch, group.error_code)?;
            let mut offsets = Vec::new();
            for partition in group.topics.iter().flat_map(|topic| &topic.partitions) {
                check(ApiKey::OffsetFetch, partition.error_code)?;
                offsets.push(partition.committed_offset);
            }
            found.insert(group.group_id, offsets);
        }
        Ok(found)
    }
}

impl Work for Commits {
    fn next(&mut self, lane: usize) -> Result<Option<Bytes>, LoadError> {
        let Lane { groups, next, asked, .. } = &mut self.lanes[lane];
        let at = *next % groups.len();
        *next += 1;
        asked.push_back(at);
        let group = &mut groups[at];
        group.sent += 1;
        let request = Request::from(commit(&group.id, (&self.topic, self.partitions), group.sent));
        Ok(Some(encode_request(COMMIT_VERSION, 0, Some(&client_id()), &request)?.to_bytes()))
    }

    fn take(&mut self, lane: usize, answer: &[u8]) -> Result<(), LoadError> {
        let answer = Bytes::copy_from_slice(answer);
        let (_, response) = decode_response(ApiKey::OffsetCommit, COMMIT_VERSION, answer)?;
        let Response::OffsetCommit(response) = response else {
            return Err(LoadError::unexpected(ApiKey::OffsetCommit, "of another kind"));
        };
        check(ApiKey::OffsetCommit, error_of(&response, self.partitions)?)?;
        let Lane { groups, asked, .. } = &mut self.lanes[lane];
        let at =
            asked.pop_front().ok_or_else(|| LoadError::unexpected(ApiKey::OffsetCommit, "one too many"))?;
        // Answers come in the order of the requests, and one group's requests all go over this connection.
        groups[at].acknowledged += 1;
        Ok(())
    }
}

fn commit(group: &Str, (topic, partitions): (&Str, i32), offset: i64) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some(Str::default()),
        ..OffsetCommitRequestPartition::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: topic.clone(),
        partitions: (0..partitions).map(partition).collect(),
        ..OffsetCommitRequestTopic::default()
    };
    OffsetCommitRequest { group_id: group.clone(), topics: vec![topic], ..OffsetCommitRequest::default() }
}

/// The error of the first partition that has one, or 0.
fn error_of(response: &OffsetCommitResponse, partitions: i32) -> Result<i16, LoadError> {
    let mut codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code);
    if codes.clone().count() != usize::try_from(partitions).unwrap_or(0) {
        return Err(LoadError::unexpected(ApiKey::OffsetCommit, "without all partitions"));
    }
    Ok(codes.find(|code| *code != 0).unwrap_or(0))
}

/// Commits once the coordinator is ready.
fn first_commit(client: &mut Client, request: OffsetCommitRequest) -> Result<(), LoadError> {
    let partitions = request.topics.first().map_or(0, |topic| topic.partitions.len());
    let partitions = i32::try_from(partitions).unwrap_or(0);
    let began = Instant::now();
    loop {
        let Response::OffsetCommit(response) = client.ask(request.clone(), COMMIT_VERSION)? else {
            return Err(LoadError::unexpected(ApiKey::OffsetCommit, "of another kind"));
        };
        let code = error_of(&response, partitions)?;
        // A broker may learn of a topic later than others.
        let is_early = is_early(code) || code == ErrorCode::UnknownTopicOrPartition.code();
        if !is_early || began.elapsed() > PATIENCE {
            return check(ApiKey::OffsetCommit, code);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
