//! 3×3 convolutions by Winograd's minimal filtering F(2×2, 3×3) (Lavin and Gray 2015, arXiv 1509.09308): 16 multiplications
//! for every 2×2 pixels of y, input and output, where the definition takes 36.
//!
//! y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ x B)]A for each tile of 4×4 pixels of x. The sums over channels are 16 matrix products, one for
//! each point of the transformed tile; a task transforms a block of tiles, multiplies and transforms back while all of it
//! is in the cache. The gradient of w is the adjoint, Gᵀ[(A dy Aᵀ) ⊙ (Bᵀ x B)]G, summed over the tiles before Gᵀ and G.
//! In f32 the errors are those of the direct sums, a small factor apart: nothing is multiplied by more than 1. F(4×4, 3×3)
//! multiplies less, 36 for 4×4 pixels, and was no faster: its tiles do not fit the registers while they are transformed.

mod maps;

use super::{Conv, Store, Weights};
use crate::kernels::Real;
use crate::kernels::cpu::lanes::{LANES, vectorised};
use crate::kernels::cpu::parallel::{TASKS, pieces};
use crate::kernels::cpu::reduce::PARTIALS;
use maps::{Vector, both_sides, input, kernel, kernel_adjoint, output, output_adjoint};
use rayon::prelude::*;
use std::ops::Range;

/// Points of a transformed tile.
const POINTS: usize = 16;
/// Values transformed at once.
const WIDTH: usize = 8;
/// Values after each point's plane: without them the planes would lie on the same few lines of the first cache.
const PAD: usize = LANES;
/// Tiles multiplied at once: with [`LANES`] outputs they fill AVX2's registers.
const ROWS: usize = 6;

/// Where the tiles of pictures lie. They are counted through all pictures, row by row.
#[derive(Clone, Copy)]
struct Tiles {
    height: usize,
    down: usize,
    across: usize,
}

impl Tiles {
    fn of(c: Conv) -> Self {
        Tiles { height: c.height, down: c.height.div_ceil(2), across: c.width.div_ceil(2) }
    }

    /// The first row of pixels of row `row` of tiles, counted through all pictures.
    fn first_row(self, row: usize) -> usize {
        row / self.down * self.height + 2 * (row % self.down)
    }

    /// The picture, row and column of the first pixel of y of a tile.
    #[inline(always)]
    fn corner(self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.across, tile % self.across);
        (row / self.down, 2 * (row % self.down), 2 * column)
    }
}

/// y = w ∗ x + b, where the kernel's side is 3.
pub fn convolve<E: Real>(c: Conv, x: &[E], w: Weights<'_, E>, b: &[E], y: &mut [E], store: Store<'_, E>) {
    let (tiles, line) = (Tiles::of(c), c.width * c.outputs);
    let rows = c.batch * tiles.down;
    let weights = transformed_weights(c, w);
    let block = block(c);
    // A task's tiles fill a block.
    let most = (rows * tiles.across / block).clamp(1, TASKS);
    let (mut tasks, mut rest) = (Vec::new(), y);
    for rows in pieces(rows, rows.div_ceil(most).max(1)) {
        let first = tiles.first_row(rows.start);
        let (y, below) = rest.split_at_mut((tiles.first_row(rows.end) - first) * line);
        tasks.push((rows.start * tiles.across..rows.end * tiles.across, first * line, y));
        rest = below;
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(all, start, y)| {
        // Blocks of one size, so that none is a small rest.
        let block = all.len().div_ceil(((all.len() + block / 2) / block).max(1));
        let rows = block.next_multiple_of(ROWS);
        let mut inputs = vec![E::of(0.0); POINTS * (rows * c.inputs + PAD)];
        let mut products = vec![[E::of(0.0); LANES]; POINTS * (rows + 1)];
        for block in pieces(all.len(), block) {
            let block = all.start + block.start..all.start + block.end;
            transform_inputs(c, x, block.clone(), 0..c.inputs, rows, &mut inputs);
            for (index, weights) in weights.chunks_exact(POINTS * c.inputs).enumerate() {
                let points = inputs.chunks_exact(rows * c.inputs + PAD).zip(weights.chunks_exact(c.inputs));
                for ((inputs, weights), products) in points.zip(products.chunks_exact_mut(rows + 1)) {
                    vectorised!(|| multiply(&inputs[..rows * c.inputs], weights, products));
                }
                let o = index * LANES..c.outputs.min((index + 1) * LANES);
                transform_back(c, &products, block.clone(), &b[o.clone()], o, start, y, store);
            }
        }
    });
}

/// About how many tiles a task transforms at once. Their transformed values, half a MiB up to 512 channels, stay in the second
/// cache while all the weights stream by; the weights may be larger than every cache, so they should stream by seldom.
fn block(c: Conv) -> usize {
    ((1 << 17) / (POINTS * c.inputs)).clamp(18, 96)
}

/// G w Gᵀ as [`multiply`] reads it: for each block of [`LANES`] outputs (16, I, LANES), zero beyond O.
fn transformed_weights<E: Real>(c: Conv, w: Weights<'_, E>) -> Vec<[E; LANES]> {
    let mut all = vec![[E::of(0.0); LANES]; c.outputs.div_ceil(LANES) * POINTS * c.inputs];
    all.par_chunks_mut(POINTS * c.inputs).enumerate().for_each(|(block, points)| {
        let count = LANES.min(c.outputs - block * LANES);
        vectorised!(|| {
            for i in 0..c.inputs {
                let mut taps = [Vector::<E, LANES>::zero(); 9];
                for lane in 0..count {
                    w.taps(block * LANES + lane, i, |at, tap| taps[at].0[lane] = tap);
                }
                let store = |p: usize, q: usize, value: Vector<E, LANES>| points[(4 * p + q) * c.inputs + i] = value.0;
                both_sides(|ky, kx| taps[3 * ky + kx], kernel, store);
            }
        });
    });
    all
}

/// Bᵀ x B of some tiles and channels, into (16, `rows`, channels).
fn transform_inputs<E: Real>(
    c: Conv,
    x: &[E],
    tiles: Range<usize>,
    channels: Range<usize>,
    rows: usize,
    into: &mut [E],
) {
    let (at, count) = (Tiles::of(c), channels.len());
    let line = c.width * c.inputs;
    // max(x, floor) is x, or its ReLU; a NaN stays one.
    let floor = E::of(if c.relu { 0.0 } else { f64::NEG_INFINITY });
    let mut frame = vec![E::of(0.0); 4 * 4 * count];
    vectorised!(|| {
        for (index, tile) in tiles.enumerate() {
            let (picture, row, column) = at.corner(tile);
            let inside = row > 0 && column > 0 && row + 2 < c.height && column + 2 < c.width;
            // The pixels of the tile's first row, how far the next row's are, and how far the next pixel.
            let (pixels, next_row, next) = if inside {
                let first = (picture * c.height + row - 1) * line + (column - 1) * c.inputs + channels.start;
                (&x[first..], line, c.inputs)
            } else {
                frame.fill(E::of(0.0));
                for (i, frame) in frame.chunks_exact_mut(4 * count).enumerate() {
                    for (j, frame) in frame.chunks_exact_mut(count).enumerate() {
                        let (y, z) = (row + i, column + j);
                        if y > 0 && z > 0 && y <= c.height && z <= c.width {
                            let from = (picture * c.height + y - 1) * line + (z - 1) * c.inputs + channels.start;
                            frame.copy_from_slice(&x[from..from + count]);
                        }
                    }
                }
                (&frame[..], 4 * count, count)
            };
            let mut done = 0;
            while done + WIDTH <= count {
                transform_input::<E, WIDTH>(
                    &pixels[done..],
                    (next_row, next),
                    floor,
                    &mut into[index * count + done..],
                    rows * count + PAD,
                );
                done += WIDTH;
            }
            for done in done..count {
                transform_input::<E, 1>(
                    &pixels[done..],
                    (next_row, next),
                    floor,
                    &mut into[index * count + done..],
                    rows * count + PAD,
                );
            }
        }
    });
}

/// N channels of one tile; the points of `into` are `plane` values apart.
#[inline(always)]
fn transform_input<E: Real, const N: usize>(
    pixels: &[E],
    (next_row, next): (usize, usize),
    floor: E,
    into: &mut [E],
    plane: usize,
) {
    let mut rows = [pixels; 4];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &pixels[i * next_row..][..3 * next + N];
    }
    let into = &mut into[..(POINTS - 1) * plane + N];
    both_sides(
        |i, j| Vector::<E, N>::load(&rows[i][j * next..]).at_least(floor),
        input,
        |i, j, value| into[(4 * i + j) * plane..][..N].copy_from_slice(&value.0),
    );
}

/// products (rows, LANES) = inputs (rows, I) · weights (I, LANES); the rows are a multiple of [`ROWS`].
#[inline(always)]
fn multiply<E: Real>(inputs: &[E], weights: &[[E; LANES]], products: &mut [[E; LANES]]) {
    let count = weights.len();
    for (products, inputs) in products.as_chunks_mut::<ROWS>().0.iter_mut().zip(inputs.chunks_exact(ROWS * count)) {
        let mut rows = [inputs; ROWS];
        for (row, from) in rows.iter_mut().zip(inputs.chunks_exact(count)) {
            *row = &from[..count];
        }
        let mut sums = [[E::of(0.0); LANES]; ROWS];
        for (i, weights) in weights.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(&rows) {
                let x = row[i];
                for (sum, &w) in sum.iter_mut().zip(weights) {
                    *sum = x.mul_add(w, *sum);
                }
            }
        }
        *products = sums;
    }
}

/// Aᵀ products A + b of some tiles and outputs, into their places in `y`, which begins at element `start` of the whole.
#[allow(clippy::too_many_arguments)]
fn transform_back<E: Real>(
    c: Conv,
    products: &[[E; LANES]],
    tiles: Range<usize>,
    b: &[E],
    outputs: Range<usize>,
    start: usize,
    y: &mut [E],
    store: Store<'_, E>,
) {
    let (at, plane) = (Tiles::of(c), products.len() / POINTS);
    vectorised!(|| {
        let mut bias = Vector::<E, LANES>::zero();
        bias.0[..b.len()].copy_from_slice(b);
        for (index, tile) in tiles.enumerate() {
            let (picture, row, column) = at.corner(tile);
            let mut pixels = [[Vector::<E, LANES>::zero(); 2]; 2];
            let point = |i: usize, j: usize| Vector(products[(4 * i + j) * plane + index]);
            both_sides(point, output, |i, j, pixel| pixels[i][j] = pixel + bias);
            for (i, line) in pixels.iter().enumerate().take(c.height - row) {
                for (j, pixel) in line.iter().enumerate().take(c.width - column) {
                    let place = ((picture * c.height + row + i) * c.width + column + j) * c.outputs + outputs.start;
                    store.put(&mut y[place - start..][..outputs.len()], &pixel.0, place);
                }
            }
        }
    });
}

/// dw += Gᵀ[Σ over tiles of (A dy Aᵀ) ⊙ (Bᵀ x B)]G, where the kernel's side is 3.
pub fn backward_weight<E: Real>(c: Conv, dy: &[E], x: &[E], dw: &mut [E]) {
    // Channels of a task on each side, and tiles of a block: what is transformed and the sums stay in the second cache.
    const CHANNELS: usize = 64;
    const TILES: usize = 64;
    let at = Tiles::of(c);
    let tiles = c.batch * at.down * at.across;
    let ranges = c.inputs.div_ceil(CHANNELS) * c.outputs.div_ceil(CHANNELS);
    let most = (PARTIALS / (POINTS * c.inputs * c.outputs)).min(TASKS / ranges).min(tiles / TILES).max(1);
    let groups = pieces(tiles, tiles.div_ceil(most).max(1));
    let tasks: Vec<_> = pieces(c.outputs, CHANNELS)
        .flat_map(|o| pieces(c.inputs, CHANNELS).map(move |i| (o.clone(), i)))
        .flat_map(|(o, i)| groups.clone().map(move |tiles| (o.clone(), i.clone(), tiles)))
        .collect();
    let sums = tasks.into_par_iter().with_max_len(1).map(|(o, i, tiles)| {
        let blocks = o.len().div_ceil(LANES);
        let mut sums = vec![[E::of(0.0); LANES]; blocks * POINTS * i.len()];
        let mut inputs = vec![E::of(0.0); POINTS * (TILES * i.len() + PAD)];
        let mut gradients = vec![[E::of(0.0); LANES]; POINTS * (TILES + 1)];
        for block in pieces(tiles.len(), TILES) {
            let block = tiles.start + block.start..tiles.start + block.end;
            transform_inputs(c, x, block.clone(), i.clone(), TILES, &mut inputs);
            for (sums, o) in sums.chunks_exact_mut(POINTS * i.len()).zip(o.clone().step_by(LANES)) {
                transform_gradients(c, dy, block.clone(), o, &mut gradients);
                let points = sums.chunks_exact_mut(i.len()).zip(inputs.chunks_exact(TILES * i.len() + PAD));
                for ((sums, inputs), gradients) in points.zip(gradients.chunks_exact(TILES + 1)) {
                    vectorised!(|| accumulate(&inputs[..block.len() * i.len()], gradients, sums));
                }
            }
        }
        sums
    });
    let sums: Vec<_> = sums.collect();
    let groups = groups.len();
    let ranges: Vec<_> = pieces(c.inputs, CHANNELS).collect();
    dw.par_chunks_mut(LANES * c.inputs * 9).enumerate().for_each(|(block, dw)| {
        let (task, block) = (block * LANES / CHANNELS * ranges.len(), block % (CHANNELS / LANES));
        for (i, groups) in ranges.iter().zip(sums[task * groups..].chunks_exact(groups)) {
            for channel in i.clone() {
                vectorised!(|| {
                    let mut points = [[Vector::<E, LANES>::zero(); 4]; 4];
                    for sums in groups {
                        for (point, sum) in points.as_flattened_mut().iter_mut().enumerate() {
                            *sum = *sum + Vector(sums[(block * POINTS + point) * i.len() + channel - i.start]);
                        }
                    }
                    let mut taps = [[Vector::<E, LANES>::zero(); 3]; 3];
                    both_sides(|i, j| points[i][j], kernel_adjoint, |i, j, tap| taps[i][j] = tap);
                    for (lane, dw) in dw.chunks_exact_mut(c.inputs * 9).enumerate() {
                        for (dw, tap) in dw[channel * 9..].iter_mut().zip(taps.as_flattened()) {
                            *dw += tap.0[lane];
                        }
                    }
                });
            }
        }
    });
}

/// A dy Aᵀ of some tiles and the [`LANES`] outputs from `first` on, into (16, tiles, LANES); zero beyond O.
fn transform_gradients<E: Real>(c: Conv, dy: &[E], tiles: Range<usize>, first: usize, into: &mut [[E; LANES]]) {
    let (at, plane, count) = (Tiles::of(c), into.len() / POINTS, LANES.min(c.outputs - first));
    vectorised!(|| {
        for (index, tile) in tiles.enumerate() {
            let (picture, row, column) = at.corner(tile);
            let mut pixels = [[Vector::<E, LANES>::zero(); 2]; 2];
            for (i, line) in pixels.iter_mut().enumerate().take(c.height - row) {
                for (j, pixel) in line.iter_mut().enumerate().take(c.width - column) {
                    let place = ((picture * c.height + row + i) * c.width + column + j) * c.outputs + first;
                    if count == LANES {
                        *pixel = Vector::load(&dy[place..]);
                    } else {
                        pixel.0[..count].copy_from_slice(&dy[place..place + count]);
                    }
                }
            }
            let store = |i: usize, j: usize, value: Vector<E, LANES>| into[(4 * i + j) * plane + index] = value.0;
            both_sides(|i, j| pixels[i][j], output_adjoint, store);
        }
    });
}

/// sums (I, LANES) += inputsᵀ (I, tiles) · gradients (tiles, LANES)
#[inline(always)]
fn accumulate<E: Real>(inputs: &[E], gradients: &[[E; LANES]], sums: &mut [[E; LANES]]) {
    /// Channels at once.
    const CHANNELS: usize = 4;
    let count = sums.len();
    let (tiles, rest) = sums.as_chunks_mut::<CHANNELS>();
    let done = tiles.len() * CHANNELS;
    for (sums, first) in tiles.iter_mut().zip((0..).step_by(CHANNELS)) {
        outer(inputs, (count, first), gradients, sums);
    }
    for (sum, first) in rest.iter_mut().zip(done..) {
        outer(inputs, (count, first), gradients, std::array::from_mut(sum));
    }
}

/// The sums of P neighbouring channels.
#[inline(always)]
fn outer<E: Real, const P: usize>(
    inputs: &[E],
    (count, first): (usize, usize),
    gradients: &[[E; LANES]],
    total: &mut [[E; LANES]; P],
) {
    let mut sums = *total;
    for (inputs, gradients) in inputs.chunks_exact(count).zip(gradients) {
        let inputs = &inputs[first..first + P];
        for (sum, &x) in sums.iter_mut().zip(inputs) {
            for (sum, &dy) in sum.iter_mut().zip(gradients) {
                *sum = x.mul_add(dy, *sum);
            }
        }
    }
    *total = sums;
}
