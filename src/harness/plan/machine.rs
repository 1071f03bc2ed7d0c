//! What the machine at hand can do: measured in a tenth of a second, so that a plan can speak of time.

use crate::kernels::cpu::matmul::{View, matmul};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// The machine that a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Machine {
    /// Threads that the kernels use.
    pub threads: usize,
    /// Floating-point operations a second of a product of matrices, f32; `None` where a limit on addresses leaves no room to
    /// measure it.
    pub flops_per_second: Option<f64>,
    /// Memory that can be had without swapping, in bytes; `None` where the system does not say.
    pub available_bytes: Option<f64>,
}

/// Addresses a thread under a limit on them, below which no product is tried: faer reserves twice the last level of the cache for
/// each, and what a limit refuses ends the process.
const ADDRESSES: f64 = (256 << 20) as f64;

impl Machine {
    /// This one.
    pub fn measure() -> Self {
        let threads = rayon::current_num_threads();
        let [limits, status] = ["limits", "status"].map(|name| proc(&format!("self/{name}")));
        let room = addresses(&limits, &status).is_none_or(|left| left >= ADDRESSES * threads as f64);
        Machine { threads, flops_per_second: room.then(rate), available_bytes: available_bytes() }
    }
}

/// The best of as many products as fit into a tenth of a second, at least one.
fn rate() -> f64 {
    const SIDE: usize = 512;
    let (a, b, mut c) = (vec![1e-3f32; SIDE * SIDE], vec![1e-3f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while best == Duration::MAX || start.elapsed() < Duration::from_millis(100) {
        let lap = Instant::now();
        matmul(&mut c, (SIDE, SIDE, SIDE), View::rows(&a, SIDE), View::rows(&b, SIDE), false);
        best = best.min(lap.elapsed());
    }
    2.0 * (SIDE * SIDE * SIDE) as f64 / best.as_secs_f64().max(1e-9)
}

/// A table of the system's; empty where there is none.
fn proc(name: &str) -> String {
    std::fs::read_to_string(Path::new("/proc").join(name)).unwrap_or_default()
}

/// The memory that this process can still have: the least that the machine, its control group and its limit on addresses
/// leave. `None` where the system says none of these.
pub(in crate::harness) fn available_bytes() -> Option<f64> {
    let [meminfo, limits, status, groups] = ["meminfo", "self/limits", "self/status", "self/cgroup"].map(proc);
    let mut found = vec![available(&meminfo), addresses(&limits, &status)];
    for group in groups.lines().filter_map(|line| line.strip_prefix("0::/")) {
        // A group has no more than those above it.
        let whole = Path::new("/sys/fs/cgroup").join(group);
        for folder in whole.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup")) {
            let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            found.push(group_left(&text("memory.max"), &text("memory.current"), &text("memory.stat")));
        }
    }
    found.into_iter().flatten().reduce(f64::min)
}

/// What a control group leaves: the pages of files that it counts can be had back.
fn group_left(max: &str, current: &str, stat: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let files = stat.lines().find_map(|line| line.strip_prefix("file ")).and_then(number).unwrap_or(0.0);
    Some((number(max)? - (number(current)? - files).max(0.0)).max(0.0))
}

/// What `ulimit -v` leaves: addresses that are reserved and not used are the process's own.
fn addresses(limits: &str, status: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: f64 = line.split_whitespace().next()?.parse().ok()?; // or "unlimited"
    let used = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(kibibytes).unwrap_or(0.0);
    Some((limit - used).max(0.0))
}

fn kibibytes(text: &str) -> Option<f64> {
    Some(text.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

/// `MemAvailable` of Linux's table, in bytes.
fn available(meminfo: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kibibytes(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_is_read() {
        let text = "MemTotal:       24641792 kB\nMemFree:         1000 kB\nMemAvailable:   22806528 kB\n";
        assert_eq!(available(text), Some(22_806_528.0 * 1024.0));
        assert_eq!(available("MemTotal: 3 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn limits_on_addresses_and_groups_are_read() {
        let status = "VmPeak:\t 9 kB\nVmRSS:\t    100 kB\n";
        let limits = |soft: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax address space         {soft}  unlimited  bytes\n")
        };
        assert_eq!(addresses(&limits("307200000"), status), Some(307_200_000.0 - 102_400.0));
        assert_eq!(addresses(&limits("unlimited"), status), None);
        assert_eq!(addresses("", ""), None);
        let stat = "anon 5\nfile 300\nkernel 7\n";
        assert_eq!(group_left("1000\n", "800\n", stat), Some(500.0));
        assert_eq!(group_left("1000\n", "1200\n", ""), Some(0.0));
        assert_eq!(group_left("max\n", "800\n", stat), None);
        assert!(available_bytes().is_none_or(|bytes| bytes > 0.0));
    }

    #[test]
    fn a_machine_does_something() {
        let start = Instant::now();
        let machine = Machine::measure();
        assert!(machine.threads > 0 && machine.flops_per_second.is_none_or(|rate| rate > 1e7), "{machine:?}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
