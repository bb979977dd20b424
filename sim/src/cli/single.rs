//! `replay`, `twice` and `plan`: one seed, looked at closely.

use super::{CLEAN, Common, FOUND, said};
use crate::judges::{Enabled, s29};
use crate::plan::Plan;
use crate::run::{run_aloud, run_plan};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What `replay` was asked for.
pub(super) struct Replay<'a> {
    pub(super) seed: u64,
    pub(super) plan: Option<&'a Path>,
    pub(super) aloud: bool,
    pub(super) history: Option<&'a Path>,
    pub(super) common: &'a Common,
    pub(super) enabled: Enabled,
}

pub(super) fn replay(asked: &Replay<'_>, out: &mut dyn Write) -> Result<u8, String> {
    let Replay { seed, enabled, .. } = *asked;
    let plan = match asked.plan {
        None => Plan::draw(asked.common.scenario, seed),
        Some(path) => {
            let json =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::from_str(&json).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let outcome = if asked.aloud { run_aloud(plan, enabled) } else { run_plan(plan, enabled, true) };
    if let Some(path) = asked.history {
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
    let code = match outcome.verdict {
        None => {
            writeln!(out, "nothing found").map_err(said)?;
            CLEAN
        }
        Some(verdict) => {
            writeln!(out, "FOUND in seed {seed}: {verdict}").map_err(said)?;
            FOUND
        }
    };
    out.flush().map_err(said)?;
    Ok(code)
}

/// Replays a seed in two processes of this program, with `arguments` beside it, and compares what they print. Gives the exit code.
///
/// # Errors
/// A process cannot be started, or ends otherwise than a replay.
pub fn twice(seed: u64, arguments: &[String], out: &mut dyn Write) -> Result<u8, String> {
    let (one, two) = (other_process(seed, arguments, 11)?, other_process(seed, arguments, 211)?);
    match s29::check(one.lines(), two.lines()) {
        Ok(lines) => {
            let last = one.lines().find(|line| line.contains(" events, ")).unwrap_or_default();
            writeln!(out, "two processes agree on {lines} lines: {last}").map_err(said)?;
            Ok(CLEAN)
        }
        Err(difference) => {
            writeln!(out, "FOUND in seed {seed}: S29 (determinism): {difference}").map_err(said)?;
            Ok(FOUND)
        }
    }
}

/// Replays in a process of its own. Its name, `name_bytes` long, shifts what it allocates: a run that goes by where its memory lies
/// takes another course.
fn other_process(seed: u64, arguments: &[String], name_bytes: usize) -> Result<String, String> {
    let program = std::env::current_exe().map_err(said)?;
    let mut command = Command::new(program);
    command.arg0("s".repeat(name_bytes));
    command.arg("replay").arg(seed.to_string()).args(arguments);
    let output = command.output().map_err(said)?;
    match output.status.code() {
        Some(code) if code == i32::from(CLEAN) || code == i32::from(FOUND) => {
            String::from_utf8(output.stdout).map_err(|error| error.to_string())
        }
        _ => Err(format!(
            "a process that replays ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

pub(super) fn plan(seed: u64, common: &Common, out: &mut dyn Write) -> Result<u8, String> {
    let plan = Plan::draw(common.scenario, seed);
    let json = serde_json::to_string_pretty(&plan).map_err(|error| error.to_string())?;
    writeln!(out, "{json}").map_err(said)?;
    Ok(CLEAN)
}
