//! What members of groups of kind `consumer` tell each other: the topics that each wants. The broker looks into it only to
//! protect what a group reads.
//!
//! Shape: `ConsumerProtocolSubscription.json`; later versions add fields behind these.

use crate::wire::Str;
use alloc::vec::Vec;
use bytes::{Buf, Bytes};

/// The protocol type of consumers.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription; `None`: it is no subscription.
#[must_use]
pub fn subscribed_topics(metadata: &Bytes) -> Option<Vec<Str>> {
    let mut rest = metadata.clone();
    let version = rest.try_get_i16().ok()?;
    let count = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    // A topic takes two bytes at least: what says more is not believed.
    if version < 0 || count > rest.len() / size_of::<i16>() {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        if length > rest.len() {
            return None;
        }
        topics.push(Str::from_utf8(rest.split_to(length))?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
