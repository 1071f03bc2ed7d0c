//! A plan for people: aligned tables, what was assumed, and what does not fit.

use super::{ASSUMPTIONS, CONVOLUTION_EFFICIENCY, DECODING_EFFICIENCY, Flops, LINEAR_EFFICIENCY, Plan};
use crate::harness::table::Table;
use std::fmt::{Display, Formatter, Result};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let machine = self.machine;
        let available = machine.available_bytes.map_or_else(String::new, |free| format!(", {} available", bytes(free)));
        let rate = machine.flops_per_second.map_or_else(
            || "too little memory to measure its speed, so there are no times".to_owned(),
            |rate| format!("{}/s measured", operations(rate)),
        );
        writeln!(f, "{}, preset {}, on {} threads: {rate}{available}\n", self.name, self.preset, machine.threads)?;
        writeln!(f, "{}", self.models())?;
        writeln!(f, "{}", self.memory())?;
        writeln!(f, "{}", self.time())?;
        let draw = &self.sampling;
        writeln!(
            f,
            "key-value cache of a sequence: {}, {:.1} % of the {} of all positions\n",
            bytes(draw.cache_bytes),
            100.0 * draw.cache_bytes / draw.dense_cache_bytes,
            bytes(draw.dense_cache_bytes)
        )?;
        writeln!(
            f,
            "- time: work over the measured rate, of which training and ranking reach {LINEAR_EFFICIENCY}, convolutions \
             {CONVOLUTION_EFFICIENCY}, drawing tokens {DECODING_EFFICIENCY}"
        )?;
        ASSUMPTIONS.iter().try_for_each(|line| writeln!(f, "- {line}"))?;
        self.warnings.iter().try_for_each(|line| writeln!(f, "warning: {line}"))
    }
}

impl Plan {
    fn models(&self) -> Table {
        let mut table = Table::new(["model, per example", "parameters", "forward", "training", "kept"]);
        for stage in &self.stages {
            for part in &stage.parts {
                table.row([
                    format!("{} {}", stage.name, part.name),
                    count(part.parameters),
                    work(part.forward),
                    work(part.training),
                    bytes(part.kept_bytes),
                ]);
            }
            let all = || stage.parts.iter();
            table.row([
                stage.name.to_owned(),
                count(all().map(|part| part.parameters).sum()),
                work(all().map(|part| part.forward).sum()),
                work(all().map(|part| part.training).sum()),
                bytes(all().map(|part| part.kept_bytes).sum()),
            ]);
        }
        table
    }

    fn memory(&self) -> Table {
        let mut table = Table::new([
            "memory, per batch",
            "weights",
            "gradients",
            "moments",
            "average",
            "kept",
            "in flight",
            "checkpoint",
            "peak",
        ]);
        for stage in &self.stages {
            let m = stage.memory;
            let sizes =
                [m.weights, m.gradients, m.moments, m.average, m.kept, m.in_flight, m.checkpoint, m.peak()].map(bytes);
            table.row(std::iter::once(stage.name.to_owned()).chain(sizes));
        }
        let none = || "-".to_owned();
        let caches = bytes(self.sampling.cache_bytes * self.sampling.sequences as f64);
        let sampling = ["sampling".to_owned(), bytes(self.sampling.weight_bytes), none(), none(), none(), caches];
        table.row(sampling.into_iter().chain([none(), none(), bytes(self.sampling.peak())]));
        table
    }

    fn time(&self) -> Table {
        let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), duration);
        let mut table = Table::new(["time", "batch", "work", "each", "steps", "in all"]);
        for stage in &self.stages {
            table.row([
                stage.name.to_owned(),
                stage.batch.to_string(),
                work(stage.flops),
                time(stage.seconds),
                stage.steps.to_string(),
                time(stage.in_all()),
            ]);
        }
        let sampling = &self.sampling;
        table.row([
            "sampling (per caption)".to_owned(),
            sampling.candidates.to_string(),
            work(sampling.flops),
            time(sampling.seconds),
            sampling.captions.to_string(),
            time(sampling.in_all()),
        ]);
        let none = String::new;
        table.row(["all".to_owned(), none(), none(), none(), none(), time(self.seconds())]);
        table
    }
}

/// Operations, and in brackets those of dense attention where they differ.
fn work(flops: Flops) -> String {
    match flops.total() {
        0.0 => "-".to_owned(),
        total if flops.dense_total() == total => operations(total),
        total => format!("{} ({})", operations(total), operations(flops.dense_total())),
    }
}

/// Three digits and the largest unit that leaves at least one.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    let mut value = value;
    while value >= 0.9995 * step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit]).trim_end().to_owned()
}

fn count(parameters: usize) -> String {
    match parameters {
        0 => "-".to_owned(),
        _ => scaled(parameters as f64, 1e3, &["", "k", "M", "G"]),
    }
}

fn operations(flops: f64) -> String {
    scaled(flops, 1e3, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"])
}

pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// Seconds as far as a plan knows them.
pub(in crate::harness) fn duration(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    match seconds {
        s if s < 0.9995e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 1.5 * MINUTE => format!("{s:.0} s"),
        s if s < 1.5 * HOUR => format!("{:.0} min", s / MINUTE),
        s if s < 2.0 * DAY => format!("{:.1} h", s / HOUR),
        s if s < 730.0 * DAY => format!("{:.0} days", s / DAY),
        s => format!("{:.0} years", s / (365.25 * DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_leave_a_digit() {
        assert_eq!(
            [0.0, 999.0, 1023.9, 1024.0, 1536.0, 1e9].map(bytes),
            ["0 B", "999 B", "1.00 KiB", "1.00 KiB", "1.50 KiB", "954 MiB"]
        );
        assert_eq!([12_089_000_000, 53_786_240, 999_999, 31, 0].map(count), ["12.1 G", "53.8 M", "1.00 M", "31", "-"]);
        assert_eq!([136.1e9, 9.2e22, 1e30].map(operations), ["136 GFLOP", "92.0 ZFLOP", "1000000000 ZFLOP"]);
    }

    #[test]
    fn times_are_human() {
        let times = [5e-6, 0.0042, 0.99999, 9.0, 75.0, 600.0, 7200.0, 5.0 * 86400.0, 1e12];
        let expected = ["5 µs", "4 ms", "1.0 s", "9.0 s", "75 s", "10 min", "2.0 h", "5 days", "31688 years"];
        assert_eq!(times.map(duration), expected);
    }
}
