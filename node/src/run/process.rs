//! `seedlog node`: a process around one node. Here are the things that exist in the real world only: the process's
//! configuration, its logs, its runtimes and threads, its exit code.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | stopped in order: everything is on the disk |
//! | 1 | did not start; one sentence on stderr says why |
//! | 4 | a disk failed (SAFETY J10) |
//! | 5 | asked twice to stop, or not done in time: what was acknowledged is on the disk, the next start reads the journal |

use super::told::broker_settings;
use super::{Address, Node};
use crate::config::{self, ConfigErrors, DirectIo, Loaded, Sources};
use crate::env::RealEnv;
use crate::http::{AdminServer, Health, HealthState};
use crate::logging::{self, LogFormat, LogOptions};
use crate::metrics::Metrics;
use crate::shutdown;
use crate::store::{RealDisk, RealDiskOptions};
use seedlog_core::output::HaltReason;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::runtime;
use tokio::time::sleep;
use tracing::{error, info, warn};

const EXIT_NOT_STARTED: u8 = 1;
const EXIT_DISK_FAILED: u8 = 4;
const EXIT_UNFINISHED: u8 = 5;
/// How long a node may take to stop.
const STOP_MS_MAX: u64 = 30_000;

/// What a node is started with.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// The `.properties` file.
    pub file: Option<PathBuf>,
    /// `key=value`, as given to `--override`.
    pub overrides: Vec<String>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// Print `ready listener=...` on stdout once clients are let in.
    pub print_ready: bool,
}

/// Runs a node until it is told to stop, and says how that went.
pub fn run_node(options: &NodeOptions) -> ExitCode {
    let sources = Sources::of_process(options.file.as_deref(), &options.overrides);
    let loaded = match sources.map_err(ConfigErrors::from).and_then(|sources| config::load(&sources)) {
        Ok(loaded) => loaded,
        Err(errors) => return not_started(&errors),
    };
    let log_options = LogOptions {
        node_id: loaded.node.node_id,
        format: options.log_format,
        level: options.log_level.clone(),
    };
    if let Err(error) = logging::init(&log_options) {
        return not_started(&error);
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let metrics = Metrics::new();
    let health = Health::new();
    if let Some(address) = loaded.node.admin_listener
        && let Err(reason) = start_admin(address, health.clone(), metrics.clone())
    {
        return not_started(&reason);
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(node(&loaded, &metrics, health, options.print_ready)),
        Err(error) => not_started(&format!("the system gives no event queue: {error}")),
    }
}

/// One sentence on stderr, without the logs' decoration: it may be all that anybody sees.
fn not_started(reason: &dyn Display) -> ExitCode {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "seedlog: {reason}");
    ExitCode::from(EXIT_NOT_STARTED)
}

async fn node(loaded: &Loaded, metrics: &Metrics, health: Health, print_ready: bool) -> ExitCode {
    let config = &loaded.node;
    let disk_options = RealDiskOptions {
        direct: config.direct_io != DirectIo::Off,
        cold_read_threads: config.cold_read_threads.into(),
    };
    let disk = match RealDisk::new(disk_options) {
        Ok(disk) => disk,
        Err(error) => return not_started(&format!("the disk's threads cannot be started: {error}")),
    };
    health.set(HealthState::Recovering);
    let told = broker_settings(&loaded.settings);
    let assembled = Node::assemble(RealEnv::new(), disk.clone(), config, told, metrics).await;
    let node = match assembled {
        Ok(node) => node,
        Err(error) => return not_started(&error),
    };
    if config.direct_io == DirectIo::On && !disk.is_direct() {
        return not_started(&format!(
            "disk.direct.io=true: the file system of {} does not take direct writes; set it to auto",
            config.log_dir.display()
        ));
    }
    let stopper = node.stopper();
    let stopping = health.clone();
    let stop = async {
        shutdown::asked().await;
        stopping.set(HealthState::Stopping);
        stopper.stop();
        tokio::select! {
            biased;
            () = shutdown::asked() => warn!("asked again to stop: stopping at once"),
            () = sleep(Duration::from_millis(STOP_MS_MAX)) => error!("not stopped within {STOP_MS_MAX} ms"),
        }
    };
    let run = node.run(|addresses| {
        health.set(HealthState::Ready);
        announce(addresses, print_ready);
    });
    tokio::select! {
        biased;
        reason = run => ended(&reason, &health),
        () = stop => ExitCode::from(EXIT_UNFINISHED),
    }
}

fn announce(addresses: &[Address], print_ready: bool) {
    for address in addresses {
        info!(listener = %address, "ready");
        if print_ready {
            let mut stdout = io::stdout();
            // Whoever asked for the line may be gone; the node serves others all the same.
            let _ = writeln!(stdout, "ready listener={address}").and_then(|()| stdout.flush());
        }
    }
}

fn ended(reason: &HaltReason, health: &Health) -> ExitCode {
    match reason {
        HaltReason::Stopped => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        HaltReason::DiskFailed(reason) => {
            error!(reason, "halted: a disk failed; nothing that was acknowledged rests on what failed");
            health.set(HealthState::Halted { reason: reason.clone() });
            ExitCode::from(EXIT_DISK_FAILED)
        }
    }
}

/// Starts the admin port in a thread of its own: it answers also when the node is busy. It ends with the process.
fn start_admin(address: SocketAddr, health: Health, metrics: Metrics) -> Result<(), String> {
    let (sender, bound) = mpsc::channel();
    let serve = move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = sender.send(Err(format!("the admin port has no event queue: {error}")));
                return;
            }
        };
        runtime.block_on(async move {
            match AdminServer::bind(address).await {
                Ok(server) => {
                    info!(address = %server.local_addr(), "admin port open");
                    let _ = sender.send(Ok(()));
                    if let Err(error) = server.run(health, metrics, std::future::pending()).await {
                        error!("{error}");
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error.to_string()));
                }
            }
        });
    };
    let started = thread::Builder::new().name("admin".to_owned()).spawn(serve);
    started.map_err(|error| format!("the admin port's thread cannot be started: {error}"))?;
    bound.recv().unwrap_or_else(|_| Err("the admin port's thread ended before it began".to_owned()))
}
