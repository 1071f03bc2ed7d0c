//! The same convolutions with both factors of every product rounded to bf16 ([`bf16`](crate::kernels::cpu::bf16)), in three forms of
//! the same product of blocks.
//!
//! - Forward: the rows of the left factor are the patches of neighbouring pixels. In a frame of zeros a patch is K runs of K·I
//!   numbers, and the next pixel's begin I numbers later: nothing is gathered. The frame's own columns are computed and left out.
//! - The gradient of x is the convolution of dy with the turned kernel, as ever.
//! - The gradient of w: with the channels of the frame one after the other, the numbers that tap (ky, kx) of a channel meets begin
//!   ky·line + kx later than those of tap (0, 0), for all pixels at once. dy lies in a frame of the same lines.
//!
//! A 1×1 convolution is a linear map of pixels.

use super::{Band, Conv, Store, Weights};
use crate::kernels::cpu::bf16::{Bf16, LINE, Left, Rows, SIDE, Sums, Tiles, Unit, relu};
use crate::kernels::cpu::lanes::vectorised;
use crate::kernels::cpu::linear::rounded as linear;
use crate::kernels::cpu::parallel::{TASKS, pieces};
use crate::kernels::cpu::reduce::{self, PARTIALS};
use rayon::prelude::*;

/// y = w ∗ x + b (or w ∗ max(x, 0) + b).
pub fn forward(c: Conv, x: &[f32], w: &[f32], b: &[f32], y: &mut [f32]) {
    c.check("conv::rounded::forward", x, w, b, y);
    if c.kernel == 1 {
        return linear::forward(&pixels(c, x), w, Some(b), (c.inputs, c.outputs), y);
    }
    convolve(c, x, c.weights(w, false), b, y, Store::Replace);
}

/// dx +=, dw +=, db += ; `dx` is `None` for the first layer, whose input is a picture.
pub fn backward(c: Conv, dy: &[f32], x: &[f32], w: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32], db: &mut [f32]) {
    c.check("conv::rounded::backward", x, w, db, dy);
    reduce::column_sums(dy, c.outputs, db);
    let store = if c.relu { Store::AddWherePositive(x) } else { Store::Add };
    if c.kernel == 1 {
        linear::backward_weight(dy, &pixels(c, x), (c.inputs, c.outputs), dw);
        if let Some(dx) = dx {
            let mut gradient = vec![0.0; if c.relu { dx.len() } else { 0 }];
            let target = if c.relu { &mut gradient[..] } else { &mut *dx };
            linear::backward_input(&Rows::of(dy, c.outputs), w, (c.inputs, c.outputs), target);
            if c.relu {
                // In pieces that a cache holds.
                const PIECE: usize = 1 << 13;
                let pieces = dx.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)).enumerate();
                pieces.for_each(|(at, (dx, gradient))| vectorised!(|| store.put_some(dx, gradient, at * PIECE)));
            }
        }
        return;
    }
    backward_weight(c, dy, x, dw);
    if let Some(dx) = dx {
        let turned = Conv { inputs: c.outputs, outputs: c.inputs, relu: false, ..c };
        convolve(turned, dy, c.weights(w, true), &vec![0.0; c.inputs], dx, store);
    }
}

fn pixels(c: Conv, x: &[f32]) -> Rows {
    if c.relu { Rows::of_relu(x, c.inputs) } else { Rows::of(x, c.inputs) }
}

fn convolve(c: Conv, x: &[f32], w: Weights<'_, f32>, b: &[f32], mut y: &mut [f32], store: Store<'_, f32>) {
    let unit = Unit::best();
    let w = tiles(c, w);
    let line = c.width * c.outputs;
    let mut tasks = Vec::new();
    for band in bands(c) {
        let (head, rest) = y.split_at_mut(band.rows.len() * line);
        tasks.push((band, head));
        y = rest;
    }
    tasks.into_par_iter().with_max_len(1).for_each(|(band, y)| {
        let start = (band.picture * c.height + band.rows.start) * line;
        let frame = Frame::of(c, x, &band);
        let columns: Vec<Vec<_>> =
            (0..c.outputs.div_ceil(SIDE)).map(|column| w.column(column).chunks(frame.lines).collect()).collect();
        let mut sums: Sums = [[0.0; SIDE]; SIDE];
        unit.ready(|| {
            for first in (0..band.rows.len() * frame.line).step_by(SIDE) {
                let left = frame.patches(first);
                for (column, output) in columns.iter().zip((0..).step_by(SIDE)) {
                    unit.block(left, column, &mut sums);
                    let count = SIDE.min(c.outputs - output);
                    let bias = &b[output..output + count];
                    vectorised!(|| for (sums, place) in sums.iter_mut().zip(first..) {
                        let (row, pixel) = (place / frame.line, place % frame.line);
                        if row < band.rows.len() && pixel < c.width {
                            sums.iter_mut().zip(bias).for_each(|(sum, b)| *sum += b);
                            let at = (row * c.width + pixel) * c.outputs + output;
                            store.put(&mut y[at..at + count], sums, start + at);
                        }
                    });
                }
            }
        });
    });
}

/// Rows of a picture within a frame of zeros, in bf16.
struct Frame {
    values: Vec<u16>,
    /// Pixels in a row, frame included.
    line: usize,
    channels: usize,
    /// Where the run of each row of a patch begins.
    runs: Vec<usize>,
    lines: usize,
}

impl Frame {
    fn of(c: Conv, x: &[f32], band: &Band) -> Frame {
        let line = c.width + c.kernel - 1;
        let lines = (c.kernel * c.inputs).div_ceil(LINE);
        let runs: Vec<usize> = (0..c.kernel).map(|ky| ky * line * c.inputs).collect();
        // So much is read of the last block of pixels; beyond the frame against weights of 0, or for a pixel that is left out.
        let pixels = (band.rows.len() * line).next_multiple_of(SIDE) + (c.kernel - 1) * line;
        let mut values = vec![0; pixels * c.inputs + lines * LINE];
        fill(c, x, band, &mut values, |x| Bf16::round(x).0);
        Frame { values, line, channels: c.inputs, runs, lines }
    }

    /// The patches of 32 pixels of the frame from `first` on.
    fn patches(&self, first: usize) -> Left<'_> {
        let values = &self.values[first * self.channels..];
        Left { values, stride: self.channels, segments: &self.runs, lines: self.lines }
    }
}

/// Puts the rows of x that a band's patches meet, or of max(x, 0), into their places in a frame.
fn fill<T>(c: Conv, x: &[f32], band: &Band, frame: &mut [T], of: impl Fn(f32) -> T) {
    let (pad, line, width) = (c.kernel / 2, c.width + c.kernel - 1, c.width * c.inputs);
    vectorised!(|| for (at, to) in frame.chunks_exact_mut(line * c.inputs).enumerate() {
        let Some(row) = c.row(band, at) else { continue };
        let (to, x) = (&mut to[pad * c.inputs..][..width], &x[row * width..][..width]);
        if c.relu {
            to.iter_mut().zip(x).for_each(|(to, &x)| *to = of(relu(x)));
        } else {
            to.iter_mut().zip(x).for_each(|(to, &x)| *to = of(x));
        }
    });
}

/// The weights (K·⌈K·I/32⌉·32, O): for each row of a patch its K·I taps, zero up to a whole line.
fn tiles(c: Conv, w: Weights<'_, f32>) -> Tiles {
    let run = (c.kernel * c.inputs).next_multiple_of(LINE);
    let depth = c.kernel * run;
    let mut rows = vec![0.0; c.outputs * depth];
    rows.par_chunks_exact_mut(depth).enumerate().for_each(|(output, row)| {
        for input in 0..c.inputs {
            w.taps(output, input, |at, tap| row[at / c.kernel * run + at % c.kernel * c.inputs + input] = tap);
        }
    });
    Tiles::transposed(&rows, depth)
}

/// dw += dyᵀ·patches(x)
fn backward_weight(c: Conv, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    let unit = Unit::best();
    let area = c.kernel * c.kernel;
    let bands = bands(c);
    let groups = (PARTIALS / dw.len()).clamp(1, bands.len());
    let tasks: Vec<&[Band]> = bands.chunks(bands.len().div_ceil(groups)).collect();
    let partials = tasks.into_par_iter().with_max_len(1).map(|bands| {
        // (K·K, I, O)
        let mut total = vec![0.0; dw.len()];
        let mut sums: Sums = [[0.0; SIDE]; SIDE];
        for band in bands {
            let (x, line) = channels(c, x, band);
            let dy = framed(c, dy, band);
            let lines = dy.depth().div_ceil(LINE);
            unit.ready(|| {
                for (tap, total) in total.chunks_exact_mut(c.inputs * c.outputs).enumerate() {
                    for input in (0..c.inputs).step_by(SIDE) {
                        let segment = [input * x.stride() + tap / c.kernel * line + tap % c.kernel];
                        for (column, output) in (0..c.outputs).step_by(SIDE).enumerate() {
                            unit.block(x.left(&segment, lines), &[dy.column(column)], &mut sums);
                            let count = SIDE.min(c.outputs - output);
                            let rows = total[input * c.outputs..].chunks_exact_mut(c.outputs);
                            vectorised!(|| for (total, sums) in rows.zip(&sums) {
                                total[output..][..count].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
                            });
                        }
                    }
                }
            });
        }
        total
    });
    let mut partials = partials.collect::<Vec<_>>();
    let Some((total, others)) = partials.split_first_mut() else { return };
    others.iter().for_each(|other| reduce::add(total, other));
    dw.par_chunks_exact_mut(c.inputs * area).enumerate().for_each(|(output, dw)| {
        for (input, dw) in dw.chunks_exact_mut(area).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                *dw += total[(tap * c.inputs + input) * c.outputs + output];
            }
        }
    });
}

/// The rows of x that a band's patches meet, in a frame of zeros, a channel after the other; and the pixels of a row of it.
fn channels(c: Conv, x: &[f32], band: &Band) -> (Rows, usize) {
    let line = c.width + c.kernel - 1;
    // Blocks of pixels end later than the frame, where dy has zeros; the last tap begins later still.
    let pixels = (band.rows.len() * line).next_multiple_of(LINE) + (c.kernel - 1) * (line + 1);
    let mut frame = vec![0.0; pixels * c.inputs];
    fill(c, x, band, &mut frame, |x| x);
    (Rows::transposed(&frame, c.inputs), line)
}

/// The rows of dy in a frame of the same lines, whose other columns are 0.
fn framed(c: Conv, dy: &[f32], band: &Band) -> Tiles {
    let (line, width) = (c.width + c.kernel - 1, c.width * c.outputs);
    let mut frame = vec![0.0; band.rows.len() * line * c.outputs];
    let first = (band.picture * c.height + band.rows.start) * width;
    for (to, dy) in frame.chunks_exact_mut(line * c.outputs).zip(dy[first..].chunks_exact(width)) {
        to[..width].copy_from_slice(dy);
    }
    Tiles::of(&frame, c.outputs)
}

/// The rows of all pictures in order, in pieces worth a task each: no narrow ones, of which the frame would be the larger part.
fn bands(c: Conv) -> Vec<Band> {
    const PIXELS: usize = 1024;
    let work = c.pixels() * c.kernel * c.kernel * c.inputs * c.outputs;
    let most = (work >> 22).clamp(1, TASKS);
    let least = (PIXELS / c.width.max(1)).min(c.height);
    let rows = (c.batch * c.height).div_ceil(most).max(least).clamp(1, c.height.max(1));
    let of = |picture| pieces(c.height, rows).map(move |rows| Band { picture, rows });
    (0..c.batch).flat_map(of).collect()
}

impl Conv {
    /// The row of all pictures that lies in row `at` of a band's frame; none of the frame's own.
    fn row(self, band: &Band, at: usize) -> Option<usize> {
        let row = (band.rows.start + at).checked_sub(self.kernel / 2).filter(|row| *row < self.height)?;
        (at < band.rows.len() + self.kernel - 1).then_some(band.picture * self.height + row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::conv;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals};
    use proptest::prelude::*;

    fn rounded(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| Bf16::round(x).widen().into()).collect()
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| x.into()).collect()
    }

    fn check(c: Conv) {
        let weights = c.outputs * c.inputs * c.kernel * c.kernel;
        let (x, dy) = (normals::<f32>("x", c.pixels() * c.inputs), normals::<f32>("dy", c.pixels() * c.outputs));
        let (w, b) = (normals::<f32>("w", weights), normals::<f32>("b", c.outputs));
        let (mut y, mut expected) = (vec![f32::NAN; dy.len()], vec![0.0; dy.len()]);
        forward(c, &x, &w, &b, &mut y);
        conv::forward(c, &rounded(&x), &rounded(&w), &wide(&b), &mut expected);
        assert_close(&wide(&y), &expected, 3e-5);
        let start: [Vec<f32>; 3] = [normals("dx", x.len()), normals("dw", w.len()), normals("db", b.len())];
        let [mut dx, mut dw, mut db] = start.clone();
        backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
        let [mut dx_expected, mut dw_expected, mut db_expected] = start.clone().map(|x| wide(&x));
        let all = (&rounded(&dy), &rounded(&x), &rounded(&w));
        conv::backward(c, all.0, all.1, all.2, Some(&mut dx_expected), &mut dw_expected, &mut db_expected);
        assert_close(&wide(&dx), &dx_expected, 3e-5);
        assert_close(&wide(&dw), &dw_expected, 3e-4);
        // Biases are not multiplied: their gradient is that of dy as it is.
        db_expected = wide(&start[2]);
        reduce::column_sums(&wide(&dy), c.outputs, &mut db_expected);
        assert_close(&wide(&db), &db_expected, 1e-4);
        let (mut dw_alone, mut db_alone) = (start[1].clone(), start[2].clone());
        backward(c, &dy, &x, &w, None, &mut dw_alone, &mut db_alone);
        assert_eq!((dw_alone, db_alone), (dw, db), "the first layer's");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn all_of_it_equals_the_convolutions_of_rounded_factors(
            batch in 1usize..3,
            height in 1usize..9,
            width in 1usize..9,
            inputs in 1usize..40,
            outputs in 1usize..40,
            kernel in 0usize..4,
            relu in any::<bool>(),
        ) {
            check(Conv { batch, height, width, inputs, outputs, kernel: 2 * kernel + 1, relu });
        }
    }

    #[test]
    fn pictures_in_several_bands_too() {
        for (height, width, inputs, outputs, kernel) in [(64, 64, 16, 20, 3), (70, 33, 3, 34, 7), (8, 8, 40, 70, 3)] {
            check(Conv { batch: 3, height, width, inputs, outputs, kernel, relu: true });
        }
        assert!(
            bands(Conv { batch: 3, height: 64, width: 64, inputs: 16, outputs: 20, kernel: 3, relu: true }).len() > 3
        );
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let c = Conv { batch: 3, height: 40, width: 40, inputs: 24, outputs: 40, kernel: 3, relu: true };
        let (x, dy) = (normals::<f32>("x", c.pixels() * c.inputs), normals::<f32>("dy", c.pixels() * c.outputs));
        let (w, b) = (normals::<f32>("w", 9 * c.inputs * c.outputs), normals::<f32>("b", c.outputs));
        assert_same_on_any_threads(|| {
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; b.len()]);
            forward(c, &x, &w, &b, &mut y);
            backward(c, &dy, &x, &w, Some(&mut dx), &mut dw, &mut db);
            [y, dx, dw, db].concat()
        });
    }
}
