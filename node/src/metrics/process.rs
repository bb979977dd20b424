//! The process as the kernel sees it, under the names that Prometheus' own clients give. What the kernel does not tell is
//! left out.

use super::table::{self, Definition};
use rustix::param::{clock_ticks_per_second, page_size};
use std::fs;

/// Each number that could be read.
pub(super) fn numbers() -> Vec<(&'static Definition, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = clock_ticks_per_second() as f64;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<f64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    [
        (&table::PROCESS_CPU, cpu_ticks(&stat).map(|used| used / ticks)),
        (&table::PROCESS_MEMORY, pages.map(|pages| pages * page_size() as f64)),
        (&table::PROCESS_FDS, fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64)),
        (&table::PROCESS_FDS_MAX, fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(fds_max)),
        (
            &table::PROCESS_START,
            fs::read_to_string("/proc/stat")
                .ok()
                .as_deref()
                .and_then(booted_at)
                .and_then(|booted_at| Some(booted_at + stat_field(&stat, STARTED_AT)? / ticks)),
        ),
    ]
    .into_iter()
    .filter_map(|(definition, value)| Some((definition, value?)))
    .collect()
}

/// Fields of proc_pid_stat(5), counted from the one behind the command's name.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const STARTED_AT: usize = 19;

fn stat_field(stat: &str, at: usize) -> Option<f64> {
    // The name may hold spaces and parentheses: what counts is the last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(at)?.parse().ok()
}

fn cpu_ticks(stat: &str) -> Option<f64> {
    Some(stat_field(stat, USER_TIME)? + stat_field(stat, SYSTEM_TIME)?)
}

fn fds_max(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    // `unlimited` is no number: then nothing is shown.
    line.split_whitespace().next()?.parse().ok()
}

fn booted_at(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_where_the_kernel_writes_them() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 117 0 0 0 150 50 0 0 20 0 1 0 7560 4096 9";
        assert_eq!((cpu_ticks(stat), stat_field(stat, STARTED_AT)), (Some(200.0), Some(7560.0)));
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024        524288    files\n";
        assert_eq!(fds_max(limits), Some(1024.0));
        assert_eq!(fds_max("Max open files            unlimited  unlimited  files"), None);
        assert_eq!(booted_at("cpu 1 2\nbtime 1700000000\nctxt 5\n"), Some(1_700_000_000.0));
        assert_eq!((cpu_ticks(""), booted_at("")), (None, None));
    }
}
