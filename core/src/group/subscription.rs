//! What members of groups of kind `consumer` tell each other in the classic protocol: the topics that each wants, and what each is
//! given. The broker looks into it to protect what a group reads, and where members of both protocols are in one group.
//!
//! Shapes: `ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`.

use crate::wire::Str;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes};

/// The protocol type of consumers.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// From here on a subscription says what its member reads (KIP-429).
const OWNED_FROM: i16 = 1;
/// From here on it says in which generation (KIP-792).
const GENERATION_FROM: i16 = 2;
/// From here on it says where the member is (KIP-881).
const RACK_FROM: i16 = 3;

/// Partitions by the names of their topics.
pub type NamedPartitions = Vec<(Str, Vec<i32>)>;

/// What a member wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The layout that it is written in.
    pub version: i16,
    /// The topics.
    pub topics: Vec<Str>,
    /// What it reads.
    pub owned: NamedPartitions,
    /// Its rack.
    pub rack: Option<Str>,
}

/// The topics of a subscription; `None`: it is no subscription.
#[must_use]
pub fn subscribed_topics(metadata: &Bytes) -> Option<Vec<Str>> {
    let mut rest = metadata.clone();
    version(&mut rest)?;
    topics(&mut rest)
}

/// A subscription; `None`: it is none.
#[must_use]
pub fn subscription(metadata: &Bytes) -> Option<Subscription> {
    let mut rest = metadata.clone();
    let version = version(&mut rest)?;
    let mut subscription = Subscription { version, topics: topics(&mut rest)?, ..Subscription::default() };
    nullable_bytes(&mut rest)?;
    if version >= OWNED_FROM {
        subscription.owned = partitions(&mut rest)?;
    }
    if version >= GENERATION_FROM {
        rest.try_get_i32().ok()?;
    }
    if version >= RACK_FROM {
        subscription.rack = match rest.try_get_i16().ok()? {
            ..0 => None,
            length => Some(text_of(&mut rest, usize::try_from(length).ok()?)?),
        };
    }
    Some(subscription)
}

/// What a member was given; `None`: it is no assignment. Nothing at all is an empty one.
#[must_use]
pub fn assignment(bytes: &Bytes) -> Option<NamedPartitions> {
    let mut rest = bytes.clone();
    if rest.is_empty() {
        return Some(Vec::new());
    }
    version(&mut rest)?;
    partitions(&mut rest)
}

/// An assignment in a layout that its member knows.
#[must_use]
pub fn assignment_bytes(version: i16, parts: &[(Str, Vec<i32>)]) -> Bytes {
    let length = |length: usize| i32::try_from(length).expect("a group is far smaller");
    let mut out = Vec::new();
    out.put_i16(version);
    out.put_i32(length(parts.len()));
    for (topic, indexes) in parts {
        out.put_i16(i16::try_from(topic.len()).expect("names of topics are short"));
        out.put_slice(topic.as_bytes());
        out.put_i32(length(indexes.len()));
        indexes.iter().for_each(|index| out.put_i32(*index));
    }
    // No data of the assignor's own.
    out.put_i32(-1);
    Bytes::from(out)
}

fn version(rest: &mut Bytes) -> Option<i16> {
    rest.try_get_i16().ok().filter(|version| *version >= 0)
}

fn topics(rest: &mut Bytes) -> Option<Vec<Str>> {
    // A topic takes two bytes at least: what says more is not believed.
    let count = count(rest, size_of::<i16>())?;
    (0..count).map(|_| text(rest)).collect()
}

fn partitions(rest: &mut Bytes) -> Option<NamedPartitions> {
    let count_topics = count(rest, size_of::<i16>() + size_of::<i32>())?;
    let mut parts = Vec::with_capacity(count_topics);
    for _ in 0..count_topics {
        let topic = text(rest)?;
        let count = count(rest, size_of::<i32>())?;
        let indexes: Option<Vec<i32>> = (0..count).map(|_| rest.try_get_i32().ok()).collect();
        parts.push((topic, indexes?));
    }
    Some(parts)
}

/// How many items follow, each of so many bytes at least.
fn count(rest: &mut Bytes, bytes_min: usize) -> Option<usize> {
    let count = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    (count <= rest.len() / bytes_min).then_some(count)
}

fn text(rest: &mut Bytes) -> Option<Str> {
    let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
    text_of(rest, length)
}

fn text_of(rest: &mut Bytes, length: usize) -> Option<Str> {
    if length > rest.len() { None } else { Str::from_utf8(rest.split_to(length)) }
}

fn nullable_bytes(rest: &mut Bytes) -> Option<()> {
    let length = usize::try_from(rest.try_get_i32().ok()?).unwrap_or(0);
    (length <= rest.len()).then(|| rest.advance(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn topics_are_read_and_nonsense_is_none() {
        let subscription =
            [&[0, 3, 0, 0, 0, 2, 0, 1][..], b"a", &[0, 2], b"bc", &[255, 255, 255, 255, 9]].concat();
        let topics = subscribed_topics(&Bytes::from(subscription.clone())).expect("a subscription");
        assert_eq!(topics, [Str::from("a"), Str::from("bc")]);
        for end in 0..12 {
            assert_eq!(subscribed_topics(&Bytes::copy_from_slice(&subscription[..end])), None, "{end} bytes");
        }
        assert_eq!(subscribed_topics(&Bytes::from_static(&[0, 0, 127, 255, 255, 255])), None);
        assert_eq!(subscribed_topics(&Bytes::from_static(b"connect knows another format")), None);
    }

    #[test]
    fn a_subscription_says_what_is_owned_and_where() {
        let head = [&[0, 3, 0, 0, 0, 1, 0, 1][..], b"a", &[255, 255, 255, 255]].concat();
        let owned = [&[0, 0, 0, 1, 0, 1][..], b"a", &[0, 0, 0, 1, 0, 0, 0, 7]].concat();
        let whole = [&head[..], &owned, &[0, 0, 0, 5, 0, 1], b"r"].concat();
        let read = subscription(&Bytes::from(whole.clone())).expect("a subscription");
        assert_eq!(read.owned, vec![(Str::from("a"), vec![7])]);
        assert_eq!((read.version, read.rack), (3, Some("r".into())));
        for end in 0..whole.len() {
            assert_eq!(subscription(&Bytes::copy_from_slice(&whole[..end])), None, "{end} bytes");
        }
        let old = [&[0, 0, 0, 0, 0, 0][..], &[255, 255, 255, 255]].concat();
        assert_eq!(subscription(&Bytes::from(old)), Some(Subscription::default()));
    }

    #[test]
    fn an_assignment_comes_back_as_it_was() {
        let parts = vec![(Str::from("a"), vec![0, 2]), (Str::from("b"), vec![])];
        let bytes = assignment_bytes(1, &parts);
        assert_eq!(assignment(&bytes), Some(parts));
        assert_eq!(assignment(&Bytes::new()), Some(vec![]));
        assert_eq!(assignment(&bytes.slice(..5)), None);
    }
}
