//! `run`: a range of seeds, one seed at a time a thread, with progress, coverage and the first failure.

use super::{CLEAN, Common, FOUND, said};
use crate::judges::{Enabled, Verdict};
use crate::marks::{Mark, Marks};
use crate::run::run_seed;
use crate::world::Outcome;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What `run` was asked for.
pub(super) struct Range<'a> {
    pub(super) seeds: (u64, u64),
    pub(super) jobs: usize,
    pub(super) keep_going: bool,
    pub(super) enabled: Enabled,
    pub(super) common: &'a Common,
}

/// The sum over all seeds so far.
#[derive(Default)]
struct Sum {
    seeds: u64,
    virtual_us: u64,
    busy: Duration,
    steps: u64,
    acked: u64,
    marks: Marks,
    found: BTreeMap<u64, (Verdict, Vec<String>)>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome, busy: Duration) {
        self.seeds += 1;
        self.virtual_us += outcome.virtual_us;
        self.busy += busy;
        self.steps += outcome.steps;
        self.acked += outcome.acked;
        self.marks.add(&outcome.marks);
        if let Some(verdict) = &outcome.verdict {
            let last = outcome.trace.last().map(ToString::to_string).collect();
            self.found.insert(seed, (verdict.clone(), last));
        }
    }

    fn speed(&self) -> String {
        let seconds = self.busy.as_secs_f64().max(1e-9);
        let hours = self.virtual_us as f64 / 1e6 / seconds;
        format!("{:.0} seeds/s a core, {hours:.0} simulated hours per CPU-hour", self.seeds as f64 / seconds)
    }
}

pub(super) fn run(range: &Range<'_>, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, String> {
    let begun = Instant::now();
    let sum = if range.jobs <= 1 { alone(range, err) } else { together(range, err) };
    let Sum { seeds, acked, steps, .. } = sum;
    writeln!(
        out,
        "{seeds} seeds in {:.1} s: {}, {steps} steps, {acked} batches acknowledged",
        begun.elapsed().as_secs_f64(),
        sum.speed()
    )
    .map_err(said)?;
    report_marks(&sum.marks, out).map_err(said)?;
    if range.keep_going {
        report_counts(&sum, out).map_err(said)?;
    }
    match sum.found.first_key_value() {
        None => {
            writeln!(out, "nothing found").map_err(said)?;
            Ok(CLEAN)
        }
        Some((seed, (verdict, last))) => {
            report_failure(*seed, verdict, last, range.common, out).map_err(said)?;
            Ok(FOUND)
        }
    }
}

fn alone(range: &Range<'_>, err: &mut dyn Write) -> Sum {
    let mut sum = Sum::default();
    let mut progress = Progress::new(range.seeds.1 - range.seeds.0);
    for seed in range.seeds.0..range.seeds.1 {
        let begun = Instant::now();
        let outcome = run_seed(range.common.scenario, seed, range.enabled, false);
        sum.add(seed, &outcome, begun.elapsed());
        progress.show(&sum, err);
        if !sum.found.is_empty() && !range.keep_going {
            break;
        }
    }
    progress.clear(err);
    sum
}

/// Threads take seeds in order. A failure stops later seeds only, so that the least failing seed is reported however
/// many threads there are.
fn together(range: &Range<'_>, err: &mut dyn Write) -> Sum {
    let next = AtomicU64::new(range.seeds.0);
    let stop = AtomicBool::new(false);
    let mut sum = Sum::default();
    let mut progress = Progress::new(range.seeds.1 - range.seeds.0);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        for _ in 0..range.jobs {
            let send = send.clone();
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= range.seeds.1 {
                        break;
                    }
                    let begun = Instant::now();
                    let outcome = run_seed(range.common.scenario, seed, range.enabled, false);
                    if outcome.verdict.is_some() && !range.keep_going {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if send.send((seed, outcome, begun.elapsed())).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (seed, outcome, busy) in receive {
            sum.add(seed, &outcome, busy);
            progress.show(&sum, err);
        }
    });
    progress.clear(err);
    sum
}

fn report_marks(marks: &Marks, out: &mut dyn Write) -> std::io::Result<()> {
    for &mark in Mark::ALL {
        let count = marks.count(mark);
        let flag = if count == 0 { "  <- never" } else { "" };
        writeln!(out, "  {count:>9}  {}{flag}", mark.says())?;
    }
    let missed = marks.missed().count();
    if missed > 0 {
        writeln!(out, "{missed} coverage marks were missed: this range says nothing about them")?;
    }
    Ok(())
}

fn report_counts(sum: &Sum, out: &mut dyn Write) -> std::io::Result<()> {
    let mut by_judge: BTreeMap<&str, u64> = BTreeMap::new();
    for (verdict, _) in sum.found.values() {
        *by_judge.entry(verdict.judge.name()).or_insert(0) += 1;
    }
    for (seed, (verdict, _)) in &sum.found {
        writeln!(out, "seed {seed}: {verdict}")?;
    }
    for (judge, count) in by_judge {
        writeln!(out, "{count} seeds of {} were ended by {judge}", sum.seeds)?;
    }
    Ok(())
}

fn report_failure(
    seed: u64,
    verdict: &Verdict,
    last: &[String],
    common: &Common,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    writeln!(out, "the last events of seed {seed}:")?;
    for line in last.iter().rev().take(30).rev() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "FOUND in seed {seed}: {verdict}")?;
    let alias = if common.exhibit.is_some() { "cargo sim" } else { "cargo sim-clean" };
    let words = super::arguments(common);
    let space = if words.is_empty() { "" } else { " " };
    writeln!(out, "replay it: {alias} replay {seed}{space}{}", words.join(" "))
}

/// One line that is overwritten on a terminal, one every ten seconds elsewhere.
struct Progress {
    of: u64,
    begun: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    fn new(of: u64) -> Self {
        let now = Instant::now();
        Self { of, begun: now, shown: now, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, sum: &Sum, err: &mut dyn Write) {
        let every = if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let (start, end) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        let seconds = self.begun.elapsed().as_secs();
        let line = format!("{start}{} of {} seeds, {seconds} s, {}{end}", sum.seeds, self.of, sum.speed());
        // Progress is a courtesy: where it cannot be shown the run goes on.
        let _ = err.write_all(line.as_bytes()).and_then(|()| err.flush());
    }

    fn clear(&self, err: &mut dyn Write) {
        if self.terminal {
            let _ = err.write_all(b"\r\x1b[K");
        }
    }
}
