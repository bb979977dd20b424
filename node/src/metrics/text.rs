//! A survey in the OpenMetrics text format, with the names and words of the table.

use super::survey::{GroupPartition, PartitionDetail, Survey};
use super::table::{self, Definition, Kind};
use super::{OTHER_TOPICS, TOPIC_LABELS_MAX};
use std::fmt::{Display, Write};

/// Writes what was found; the partitions only if that is asked for.
pub(super) fn write_survey(out: &mut String, survey: &Survey, details: bool) -> std::fmt::Result {
    let mut text = Text { out };
    text.broker(survey)?;
    text.cluster(survey)?;
    text.store(survey)?;
    text.quorum(survey)?;
    text.groups(survey)?;
    if details {
        text.partitions(survey)?;
        text.group_partitions(survey)?;
    }
    Ok(())
}

/// Writes numbers of the process.
pub(super) fn write_process(out: &mut String, numbers: &[(&'static Definition, f64)]) -> std::fmt::Result {
    let mut text = Text { out };
    numbers.iter().try_for_each(|(definition, value)| text.single(definition, value))
}

/// The value of a label that may hold anything: names of groups are their clients' to choose.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

struct Text<'a> {
    out: &'a mut String,
}

impl Text<'_> {
    fn family(&mut self, definition: &Definition) -> std::fmt::Result {
        let Definition { name, help, kind, .. } = definition;
        writeln!(self.out, "# HELP {name} {help}.\n# TYPE {name} {}", kind.name())
    }

    /// A line. Most values of labels are names of topics and words of ours, in which nothing has to be escaped; others come
    /// as [`Escaped`].
    fn line(
        &mut self,
        definition: &Definition,
        labels: &[&dyn Display],
        value: impl Display,
    ) -> std::fmt::Result {
        self.out.write_str(definition.name)?;
        if definition.kind == Kind::Counter {
            self.out.write_str("_total")?;
        }
        for (at, (label, shown)) in definition.labels.iter().zip(labels).enumerate() {
            write!(self.out, "{}{label}=\"{shown}\"", if at == 0 { '{' } else { ',' })?;
        }
        writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" })
    }

    fn single(&mut self, definition: &Definition, value: impl Display) -> std::fmt::Result {
        self.family(definition)?;
        self.line(definition, &[], value)
    }

    fn broker(&mut self, survey: &Survey) -> std::fmt::Result {
        let replicas = &survey.replicas;
        for (definition, value) in [
            (&table::BYTES_REJECTED, survey.counts.rejected_bytes),
            (&table::REPLICATION_BYTES_IN, survey.replicated_bytes),
            (&table::ISR_SHRINKS, survey.counts.isr_shrinks),
            (&table::ISR_EXPANDS, survey.counts.isr_expands),
            (&table::PARTITIONS, replicas.here),
            (&table::LEADERS, replicas.led),
            (&table::UNDER_REPLICATED, replicas.under_replicated),
            (&table::UNDER_MIN_ISR, replicas.under_min_isr),
            (&table::AT_MIN_ISR, replicas.at_min_isr),
            (&table::REASSIGNING, replicas.reassigning),
            (&table::OFFLINE_REPLICAS, replicas.offline),
            (&table::SERVING, u64::from(survey.is_serving)),
        ] {
            self.single(definition, value)?;
        }
        if survey.request_ms.is_empty() {
            return Ok(());
        }
        self.family(&table::REQUEST_MS)?;
        for (request, quantiles) in &survey.request_ms {
            for (quantile, ms) in quantiles {
                self.line(&table::REQUEST_MS, &[request, quantile], ms)?;
            }
        }
        Ok(())
    }

    fn cluster(&mut self, survey: &Survey) -> std::fmt::Result {
        let Some(cluster) = &survey.cluster else { return Ok(()) };
        for (definition, value) in [
            (&table::ACTIVE_CONTROLLER, u64::from(cluster.is_active)),
            (&table::OFFLINE_PARTITIONS, cluster.leaderless),
            (&table::PREFERRED_IMBALANCE, cluster.imbalanced),
            (&table::GLOBAL_TOPICS, cluster.topics),
            (&table::GLOBAL_PARTITIONS, cluster.partitions),
            (&table::FENCED_BROKERS, cluster.fenced_brokers),
            (&table::ACTIVE_BROKERS, cluster.active_brokers),
        ] {
            self.single(definition, value)?;
        }
        if !cluster.is_active {
            return Ok(());
        }
        self.single(&table::BROKERS, cluster.active_brokers)?;
        let mut topics: Vec<_> =
            survey.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
        if topics.is_empty() {
            return Ok(());
        }
        topics.sort_unstable();
        self.family(&table::TOPIC_PARTITIONS)?;
        let (named, others) = topics.split_at(topics.len().min(TOPIC_LABELS_MAX));
        for (name, partitions) in named {
            self.line(&table::TOPIC_PARTITIONS, &[name], partitions)?;
        }
        if !others.is_empty() {
            let partitions: u64 = others.iter().map(|(_, partitions)| partitions).sum();
            self.line(&table::TOPIC_PARTITIONS, &[&OTHER_TOPICS], partitions)?;
        }
        Ok(())
    }

    fn store(&mut self, survey: &Survey) -> std::fmt::Result {
        let store = &survey.store;
        for (definition, value) in [
            (&table::JOURNAL_GROUPS, store.groups),
            (&table::JOURNAL_ENTRIES, store.entries),
            (&table::JOURNAL_WRITTEN_BYTES, store.written_bytes),
            (&table::JOURNAL_BYTES, store.journal_bytes),
            (&table::UNSEGMENTED_BYTES, store.unsegmented_bytes),
            (&table::COMPACTIONS, store.compactions),
            (&table::COMPACTED_BYTES, store.compacted_bytes),
            (&table::SNAPSHOTS, store.snapshots),
            (&table::DAMAGED_BATCHES, store.damaged_batches),
            (&table::APPENDS_HELD, u64::from(store.holds_appends)),
            (&table::DISK_FULL, u64::from(store.disk_is_full)),
        ] {
            self.single(definition, value)?;
        }
        self.family(&table::DISK_WRITTEN_BYTES)?;
        self.line(&table::DISK_WRITTEN_BYTES, &[&"journal"], store.written_bytes)?;
        self.line(&table::DISK_WRITTEN_BYTES, &[&"segments"], store.segment_bytes)?;
        self.line(&table::DISK_WRITTEN_BYTES, &[&"compaction"], store.compaction_written_bytes)?;
        self.family(&table::MEMORY_USED_BYTES)?;
        for (part, bytes) in &survey.memory {
            self.line(&table::MEMORY_USED_BYTES, &[&part.name()], bytes)?;
        }
        Ok(())
    }

    fn quorum(&mut self, survey: &Survey) -> std::fmt::Result {
        let quorum = &survey.quorum;
        self.single(&table::QUORUM_TERM, quorum.term)?;
        if let Some(leader) = quorum.leader {
            self.single(&table::QUORUM_LEADER, leader)?;
        }
        self.single(&table::QUORUM_VOTERS, quorum.voters)?;
        self.single(&table::QUORUM_COMMITTED, quorum.committed)?;
        self.single(&table::QUORUM_END, quorum.end)
    }

    fn groups(&mut self, survey: &Survey) -> std::fmt::Result {
        if !survey.groups.is_empty() {
            self.family(&table::GROUP_MEMBERS)?;
            for group in &survey.groups {
                self.line(&table::GROUP_MEMBERS, &[&Escaped(&group.name)], group.members)?;
            }
        }
        type Sum = fn(&GroupPartition) -> Option<i64>;
        let families: [(&Definition, Sum); 2] = [
            (&table::GROUP_OFFSET_SUM, |partition| Some(partition.offset)),
            (&table::GROUP_LAG_SUM, |partition| partition.lag),
        ];
        for (definition, value_of) in families {
            let sums = survey.groups.iter().flat_map(|group| {
                group.topics.iter().filter_map(move |topic| {
                    let values: Option<Vec<i64>> = topic.partitions.iter().map(value_of).collect();
                    let sum = values?.into_iter().fold(0, i64::saturating_add);
                    Some((Escaped(&group.name), &topic.topic, sum))
                })
            });
            self.lines(definition, sums, |text, (group, topic, sum)| {
                text.line(definition, &[&group, &topic], sum)
            })?;
        }
        self.single(&table::GROUPS_LEFT_OUT, survey.groups_left_out)
    }

    fn group_partitions(&mut self, survey: &Survey) -> std::fmt::Result {
        type Value = fn(&GroupPartition) -> Option<i64>;
        let families: [(&Definition, Value); 2] = [
            (&table::GROUP_OFFSET, |partition| Some(partition.offset)),
            (&table::GROUP_LAG, |partition| partition.lag),
        ];
        for (definition, value_of) in families {
            let values = survey.groups.iter().flat_map(|group| {
                group.topics.iter().flat_map(move |topic| {
                    topic.partitions.iter().filter_map(move |partition| {
                        Some((Escaped(&group.name), &topic.topic, partition.index, value_of(partition)?))
                    })
                })
            });
            self.lines(definition, values, |text, (group, topic, index, value)| {
                text.line(definition, &[&group, &topic, &index], value)
            })?;
        }
        Ok(())
    }

    /// A family, if it has any lines.
    fn lines<T>(
        &mut self,
        definition: &Definition,
        found: impl Iterator<Item = T>,
        line: impl Fn(&mut Self, T) -> std::fmt::Result,
    ) -> std::fmt::Result {
        let mut found = found.peekable();
        if found.peek().is_some() {
            self.family(definition)?;
        }
        found.try_for_each(|found| line(self, found))
    }

    fn partitions(&mut self, survey: &Survey) -> std::fmt::Result {
        type Value = fn(&PartitionDetail) -> Option<i64>;
        let families: [(&Definition, Value); 7] = [
            (&table::CURRENT_OFFSET, |partition| partition.offsets.map(|(_, end)| end)),
            (&table::OLDEST_OFFSET, |partition| partition.offsets.map(|(start, _)| start)),
            (&table::PARTITION_LEADER, |partition| partition.leader.map(i64::from)),
            (&table::PARTITION_REPLICAS, |partition| i64::try_from(partition.replicas).ok()),
            (&table::PARTITION_ISR, |partition| i64::try_from(partition.in_sync).ok()),
            (&table::PARTITION_PREFERRED, |partition| Some(i64::from(partition.is_preferred))),
            (&table::PARTITION_UNDER_REPLICATED, |partition| {
                Some(i64::from(partition.in_sync < partition.replicas))
            }),
        ];
        for (definition, value_of) in families {
            let mut begun = false;
            for partition in &survey.partitions {
                let Some(value) = value_of(partition) else { continue };
                let Some(topic) = survey.topics.get(partition.topic) else { continue };
                if !std::mem::replace(&mut begun, true) {
                    self.family(definition)?;
                }
                self.line(definition, &[&topic.name, &partition.index], value)?;
            }
        }
        self.single(&table::PARTITIONS_LEFT_OUT, survey.partitions_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::survey::{ClusterCounts, GroupState, GroupTopic, TopicState};
    use super::*;

    fn shown(survey: &Survey, details: bool) -> String {
        let mut out = String::new();
        write_survey(&mut out, survey, details).unwrap();
        out
    }

    #[test]
    fn topics_beyond_the_limit_are_summed_and_only_the_active_controller_shows_any() {
        let topic = |at: usize| TopicState { name: format!("t{at:05}"), partitions: 3 };
        let mut survey = Survey {
            topics: (0..TOPIC_LABELS_MAX + 5).rev().map(topic).collect(),
            cluster: Some(ClusterCounts { is_active: true, active_brokers: 2, ..ClusterCounts::default() }),
            ..Survey::default()
        };
        let text = shown(&survey, false);
        assert!(text.contains("kafka_topic_partitions{topic=\"t00000\"} 3\n"), "{text}");
        assert!(text.contains("kafka_topic_partitions{topic=\"(other)\"} 15\n"), "{text}");
        assert!(text.contains("\nkafka_brokers 2\n"), "{text}");
        survey.cluster = Some(ClusterCounts::default());
        let text = shown(&survey, false);
        assert!(!text.contains("kafka_topic_partitions") && !text.contains("kafka_brokers"), "{text}");
        survey.cluster = None;
        assert!(!shown(&survey, false).contains("kafka_controller"), "a broker is no controller");
    }

    #[test]
    fn a_partition_shows_what_is_known_of_it() {
        let led = PartitionDetail {
            topic: 0,
            index: 4,
            leader: Some(2),
            replicas: 3,
            in_sync: 2,
            is_preferred: true,
            offsets: Some((5, 9)),
        };
        let lost =
            PartitionDetail { index: 7, leader: None, in_sync: 0, is_preferred: false, offsets: None, ..led };
        let survey = Survey {
            topics: vec![TopicState { name: "a".to_owned(), partitions: 8 }],
            partitions: vec![led, lost],
            ..Survey::default()
        };
        let text = shown(&survey, true);
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with("kafka_topic_partition_")).collect();
        assert_eq!(
            lines,
            [
                "kafka_topic_partition_current_offset{topic=\"a\",partition=\"4\"} 9",
                "kafka_topic_partition_oldest_offset{topic=\"a\",partition=\"4\"} 5",
                "kafka_topic_partition_leader{topic=\"a\",partition=\"4\"} 2",
                "kafka_topic_partition_replicas{topic=\"a\",partition=\"4\"} 3",
                "kafka_topic_partition_replicas{topic=\"a\",partition=\"7\"} 3",
                "kafka_topic_partition_in_sync_replica{topic=\"a\",partition=\"4\"} 2",
                "kafka_topic_partition_in_sync_replica{topic=\"a\",partition=\"7\"} 0",
                "kafka_topic_partition_leader_is_preferred{topic=\"a\",partition=\"4\"} 1",
                "kafka_topic_partition_leader_is_preferred{topic=\"a\",partition=\"7\"} 0",
                "kafka_topic_partition_under_replicated_partition{topic=\"a\",partition=\"4\"} 1",
                "kafka_topic_partition_under_replicated_partition{topic=\"a\",partition=\"7\"} 1",
            ]
        );
        assert!(!shown(&survey, false).contains("kafka_topic_partition_"));
    }

    #[test]
    fn a_group_shows_what_is_known_of_it_under_whatever_name() {
        let partition = |index, offset, lag| GroupPartition { index, offset, lag };
        let topic = |topic: &str, partitions| GroupTopic { topic: topic.to_owned(), partitions };
        let far = topic("far", vec![partition(0, 7, Some(1)), partition(1, 5, None)]);
        let near = topic("near", vec![partition(0, 3, Some(4)), partition(2, 2, Some(0))]);
        let odd = GroupState { name: "a \"b\\c\nd".to_owned(), members: 2, topics: vec![far, near] };
        let idle = GroupState { name: "idle".to_owned(), members: 0, topics: Vec::new() };
        let survey = Survey { groups: vec![odd, idle], groups_left_out: 3, ..Survey::default() };
        let lines = |details| -> Vec<String> {
            let text = shown(&survey, details);
            let lines = text.lines().filter(|line| line.contains("consumergroup") && !line.starts_with('#'));
            lines.map(|line| line.replace(r#"a \"b\\c\nd"#, "ODD")).collect()
        };
        let sums = [
            r#"kafka_consumergroup_members{consumergroup="ODD"} 2"#,
            r#"kafka_consumergroup_members{consumergroup="idle"} 0"#,
            r#"kafka_consumergroup_current_offset_sum{consumergroup="ODD",topic="far"} 12"#,
            r#"kafka_consumergroup_current_offset_sum{consumergroup="ODD",topic="near"} 5"#,
            r#"kafka_consumergroup_lag_sum{consumergroup="ODD",topic="near"} 4"#,
            "seedlog_consumergroups_left_out 3",
        ];
        assert_eq!(lines(false), sums);
        let each = [
            r#"kafka_consumergroup_current_offset{consumergroup="ODD",topic="far",partition="0"} 7"#,
            r#"kafka_consumergroup_current_offset{consumergroup="ODD",topic="far",partition="1"} 5"#,
            r#"kafka_consumergroup_current_offset{consumergroup="ODD",topic="near",partition="0"} 3"#,
            r#"kafka_consumergroup_current_offset{consumergroup="ODD",topic="near",partition="2"} 2"#,
            r#"kafka_consumergroup_lag{consumergroup="ODD",topic="far",partition="0"} 1"#,
            r#"kafka_consumergroup_lag{consumergroup="ODD",topic="near",partition="0"} 4"#,
            r#"kafka_consumergroup_lag{consumergroup="ODD",topic="near",partition="2"} 0"#,
        ];
        assert_eq!(lines(true), [&sums[..], &each].concat());
    }
}
