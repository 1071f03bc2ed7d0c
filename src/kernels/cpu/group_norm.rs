//! Group normalisation of NHWC pictures, forward only. Shapes: x, y (B, P, C) with P pixels; gain, bias (C,).

use super::parallel::expect_lengths;
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

compiled! {
    /// y = (x − mean)/√(variance + ε)·gain + bias, with the mean and the population's variance over the pixels and the C/groups
    /// neighbouring channels of a group, of each picture. `groups` divides C.
    pub fn forward(x: &[E], pixels: usize, groups: usize, affine: (&[E], &[E]), epsilon: f64, y: &mut [E]) = forward_of;
}

fn forward_of<E: Real>(x: &[E], pixels: usize, groups: usize, (gain, bias): (&[E], &[E]), epsilon: f64, y: &mut [E]) {
    let channels = gain.len();
    assert!(channels.is_multiple_of(groups), "group_norm::forward: {channels} channels in {groups} groups");
    let whole = x.len() / (pixels * channels) * pixels * channels;
    let lengths = [("bias", bias.len(), channels), ("x", x.len(), whole), ("y", y.len(), x.len())];
    expect_lengths("group_norm::forward", &lengths);
    let each = channels / groups;
    let per_group = (pixels * each) as f64;
    y.par_chunks_mut(pixels * channels).zip_eq(x.par_chunks(pixels * channels)).for_each(|(y, x)| {
        // Two passes in f64: a difference of squares would lose the digits of a large mean.
        let sums = |of: &dyn Fn(usize, E) -> f64| {
            let mut sums = vec![0.0; groups];
            for pixel in x.chunks_exact(channels) {
                for (group, values) in pixel.chunks_exact(each).enumerate() {
                    sums[group] += values.iter().map(|&value| of(group, value)).sum::<f64>();
                }
            }
            sums
        };
        let mean: Vec<f64> = sums(&|_, value| value.as_f64()).into_iter().map(|sum| sum / per_group).collect();
        let square = |group: usize, value: E| (value.as_f64() - mean[group]).powi(2);
        let scale: Vec<f64> = sums(&square).into_iter().map(|sum| 1.0 / (sum / per_group + epsilon).sqrt()).collect();
        // y = x·slope + offset, channel by channel.
        let slope: Vec<E> = (0..channels).map(|c| E::of(gain[c].as_f64() * scale[c / each])).collect();
        let offset: Vec<E> = (0..channels)
            .map(|c| E::of(bias[c].as_f64() - mean[c / each] * gain[c].as_f64() * scale[c / each]))
            .collect();
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for (((y, &x), &slope), &offset) in y.iter_mut().zip(x).zip(&slope).zip(&offset) {
                *y = x * slope + offset;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_of_each_picture_is_normed_alone() {
        // Two pictures of two pixels with four channels in two groups.
        let x = [1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 10.0, 10.0, 0.0, 0.0, 2.0, 4.0, 0.0, 0.0, 6.0, 8.0];
        let mut y = [0.0f64; 16];
        forward(&x, 2, 2, (&[1.0, 1.0, 2.0, 1.0], &[0.0, 0.0, 0.0, 1.0]), 0.0001, &mut y);
        let deviation = (5.0f64 + 0.0001).sqrt();
        for (got, expected) in y[..4].iter().zip([-3.0 / deviation, -1.0 / deviation, 0.0, 1.0]) {
            assert!((got - expected).abs() < 1e-12);
        }
        assert!((y[14] - 2.0 / deviation).abs() < 1e-12 && (y[15] - (1.0 + 3.0 / deviation)).abs() < 1e-12);
    }
}
