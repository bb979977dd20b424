//! `run`: a range of seeds, each in a process of its own, with coverage and the first failure.

use super::report::Report;
use super::{Common, arguments, code, said};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What `run` was asked for.
pub(super) struct Range<'a> {
    pub(super) seeds: (u64, u64),
    pub(super) jobs: usize,
    pub(super) keep_going: bool,
    pub(super) all_marks: bool,
    pub(super) common: &'a Common,
}

/// The sum over all seeds so far.
#[derive(Default)]
struct Sum {
    seeds: u64,
    virtual_us: u64,
    busy_us: u64,
    steps: u64,
    acked: u64,
    /// In the order of the first report.
    marks: Vec<(String, u64)>,
    found: Vec<Report>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.virtual_us += report.virtual_us;
        self.busy_us += report.busy_us;
        self.steps += report.steps;
        self.acked += report.acked;
        if self.marks.is_empty() {
            self.marks.clone_from(&report.marks);
        } else {
            for ((_, mine), (_, theirs)) in self.marks.iter_mut().zip(&report.marks) {
                *mine += theirs;
            }
        }
        if report.verdict.is_some() {
            self.found.push(report);
        }
    }
}

pub(super) fn run(range: &Range<'_>, out: &mut dyn Write) -> Result<u8, String> {
    let begun = Instant::now();
    let mut sum = Sum::default();
    let mut next = range.seeds.0;
    let mut running: VecDeque<(u64, Child)> = VecDeque::new();
    // Seeds are reported in order, so that the least failing one is named however many processes there are.
    while range.keep_going || sum.found.is_empty() {
        while running.len() < range.jobs.max(1) && next < range.seeds.1 {
            running.push_back((next, start(next, range.common)?));
            next += 1;
        }
        let Some((seed, child)) = running.pop_front() else { break };
        let report = wait(seed, child)?;
        if let Some((_, says)) = &report.verdict {
            writeln!(out, "FOUND in seed {seed}: {says}").and_then(|()| out.flush()).map_err(said)?;
        }
        sum.add(report);
    }
    for (_, mut child) in running {
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().map_err(said)?;
    }
    let missed = tell(range, &sum, begun.elapsed().as_secs_f64(), out).map_err(said)?;
    Ok(code(!sum.found.is_empty() || (range.all_marks && missed > 0)))
}

fn start(seed: u64, common: &Common) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(said)?;
    let mut command = Command::new(program);
    command.arg("one").arg(seed.to_string()).args(arguments(common));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(said)
}

fn wait(seed: u64, child: Child) -> Result<Report, String> {
    let output = child.wait_with_output().map_err(said)?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("the process of seed {seed} ended with {}: {says}", output.status)
    })
}

/// Gives back how many marks were missed.
fn tell(range: &Range<'_>, sum: &Sum, seconds: f64, out: &mut dyn Write) -> std::io::Result<usize> {
    let busy = sum.busy_us.max(1) as f64;
    writeln!(
        out,
        "{} seeds in {seconds:.1} s: {:.1} seeds/s a core, {:.0} simulated hours per CPU-hour, {} steps, {} batches \
         acknowledged",
        sum.seeds,
        sum.seeds as f64 * 1e6 / busy,
        sum.virtual_us as f64 / busy,
        sum.steps,
        sum.acked
    )?;
    let mut missed = 0;
    for (says, count) in &sum.marks {
        let flag = if *count == 0 { "  <- never" } else { "" };
        missed += usize::from(*count == 0);
        writeln!(out, "  {count:>9}  {says}{flag}")?;
    }
    if missed > 0 {
        writeln!(out, "{missed} coverage marks were missed: this range says nothing about them")?;
    }
    let Some(first) = sum.found.first() else {
        writeln!(out, "nothing found")?;
        return Ok(missed);
    };
    if range.keep_going {
        let mut by_judge: BTreeMap<&str, u64> = BTreeMap::new();
        for (judge, _) in sum.found.iter().filter_map(|report| report.verdict.as_ref()) {
            *by_judge.entry(judge).or_insert(0) += 1;
        }
        for (judge, count) in by_judge {
            writeln!(out, "{count} seeds of {} were ended by {judge}", sum.seeds)?;
        }
    } else {
        writeln!(
            out,
            "the last events of seed {} (trace {:016x}, {} events):",
            first.seed, first.hash, first.events
        )?;
        for line in first.last.iter().rev().take(30).rev() {
            writeln!(out, "{}", line.trim_end())?;
        }
        if let Some((_, says)) = &first.verdict {
            writeln!(out, "FOUND in seed {}: {says}", first.seed)?;
        }
    }
    let words = arguments(range.common);
    let space = if words.is_empty() { "" } else { " " };
    writeln!(out, "replay it: cargo whole replay {}{space}{}", first.seed, words.join(" "))?;
    Ok(missed)
}
