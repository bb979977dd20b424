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

/// The exhibits that this build knows.
#[cfg(feature = "museum")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exhibit {
    /// KAFKA-10471: a crash while loading leaves the clean-shutdown mark, and recovery skips its checks.
    H3 = 1,
    /// PAR (FAST'18), NATS #7549: the first bad checksum truncates the rest of the log.
    H4,
    /// NATS #7567, Redpanda: an acknowledgement leaves before the sync.
    H5,
    /// Our own (SAFETY J2): recovery trusts what it read from the page cache.
    N3,
    /// Our own (SAFETY J1): old groups behind a cut come back.
    N5,
}

#[cfg(feature = "museum")]
mod switch {
    use super::Exhibit;
    use core::sync::atomic::{AtomicU8, Ordering};

    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    impl Exhibit {
        /// All exhibits, in the order of their names.
        pub const ALL: [Self; 5] = [Self::H3, Self::H4, Self::H5, Self::N3, Self::N5];

        /// The exhibit's name in the museum's list.
        #[must_use]
        pub fn name(self) -> &'static str {
            match self {
                Self::H3 => "H3",
                Self::H4 => "H4",
                Self::H5 => "H5",
                Self::N3 => "N3",
                Self::N5 => "N5",
            }
        }
    }

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
