//! Who reads what: the leader of a group deals partitions out to its members, by the rules of Kafka's assignors of the same
//! names, so that a group comes to the same assignment whichever client leads it.

use std::collections::BTreeMap;

use super::consumer_protocol::Assignment;

/// How partitions are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assignor {
    /// Topic by topic: neighbouring partitions to the same member, the first members get one more.
    Range,
    /// All partitions of all topics in turn.
    RoundRobin,
}

/// A member as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscriber {
    /// Its id.
    pub(super) member_id: String,
    /// Its name, if it is a static member: those come first, and keep their place over restarts.
    pub(super) instance_id: Option<String>,
    /// What it wants to read.
    pub(super) topics: Vec<String>,
}

impl Assignor {
    /// Those that a member offers, the preferred one first.
    pub(super) const ALL: [Self; 2] = [Self::Range, Self::RoundRobin];

    /// Its name in the protocol.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Deals out the partitions of topics, of which it is told how many each has; every member is in the outcome.
    #[must_use]
    pub(super) fn assign(
        self,
        members: &[Subscriber],
        partition_counts: &BTreeMap<String, i32>,
    ) -> BTreeMap<String, Assignment> {
        let mut members: Vec<&Subscriber> = members.iter().collect();
        members.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut dealt: BTreeMap<String, Assignment> =
            members.iter().map(|member| (member.member_id.clone(), Assignment::new())).collect();
        let mut give = |member: &Subscriber, topic: &str, partition: i32| {
            let given = dealt.entry(member.member_id.clone()).or_default();
            given.entry(topic.to_owned()).or_default().push(partition);
        };
        match self {
            Self::Range => range(&members, partition_counts, &mut give),
            Self::RoundRobin => round_robin(&members, partition_counts, &mut give),
        }
        dealt
    }
}

impl Subscriber {
    fn order(&self) -> (bool, Option<&str>, &str) {
        (self.instance_id.is_none(), self.instance_id.as_deref(), &self.member_id)
    }

    fn wants(&self, topic: &str) -> bool {
        self.topics.iter().any(|wanted| wanted == topic)
    }
}

fn range(
    members: &[&Subscriber],
    partition_counts: &BTreeMap<String, i32>,
    give: &mut impl FnMut(&Subscriber, &str, i32),
) {
    for (topic, &partitions) in partition_counts {
        let readers: Vec<&Subscriber> =
            members.iter().copied().filter(|member| member.wants(topic)).collect();
        let count = i32::try_from(readers.len()).unwrap_or(i32::MAX);
        if count == 0 {
            continue;
        }
        let (each, more) = (partitions / count, partitions % count);
        let mut next = 0;
        for (place, reader) in (0..).zip(readers) {
            let end = next + each + i32::from(place < more);
            (next..end).for_each(|partition| give(reader, topic, partition));
            next = end;
        }
    }
}

fn round_robin(
    members: &[&Subscriber],
    partition_counts: &BTreeMap<String, i32>,
    give: &mut impl FnMut(&Subscriber, &str, i32),
) {
    let mut turn = 0;
    for (topic, &partitions) in partition_counts {
        if !members.iter().any(|member| member.wants(topic)) {
            continue;
        }
        for partition in 0..partitions {
            while !members[turn % members.len()].wants(topic) {
                turn += 1;
            }
            give(members[turn % members.len()], topic, partition);
            turn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(member_id: &str, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        Subscriber { member_id: member_id.to_owned(), instance_id: None, topics }
    }

    /// One line a member: what it is given.
    fn dealt(assignor: Assignor, members: &[Subscriber], topics: &[(&str, i32)]) -> String {
        let counts = topics.iter().map(|&(topic, count)| (topic.to_owned(), count)).collect();
        let mut lines = String::new();
        for (member, given) in assignor.assign(members, &counts) {
            let given: Vec<String> =
                given.iter().map(|(topic, partitions)| format!("{topic}{partitions:?}")).collect();
            lines += &format!("{member}: {}\n", given.join(" "));
        }
        lines
    }

    #[test]
    fn ranges_are_dealt_topic_by_topic() {
        let members = [subscriber("b", &["t", "u"]), subscriber("a", &["t"]), subscriber("c", &["t", "u"])];
        assert_eq!(
            dealt(Assignor::Range, &members, &[("t", 7), ("u", 1), ("v", 9)]),
            "a: t[0, 1, 2]\nb: t[3, 4] u[0]\nc: t[5, 6]\n"
        );
        assert_eq!(dealt(Assignor::Range, &members, &[("t", 2)]), "a: t[0]\nb: t[1]\nc: \n");
        let first = Subscriber { instance_id: Some("z".to_owned()), ..subscriber("c", &["t"]) };
        assert_eq!(dealt(Assignor::Range, &[members[1].clone(), first], &[("t", 1)]), "a: \nc: t[0]\n");
    }

    #[test]
    fn turns_go_round_over_topics_and_skip_who_does_not_want_one() {
        let members = [subscriber("a", &["t", "u"]), subscriber("b", &["t"]), subscriber("c", &["t", "u"])];
        assert_eq!(
            dealt(Assignor::RoundRobin, &members, &[("t", 4), ("u", 3), ("v", 1)]),
            "a: t[0, 3] u[1]\nb: t[1]\nc: t[2] u[0, 2]\n"
        );
        assert_eq!(dealt(Assignor::RoundRobin, &[], &[("t", 1)]), "");
    }
}
