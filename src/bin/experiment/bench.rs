//! `experiment bench`: the benchmarks that speed is measured on, a line a figure.

use crate::device::DeviceArgs;
use crate::say;
use clap::{Args, ValueEnum};
use dalle::harness::bench::{self, Measurement, Peaks, Settings};
use dalle::harness::device::Device;
use dalle::kernels::MatmulPrecision;
use dalle::{Error, Result};

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which; all that the device offers if left out, on the CPU without malevich, which takes 8 GB.
    benchmarks: Vec<String>,
    /// A JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// What products round their factors to: on a CPU f32 or bf16, on a GPU what its experimental kernels offer.
    #[arg(long, value_enum, default_value = "f32")]
    products: Rounding,
    /// The arithmetic's peak in TFLOP/s, to tell a work's share of it; of an H200, H100 or A100 it is known.
    #[arg(long, value_name = "TFLOP/s", value_parser = rate)]
    peak_tflops: Option<f64>,
    /// The memory's peak in TB/s, as above.
    #[arg(long, value_name = "TB/s", value_parser = rate)]
    peak_tb: Option<f64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rounding {
    F32,
    Tf32,
    Bf16,
}

impl From<Rounding> for MatmulPrecision {
    fn from(rounding: Rounding) -> MatmulPrecision {
        match rounding {
            Rounding::F32 => MatmulPrecision::F32,
            Rounding::Tf32 => MatmulPrecision::Tf32,
            Rounding::Bf16 => MatmulPrecision::Bf16,
        }
    }
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

pub fn bench(args: &BenchArgs, device: Device) -> Result<()> {
    let peaks = Peaks { tflops: args.peak_tflops, tb_per_s: args.peak_tb };
    let settings = Settings { device, products: args.products.into(), peaks };
    bench::bench(&args.benchmarks, settings, &mut |measured| {
        if args.json {
            return say(serde_json::to_string(&measured).map_err(|e| Error::Usage(e.to_string()))?);
        }
        let shares = shares(&measured);
        say(format_args!("{:<22} {:>10.2} {:<15}{shares}", measured.work, measured.value, measured.unit))
    })
}

/// What is said beside a figure for people: how near it is to what bounds it.
fn shares(measured: &Measurement) -> String {
    let percent = |share: f64| format!("{:.0} % of peak", 100.0 * share);
    let mut said = measured.fraction_of_peak.map_or_else(String::new, |share| format!("  {}", percent(share)));
    if let Some(reached) = &measured.reached {
        for (rate, unit, share) in [
            (reached.tflops, "TFLOP/s", reached.share_of_flops_bound),
            (reached.tb_per_s, "TB/s", reached.share_of_bytes_bound),
        ] {
            let share = share.map_or_else(String::new, |share| format!(" ({})", percent(share)));
            said += &format!("  {rate:.3} {unit}{share}");
        }
    }
    said
}
