//! The museum: historical mistakes as switches on the real code. An exhibit is one line at the decision it spoils:
//!
//! ```text
//! let acked = exhibit!(H5, durable.synced, durable.written);
//! ```
//!
//! Without the feature `museum` the wrong expression is not compiled at all. With it, one exhibit at most is switched on
//! for the whole process, by the simulator, before it runs anything.

/// The right expression, or the historical wrong one when the feature `museum` is on and the exhibit is switched on.
macro_rules! exhibit {
    ($name:ident, $right:expr, $wrong:expr) => {{
        #[cfg(feature = "museum")]
        {
            if $crate::museum::is_on($crate::museum::Exhibit::$name) { $wrong } else { $right }
        }
        #[cfg(not(feature = "museum"))]
        {
            $right
        }
    }};
}
pub(crate) use exhibit;

/// Writes the list of exhibits from one table.
#[cfg(feature = "museum")]
macro_rules! exhibits {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        /// The exhibits that this build knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Exhibit {
            /// None: the place before the first.
            #[doc(hidden)]
            Nothing,
            $($(#[$doc])* $name,)+
        }

        impl Exhibit {
            /// All exhibits, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The exhibit's name in the museum's list.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Nothing => "none",
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

#[cfg(feature = "museum")]
exhibits! {
    /// KIP-101, scenario 1: a follower cuts its log to its own high watermark.
    A1;
    /// KIP-279: where an epoch ends is answered without the epoch that it is of.
    A3;
    /// KAFKA-13141: the end that a follower names counts although its log was found to diverge.
    A11;
    /// Redpanda #17731: records that are all there already cut off what comes behind them.
    A12;
    /// Raft, figure 8: entries of older terms are committed by counting replicas.
    B2;
    /// KAFKA-7128: a follower joins the ISR at the high watermark, below the start of its leader's epoch.
    C1;
    /// KIP-497: the high watermark respects the ISR that was proposed, not the larger one that is in force.
    C2;
    /// KIP-966, last replica standing: the last of an ISR stays in it after an unclean stop.
    C5;
    /// min.insync.replicas is looked at before the append only.
    C7;
    /// KAFKA-10533: metadata counts as replicated before it is on disk.
    D1;
    /// Raft, figure 2: a vote leaves before it is on disk.
    D3;
    /// NATS #7038, TigerBeetle #2996: a wiped disk votes under its old id.
    D4;
    /// KAFKA-4529: a tombstone goes before readers had `delete.retention.ms` to see it.
    F5;
    /// KAFKA-3330: the cleaner goes by records that a truncation takes away.
    F6;
    /// Redpanda, compaction of adjacent segments: a start that moved meanwhile shifts what is replaced.
    F8;
    /// KAFKA-5247, without its transactions: commits are put in an order that is not the log's.
    G1;
    /// KAFKA-13636: offsets of a group expire while it rebalances.
    G2;
    /// KAFKA-8069: "no time of expiry" is loaded as a time, and long past.
    G3;
    /// KAFKA-17306: a tombstone of something that is not there ends the load of a group's log.
    G4;
    /// A zombie commits: nobody looks at its generation.
    G6;
    /// KAFKA-12890: nobody looks whether the leader of a group ever assigns.
    G7;
    /// KAFKA-10471: a crash while loading leaves the clean-shutdown mark, and recovery skips its checks.
    H3;
    /// PAR (FAST'18), NATS #7549: the first bad checksum truncates the rest of the log.
    H4;
    /// NATS #7567, Redpanda: an acknowledgement leaves before the sync.
    H5;
    /// Our own (SAFETY R2): a broker that comes back leads in the epoch that it had.
    N1;
    /// Our own (SAFETY Q1): a blank node founds a cluster that exists.
    N2;
    /// Our own (SAFETY J2): recovery trusts what it read from the page cache.
    N3;
    /// Our own (SAFETY R3): the high watermark moves below min.insync.replicas.
    N4;
    /// Our own (SAFETY J1): old groups behind a cut come back.
    N5;
}

#[cfg(feature = "museum")]
mod switch {
    use super::Exhibit;
    use core::sync::atomic::{AtomicU8, Ordering};

    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    /// Switches one exhibit on for the whole process, or all off.
    pub fn switch(exhibit: Option<Exhibit>) {
        ACTIVE.store(exhibit.map_or(0, |exhibit| exhibit as u8), Ordering::Relaxed);
    }

    /// Whether an exhibit is switched on: for the decisions that are spoilt outside of the core.
    #[must_use]
    pub fn is_on(exhibit: Exhibit) -> bool {
        ACTIVE.load(Ordering::Relaxed) == exhibit as u8
    }
}

#[cfg(feature = "museum")]
pub use switch::{is_on, switch};
