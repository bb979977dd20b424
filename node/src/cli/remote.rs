//! The flags that all commands share which talk to brokers.

use std::time::Duration;

use clap::Args;

use seedlog_core::errors::ErrorCode;

use super::output::{CliResult, Output};
use crate::client::{ClientError, Cluster, ConnectionOptions, parse_addresses};

/// Which brokers, and how patiently.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// Brokers to start from, as host:port,host:port
    #[arg(
        long,
        short = 'b',
        visible_alias = "brokers",
        value_name = "HOST:PORT,...",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap_server: String,
    /// Milliseconds to wait for one answer of a broker
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    request_timeout_ms: u64,
}

impl RemoteArgs {
    /// The cluster that is meant. Nothing is sent yet.
    pub(super) fn cluster(&self) -> CliResult<Cluster> {
        let request_timeout = self.request_timeout();
        let options = ConnectionOptions {
            request_timeout,
            connect_timeout: request_timeout.min(Duration::from_secs(10)),
            ..ConnectionOptions::default()
        };
        Ok(Cluster::new(parse_addresses(&self.bootstrap_server)?, options))
    }

    /// The brokers as they were named.
    pub(super) fn servers(&self) -> &str {
        &self.bootstrap_server
    }

    /// How long one answer may take.
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

/// What commands have in common that delete something.
#[derive(Debug, Args)]
pub(super) struct DeletionArgs {
    /// Accept that it does not exist
    #[arg(long)]
    if_exists: bool,
    /// Print JSON: an object for each deletion
    #[arg(long)]
    json: bool,
}

impl DeletionArgs {
    /// Says what became of one thing of a kind. `absent` is what brokers answer where there is none.
    pub(super) fn say(
        &self,
        (kind, name): (&str, &str),
        outcome: Result<(), ClientError>,
        absent: ErrorCode,
        output: &mut Output,
    ) -> CliResult {
        let deleted = match outcome {
            Err(error) if self.if_exists && error.code() == Some(absent) => false,
            other => other.map(|()| true)?,
        };
        if self.json {
            return output.json(&serde_json::json!({ (kind): name, "deleted": deleted }));
        }
        let verb = if deleted { "deleted" } else { "there is no" };
        output.line(&format!("{verb} {kind} {name}"))
    }
}

/// Splits `name=value`, for clap.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write it as name=value".to_owned()),
    }
}
