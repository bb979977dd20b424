//! What assignors promise (KIP-848): each partition has one reader who wants it, if anybody does; parts are even; and who is
//! assigned again keeps what it has.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seedlog_core::group::assignor::{Assignor, Partitions, Subscribed, Subscriber};
use seedlog_core::ids::Uuid;
use seedlog_core::wire::Str;

fn topic(number: usize) -> Uuid {
    Uuid([u8::try_from(number).expect("a few"); 16])
}

fn member(number: usize) -> Str {
    format!("member-{number:02}").into()
}

/// Topics by their partitions, and members by the topics that each wants.
fn groups() -> impl Strategy<Value = Subscribed> {
    let topics = prop::collection::vec(1..9_usize, 1..6);
    let wants = prop::collection::vec(prop::collection::btree_set(0..6_usize, 0..6), 1..8);
    let is_homogeneous = prop::bool::ANY;
    (topics, wants, is_homogeneous).prop_map(|(topics, mut wants, is_homogeneous)| {
        if is_homogeneous {
            let first = wants[0].clone();
            wants.iter_mut().for_each(|other| other.clone_from(&first));
        }
        group(&topics, &wants)
    })
}

fn group(topics: &[usize], wants: &[BTreeSet<usize>]) -> Subscribed {
    let wanted = |wants: &BTreeSet<usize>| -> BTreeSet<Uuid> {
        wants.iter().filter(|number| **number < topics.len()).map(|&number| topic(number)).collect()
    };
    let all: BTreeSet<Uuid> = wants.iter().flat_map(wanted).collect();
    let sizes = topics.iter().enumerate().map(|(number, &size)| (topic(number), size));
    Subscribed {
        topics: sizes.filter(|(topic_id, _)| all.contains(topic_id)).collect(),
        subscriptions: wants.iter().map(wanted).collect(),
        members: (0..wants.len())
            .map(|number| (member(number), Subscriber { subscription: number, ..Subscriber::default() }))
            .collect(),
    }
}

/// The same with what was assigned.
fn after(mut group: Subscribed, assigned: &BTreeMap<Str, Partitions>) -> Subscribed {
    for (id, member) in &mut group.members {
        member.before = assigned.get(id).cloned().unwrap_or_default();
    }
    group
}

fn wants(group: &Subscribed, id: &Str, topic_id: Uuid) -> bool {
    group.subscriptions[group.members[id].subscription].contains(&topic_id)
}

/// Each partition is read by one, who wants it.
fn check_whole(group: &Subscribed, assigned: &BTreeMap<Str, Partitions>) {
    assert!(assigned.keys().eq(group.members.keys()), "everybody is told something");
    let mut readers: BTreeMap<(Uuid, i32), &Str> = BTreeMap::new();
    for (id, parts) in assigned {
        for (topic_id, partition) in parts.iter() {
            assert!(wants(group, id, topic_id), "{id} does not want {topic_id}");
            let other = readers.insert((topic_id, partition), id);
            assert_eq!(other, None, "{topic_id}-{partition} is read by two");
        }
    }
    let all: usize = group.topics.values().sum();
    assert_eq!(readers.len(), all, "all that somebody wants is read");
}

/// Nobody has two more than somebody who could take one of them.
fn check_even(group: &Subscribed, assigned: &BTreeMap<Str, Partitions>) {
    for (rich, parts) in assigned {
        for (poor, others) in assigned {
            let could_give = parts.0.keys().any(|topic_id| wants(group, poor, *topic_id));
            assert!(
                !could_give || parts.len() < others.len() + 2,
                "{rich} has {} and {poor} has {}",
                parts.len(),
                others.len()
            );
        }
    }
}

fn is_homogeneous(group: &Subscribed) -> bool {
    group.subscriptions.windows(2).all(|pair| pair[0] == pair[1])
}

/// Partitions that somebody had and somebody else has.
fn moved(before: &BTreeMap<Str, Partitions>, now: &BTreeMap<Str, Partitions>) -> usize {
    let kept = |(id, parts): (&Str, &Partitions)| {
        parts
            .iter()
            .filter(|&(topic_id, it)| !now.get(id).is_some_and(|now| now.contains(topic_id, it)))
            .count()
    };
    before.iter().map(kept).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_has_one_reader_who_wants_it(group in groups()) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            check_whole(&group, &assignor.assign(&group));
        }
    }

    #[test]
    fn parts_are_even(group in groups()) {
        check_even(&group, &Assignor::Uniform.assign(&group));
    }

    #[test]
    fn who_is_asked_again_says_the_same(group in groups()) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let assigned = assignor.assign(&group);
            assert_eq!(assignor.assign(&after(group.clone(), &assigned)), assigned);
        }
    }

    #[test]
    fn who_stays_keeps_all_when_others_go(group in groups(), gone in 0..8_usize) {
        let assigned = Assignor::Uniform.assign(&group);
        let mut less = after(group, &assigned);
        less.members.remove(&member(gone));
        let wanted: BTreeSet<Uuid> =
            less.members.values().flat_map(|it| less.subscriptions[it.subscription].clone()).collect();
        less.topics.retain(|topic_id, _| wanted.contains(topic_id));
        let now = Assignor::Uniform.assign(&less);
        check_whole(&less, &now);
        if is_homogeneous(&less) {
            let mut stayed = assigned;
            stayed.remove(&member(gone));
            assert_eq!(moved(&stayed, &now), 0);
        }
    }

    #[test]
    fn a_newcomer_is_given_no_more_than_its_share(group in groups()) {
        prop_assume!(is_homogeneous(&group));
        let assigned = Assignor::Uniform.assign(&group);
        let mut more = after(group, &assigned);
        let newcomer = Subscriber { subscription: 0, ..Subscriber::default() };
        more.members.insert("newcomer".into(), newcomer);
        let now = Assignor::Uniform.assign(&more);
        check_whole(&more, &now);
        check_even(&more, &now);
        assert_eq!(moved(&assigned, &now), now["newcomer"].len(), "only what it gets moves");
    }

    #[test]
    fn nonsense_from_before_is_let_go_of(group in groups(), strange in prop::collection::vec((0..9_usize, -2..12_i32), 0..20)) {
        let mut group = group;
        for (number, (of, partition)) in strange.into_iter().enumerate() {
            let at = number % group.members.len();
            let member = group.members.values_mut().nth(at).expect("it is there");
            member.before.insert(topic(of), partition);
        }
        for assignor in [Assignor::Uniform, Assignor::Range] {
            check_whole(&group, &assignor.assign(&group));
        }
    }
}

#[test]
fn ranges_put_the_same_indexes_of_topics_together() {
    let all: BTreeSet<usize> = [0, 1].into();
    let group = group(&[3, 3], &[all.clone(), all]);
    let assigned = Assignor::Range.assign(&group);
    let indexes = |id: usize, of: usize| assigned[&member(id)].0[&topic(of)].clone();
    assert_eq!(indexes(0, 0), [0, 1].into());
    assert_eq!(indexes(0, 1), [0, 1].into());
    assert_eq!(indexes(1, 0), [2].into());
    assert_eq!(indexes(1, 1), [2].into());
}

#[test]
fn static_members_have_ranges_by_their_names() {
    let all: BTreeSet<usize> = [0].into();
    let mut group = group(&[2], &[all.clone(), all]);
    let last = group.members.get_mut(&member(1)).expect("it is there");
    last.instance_id = Some("desk".into());
    let assigned = Assignor::Range.assign(&group);
    assert_eq!(assigned[&member(1)].0[&topic(0)], [0].into());
}
