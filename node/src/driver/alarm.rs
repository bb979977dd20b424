//! The one armed sleep of a driver.

use seedlog_core::time::MonoMs;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Rings at an instant, if one is set.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    at: Option<MonoMs>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Sets the instant. `now` is asked only when it changes.
    pub(super) fn set(&mut self, at: Option<MonoMs>, now: impl FnOnce() -> MonoMs) {
        if self.at == at {
            return;
        }
        self.at = at;
        let Some(at) = at else { return };
        let wait = sleep(Duration::from_millis(at - now()));
        match &mut self.sleep {
            Some(armed) => armed.set(wait),
            None => self.sleep = Some(Box::pin(wait)),
        }
    }

    /// Waits for the instant; for ever if none is set. Cancel-safe.
    pub(super) async fn ring(&mut self) {
        match (&mut self.sleep, self.at) {
            (Some(armed), Some(_)) => armed.as_mut().await,
            (Some(_) | None, Some(_) | None) => std::future::pending().await,
        }
        // The clock may stand a little before the instant yet: then it is set anew.
        self.at = None;
    }
}
