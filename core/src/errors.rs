//! Kafka's error codes: all of Kafka 4.3, whether this broker sends them or not, because clients and tools print them by
//! name. What a request answers with which code is said where the request is decided.

use core::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal $name:literal;)+) => {
        /// An error code of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $code,)+
        }

        impl ErrorCode {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code with this number, if there is one.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Kafka's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

error_codes! {
    /// Something unforeseen.
    UnknownServerError = -1 "UNKNOWN_SERVER_ERROR";
    /// No error.
    #[default]
    None = 0 "NONE";
    /// The offset is below the log's start or above its end.
    OffsetOutOfRange = 1 "OFFSET_OUT_OF_RANGE";
    /// A batch has the wrong checksum or is malformed.
    CorruptMessage = 2 "CORRUPT_MESSAGE";
    /// No such topic or partition.
    UnknownTopicOrPartition = 3 "UNKNOWN_TOPIC_OR_PARTITION";
    /// A fetch size that makes no sense.
    InvalidFetchSize = 4 "INVALID_FETCH_SIZE";
    /// The partition has no leader at the moment.
    LeaderNotAvailable = 5 "LEADER_NOT_AVAILABLE";
    /// This broker does not lead the partition, or has no replica of it.
    NotLeaderOrFollower = 6 "NOT_LEADER_OR_FOLLOWER";
    /// The time allowed ran out.
    RequestTimedOut = 7 "REQUEST_TIMED_OUT";
    /// The broker is not there.
    BrokerNotAvailable = 8 "BROKER_NOT_AVAILABLE";
    /// The replica is not there.
    ReplicaNotAvailable = 9 "REPLICA_NOT_AVAILABLE";
    /// A batch is larger than the topic permits.
    MessageTooLarge = 10 "MESSAGE_TOO_LARGE";
    /// The request comes from a former controller.
    StaleControllerEpoch = 11 "STALE_CONTROLLER_EPOCH";
    /// The metadata committed with an offset is too long.
    OffsetMetadataTooLarge = 12 "OFFSET_METADATA_TOO_LARGE";
    /// The connection broke before the answer; only clients say so.
    NetworkException = 13 "NETWORK_EXCEPTION";
    /// The coordinator is reading its state.
    CoordinatorLoadInProgress = 14 "COORDINATOR_LOAD_IN_PROGRESS";
    /// There is no coordinator at the moment.
    CoordinatorNotAvailable = 15 "COORDINATOR_NOT_AVAILABLE";
    /// Another broker coordinates this.
    NotCoordinator = 16 "NOT_COORDINATOR";
    /// The topic's name is not permitted, or the topic is internal.
    InvalidTopicException = 17 "INVALID_TOPIC_EXCEPTION";
    /// The records are larger than a segment.
    RecordListTooLarge = 18 "RECORD_LIST_TOO_LARGE";
    /// The ISR is smaller than it must be; nothing was appended.
    NotEnoughReplicas = 19 "NOT_ENOUGH_REPLICAS";
    /// The ISR became smaller than it must be after the append.
    NotEnoughReplicasAfterAppend = 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND";
    /// `acks` is none of 0, 1, -1.
    InvalidRequiredAcks = 21 "INVALID_REQUIRED_ACKS";
    /// The group's generation is another one.
    IllegalGeneration = 22 "ILLEGAL_GENERATION";
    /// The member shares no protocol with the group.
    InconsistentGroupProtocol = 23 "INCONSISTENT_GROUP_PROTOCOL";
    /// The group id is not permitted.
    InvalidGroupId = 24 "INVALID_GROUP_ID";
    /// The group has no such member.
    UnknownMemberId = 25 "UNKNOWN_MEMBER_ID";
    /// The session timeout is outside the permitted range.
    InvalidSessionTimeout = 26 "INVALID_SESSION_TIMEOUT";
    /// The group is rebalancing: join again.
    RebalanceInProgress = 27 "REBALANCE_IN_PROGRESS";
    /// The offsets to be committed are too large.
    InvalidCommitOffsetSize = 28 "INVALID_COMMIT_OFFSET_SIZE";
    /// Not permitted on this topic.
    TopicAuthorizationFailed = 29 "TOPIC_AUTHORIZATION_FAILED";
    /// Not permitted on this group.
    GroupAuthorizationFailed = 30 "GROUP_AUTHORIZATION_FAILED";
    /// Not permitted on the cluster.
    ClusterAuthorizationFailed = 31 "CLUSTER_AUTHORIZATION_FAILED";
    /// A record's timestamp is out of the permitted range.
    InvalidTimestamp = 32 "INVALID_TIMESTAMP";
    /// No such SASL mechanism here.
    UnsupportedSaslMechanism = 33 "UNSUPPORTED_SASL_MECHANISM";
    /// The request does not fit the state of the authentication.
    IllegalSaslState = 34 "ILLEGAL_SASL_STATE";
    /// No such version of the API.
    UnsupportedVersion = 35 "UNSUPPORTED_VERSION";
    /// The topic exists.
    TopicAlreadyExists = 36 "TOPIC_ALREADY_EXISTS";
    /// A number of partitions below 1, or too small.
    InvalidPartitions = 37 "INVALID_PARTITIONS";
    /// A replication factor below 1, or above the number of brokers.
    InvalidReplicationFactor = 38 "INVALID_REPLICATION_FACTOR";
    /// An assignment of replicas that makes no sense.
    InvalidReplicaAssignment = 39 "INVALID_REPLICA_ASSIGNMENT";
    /// A configuration that makes no sense.
    InvalidConfig = 40 "INVALID_CONFIG";
    /// This node is not the controller.
    NotController = 41 "NOT_CONTROLLER";
    /// A request that makes no sense.
    InvalidRequest = 42 "INVALID_REQUEST";
    /// The record format cannot do this.
    UnsupportedForMessageFormat = 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT";
    /// The operator's policy forbids it.
    PolicyViolation = 44 "POLICY_VIOLATION";
    /// A producer's sequence number leaves a gap.
    OutOfOrderSequenceNumber = 45 "OUT_OF_ORDER_SEQUENCE_NUMBER";
    /// A producer's sequence number was there before.
    DuplicateSequenceNumber = 46 "DUPLICATE_SEQUENCE_NUMBER";
    /// A newer producer took over the id.
    InvalidProducerEpoch = 47 "INVALID_PRODUCER_EPOCH";
    /// The transaction's state does not permit it.
    InvalidTxnState = 48 "INVALID_TXN_STATE";
    /// The producer id is not the one of this transactional id.
    InvalidProducerIdMapping = 49 "INVALID_PRODUCER_ID_MAPPING";
    /// The transaction timeout is above the limit.
    InvalidTransactionTimeout = 50 "INVALID_TRANSACTION_TIMEOUT";
    /// Another change of the same transaction is under way.
    ConcurrentTransactions = 51 "CONCURRENT_TRANSACTIONS";
    /// The request comes from a former transaction coordinator.
    TransactionCoordinatorFenced = 52 "TRANSACTION_COORDINATOR_FENCED";
    /// Not permitted on this transactional id.
    TransactionalIdAuthorizationFailed = 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED";
    /// Security is switched off.
    SecurityDisabled = 54 "SECURITY_DISABLED";
    /// Not tried, because something else in the request failed.
    OperationNotAttempted = 55 "OPERATION_NOT_ATTEMPTED";
    /// The disk failed.
    KafkaStorageError = 56 "KAFKA_STORAGE_ERROR";
    /// No such log directory.
    LogDirNotFound = 57 "LOG_DIR_NOT_FOUND";
    /// The credentials are wrong.
    SaslAuthenticationFailed = 58 "SASL_AUTHENTICATION_FAILED";
    /// The broker knows nothing of this producer id.
    UnknownProducerId = 59 "UNKNOWN_PRODUCER_ID";
    /// The partition is being moved.
    ReassignmentInProgress = 60 "REASSIGNMENT_IN_PROGRESS";
    /// Delegation tokens are switched off.
    DelegationTokenAuthDisabled = 61 "DELEGATION_TOKEN_AUTH_DISABLED";
    /// No such delegation token.
    DelegationTokenNotFound = 62 "DELEGATION_TOKEN_NOT_FOUND";
    /// The delegation token belongs to somebody else.
    DelegationTokenOwnerMismatch = 63 "DELEGATION_TOKEN_OWNER_MISMATCH";
    /// Delegation tokens are not for connections like this one.
    DelegationTokenRequestNotAllowed = 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED";
    /// Not permitted on this delegation token.
    DelegationTokenAuthorizationFailed = 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED";
    /// The delegation token has expired.
    DelegationTokenExpired = 66 "DELEGATION_TOKEN_EXPIRED";
    /// No such kind of principal.
    InvalidPrincipalType = 67 "INVALID_PRINCIPAL_TYPE";
    /// The group has members.
    NonEmptyGroup = 68 "NON_EMPTY_GROUP";
    /// No such group.
    GroupIdNotFound = 69 "GROUP_ID_NOT_FOUND";
    /// No such fetch session.
    FetchSessionIdNotFound = 70 "FETCH_SESSION_ID_NOT_FOUND";
    /// The request is out of its fetch session's order.
    InvalidFetchSessionEpoch = 71 "INVALID_FETCH_SESSION_EPOCH";
    /// The leader has no listener of the client's kind.
    ListenerNotFound = 72 "LISTENER_NOT_FOUND";
    /// Deleting topics is switched off.
    TopicDeletionDisabled = 73 "TOPIC_DELETION_DISABLED";
    /// The leader epoch in the request is older than the broker's.
    FencedLeaderEpoch = 74 "FENCED_LEADER_EPOCH";
    /// The leader epoch in the request is newer than the broker's.
    UnknownLeaderEpoch = 75 "UNKNOWN_LEADER_EPOCH";
    /// The client cannot read this compression.
    UnsupportedCompressionType = 76 "UNSUPPORTED_COMPRESSION_TYPE";
    /// The request comes from a former incarnation of the broker.
    StaleBrokerEpoch = 77 "STALE_BROKER_EPOCH";
    /// The new leader's high watermark is not up to date yet.
    OffsetNotAvailable = 78 "OFFSET_NOT_AVAILABLE";
    /// Join again with the member id given.
    MemberIdRequired = 79 "MEMBER_ID_REQUIRED";
    /// The preferred leader is not there.
    PreferredLeaderNotAvailable = 80 "PREFERRED_LEADER_NOT_AVAILABLE";
    /// The group is full.
    GroupMaxSizeReached = 81 "GROUP_MAX_SIZE_REACHED";
    /// Another member took over the instance id.
    FencedInstanceId = 82 "FENCED_INSTANCE_ID";
    /// No replica may be elected.
    EligibleLeadersNotAvailable = 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE";
    /// The partition has the leader that it should have.
    ElectionNotNeeded = 84 "ELECTION_NOT_NEEDED";
    /// The partition is not being moved.
    NoReassignmentInProgress = 85 "NO_REASSIGNMENT_IN_PROGRESS";
    /// The group is subscribed to the topic.
    GroupSubscribedToTopic = 86 "GROUP_SUBSCRIBED_TO_TOPIC";
    /// A record was refused.
    InvalidRecord = 87 "INVALID_RECORD";
    /// Offsets of an open transaction are pending.
    UnstableOffsetCommit = 88 "UNSTABLE_OFFSET_COMMIT";
    /// A quota is used up.
    ThrottlingQuotaExceeded = 89 "THROTTLING_QUOTA_EXCEEDED";
    /// A newer producer took over the transactional id.
    ProducerFenced = 90 "PRODUCER_FENCED";
    /// What the request refers to does not exist.
    ResourceNotFound = 91 "RESOURCE_NOT_FOUND";
    /// The request names something twice.
    DuplicateResource = 92 "DUPLICATE_RESOURCE";
    /// The credential does not meet the demands.
    UnacceptableCredential = 93 "UNACCEPTABLE_CREDENTIAL";
    /// Sender or receiver is not one of the voters.
    InconsistentVoterSet = 94 "INCONSISTENT_VOTER_SET";
    /// The version of an update makes no sense.
    InvalidUpdateVersion = 95 "INVALID_UPDATE_VERSION";
    /// A feature could not be switched.
    FeatureUpdateFailed = 96 "FEATURE_UPDATE_FAILED";
    /// A forwarded principal is unreadable.
    PrincipalDeserializationFailure = 97 "PRINCIPAL_DESERIALIZATION_FAILURE";
    /// No such snapshot.
    SnapshotNotFound = 98 "SNAPSHOT_NOT_FOUND";
    /// The position is not within the snapshot.
    PositionOutOfRange = 99 "POSITION_OUT_OF_RANGE";
    /// No topic has this id.
    UnknownTopicId = 100 "UNKNOWN_TOPIC_ID";
    /// The broker id is in use.
    DuplicateBrokerRegistration = 101 "DUPLICATE_BROKER_REGISTRATION";
    /// The broker id is not registered.
    BrokerIdNotRegistered = 102 "BROKER_ID_NOT_REGISTERED";
    /// The log belongs to another topic id.
    InconsistentTopicId = 103 "INCONSISTENT_TOPIC_ID";
    /// The request is meant for another cluster.
    InconsistentClusterId = 104 "INCONSISTENT_CLUSTER_ID";
    /// No such transactional id.
    TransactionalIdNotFound = 105 "TRANSACTIONAL_ID_NOT_FOUND";
    /// The fetch session mixes topic ids and names.
    FetchSessionTopicIdError = 106 "FETCH_SESSION_TOPIC_ID_ERROR";
    /// The new ISR has a member that must not be in it.
    IneligibleReplica = 107 "INELIGIBLE_REPLICA";
    /// The change was made and brought a new leader.
    NewLeaderElected = 108 "NEW_LEADER_ELECTED";
    /// The offset is in tiered storage.
    OffsetMovedToTieredStorage = 109 "OFFSET_MOVED_TO_TIERED_STORAGE";
    /// The member's epoch is fenced: join again.
    FencedMemberEpoch = 110 "FENCED_MEMBER_EPOCH";
    /// Another member still has the instance id.
    UnreleasedInstanceId = 111 "UNRELEASED_INSTANCE_ID";
    /// The group has no such assignor.
    UnsupportedAssignor = 112 "UNSUPPORTED_ASSIGNOR";
    /// The member's epoch is old: try again after the next heartbeat.
    StaleMemberEpoch = 113 "STALE_MEMBER_EPOCH";
    /// The request went to the wrong kind of endpoint.
    MismatchedEndpointType = 114 "MISMATCHED_ENDPOINT_TYPE";
    /// No such kind of endpoint.
    UnsupportedEndpointType = 115 "UNSUPPORTED_ENDPOINT_TYPE";
    /// No such controller.
    UnknownControllerId = 116 "UNKNOWN_CONTROLLER_ID";
    /// No such telemetry subscription.
    UnknownSubscriptionId = 117 "UNKNOWN_SUBSCRIPTION_ID";
    /// Too much telemetry at once.
    TelemetryTooLarge = 118 "TELEMETRY_TOO_LARGE";
    /// The controller refuses the broker's registration.
    InvalidRegistration = 119 "INVALID_REGISTRATION";
    /// The transaction failed and can be aborted.
    TransactionAbortable = 120 "TRANSACTION_ABORTABLE";
    /// The record's state does not permit the acknowledgement.
    InvalidRecordState = 121 "INVALID_RECORD_STATE";
    /// No such share session.
    ShareSessionNotFound = 122 "SHARE_SESSION_NOT_FOUND";
    /// The request is out of its share session's order.
    InvalidShareSessionEpoch = 123 "INVALID_SHARE_SESSION_EPOCH";
    /// The share group's state epoch is another one.
    FencedStateEpoch = 124 "FENCED_STATE_EPOCH";
    /// The voter's key is not the receiver's.
    InvalidVoterKey = 125 "INVALID_VOTER_KEY";
    /// The voter is one already.
    DuplicateVoter = 126 "DUPLICATE_VOTER";
    /// No such voter.
    VoterNotFound = 127 "VOTER_NOT_FOUND";
    /// The regular expression cannot be read.
    InvalidRegularExpression = 128 "INVALID_REGULAR_EXPRESSION";
    /// The client's metadata is too old: start over from the bootstrap servers.
    RebootstrapRequired = 129 "REBOOTSTRAP_REQUIRED";
    /// The streams topology makes no sense.
    StreamsInvalidTopology = 130 "STREAMS_INVALID_TOPOLOGY";
    /// The streams topology's epoch makes no sense.
    StreamsInvalidTopologyEpoch = 131 "STREAMS_INVALID_TOPOLOGY_EPOCH";
    /// The streams topology's epoch is old.
    StreamsTopologyFenced = 132 "STREAMS_TOPOLOGY_FENCED";
    /// There are too many share sessions.
    ShareSessionLimitReached = 133 "SHARE_SESSION_LIMIT_REACHED";
}

impl ErrorCode {
    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn codes_are_contiguous_and_named_as_their_variants() {
        for (code, error) in (-1..).zip(ErrorCode::ALL) {
            assert_eq!(error.code(), code);
            assert_eq!(ErrorCode::from_code(code), Some(*error));
            let camel: String = error
                .name()
                .split('_')
                .flat_map(|word| word[..1].chars().chain(word[1..].chars().map(|c| c.to_ascii_lowercase())))
                .collect();
            assert_eq!(alloc::format!("{error:?}"), camel);
        }
        assert_eq!(ErrorCode::from_code(134), None);
        assert_eq!(ErrorCode::default(), ErrorCode::None);
    }
}
