//! Same-padded, stride-1 convolution of NHWC pictures, directly over a padded copy of a few rows.
//! Shapes: x (B, H, W, I), w (O, I, K, K) as the published checkpoints store it, b (O), y (B, H, W, O). K odd.
//!
//! A task convolves a band of rows of one picture, which it first copies into a frame of zeros. The gradient of x is a
//! convolution too, of dy with the kernel turned by 180° and its channels swapped. The gradient of w is summed over fixed
//! groups of bands, and the groups' sums are added in order.

mod tiles;

use super::lanes::{LANES, vectorised};
use super::linear;
use super::parallel::{TASKS, expect_lengths, pieces};
use super::reduce::{self, PARTIALS};
use crate::kernels::Real;
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

/// y = w ∗ x + b (or w ∗ max(x, 0) + b).
pub fn forward<E: Real>(c: Conv, x: &[E], w: &[E], b: &[E], y: &mut [E]) {
    c.check("conv::forward", x, w, b, y);
    if c.is_linear() {
        return linear::forward(x, w, Some(b), (c.inputs, c.outputs), y);
    }
    let at = |o: usize, ky: usize, kx: usize, i: usize| w[((o * c.inputs + i) * c.kernel + ky) * c.kernel + kx];
    convolve(c, x, at, b, y, |y, sums, _| y.copy_from_slice(sums));
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
    if c.outputs <= NARROW {
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
    let last = c.kernel - 1;
    let at = |i: usize, ky: usize, kx: usize, o: usize| {
        w[((o * c.inputs + i) * c.kernel + last - ky) * c.kernel + last - kx]
    };
    let zeros = vec![E::of(0.0); c.inputs];
    convolve(turned, dy, at, &zeros, dx, |dx, sums, place| {
        if !c.relu {
            return reduce::add(dx, sums);
        }
        let x = &x[place];
        vectorised!(|| {
            for ((dx, &x), &sum) in dx.iter_mut().zip(x).zip(sums) {
                *dx += if x > E::of(0.0) { sum } else { E::of(0.0) };
            }
        });
    });
}

/// Convolves `x` with the weights `at(output, row, column, input)`; `store` takes each band of `y`, its values and its place.
fn convolve<E: Real>(
    c: Conv,
    x: &[E],
    at: impl Fn(usize, usize, usize, usize) -> E,
    b: &[E],
    y: &mut [E],
    store: impl Fn(&mut [E], &[E], Range<usize>) + Sync,
) {
    if c.outputs <= NARROW {
        convolve_by::<E, 8, NARROW>(c, x, &packed(c, at), b, y, store);
    } else {
        convolve_by::<E, 4, LANES>(c, x, &packed(c, at), b, y, store);
    }
}

fn convolve_by<E: Real, const P: usize, const L: usize>(
    c: Conv,
    x: &[E],
    w: &[[E; L]],
    b: &[E],
    mut y: &mut [E],
    store: impl Fn(&mut [E], &[E], Range<usize>) + Sync,
) {
    let line = c.width * c.outputs;
    let mut tasks = Vec::new();
    for band in c.bands() {
        let (head, rest) = y.split_at_mut(band.rows.len() * line);
        tasks.push((band, head));
        y = rest;
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(band, y)| {
        let mut sums = vec![E::of(0.0); y.len()];
        tiles::forward::<E, P, L>(&c.padded(x, &band), w, b, &mut sums);
        let start = (band.picture * c.height + band.rows.start) * line;
        store(y, &sums, start..start + sums.len());
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
fn packed<E: Real, const L: usize>(c: Conv, at: impl Fn(usize, usize, usize, usize) -> E) -> Vec<[E; L]> {
    let mut blocks = Vec::with_capacity(c.outputs.div_ceil(L) * c.kernel * c.kernel * c.inputs);
    for block in (0..c.outputs).step_by(L) {
        for tap in 0..c.kernel * c.kernel {
            for i in 0..c.inputs {
                blocks.push(std::array::from_fn(|lane| {
                    let o = block + lane;
                    if o < c.outputs { at(o, tap / c.kernel, tap % c.kernel, i) } else { E::of(0.0) }
                }));
            }
        }
    }
    blocks
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

    /// A patch is one pixel as it is: the convolution is a linear map of pixels.
    fn is_linear(self) -> bool {
        self.kernel == 1 && !self.relu
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

    /// Several bands a picture, more outputs than one tile holds and fewer.
    #[test]
    fn split_work_equals_the_definition_on_any_threads() {
        for (relu, outputs) in [(false, 19), (true, 19), (true, 6)] {
            let c = Conv { batch: 3, height: 27, width: 29, inputs: 20, outputs, kernel: 5, relu };
            assert!(c.bands().len() > c.batch);
            let (x, dy) = (normals::<f64>("x", c.pixels() * 20), normals::<f64>("dy", c.pixels() * outputs));
            let (w, b) = weights::<f64>(c);
            let run = || {
                let mut y = vec![0.0; dy.len()];
                let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; outputs]);
                forward(c, &x, &w, &b, &mut y);
                backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
                let mut first_layer = (vec![0.0; w.len()], vec![0.0; outputs]);
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
