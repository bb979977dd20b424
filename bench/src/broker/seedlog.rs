//! Our nodes.

use super::{Plan, Programs};
use std::io;
use std::process::Command;

pub(super) fn prepare(plan: &Plan) -> io::Result<()> {
    for node in 1..=plan.nodes() {
        let mut listeners = format!("PLAINTEXT://{}", plan.address(node));
        let mut settings = vec![
            ("node.id", node.to_string()),
            ("log.dirs", plan.data(node).display().to_string()),
            ("admin.listener", "off".to_owned()),
        ];
        if plan.nodes() > 1 {
            listeners += &format!(",CONTROLLER://127.0.0.1:{}", plan.controller_port(node));
            settings.push(("process.roles", "broker,controller".to_owned()));
            settings.push(("controller.listener.names", "CONTROLLER".to_owned()));
            settings.push(("controller.quorum.voters", plan.voters()));
        }
        settings.push(("listeners", listeners));
        plan.write_config(node, &settings)?;
    }
    Ok(())
}

pub(super) fn command(plan: &Plan, programs: &Programs, node: u16) -> Command {
    let mut command = Command::new(&programs.seedlog);
    command.args(["node", "--ends-with-parent", "--config"]).arg(plan.config(node));
    command
}
