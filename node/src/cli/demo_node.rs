//! The node that the demo runs, kills and restarts: a child process of this same binary.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::output::{CliError, CliResult};

/// How long a node may take until it serves.
const READY_MAX: Duration = Duration::from_secs(60);
/// What the node prints before the address of its listener.
const READY: &str = "ready listener=";
/// Lines of the node's log that are shown if it does not start.
const LOG_LINES_SHOWN: usize = 5;

/// A node of the demo. It is killed when this value goes away.
pub(super) struct DemoNode {
    child: Child,
    address: String,
}

impl DemoNode {
    /// Starts a node on this folder and waits until it serves. Port 0 takes a free one.
    pub(super) async fn start(folder: &Path, port: u16) -> CliResult<Self> {
        let program =
            std::env::current_exe().map_err(|error| CliError::io("cannot find this program", error))?;
        let log = log_path(folder);
        let mut child = Command::new(program)
            .args(["node", "--print-ready", "--log-format", "human", "--override", "node.id=1"])
            .args(["--override", &format!("log.dirs={}", folder.join("data").display())])
            .args(["--override", "admin.listener=off"])
            .args(["--override", &format!("listeners=PLAINTEXT://127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(append_to(&log)?)
            .spawn()
            .map_err(|error| CliError::io("cannot start the node", error))?;
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        // From here on `drop` ends the child, whatever happens.
        let mut node = Self { child, address: String::new() };
        node.address = match timeout(READY_MAX, ready_address(stdout)).await {
            Ok(Some(address)) => address,
            Ok(None) => {
                return Err(CliError::Failed(format!(
                    "the node ended before it served: {}",
                    last_lines(&log)
                )));
            }
            Err(_) => {
                let waited = READY_MAX.as_secs();
                return Err(CliError::Failed(format!(
                    "the node did not serve within {waited} s: {}",
                    last_lines(&log)
                )));
            }
        };
        Ok(node)
    }

    /// Where it listens, as host:port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The port of its listener.
    pub(super) fn port(&self) -> CliResult<u16> {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.ok_or_else(|| {
            CliError::Failed(format!("the node said it listens at {:?}, which has no port", self.address))
        })
    }

    /// SIGKILL: the process gets no chance to write anything more.
    pub(super) fn kill(&mut self) -> CliResult {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| CliError::io("cannot kill the node", error))
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        // Either it is gone already or it goes now; there is nothing else to try.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// The address in the first line that says ready; `None` if the output ends before. The rest is read and dropped, so that
/// the node never waits for us.
async fn ready_address(stdout: ChildStdout) -> Option<String> {
    let (sender, mut addresses) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = parse_ready(&line) {
                sender.try_send(address).ok();
            }
        }
    });
    addresses.recv().await
}

fn parse_ready(line: &str) -> Option<String> {
    let (_, address) = line.trim().strip_prefix(READY)?.split_once("://")?;
    Some(address.to_owned())
}

/// Where the node's log is.
pub(super) fn log_path(folder: &Path) -> PathBuf {
    folder.join("node.log")
}

fn append_to(log: &Path) -> CliResult<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.map_err(|error| CliError::io(format!("cannot write {}", log.display()), error))
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return format!("see {}", log.display());
    }
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_address() {
        assert_eq!(
            parse_ready("ready listener=PLAINTEXT://127.0.0.1:41555\n"),
            Some("127.0.0.1:41555".to_owned())
        );
        assert_eq!(parse_ready("ready"), None);
        assert_eq!(parse_ready("INFO ready listener=PLAINTEXT://x:1"), None);
    }
}
