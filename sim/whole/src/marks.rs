//! What a range of seeds must have seen here: the bare world's marks as far as this world can hit them, and its own.
//!
//! Left out are those that are about the bare world's model of a driver; those of single messages: on a stream none is lost,
//! doubled or overtaken, and which batch a node could not put into a queue it tells nobody; those of hostile clients, whose frames
//! are drawn for the bare world's connections; and those of changes of the voters that
//! an operator asks for, which nobody outside of the core can do yet.

use seedlog_sim::marks::{Mark, Marks};

/// Marks of the bare world that this one cannot see, or too seldom for a range: the last one needs damage in the only copy of a
/// group's log, in a run without compaction.
pub const NOT_HERE: &[Mark] = &[
    Mark::ReadFromTail,
    Mark::LateFill,
    Mark::DurableMerged,
    Mark::MessageLost,
    Mark::MessageDoubled,
    Mark::MessageLate,
    Mark::VotersRolledBack,
    Mark::LeaderRemovesItself,
    Mark::HostileClosed,
    Mark::HostileLeft,
    Mark::RoleRefused,
    Mark::LogsMeasured,
    Mark::PassRefused,
    Mark::GroupsWithGaps,
];

/// Writes the enum and its words from one table.
macro_rules! marks {
    ($($mark:ident $says:literal;)+) => {
        /// Something that only this world can see.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Own {
            $(
                #[doc = $says]
                $mark,
            )+
        }

        impl Own {
            /// What happened, in words.
            pub const SAYS: &[&str] = &[$($says),+];
        }
    };
}

marks! {
    ResetMidFrame "a connection was reset in mid-frame";
    CutHeldBytes "bytes waited behind a cut link and arrived when it healed";
    HalfOpen "a client vanished without a word";
    ConnectRefused "a client found nobody listening";
    ConnectTimedOut "a client's connection attempt found no answer";
    WriterWaited "a writer waited for a reader";
    SlowReader "a client read a few bytes at a time";
    DeadPeerWritten "bytes were sent to a machine that had lost power";
    WriteCutByKill "a kill fell into a write of the disk";
    WriteCutByPower "a power cut fell into a write of the disk";
    PassCutByPower "a power cut fell into a cleaning pass";
    NameLost "a power cut undid the creation, renaming or removal of a name";
    NoSpace "the disk refused to allocate";
    BackgroundSyncFailed "a sync of segments or snapshots failed";
    StartFailedByDisk "a start was ended by a failing disk";
    ColdReadPartial "a cold read was under way when the process died";
    LinkBroken "both ends of a link were told that its connections are broken";
    PeerResetMidFrame "a stream between nodes was reset in mid-frame";
    PeerBytesHeld "bytes between nodes waited behind a cut link and arrived when it healed";
    PeerConnectRefused "a node found nobody listening where another one should be";
    PeerConnectTimedOut "a node's attempt to connect to another one found no answer";
    PeerWriterWaited "a node waited for another one to read";
    PeerLost "a node was told that another one cannot be reached";
    PeerBack "a node was told that another one is back";
    ControllerMoved "another node became the controller";
    LeaderMoved "another node became the leader of a partition";
    IsrShrank "a replica left an ISR";
    IsrGrew "a replica came back into an ISR";
}

/// Counts of a run, by words: what crosses between processes.
#[derive(Debug, Clone, Default)]
pub struct OwnMarks([u64; Own::SAYS.len()]);

impl OwnMarks {
    /// Counts one.
    pub fn hit(&mut self, mark: Own) {
        self.0[mark as usize] += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// All with their words.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Own::SAYS.iter().copied().zip(self.0)
    }
}

/// Every mark that this world can hit with its count in a run.
pub fn counts(bare: &Marks, own: &OwnMarks) -> Vec<(&'static str, u64)> {
    let of_bare = Mark::ALL.iter().filter(|mark| !NOT_HERE.contains(mark));
    of_bare.map(|&mark| (mark.says(), bare.count(mark))).chain(own.all()).collect()
}
