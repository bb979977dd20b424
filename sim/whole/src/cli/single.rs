//! `replay`, `twice`, `plan` and `one`: one seed, looked at closely.

use super::report::{Report, on_processor};
use super::{Common, code, said};
use crate::plan::WholePlan;
use crate::run::run_plan;
use madsim::time::TimeHandle;
use seedlog_sim::judges::Enabled;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

pub(super) fn replay(
    seed: u64,
    (file, history): (Option<&Path>, Option<&Path>),
    common: &Common,
    enabled: Enabled,
    out: &mut dyn Write,
) -> Result<u8, String> {
    let plan = match file {
        None => WholePlan::draw(common.scenario, seed),
        Some(path) => {
            let json =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::from_str(&json).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let outcome = run_plan(plan, enabled, true);
    if let Some(path) = history {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let written = outcome.history.write(BufWriter::new(file));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut out = BufWriter::new(out);
    for line in outcome.trace.lines() {
        writeln!(out, "{line}").map_err(said)?;
    }
    let (count, hash) = (outcome.trace.count(), outcome.trace.hash());
    writeln!(out, "{count} events, {} acknowledged, trace {hash:016x}", outcome.acked).map_err(said)?;
    match &outcome.verdict {
        None => writeln!(out, "nothing found").map_err(said)?,
        Some(verdict) => writeln!(out, "FOUND in seed {seed}: {verdict}").map_err(said)?,
    }
    out.flush().map_err(said)?;
    Ok(code(outcome.verdict.is_some()))
}

/// Virtual time in front of a line of a log.
struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        // The simulator itself says something before the world is there.
        let now = TimeHandle::try_current().map_or(Duration::ZERO, |time| time.elapsed());
        write!(writer, "{:>6}.{:06}", now.as_secs(), now.subsec_micros())
    }
}

/// Writes what nodes log to stderr.
pub(super) fn tell_logs(level: LevelFilter) {
    let builder = tracing_subscriber::fmt().with_max_level(level).with_timer(VirtualTime);
    // Set once, before the run.
    let _ = builder.with_ansi(false).with_writer(std::io::stderr).try_init();
}

pub(super) fn plan(seed: u64, common: &Common, out: &mut dyn Write) -> Result<u8, String> {
    let plan = WholePlan::draw(common.scenario, seed);
    let json = serde_json::to_string_pretty(&plan).map_err(|error| error.to_string())?;
    writeln!(out, "{json}").map_err(said)?;
    Ok(code(false))
}

pub(super) fn one(seed: u64, common: &Common, enabled: Enabled, out: &mut dyn Write) -> Result<u8, String> {
    let outcome = run_plan(WholePlan::draw(common.scenario, seed), enabled, false);
    let report = Report::of(seed, &outcome, on_processor());
    let json = serde_json::to_string(&report).map_err(|error| error.to_string())?;
    writeln!(out, "{json}").map_err(said)?;
    Ok(code(report.verdict.is_some()))
}
