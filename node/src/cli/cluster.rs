//! `seedlog cluster`: the nodes of a cluster.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::health::{self, HealthArgs};
use super::output::{CliError, CliResult, Output};
use super::remote::RemoteArgs;
use super::topic::table;
use crate::client::admin;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the brokers: where they are, and whether they are fit to lead.
    Describe(DescribeArgs),
    /// Say what is wrong and what to do about it: brokers, the controller, leaders, replicas. Ends with code 3 if anything is.
    Health(HealthArgs),
}

#[derive(Debug, Args)]
pub(super) struct DescribeArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Described {
    cluster_id: String,
    /// Whom to ask for what the controller decides.
    controller: Option<i32>,
    brokers: Vec<Broker>,
}

#[derive(Debug, Serialize)]
struct Broker {
    broker: i32,
    host: String,
    port: i32,
    rack: Option<String>,
    fenced: bool,
}

/// Does what `seedlog cluster ...` says.
pub(super) async fn run(command: &ClusterCommand, output: &mut Output) -> CliResult {
    match command {
        ClusterCommand::Describe(args) => describe(args, output).await,
        ClusterCommand::Health(args) => health::run(args, output).await,
    }
}

async fn describe(args: &DescribeArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let answer = admin::describe_cluster(&cluster, args.remote.request_timeout()).await?;
    let mut brokers: Vec<Broker> = answer
        .brokers
        .iter()
        .map(|broker| Broker {
            broker: broker.broker_id,
            host: broker.host.to_string(),
            port: broker.port,
            rack: broker.rack.as_ref().map(ToString::to_string),
            fenced: broker.is_fenced,
        })
        .collect();
    brokers.sort_by_key(|broker| broker.broker);
    let controller = Some(answer.controller_id).filter(|&id| id >= 0);
    let described = Described { cluster_id: answer.cluster_id.to_string(), controller, brokers };
    if args.json {
        output.json(&described)?;
    } else {
        let controller = controller.map_or_else(|| "none".to_owned(), |id| id.to_string());
        output.line(&format!("cluster {}  controller {controller}", described.cluster_id))?;
        let mut rows = table(["BROKER", "ENDPOINT", "RACK", "STATE"]);
        for broker in &described.brokers {
            rows.add_row([
                broker.broker.to_string(),
                endpoint(&broker.host, broker.port),
                broker.rack.clone().unwrap_or_else(|| "-".to_owned()),
                if broker.fenced { "fenced" } else { "active" }.to_owned(),
            ]);
        }
        output.line(&rows.trim_fmt())?;
    }
    if described.controller.is_none() {
        return Err(CliError::Unhealthy(
            "the cluster has no controller: start a majority of its controllers".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn endpoint(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
