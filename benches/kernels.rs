//! The CPU's kernels at sizes of the training works: `cargo bench --bench kernels`, with `-- attention` for some of them.
//!
//! `kernels --count NAME TIMES` runs one of them so often and says nothing: what `scripts/instructions.py` counts.

use criterion::Criterion;
use dalle::kernels::cpu::activation::{self, Activation};
use dalle::kernels::cpu::adamw::{self, AdamW};
use dalle::kernels::cpu::attention::{self, Attention, BLOCK};
use dalle::kernels::cpu::conv::{self, Conv};
use dalle::kernels::cpu::packed::{Packed, Precision};
use dalle::kernels::cpu::{cross_entropy, gumbel, laplace, linear, norm};
use dalle::mask::{Layout, Pattern};
use std::hint::black_box;

/// A kernel that is ready to run.
type Run = Box<dyn FnMut()>;
/// Its name, and what makes its inputs: only those of the kernels that are run are made.
type Kernel = (String, Box<dyn Fn() -> Run>);

/// Numbers of [−1, 1) without a pattern, made in few instructions.
fn values(count: usize) -> Vec<f32> {
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((*state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    let mut state = count as u64;
    std::iter::from_fn(|| next(&mut state)).take(count).collect()
}

fn kernel(name: impl Into<String>, make: impl Fn() -> Run + 'static) -> Kernel {
    (name.into(), Box::new(make))
}

fn kernels() -> Vec<Kernel> {
    let mut all = Vec::new();
    let conv = Pattern::Conv { kernel: 7 };
    for (name, pattern) in
        [("row", Pattern::Row), ("column", Pattern::Column), ("convolution", conv), ("full", Pattern::Full)]
    {
        all.push(kernel(format!("attention {name}"), move || attention(pattern, false)));
        all.push(kernel(format!("attention {name} backward"), move || attention(pattern, true)));
    }
    for (name, inputs, side, relu) in
        [("3x3", 64, 3, true), ("1x1", 64, 1, false), ("1x1 of a relu", 64, 1, true), ("7x7", 3, 7, false)]
    {
        let c = Conv { batch: 2, height: 32, width: 32, inputs, outputs: 32, kernel: side, relu };
        all.push(kernel(format!("conv {name}"), move || convolution(c, false)));
        all.push(kernel(format!("conv {name} backward"), move || convolution(c, true)));
    }
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        for rows in [1, 8] {
            let name = format!("packed {precision:?} of {rows}").to_lowercase();
            all.push(kernel(name, move || packed(precision, rows)));
        }
    }
    all.extend(transformer());
    all.extend(losses());
    all
}

fn attention(pattern: Pattern, backward: bool) -> Run {
    let layout = Layout { text: 64, grid: 16 };
    let a = Attention { batch: 1, heads: 2, positions: layout.sequence(), dim: 64 };
    let (tiles, rows) = (pattern.tiles(layout, BLOCK), a.positions * a.heads);
    let (qkv, dout) = (values(3 * rows * a.dim), values(rows * a.dim));
    let (mut out, mut lse, mut dqkv) = (vec![0.0; rows * a.dim], vec![0.0; rows], vec![0.0; 3 * rows * a.dim]);
    if !backward {
        return Box::new(move || attention::forward(a, &qkv, &tiles, &mut out, &mut lse));
    }
    attention::forward(a, &qkv, &tiles, &mut out, &mut lse);
    Box::new(move || attention::backward(a, &dout, &qkv, &out, &lse, &tiles, &mut dqkv))
}

fn convolution(c: Conv, backward: bool) -> Run {
    let pixels = c.batch * c.height * c.width;
    let (x, w) = (values(pixels * c.inputs), values(c.inputs * c.outputs * c.kernel * c.kernel));
    let (b, dy) = (values(c.outputs), values(pixels * c.outputs));
    let mut y = dy.clone();
    if !backward {
        return Box::new(move || conv::forward(c, &x, &w, &b, &mut y));
    }
    let (mut dx, mut dw, mut db) = (x.clone(), w.clone(), b);
    Box::new(move || conv::backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db))
}

const ROWS: usize = 320;
const WIDTH: usize = 512;

fn packed(precision: Precision, rows: usize) -> Run {
    let packed = Packed::new(values(WIDTH * WIDTH), values(WIDTH), WIDTH, precision);
    let x = values(rows * WIDTH);
    Box::new(move || drop(black_box(packed.forward(&x))))
}

/// What lies around attention, for [`ROWS`] rows of [`WIDTH`] channels.
fn transformer() -> Vec<Kernel> {
    let x = || values(ROWS * WIDTH);
    let linear = move || -> Run {
        let (x, w, b, mut y) = (x(), values(WIDTH * WIDTH), values(WIDTH), x());
        Box::new(move || linear::forward(&x, &w, Some(&b), (WIDTH, WIDTH), &mut y))
    };
    let activated = move || -> Run {
        let (x, w, b, mut z, mut y) = (x(), values(WIDTH * WIDTH), values(WIDTH), x(), x());
        let (sizes, f) = ((WIDTH, WIDTH), Activation::QuickGelu);
        Box::new(move || linear::forward_activated(&x, &w, Some(&b), sizes, f, (&mut z, &mut y)))
    };
    let norm = move || -> Run {
        let (x, gain, bias, mut y) = (x(), values(WIDTH), values(WIDTH), x());
        let (mut mean, mut rstd) = (vec![0.0; ROWS], vec![0.0; ROWS]);
        Box::new(move || norm::forward(&x, &gain, &bias, 1e-5, &mut y, &mut mean, &mut rstd))
    };
    let gelu = move || -> Run {
        let (x, mut y) = (x(), x());
        Box::new(move || activation::forward(Activation::QuickGelu, &x, &mut y))
    };
    let gelu_backward = move || -> Run {
        let (x, fresh, mut dy) = (x(), x(), x());
        Box::new(move || {
            dy.copy_from_slice(&fresh);
            activation::backward_in_place(Activation::QuickGelu, &x, &mut dy);
        })
    };
    let adamw = || -> Run {
        let (mut p, g) = (values(WIDTH * WIDTH), values(WIDTH * WIDTH));
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        let constants = AdamW {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.96,
            epsilon: 1e-8,
            weight_decay: 4.5e-2,
            step: 3,
            grad_scale: 0.5,
            max_variance: None,
        };
        Box::new(move || adamw::update(constants, &mut p, &g, &mut m, &mut v))
    };
    vec![
        kernel("linear", linear),
        kernel("linear and gelu", activated),
        kernel("layer norm", norm),
        kernel("gelu", gelu),
        kernel("gelu backward", gelu_backward),
        kernel("adamw", adamw),
    ]
}

fn losses() -> Vec<Kernel> {
    const ROWS: usize = 128;
    const VOCAB: usize = 1024;
    let logits = || values(ROWS * VOCAB);
    let entropy = move || -> Run {
        let (x, targets) = (logits(), (0..ROWS as u32).collect::<Vec<_>>());
        let (mut nll, mut lse) = (vec![0.0; ROWS], vec![0.0; ROWS]);
        Box::new(move || cross_entropy::forward(&x, VOCAB, &targets, &mut nll, &mut lse))
    };
    let relax = move || -> Run {
        let (x, noise, mut z, mut kl) = (logits(), logits(), logits(), vec![0.0; ROWS]);
        Box::new(move || gumbel::forward(&x, &noise, VOCAB, 0.5, &mut z, &mut kl))
    };
    let likelihood = || -> Run {
        let (pixels, stats, mut nll) = (vec![0.4; 64 * 64 * 3], values(64 * 64 * 6), vec![0.0; 64 * 64 * 3]);
        Box::new(move || laplace::forward(&pixels, &stats, 3, None, &mut nll))
    };
    vec![kernel("cross-entropy", entropy), kernel("gumbel-softmax and kl", relax), kernel("logit-laplace", likelihood)]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, times, ..] = &arguments[..]
        && flag == "--count"
    {
        let times = times.parse().expect("how often, a number");
        let kernels = kernels();
        let (_, make) = kernels.iter().find(|(known, _)| known == name).expect("a kernel's name");
        let mut run = make();
        (0..times).for_each(|_: u32| run());
        return;
    }
    if arguments.iter().any(|argument| argument == "--names") {
        kernels().iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, make) in kernels() {
        let mut run = None;
        criterion.bench_function(&name, |bencher| bencher.iter(run.get_or_insert_with(&make)));
    }
    criterion.final_summary();
}
