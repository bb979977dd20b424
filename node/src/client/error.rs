//! What can go wrong between this client and a broker, as sentences that say what to do next.

use std::io;
use std::time::Duration;

use seedlog_core::errors::ErrorCode;
use seedlog_core::records::{BatchError, RecordError};
use seedlog_core::wire::{ApiKey, VersionRange, WireError};

use crate::codec::CodecError;

/// What can go wrong between this client and a broker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// An address that is not `host:port`.
    #[error("{address}: is no broker address; write host:port, such as 127.0.0.1:9092")]
    Address {
        /// What stood there.
        address: String,
    },
    /// No connection to a broker.
    #[error(
        "cannot connect to {address}: {reason}; check that a broker runs there, or name another one with --bootstrap-server"
    )]
    Connect {
        /// Whom the client tried to reach.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// The connection broke, or was closed by the broker.
    #[error("{address} closed the connection: {reason}; see the broker's log")]
    Closed {
        /// The broker.
        address: String,
        /// How it ended.
        reason: String,
    },
    /// A request was not answered in time.
    #[error("{address} did not answer {} within {} ms; check the broker's load, or raise the timeout", api.name(), timeout.as_millis())]
    Timeout {
        /// The broker.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// How long the client waited.
        timeout: Duration,
    },
    /// The broker sends what is not Kafka's protocol, or breaks it.
    #[error(
        "{address} does not speak Kafka's protocol correctly: {reason}; check that the port is a Kafka listener without TLS"
    )]
    Protocol {
        /// The broker.
        address: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// No version of an API that both sides speak.
    #[error("{address} serves {} in versions {theirs}, this client speaks {ours}; use a broker or client of another version", api.name())]
    NoCommonVersion {
        /// The broker.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// The versions here.
        ours: VersionRange,
        /// The versions there, or "none".
        theirs: String,
    },
    /// A request that cannot be written in the version that the broker speaks.
    #[error(
        "the request cannot be sent to this broker: {0}; leave that out, or use a broker of another version"
    )]
    Unwritable(#[from] WireError),
    /// The broker refuses.
    #[error("{what}: {}{}{}", code_name(*code), message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default(), advice(*code))]
    Broker {
        /// What was refused.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// A record batch cannot be read.
    #[error(
        "{partition} at offset {offset}: {reason}; read past it with --offset, and check the broker's disk"
    )]
    Corrupt {
        /// Topic and partition.
        partition: String,
        /// The batch's first offset.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// The partition does not exist.
    #[error("{topic} has no partition {partition}; it has partitions 0 to {last}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// The last one that exists.
        last: i32,
    },
    /// Records could not be delivered in time.
    #[error("{partition}: not acknowledged within {} ms, and whether the records were written is unknown; last error: {last}", timeout.as_millis())]
    DeliveryTimeout {
        /// Topic and partition.
        partition: String,
        /// How long the producer tried.
        timeout: Duration,
        /// Why the last attempt failed.
        last: Box<Self>,
    },
}

/// The result of talking to a broker.
pub type Result<T> = std::result::Result<T, ClientError>;

impl ClientError {
    /// A refusal by the broker; `Ok` for code 0.
    pub fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<()> {
        if code == ErrorCode::None.code() {
            return Ok(());
        }
        Err(Self::Broker { what: what(), code, message: message.map(str::to_owned) })
    }

    /// The broker's error code, if it is a refusal.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        if let Self::Broker { code, .. } = self { ErrorCode::from_code(*code) } else { None }
    }

    /// What went wrong without the advice that a command gives: for who has better advice.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Connect { reason, .. } | Self::Closed { reason, .. } | Self::Protocol { reason, .. } => {
                reason.clone()
            }
            Self::Address { .. }
            | Self::Timeout { .. }
            | Self::NoCommonVersion { .. }
            | Self::Unwritable(_)
            | Self::Broker { .. }
            | Self::Corrupt { .. }
            | Self::NoPartition { .. }
            | Self::DeliveryTimeout { .. } => self.to_string(),
        }
    }

    /// Whether the same request may succeed later, perhaps at another broker.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Closed { .. } | Self::Timeout { .. } => true,
            Self::Broker { code, .. } => is_transient(*code),
            Self::Address { .. }
            | Self::Protocol { .. }
            | Self::NoCommonVersion { .. }
            | Self::Unwritable(_)
            | Self::Corrupt { .. }
            | Self::NoPartition { .. }
            | Self::DeliveryTimeout { .. } => false,
        }
    }
}

/// Kafka's retriable errors, as far as the APIs used here return them.
fn is_transient(code: i16) -> bool {
    use ErrorCode as E;
    const TRANSIENT: &[ErrorCode] = &[
        E::UnknownTopicOrPartition,
        E::LeaderNotAvailable,
        E::NotLeaderOrFollower,
        E::RequestTimedOut,
        E::BrokerNotAvailable,
        E::ReplicaNotAvailable,
        E::NetworkException,
        E::CoordinatorLoadInProgress,
        E::CoordinatorNotAvailable,
        E::NotCoordinator,
        E::NotEnoughReplicas,
        E::NotEnoughReplicasAfterAppend,
        E::NotController,
        E::KafkaStorageError,
        E::FencedLeaderEpoch,
        E::UnknownLeaderEpoch,
        E::OffsetNotAvailable,
        E::PreferredLeaderNotAvailable,
        E::EligibleLeadersNotAvailable,
        E::UnknownTopicId,
        E::InconsistentTopicId,
        E::ConcurrentTransactions,
        E::ThrottlingQuotaExceeded,
    ];
    TRANSIENT.iter().any(|transient| transient.code() == code)
}

fn code_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error code {code}"), |code| code.name().to_owned())
}

/// What a person can do about the errors that are met most.
fn advice(code: i16) -> &'static str {
    use ErrorCode as E;
    const ADVICE: &[(ErrorCode, &str)] = &[
        (E::UnknownTopicOrPartition, "; `seedlog topic list` shows what there is"),
        (E::TopicAlreadyExists, "; add --if-not-exists to accept that"),
        (E::InvalidTopicException, "; use letters, digits, '.', '_' and '-', 249 of them at most"),
        (E::InvalidPartitions, "; ask for at least one partition"),
        (E::InvalidReplicationFactor, "; ask for no more replicas than there are brokers"),
        (E::InvalidConfig, "; check each --config key=value"),
        (E::NotEnoughReplicas, "; too few replicas are in sync: start the missing brokers, then try again"),
        (
            E::NotEnoughReplicasAfterAppend,
            "; too few replicas are in sync: start the missing brokers, then try again",
        ),
        (
            E::LeaderNotAvailable,
            "; start the brokers that hold the partition, or see their logs: they may have lost records",
        ),
        (E::MessageTooLarge, "; send smaller records, or raise the topic's max.message.bytes"),
        (E::RecordListTooLarge, "; lower --batch-bytes"),
        (E::OffsetOutOfRange, "; `seedlog topic describe` shows the offsets that exist"),
        (
            E::OutOfOrderSequenceNumber,
            "; the broker lost records of this producer: check what arrived before sending again",
        ),
        (E::KafkaStorageError, "; its disk is full or has lost records: the broker's log says which"),
        (E::UnsupportedCompressionType, "; choose another --compression-codec"),
        (E::TopicAuthorizationFailed, "; ask for permission on the topic"),
        (E::ClusterAuthorizationFailed, "; ask for permission on the cluster"),
        (E::InvalidReplicaAssignment, "; name brokers that exist, each once for a partition"),
        (E::PolicyViolation, "; the cluster's rules forbid it: ask for what they allow"),
        (E::NoReassignmentInProgress, "; nothing moves there, so nothing is to be done"),
        (E::ElectionNotNeeded, "; it is led as it should be, so nothing is to be done"),
        (E::UnsupportedVersion, "; use a broker that is new enough for it"),
        (E::NonEmptyGroup, "; stop its members first"),
        (E::GroupIdNotFound, "; `seedlog group list` shows what there is"),
        (E::InvalidGroupId, "; give the group a name"),
        (E::GroupAuthorizationFailed, "; ask for permission on the group"),
        (E::GroupMaxSizeReached, "; as many are in it as the brokers' group.max.size allows"),
        (
            E::InconsistentGroupProtocol,
            "; its members assign in ways that this client does not know: choose another group",
        ),
        (
            E::InvalidSessionTimeout,
            "; keep --session-timeout-ms between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms",
        ),
        (E::FencedInstanceId, "; another process has joined with this --group-instance-id: end one of them"),
        (E::InvalidTimestamp, "; check the records' times and the topic's message.timestamp settings"),
    ];
    let known = ADVICE.iter().find(|(known, _)| known.code() == code);
    known.map_or_else(|| if is_transient(code) { SETTLES } else { SEE_LOG }, |(_, advice)| advice)
}

const SETTLES: &str =
    "; try again: it passes when the cluster has settled, and `seedlog cluster health` says what it lacks";
const SEE_LOG: &str = "; the broker's log may say more";

/// Why a batch that was fetched cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CorruptBatch {
    /// Its header or checksum is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its payload cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A record in it is wrong.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ClientError {
    /// The error of a connection attempt.
    pub(super) fn connect(address: &str, error: &io::Error) -> Self {
        Self::Connect { address: address.to_owned(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_code_and_what_to_do() {
        let error =
            ClientError::check(36, Some("Topic 'a' already exists."), || "topic a".to_owned()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "topic a: TOPIC_ALREADY_EXISTS (Topic 'a' already exists.); add --if-not-exists to accept that"
        );
        assert_eq!(error.code(), Some(ErrorCode::TopicAlreadyExists));
        assert!(!error.is_transient());
        let error = ClientError::check(999, None, || "topic a".to_owned()).unwrap_err();
        assert_eq!(error.to_string(), "topic a: error code 999; the broker's log may say more");
        assert!(ClientError::check(6, None, String::new).unwrap_err().is_transient());
        ClientError::check(0, None, String::new).unwrap();
    }
}
