//! Names of things: one newtype for each id, offset, epoch and number, so that no signature takes two bare integers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// A broker's `node.id`.
    NodeId(i32)
}
number! {
    /// Index of a partition within its topic, from 0.
    PartitionIndex(i32)
}
number! {
    /// Position of a record in a partition's log, from 0. A log's end is the offset that the next record will take.
    Offset(i64)
}
number! {
    /// Number of a leader's term over one partition; it grows with every change of leader and every restart (SAFETY R2).
    LeaderEpoch(i32)
}
number! {
    /// Number of one incarnation's registration with the controller (KIP-631).
    BrokerEpoch(i64)
}
number! {
    /// Number of a partition's state in the metadata: every change of leader, ISR or ELR makes a new one (KIP-497).
    PartitionEpoch(i32)
}
number! {
    /// One run of one process, drawn at its start: a message of an earlier run of the same node is recognised as such.
    RunId(u64)
}
number! {
    /// Number of an attempt of a follower to open a replication session, growing within its run (SAFETY R1).
    SessionNumber(u64)
}
number! {
    /// Number of an entry in a node's journal, from 1. `Lsn(0)` means "before the first entry".
    Lsn(u64)
}
number! {
    /// A client connection, numbered by the driver; never reused while the process lives.
    ConnId(u64)
}
number! {
    /// A request's place among those of its connection, from 0; replies leave in this order (SAFETY K1).
    RequestNumber(u64)
}
number! {
    /// An operation that the core asked of the store and that the store will report on.
    OpId(u64)
}
number! {
    /// Counts the rewrites of a partition's log (truncation, reset, re-creation), so that an old extent cannot name new
    /// bytes (SAFETY R8).
    Generation(u32)
}
number! {
    /// A producer's id, assigned by InitProducerId (KIP-98).
    ProducerId(i64)
}
number! {
    /// A producer's epoch: a newer one fences the older (KIP-98).
    ProducerEpoch(i16)
}
number! {
    /// Index of a listener in the node's configuration.
    ListenerId(u16)
}

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);

    /// The offset `count` records further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0.checked_add(count).expect("offsets stay below 2^63: a log cannot hold that many records"))
    }
}

impl Lsn {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The entry after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 journal entries cannot be written"))
    }
}

/// 128 bits that name a topic, a cluster or an incarnation, printed as Kafka prints them: base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// All zeros: "no id" on the wire.
    pub const ZERO: Self = Self([0; 16]);

    /// Parses Kafka's 22-character base64url form. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        let mut last_two = 0;
        for (i, byte) in text.bytes().enumerate() {
            let six = u128::from(ALPHABET.iter().position(|&a| a == byte)? as u8);
            if i < 21 {
                bits = (bits << 6) | six;
            } else {
                bits = (bits << 2) | (six >> 4);
                last_two = six & 0xf;
            }
        }
        (last_two == 0).then_some(Self(bits.to_be_bytes()))
    }

    /// RFC 9562's form, as Java's `UUID` prints it: 36 characters, hexadecimal in groups.
    #[must_use]
    pub fn hyphenated(self) -> String {
        let mut text = String::with_capacity(36);
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a digit"));
            }
        }
        text
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(22);
        for i in 0..21 {
            text.push(char::from(ALPHABET[((bits >> (122 - 6 * i)) & 63) as usize]));
        }
        text.push(char::from(ALPHABET[((bits & 3) << 4) as usize]));
        f.write_str(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of one topic, named by the topic's id: a topic that was deleted and created again under its name is
/// another one (KIP-516).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's index.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// The metadata log, under the id that Kafka keeps for `__cluster_metadata` (KIP-595).
    pub const METADATA: Self = Self {
        topic_id: Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        partition: PartitionIndex(0),
    };

    /// A partition of client topics, as opposed to the metadata log.
    #[must_use]
    pub fn is_data(&self) -> bool {
        *self != Self::METADATA
    }
}

impl NodeId {
    /// Nodes as messages name them.
    #[must_use]
    pub fn numbers(nodes: &[Self]) -> Vec<i32> {
        nodes.iter().map(|node| node.0).collect()
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn uuid_prints_as_kafka_prints_it_and_parses_back() {
        // Uuid.METADATA_TOPIC_ID of Kafka is (0, 1).
        let mut one = Uuid::ZERO;
        one.0[15] = 1;
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAQ"), Some(one));
        let id = Uuid([0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAB"), None);
        assert_eq!(Uuid::parse("short"), None);
    }
}
