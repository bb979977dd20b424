//! The judges: one file each, named after the invariant of INVARIANTS.md that it speaks for. A judge reads what one folder
//! holds ([`oracle`]), what the cluster has promised ([`truth`]), and what a node did or answered; it says why something must
//! not be, or nothing. [`sight`] tells what a step changed, [`witness`] asks what concerns one node; who else is asked, and when, is
//! the world's (`world::watch`).

pub mod assembly;
pub mod groups;
pub mod history;
pub mod l3;
pub mod l4;
pub mod l8;
pub mod node_log;
pub mod oracle;
pub mod q1;
pub mod s1;
pub mod s11;
pub mod s12;
pub mod s13;
pub mod s14;
pub mod s15;
pub mod s16;
pub mod s18;
pub mod s19;
pub mod s2;
pub mod s20;
pub mod s22;
pub mod s23;
pub mod s24;
pub mod s25;
pub mod s26;
pub mod s27;
pub mod s29;
pub mod s3;
pub mod s32;
pub mod s33;
pub mod s4;
pub mod s5;
pub mod s6;
pub mod s7;
pub mod s8;
pub mod s9;
pub mod shadow;
pub mod sight;
pub mod truth;
pub mod witness;

use crate::history::History;
use crate::trace::NOWHERE;
use std::fmt;
use truth::Truth;

/// Writes the enum, its list, names and sentences from one table.
macro_rules! judges {
    ($($judge:ident $name:literal $watches:literal;)+) => {
        /// Who found something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Judge {
            $(
                #[doc = $watches]
                $judge,
            )+
        }

        impl Judge {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$judge),+];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$judge => $name,)+
                }
            }

            /// What it watches over.
            #[must_use]
            pub fn watches(self) -> &'static str {
                match self {
                    $(Self::$judge => $watches,)+
                }
            }
        }
    };
}

judges! {
    S1 "S1" "acked durability";
    S2 "S2" "log matching";
    S3 "S3" "leader completeness";
    S4 "S4" "the high watermark";
    S5 "S5" "the high watermark is backed by copies";
    S6 "S6" "offset order";
    S7 "S7" "no truncation below the true high watermark";
    S8 "S8" "candidates have everything";
    S9 "S9" "the epoch cache";
    S11 "S11" "epochs only grow";
    S12 "S12" "an ack means durable copies";
    S13 "S13" "the metadata is well formed";
    S14 "S14" "a topic's records under its own id";
    S15 "S15" "replay of the metadata is deterministic";
    S16 "S16" "one leader a term, votes on disk";
    S18 "S18" "recovery";
    S19 "S19" "a coordinator's memory is its log";
    S20 "S20" "compaction keeps the last value of each key";
    S21 "S21" "no deleted key comes back";
    S22 "S22" "committed offsets";
    S23 "S23" "one owner a partition, none of a former generation";
    S24 "S24" "no silent corruption";
    S25 "S25" "idempotence";
    S26 "S26" "a client is no node";
    S27 "S27" "what is held for clients has limits";
    S29 "S29" "determinism";
    S31 "S31" "nobody leads in an epoch older than its start";
    S32 "S32" "acknowledged ends are checked prefixes";
    S33 "S33" "no byte leaves under another name";
    Q1 "Q1" "one cluster is founded, once";
    L1 "L1" "every request ends after the faults";
    L2 "L2" "ISR changes complete";
    L3 "L3" "live replicas rejoin, logs become equal";
    L4 "L4" "one stable controller";
    L7 "L7" "every group becomes stable";
    L8 "L8" "live brokers are unfenced";
    L10 "L10" "shutdown ends";
    History "history" "what all clients saw fits together";
    Panic "panic" "the core's own assertions";
}

impl Judge {
    /// The judge of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|judge| judge.name().eq_ignore_ascii_case(name))
    }
}

/// Which judges may end a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enabled(u64);

const _: () = assert!(Judge::ALL.len() < 64);

impl Enabled {
    /// Every judge.
    #[must_use]
    pub fn all() -> Self {
        Self(u64::MAX)
    }

    /// Some of them. A panic ends a run in any case, but it is only told if it is among them: an exhibit is to be found by the
    /// judge that is named for it.
    #[must_use]
    pub fn only(judges: &[Judge]) -> Self {
        Self(judges.iter().fold(0, |set, &judge| set | 1 << judge as u8))
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

/// Collects the first verdict of a run, and what clients say.
#[derive(Debug)]
pub struct Bench {
    enabled: Enabled,
    verdict: Option<Verdict>,
    /// What clients asked for and saw.
    pub history: History,
}

impl Bench {
    /// A bench of judges.
    #[must_use]
    pub fn new(enabled: Enabled) -> Self {
        Self { enabled, verdict: None, history: History::default() }
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

    /// The run has come to its end without a verdict: the clients' history is judged.
    pub fn judge_history(&mut self, truth: &Truth, at_us: u64) {
        self.history.close(truth);
        if self.verdict.is_none() && self.enabled.has(Judge::History) {
            let said = history::check(&self.history);
            self.hear(Judge::History, NOWHERE, at_us, said);
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
