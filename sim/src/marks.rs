//! Coverage marks: things that must happen sometimes. A range of seeds in which one never happened proves nothing about it,
//! and says so (DESIGN 8).

/// Writes the enum, its list and its sentences from one table.
macro_rules! marks {
    ($($mark:ident $says:literal;)+) => {
        /// Something that a range of seeds must have seen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Mark {
            $(
                #[doc = $says]
                $mark,
            )+
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mark),+];

            /// What happened, in words.
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {
                    $(Self::$mark => $says,)+
                }
            }
        }
    };
}

marks! {
    TornTailCut "a torn tail was cut";
    DamageFound "recovery found damage below what was vouched for";
    PartitionGivenUp "a partition was given up by name";
    PageCacheSurvivedKill "unsynced bytes survived a process kill";
    PowerCutLostSectors "a power cut lost unsynced sectors";
    PowerCutTore "a power cut kept some sectors of a write and lost others";
    RecoveryRewrote "recovery rewrote a group under a new salt";
    RecoveryCrashed "a crash fell into a recovery";
    StepCutShort "a crash fell between two outputs of a step";
    FileRecycled "a journal file was recycled";
    SnapshotTaken "a snapshot was taken";
    RecoveredFromSnapshot "a node recovered from a snapshot";
    ReadFromTail "a fetch was filled from the tail cache";
    ReadFromJournal "a fetch was filled from a journal file";
    ReadFromSegment "a fetch was filled from a segment";
    LateFill "a file was released while a late fill still held it";
    DamageRefusedAtRead "a damaged batch was refused when it was read";
    DuplicateAnswered "a duplicate batch was answered like its original";
    OutOfOrderSequence "a gap in a producer's sequences was refused";
    LongPollWaited "a fetch waited for records";
    SessionUsed "an incremental fetch went through a session";
    SessionLost "a fetch session was not found";
    DiskFullRefused "an append was refused because the disk was full";
    EioHalted "a failed sync halted a node";
    CleanStop "a node stopped in order";
    CleanStart "a node recovered from an orderly stop";
    TopicDeleted "a topic was deleted";
    ChurnWritten "a record was written to a topic that comes and goes";
    OffsetsForgotten "offsets of a group were forgotten";
    GroupStable "a group's members were told what to read";
    GroupTuned "a member was told to let itself be heard as often as its group's own settings say";
    GroupSettingRefused "a setting that no group may have was refused";
    GroupLoaded "a coordinator loaded groups from its log";
    LogCompacted "a log was compacted";
    PassRefused "a log was another one when its cleaning pass ended";
    TableRead "a table was read whole, and each key had its last value";
    GroupsWithGaps "a coordinator passed over a record of groups that nobody could give back";
    CoordinatorMoved "a member found its group at another coordinator";
    ConsumerTold "a coordinator told a member of a consumer group what to read";
    PartitionsHandedOver "a member of a consumer group gave up partitions while others read on";
    MemberFenced "a member of a consumer group was expelled, and came back";
    InstanceUnreleased "a static member of a consumer group came back before its former self was expelled";
    GroupUpgraded "a classic group became a consumer group";
    GroupDowngraded "a consumer group became a classic group";
    CommitFenced "a commit of a former generation or of an expelled member was refused";
    StaticReturned "a static member came back to its place";
    RebalanceHeard "a member was called to a rebalance by its heartbeat";
    FilesDropped "a deleted topic's segments were removed";
    TopicRecreated "a topic was created again under its name";
    ClockJumped "a wall clock jumped";
    IntervalLoss "with flush=interval a power cut took acknowledged records";
    DurableMerged "one Durable told of several groups";
    ProducerRestarted "a producer gave up its batches and asked for a new id";
    NodePaused "a node stood still";
    MessageLost "a message between nodes was lost";
    MessageDoubled "a message between nodes came twice";
    MessageLate "a message between nodes was overtaken";
    TwoLeaders "two nodes led one partition at once, in different epochs";
    TwoQuorumLeaders "two nodes led the quorum at once, in different terms";
    IsrOfOne "an ISR shrank to one of several replicas";
    HasElr "a partition had eligible leader replicas outside of its ISR";
    DoubtsInMetadata "a replica in doubt was in the metadata";
    DoubtResolved "a log that was in doubt was trusted again";
    MetadataSnapshot "a snapshot of the metadata was installed";
    FollowerCut "a follower cut off records";
    LogReset "a log began anew";
    CopyMissedTombstones "a copy began anew, for its leader had dropped tombstones that it did not have";
    GapResend "a follower asked for what it missed";
    MinIsrRefused "a produce request was refused because too few replicas were in sync";
    Forwarded "a request was passed on to the controller";
    ElrElected "an eligible leader replica was elected";
    UncleanElected "a last known leader was elected though it may lack records";
    SessionReopened "a session was opened anew in its epoch";
    StaleDropped "a message for an earlier run of a node arrived";
    PausedLeader "a leader stood still and went on";
    FencedWithWaiters "a producer that waited was told that its leader is none any more";
    IdRefused "a broker asked to be registered under an id that another folder has";
    WaitedForFounding "voters waited for others to found a cluster";
    Undecided "a controller lost its office with requests undecided";
    RotFound "a batch could not be read back, and its copy of the log was given up";
    Wiped "a node lost its disk";
    VoterAdded "a voter was added";
    VoterRemoved "a voter was removed";
    VotersRolledBack "a change of the voters that was not committed was taken back";
    LeaderRemovesItself "a leader of the quorum began to remove itself";
    WipedVoterAdmitted "a node that had lost its disk became a voter again";
    RecordsDeleted "records were deleted from the front of a log";
    StartWithinBatch "a log's start fell within a batch";
    ResetAboveZero "a log began anew above offset 0";
    StartTakenOver "a leader took over a later start from a follower";
    PartitionMoved "a partition moved to other brokers";
    MoveTakenBack "a move of a partition was taken back";
    CopyLetGo "a broker let its copy of a partition go";
    TopicGrown "a topic got more partitions";
    RecordsExpired "records that were too old or too many went";
    HostileClosed "a frame that is no request, or none for clients, closed its connection";
    HostileLeft "somebody broke off with requests unanswered";
    RoleRefused "a fetch in the name of a node was refused";
    LogsMeasured "the sizes of logs were asked for";
    FolderReturned "a folder came back under an id that another one had by then";
}

/// How often each mark was hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Counts one.
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// How often a mark was hit.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Those that were never hit.
    pub fn missed(&self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(|&mark| self.count(mark) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_was_not_hit_is_missed() {
        let mut marks = Marks::default();
        assert_eq!(marks.missed().count(), Mark::ALL.len());
        marks.hit(Mark::CleanStop);
        let mut sum = Marks::default();
        sum.add(&marks);
        sum.add(&marks);
        assert_eq!(sum.count(Mark::CleanStop), 2);
        assert!(!sum.missed().any(|mark| mark == Mark::CleanStop));
    }
}
