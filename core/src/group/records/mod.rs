//! The records of `__consumer_offsets`, byte for byte as Kafka writes them, so that its formatters read ours and we read its.
//!
//! A key begins with the number of its kind, a value with the version of its layout, 16 bits each. A record without a value is
//! a tombstone: what its key names is gone.
//!
//! [`consumer`]: the records of consumer groups.
//!
//! Shapes: `OffsetCommitKey.json`, `GroupMetadataKey.json` and their values in Kafka 4.3's group coordinator.

pub mod consumer;

pub use consumer::ConsumerRecord;

use crate::ids::Uuid;
use crate::wire::{Message, Str, Wire, WireError};
use alloc::vec::Vec;
use bytes::{Buf, Bytes};

/// An offset of one partition. Kind 1; kind 0 is the same in releases that wrote no key of kind 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Wire)]
#[wire(versions = "0-1")]
pub struct OffsetCommitKey {
    /// The group.
    pub group: Str,
    /// The topic.
    pub topic: Str,
    /// The partition's index.
    pub partition: i32,
}

/// What was committed for it.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0-4", flexible = "4+")]
pub struct OffsetCommitValue {
    /// The next offset to be read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1 if nobody said (KIP-320).
    #[wire(versions = "3+", default = -1, ignorable)]
    pub leader_epoch: i32,
    /// Whatever the client wants to keep.
    pub metadata: Str,
    /// When it was committed, in ms since the epoch.
    pub commit_timestamp: i64,
    /// When it expires, where the client said so; otherwise -1.
    #[wire(versions = "1", default = -1, ignorable)]
    pub expire_timestamp: i64,
    /// The topic's id; zero from releases that did not know it.
    #[wire(versions = "4+", tag = 0, tagged = "4+", ignorable)]
    pub topic_id: Uuid,
}

/// A group of the classic protocol. Kind 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Wire)]
#[wire(versions = "2-2")]
pub struct GroupMetadataKey {
    /// The group.
    pub group: Str,
}

/// Its members and what each of them reads.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
#[wire(versions = "0-4", flexible = "4+")]
pub struct GroupMetadataValue {
    /// What kind of group it is: `consumer`, `connect`.
    pub protocol_type: Str,
    /// Number of the rebalance.
    pub generation: i32,
    /// The protocol that its members agreed on.
    #[wire(nullable = "0+")]
    pub protocol: Option<Str>,
    /// The member that assigns.
    #[wire(nullable = "0+")]
    pub leader: Option<Str>,
    /// When its state changed last, in ms since the epoch; -1 if nobody said.
    #[wire(versions = "2+", default = -1, ignorable)]
    pub current_state_timestamp: i64,
    /// The members.
    pub members: Vec<MemberMetadata>,
}

/// A member of such a group.
#[derive(Debug, Clone, PartialEq, Eq, Wire)]
pub struct MemberMetadata {
    /// Its id.
    pub member_id: Str,
    /// Its place, if it is a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null, ignorable)]
    pub group_instance_id: Option<Str>,
    /// What the client calls itself.
    pub client_id: Str,
    /// Where it is.
    pub client_host: Str,
    /// How long it may take to join again, in ms.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub rebalance_timeout: i32,
    /// How long it may be silent, in ms.
    pub session_timeout: i32,
    /// What it told the others in the agreed protocol.
    pub subscription: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// A record of the group log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// An offset was committed, or is forgotten.
    Offset(OffsetCommitKey, Option<OffsetCommitValue>),
    /// A classic group has these members, or is gone.
    Classic(GroupMetadataKey, Option<GroupMetadataValue>),
    /// Something about a consumer group (KIP-848).
    Consumer(ConsumerRecord),
}

/// Why a record of the group log cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordProblem {
    /// It has no key, or one that is shorter than the number of its kind.
    NoKind,
    /// A kind that this release knows nothing of: as in Kafka, such a record is passed over (KIP-915).
    UnknownKind(i16),
    /// Its bytes are not what its kind and version ask for.
    Malformed(WireError),
}

impl core::fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoKind => f.write_str("a record without a kind"),
            Self::UnknownKind(kind) => write!(f, "a record of the unknown kind {kind}"),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RecordProblem {}

const LEGACY_OFFSET_KIND: i16 = 0;
const OFFSET_KIND: i16 = 1;
const CLASSIC_KIND: i16 = 2;

/// The last layout without tagged fields: there are none that would ask for a newer one.
const CLASSIC_VALUE_VERSION: i16 = 3;
/// The layout with topic ids.
const OFFSET_VALUE_VERSION: i16 = 4;
/// The one layout with a time of expiry.
const EXPIRING_VALUE_VERSION: i16 = 1;

impl GroupRecord {
    /// The group that it is about.
    #[must_use]
    pub fn group(&self) -> &Str {
        match self {
            Self::Offset(key, _) => &key.group,
            Self::Classic(key, _) => &key.group,
            Self::Consumer(record) => record.group(),
        }
    }

    /// Bytes of key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let (key, value) = self.encode();
        key.len() + value.map_or(0, |value| value.len())
    }

    /// Key and value as they stand in the log.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Offset(key, value) => {
                // A time of expiry has room in one layout only, which has none for a leader epoch or a topic id.
                let expires = value.as_ref().is_some_and(|value| value.expire_timestamp >= 0);
                let version = if expires { EXPIRING_VALUE_VERSION } else { OFFSET_VALUE_VERSION };
                (written(key, OFFSET_KIND), value.as_ref().map(|value| written(value, version)))
            }
            Self::Classic(key, value) => {
                let value = value.as_ref().map(|value| written(value, CLASSIC_VALUE_VERSION));
                (written(key, CLASSIC_KIND), value)
            }
            Self::Consumer(record) => record.encode(),
        }
    }

    /// Reads a record of the log.
    ///
    /// # Errors
    /// [`RecordProblem`].
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, RecordProblem> {
        let mut key = Bytes::copy_from_slice(key.unwrap_or_default());
        let kind = key.try_get_i16().map_err(|_| RecordProblem::NoKind)?;
        match kind {
            LEGACY_OFFSET_KIND | OFFSET_KIND => Ok(Self::Offset(read(key, kind)?, read_value(value)?)),
            CLASSIC_KIND => Ok(Self::Classic(read(key, kind)?, read_value(value)?)),
            _ => Ok(Self::Consumer(ConsumerRecord::decode(kind, key, value)?)),
        }
    }
}

fn written<M: Message>(message: &M, version: i16) -> Vec<u8> {
    let body =
        message.to_chain(version).expect("what the coordinator writes fits into its own format").to_bytes();
    let mut bytes = Vec::with_capacity(size_of::<i16>() + body.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn read<M: Message>(bytes: Bytes, version: i16) -> Result<M, RecordProblem> {
    M::from_bytes(bytes, version).map_err(RecordProblem::Malformed)
}

fn read_value<M: Message>(value: Option<&[u8]>) -> Result<Option<M>, RecordProblem> {
    let Some(value) = value else { return Ok(None) };
    let mut value = Bytes::copy_from_slice(value);
    let version = value.try_get_i16().map_err(|_| RecordProblem::NoKind)?;
    read(value, version).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn offset_value() -> OffsetCommitValue {
        OffsetCommitValue {
            offset: 42,
            leader_epoch: 3,
            metadata: "m".into(),
            commit_timestamp: 7,
            expire_timestamp: -1,
            topic_id: Uuid([9; 16]),
        }
    }

    fn key() -> OffsetCommitKey {
        OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 5 }
    }

    fn round_trip(record: &GroupRecord) -> GroupRecord {
        let (key, value) = record.encode();
        GroupRecord::decode(Some(&key), value.as_deref()).expect("what was written is read")
    }

    #[test]
    fn an_offset_is_written_as_kafka_writes_it() {
        let (key, value) = GroupRecord::Offset(key(), Some(offset_value())).encode();
        assert_eq!(key, [&[0, 1, 0, 1][..], b"g", &[0, 1], b"t", &[0, 0, 0, 5]].concat());
        let value = value.expect("an offset has a value");
        let head =
            [&[0, 4, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 3, 2][..], b"m", &[0, 0, 0, 0, 0, 0, 0, 7]].concat();
        let tags = [&[1, 0, 16][..], &[9; 16]].concat();
        assert_eq!(value, [head, tags].concat());
    }

    #[test]
    fn records_come_back_as_they_were() {
        let member = MemberMetadata {
            member_id: "m-1".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: 300_000,
            session_timeout: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"ass"),
        };
        let group = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            current_state_timestamp: 99,
            members: vec![member],
        };
        let named = GroupMetadataKey { group: "g".into() };
        for record in [
            GroupRecord::Offset(key(), Some(offset_value())),
            GroupRecord::Offset(key(), None),
            GroupRecord::Classic(named.clone(), Some(group)),
            GroupRecord::Classic(named, None),
        ] {
            assert_eq!(round_trip(&record), record);
        }
    }

    #[test]
    fn an_offset_that_expires_keeps_its_time() {
        let value = OffsetCommitValue { expire_timestamp: 1_000, ..offset_value() };
        let GroupRecord::Offset(_, Some(back)) = round_trip(&GroupRecord::Offset(key(), Some(value))) else {
            panic!("an offset with a value")
        };
        assert_eq!((back.expire_timestamp, back.offset, back.topic_id), (1_000, 42, Uuid::ZERO));
    }

    #[test]
    fn what_is_no_record_of_ours_says_why() {
        let problem = |key, value| GroupRecord::decode(key, value).expect_err("it is no record");
        assert_eq!(problem(None, None), RecordProblem::NoKind);
        assert_eq!(problem(Some(&[0]), None), RecordProblem::NoKind);
        assert_eq!(problem(Some(&[0, 99, 1]), None), RecordProblem::UnknownKind(99));
        assert!(matches!(problem(Some(&[0, 2, 0, 9]), None), RecordProblem::Malformed(_)));
        let (key, _) = GroupRecord::Offset(key(), None).encode();
        assert!(matches!(problem(Some(&key), Some(&[0, 9, 1])), RecordProblem::Malformed(_)));
    }
}
