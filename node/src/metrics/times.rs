//! Quantiles of recent times, in memory of a fixed size. One task counts, so an observation is one plain addition.

use std::time::Duration;

/// Steps between a power of two and the next: a step is an eighth of its lower end at most.
const STEPS: usize = 8;
/// Below this many microseconds every one has a step of its own.
const EXACT_US: u64 = 16;
/// Powers of two above [`EXACT_US`]; the last step takes all that is longer, from 9 hours on.
const POWERS: usize = 31;
const BUCKETS: usize = EXACT_US as usize + POWERS * STEPS;

/// The quantiles that Kafka's histograms have, in thousandths, with the spelling of the JMX exporter.
const QUANTILES: [(&str, u64); 6] =
    [("0.50", 500), ("0.75", 750), ("0.95", 950), ("0.98", 980), ("0.99", 990), ("0.999", 999)];

/// Times of the current window and the one before it.
#[derive(Debug, Clone)]
pub struct RecentTimes {
    current: Box<[u64; BUCKETS]>,
    previous: Box<[u64; BUCKETS]>,
}

impl RecentTimes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { current: Box::new([0; BUCKETS]), previous: Box::new([0; BUCKETS]) }
    }

    /// Something took so long.
    pub fn observe(&mut self, took: Duration) {
        self.current[bucket_of(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))] += 1;
    }

    /// Begins a window; the one before the last is forgotten.
    pub fn rotate(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.fill(0);
    }

    /// The quantiles of both windows in ms, by their label; nothing without an observation.
    #[must_use]
    pub fn quantiles_ms(&self) -> Vec<(&'static str, f64)> {
        let counts =
            || self.current.iter().zip(self.previous.iter()).map(|(current, previous)| current + previous);
        let all: u64 = counts().sum();
        if all == 0 {
            return Vec::new();
        }
        let value_at = |thousandths: u64| {
            let rank = (all * thousandths).div_ceil(1000);
            let mut seen = 0;
            let reaches = |count: u64| {
                seen += count;
                seen >= rank
            };
            middle_ms(counts().position(reaches).unwrap_or(BUCKETS - 1))
        };
        QUANTILES.iter().map(|&(label, thousandths)| (label, value_at(thousandths))).collect()
    }
}

impl Default for RecentTimes {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket_of(us: u64) -> usize {
    if us < EXACT_US {
        return us as usize;
    }
    let power = us.ilog2();
    let step = (us >> (power - STEPS.ilog2())) as usize % STEPS;
    (EXACT_US as usize + (power - EXACT_US.ilog2()) as usize * STEPS + step).min(BUCKETS - 1)
}

fn middle_ms(bucket: usize) -> f64 {
    let Some(above) = bucket.checked_sub(EXACT_US as usize) else { return bucket as f64 / 1000.0 };
    let width = (EXACT_US / STEPS as u64) << (above / STEPS);
    let lower = (STEPS + above % STEPS) as u64 * width;
    (lower as f64 + width as f64 / 2.0) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_belongs_there_and_its_middle_is_near() {
        for us in (0..5_000).chain((1..1_000).map(|at| at * 1_234_567)) {
            let shown_us = middle_ms(bucket_of(us)) * 1000.0;
            let off = (shown_us - us as f64).abs();
            assert!(off <= us as f64 * 0.07, "{us} is shown as {shown_us}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_the_last_two_windows() {
        let mut times = RecentTimes::new();
        assert!(times.quantiles_ms().is_empty());
        for at in 0..1000 {
            times.observe(Duration::from_micros(if at < 990 { 10 } else { 1_000_000 }));
        }
        let shown = times.quantiles_ms();
        let of = |label| shown.iter().find(|(name, _)| *name == label).unwrap().1;
        assert_eq!((of("0.50"), of("0.99")), (0.01, 0.01));
        assert!((930.0..1070.0).contains(&of("0.999")), "{shown:?}");
        times.rotate();
        assert_eq!(times.quantiles_ms(), shown);
        times.rotate();
        assert!(times.quantiles_ms().is_empty());
    }
}
