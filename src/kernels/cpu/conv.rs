//! Same-padded, stride-1 convolution of NHWC pictures. Shapes: x (B, H, W, I), w (O, I, K, K) as the published checkpoints
//! store it, b (O), y (B, H, W, O). K odd.
//!
//! Three ways, chosen by the sizes. A 1×1 convolution is a linear map of pixels, or of max(x, 0) block by block
//! (`pointwise`). A 3×3 one between 16 channels or more is transformed (`winograd`). Every other is direct, over a padded
//! copy of a few rows: a task convolves a band of rows of one picture, which it first copies into a frame of zeros (`tiles`).
//! The gradient of x is a convolution too, of dy with the kernel turned by 180° and its channels swapped. The gradient of
//! w is summed over fixed groups of pixels, and the groups' sums are added in order.
//!
//! The choice by measurement: GFLOP/s of the definition's operations, f32, two threads of a Zen 4 whose cores reach 215
//! together (forward, gradient of w; direct → transformed, 3×3):
//!
//! | pictures | channels | forward | of w |
//! |---|---|---|---|
//! | 8 × 64 × 64 | 16 → 16 | 158 → 231 | 149 → 146 |
//! | 8 × 64 × 64 | 64 → 16 | 178 → 306 | 136 → 196 |
//! | 8 × 32 × 32 | 64 → 32 | 180 → 313 | 172 → 223 |
//! | 8 × 16 × 16 | 64 → 256 | 180 → 310 | 165 → 265 |
//! | 8 × 8 × 8 | 512 → 128 | 151 → 267 | 115 → 254 |
//! | 8 × 8 × 8 | 128 → 128 | 137 → 174 | 131 → 250 |
//! | 1 × 256 × 256 | 256 → 64 | 201 → 369 | 111 → 306 |
//! | 1 × 64 × 64 | 256 → 256 | 164 → 406 | 147 → 311 |
//! | 1 × 32 × 32 | 512 → 2048 | 122 → 371 | 128 → 288 |
//!
//! The eight 1×1 convolutions of a dVAE's blocks on 8 pictures (64 × 64, 16 ↔ 64 channels, to 8 × 8, 128 ↔ 512), of max(x, 0):
//! direct 5.0, 5.7 and 4.9 ms (forward, gradients of w and of x), as products of blocks 4.2, 4.7 and 3.3.

mod pointwise;
pub mod rounded;
#[cfg(test)]
mod tests;
mod tiles;
mod winograd;

use super::lanes::LANES;
use super::linear;
use super::parallel::{TASKS, expect_lengths, pieces};
use super::reduce::{self, PARTIALS};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;
use std::ops::Range;
use tiles::Padded;

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

/// Outputs of a convolution with few channels that are computed at once; of the others, [`LANES`].
const NARROW: usize = 8;

compiled! {
    /// y = w ∗ x + b (or w ∗ max(x, 0) + b).
    pub fn forward(c: Conv, x: &[E], w: &[E], b: &[E], y: &mut [E]) = forward_of;

    /// dx +=, dw +=, db += ; `dx` is `None` for the first layer, whose input is a picture.
    pub fn backward(c: Conv, dy: &[E], x: &[E], w: &[E], dx: Option<&mut [E]>, dw: &mut [E], db: &mut [E]) = backward_of;
}

fn forward_of<E: Real>(c: Conv, x: &[E], w: &[E], b: &[E], y: &mut [E]) {
    c.check("conv::forward", x, w, b, y);
    if c.is_linear() {
        return linear::forward(x, w, Some(b), (c.inputs, c.outputs), y);
    }
    if c.kernel == 1 {
        return pointwise::forward(c, x, w, b, y);
    }
    convolve(c, x, c.weights(w, false), b, y, Store::Replace);
}

fn backward_of<E: Real>(c: Conv, dy: &[E], x: &[E], w: &[E], dx: Option<&mut [E]>, dw: &mut [E], db: &mut [E]) {
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
    if c.kernel == 1 {
        pointwise::backward_weight(c, dy, x, dw);
        if let Some(dx) = dx {
            pointwise::backward_input(c, dy, x, w, dx);
        }
        return;
    }
    if c.is_transformed() {
        winograd::backward_weight(c, dy, x, dw);
    } else if c.outputs <= NARROW {
        backward_weight::<E, 8, NARROW>(c, dy, x, dw);
    } else {
        backward_weight::<E, 4, LANES>(c, dy, x, dw);
    }
    if let Some(dx) = dx {
        backward_input(c, dy, x, w, dx);
    }
}

/// dx += turned(w) ∗ dy, where x > 0 if `relu`.
fn backward_input<E: Real>(c: Conv, dy: &[E], x: &[E], w: &[E], dx: &mut [E]) {
    let turned = Conv { inputs: c.outputs, outputs: c.inputs, relu: false, ..c };
    let zeros = vec![E::of(0.0); c.inputs];
    convolve(turned, dy, c.weights(w, true), &zeros, dx, if c.relu { Store::AddWherePositive(x) } else { Store::Add });
}

/// What becomes of the values of a convolution.
#[derive(Clone, Copy)]
enum Store<'a, E> {
    /// They are y.
    Replace,
    /// They are added to dx.
    Add,
    /// The same where the ReLU's input, x, is positive.
    AddWherePositive(&'a [E]),
}

impl<E: Real> Store<'_, E> {
    /// Stores as many of `values` as `to` has elements; it begins at element `place` of the whole.
    #[inline(always)]
    fn put<const L: usize>(self, to: &mut [E], values: &[E; L], place: usize) {
        // A length that the compiler knows: moves of registers, not calls of memcpy.
        if let Ok(to) = <&mut [E; L]>::try_from(&mut *to) {
            return self.put_some(to, values, place);
        }
        self.put_some(to, values, place);
    }

    #[inline(always)]
    fn put_some(self, to: &mut [E], values: &[E], place: usize) {
        match self {
            Store::Replace => to.copy_from_slice(&values[..to.len()]),
            Store::Add => {
                for (to, &value) in to.iter_mut().zip(values) {
                    *to += value;
                }
            }
            Store::AddWherePositive(x) => {
                for ((to, &value), &x) in to.iter_mut().zip(values).zip(&x[place..]) {
                    *to += if x > E::of(0.0) { value } else { E::of(0.0) };
                }
            }
        }
    }
}

/// The weights of a convolution, or of that which its gradient is.
#[derive(Clone, Copy)]
struct Weights<'a, E> {
    /// (O, I, K, K)
    w: &'a [E],
    /// I
    inputs: usize,
    /// K²
    area: usize,
    /// The kernel is turned by 180° and its channels are swapped.
    turned: bool,
}

impl<E: Real> Weights<'_, E> {
    /// Hands out the K² taps from an input to an output, row by row: each with its place among them.
    #[inline(always)]
    fn taps(&self, output: usize, input: usize, mut put: impl FnMut(usize, E)) {
        let (stored_output, stored_input) = if self.turned { (input, output) } else { (output, input) };
        let taps = &self.w[(stored_output * self.inputs + stored_input) * self.area..][..self.area];
        for (at, &tap) in taps.iter().enumerate() {
            put(if self.turned { self.area - 1 - at } else { at }, tap);
        }
    }
}

/// Convolves `x` with the weights `w`.
fn convolve<E: Real>(c: Conv, x: &[E], w: Weights<'_, E>, b: &[E], y: &mut [E], store: Store<'_, E>) {
    if c.is_transformed() {
        winograd::convolve(c, x, w, b, y, store);
    } else if c.outputs <= NARROW {
        convolve_by::<E, 8, NARROW>(c, x, &packed(c, w), b, y, store);
    } else {
        convolve_by::<E, 4, LANES>(c, x, &packed(c, w), b, y, store);
    }
}

fn convolve_by<E: Real, const P: usize, const L: usize>(
    c: Conv,
    x: &[E],
    w: &[[E; L]],
    b: &[E],
    mut y: &mut [E],
    store: Store<'_, E>,
) {
    let line = c.width * c.outputs;
    let mut tasks = Vec::new();
    for band in c.bands() {
        let (head, rest) = y.split_at_mut(band.rows.len() * line);
        tasks.push((band, head));
        y = rest;
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(band, y)| {
        let start = (band.picture * c.height + band.rows.start) * line;
        tiles::forward::<E, P, L>(&c.padded(x, &band), w, b, y, |y, sums, at| store.put(y, sums, start + at));
    });
}

/// dw += dyᵀ·patches(x)
fn backward_weight<E: Real, const P: usize, const L: usize>(c: Conv, dy: &[E], x: &[E], dw: &mut [E]) {
    // Fewer pixels than these are not worth a sum of their own.
    const PIXELS: usize = 256;
    let length = c.kernel * c.kernel * c.inputs;
    let (bands, blocks) = (c.bands(), c.outputs.div_ceil(L));
    let groups = (PARTIALS / (length * L * blocks)).min(c.pixels() / PIXELS).clamp(1, bands.len());
    let groups: Vec<&[Band]> = bands.chunks(bands.len().div_ceil(groups)).collect();
    let tasks: Vec<_> = (0..blocks).flat_map(|block| groups.iter().map(move |bands| (block, *bands))).collect();
    let partials = tasks.into_par_iter().with_max_len(1).map(|(block, bands)| {
        let mut sum = vec![[E::of(0.0); L]; length];
        for band in bands {
            tiles::weight_gradient::<E, P, L>(&c.padded(x, band), &c.outputs_of(dy, band, block), &mut sum);
        }
        sum
    });
    let mut partials = partials.collect::<Vec<_>>();
    for (block, partials) in partials.chunks_mut(groups.len()).enumerate() {
        let (sum, others) = partials.split_first_mut().expect("one group at least");
        others.iter().for_each(|other| reduce::add(sum.as_flattened_mut(), other.as_flattened()));
        for (o, dw) in dw.chunks_exact_mut(length).skip(block * L).take(L).enumerate() {
            for (tap, sum) in sum.chunks_exact(c.inputs).enumerate() {
                for (dw, sum) in dw[tap..].iter_mut().step_by(c.kernel * c.kernel).zip(sum) {
                    *dw += sum[o];
                }
            }
        }
    }
}

/// Weights as the tiles read them: blocks of L outputs, each (K·K·I, L), zero beyond O.
fn packed<E: Real, const L: usize>(c: Conv, w: Weights<'_, E>) -> Vec<[E; L]> {
    let mut all = vec![[E::of(0.0); L]; c.outputs.div_ceil(L) * w.area * c.inputs];
    for (o, block) in (0..c.outputs).map(|o| (o, o / L * w.area * c.inputs)) {
        for i in 0..c.inputs {
            w.taps(o, i, |at, tap| all[block + at * c.inputs + i][o % L] = tap);
        }
    }
    all
}

/// Some rows of one picture: what a task works on.
#[derive(Debug, Clone)]
struct Band {
    picture: usize,
    rows: Range<usize>,
}

impl Conv {
    fn pixels(self) -> usize {
        self.batch * self.height * self.width
    }

    /// Those of this convolution, or of its input's gradient.
    fn weights<E>(self, w: &[E], turned: bool) -> Weights<'_, E> {
        Weights { w, inputs: self.inputs, area: self.kernel * self.kernel, turned }
    }

    /// A patch is one pixel as it is: the convolution is a linear map of pixels.
    fn is_linear(self) -> bool {
        self.kernel == 1 && !self.relu
    }

    /// Worth the transformations of [`winograd`].
    fn is_transformed(self) -> bool {
        self.kernel == 3 && self.inputs >= LANES && self.outputs >= LANES
    }

    /// The rows of all pictures in order, in pieces worth a task each.
    fn bands(self) -> Vec<Band> {
        let work = self.pixels() * self.kernel * self.kernel * self.inputs * self.outputs;
        let most = (work >> 20).clamp(1, TASKS);
        let rows = (self.batch * self.height).div_ceil(most).clamp(1, self.height.max(1));
        let of = |picture| pieces(self.height, rows).map(move |rows| Band { picture, rows });
        (0..self.batch).flat_map(of).collect()
    }

    fn padded<E: Real>(self, x: &[E], band: &Band) -> Padded<E> {
        let picture = self.height * self.width * self.inputs;
        let x = &x[band.picture * picture..(band.picture + 1) * picture];
        Padded::new(x, (self.width, self.inputs), band.rows.clone(), self.kernel, self.relu)
    }

    /// Block `block` of the outputs of a band of dy, zero beyond O.
    fn outputs_of<E: Real, const L: usize>(self, dy: &[E], band: &Band, block: usize) -> Vec<[E; L]> {
        let first = band.picture * self.height;
        let pixels = (first + band.rows.start) * self.width..(first + band.rows.end) * self.width;
        let count = L.min(self.outputs - block * L);
        let dy = dy[pixels.start * self.outputs..pixels.end * self.outputs].chunks_exact(self.outputs);
        dy.map(|dy| {
            let mut lanes = [E::of(0.0); L];
            lanes[..count].copy_from_slice(&dy[block * L..][..count]);
            lanes
        })
        .collect()
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
