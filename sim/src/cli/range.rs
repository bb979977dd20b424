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
    let mut report = Report {
        keep_going: range.keep_going,
        progress: Progress::new(range.seeds.1 - range.seeds.0),
        out,
        err,
    };
    let sum = if range.jobs <= 1 { alone(range, &mut report) } else { together(range, &mut report) }
        .map_err(said)?;
    report.progress.clear(report.err);
    let out = report.out;
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
            if !range.keep_going {
                report_last(*seed, verdict, last, out).map_err(said)?;
            }
            report_command(*seed, range.common, out).map_err(said)?;
            Ok(FOUND)
        }
    }
}

/// Who is told while the range runs.
struct Report<'a> {
    keep_going: bool,
    progress: Progress,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Report<'_> {
    /// A run has ended. Failures are told at once where more may follow: an interrupted range has said what it found.
    fn on_run(&mut self, sum: &mut Sum, seed: u64, outcome: &Outcome, busy: Duration) -> std::io::Result<()> {
        sum.add(seed, outcome, busy);
        self.progress.show(sum, self.err);
        match &outcome.verdict {
            Some(verdict) if self.keep_going => {
                self.progress.clear(self.err);
                writeln!(self.out, "FOUND in seed {seed}: {verdict}")?;
                self.out.flush()
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn alone(range: &Range<'_>, report: &mut Report<'_>) -> std::io::Result<Sum> {
    let mut sum = Sum::default();
    for seed in range.seeds.0..range.seeds.1 {
        let begun = Stopwatch::start();
        let outcome = run_seed(range.common.scenario, seed, range.enabled, false);
        report.on_run(&mut sum, seed, &outcome, begun.elapsed())?;
        if !sum.found.is_empty() && !range.keep_going {
            break;
        }
    }
    Ok(sum)
}

/// Threads take seeds in order. A failure stops later seeds only, so that the least failing seed is reported however
/// many threads there are.
fn together(range: &Range<'_>, report: &mut Report<'_>) -> std::io::Result<Sum> {
    let next = AtomicU64::new(range.seeds.0);
    let stop = AtomicBool::new(false);
    let mut sum = Sum::default();
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
                    let begun = Stopwatch::start();
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
            report.on_run(&mut sum, seed, &outcome, busy)?;
        }
        Ok(sum)
    })
}

/// Processor time of this thread where the system tells it, time otherwise: a busy machine does not make a run slow.
struct Stopwatch {
    begun: Instant,
    on_processor: Option<Duration>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { begun: Instant::now(), on_processor: on_processor() }
    }

    fn elapsed(&self) -> Duration {
        match (self.on_processor, on_processor()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            (None, _) | (_, None) => self.begun.elapsed(),
        }
    }
}

/// What Linux counts for the calling thread, in ns, as the first number of this file.
fn on_processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
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
    for (judge, count) in by_judge {
        writeln!(out, "{count} seeds of {} were ended by {judge}", sum.seeds)?;
    }
    Ok(())
}

fn report_last(seed: u64, verdict: &Verdict, last: &[String], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "the last events of seed {seed}:")?;
    for line in last.iter().rev().take(30).rev() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "FOUND in seed {seed}: {verdict}")
}

/// The one command that runs a seed again, with the alias of the build that found it.
fn report_command(seed: u64, common: &Common, out: &mut dyn Write) -> std::io::Result<()> {
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
