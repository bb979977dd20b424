//! The judges: one file each, named after the invariant of INVARIANTS.md that it speaks for. A judge reads the [`oracle`]
//! and what a node did or answered; it says why something must not be, or nothing.
//!
//! * [`s1`] acked durability; * [`s6`] offset order; * [`s12`] an ack means durable copies; * [`s18`] recovery; * [`s24`] no
//!   silent corruption; * [`s25`] idempotence; * [`s29`] determinism.

pub mod oracle;
pub mod s1;
pub mod s12;
pub mod s18;
pub mod s24;
pub mod s25;
pub mod s29;
pub mod s6;

use crate::trace::NOWHERE;
use std::fmt;

/// Who found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Judge {
    /// Acked durability.
    S1,
    /// Offset order.
    S6,
    /// An ack means durable copies.
    S12,
    /// Recovery.
    S18,
    /// No silent corruption.
    S24,
    /// Idempotence.
    S25,
    /// Determinism.
    S29,
    /// Every request is answered once the faults have ended.
    L1,
    /// The core's own assertions.
    Panic,
}

impl Judge {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::S1, Self::S6, Self::S12, Self::S18, Self::S24, Self::S25, Self::S29, Self::L1, Self::Panic];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::S1 => "S1",
            Self::S6 => "S6",
            Self::S12 => "S12",
            Self::S18 => "S18",
            Self::S24 => "S24",
            Self::S25 => "S25",
            Self::S29 => "S29",
            Self::L1 => "L1",
            Self::Panic => "panic",
        }
    }

    /// What it watches over.
    #[must_use]
    pub fn watches(self) -> &'static str {
        match self {
            Self::S1 => "acked durability",
            Self::S6 => "offset order",
            Self::S12 => "an ack means durable copies",
            Self::S18 => "recovery",
            Self::S24 => "no silent corruption",
            Self::S25 => "idempotence",
            Self::S29 => "determinism",
            Self::L1 => "liveness after the faults",
            Self::Panic => "the core's own assertions",
        }
    }

    /// The judge of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|judge| judge.name().eq_ignore_ascii_case(name))
    }
}

/// Which judges may end a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enabled(u16);

impl Enabled {
    /// Every judge.
    #[must_use]
    pub fn all() -> Self {
        Self(u16::MAX)
    }

    /// Some of them; a panic ends a run in any case.
    #[must_use]
    pub fn only(judges: &[Judge]) -> Self {
        Self(judges.iter().chain(&[Judge::Panic]).fold(0, |set, &judge| set | 1 << judge as u8))
    }

    /// Whether a judge is among them.
    #[must_use]
    pub fn has(self, judge: Judge) -> bool {
        self.0 & (1 << judge as u8) != 0
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// By whom.
    pub judge: Judge,
    /// At which node, or [`NOWHERE`].
    pub node: u32,
    /// When, in virtual µs.
    pub at_us: u64,
    /// What it is.
    pub says: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        write!(f, "{} ({}) at {seconds}.{micros:06} s", self.judge.name(), self.judge.watches())?;
        if self.node != NOWHERE {
            write!(f, ", node {}", self.node)?;
        }
        write!(f, ": {}", self.says)
    }
}

/// Collects the first verdict of a run.
#[derive(Debug)]
pub struct Bench {
    enabled: Enabled,
    verdict: Option<Verdict>,
}

impl Bench {
    /// A bench of judges.
    #[must_use]
    pub fn new(enabled: Enabled) -> Self {
        Self { enabled, verdict: None }
    }

    /// Takes what a judge says.
    pub fn hear(&mut self, judge: Judge, node: u32, at_us: u64, said: Result<(), String>) {
        if let Err(says) = said
            && self.verdict.is_none()
            && self.enabled.has(judge)
        {
            self.verdict = Some(Verdict { judge, node, at_us, says });
        }
    }

    /// The verdict, if there is one.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Takes the verdict out.
    pub fn take(&mut self) -> Option<Verdict> {
        self.verdict.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_enabled_judge_is_heard() {
        let mut bench = Bench::new(Enabled::only(&[Judge::S1]));
        bench.hear(Judge::S12, 0, 1, Err("not asked".to_owned()));
        assert_eq!(bench.verdict(), None);
        bench.hear(Judge::S1, 2, 5, Err("lost".to_owned()));
        bench.hear(Judge::S1, 3, 6, Err("later".to_owned()));
        assert_eq!(bench.verdict().unwrap().node, 2);
        assert!(
            bench.take().unwrap().to_string().contains("S1 (acked durability) at 0.000005 s, node 2: lost")
        );
        assert_eq!(Judge::named("s18"), Some(Judge::S18));
    }
}
