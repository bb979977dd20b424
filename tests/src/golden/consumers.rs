//! Consumer groups in scenarios (KIP-848): what members say of themselves, what they are told, and what the log has of it.

use super::World;
use super::say::or_error;
use super::words::Line;
use seedlog_core::group::records::ConsumerRecord;
use seedlog_core::group::records::consumer::{CurrentPartitions, TargetPartitions};
use seedlog_core::ids::Uuid;
use seedlog_core::wire::consumer_group_describe::{
    DescribedAssignment, DescribedConsumer, DescribedConsumerGroup,
};
use seedlog_core::wire::consumer_group_heartbeat::OwnedPartitions;
use seedlog_core::wire::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, Request, Str,
};
use std::collections::BTreeMap;

/// `group.consumer.heartbeat.interval.ms`.
const BEAT_MS: i32 = 5_000;

impl World {
    /// `consume readers epoch=0 reads=orders,payments`; later `consume readers epoch=1 owns=orders-0,orders-1`. The member's id is
    /// its client's name, unless `member=` says another. What is left out is left out of the request as well; a first one says
    /// that it owns nothing and may take 30 s to let go.
    pub(super) fn consume(&mut self, line: &mut Line) -> Result<Request, String> {
        let group_id = line.next_plain().map(Str::from).ok_or("which group?")?;
        let member_epoch = line.take_number("epoch", 0)?;
        let begins = member_epoch == 0;
        let given = |text: Option<String>| text.map(Str::from);
        let names = |text: String| text.split(',').filter(|name| *name != "none").map(Str::from).collect();
        let owned = match line.take("owns") {
            None if begins => Some(Vec::new()),
            None => None,
            Some(text) => Some(self.owned(&text)?),
        };
        Ok(ConsumerGroupHeartbeatRequest {
            group_id,
            member_id: line.take("member").map_or_else(|| Str::from(&*line.client), Str::from),
            member_epoch,
            instance_id: given(line.take("instance")),
            rack_id: given(line.take("rack")),
            rebalance_timeout_ms: line.take_number("rebalance", if begins { 30_000 } else { -1 })?,
            subscribed_topic_names: line.take("reads").map(names),
            subscribed_topic_regex: given(line.take("pattern")),
            server_assignor: given(line.take("assignor")),
            topic_partitions: owned,
        }
        .into())
    }

    fn owned(&mut self, text: &str) -> Result<Vec<OwnedPartitions>, String> {
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for part in text.split(',').filter(|part| *part != "none") {
            let (topic, index) = part.rsplit_once('-').ok_or_else(|| format!("{part}: not a partition"))?;
            owned.entry(self.topic_id(topic)).or_default().push(super::words::number(index)?);
        }
        Ok(owned.into_iter().map(|(topic_id, partitions)| OwnedPartitions { topic_id, partitions }).collect())
    }
}

/// `describe-consumers readers`.
pub(super) fn describe(line: &mut Line) -> Request {
    let group_ids = std::iter::from_fn(|| line.next_plain()).map(Str::from).collect();
    ConsumerGroupDescribeRequest { group_ids, ..Default::default() }.into()
}

pub(super) fn told(said: &ConsumerGroupHeartbeatResponse, names: &BTreeMap<Uuid, String>) -> Vec<String> {
    let parts = said.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
    let parts = parts.flat_map(|of_topic| {
        let name = names.get(&of_topic.topic_id).map_or("?", String::as_str);
        of_topic.partitions.iter().map(move |index| format!("{name}-{index}"))
    });
    let mut parts: Vec<String> = parts.collect();
    parts.sort_unstable();
    let reads = match (&said.assignment, parts.is_empty()) {
        (None, _) => String::new(),
        (Some(_), true) => ", reads nothing".to_owned(),
        (Some(_), false) => format!(", reads {}", parts.join(" ")),
    };
    // Told only where a group has its own.
    let beat = match said.heartbeat_interval_ms {
        0 | BEAT_MS => String::new(),
        ms => format!(", beats every {ms} ms"),
    };
    let epoch = format!("epoch {}{reads}{beat}", said.member_epoch);
    vec![or_error(said.error_code, said.error_message.as_ref(), epoch)]
}

pub(super) fn described(described: &ConsumerGroupDescribeResponse) -> Vec<String> {
    let lines = |group: &DescribedConsumerGroup| {
        let said = format!(
            "{}, epoch {}, assigned for epoch {}, {}",
            group.group_state, group.group_epoch, group.assignment_epoch, group.assignor_name
        );
        let whole = or_error(group.error_code, group.error_message.as_ref(), said);
        let whole = std::iter::once(format!("{}: {whole}", group.group_id));
        whole.chain(group.members.iter().map(member)).collect::<Vec<_>>()
    };
    described.groups.iter().flat_map(lines).collect()
}

fn member(member: &DescribedConsumer) -> String {
    let place = member.instance_id.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
    let rack = member.rack_id.as_ref().map_or_else(String::new, |rack| format!(" in {rack}"));
    let pattern = member.subscribed_topic_regex.as_ref().map(|pattern| format!("pattern {pattern}"));
    let wants: Vec<String> =
        member.subscribed_topic_names.iter().map(ToString::to_string).chain(pattern).collect();
    let kind = if member.member_type == 0 { ", classic" } else { "" };
    format!(
        "{}{place}: {} at {}{rack}{kind}, epoch {}, wants {}, reads {}, is to read {}",
        member.member_id,
        member.client_id,
        member.client_host,
        member.member_epoch,
        or_nothing(&wants.join(" ")),
        parts(&member.assignment),
        parts(&member.target_assignment)
    )
}

fn parts(assignment: &DescribedAssignment) -> String {
    let parts = assignment.topic_partitions.iter().flat_map(|of_topic| {
        of_topic.partitions.iter().map(|index| format!("{}-{index}", of_topic.topic_name))
    });
    let mut parts: Vec<String> = parts.collect();
    parts.sort_unstable();
    or_nothing(&parts.join(" "))
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text.to_owned() }
}

/// A record of a consumer group. Topics go by their ids there, so only indexes are shown.
pub(super) fn record(record: &ConsumerRecord) -> String {
    let gone = "gone".to_owned();
    let said = match record {
        ConsumerRecord::Group(_, value) => {
            format!("group {}", value.map_or(gone, |value| format!("epoch {}", value.epoch)))
        }
        ConsumerRecord::PartitionMetadata(_, value) => {
            format!("topics {}", if value.is_some() { "kept" } else { "gone" })
        }
        ConsumerRecord::Member(key, value) => {
            let said = value.as_ref().map_or(gone, |value| {
                let names = value.subscribed_topic_names.iter().map(Str::as_str);
                let wants: Vec<&str> = names.chain(value.subscribed_topic_regex.as_deref()).collect();
                format!("wants {}", or_nothing(&wants.join(" ")))
            });
            format!("{} {said}", key.member)
        }
        ConsumerRecord::TargetEpoch(_, value) => {
            let said = value.map_or(gone, |value| format!("of epoch {}", value.assignment_epoch));
            format!("targets {said}")
        }
        ConsumerRecord::Target(key, value) => {
            let list = |value: &Vec<TargetPartitions>| indexes(value.iter().map(|it| &it.partitions));
            let said = value.as_ref().map_or(gone, |value| list(&value.topic_partitions));
            format!("{}'s target {said}", key.member)
        }
        ConsumerRecord::Current(key, value) => {
            let list = |value: &Vec<CurrentPartitions>| indexes(value.iter().map(|it| &it.partitions));
            let said = value.as_ref().map_or("'s epoch gone".to_owned(), |value| {
                let (has, lets_go) =
                    (list(&value.assigned_partitions), list(&value.partitions_pending_revocation));
                let state = ["stable", "unrevoked", "unreleased"];
                let state = usize::try_from(value.state).ok().and_then(|at| state.get(at)).unwrap_or(&"?");
                let lets_go =
                    if lets_go == "nothing" { String::new() } else { format!(", lets go of {lets_go}") };
                format!(" in epoch {}, {state}, has {has}{lets_go}", value.member_epoch)
            });
            format!("{}{said}", key.member)
        }
        ConsumerRecord::Pattern(key, value) => {
            let said = value.as_ref().map_or(gone, |value| {
                let names: Vec<&str> = value.topics.iter().map(Str::as_str).collect();
                or_nothing(&names.join(" "))
            });
            format!("pattern {}: {said}", key.pattern)
        }
    };
    format!("[{}: {said}]", record.group())
}

fn indexes<'a>(of_topics: impl Iterator<Item = &'a Vec<i32>>) -> String {
    let texts = of_topics.map(|partitions| {
        let texts: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        texts.join(",")
    });
    or_nothing(&texts.collect::<Vec<_>>().join("/"))
}
