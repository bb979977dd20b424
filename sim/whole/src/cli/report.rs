//! What a run came to, as it crosses from the process of a seed to the one that runs the range.

use crate::marks;
use crate::world::Outcome;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    /// What was found: the judge's name, and the verdict in words.
    pub(super) verdict: Option<(String, String)>,
    pub(super) virtual_us: u64,
    pub(super) busy_us: u64,
    pub(super) steps: u64,
    pub(super) acked: u64,
    pub(super) events: u64,
    pub(super) hash: u64,
    /// Marks in words with their counts.
    pub(super) marks: Vec<(String, u64)>,
    /// The last events.
    pub(super) last: Vec<String>,
}

impl Report {
    pub(super) fn of(seed: u64, outcome: &Outcome, busy: Duration) -> Self {
        let marks = marks::counts(&outcome.marks, &outcome.own);
        let verdict = outcome.verdict.as_ref();
        Self {
            seed,
            verdict: verdict.map(|verdict| (verdict.judge.name().to_owned(), verdict.to_string())),
            virtual_us: outcome.virtual_us,
            busy_us: u64::try_from(busy.as_micros()).unwrap_or(u64::MAX),
            steps: outcome.steps,
            acked: outcome.acked,
            events: outcome.trace.count(),
            hash: outcome.trace.hash(),
            marks: marks.into_iter().map(|(says, count)| (says.to_owned(), count)).collect(),
            last: outcome.trace.last().map(ToString::to_string).collect(),
        }
    }
}

/// Processor time of this process so far where the system tells it.
pub(super) fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}
