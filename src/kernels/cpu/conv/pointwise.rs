//! 1×1 convolutions of max(x, 0): matrix products of pixels, block by block, with the ReLU taken of a block while it is in
//! the cache. (Of x itself they are linear maps, of all pixels at once.)
//! Legend: P pixels, I and O channels.

use super::Conv;
use crate::kernels::Real;
use crate::kernels::cpu::activation::{self, Activation};
use crate::kernels::cpu::lanes::vectorised;
use crate::kernels::cpu::linear::fill_rows;
use crate::kernels::cpu::matmul::{View, matmul_seq};
use crate::kernels::cpu::parallel::{TASKS, pieces};
use crate::kernels::cpu::reduce::{self, PARTIALS};
use rayon::prelude::*;

/// y = max(x, 0)·wᵀ + b
pub fn forward<E: Real>(c: Conv, x: &[E], w: &[E], b: &[E], y: &mut [E]) {
    let rows = block(c);
    let blocks = x.par_chunks(rows * c.inputs).zip(y.par_chunks_mut(rows * c.outputs));
    blocks.with_max_len(1).for_each(|(x, y)| {
        fill_rows(y, b);
        let (x, w) = (relu(x), View::rows(w, c.inputs).t());
        matmul_seq(y, (x.len() / c.inputs, c.outputs, c.inputs), View::rows(&x, c.inputs), w, true);
    });
}

/// dx += dy·w where x > 0
pub fn backward_input<E: Real>(c: Conv, dy: &[E], x: &[E], w: &[E], dx: &mut [E]) {
    let rows = block(c);
    let blocks = dy.par_chunks(rows * c.outputs).zip(x.par_chunks(rows * c.inputs));
    blocks.zip(dx.par_chunks_mut(rows * c.inputs)).with_max_len(1).for_each(|((dy, x), dx)| {
        let mut gradient = vec![E::of(0.0); x.len()];
        let (dy, w) = (View::rows(dy, c.outputs), View::rows(w, c.inputs));
        matmul_seq(&mut gradient, (x.len() / c.inputs, c.inputs, c.outputs), dy, w, false);
        vectorised!(|| {
            for ((dx, &gradient), &x) in dx.iter_mut().zip(&gradient).zip(x) {
                *dx += if x > E::of(0.0) { gradient } else { E::of(0.0) };
            }
        });
    });
}

/// dw += dyᵀ·max(x, 0)
pub fn backward_weight<E: Real>(c: Conv, dy: &[E], x: &[E], dw: &mut [E]) {
    let rows = block(c);
    let blocks = c.pixels().div_ceil(rows);
    let groups = (PARTIALS / dw.len()).clamp(1, TASKS).min(blocks);
    let tasks: Vec<_> = pieces(blocks, blocks.div_ceil(groups)).collect();
    let partials = tasks.into_par_iter().with_max_len(1).map(|blocks| {
        let mut sum = vec![E::of(0.0); dw.len()];
        for block in blocks {
            let pixels = block * rows..c.pixels().min((block + 1) * rows);
            let x = relu(&x[pixels.start * c.inputs..pixels.end * c.inputs]);
            let dy = &dy[pixels.start * c.outputs..pixels.end * c.outputs];
            let (left, right) = (View::rows(dy, c.outputs).t(), View::rows(&x[..], c.inputs));
            matmul_seq(&mut sum, (c.outputs, c.inputs, pixels.len()), left, right, true);
        }
        sum
    });
    for partial in partials.collect::<Vec<_>>() {
        reduce::add(dw, &partial);
    }
}

/// Pixels of a block: its values, 256 KiB of them, stay in the second cache.
pub(super) fn block(c: Conv) -> usize {
    let parts = ((c.pixels() * c.inputs * c.outputs) >> 20).clamp(1, TASKS);
    c.pixels().div_ceil(parts).min((1 << 16) / (c.inputs + c.outputs)).max(32)
}

/// max(x, 0)
fn relu<E: Real>(x: &[E]) -> Vec<E> {
    let mut y = vec![E::of(0.0); x.len()];
    activation::forward_seq(Activation::Relu, x, &mut y);
    y
}
