//! `seedlog dev`: a cluster to try things on, in one command.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use super::local::{self, Folder, LocalNode, NODES_MAX, bootstrap};
use super::output::{CliError, CliResult, Output};
use crate::shutdown;

/// How often the nodes are looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// How many nodes; without it 3, or as many as the folder has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    nodes: Option<u16>,
    /// Keep configuration, data and logs in this folder and start from what it holds; without it a temporary one is used
    /// and removed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The first port for clients, the others follow; 0 takes any that are free [default: 9092]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// Does what `seedlog dev ...` says.
pub(super) async fn run(args: &DevArgs, output: &mut Output) -> CliResult {
    let folder = Folder::open(args.dir.as_deref(), "dev")?;
    let plans = local::plan(folder.path(), args.nodes, args.port)?;
    let mut nodes = plans.into_iter().map(LocalNode::spawn).collect::<CliResult<Vec<_>>>()?;
    let outcome = tokio::select! {
        biased;
        () = shutdown::asked() => Ok(()),
        outcome = serve(&mut nodes, &folder, output) => outcome,
    };
    let late = local::stop_all(&mut nodes).await;
    for id in late {
        output.notice(&format_args!("node {id} did not stop in time and was killed"));
    }
    outcome
}

/// Runs until all nodes are gone, which they should never be.
async fn serve(nodes: &mut [LocalNode], folder: &Folder, output: &mut Output) -> CliResult {
    for node in nodes.iter_mut() {
        node.ready().await?;
    }
    introduce(nodes, folder, output)?;
    let mut told = vec![false; nodes.len()];
    loop {
        sleep(LOOK).await;
        for (node, told) in nodes.iter_mut().zip(&mut told) {
            if let Some(status) = node.ended().filter(|_| !*told) {
                *told = true;
                let (id, log) = (node.id(), node.log().display());
                output.notice(&format_args!("node {id} ended by itself ({status}); its log: {log}"));
            }
        }
        if told.iter().all(|told| *told) {
            return Err(CliError::Failed("no node is left; their logs, named above, say why".to_owned()));
        }
    }
}

fn introduce(nodes: &[LocalNode], folder: &Folder, output: &mut Output) -> CliResult {
    let kept = if folder.is_temporary() { "removed at the end" } else { "kept" };
    for node in nodes {
        output.line(&format!(
            "node {}  {}  process {}  log {}",
            node.id(),
            node.address(),
            node.pid(),
            node.log().display()
        ))?;
    }
    output.line(&format!("data in {} ({kept})", folder.path().display()))?;
    let servers = bootstrap(nodes).join(",");
    output.line(&format!("bootstrap server: {servers}"))?;
    output.line("")?;
    for line in [
        format!("seedlog cluster health --bootstrap-server {servers}"),
        format!("seedlog produce --bootstrap-server {servers} --topic greetings"),
        format!("seedlog consume --bootstrap-server {servers} --topic greetings --from-beginning"),
        format!("kcat -b {servers} -P -t greetings"),
        format!("kcat -b {servers} -C -t greetings -o beginning"),
        format!("kafka-topics.sh --bootstrap-server {servers} --describe"),
        format!("kafka-console-producer.sh --bootstrap-server {servers} --topic greetings"),
    ] {
        output.line(&format!("  {line}"))?;
    }
    output.line("")?;
    output.line("Ctrl-C ends all of it")
}
