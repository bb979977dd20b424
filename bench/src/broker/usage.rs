//! What processes use, as `/proc` tells.

use std::fs;
use std::io;

/// Of some processes together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// The most of it that there ever was.
    pub resident_bytes_max: u64,
    /// Bytes that went to disks.
    pub written_bytes: u64,
}

impl Usage {
    /// Of one process.
    ///
    /// # Errors
    /// It has ended.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        Ok(Self {
            cpu_s: cpu_s(&stat, UTIME),
            resident_bytes: field(&status, "VmRSS:") * 1024,
            resident_bytes_max: field(&status, "VmHWM:") * 1024,
            written_bytes: field(&io, "write_bytes:"),
        })
    }

    /// Takes another one in.
    pub fn add(&mut self, other: &Self) {
        self.cpu_s += other.cpu_s;
        self.resident_bytes += other.resident_bytes;
        self.resident_bytes_max += other.resident_bytes_max;
        self.written_bytes += other.written_bytes;
    }
}

/// Where a process's own time in user mode stands in its `stat`, counted from behind its name; the kernel's follows (proc(5)).
const UTIME: usize = 11;
/// That of its children that have ended.
const CUTIME: usize = 13;

/// Processor time of this process's children that have ended, in seconds.
///
/// # Errors
/// As the system says.
pub fn ended_children_cpu_s() -> io::Result<f64> {
    Ok(cpu_s(&fs::read_to_string("/proc/self/stat")?, CUTIME))
}

fn cpu_s(stat: &str, field: usize) -> f64 {
    // The name in brackets may have blanks of its own.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let both = behind.split_whitespace().skip(field).take(2);
    let ticks: u64 = both.map(|text| text.parse::<u64>().unwrap_or(0)).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The whole machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Processor time that was not idle, in seconds, what a hypervisor took included.
    pub busy_s: f64,
}

impl Machine {
    /// So far.
    ///
    /// # Errors
    /// As the system says.
    pub fn now() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal
        let busy: u64 =
            ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, it)| it).sum();
        Ok(Self { busy_s: busy as f64 / rustix::param::clock_ticks_per_second() as f64 })
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
