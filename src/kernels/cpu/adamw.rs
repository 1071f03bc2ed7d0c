//! AdamW with decoupled decay (Loshchilov and Hutter 2019), the global gradient norm and its clipping, and the moving average
//! of the weights.

use super::lanes::{vectorised, wide_sum_by};
use super::parallel::{expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

/// The constants of one update.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// The learning rate.
    pub lr: f64,
    /// The decay of m, the running mean of g.
    pub beta1: f64,
    /// The decay of v, the running mean of g².
    pub beta2: f64,
    /// Added to √v̂.
    pub epsilon: f64,
    /// Decoupled: p shrinks by lr·weight_decay, apart from the gradient.
    pub weight_decay: f64,
    /// 1 for the first update.
    pub step: u64,
    /// Every gradient is multiplied by this first (global-norm clipping, accumulation).
    pub grad_scale: f64,
    /// An upper bound on the running variance v (5 in paper B.2), if any.
    pub max_variance: Option<f64>,
}

impl AdamW {
    /// What an update multiplies by, in its precision: the gradient's scale; 1 − lr·wd; β₁, 1 − β₁; β₂, 1 − β₂; lr/(1 − β₁ᵗ);
    /// 1/√(1 − β₂ᵗ); ε; the bound on v.
    pub fn rates<E: Real>(&self) -> [E; 10] {
        let step = self.step as f64;
        let keep = 1.0 - self.lr * self.weight_decay;
        let rate = self.lr / (1.0 - self.beta1.powf(step));
        let root_scale = 1.0 / (1.0 - self.beta2.powf(step)).sqrt();
        let (b1, b2) = (self.beta1, self.beta2);
        let bound = self.max_variance.unwrap_or(f64::INFINITY);
        [self.grad_scale, keep, b1, 1.0 - b1, b2, 1.0 - b2, rate, root_scale, self.epsilon, bound].map(E::of)
    }
}

compiled! {
    /// One update of `p` with its moments, in the order of torch.optim.AdamW: p *= 1 − lr·wd; m, v; p −= lr·m̂/(√v̂ + ε), where
    /// m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ). The bound is applied to v itself, before v̂.
    pub fn update(c: AdamW, p: &mut [E], g: &[E], m: &mut [E], v: &mut [E]) = update_of;

    /// Σ g² in f64, in a fixed order. Not finite where an element is not.
    pub fn sum_of_squares(g: &[E]) -> f64 = sum_of_squares_of;

    /// average ← decay·average + (1 − decay)·weights
    pub fn average(decay: f64, average: &mut [E], weights: &[E]) = average_of;
}

fn update_of<E: Real>(c: AdamW, p: &mut [E], g: &[E], m: &mut [E], v: &mut [E]) {
    let lengths = [("g", g.len(), p.len()), ("m", m.len(), p.len()), ("v", v.len(), p.len())];
    expect_lengths("adamw::update", &lengths);
    let [scale, keep, beta1, one_less_beta1, beta2, one_less_beta2, rate, root_scale, epsilon, bound] = c.rates::<E>();
    let chunk = rows_per_task(p.len(), 1);
    let moments = m.par_chunks_mut(chunk).zip_eq(v.par_chunks_mut(chunk));
    let tasks = p.par_chunks_mut(chunk).zip_eq(g.par_chunks(chunk)).zip_eq(moments);
    tasks.for_each(|((p, g), (m, v))| {
        vectorised!(move || {
            for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                let g = *g * scale;
                *m = beta1 * *m + one_less_beta1 * g;
                let variance = beta2 * *v + one_less_beta2 * g * g;
                *v = if variance > bound { bound } else { variance };
                *p = *p * keep - rate * *m / (v.sqrt() * root_scale + epsilon);
            }
        });
    });
}

fn sum_of_squares_of<E: Real>(g: &[E]) -> f64 {
    let parts = g.par_chunks(rows_per_task(g.len(), 1)).map(|g| vectorised!(|| wide_sum_by(g, |g| g * g)));
    parts.collect::<Vec<_>>().into_iter().sum()
}

/// By what gradients of global norm `norm` are multiplied so that it is at most `limit`: torch.nn.utils.clip_grad_norm_'s
/// factor, which lies a little below the exact one.
pub fn clip_scale(norm: f64, limit: f64) -> f64 {
    (limit / (norm + 1e-6)).min(1.0)
}

fn average_of<E: Real>(decay: f64, average: &mut [E], weights: &[E]) {
    expect_lengths("adamw::average", &[("weights", weights.len(), average.len())]);
    let decay = E::of(decay);
    average.iter_mut().zip(weights).for_each(|(a, &w)| *a = decay * *a + (E::one() - decay) * w);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals};

    const CONSTANTS: AdamW = AdamW {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.96,
        epsilon: 1e-8,
        weight_decay: 0.045,
        step: 1,
        grad_scale: 0.5,
        max_variance: Some(0.3),
    };

    #[test]
    fn three_updates_equal_the_published_algorithm() {
        let n = 40;
        let (mut p, mut m, mut v) = (normals::<f64>("p", n), vec![0.0; n], vec![0.0; n]);
        let (mut p32, mut m32, mut v32) =
            (p.iter().map(|p| *p as f32).collect::<Vec<_>>(), vec![0f32; n], vec![0f32; n]);
        let (mut expected, mut mean, mut variance) = (p.clone(), vec![0.0; n], vec![0.0; n]);
        let mut bounded = 0;
        for step in 1..=3 {
            // Large gradients, so that the bound on v is met.
            let g: Vec<f64> = normals::<f64>("g", n).iter().map(|g| g * 4.0 / step as f64).collect();
            let c = AdamW { step, ..CONSTANTS };
            update(c, &mut p, &g, &mut m, &mut v);
            let g32: Vec<f32> = g.iter().map(|g| *g as f32).collect();
            update(c, &mut p32, &g32, &mut m32, &mut v32);
            for i in 0..n {
                let g = g[i] * 0.5;
                expected[i] -= 0.01 * 0.045 * expected[i];
                mean[i] = 0.9 * mean[i] + 0.1 * g;
                variance[i] = (0.96 * variance[i] + 0.04 * g * g).min(0.3);
                bounded += usize::from(variance[i] == 0.3);
                let corrected = variance[i] / (1.0 - 0.96f64.powi(step as i32));
                expected[i] -= 0.01 * mean[i] / (1.0 - 0.9f64.powi(step as i32)) / (corrected.sqrt() + 1e-8);
            }
        }
        assert!(bounded > 0 && bounded < 3 * n);
        assert_close(&p, &expected, 1e-13);
        assert_close(&v, &variance, 1e-13);
        assert_close(&p32, &expected, 1e-6);
    }

    #[test]
    fn the_first_update_moves_by_the_rate_against_the_sign() {
        let c = AdamW { weight_decay: 0.0, grad_scale: 1.0, max_variance: None, ..CONSTANTS };
        let mut p = [1.0f64, 1.0];
        update(c, &mut p, &[3.0, -0.2], &mut [0.0; 2], &mut [0.0; 2]);
        assert_close(&p, &[0.99, 1.01], 1e-8);
    }

    #[test]
    fn the_sum_of_squares_is_exact_and_shows_what_is_not_finite() {
        let mut g = vec![0.5f32; 100_003];
        assert_eq!(sum_of_squares(&g), 100_003.0 * 0.25);
        g[70_000] = f32::INFINITY;
        assert_eq!(sum_of_squares(&g), f64::INFINITY);
        g[70_000] = f32::NAN;
        assert!(sum_of_squares(&g).is_nan());
        assert_eq!(sum_of_squares::<f32>(&[]), 0.0);
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let g = normals::<f32>("g", 100_003);
        assert_same_on_any_threads(|| vec![sum_of_squares(&g)]);
        assert_same_on_any_threads(|| {
            let (mut p, mut m, mut v) = (vec![1.0; g.len()], vec![0.0; g.len()], vec![0.0; g.len()]);
            update(CONSTANTS, &mut p, &g, &mut m, &mut v);
            [p, m, v].concat()
        });
    }
}
