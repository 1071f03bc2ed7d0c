//! What the machine at hand can do: measured in a fifth of a second, so that a plan can speak of time.

use crate::kernels::cpu::matmul::{View, matmul};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The machine that a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Machine {
    /// Threads that the kernels use.
    pub threads: usize,
    /// Floating-point operations a second of a product of matrices, f32.
    pub flops_per_second: f64,
    /// Memory that can be had without swapping, in bytes; `None` where the system does not say.
    pub available_bytes: Option<f64>,
}

impl Machine {
    /// This one: the best of as many products as fit into a tenth of a second, at least one.
    pub fn measure() -> Self {
        const SIDE: usize = 512;
        let (a, b, mut c) = (vec![1e-3f32; SIDE * SIDE], vec![1e-3f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
        let (start, mut best) = (Instant::now(), Duration::MAX);
        while best == Duration::MAX || start.elapsed() < Duration::from_millis(100) {
            let lap = Instant::now();
            matmul(&mut c, (SIDE, SIDE, SIDE), View::rows(&a, SIDE), View::rows(&b, SIDE), false);
            best = best.min(lap.elapsed());
        }
        Machine {
            threads: rayon::current_num_threads(),
            flops_per_second: 2.0 * (SIDE * SIDE * SIDE) as f64 / best.as_secs_f64().max(1e-9),
            available_bytes: std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)),
        }
    }
}

/// `MemAvailable` of Linux's table, in bytes.
fn available(meminfo: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
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
    fn a_machine_does_something() {
        let start = Instant::now();
        let machine = Machine::measure();
        assert!(machine.threads > 0 && machine.flops_per_second > 1e7, "{machine:?}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
