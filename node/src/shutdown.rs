//! How a process is asked to stop: SIGTERM or SIGINT. Real world only.

use std::future::pending;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits until the process is asked to stop. Each call waits for a signal of its own.
pub async fn asked() {
    let terminate = listen(SignalKind::terminate());
    let interrupt = listen(SignalKind::interrupt());
    tokio::select! {
        biased;
        () = next(terminate) => {}
        () = next(interrupt) => {}
    }
}

/// A signal that cannot be listened to ends the process as it always did.
fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).ok()
}

async fn next(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// From here on the end of the process that started this one counts as being asked, where the system can tell of it.
pub fn with_parent() {
    // Without it a node outlives who started it, as any process does.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
}
