//! What members of groups of kind `consumer` tell each other through their coordinator, which does not look into it: the topics
//! that each wants, and the partitions that each is given.
//!
//! Shapes: `ConsumerProtocolSubscription.json` and `ConsumerProtocolAssignment.json`. A version comes first, later ones add
//! fields behind, and who knows fewer reads as far as it knows.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The protocol type of consumers.
pub use seedlog_core::group::subscription::CONSUMER_PROTOCOL_TYPE;
/// The topics of a subscription; `None`: it is no subscription.
pub use seedlog_core::group::subscription::subscribed_topics;

/// The version that is written: the first that says which partitions a member holds, of which an eager one holds none.
const SUBSCRIPTION_VERSION: i16 = 1;
const ASSIGNMENT_VERSION: i16 = 1;
/// Length of bytes that are null.
const NULL_LENGTH: i32 = -1;

/// Partitions by topic.
pub type Assignment = BTreeMap<String, Vec<i32>>;

/// A subscription to topics.
#[must_use]
pub fn encode_subscription<'a>(topics: impl ExactSizeIterator<Item = &'a str>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(SUBSCRIPTION_VERSION);
    put_count(&mut bytes, topics.len());
    topics.for_each(|topic| put_text(&mut bytes, topic));
    bytes.put_i32(NULL_LENGTH); // The assignor's own data.
    put_count(&mut bytes, 0); // What it holds on to.
    bytes.freeze()
}

/// What one member is given.
#[must_use]
pub fn encode_assignment(assignment: &Assignment) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(ASSIGNMENT_VERSION);
    put_count(&mut bytes, assignment.len());
    for (topic, partitions) in assignment {
        put_text(&mut bytes, topic);
        put_count(&mut bytes, partitions.len());
        partitions.iter().for_each(|&partition| bytes.put_i32(partition));
    }
    bytes.put_i32(NULL_LENGTH);
    bytes.freeze()
}

/// Reads what one member is given; nothing at all is an assignment of nothing. `None`: it is no assignment.
#[must_use]
pub fn decode_assignment(bytes: &Bytes) -> Option<Assignment> {
    let mut rest = bytes.clone();
    let mut assignment = Assignment::new();
    if rest.is_empty() {
        return Some(assignment);
    }
    if rest.try_get_i16().ok()? < 0 {
        return None;
    }
    // A topic takes six bytes at least, a partition four: what says more is not believed.
    for _ in 0..count(&mut rest, size_of::<i16>() + size_of::<i32>())? {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok().filter(|&length| length <= rest.len())?;
        let topic = String::from_utf8(rest.split_to(length).to_vec()).ok()?;
        let partitions = count(&mut rest, size_of::<i32>())?;
        let partitions: Option<Vec<i32>> = (0..partitions).map(|_| rest.try_get_i32().ok()).collect();
        assignment.entry(topic).or_default().extend(partitions?);
    }
    Some(assignment)
}

fn count(rest: &mut Bytes, bytes_each: usize) -> Option<usize> {
    let count = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    (count <= rest.len() / bytes_each).then_some(count)
}

fn put_count(bytes: &mut BytesMut, count: usize) {
    bytes.put_i32(i32::try_from(count).expect("a request has far fewer parts than that"));
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    // Brokers let no topic have a name of more than 249 characters: what would be cut is none.
    let text = &text.as_bytes()[..text.len().min(i16::MAX as usize)];
    bytes.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    bytes.put_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_that_of_kafka() {
        let bytes = encode_subscription(["a", "bc"].into_iter());
        let expected =
            [&[0, 1, 0, 0, 0, 2, 0, 1][..], b"a", &[0, 2], b"bc", &[255, 255, 255, 255, 0, 0, 0, 0]].concat();
        assert_eq!(bytes, expected);
        let topics = subscribed_topics(&bytes).expect("it is one");
        assert_eq!(topics, ["a", "bc"]);
    }

    #[test]
    fn an_assignment_is_that_of_kafka_and_nonsense_is_none() {
        let given = Assignment::from([("t".to_owned(), vec![0, 7])]);
        let bytes = encode_assignment(&given);
        let expected =
            [&[0, 1, 0, 0, 0, 1, 0, 1][..], b"t", &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255]]
                .concat();
        assert_eq!(bytes, expected);
        assert_eq!(decode_assignment(&bytes), Some(given));
        assert_eq!(decode_assignment(&Bytes::new()), Some(Assignment::new()));
        for end in 1..bytes.len() - 4 {
            assert_eq!(decode_assignment(&bytes.slice(..end)), None, "{end} bytes");
        }
        for nonsense in
            [&[255, 255, 0, 0][..], &[0, 0, 127, 255, 255, 255], &[0, 0, 0, 0, 0, 1, 0, 9, 1, 1, 1, 1, 1]]
        {
            assert_eq!(decode_assignment(&Bytes::from_static(nonsense)), None, "{nonsense:?}");
        }
    }
}
