//! Clusters under test: processes of this machine on loopback, their settings at the defaults, with fresh folders.

mod kafka;
mod seedlog;
mod usage;

pub use usage::{Machine, Usage, ended_children_cpu_s};

use crate::load::client::Client;
use rustix::fs::{Advice, fadvise};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any start takes, a recovery of many partitions included.
const START_MAX: Duration = Duration::from_secs(300);
/// Longer than an orderly end takes.
const STOP_MAX: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(5);

/// Whose brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ours.
    Seedlog,
    /// Apache Kafka's.
    Kafka,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Seedlog => "Seedlog",
            Self::Kafka => "Kafka",
        })
    }
}

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose.
    pub kind: Kind,
    /// A folder for data, settings and logs.
    pub folder: PathBuf,
    /// Where each node listens, for clients and for other nodes.
    pub ports: Vec<(u16, u16)>,
    /// Settings besides those that a node cannot do without.
    pub settings: Vec<(String, String)>,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The `seedlog` binary.
    pub seedlog: PathBuf,
    /// A folder with Kafka's jars in `libs`.
    pub kafka: Option<PathBuf>,
}

/// A cluster that runs. Its processes are killed when this value goes away.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    programs: Programs,
    nodes: Vec<Child>,
}

impl Cluster {
    /// Writes what a new cluster needs into an empty folder.
    ///
    /// # Errors
    /// As the system says.
    pub fn prepare(plan: Plan, programs: &Programs) -> io::Result<Self> {
        if plan.folder.exists() {
            fs::remove_dir_all(&plan.folder)?;
        }
        fs::create_dir_all(&plan.folder)?;
        match plan.kind {
            Kind::Seedlog => seedlog::prepare(&plan)?,
            Kind::Kafka => kafka::prepare(&plan, programs)?,
        }
        Ok(Self { plan, programs: programs.clone(), nodes: Vec::new() })
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn started(mut self) -> io::Result<Self> {
        self.start()?;
        Ok(self)
    }

    /// Starts all nodes and waits until each serves and knows all the others.
    ///
    /// # Errors
    /// A process cannot be started, or does not serve in time.
    pub fn start(&mut self) -> io::Result<()> {
        let began = Instant::now();
        for node in 1..=self.plan.nodes() {
            let mut command = match self.plan.kind {
                Kind::Seedlog => seedlog::command(&self.plan, &self.programs, node),
                Kind::Kafka => kafka::command(&self.plan, &self.programs, node)?,
            };
            let log = self.plan.log(node);
            let said = OpenOptions::new().create(true).append(true).open(&log)?;
            command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
            let child = command.spawn().map_err(|error| {
                let program = command.get_program().to_string_lossy();
                io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
            })?;
            self.nodes.push(child);
        }
        self.wait_until_serving(began)
    }

    /// Ends all nodes in good order.
    ///
    /// # Errors
    /// As the system says; one does not end.
    pub fn stop(&mut self) -> io::Result<()> {
        for child in &self.nodes {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::TERM)?;
            }
        }
        let began = Instant::now();
        for (node, child) in (1..).zip(&mut self.nodes) {
            while child.try_wait()?.is_none() {
                if began.elapsed() > STOP_MAX {
                    return Err(io::Error::other(format!("node {node} does not end")));
                }
                std::thread::sleep(LOOK);
            }
        }
        self.nodes.clear();
        Ok(())
    }

    fn wait_until_serving(&mut self, began: Instant) -> io::Result<()> {
        for node in 1..=self.plan.nodes() {
            let address = self.plan.address(node);
            loop {
                let seen = Client::connect(address).and_then(|mut client| client.brokers());
                if seen.is_ok_and(|brokers| brokers == usize::from(self.plan.nodes())) {
                    break;
                }
                let child = &mut self.nodes[usize::from(node - 1)];
                let ended = child.try_wait()?;
                if ended.is_some() || began.elapsed() > START_MAX {
                    let why = ended.map_or("does not serve".to_owned(), |status| format!("ended: {status}"));
                    let log = self.plan.log(node);
                    return Err(io::Error::other(format!("node {node} {why}; see {}", log.display())));
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Ends it and removes all that it wrote.
    ///
    /// # Errors
    /// As the system says.
    pub fn remove(mut self) -> io::Result<()> {
        self.kill()?;
        fs::remove_dir_all(&self.plan.folder)
    }

    /// Ends all nodes at once, as a crash would (SIGKILL).
    ///
    /// # Errors
    /// As the system says.
    pub fn kill(&mut self) -> io::Result<()> {
        for child in &mut self.nodes {
            child.kill()?;
        }
        for mut child in self.nodes.drain(..) {
            child.wait()?;
        }
        Ok(())
    }

    /// What its processes have used so far, and hold.
    ///
    /// # Errors
    /// A process has ended.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut sum = Usage::default();
        for child in &self.nodes {
            sum.add(&Usage::of(child.id())?);
        }
        Ok(sum)
    }

    /// Waits until nothing is left that the system has yet to write to the disk.
    ///
    /// # Errors
    /// As the system says.
    pub fn write_out(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.plan.folder)?)?)
    }

    /// Puts all its files out of the page cache: what is read next comes from the disk.
    ///
    /// # Errors
    /// As the system says.
    pub fn forget_pages(&self) -> io::Result<()> {
        forget_folder(&self.plan.folder)
    }

    /// The first node's address.
    #[must_use]
    pub fn bootstrap(&self) -> SocketAddr {
        self.plan.address(1)
    }

    /// Where the programs are.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What was started.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nothing is left to be told of it.
        let _ = self.kill();
    }
}

impl Plan {
    /// Nodes, each of them a broker and a controller.
    #[must_use]
    pub fn nodes(&self) -> u16 {
        u16::try_from(self.ports.len()).unwrap_or(u16::MAX)
    }

    fn address(&self, node: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[usize::from(node - 1)].0).into()
    }

    fn controller_port(&self, node: u16) -> u16 {
        self.ports[usize::from(node - 1)].1
    }

    fn voters(&self) -> String {
        let voters =
            (1..=self.nodes()).map(|node| format!("{node}@127.0.0.1:{}", self.controller_port(node)));
        voters.collect::<Vec<_>>().join(",")
    }

    fn config(&self, node: u16) -> PathBuf {
        self.folder.join(format!("node-{node}.properties"))
    }

    fn data(&self, node: u16) -> PathBuf {
        self.folder.join(format!("data-{node}"))
    }

    fn log(&self, node: u16) -> PathBuf {
        self.folder.join(format!("node-{node}.log"))
    }

    fn write_config(&self, node: u16, settings: &[(&str, String)]) -> io::Result<()> {
        let own = settings.iter().map(|(key, value)| format!("{key}={value}\n"));
        let more = self.settings.iter().map(|(key, value)| format!("{key}={value}\n"));
        fs::write(self.config(node), own.chain(more).collect::<String>())
    }
}

/// Puts the files of a folder out of the page cache. What a broker removes meanwhile needs no forgetting.
fn forget_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let forgotten = match entry.file_type()?.is_dir() {
            true => forget_folder(&entry.path()),
            false => File::open(entry.path()).and_then(|file| {
                // Only what is on disk can be forgotten.
                file.sync_data()?;
                Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
            }),
        };
        match forgotten {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Ports that are free, in pairs.
///
/// # Errors
/// As the system says.
pub fn free_ports(pairs: u16) -> io::Result<Vec<(u16, u16)>> {
    // All are held at once, so that none is given twice.
    let held: Vec<(TcpListener, TcpListener)> = (0..pairs)
        .map(|_| {
            Ok((TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))
        })
        .collect::<io::Result<_>>()?;
    held.iter().map(|(one, other)| Ok((one.local_addr()?.port(), other.local_addr()?.port()))).collect()
}

/// Runs a command to its end; its output goes to a file.
fn run(command: &mut Command, log: &Path) -> io::Result<()> {
    let said = File::create(log)?;
    let status = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} failed; see {}",
        command.get_program().to_string_lossy(),
        log.display()
    )))
}
