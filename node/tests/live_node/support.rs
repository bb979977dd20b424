//! A node of a test: a child process on a temporary folder, ended by its handle alone, and the command line beside it.
//!
//! Waits have a deadline and nothing is asserted about time: a wait that ends there is a failure, whatever it was for.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// Lines of a node's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 20;

/// A command of the binary under test, without the settings that the caller's environment may hold.
pub(crate) fn seedlog(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog"));
    command.args(args).env_clear().env("NO_COLOR", "1").env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Polls until `found` has something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        thread::sleep(POLL);
    }
}

/// Where a node lives, and how it is set up.
pub(crate) struct Place {
    dir: TempDir,
    settings: Vec<(String, String)>,
}

impl Place {
    /// An empty folder, and free ports of loopback.
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("seedlog-live-").unwrap();
        let place = Self { dir, settings: Vec::new() };
        let data = place.data().display().to_string();
        place
            .with("log.dirs", &data)
            .with("listeners", "PLAINTEXT://127.0.0.1:0")
            .with("admin.listener", "off")
    }

    /// A journal of a few small files and little memory, so that records move on to small segments and are read from there.
    pub(crate) fn with_small_journal() -> Self {
        Self::new()
            .with("journal.file.bytes", "1048576")
            .with("journal.bytes.max", "8388608")
            .with("group.bytes.max", "524288")
            .with("message.max.bytes", "262144")
            .with("socket.request.max.bytes", "1048576")
            .with("fetch.max.bytes", "4194304")
            .with("memory.budget.bytes", "67108864")
            .with("memory.tail.cache.bytes", "8388608")
            .with("log.segment.bytes", "1048576")
    }

    /// The same with a setting.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// Gives a setting to the runs that follow.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(set, _)| set != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file beside the data folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The journal's files, oldest first.
    pub(crate) fn journal(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().path());
        let is_journal = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("journal-");
        let mut files: Vec<PathBuf> = entries.filter(is_journal).collect();
        files.sort();
        files
    }

    /// The arguments of a node here, and these.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = seedlog(&["node", "--log-format", "json"]);
        for (key, value) in &self.settings {
            command.args(["--override", &format!("{key}={value}")]);
        }
        command.args(args);
        command
    }

    /// Starts a node and waits until it serves.
    pub(crate) fn start(&self) -> Node {
        let listeners =
            self.settings.iter().find(|(key, _)| key == "listeners").unwrap().1.split(',').count();
        self.start_with(listeners)
    }

    /// The same for a node of whose listeners so many are for clients.
    pub(crate) fn start_with(&self, listeners: usize) -> Node {
        Node::start(self, listeners)
    }

    /// Starts a node that must refuse to run; what it says on standard error.
    pub(crate) fn refusal(&self) -> String {
        let mut child =
            self.command(&["--print-ready"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let status = wait_for_exit(&mut child);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert_eq!(stdout, "", "a node that is not ready does not say so");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}

/// A node that serves. It is killed when this value goes away.
pub(crate) struct Node {
    child: Child,
    addresses: Vec<String>,
    log: PathBuf,
    /// ERROR lines are part of the test.
    may_complain: bool,
}

impl Node {
    fn start(place: &Place, listeners: usize) -> Self {
        let log = place.file("node.log");
        let mut child = place
            .command(&["--print-ready"])
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        // From here on `drop` ends the child, whatever happens.
        let mut node = Self { child, addresses: Vec::new(), log, may_complain: false };
        while node.addresses.len() < listeners {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let address =
                        line.strip_prefix("ready listener=").and_then(|line| line.split_once("://"));
                    let (_, address) = address.unwrap_or_else(|| panic!("not a line of a node: {line}"));
                    node.addresses.push(address.to_owned());
                }
                Err(_) => panic!("the node does not serve"),
            }
        }
        node
    }

    /// Lets the log have lines of level ERROR.
    pub(crate) fn may_complain(mut self) -> Self {
        self.may_complain = true;
        self
    }

    /// Where its first listener is, as host:port.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// Where all of them are.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Its first listener as a value of `listeners`, so that the next run is found at the same place.
    pub(crate) fn listeners(&self) -> String {
        format!("PLAINTEXT://{}", self.address())
    }

    /// A raw connection that waits for nothing for ever.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A command of a client of this node.
    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = seedlog(args);
        command.args(["--bootstrap-server", self.address()]);
        command
    }

    /// Runs a client's command.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.client(args).output().unwrap()
    }

    /// Runs a client's command that must succeed; its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for JSON: a value for each line.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.ok(&[args, &["--json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a client's command that must end with this code; what it says on standard error.
    pub(crate) fn refuses(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        stderr
    }

    /// Runs `seedlog produce` with these lines on its standard input; what it prints.
    pub(crate) fn produce(&self, args: &[&str], lines: &[u8]) -> String {
        let mut command = self.client(&[&["produce"], args].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = read_all(child.stdout.take().unwrap());
        child.stdin.take().unwrap().write_all(lines).unwrap();
        let status = wait_for_exit(&mut child);
        assert_eq!(status.code(), Some(0), "{args:?}");
        String::from_utf8(stdout.join().unwrap()).unwrap()
    }

    /// The first so many records of a topic, each partition from its beginning.
    pub(crate) fn read(&self, topic: &str, count: usize) -> Vec<Value> {
        let count = count.to_string();
        self.json(&["consume", "--topic", topic, "--from-beginning", "--max-messages", &count])
    }

    /// Where each partition of a topic ends.
    pub(crate) fn ends(&self, topic: &str) -> Vec<u64> {
        let described = &self.json(&["topic", "describe", "--topic", topic])[0][0];
        let partitions = described["partitions"].as_array().unwrap();
        partitions.iter().map(|partition| partition["latest_offset"].as_u64().unwrap()).collect()
    }

    /// The lines of its log. One that is being written is left out.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The line of the log with this message.
    pub(crate) fn logged(&self, message: &str) -> Value {
        let is_it = |line: &Value| line["fields"]["message"] == message;
        wait_for(message, || self.log().into_iter().find(is_it))["fields"].clone()
    }

    /// Bytes of memory that it has.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kib.unwrap().parse::<u64>().unwrap() << 10
    }

    /// SIGKILL: it gets no chance to write anything more.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal to it and to nobody else.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        self.ends_well();
    }

    /// It ends by itself, with code 0.
    pub(crate) fn ends_well(mut self) {
        let status = wait_for_exit(&mut self.child);
        assert_eq!(status.code(), Some(0), "{status}");
        self.logged("stopped");
    }

    /// A node is alive, and nothing in its log is a bug.
    pub(crate) fn is_sound(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the node ended");
        self.check_log();
    }

    fn check_log(&self) {
        let text = fs::read_to_string(&self.log).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        assert!(self.may_complain || !text.contains(r#""level":"ERROR""#), "{text}");
    }
}

impl Drop for Node {
    #[expect(clippy::print_stderr, reason = "the test harness shows it where a test failed")]
    fn drop(&mut self) {
        // Either it is gone already or it goes now; there is nothing else to try.
        self.child.kill().and_then(|()| self.child.wait()).ok();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("the node's log ended so:\n{}", shown.join("\n"));
        } else {
            self.check_log();
        }
    }
}

/// Waits for a child's end; one that does not end is killed and fails the test.
pub(crate) fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().and_then(|()| child.wait()).ok();
            panic!("the process did not end within {PATIENCE:?}");
        }
        thread::sleep(POLL);
    }
}

/// The lines of a pipe as they come; the channel ends with them.
pub(crate) fn read_lines(pipe: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Whoever asked may have enough; the writer must not wait for us all the same.
            sender.send(line).ok();
        }
    });
    lines
}

fn read_all(mut pipe: ChildStdout) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Changes one bit in each place of the journal where these bytes stand; in how many.
pub(crate) fn damage(files: &[PathBuf], bytes: &[u8]) -> usize {
    let mut places = 0;
    for path in files {
        let mut content = fs::read(path).unwrap();
        while let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at] ^= 1;
            places += 1;
        }
        fs::write(path, content).unwrap();
    }
    places
}

/// Asks the admin port; status and body.
pub(crate) fn http(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Copies a data folder that no node uses.
pub(crate) fn copy_data(from: &Place, to: &Place) {
    copy_folder(&from.data(), &to.data());
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
