//! Same-padded, stride-1 convolution of NHWC pictures by im2col in cache-sized strips and a matrix product.
//! Shapes: x (B, H, W, I), w (O, I, K, K) as the published checkpoints store it, b (O), y (B, H, W, O). K odd.
//!
//! All pictures of the batch together are one matrix of B·H·W pixels by K·K·I patch values, of which only a strip of pixels
//! exists at a time. The gradient of x is a convolution too, of dy with the kernel turned by 180° and its channels swapped:
//! it gathers, so tasks never write to the same pixel.

use super::lanes::vectorised;
use super::linear;
use super::matmul::{View, matmul_seq};
use super::parallel::{TASKS, expect_lengths, pieces};
use super::reduce;
use crate::kernels::Real;
use rayon::prelude::*;
use std::ops::Range;

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Pictures, B.
    pub batch: usize,
    /// Rows of a picture, H.
    pub height: usize,
    /// Columns of a picture, W.
    pub width: usize,
    /// Channels of x, I.
    pub inputs: usize,
    /// Channels of y, O.
    pub outputs: usize,
    /// The side of the kernel, K; odd.
    pub kernel: usize,
    /// Convolve max(x, 0) instead of x (the ReLU before every convolution of a residual block, without its copy).
    pub relu: bool,
}

/// y = w ∗ x + b (or w ∗ max(x, 0) + b).
pub fn forward<E: Real>(c: Conv, x: &[E], w: &[E], b: &[E], y: &mut [E]) {
    c.check("conv::forward", x, w, b, y);
    if c.is_linear() {
        return linear::forward(x, w, Some(b), (c.inputs, c.outputs), y);
    }
    let w = packed(c, w);
    let patches = c.patches();
    let per_task = patches.per_task(c.outputs);
    y.par_chunks_mut(per_task * c.outputs).with_max_len(1).enumerate().for_each(|(task, y)| {
        linear::fill_rows_seq(y, b);
        let mut scratch = Vec::new();
        for strip in pieces(y.len() / c.outputs, patches.strip()) {
            let pixels = task * per_task + strip.start..task * per_task + strip.end;
            let patch = View::rows(patches.gather(x, pixels, &mut scratch), patches.length());
            let size = (strip.len(), c.outputs, patches.length());
            let y = &mut y[strip.start * c.outputs..strip.end * c.outputs];
            matmul_seq(y, size, patch, View::rows(&w, patches.length()).t(), true);
        }
    });
}

/// dx +=, dw +=, db += ; `dx` is `None` for the first layer, whose input is a picture.
pub fn backward<E: Real>(c: Conv, dy: &[E], x: &[E], w: &[E], dx: Option<&mut [E]>, dw: &mut [E], db: &mut [E]) {
    c.check("conv::backward", x, w, db, dy);
    let lengths = [("dx", dx.as_ref().map_or(x.len(), |dx| dx.len()), x.len()), ("dw", dw.len(), w.len())];
    expect_lengths("conv::backward", &lengths);
    reduce::column_sums(dy, c.outputs, db);
    if c.is_linear() {
        reduce::outer_product(dy, x, (c.outputs, c.inputs), dw);
        if let Some(dx) = dx {
            linear::backward_input(dy, w, (c.inputs, c.outputs), dx);
        }
        return;
    }
    backward_weight(c, dy, x, dw);
    if let Some(dx) = dx {
        backward_input(c, dy, x, w, dx);
    }
}

/// dw += dyᵀ·patches(x)
fn backward_weight<E: Real>(c: Conv, dy: &[E], x: &[E], dw: &mut [E]) {
    let patches = c.patches();
    let size = (c.pixels(), c.outputs, patches.length());
    let mut sum = vec![E::of(0.0); dw.len()];
    reduce::outer_products(size, dy, &PatchesOf { patches, x }, patches.strip(), &mut sum);
    let area = c.kernel * c.kernel;
    for (dw, sum) in dw.chunks_exact_mut(c.inputs * area).zip(sum.chunks_exact(c.inputs * area)) {
        for (i, dw) in dw.chunks_exact_mut(area).enumerate() {
            for (dw, sum) in dw.iter_mut().zip(sum[i..].iter().step_by(c.inputs)) {
                *dw += *sum;
            }
        }
    }
}

/// dx += turned(w) ∗ dy, where x > 0 if `relu`.
fn backward_input<E: Real>(c: Conv, dy: &[E], x: &[E], w: &[E], dx: &mut [E]) {
    let w = packed_turned(c, w);
    let patches = Patches { channels: c.outputs, relu: false, ..c.patches() };
    let per_task = patches.per_task(c.inputs);
    dx.par_chunks_mut(per_task * c.inputs).with_max_len(1).enumerate().for_each(|(task, dx)| {
        let (mut scratch, mut strip_dx) = (Vec::new(), Vec::new());
        for strip in pieces(dx.len() / c.inputs, patches.strip()) {
            let pixels = task * per_task + strip.start..task * per_task + strip.end;
            let patch = View::rows(patches.gather(dy, pixels.clone(), &mut scratch), patches.length());
            let w = View::rows(&w, patches.length()).t();
            let size = (strip.len(), c.inputs, patches.length());
            let dx = &mut dx[strip.start * c.inputs..strip.end * c.inputs];
            if !c.relu {
                matmul_seq(dx, size, patch, w, true);
                continue;
            }
            strip_dx.resize(dx.len(), E::of(0.0));
            matmul_seq(&mut strip_dx, size, patch, w, false);
            vectorised!(|| {
                let x = &x[pixels.start * c.inputs..pixels.end * c.inputs];
                for ((dx, x), add) in dx.iter_mut().zip(x).zip(&strip_dx) {
                    *dx += if *x > E::of(0.0) { *add } else { E::of(0.0) };
                }
            });
        }
    });
}

/// w as rows of patches: (O, K·K·I).
fn packed<E: Real>(c: Conv, w: &[E]) -> Vec<E> {
    let area = c.kernel * c.kernel;
    let mut rows = Vec::with_capacity(w.len());
    for w in w.chunks_exact(c.inputs * area) {
        for at in 0..area {
            rows.extend(w[at..].iter().step_by(area));
        }
    }
    rows
}

/// w turned by 180°, its channels swapped, as rows of patches: (I, K·K·O).
fn packed_turned<E: Real>(c: Conv, w: &[E]) -> Vec<E> {
    let area = c.kernel * c.kernel;
    let mut rows = Vec::with_capacity(w.len());
    for input in 0..c.inputs {
        for at in (0..area).rev() {
            rows.extend(w[input * area + at..].iter().step_by(c.inputs * area));
        }
    }
    rows
}

impl Conv {
    fn pixels(self) -> usize {
        self.batch * self.height * self.width
    }

    /// A patch is one pixel as it is: the convolution is a linear map of pixels.
    fn is_linear(self) -> bool {
        self.kernel == 1 && !self.relu
    }

    fn patches(self) -> Patches {
        let Conv { height, width, inputs, kernel, relu, .. } = self;
        Patches { count: self.pixels(), height, width, channels: inputs, kernel, relu }
    }

    #[track_caller]
    fn check<E>(self, name: &str, x: &[E], w: &[E], b: &[E], y: &[E]) {
        assert!(self.kernel % 2 == 1, "{name}: a kernel of side {}, expected an odd side", self.kernel);
        assert!(self.inputs > 0 && self.outputs > 0, "{name}: expected at least one channel in and out");
        let lengths = [
            ("x", x.len(), self.pixels() * self.inputs),
            ("w", w.len(), self.outputs * self.inputs * self.kernel * self.kernel),
            ("b or db", b.len(), self.outputs),
            ("y or dy", y.len(), self.pixels() * self.outputs),
        ];
        expect_lengths(name, &lengths);
    }
}

/// The patches around every pixel of a batch of pictures: row p holds the K·K neighbours of pixel p, channels innermost,
/// zeros beyond the picture's edges.
#[derive(Clone, Copy)]
struct Patches {
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    kernel: usize,
    relu: bool,
}

impl Patches {
    /// Fewer rows than these would leave a product busy with packing its right side.
    const ROWS: usize = 128;

    /// Values in one patch.
    fn length(self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// Pixels whose patches fill a scratch buffer that stays in the cache (256 KiB in f32).
    fn strip(self) -> usize {
        ((1 << 16) / self.length()).max(Self::ROWS)
    }

    /// Pixels per task when each patch is multiplied by `outputs` columns.
    fn per_task(self, outputs: usize) -> usize {
        let tasks = ((self.count * self.length() * outputs) >> 20).min(self.count / Self::ROWS).clamp(1, TASKS);
        self.count.div_ceil(tasks).max(1)
    }

    /// The patches of `pixels`, written to `scratch`.
    fn gather<'s, E: Real>(self, x: &[E], pixels: Range<usize>, scratch: &'s mut Vec<E>) -> &'s [E] {
        let Patches { height, width, channels, kernel, relu, .. } = self;
        let zero = E::of(0.0);
        let pad = kernel / 2;
        // Every element is written below: what a longer buffer holds does not matter.
        scratch.resize(pixels.len() * self.length(), zero);
        let (mut row, mut column) = (pixels.start / width, pixels.start % width);
        let mut picture_row = row % height;
        vectorised!(|| {
            for patch in scratch.chunks_exact_mut(self.length()) {
                // Columns of the kernel that lie inside the picture, and the first pixel below them.
                let (left, right) = (pad.saturating_sub(column), kernel.min(width + pad - column));
                let from = column + left - pad;
                for (ky, line) in patch.chunks_exact_mut(kernel * channels).enumerate() {
                    let y = picture_row + ky;
                    if y < pad || y - pad >= height {
                        line.fill(zero);
                        continue;
                    }
                    line[..left * channels].fill(zero);
                    line[right * channels..].fill(zero);
                    let inside = &mut line[left * channels..right * channels];
                    let x = &x[((row + ky - pad) * width + from) * channels..][..inside.len()];
                    if relu {
                        for (to, x) in inside.iter_mut().zip(x) {
                            *to = if *x < zero { zero } else { *x };
                        }
                    } else {
                        inside.copy_from_slice(x);
                    }
                }
                column += 1;
                if column == width {
                    (row, column) = (row + 1, 0);
                    picture_row = row % height;
                }
            }
        });
        scratch
    }
}

/// The patches of one batch of pictures.
struct PatchesOf<'x, E> {
    patches: Patches,
    x: &'x [E],
}

impl<E: Real> reduce::Strips<E> for PatchesOf<'_, E> {
    fn strip<'s>(&'s self, pixels: Range<usize>, scratch: &'s mut Vec<E>) -> &'s [E] {
        self.patches.gather(self.x, pixels, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};
    use proptest::prelude::*;

    fn naive(c: Conv, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let (pad, mut y) = (c.kernel / 2, Vec::new());
        for p in 0..c.pixels() {
            let (picture, row, column) = (p / c.width / c.height, p / c.width % c.height, p % c.width);
            for (o, b) in b.iter().enumerate() {
                let mut sum = *b;
                for ky in 0..c.kernel {
                    for kx in 0..c.kernel {
                        let (y, z) = ((row + ky).wrapping_sub(pad), (column + kx).wrapping_sub(pad));
                        for i in (0..c.inputs).filter(|_| y < c.height && z < c.width) {
                            let x = x[((picture * c.height + y) * c.width + z) * c.inputs + i];
                            let x = if c.relu { x.max(0.0) } else { x };
                            sum += x * w[((o * c.inputs + i) * c.kernel + ky) * c.kernel + kx];
                        }
                    }
                }
                y.push(sum);
            }
        }
        y
    }

    fn weights<E: Real>(c: Conv) -> (Vec<E>, Vec<E>) {
        (normals("w", c.outputs * c.inputs * c.kernel * c.kernel), normals("b", c.outputs))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn forward_equals_the_definition_and_backward_its_adjoint(
            (batch, height, width) in (1usize..4, 1usize..9, 1usize..9),
            (inputs, outputs, half) in (1usize..6, 1usize..6, 0usize..4),
            relu: bool,
        ) {
            let c = Conv { batch, height, width, inputs, outputs, kernel: 2 * half + 1, relu };
            let (x, dy) = (normals::<f64>("x", c.pixels() * inputs), normals::<f64>("dy", c.pixels() * outputs));
            let (w, b) = weights::<f64>(c);
            let expected = naive(c, &x, &w, &b);
            let mut y = vec![f64::NAN; c.pixels() * outputs];
            forward(c, &x, &w, &b, &mut y);
            assert_close(&y, &expected, 1e-12);
            let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
            let mut y32 = vec![f32::NAN; y.len()];
            forward(c, &narrow(&x), &narrow(&w), &narrow(&b), &mut y32);
            assert_close(&y32, &expected, 1e-4);
            // y − b is linear in w and, as max(x, 0) = x·[x > 0], homogeneous in x: ⟨dy, y − b⟩ = ⟨dw, w⟩ = ⟨dx, x⟩.
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; outputs]);
            backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
            let product = weighted(&y, &dy) - weighted(&b, &db);
            assert_close(&[weighted(&dw, &w), weighted(&dx, &x)], &[product, product], 1e-11);
        }
    }

    #[test]
    fn gradients_equal_central_differences_and_accumulate() {
        for (kernel, relu) in [(1, false), (1, true), (3, false), (3, true)] {
            let c = Conv { batch: 2, height: 3, width: 4, inputs: 2, outputs: 3, kernel, relu };
            let (x, dy) = (normals::<f64>("x", c.pixels() * 2), normals::<f64>("dy", c.pixels() * 3));
            let (w, b) = weights::<f64>(c);
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; 3]);
            backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
            assert_gradient(&x, &dx, |x| weighted(&naive(c, x, &w, &b), &dy));
            assert_gradient(&w, &dw, |w| weighted(&naive(c, &x, w, &b), &dy));
            assert_gradient(&b, &db, |b| weighted(&naive(c, &x, &w, b), &dy));
            let once = [dx.clone(), dw.clone(), db.clone()].concat();
            backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
            assert_close(&[dx, dw, db].concat(), &once.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-12);
        }
    }

    /// Several tasks, of several strips each, whose edges fall inside rows.
    #[test]
    fn split_work_equals_the_definition_on_any_threads() {
        for relu in [false, true] {
            let c = Conv { batch: 3, height: 27, width: 29, inputs: 20, outputs: 11, kernel: 5, relu };
            let patches = c.patches();
            assert!(patches.per_task(c.outputs) < c.pixels() && !patches.per_task(c.outputs).is_multiple_of(c.width));
            let (x, dy) = (normals::<f64>("x", c.pixels() * 20), normals::<f64>("dy", c.pixels() * 11));
            let (w, b) = weights::<f64>(c);
            let run = || {
                let mut y = vec![0.0; dy.len()];
                let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; 11]);
                forward(c, &x, &w, &b, &mut y);
                backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
                let mut first_layer = (vec![0.0; w.len()], vec![0.0; 11]);
                backward(c, &dy, &x, &w, None, &mut first_layer.0, &mut first_layer.1);
                assert!(first_layer == (dw.clone(), db.clone()));
                [y, dx, dw, db].concat()
            };
            assert_same_on_any_threads(run);
            let all = run();
            let (y, rest) = all.split_at(dy.len());
            let (dx, rest) = rest.split_at(x.len());
            let (dw, db) = rest.split_at(w.len());
            assert_close(y, &naive(c, &x, &w, &b), 1e-12);
            let product = weighted(y, &dy) - weighted(&b, db);
            assert_close(&[weighted(dx, &x), weighted(dw, &w)], &[product, product], 1e-10);
        }
    }

    #[test]
    #[should_panic(expected = "conv::forward: `w` has 4 elements, expected 9")]
    fn a_kernel_of_the_wrong_size_is_refused() {
        let c = Conv { batch: 1, height: 1, width: 1, inputs: 1, outputs: 1, kernel: 3, relu: false };
        forward(c, &[0.0f32], &[0.0; 4], &[0.0], &mut [0.0]);
    }
}
