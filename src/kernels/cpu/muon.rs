//! Muon (Jordan et al. 2024): the momentum of a weight matrix, made orthogonal, is its update.
//!
//! The Laplace likelihood's gradient keeps its size at the optimum, and a picture's background outweighs its objects: AdamW's
//! running variance is full of the one and takes small steps in the others. An orthogonal update moves along every
//! direction alike. Here rows are a weight's outputs and columns everything else, a convolution's kernel included.

use super::matmul::{View, matmul};
use super::parallel::expect_lengths;
use crate::kernels::{Real, compiled};

/// The constants of one update.
#[derive(Debug, Clone, Copy)]
pub struct Muon {
    /// The learning rate, as AdamW's: see [`update`].
    pub lr: f64,
    /// The decay of m, the running mean of g.
    pub momentum: f64,
    /// Decoupled: p shrinks by lr·weight_decay.
    pub weight_decay: f64,
    /// Every gradient is multiplied by this first.
    pub grad_scale: f64,
}

/// The root mean square of AdamW's updates over its learning rate, which orthogonal ones are scaled to (arXiv 2502.16982, §2.2), so
/// that one learning rate does for matrices and for the rest.
const ROOT_MEAN_SQUARE: f64 = 0.2;

compiled! {
    /// One update of a matrix `p` of `rows` rows, Nesterov's way: m = μm + (1−μ)g; p *= 1 − lr·wd;
    /// p −= lr·0.2·√max(rows, columns)·orthogonal(μm + (1−μ)g).
    pub fn update(c: Muon, rows: usize, p: &mut [E], g: &[E], m: &mut [E]) = update_of;
}

fn update_of<E: Real>(c: Muon, rows: usize, p: &mut [E], g: &[E], m: &mut [E]) {
    expect_lengths("muon::update", &[("g", g.len(), p.len()), ("m", m.len(), p.len())]);
    let cols = p.len() / rows;
    let (keep, take) = (E::of(c.momentum), E::of((1.0 - c.momentum) * c.grad_scale));
    let mut ahead = Vec::with_capacity(g.len());
    for (m, &g) in m.iter_mut().zip(g) {
        *m = keep * *m + take * g;
        ahead.push(keep * *m + take * g);
    }
    let step = E::of(c.lr * ROOT_MEAN_SQUARE * (rows.max(cols) as f64).sqrt());
    let shrink = E::of(1.0 - c.lr * c.weight_decay);
    for (p, o) in p.iter_mut().zip(orthogonal(ahead, rows)) {
        *p = *p * shrink - step * o;
    }
}

/// Roughly U·Vᵀ for g = U·S·Vᵀ of `rows` rows: five steps of x ← a·x + b·(xxᵀ)x + c·(xxᵀ)²x, which carry singular values of
/// 0.002 to 1 of the Frobenius norm into 0.7 to 1.2. Zero stays zero.
pub fn orthogonal<E: Real>(mut x: Vec<E>, rows: usize) -> Vec<E> {
    const STEPS: usize = 5;
    let [a, b, c] = [3.4445, -4.775, 2.0315].map(E::of);
    let cols = x.len() / rows;
    if rows > cols {
        return transposed(&orthogonal(transposed(&x, cols), cols), rows);
    }
    let norm = x.iter().map(|x| x.as_f64() * x.as_f64()).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    x.iter_mut().for_each(|x| *x = E::of(x.as_f64() / norm));
    let (mut gram, mut factor, mut product) = (vec![E::zero(); rows * rows], vec![E::zero(); rows * rows], x.clone());
    for _ in 0..STEPS {
        matmul(&mut gram, (rows, rows, cols), View::rows(&x, cols), View::rows(&x, cols).t(), false);
        matmul(&mut factor, (rows, rows, rows), View::rows(&gram, rows), View::rows(&gram, rows), false);
        factor.iter_mut().zip(&gram).for_each(|(factor, &gram)| *factor = b * gram + c * *factor);
        matmul(&mut product, (rows, cols, rows), View::rows(&factor, rows), View::rows(&x, cols), false);
        x.iter_mut().zip(&product).for_each(|(x, &product)| *x = a * *x + product);
    }
    x
}

/// The transpose of x, which has `cols` columns.
fn transposed<E: Real>(x: &[E], cols: usize) -> Vec<E> {
    (0..cols).flat_map(|column| x[column..].iter().step_by(cols).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals};

    const CONSTANTS: Muon = Muon { lr: 0.01, momentum: 0.95, weight_decay: 0.1, grad_scale: 0.5 };

    /// x·xᵀ.
    fn gram(x: &[f64], rows: usize) -> Vec<f64> {
        let cols = x.len() / rows;
        let dot = |i: usize, j: usize| (0..cols).map(|k| x[i * cols + k] * x[j * cols + k]).sum();
        (0..rows * rows).map(|at| dot(at / rows, at % rows)).collect()
    }

    #[test]
    fn diagonal_matrices_keep_their_frame_and_lose_their_scale() {
        let o = orthogonal(vec![3.0, 0.0, 0.0, 0.0, -0.5, 0.0], 2);
        assert!(o[0] > 0.6 && o[0] < 1.3 && o[4] < -0.6 && o[4] > -1.3, "{o:?}");
        assert_close(&[o[1], o[2], o[3], o[5]], &[0.0; 4], 1e-12);
        assert_eq!(orthogonal(vec![0.0f32; 6], 2), [0.0; 6]);
    }

    #[test]
    fn rows_come_out_nearly_orthonormal() {
        let (rows, cols) = (6, 40);
        let x = orthogonal(normals::<f64>("g", rows * cols), rows);
        for (at, value) in gram(&x, rows).into_iter().enumerate() {
            let expected = if at / rows == at % rows { 0.4..1.6 } else { -0.35..0.35 };
            assert!(expected.contains(&value), "{at}: {value}");
        }
    }

    #[test]
    fn tall_matrices_are_wide_ones_turned() {
        let wide = normals::<f64>("g", 5 * 12);
        let tall = orthogonal(transposed(&wide, 12), 12);
        assert_close(&tall, &transposed(&orthogonal(wide, 5), 12), 1e-12);
    }

    #[test]
    fn two_updates_equal_the_formula() {
        let (rows, cols) = (3, 7);
        let (mut p, mut m) = (normals::<f64>("p", rows * cols), vec![0.0; rows * cols]);
        let (mut expected, mut mean) = (p.clone(), m.clone());
        for step in 0..2 {
            let g = normals::<f64>(if step == 0 { "g0" } else { "g1" }, rows * cols);
            update(CONSTANTS, rows, &mut p, &g, &mut m);
            let mut ahead = Vec::new();
            for i in 0..g.len() {
                mean[i] = 0.95 * mean[i] + 0.05 * 0.5 * g[i];
                ahead.push(0.95 * mean[i] + 0.05 * 0.5 * g[i]);
            }
            let o = orthogonal(ahead, rows);
            for i in 0..g.len() {
                expected[i] = expected[i] * (1.0 - 0.01 * 0.1) - 0.01 * 0.2 * 7f64.sqrt() * o[i];
            }
        }
        assert_close(&p, &expected, 1e-12);
        assert_close(&m, &mean, 1e-12);
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let x = normals::<f32>("g", 96 * 700);
        assert_same_on_any_threads(|| orthogonal(x.clone(), 96));
    }
}
