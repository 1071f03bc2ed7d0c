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
use dalle::random::Rng;
use std::hint::black_box;

type Kernel = (&'static str, Box<dyn FnMut()>);

fn normals(n: usize) -> Vec<f32> {
    let mut rng = Rng::new(0, "bench", n as u64, 0);
    (0..n).map(|_| rng.normal() as f32).collect()
}

fn kernels() -> Vec<Kernel> {
    let mut all: Vec<Kernel> = Vec::new();
    let patterns = [
        ("row", Pattern::Row),
        ("column", Pattern::Column),
        ("convolution", Pattern::Conv { kernel: 7 }),
        ("full", Pattern::Full),
    ];
    for (name, pattern) in patterns {
        all.extend(attentions(name, pattern));
    }
    all.extend(convolutions("conv 3x3", 64, 32, 3));
    all.extend(convolutions("conv 1x1", 64, 32, 1));
    all.extend(convolutions("conv 7x7", 3, 64, 7));
    all.extend(transformer());
    all.extend(losses());
    all
}

fn attentions(name: &'static str, pattern: Pattern) -> [Kernel; 2] {
    let layout = Layout { text: 64, grid: 16 };
    let a = Attention { batch: 1, heads: 2, positions: layout.sequence(), dim: 64 };
    let (tiles, rows) = (pattern.tiles(layout, BLOCK), a.positions * a.heads);
    let (qkv, dout) = (normals(3 * rows * a.dim), normals(rows * a.dim));
    let (mut out, mut lse) = (vec![0.0; rows * a.dim], vec![0.0; rows]);
    attention::forward(a, &qkv, &tiles, &mut out, &mut lse);
    let (back_tiles, back_qkv, back_out, back_lse) = (tiles.clone(), qkv.clone(), out.clone(), lse.clone());
    let mut dqkv = vec![0.0; qkv.len()];
    let names = match name {
        "row" => ["attention row", "attention row backward"],
        "column" => ["attention column", "attention column backward"],
        "convolution" => ["attention convolution", "attention convolution backward"],
        _ => ["attention full", "attention full backward"],
    };
    [
        (names[0], Box::new(move || attention::forward(a, &qkv, &tiles, &mut out, &mut lse))),
        (
            names[1],
            Box::new(move || attention::backward(a, &dout, &back_qkv, &back_out, &back_lse, &back_tiles, &mut dqkv)),
        ),
    ]
}

fn convolutions(name: &'static str, inputs: usize, outputs: usize, kernel: usize) -> [Kernel; 2] {
    let c = Conv { batch: 2, height: 32, width: 32, inputs, outputs, kernel, relu: false };
    let (pixels, weights) = (2 * 32 * 32, inputs * outputs * kernel * kernel);
    let (x, w, b, dy) = (normals(pixels * inputs), normals(weights), normals(outputs), normals(pixels * outputs));
    let (back_x, back_w, mut y) = (x.clone(), w.clone(), vec![0.0; pixels * outputs]);
    let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; weights], vec![0.0; outputs]);
    let backward = match kernel {
        3 => "conv 3x3 backward",
        1 => "conv 1x1 backward",
        _ => "conv 7x7 backward",
    };
    [
        (name, Box::new(move || conv::forward(c, &x, &w, &b, &mut y))),
        (backward, Box::new(move || conv::backward(c, &dy, &back_x, &back_w, Some(&mut dx), &mut dw, &mut db))),
    ]
}

/// What lies around attention, for 320 rows of 512 channels.
fn transformer() -> Vec<Kernel> {
    const ROWS: usize = 320;
    const WIDTH: usize = 512;
    let (x, w, b) = (normals(ROWS * WIDTH), normals(WIDTH * WIDTH), normals(WIDTH));
    let mut all: Vec<Kernel> = Vec::new();
    for (name, precision) in
        [("packed f32", Precision::F32), ("packed bf16", Precision::Bf16), ("packed int8", Precision::Int8)]
    {
        let (packed, x) = (Packed::new(w.clone(), b.clone(), WIDTH, precision), x[..8 * WIDTH].to_vec());
        all.push((name, Box::new(move || drop(black_box(packed.forward(&x))))));
    }
    let (x1, w1, b1, mut y) = (x.clone(), w.clone(), b.clone(), vec![0.0; x.len()]);
    all.push(("linear", Box::new(move || linear::forward(&x1, &w1, Some(&b1), (WIDTH, WIDTH), &mut y))));
    let (x2, mut y, mut mean, mut rstd) = (x.clone(), vec![0.0; x.len()], vec![0.0; ROWS], vec![0.0; ROWS]);
    let gain = normals(WIDTH);
    all.push(("layer norm", Box::new(move || norm::forward(&x2, &gain, &b, 1e-5, &mut y, &mut mean, &mut rstd))));
    let (x3, mut y) = (x.clone(), vec![0.0; x.len()]);
    all.push(("gelu", Box::new(move || activation::forward(Activation::QuickGelu, &x3, &mut y))));
    let (mut p, g, mut m, mut v) = (w.clone(), w.clone(), vec![0.0; w.len()], vec![0.0; w.len()]);
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
    all.push(("adamw", Box::new(move || adamw::update(constants, &mut p, &g, &mut m, &mut v))));
    all
}

fn losses() -> Vec<Kernel> {
    const ROWS: usize = 128;
    const VOCAB: usize = 1024;
    let logits = normals(ROWS * VOCAB);
    let targets: Vec<u32> = (0..ROWS as u32).collect();
    let (x, mut nll, mut lse) = (logits.clone(), vec![0.0; ROWS], vec![0.0; ROWS]);
    let entropy: Box<dyn FnMut()> = Box::new(move || cross_entropy::forward(&x, VOCAB, &targets, &mut nll, &mut lse));
    let (x, noise, mut z) = (logits.clone(), normals(ROWS * VOCAB), vec![0.0; ROWS * VOCAB]);
    let relax: Box<dyn FnMut()> = Box::new(move || gumbel::relax_forward(&x, &noise, VOCAB, 0.5, &mut z));
    let (mut kl, x) = (vec![0.0; ROWS], logits.clone());
    let divergence: Box<dyn FnMut()> = Box::new(move || gumbel::kl_forward(&x, VOCAB, &mut kl));
    let (pixels, stats) = (vec![0.4; 64 * 64 * 3], normals(64 * 64 * 6));
    let mut nll = vec![0.0; pixels.len()];
    let likelihood: Box<dyn FnMut()> = Box::new(move || laplace::forward(&pixels, &stats, 3, None, &mut nll));
    vec![("cross-entropy", entropy), ("gumbel-softmax", relax), ("kl", divergence), ("logit-laplace", likelihood)]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, times, ..] = &arguments[..]
        && flag == "--count"
    {
        let times = times.parse().expect("how often, a number");
        let mut kernels = kernels();
        let (_, kernel) = kernels.iter_mut().find(|(known, _)| known == name).expect("a kernel's name");
        (0..times).for_each(|_: u32| kernel());
        return;
    }
    if arguments.iter().any(|argument| argument == "--names") {
        kernels().iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, mut kernel) in kernels() {
        criterion.bench_function(name, |bencher| bencher.iter(&mut kernel));
    }
    criterion.final_summary();
}
