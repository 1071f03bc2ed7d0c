//! Convolutions with a stride, and transposed ones, of NHWC pictures: forward only, for models that infer.
//! Shapes: x (B, H, W, I), w (O, I, K, K) or, transposed, (I, O, K, K), b (O), y (B, H′, W′, O).

use super::linear;
use super::matmul::{View, matmul_seq};
use super::parallel::expect_lengths;
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strided {
    /// Pictures, B.
    pub batch: usize,
    /// Rows of x.
    pub height: usize,
    /// Columns of x.
    pub width: usize,
    /// Channels of x, I.
    pub inputs: usize,
    /// Channels of y, O.
    pub outputs: usize,
    /// The side of the kernel, K.
    pub kernel: usize,
    /// Pixels of x from one window to the next.
    pub stride: usize,
    /// Rows and columns of zeros above and to the left.
    pub before: usize,
    /// Rows and columns of zeros below and to the right.
    pub after: usize,
}

impl Strided {
    /// The sides of y.
    pub fn sides(&self) -> (usize, usize) {
        let side = |x: usize| (x + self.before + self.after - self.kernel) / self.stride + 1;
        (side(self.height), side(self.width))
    }

    /// Writes row `row` of picture `image`'s windows: (W′, K, K, I).
    fn gather<E: Real>(&self, x: &[E], image: usize, row: usize, patches: &mut [E]) {
        let inside = |at: usize, side: usize| at.checked_sub(self.before).filter(|&at| at < side);
        for (window, patch) in patches.chunks_exact_mut(self.kernel * self.kernel * self.inputs).enumerate() {
            for (tap, pixel) in patch.chunks_exact_mut(self.inputs).enumerate() {
                let down = inside(row * self.stride + tap / self.kernel, self.height);
                let across = inside(window * self.stride + tap % self.kernel, self.width);
                match (down, across) {
                    (Some(down), Some(across)) => {
                        let at = ((image * self.height + down) * self.width + across) * self.inputs;
                        pixel.copy_from_slice(&x[at..at + self.inputs]);
                    }
                    _ => pixel.fill(E::zero()),
                }
            }
        }
    }
}

compiled! {
    /// y = w ∗ x + b at every `stride`-th window.
    pub fn forward(c: Strided, x: &[E], w: &[E], b: &[E], y: &mut [E]) = forward_of;

    /// The transposed convolution with `padding` on every side, of sides (H − 1)·stride + K − 2·padding: what a convolution of
    /// these numbers does to gradients. It is the plain one, with the kernel turned by 180°, of x with zeros between its
    /// pixels; `c.before` and `c.after` are not read. `padding` is below K.
    pub fn transposed(c: Strided, padding: usize, x: &[E], w: &[E], b: &[E]) -> (Strided, Vec<E>) = transposed_of;
}

fn forward_of<E: Real>(c: Strided, x: &[E], w: &[E], b: &[E], y: &mut [E]) {
    let (rows, columns) = c.sides();
    let (area, inputs) = (c.kernel * c.kernel, c.inputs);
    let lengths = [
        ("x", x.len(), c.batch * c.height * c.width * inputs),
        ("w", w.len(), c.outputs * inputs * area),
        ("b", b.len(), c.outputs),
        ("y", y.len(), c.batch * rows * columns * c.outputs),
    ];
    expect_lengths("strided::forward", &lengths);
    // (O, I, K·K) to (O, K·K, I): a pixel's channels lie together in x.
    let packed: Vec<E> = (0..w.len())
        .map(|at| w[at / (area * inputs) * area * inputs + at % inputs * area + at / inputs % area])
        .collect();
    let length = area * inputs;
    y.par_chunks_mut(columns * c.outputs).enumerate().for_each(|(row, y)| {
        let mut patches = vec![E::zero(); columns * length];
        c.gather(x, row / rows, row % rows, &mut patches);
        linear::fill_rows(y, b);
        let size = (columns, c.outputs, length);
        matmul_seq(y, size, View::rows(&patches, length), View::rows(&packed, length).t(), true);
    });
}

fn transposed_of<E: Real>(c: Strided, padding: usize, x: &[E], w: &[E], b: &[E]) -> (Strided, Vec<E>) {
    expect_lengths("strided::transposed", &[("x", x.len(), c.batch * c.height * c.width * c.inputs)]);
    let apart = |side: usize| (side - 1) * c.stride + 1;
    let (height, width) = (apart(c.height), apart(c.width));
    let mut spread = vec![E::zero(); c.batch * height * width * c.inputs];
    for (at, pixel) in x.chunks_exact(c.inputs).enumerate() {
        let (image, row, column) = (at / (c.height * c.width), at / c.width % c.height, at % c.width);
        let to = ((image * height + row * c.stride) * width + column * c.stride) * c.inputs;
        spread[to..to + c.inputs].copy_from_slice(pixel);
    }
    let area = c.kernel * c.kernel;
    let turned: Vec<E> = (0..w.len())
        .map(|at| {
            let (output, input, tap) = (at / (area * c.inputs), at / area % c.inputs, at % area);
            w[(input * c.outputs + output) * area + area - 1 - tap]
        })
        .collect();
    let border = c.kernel - 1 - padding;
    let plain = Strided { height, width, stride: 1, before: border, after: border, ..c };
    let (rows, columns) = plain.sides();
    let mut y = vec![E::zero(); c.batch * rows * columns * c.outputs];
    forward(plain, &spread, &turned, b, &mut y);
    (plain, y)
}

#[cfg(test)]
mod tests {
    use super::super::conv::{self, Conv};
    use super::super::testing::normals;
    use super::*;

    const SIZES: Strided =
        Strided { batch: 2, height: 6, width: 4, inputs: 3, outputs: 5, kernel: 3, stride: 1, before: 1, after: 1 };

    #[test]
    fn a_stride_of_two_takes_every_second_window() {
        let (x, w, b) = (normals::<f64>("x", 2 * 6 * 4 * 3), normals("w", 5 * 3 * 9), normals("b", 5));
        let mut all = vec![0.0; 2 * 6 * 4 * 5];
        let same = Conv { batch: 2, height: 6, width: 4, inputs: 3, outputs: 5, kernel: 3, relu: false };
        conv::forward(same, &x, &w, &b, &mut all);
        let mut y = vec![0.0; all.len()];
        forward(SIZES, &x, &w, &b, &mut y);
        assert!(y.iter().zip(&all).all(|(a, b)| (a - b).abs() < 1e-12));

        // Zeros on the right alone: the windows around the odd pixels.
        let mut half = vec![0.0; 2 * 3 * 2 * 5];
        forward(Strided { stride: 2, before: 0, ..SIZES }, &x, &w, &b, &mut half);
        for (at, pixel) in half.chunks(5).enumerate() {
            let (image, row, column) = (at / 6, at / 2 % 3, at % 2);
            let from = ((image * 6 + 2 * row + 1) * 4 + 2 * column + 1) * 5;
            assert!(pixel.iter().zip(&all[from..]).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    /// Σ y·conv(x) = Σ x·transposed(y) where there is no bias.
    #[test]
    fn the_transposed_is_the_adjoint() {
        let plain = Strided { kernel: 4, stride: 2, ..SIZES };
        let (x, w, y) = (normals::<f64>("x", 2 * 6 * 4 * 3), normals("w", 5 * 3 * 16), normals("y", 2 * 3 * 2 * 5));
        let mut forth = vec![0.0; y.len()];
        forward(plain, &x, &w, &[0.0; 5], &mut forth);
        let (rows, columns) = plain.sides();
        let turned = Strided { height: rows, width: columns, inputs: 5, outputs: 3, ..plain };
        let (sizes, back) = transposed(turned, 1, &y, &w, &[0.0; 3]);
        assert_eq!(sizes.sides(), (6, 4));
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((inner(&y, &forth) - inner(&x, &back)).abs() < 1e-10);
    }
}
