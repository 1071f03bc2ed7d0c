//! Works of the processor's own kernels, on random numbers.

use super::inputs::random;
use super::timing::{Bench, product, rounded_product};
use super::{Benchmark, Emit, counts};
use crate::error::Result;
use crate::mask::{Layout, Pattern};
use crate::models::presets::bench_l;
use crate::ops::{AttentionOp, Mask, Products, products};
use dfdx::prelude::*;
use std::hint::black_box;

/// In the order in which they are measured.
pub fn benchmarks() -> [Benchmark<Cpu>; 2] {
    [("gemm", gemm), ("attention", attention)]
}

/// Products of a training step's and of a sampling step's shapes.
fn gemm(bench: &Bench<Cpu>, emit: Emit<'_>) -> Result<()> {
    for (m, k, n) in [(2560, 512, 2048), (1280, 2048, 512), (8, 512, 2048)] {
        let rate = match products() {
            Products::F32 => product(m, k, n),
            Products::Bf16 => rounded_product(m, k, n),
        };
        emit(bench.bounded(&format!("$-{m}x{k}x{n}"), rate.flops / 1e9, "GFLOP/s", rate))?;
    }
    let bytes = bench.machine.map_or(f64::NAN, |machine| machine.bytes);
    emit(bench.figure("copy-bandwidth", bytes / 1e9, "GB/s", counts::Count { flops: 0.0, bytes }))
}

/// One layer's attention, forward and backward, at the larger shape.
fn attention(bench: &Bench<Cpu>, emit: Emit<'_>) -> Result<()> {
    const WIDTH: usize = 512;
    let (text, grid, kernel) = (256, 32, 11);
    let layout = Layout { text, grid };
    let sequence = layout.sequence();
    let values = random("qkv", sequence * 3 * WIDTH);
    let qkv: Tensor<(usize, usize, Const<1536>), f32, Cpu> =
        bench.device.try_tensor_from_vec(values, (1, sequence, Const))?;
    for (name, pattern) in [
        ("dense-causal", Pattern::Full),
        ("row", Pattern::Row),
        ("col", Pattern::Column),
        ("conv", Pattern::Conv { kernel }),
    ] {
        let mask = Mask::new(pattern, layout);
        let seconds = bench.median(9, || {
            let out = Cpu::attention::<bench_l::Block, _, _, _>(qkv.clone().leaky_traced(), &mask)?;
            black_box(out.try_sum::<(), _>()?.try_backward()?);
            Ok(())
        })?;
        let rate = counts::attention(pattern, layout, WIDTH) / seconds;
        emit(bench.bounded(&format!("$-{name}"), 1e3 * seconds, "ms", rate))?;
    }
    Ok(())
}
