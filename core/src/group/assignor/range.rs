//! Each topic's partitions are cut into ranges, one for each member that wants it, in the order of members. So members that
//! want topics with as many partitions read the same indexes of each.

use super::{Partitions, Subscribed};
use crate::wire::Str;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub(super) fn assign(group: &Subscribed) -> BTreeMap<Str, Partitions> {
    let mut assigned: BTreeMap<Str, Partitions> =
        group.members.keys().map(|id| (id.clone(), Partitions::default())).collect();
    // Static members come first, by their names: when they come back under another id they get the same ranges.
    let mut members: Vec<(&Str, &super::Subscriber)> = group.members.iter().collect();
    members.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.clone(), *id));
    for (&topic_id, &partitions) in &group.topics {
        let readers: Vec<&Str> = members
            .iter()
            .filter(|(_, member)| group.wanted_by(member).contains(&topic_id))
            .map(|(id, _)| *id)
            .collect();
        if readers.is_empty() {
            continue;
        }
        let (share, extra) = (partitions / readers.len(), partitions % readers.len());
        let mut rest = super::indexes(partitions);
        for (at, id) in readers.into_iter().enumerate() {
            let range = rest.by_ref().take(share + usize::from(at < extra));
            if let Some(of_member) = assigned.get_mut(id) {
                range.for_each(|partition| of_member.insert(topic_id, partition));
            }
        }
    }
    assigned
}
