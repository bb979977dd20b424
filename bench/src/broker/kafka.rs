//! Apache Kafka's nodes: KRaft, combined, with the flags and the heap of Kafka's own start scripts.

use super::{Plan, Programs, run};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// An id as Kafka writes them; any will do.
const CLUSTER_ID: &str = "c2VlZGxvZ2JlbmNoMDAwMQ";
/// As `kafka-server-start.sh` and `kafka-run-class.sh` have them.
const FLAGS: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

pub(super) fn prepare(plan: &Plan, programs: &Programs) -> io::Result<()> {
    let replicas = plan.nodes().min(3);
    for node in 1..=plan.nodes() {
        let address = plan.address(node);
        let settings = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", node.to_string()),
            ("controller.quorum.voters", plan.voters()),
            (
                "listeners",
                format!("PLAINTEXT://{address},CONTROLLER://127.0.0.1:{}", plan.controller_port(node)),
            ),
            ("advertised.listeners", format!("PLAINTEXT://{address}")),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("log.dirs", plan.data(node).display().to_string()),
            // What a cluster of this size has to be told, and what we do unasked.
            ("default.replication.factor", replicas.to_string()),
            ("min.insync.replicas", (replicas / 2 + 1).to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("transaction.state.log.min.isr", (replicas / 2 + 1).to_string()),
        ];
        plan.write_config(node, &settings)?;
        fs::write(log_config(plan, node), LOG)?;
        let mut format = java(plan, programs, node)?;
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
        format.arg(plan.config(node));
        run(&mut format, &plan.folder.join(format!("format-{node}.log")))?;
    }
    Ok(())
}

pub(super) fn command(plan: &Plan, programs: &Programs, node: u16) -> io::Result<Command> {
    let mut command = java(plan, programs, node)?;
    command.arg("kafka.Kafka").arg(plan.config(node));
    Ok(command)
}

fn java(plan: &Plan, programs: &Programs, node: u16) -> io::Result<Command> {
    let kafka =
        programs.kafka.as_ref().ok_or_else(|| io::Error::other("Kafka's jars: name them with --kafka"))?;
    let mut command = Command::new("java");
    command.args(FLAGS);
    command.arg(format!("-Dlog4j2.configurationFile={}", log_config(plan, node).display()));
    command.arg("-cp").arg(format!("{}/libs/*", kafka.display()));
    Ok(command)
}

fn log_config(plan: &Plan, node: u16) -> PathBuf {
    plan.folder.join(format!("log-{node}.yaml"))
}

/// As Kafka's own: everything from INFO on.
const LOG: &str = r#"Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: { pattern: "[%d] %p %m (%c)%n" }
  Loggers:
    Root:
      level: INFO
      AppenderRef: [ { ref: STDOUT } ]
"#;
