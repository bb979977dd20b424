//! From members to targets: an assignor is asked, and what it says of whom it says something new is written.

use super::decision::Decision;
use super::member::Said;
use crate::group::assignor::{Assignor, Partitions, Subscribed, Subscriber};
use crate::ids::Uuid;
use crate::wire::Str;
use alloc::collections::{BTreeMap, BTreeSet};

/// The assignor that most members ask for, of those that this broker has switched on; its first one if nobody asks.
pub(super) fn preferred<'a>(members: impl Iterator<Item = &'a Said>, enabled: &[Assignor]) -> Assignor {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for said in members {
        let wanted = said.server_assignor.as_deref().and_then(Assignor::named);
        if let Some(wanted) = wanted.filter(|wanted| enabled.contains(wanted)) {
            *votes.entry(wanted).or_default() += 1;
        }
    }
    // `max_by_key` takes the last of equals.
    let most = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
    most.map_or_else(|| enabled.first().copied().unwrap_or(Assignor::Uniform), |(assignor, _)| assignor)
}

impl Decision<'_> {
    /// New targets for the group's epoch. `successor` has the target of the member that it takes the place of. Gives back what
    /// each member is to read.
    pub(super) fn retarget(
        &mut self,
        enabled: &[Assignor],
        successor: Option<(&Str, &Str)>,
    ) -> BTreeMap<Str, Partitions> {
        let before = |id: &Str| {
            let source = successor.filter(|(new, _)| *new == id).map_or(id, |(_, old)| old);
            self.base.targets.get(source)
        };
        let mut group = Subscribed::default();
        let mut places: BTreeMap<(&[Str], Option<&Str>), usize> = BTreeMap::new();
        for (id, said) in self.members() {
            let (names, pattern) = (&said.subscribed_topic_names[..], said.pattern());
            let subscription = match places.get(&(names, pattern)) {
                Some(place) => *place,
                None => {
                    let wanted = self.wanted(names, pattern);
                    let topics = wanted.iter().map(|&topic_id| (topic_id, self.topics.partitions(topic_id)));
                    group.topics.extend(topics);
                    group.subscriptions.push(wanted);
                    places.insert((names, pattern), group.subscriptions.len() - 1);
                    group.subscriptions.len() - 1
                }
            };
            let subscriber = Subscriber {
                instance_id: said.instance_id.clone(),
                subscription,
                before: before(id).cloned().unwrap_or_default(),
            };
            group.members.insert(id.clone(), subscriber);
        }
        let assignor = preferred(self.members().map(|(_, said)| said), enabled);
        let targets = assignor.assign(&group);
        let news: BTreeMap<&Str, &Partitions> =
            targets.iter().filter(|(id, target)| before(id) != Some(*target)).collect();
        for (id, target) in news {
            self.put_target(id, target);
        }
        self.put_target_epoch();
        targets
    }

    fn wanted(&self, names: &[Str], pattern: Option<&Str>) -> BTreeSet<Uuid> {
        let of_pattern = pattern.and_then(|pattern| self.topics_of(pattern)).unwrap_or_default();
        names.iter().chain(of_pattern).filter_map(|name| self.topics.id_of(name)).collect()
    }
}
