//! `seedlog group`: list, describe, delete; `reset` moves what a group committed.

mod describe;
mod reset;

use clap::{Args, Subcommand};
use seedlog_core::errors::ErrorCode;
use seedlog_core::wire::list_groups as listed;
use serde::Serialize;

use super::output::{CliResult, Output};
use super::remote::{DeletionArgs, RemoteArgs};
use super::topic::table;
use crate::client::groups::{self, GroupFilter};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// List the groups.
    List(ListArgs),
    /// Show a group: its members, what each reads, and how far behind it is.
    Describe(describe::DescribeArgs),
    /// Delete groups without members, with all that they committed.
    Delete(DeleteArgs),
    /// Move what a group without members committed. Prints what would change; --execute changes it.
    ResetOffsets(reset::ResetArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Only groups in these states, such as empty,stable
    #[arg(long, value_name = "STATE,...", value_delimiter = ',')]
    state: Vec<String>,
    /// Only groups of these types, such as classic
    #[arg(long = "type", value_name = "TYPE,...", value_delimiter = ',')]
    types: Vec<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// The group; may be repeated
    #[arg(long, required = true)]
    group: Vec<String>,
    #[command(flatten)]
    deletion: DeletionArgs,
}

#[derive(Debug, Serialize)]
struct ListedGroup {
    group: String,
    /// `null` where the broker does not tell.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// `null` where the broker does not tell.
    state: Option<String>,
    protocol_type: String,
    coordinator: i32,
}

/// Does what `seedlog group ...` says.
pub(super) async fn run(command: &GroupCommand, output: &mut Output) -> CliResult {
    match command {
        GroupCommand::List(args) => list(args, output).await,
        GroupCommand::Describe(args) => describe::run(args, output).await,
        GroupCommand::Delete(args) => delete(args, output).await,
        GroupCommand::ResetOffsets(args) => reset::run(args, output).await,
    }
}

async fn list(args: &ListArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    let filter = GroupFilter { states: args.state.clone(), types: args.types.clone() };
    let groups = groups::list_groups(&cluster, &filter, args.remote.request_timeout()).await?;
    let listed: Vec<ListedGroup> = groups
        .into_iter()
        .map(|(group, coordinator)| ListedGroup {
            group: group.group_id.to_string(),
            kind: kind(&group),
            state: Some(group.group_state.to_string()).filter(|state| !state.is_empty()),
            protocol_type: group.protocol_type.to_string(),
            coordinator,
        })
        .collect();
    if args.json {
        return output.json(&listed);
    }
    if !output.is_terminal() {
        // As Kafka's own tool: names, for scripts that read them.
        return listed.iter().try_for_each(|group| output.line(&group.group));
    }
    let mut table = table(["GROUP", "TYPE", "STATE", "PROTOCOL", "COORDINATOR"]);
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    for ListedGroup { group, kind, state, protocol_type, coordinator } in listed {
        table.add_row([group, or_unknown(kind), or_unknown(state), protocol_type, coordinator.to_string()]);
    }
    output.line(&table.trim_fmt())
}

/// A group's type in one spelling: brokers have several.
fn kind(group: &listed::ListedGroup) -> Option<String> {
    Some(group.group_type.to_lowercase()).filter(|kind| !kind.is_empty())
}

async fn delete(args: &DeleteArgs, output: &mut Output) -> CliResult {
    let cluster = args.remote.cluster()?;
    for group in &args.group {
        let outcome = groups::delete_group(&cluster, group, args.remote.request_timeout()).await;
        args.deletion.say(("group", group), outcome, ErrorCode::GroupIdNotFound, output)?;
    }
    Ok(())
}
