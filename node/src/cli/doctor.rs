//! `seedlog doctor`: whether a machine is fit for the node that a configuration describes. Everything is measured or asked
//! of the system; the only thing that is written is a temporary file in the data folder, which is removed again.

mod disk;
mod machine;
mod net;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output::{CliError, CliResult, Output};
use crate::config::{self, Sources};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The node's configuration: a .properties file with Kafka's key names
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting that wins over file and environment; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// A node runs, but not as well or as safely as it could.
    Warn,
    /// A node does not start, or does not keep running.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    /// Stable: what programs go by.
    check: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What to do about it; `null` when there is nothing to do.
    then: Option<String>,
}

#[derive(Debug, Serialize)]
struct Diagnosis<'a> {
    /// No check failed.
    fit: bool,
    checks: &'a [Check],
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), then: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, then: impl Into<String>) -> Self {
        Self { check, state: State::Warn, found: found.into(), then: Some(then.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, then: impl Into<String>) -> Self {
        Self { check, state: State::Fail, found: found.into(), then: Some(then.into()) }
    }
}

/// Does what `seedlog doctor ...` says.
pub(super) fn run(args: &DoctorArgs, output: &mut Output) -> CliResult {
    let checks = diagnose(args);
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    if args.json {
        output.json(&Diagnosis { fit: failed == 0, checks: &checks })?;
    } else {
        for check in &checks {
            let state = match check.state {
                State::Ok => "ok  ",
                State::Warn => "warn",
                State::Fail => "fail",
            };
            output.line(&format!("{state}  {:<12} {}", check.check, check.found))?;
            if let Some(then) = &check.then {
                output.line(&format!("{:>20}next: {then}", ""))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(CliError::Unhealthy(
            "a node will not run well here: 1 check failed; above stands what to do".to_owned(),
        )),
        many => Err(CliError::Unhealthy(format!(
            "a node will not run well here: {many} checks failed; above stands what to do"
        ))),
    }
}

fn diagnose(args: &DoctorArgs) -> Vec<Check> {
    let mut checks = Vec::new();
    let sources = Sources::of_process(args.config.as_deref(), &args.overrides);
    let loaded = match sources.map_err(config::ConfigErrors::from).and_then(|sources| config::load(&sources))
    {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            let then = "correct it; `seedlog config explain KEY` says what a setting does";
            checks.push(Check::fail("config", errors.to_string().replace('\n', "; "), then));
            None
        }
    };
    if let Some(loaded) = &loaded {
        checks.push(match loaded.warnings.as_slice() {
            [] => Check::ok(
                "config",
                format!("node {} in {}", loaded.node.node_id, loaded.node.log_dir.display()),
            ),
            warnings => {
                let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
                Check::warn(
                    "config",
                    said.join("; "),
                    "look at each setting with `seedlog config explain KEY`",
                )
            }
        });
    }
    checks.push(machine::descriptors(loaded.as_ref().map(|loaded| &loaded.node)));
    checks.push(machine::clock());
    checks.push(machine::clock_sync());
    if let Some(loaded) = &loaded {
        checks.extend(disk::check(&loaded.node));
        checks.extend(net::check(&loaded.node));
        checks.push(machine::memory(&loaded.node));
    }
    checks.push(machine::swap());
    checks
}
