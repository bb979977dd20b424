//! A cluster on this machine's loopback, as child processes of this same binary: what `dev` runs and `demo` kills.
//!
//! A folder holds one configuration file a node, which is all that is needed to start the node again, by hand too:
//!
//! ```text
//! <dir>/node-1.properties   <dir>/node-1.log   <dir>/node-1/   (data)
//! <dir>/node-2.properties   ...
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::output::{CliError, CliResult};
use crate::clock::Clock;
use crate::config::{ENV_PREFIX, ENV_RESERVED, properties};

/// How long a node may take until it serves.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long nodes that were asked to stop may take.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long a minority that is left may try to hand over what it leads.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What the node prints before the address of its listener.
const READY: &str = "ready listener=";
/// Lines of a node's log that are shown if it does not start.
const LOG_LINES_SHOWN: usize = 5;
/// Most nodes on one machine.
pub(super) const NODES_MAX: i64 = 9;
/// Ports for the nodes' own talk are so far above those for clients.
const PEER_PORTS_ABOVE: u16 = 100;

/// A folder; a temporary one goes away with this value.
pub(super) struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// The folder that is wanted, or a temporary one whose name says what for.
    pub(super) fn open(wanted: Option<&Path>, what: &str) -> CliResult<Self> {
        let folder = match wanted {
            Some(path) => Self { path: path.to_owned(), temporary: false },
            None => {
                let name = format!("seedlog-{what}-{}-{}", std::process::id(), Clock::start().now().wall.0);
                Self { path: std::env::temp_dir().join(name), temporary: true }
            }
        };
        let created = fs::create_dir_all(&folder.path);
        created.map_err(|error| CliError::io(format!("cannot create {}", folder.path.display()), error))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It goes away with this value.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Leaves a temporary folder where it is.
    pub(super) fn keep(mut self) -> PathBuf {
        self.temporary = false;
        self.path.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// How a node is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    id: u16,
    port: u16,
    config: PathBuf,
    log: PathBuf,
}

/// The plans of a folder's nodes; those of a new folder are written there. `port` is the first one for clients, 0 stands
/// for any that are free; without it 9092, or what the folder says.
pub(super) fn plan(folder: &Path, nodes: Option<u16>, port: Option<u16>) -> CliResult<Vec<Plan>> {
    let found = read_plans(folder)?;
    if found.is_empty() {
        let nodes = nodes.unwrap_or(3);
        let (clients, peers) = choose_ports(nodes, port.unwrap_or(9092))?;
        return write_plans(folder, &clients, &peers);
    }
    let here = folder.display();
    if let Some(nodes) = nodes.filter(|&nodes| usize::from(nodes) != found.len()) {
        let sentence =
            format!("{here} holds a cluster of {}, not of {nodes}; use another folder", found.len());
        return Err(CliError::Failed(sentence));
    }
    if let Some(port) = port.filter(|&port| port != 0 && port != found[0].port) {
        let sentence = format!(
            "{here} holds a cluster that begins at port {}, not {port}; leave --port out",
            found[0].port
        );
        return Err(CliError::Failed(sentence));
    }
    Ok(found)
}

fn place(folder: &Path, id: u16, port: u16) -> Plan {
    let config = folder.join(format!("node-{id}.properties"));
    Plan { id, port, config, log: folder.join(format!("node-{id}.log")) }
}

fn read_plans(folder: &Path) -> CliResult<Vec<Plan>> {
    let mut plans = Vec::new();
    for id in 1..=NODES_MAX as u16 {
        let mut plan = place(folder, id, 0);
        let text = match fs::read_to_string(&plan.config) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => {
                return Err(CliError::io(format!("cannot read {}", plan.config.display()), error));
            }
        };
        let entries = properties::parse(&text).unwrap_or_default();
        let listeners = entries.iter().find(|entry| entry.key == "listeners");
        let first = listeners.and_then(|entry| entry.value.split(',').next()?.rsplit_once(':'));
        let port = first.and_then(|(_, port)| port.parse().ok()).filter(|&port| port > 0);
        plan.port = port.ok_or_else(|| {
            CliError::Failed(format!("{} names no port in `listeners`; correct it", plan.config.display()))
        })?;
        plans.push(plan);
    }
    Ok(plans)
}

/// Ports for clients and for peers, all free at this moment.
fn choose_ports(nodes: u16, first: u16) -> CliResult<(Vec<u16>, Vec<u16>)> {
    let bind = |port: u16| {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener))).map_err(|error| {
            let advice = "stop what listens there, or choose another first port with --port";
            CliError::Failed(format!("port {port} of 127.0.0.1 cannot be used: {error}; {advice}"))
        })
    };
    // All are held until all are found, so that none is found twice.
    let mut held = Vec::new();
    let mut take = |offset: u16| {
        let port = if first == 0 { Some(0) } else { first.checked_add(offset) };
        let port = port.ok_or_else(|| {
            CliError::Failed(format!("there are not enough ports from {first} on; choose a lower --port"))
        })?;
        let (port, listener) = bind(port)?;
        held.push(listener);
        Ok::<u16, CliError>(port)
    };
    let clients = (0..nodes).map(&mut take).collect::<CliResult<Vec<_>>>()?;
    let peers = (0..nodes).map(|at| take(PEER_PORTS_ABOVE + at)).collect::<CliResult<Vec<_>>>()?;
    Ok((clients, peers))
}

fn write_plans(folder: &Path, clients: &[u16], peers: &[u16]) -> CliResult<Vec<Plan>> {
    let voters: Vec<String> =
        (1..).zip(peers).map(|(id, port): (u16, _)| format!("{id}@127.0.0.1:{port}")).collect();
    let folder = fs::canonicalize(folder)
        .map_err(|error| CliError::io(format!("cannot find {}", folder.display()), error))?;
    let mut plans = Vec::new();
    for (id, (&client, &peer)) in (1..).zip(clients.iter().zip(peers)) {
        let plan = place(&folder, id, client);
        let data = folder.join(format!("node-{id}")).display().to_string();
        let mut settings = vec![
            ("node.id", id.to_string()),
            ("log.dirs", data),
            ("listeners", format!("PLAINTEXT://127.0.0.1:{client}")),
            ("admin.listener", "off".to_owned()),
        ];
        if voters.len() > 1 {
            settings[2].1.push_str(&format!(",CONTROLLER://127.0.0.1:{peer}"));
            settings.push(("process.roles", "broker,controller".to_owned()));
            settings.push(("controller.listener.names", "CONTROLLER".to_owned()));
            settings.push(("controller.quorum.voters", voters.join(",")));
        }
        let mut text = format!("# Start this node by hand: seedlog node --config node-{id}.properties\n");
        for (key, value) in settings {
            text.push_str(&properties::render(key, &value));
            text.push('\n');
        }
        let written = fs::write(&plan.config, text);
        written.map_err(|error| CliError::io(format!("cannot write {}", plan.config.display()), error))?;
        plans.push(plan);
    }
    Ok(plans)
}

/// A node that runs. It is killed when this value goes away.
pub(super) struct LocalNode {
    plan: Plan,
    child: Child,
    lines: Option<mpsc::Receiver<()>>,
    ended: Option<ExitStatus>,
}

impl LocalNode {
    /// Starts the process, in a group of its own: a Ctrl-C at the terminal is ours to hand on.
    pub(super) fn spawn(plan: Plan) -> CliResult<Self> {
        let program =
            std::env::current_exe().map_err(|error| CliError::io("cannot find this program", error))?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // What is set for a node of this shell is not meant for these.
            if name.to_str().is_some_and(|name| name.starts_with(ENV_PREFIX) && !ENV_RESERVED.contains(&name))
            {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["node", "--print-ready", "--ends-with-parent", "--log-format", "human", "--config"])
            .arg(&plan.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(append_to(&plan.log)?)
            .process_group(0)
            .spawn()
            .map_err(|error| CliError::io("cannot start a node", error))?;
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        Ok(Self { plan, child, lines: Some(ready_lines(stdout)), ended: None })
    }

    /// Waits until it serves. Nodes of a cluster do so together: start all of them first.
    pub(super) async fn ready(&mut self) -> CliResult {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        match timeout(READY_MAX, lines.recv()).await {
            Ok(Some(())) => {
                self.lines = None;
                Ok(())
            }
            Ok(None) => Err(CliError::Failed(format!(
                "node {} ended before it served: {}",
                self.plan.id,
                self.last_lines()
            ))),
            Err(_) => Err(CliError::Failed(format!(
                "node {} did not serve within {} s: {}",
                self.plan.id,
                READY_MAX.as_secs(),
                self.last_lines()
            ))),
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> i32 {
        self.plan.id.into()
    }

    /// Where clients find it, as host:port.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.plan.port)
    }

    /// Its log.
    pub(super) fn log(&self) -> &Path {
        &self.plan.log
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// SIGKILL: the process gets no chance to write anything more.
    pub(super) fn kill(&mut self) -> CliResult {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        self.ended = killed.as_ref().ok().copied();
        killed.map(drop).map_err(|error| CliError::io("cannot kill a node", error))
    }

    /// Starts it again, on the same folder and ports.
    pub(super) fn restart(&mut self) -> CliResult {
        *self = Self::spawn(self.plan.clone())?;
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.plan.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.is_empty() {
            return format!("see {}", self.plan.log.display());
        }
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ")
    }

    fn ask_to_stop(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.ended.is_none()) {
            // One that is gone need not be asked.
            kill_process(pid, Signal::TERM).ok();
        }
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Either it is gone already or it goes now; there is nothing else to try.
            self.child.kill().and_then(|()| self.child.wait()).ok();
        }
    }
}

/// Starts all nodes and waits until all serve.
pub(super) async fn start_all(plans: Vec<Plan>) -> CliResult<Vec<LocalNode>> {
    let mut nodes = plans.into_iter().map(LocalNode::spawn).collect::<CliResult<Vec<_>>>()?;
    for node in &mut nodes {
        node.ready().await?;
    }
    Ok(nodes)
}

/// Asks all nodes to stop and waits for them; those that do not are killed: their ids.
pub(super) async fn stop_all(nodes: &mut [LocalNode]) -> Vec<i32> {
    nodes.iter().for_each(LocalNode::ask_to_stop);
    let deadline = Instant::now() + STOP_MAX;
    let all = nodes.len();
    let mut alone_since: Option<Instant> = None;
    let mut asked_again = false;
    while Instant::now() < deadline {
        let left = nodes.iter_mut().filter_map(|node| node.ended().is_none().then_some(())).count();
        if left == 0 {
            break;
        }
        // Nodes hand over what they lead before they stop; a minority finds nobody who could take it.
        if 2 * left <= all && !asked_again {
            let since = *alone_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= HAND_OVER_MAX {
                asked_again = true;
                nodes.iter().for_each(LocalNode::ask_to_stop);
            }
        }
        sleep(LOOK).await;
    }
    let late = nodes.iter_mut().filter(|node| node.ended.is_none());
    late.map(|node| {
        node.kill().ok();
        node.id()
    })
    .collect()
}

/// Addresses as clients take them.
pub(super) fn bootstrap<'a>(nodes: impl IntoIterator<Item = &'a LocalNode>) -> Vec<String> {
    nodes.into_iter().map(LocalNode::address).collect()
}

/// Says when a line says ready. The rest is read and dropped, so that the node never waits for us.
fn ready_lines(stdout: ChildStdout) -> mpsc::Receiver<()> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.trim().starts_with(READY) {
                sender.try_send(()).ok();
            }
        }
    });
    lines
}

fn append_to(log: &Path) -> CliResult<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.map_err(|error| CliError::io(format!("cannot write {}", log.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn what_is_planned_can_be_started_and_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let plans = plan(folder.path(), Some(3), Some(0)).expect("there are ports");
        assert_eq!(plans.len(), 3);
        for (at, plan) in plans.iter().enumerate() {
            let text = fs::read_to_string(&plan.config).expect("it was written");
            let sources = Sources { file: Some((plan.config.clone(), text)), ..Sources::default() };
            let loaded = load(&sources).expect("it can be started");
            assert_eq!(loaded.node.node_id, i32::try_from(at).expect("few") + 1);
            assert_eq!(loaded.node.listeners[0].bind.port, plan.port);
            assert_eq!(loaded.node.cluster.voters.len(), 3);
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
        let again = |nodes, port| plan(&fs::canonicalize(folder.path()).expect("it is there"), nodes, port);
        assert_eq!(again(None, None).expect("it is there"), plans);
        assert!(again(Some(2), None).expect_err("three").to_string().contains("a cluster of 3, not of 2"));
        let other = plans[0].port ^ 1;
        assert!(again(None, Some(other)).expect_err("elsewhere").to_string().contains("leave --port out"));
    }

    #[test]
    fn one_node_listens_for_clients_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let plans = plan(folder.path(), Some(1), Some(0)).expect("there is a port");
        let text = fs::read_to_string(&plans[0].config).expect("it was written");
        assert!(!text.contains("CONTROLLER") && !text.contains("voters"), "{text}");
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("it is bound").port();
        let folder = tempfile::tempdir().expect("a folder");
        let error = plan(folder.path(), Some(1), Some(port)).expect_err("taken").to_string();
        assert!(error.contains(&format!("port {port}")) && error.contains("--port"), "{error}");
    }
}
