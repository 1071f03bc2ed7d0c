//! Whether a device computes what the CPU does: one table to run on a machine before it is trusted with an experiment.
//!
//! On the CPU the compositions of dfdx operations, which are what a device without kernels of its own runs, stand in for the
//! device; so the test itself is tested where there is no GPU.

mod ops;
mod stages;

use super::device::Device;
use super::table::Table;
use crate::error::Result;
use crate::kernels::Kernels;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What.
    pub what: String,
    /// How far it is from what was expected.
    pub error: f64,
    /// How far it may be.
    pub limit: f64,
}

impl Row {
    /// Whether it is near enough; NaN never is.
    pub fn passed(&self) -> bool {
        self.error <= self.limit
    }
}

/// Everything that was compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Selftest(pub Vec<Row>);

impl Selftest {
    /// Compares everything on `device`.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) where there is none or it refuses; a wrong result is no error but a row.
    pub fn run(device: Device) -> Result<Selftest> {
        let mut rows = match device {
            Device::Cpu => ops::rows(&dfdx::tensor::Cpu::default(), ops::Path::Composition)?,
            Device::Cuda(kernels) => on_gpu(kernels)?,
        };
        rows.extend(stages::rows(device)?);
        Ok(Selftest(rows))
    }

    /// How many rows failed.
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|row| !row.passed()).count()
    }
}

#[cfg(feature = "cuda")]
fn on_gpu(kernels: Kernels) -> Result<Vec<Row>> {
    use crate::kernels::{MatmulPrecision, cuda};
    let device = cuda::open(kernels)?;
    let mut rows = ops::rows(&device, ops::Path::Operation)?;
    if let Some(gpu) = cuda::experimental() {
        // Half of the last place that is kept, for each of two factors, and what a sum makes of it.
        for (products, name, limit) in [(MatmulPrecision::Tf32, "tf32", 2e-3), (MatmulPrecision::Bf16, "bf16", 2e-2)] {
            gpu.set_products(products);
            rows.extend(ops::rounded(&device, name, limit)?);
        }
        gpu.set_products(MatmulPrecision::F32);
    }
    Ok(rows)
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(_: Kernels) -> Result<Vec<Row>> {
    Err(Device::no_cuda())
}

impl Display for Selftest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["check", "error", "limit", ""]);
        for row in &self.0 {
            let verdict = if row.passed() { "ok" } else { "FAILED" };
            table.row([
                row.what.clone(),
                format!("{:.1e}", row.error),
                format!("{:.0e}", row.limit),
                verdict.to_owned(),
            ]);
        }
        write!(f, "{table}{} of {} failed", self.failed(), self.0.len())
    }
}

/// The largest difference over the largest expected value; NaN for other lengths or values that are no numbers.
fn relative(expected: &[f64], got: &[f64]) -> f64 {
    if expected.len() != got.len() || expected.is_empty() {
        return f64::NAN;
    }
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |most, v| worse(most, v.abs()));
    expected.iter().zip(got).map(|(e, g)| (e - g).abs()).fold(0.0, worse) / largest
}

/// The larger one; NaN if there is one.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_relative_and_nothing_hides_it() {
        assert_eq!(relative(&[0.0, -4.0], &[1.0, -4.0]), 0.25);
        assert!(relative(&[1.0], &[f64::NAN]).is_nan() && relative(&[1.0, f64::NAN], &[1.0, 1.0]).is_nan());
        assert!(relative(&[1.0], &[1.0, 2.0]).is_nan() && relative(&[], &[]).is_nan());
        let row = |error| Row { what: "x".to_owned(), error, limit: 1e-4 };
        assert!(row(1e-4).passed() && !row(2e-4).passed() && !row(f64::NAN).passed());
        let text = Selftest(vec![row(0.0), row(f64::NAN)]).to_string();
        assert!(text.contains("FAILED") && text.ends_with("1 of 2 failed"), "{text}");
    }
}
