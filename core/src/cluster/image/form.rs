//! The durable form of an image. It stands in snapshots of the journal and goes to peers that lag.

use super::{BrokerImage, Image, TopicImage};
use crate::cluster::records::Voter;
use crate::ids::{LeaderEpoch, NodeId, Offset, ProducerId, Uuid};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first form: its elements stand one behind the other.
type FirstForm = (
    BTreeMap<Uuid, TopicImage>,
    BTreeMap<String, Uuid>,
    BTreeMap<String, String>,
    BTreeMap<NodeId, BrokerImage>,
    Vec<Voter>,
    ProducerId,
    Option<NodeId>,
    LeaderEpoch,
    Offset,
    usize,
);

/// As long as no group has settings of its own, the first form: what releases before them wrote. Otherwise no topics and yet one
/// name, which no image has, the settings of groups, and the first form.
impl Serialize for Image {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = (
            &self.topics,
            &self.names,
            &self.normalized,
            &self.brokers,
            &self.voters,
            self.next_producer_id,
            self.leader,
            self.epoch,
            self.end,
            self.partitions,
        );
        if self.group_configs.is_empty() {
            return first.serialize(serializer);
        }
        (NO_TOPICS, SECOND_FORM, &self.group_configs, first).serialize(serializer)
    }
}

/// The length of a map without topics.
const NO_TOPICS: u64 = 0;
/// The length of a map with one name.
const SECOND_FORM: u64 = 1;

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Elements of the first form; the second one has fewer.
        const ELEMENTS_MAX: usize = 10;
        deserializer.deserialize_tuple(ELEMENTS_MAX, Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Image;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster's metadata")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Image, A::Error> {
        let topics: BTreeMap<Uuid, TopicImage> = next(&mut seq)?;
        let names = if topics.is_empty() {
            match next::<u64, A>(&mut seq)? {
                0 => BTreeMap::new(),
                SECOND_FORM => {
                    let group_configs = next(&mut seq)?;
                    return Ok(Image { group_configs, ..Image::of(next(&mut seq)?) });
                }
                _ => return Err(A::Error::custom("the metadata was written by a newer release")),
            }
        } else {
            next(&mut seq)?
        };
        Ok(Image::of((
            topics,
            names,
            next(&mut seq)?,
            next(&mut seq)?,
            next(&mut seq)?,
            next(&mut seq)?,
            next(&mut seq)?,
            next(&mut seq)?,
            next(&mut seq)?,
            next(&mut seq)?,
        )))
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("the metadata ends early"))
}

impl Image {
    /// What the first form says.
    fn of(first: FirstForm) -> Self {
        let (topics, names, normalized, brokers, voters, next_producer_id, leader, epoch, end, partitions) =
            first;
        Self {
            topics,
            names,
            normalized,
            brokers,
            voters,
            next_producer_id,
            leader,
            epoch,
            end,
            partitions,
            group_configs: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::group_config::GroupConfig;
    use crate::cluster::records::MetadataRecord;
    use crate::cluster::topic_config::TopicConfig;
    use crate::group::ConsumerSettings;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn topic(id: u8) -> MetadataRecord {
        MetadataRecord::Topic {
            topic_id: Uuid([id + 1; 16]),
            name: alloc::format!("topic-{id}"),
            config: TopicConfig::default(),
            min_insync_replicas: 1,
        }
    }

    fn settings(group: u8, session_ms: i32) -> MetadataRecord {
        let own = [("consumer.session.timeout.ms".to_string(), session_ms.to_string())];
        let config = GroupConfig::new(&own.into(), &ConsumerSettings::default());
        MetadataRecord::GroupConfig { group: alloc::format!("group-{group}"), config: config.unwrap() }
    }

    fn image(topics: u8, groups: &[(u8, i32)]) -> Image {
        let mut image = Image::founded(Vec::new());
        let records: Vec<MetadataRecord> = (0..topics).map(topic).collect();
        image.replay(Offset(0), &records);
        let records: Vec<MetadataRecord> = groups.iter().map(|&(group, ms)| settings(group, ms)).collect();
        image.replay(Offset(1), &records);
        image.check_invariants();
        image
    }

    proptest! {
        #[test]
        fn an_image_is_read_as_it_was_written(
            topics in 0..4_u8,
            groups in prop::collection::vec((0..3_u8, 45_000..=60_000), 0..5),
            behind in any::<u32>(),
        ) {
            let image = image(topics, &groups);
            let bytes = postcard::to_allocvec(&(&image, behind)).unwrap();
            prop_assert_eq!(postcard::from_bytes::<(Image, u32)>(&bytes).unwrap(), (image, behind));
        }

        #[test]
        fn whatever_is_read_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = postcard::from_bytes::<Image>(&bytes);
        }
    }

    /// What releases before settings of groups wrote: each part of an empty image, and of one with a topic.
    #[test]
    fn without_settings_of_groups_the_form_is_the_first_one() {
        let bytes = postcard::to_allocvec(&image(0, &[])).unwrap();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
        let one = postcard::to_allocvec(&image(1, &[])).unwrap();
        assert_eq!(
            one[..18],
            [&[1][..], &[1; 16], &[7]].concat(),
            "one topic, its id, the length of its name"
        );
        let mut removed = image(1, &[(0, 50_000)]);
        let config = GroupConfig::default();
        removed.replay(Offset(2), &[MetadataRecord::GroupConfig { group: "group-0".to_string(), config }]);
        assert!(removed.group_configs().is_empty());
        assert_eq!(postcard::to_allocvec(&removed).unwrap().len(), one.len());
    }

    #[test]
    fn what_a_newer_release_wrote_is_refused() {
        assert!(postcard::from_bytes::<Image>(&[0, 2, 0, 0]).is_err());
        assert!(postcard::from_bytes::<Image>(&[0, 1]).is_err());
    }
}
