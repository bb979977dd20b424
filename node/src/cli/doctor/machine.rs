//! What the system gives a process: descriptors, clock, memory.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::config::NodeConfig;

/// What a node wants beside its connections: journal, segments that are kept open, listeners.
const DESCRIPTORS_BESIDE: u64 = 4_096;
/// Below this a node runs into the limit in ordinary use.
const DESCRIPTORS_MIN: u64 = 512;
/// How long the clocks are compared.
const CLOCK_SPAN: Duration = Duration::from_millis(200);
/// How far they may be apart then.
const CLOCK_STEP_MAX: Duration = Duration::from_millis(20);
/// 2024-01-01: a clock before this was never set.
const CLOCK_MIN: Duration = Duration::from_secs(1_704_067_200);
/// Where services that set the clock say that they did.
const SYNCHRONIZED: &[(&str, &str)] = &[("/run/systemd/timesync/synchronized", "systemd-timesyncd")];

pub(super) fn descriptors(node: Option<&NodeConfig>) -> Check {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let connections = node.map_or(0, |node| u64::from(node.connections_max));
    // Who allows any number of connections is not held to it.
    let wanted = connections.clamp(1_024, 60_000) + DESCRIPTORS_BESIDE;
    let found = match (limit.current, limit.maximum) {
        (None, _) => "open files are not limited".to_owned(),
        (Some(soft), None) => format!("{soft} open files, which may be raised at will"),
        (Some(soft), Some(hard)) => format!("{soft} open files, which may be raised to {hard}"),
    };
    let then = format!(
        "raise it to {wanted} or more: `ulimit -n {wanted}`, or LimitNOFILE= in the node's systemd unit"
    );
    if soft < DESCRIPTORS_MIN {
        Check::fail("descriptors", found, then)
    } else if soft < wanted {
        Check::warn("descriptors", found, then)
    } else {
        Check::ok("descriptors", found)
    }
}

pub(super) fn clock() -> Check {
    let (wall, mono) = (SystemTime::now(), Instant::now());
    sleep(CLOCK_SPAN);
    let (wall_after, elapsed) = (SystemTime::now(), mono.elapsed());
    judge_clock(wall, wall_after, elapsed)
}

fn judge_clock(wall: SystemTime, wall_after: SystemTime, elapsed: Duration) -> Check {
    let then =
        "set the clock, and keep it with chrony or systemd-timesyncd: timestamps and retention go by it";
    let since_epoch = wall_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since_epoch < CLOCK_MIN {
        return Check::fail("clock", "the time of day is before 2024", then);
    }
    let went = wall_after.duration_since(wall).unwrap_or_default();
    let apart = went.abs_diff(elapsed);
    let found =
        format!("the time of day went {} ms while {} ms passed", went.as_millis(), elapsed.as_millis());
    if wall_after < wall {
        Check::warn("clock", "the time of day went back while it was looked at", then)
    } else if apart > CLOCK_STEP_MAX {
        Check::warn("clock", found, then)
    } else {
        Check::ok("clock", found)
    }
}

pub(super) fn clock_sync() -> Check {
    match SYNCHRONIZED.iter().find(|(path, _)| Path::new(path).exists()) {
        Some((_, by)) => Check::ok("clock_sync", format!("kept by {by}")),
        None => Check::warn(
            "clock_sync",
            "whether something keeps the clock right is not known",
            "see `timedatectl` or `chronyc tracking`; containers have the clock of their host",
        ),
    }
}

pub(super) fn memory(node: &NodeConfig) -> Check {
    let budget = node.memory.total_bytes;
    let available = meminfo("MemAvailable");
    // cgroup v2: what the process's own group may use is what counts in a container.
    let limit =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    judge_memory(budget, available, limit)
}

fn judge_memory(budget: u64, available: Option<u64>, limit: Option<u64>) -> Check {
    let least = [available, limit].into_iter().flatten().min();
    let Some(least) = least else {
        let found = format!("memory.budget.bytes is {budget}; how much memory there is is not known");
        return Check::warn("memory", found, "compare it with what the machine has");
    };
    let found = format!("memory.budget.bytes is {budget}, {least} bytes are available");
    let then = "lower memory.budget.bytes, or give the node more memory";
    if budget > least {
        Check::fail("memory", found, then)
    } else if budget > least / 4 * 3 {
        Check::warn("memory", found, "leave a quarter for the page cache, or lower memory.budget.bytes")
    } else {
        Check::ok("memory", found)
    }
}

pub(super) fn swap() -> Check {
    match meminfo("SwapTotal") {
        None => Check::warn("swap", "whether there is swap space is not known", "see `swapon --show`"),
        Some(0) => Check::ok("swap", "none"),
        Some(bytes) => Check::warn(
            "swap",
            format!("{bytes} bytes of swap space: a node that is swapped out misses its heartbeats"),
            "turn it off with `swapoff -a`, or set vm.swappiness to 1",
        ),
    }
}

/// A line of the kernel's account, in bytes.
fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn clocks_that_part_are_told() {
        let at = |ms: u64| UNIX_EPOCH + CLOCK_MIN + Duration::from_millis(ms);
        let span = Duration::from_millis(200);
        assert_eq!(judge_clock(at(0), at(201), span).state, State::Ok);
        assert_eq!(judge_clock(at(0), at(400), span).state, State::Warn);
        assert_eq!(judge_clock(at(500), at(400), span).state, State::Warn);
        assert_eq!(judge_clock(UNIX_EPOCH, UNIX_EPOCH + span, span).state, State::Fail);
    }

    #[test]
    fn memory_is_judged_by_the_least_that_there_is() {
        assert_eq!(judge_memory(1_000, Some(10_000), None).state, State::Ok);
        assert_eq!(judge_memory(1_000, Some(10_000), Some(1_200)).state, State::Warn);
        assert_eq!(judge_memory(1_000, Some(999), Some(10_000)).state, State::Fail);
        assert_eq!(judge_memory(1_000, None, None).state, State::Warn);
    }
}
