//! 2×2 max-pool and nearest ×2 upsampling of NHWC pictures. `(batch, height, width, channels)` are those of the larger
//! picture; its height and width are even.

use super::parallel::{expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

compiled! {
    /// x (B, H, W, C) → y (B, H/2, W/2, C); `argmax[i]` is the index into `x` that `y[i]` came from (the first one on ties; the
    /// first NaN, if there is one).
    pub fn max_forward(dims: (usize, usize, usize, usize), x: &[E], y: &mut [E], argmax: &mut [u32]) = max_forward_of;

    /// `dx[argmax[i]] += dy[i]`
    pub fn max_backward(dims: (usize, usize, usize, usize), dy: &[E], argmax: &[u32], dx: &mut [E]) = max_backward_of;

    /// x (B, H/2, W/2, C) → y (B, H, W, C)
    pub fn nearest_forward(dims: (usize, usize, usize, usize), x: &[E], y: &mut [E]) = nearest_forward_of;

    /// dx += the sum of dy over each 2×2 block.
    pub fn nearest_backward(dims: (usize, usize, usize, usize), dy: &[E], dx: &mut [E]) = nearest_backward_of;
}

fn max_forward_of<E: Real>(dims: (usize, usize, usize, usize), x: &[E], y: &mut [E], argmax: &mut [u32]) {
    let Strips { row, channels, per_task } = strips("pool::max_forward", dims, x.len(), y.len());
    assert!(x.len() <= u32::MAX as usize, "pool::max_forward: {} elements, expected fewer than 2³²", x.len());
    expect_lengths("pool::max_forward", &[("argmax", argmax.len(), y.len())]);
    let results = y.par_chunks_mut(per_task * row / 2).zip_eq(argmax.par_chunks_mut(per_task * row / 2));
    results.zip_eq(x.par_chunks(per_task * 2 * row)).enumerate().for_each(|(task, ((y, argmax), x))| {
        let first = task * per_task * 2 * row;
        let results = y.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels));
        for (window, (y, argmax)) in results.enumerate() {
            let corner = corner(window, row, channels);
            let offsets = [corner, corner + channels, corner + row, corner + row + channels];
            y.copy_from_slice(&x[corner..corner + channels]);
            for (c, argmax) in argmax.iter_mut().enumerate() {
                *argmax = (first + corner + c) as u32;
            }
            for offset in &offsets[1..] {
                let candidates = x[*offset..*offset + channels].iter().enumerate();
                for ((y, argmax), (c, x)) in y.iter_mut().zip(argmax.iter_mut()).zip(candidates) {
                    if *x > *y || (x.is_nan() && !y.is_nan()) {
                        (*y, *argmax) = (*x, (first + *offset + c) as u32);
                    }
                }
            }
        }
    });
}

fn max_backward_of<E: Real>(dims: (usize, usize, usize, usize), dy: &[E], argmax: &[u32], dx: &mut [E]) {
    let Strips { row, per_task, .. } = strips("pool::max_backward", dims, dx.len(), dy.len());
    expect_lengths("pool::max_backward", &[("argmax", argmax.len(), dy.len())]);
    let inputs = dy.par_chunks(per_task * row / 2).zip_eq(argmax.par_chunks(per_task * row / 2));
    dx.par_chunks_mut(per_task * 2 * row).zip_eq(inputs).enumerate().for_each(|(task, (dx, (dy, argmax)))| {
        let first = task * per_task * 2 * row;
        for (dy, from) in dy.iter().zip(argmax) {
            dx[*from as usize - first] += *dy;
        }
    });
}

fn nearest_forward_of<E: Real>(dims: (usize, usize, usize, usize), x: &[E], y: &mut [E]) {
    let Strips { row, channels, per_task } = strips("pool::nearest_forward", dims, y.len(), x.len());
    y.par_chunks_mut(per_task * 2 * row).zip_eq(x.par_chunks(per_task * row / 2)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(2 * row).zip(x.chunks_exact(row / 2)) {
            let (upper, lower) = y.split_at_mut(row);
            for (pair, x) in upper.chunks_exact_mut(2 * channels).zip(x.chunks_exact(channels)) {
                let (left, right) = pair.split_at_mut(channels);
                left.copy_from_slice(x);
                right.copy_from_slice(x);
            }
            lower.copy_from_slice(upper);
        }
    });
}

fn nearest_backward_of<E: Real>(dims: (usize, usize, usize, usize), dy: &[E], dx: &mut [E]) {
    let Strips { row, channels, per_task } = strips("pool::nearest_backward", dims, dy.len(), dx.len());
    dx.par_chunks_mut(per_task * row / 2).zip_eq(dy.par_chunks(per_task * 2 * row)).for_each(|(dx, dy)| {
        for (block, dx) in dx.chunks_exact_mut(channels).enumerate() {
            let corner = corner(block, row, channels);
            let at = |offset: usize| &dy[corner + offset..corner + offset + channels];
            let (above, below) = (at(0).iter().zip(at(channels)), at(row).iter().zip(at(row + channels)));
            for ((dx, (a, b)), (c, d)) in dx.iter_mut().zip(above).zip(below) {
                *dx += (*a + *b) + (*c + *d);
            }
        }
    });
}

/// How a picture is cut: `row` elements in a row of the larger picture; a task takes `per_task` rows of the smaller one,
/// which are as many pairs of rows of the larger.
struct Strips {
    row: usize,
    channels: usize,
    per_task: usize,
}

#[track_caller]
fn strips(kernel: &str, dims: (usize, usize, usize, usize), larger: usize, smaller: usize) -> Strips {
    let (batch, height, width, channels) = dims;
    assert!(height % 2 == 0 && width % 2 == 0, "{kernel}: a picture of {height} × {width}, expected even sides");
    let n = batch * height * width * channels;
    expect_lengths(kernel, &[("the larger picture", larger, n), ("the smaller picture", smaller, n / 4)]);
    let row = width * channels;
    Strips { row, channels, per_task: rows_per_task(batch * height / 2, 2 * row) }
}

/// Where the 2×2 block of the i-th pixel of the smaller picture begins in the larger one.
fn corner(i: usize, row: usize, channels: usize) -> usize {
    let across = row / channels / 2;
    i / across * 2 * row + i % across * 2 * channels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals};

    const DIMS: (usize, usize, usize, usize) = (2, 4, 6, 3);

    /// (index in the larger picture, index in the smaller picture) of every element.
    fn pairs((batch, height, width, channels): (usize, usize, usize, usize)) -> Vec<(usize, usize)> {
        (0..batch * height * width * channels)
            .map(|i| {
                let (c, x, y, b) =
                    (i % channels, i / channels % width, i / channels / width % height, i / channels / width / height);
                (i, ((b * height / 2 + y / 2) * width / 2 + x / 2) * channels + c)
            })
            .collect()
    }

    #[test]
    fn the_pool_takes_the_largest_and_sends_the_gradient_back_there() {
        let n = 2 * 4 * 6 * 3;
        let (x, dy) = (normals::<f64>("x", n), normals::<f64>("dy", n / 4));
        let mut expected = vec![f64::NEG_INFINITY; n / 4];
        for (i, j) in pairs(DIMS) {
            expected[j] = expected[j].max(x[i]);
        }
        let (mut y, mut argmax) = (vec![0.0; n / 4], vec![0; n / 4]);
        max_forward(DIMS, &x, &mut y, &mut argmax);
        assert_eq!(y, expected);
        let mut dx = vec![1.0; n];
        max_backward(DIMS, &dy, &argmax, &mut dx);
        for (i, j) in pairs(DIMS) {
            assert_eq!(dx[i], if x[i] == y[j] { 1.0 + dy[j] } else { 1.0 });
        }
    }

    #[test]
    fn ties_go_to_the_first_and_nan_is_kept() {
        let (mut y, mut argmax) = ([0f32; 1], [9; 1]);
        max_forward((1, 2, 2, 1), &[2.0, 3.0, 3.0, 1.0], &mut y, &mut argmax);
        assert_eq!((y, argmax), ([3.0], [1]));
        max_forward((1, 2, 2, 1), &[2.0, f32::NAN, 3.0, 1.0], &mut y, &mut argmax);
        assert!(y[0].is_nan() && argmax == [1]);
    }

    #[test]
    fn upsampling_repeats_and_its_gradient_sums() {
        let n = 2 * 4 * 6 * 3;
        let (x, dy) = (normals::<f64>("x", n / 4), normals::<f64>("dy", n));
        let mut y = vec![0.0; n];
        nearest_forward(DIMS, &x, &mut y);
        let (mut dx, mut expected) = (vec![1.0; n / 4], vec![1.0; n / 4]);
        nearest_backward(DIMS, &dy, &mut dx);
        for (i, j) in pairs(DIMS) {
            assert_eq!(y[i], x[j]);
            expected[j] += dy[i];
        }
        assert_close(&dx, &expected, 1e-14);
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let dims = (3, 32, 32, 20);
        let n = 3 * 32 * 32 * 20;
        let x = normals::<f32>("x", n);
        assert_same_on_any_threads(|| {
            let (mut y, mut argmax) = (vec![0.0; n / 4], vec![0; n / 4]);
            let (mut dx, mut up, mut down) = (vec![0.0; n], vec![0.0; n], vec![0.0; n / 4]);
            max_forward(dims, &x, &mut y, &mut argmax);
            max_backward(dims, &y, &argmax, &mut dx);
            nearest_forward(dims, &y, &mut up);
            nearest_backward(dims, &x, &mut down);
            assert!(argmax.iter().zip(&y).all(|(i, y)| x[*i as usize] == *y));
            [y, dx, up, down].concat()
        });
    }

    #[test]
    #[should_panic(expected = "expected even sides")]
    fn an_odd_picture_is_refused() {
        nearest_forward((1, 3, 2, 1), &[0.0f32], &mut [0.0; 6]);
    }
}
