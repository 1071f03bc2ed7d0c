//! The logit-Laplace (paper A.3) as a distribution of 8-bit values: the density integrated over each value's bin, so that its
//! logarithm is a code length, which a density's is not. The outermost bins reach to the ends of the support.

use crate::models::dvae::EPSILON;
use std::f64::consts::LN_2;
use std::sync::LazyLock;

/// The bins' edges on the line of logits: bin v is from `EDGES[v]` to `EDGES[v + 1]`.
static EDGES: LazyLock<[f64; 257]> = LazyLock::new(|| {
    std::array::from_fn(|edge| match edge {
        0 => f64::NEG_INFINITY,
        256 => f64::INFINITY,
        edge => {
            let y = (1.0 - 2.0 * EPSILON) * (edge as f64 - 0.5) / 255.0 + EPSILON;
            (y / (1.0 - y)).ln()
        }
    })
});

/// −ln P(value) in nats, never negative, of the distribution with location `mu` and scale e^`ln_b` on the line of logits.
pub fn nll(value: u8, mu: f64, ln_b: f64) -> f64 {
    let at = |edge: usize| (EDGES[edge] - mu) * (-ln_b).exp();
    let (low, high) = (at(usize::from(value)), at(usize::from(value) + 1));
    // F(high) − F(low) of the unit Laplace; in a tail as a logarithm, since both may be smaller than any f64.
    if high <= 0.0 {
        LN_2 - high - (-(low - high).exp_m1()).ln()
    } else if low >= 0.0 {
        LN_2 + low - (-(low - high).exp_m1()).ln()
    } else {
        LN_2 - (-(-high).exp_m1() - low.exp_m1()).ln()
    }
}

/// The sum of [`nll`] over pictures' values in [0, 1], each that of 8 bits, under `stats` as decoders give them (six numbers a
/// pixel: μ, then ln b); `clamp` bounds |ln b|.
pub fn nll_of_values(values: &[f32], stats: &[f32], clamp: f64) -> f64 {
    let pixels = values.chunks(3).zip(stats.chunks(6));
    let each = pixels.flat_map(|(values, stats)| values.iter().zip(stats).zip(&stats[values.len()..]));
    each.map(|((&value, &mu), &ln_b)| {
        let value = (255.0 * value).round().clamp(0.0, 255.0) as u8;
        nll(value, f64::from(mu), f64::from(ln_b).clamp(-clamp, clamp))
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_distribution_wherever_it_is_and_however_sharp() {
        for mu in [-30.0, -2.0, -0.3, 0.0, 0.004, 1.1, 2.19, 700.0] {
            for ln_b in [-7.0, -3.0, -1.0, 0.0, 2.0, 7.0] {
                let each: Vec<f64> = (0..=255).map(|value| nll(value, mu, ln_b)).collect();
                assert!(each.iter().all(|nll| *nll >= 0.0 && !nll.is_nan()), "{mu} {ln_b}");
                let sum: f64 = each.iter().map(|nll| (-nll).exp()).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{mu} {ln_b}: {sum}");
            }
        }
    }

    #[test]
    fn a_wide_one_is_its_density_times_the_bin_and_a_sharp_one_costs_nothing() {
        let (value, ln_b) = (100u8, 0.0);
        let y = (1.0 - 2.0 * EPSILON) * f64::from(value) / 255.0 + EPSILON;
        let logit = (y / (1.0 - y)).ln();
        for mu in [logit - 1.0, logit + 0.5] {
            let density = (-(logit - mu).abs()).exp() / (2.0 * y * (1.0 - y));
            let bin = (1.0 - 2.0 * EPSILON) / 255.0;
            assert!((nll(value, mu, ln_b) + (density * bin).ln()).abs() < 1e-4);
        }
        // Its density is 9 bits sharper than a bin: as a density it would cost less than nothing.
        assert!(nll(value, logit, -7.0) < 1e-3 && nll(value + 1, logit, -7.0) > 5.0);
    }

    #[test]
    fn a_picture_is_the_sum_of_its_values() {
        let stats = [0.1, -0.2, 0.3, -9.0, -1.0, 0.5];
        let sum = nll_of_values(&[0.0, 0.4, 1.0], &stats, 2.0);
        let each =
            nll(0, f64::from(0.1f32), -2.0) + nll(102, f64::from(-0.2f32), -1.0) + nll(255, f64::from(0.3f32), 0.5);
        assert!((sum - each).abs() < 1e-9, "{sum} {each}");
    }
}
