//! Every pattern against the definition: values, gradients, caches, threads.

use super::*;
use crate::kernels::cpu::bf16::Bf16;
use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};
use crate::mask::testing::patterns;
use crate::mask::{Layout, Pattern};
use proptest::prelude::*;

/// One call: its sizes, its mask and its layout.
#[derive(Debug, Clone, Copy)]
struct Case {
    sizes: Attention,
    pattern: Pattern,
    layout: Layout,
}

impl Case {
    fn new(batch: usize, heads: usize, dim: usize, pattern: Pattern, layout: Layout) -> Case {
        Case { sizes: Attention { batch, heads, positions: layout.sequence(), dim }, pattern, layout }
    }

    fn tiles(&self) -> Tiles {
        self.pattern.tiles(self.layout, BLOCK)
    }

    fn qkv<E: Real>(&self) -> Vec<E> {
        normals("qkv", 3 * self.rows())
    }

    fn rows(&self) -> usize {
        self.sizes.batch * self.sizes.positions * self.sizes.heads * self.sizes.dim
    }

    /// The output and the logsumexp, by the formula.
    fn naive(&self, qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Attention { batch, heads, positions, dim } = self.sizes;
        let (mut out, mut lse) = (vec![0.0; self.rows()], Vec::new());
        for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            let vector = |third: usize, position: usize| {
                &qkv[(((b * positions + position) * 3 + third) * heads + h) * dim..][..dim]
            };
            for query in 0..positions {
                let keys: Vec<usize> = (0..=query).filter(|&key| self.pattern.sees(self.layout, query, key)).collect();
                let score = |key: usize| weighted(vector(0, query), vector(1, key)) / (dim as f64).sqrt();
                let sum: f64 = keys.iter().map(|&key| score(key).exp()).sum();
                let out = &mut out[((b * positions + query) * heads + h) * dim..][..dim];
                for &key in &keys {
                    out.iter_mut().zip(vector(2, key)).for_each(|(out, v)| *out += score(key).exp() / sum * v);
                }
                lse.push(sum.ln());
            }
        }
        (out, lse)
    }

    fn forward<E: Real>(&self, qkv: &[E]) -> (Vec<E>, Vec<E>) {
        let a = self.sizes;
        let (mut out, mut lse) = (vec![E::nan(); self.rows()], vec![E::nan(); a.batch * a.heads * a.positions]);
        forward(a, qkv, &self.tiles(), &mut out, &mut lse);
        (out, lse)
    }

    fn backward<E: Real>(&self, dout: &[E], qkv: &[E]) -> Vec<E> {
        let (out, lse) = self.forward(qkv);
        let mut dqkv = vec![E::of(0.0); qkv.len()];
        backward(self.sizes, dout, qkv, &out, &lse, &self.tiles(), &mut dqkv);
        dqkv
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Sequences of several tiles, the last one cut anywhere, and heads of any width; more than a strip of them in some.
    #[test]
    fn values_equal_the_definition(
        (batch, heads, dim) in (1usize..3, 1usize..3, 1usize..40),
        (text, grid) in (prop_oneof![1usize..70, 290usize..300], 0usize..9),
        pattern in patterns(),
    ) {
        let case = Case::new(batch, heads, dim, pattern, Layout { text, grid });
        let qkv = case.qkv::<f64>();
        let (expected, expected_lse) = case.naive(&qkv);
        let (out, lse) = case.forward(&qkv);
        assert_close(&out, &expected, 1e-12);
        assert_close(&lse, &expected_lse, 1e-12);
        let (out, lse) = case.forward(&qkv.iter().map(|x| *x as f32).collect::<Vec<_>>());
        assert_close(&out, &expected, 1e-5);
        assert_close(&lse, &expected_lse, 1e-5);
    }

    /// However many positions come at once, the cache gives the values of the whole sequence, and always the same bits.
    #[test]
    fn decoding_equals_the_definition(
        (batch, heads, dim) in (1usize..3, 1usize..3, 1usize..40),
        (text, grid) in (1usize..9, 1usize..6),
        pattern in patterns(),
        cut in 0.0..1.0,
    ) {
        let case = Case::new(batch, heads, dim, pattern, Layout { text, grid });
        let (qkv, plan, a) = (case.qkv::<f64>(), case.pattern.cache_plan(case.layout), case.sizes);
        let run = |pieces: &[usize]| {
            let width = heads * dim;
            // What no position has written is never read: NaNs there change nothing.
            let mut cache = [vec![f64::NAN; batch * plan.size() * width], vec![f64::NAN; batch * plan.size() * width]];
            let (mut out, mut start) = (vec![0.0; case.rows()], 0);
            for &fresh in pieces {
                let part = |width: usize, b: usize| (b * a.positions + start) * width..(b * a.positions + start + fresh) * width;
                let new: Vec<f64> = (0..batch).flat_map(|b| &qkv[part(3 * width, b)]).copied().collect();
                let mut y = vec![f64::NAN; batch * fresh * width];
                let [keys, values] = &mut cache;
                decode(Attention { positions: fresh, ..a }, &plan, start, &new, Prefix::NONE, (keys, values), &mut y);
                (0..batch).for_each(|b| out[part(width, b)].copy_from_slice(&y[b * fresh * width..][..fresh * width]));
                start += fresh;
            }
            out
        };
        let whole = run(&[a.positions]);
        assert_close(&whole, &case.naive(&qkv).0, 1e-12);
        let first = 1 + ((a.positions - 1) as f64 * cut) as usize;
        prop_assert_eq!(&run(&[first, a.positions - first]), &whole);
        prop_assert_eq!(&run(&vec![1; a.positions]), &whole);
    }
}

#[test]
fn gradients_equal_central_differences_and_accumulate() {
    for pattern in [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::Conv { kernel: 3 }, Pattern::AxialColumn] {
        // 39 positions: two tiles, the second cut.
        let case = Case::new(1, 2, 3, pattern, Layout { text: 3, grid: 6 });
        let (qkv, dout) = (case.qkv::<f64>(), normals::<f64>("dout", case.rows()));
        let gradient = case.backward(&dout, &qkv);
        assert_gradient(&qkv, &gradient, |qkv| weighted(&case.naive(qkv).0, &dout));
        let (out, lse) = case.forward(&qkv);
        let mut twice = gradient.clone();
        backward(case.sizes, &dout, &qkv, &out, &lse, &case.tiles(), &mut twice);
        assert_close(&twice, &gradient.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-12);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Inputs that are bf16 already, and scales that are powers of two: scores are exact then, and probabilities and their gradients
    /// are the only factors that are rounded, by 2⁻⁸ at most.
    #[test]
    fn rounded_factors_change_little(
        (batch, heads, dim) in (1usize..3, 1usize..3, prop_oneof![Just(4usize), Just(16), Just(64)]),
        (text, grid) in (prop_oneof![1usize..70, 290usize..300], 0usize..9),
        pattern in patterns(),
    ) {
        let case = Case::new(batch, heads, dim, pattern, Layout { text, grid });
        let bf16 = |x: Vec<f32>| x.iter().map(|&x| Bf16::round(x).widen()).collect::<Vec<_>>();
        let (qkv, dout) = (bf16(case.qkv::<f32>()), bf16(normals::<f32>("dout", case.rows())));
        let wide = |x: &[f32]| x.iter().map(|&x| x.into()).collect::<Vec<f64>>();
        let (a, tiles) = (case.sizes, case.tiles());
        let (mut out, mut lse) = (vec![f32::NAN; case.rows()], vec![f32::NAN; a.batch * a.heads * a.positions]);
        rounded::forward(a, &qkv, &tiles, &mut out, &mut lse);
        let (expected, expected_lse) = case.forward(&wide(&qkv));
        assert_close(&out, &expected, 0.015);
        assert_close(&lse, &expected_lse, 1e-4);
        let start = normals::<f32>("dqkv", qkv.len());
        let (mut got, mut expected) = (start.clone(), wide(&start));
        rounded::backward(a, &dout, &qkv, &out, &lse, &tiles, &mut got);
        let exact = case.forward(&wide(&qkv));
        backward(a, &wide(&dout), &wide(&qkv), &exact.0, &exact.1, &tiles, &mut expected);
        assert_close(&got, &expected, 0.05);
    }
}

#[test]
fn threads_do_not_change_the_bits_of_rounded_factors() {
    let case = Case::new(2, 3, 20, Pattern::Column, Layout { text: 60, grid: 9 });
    let (a, tiles, qkv) = (case.sizes, case.tiles(), case.qkv::<f32>());
    assert_same_on_any_threads(|| {
        let (mut out, mut lse) = (vec![0.0; case.rows()], vec![0.0; a.batch * a.heads * a.positions]);
        rounded::forward(a, &qkv, &tiles, &mut out, &mut lse);
        let mut dqkv = vec![0.0; qkv.len()];
        rounded::backward(a, &normals("dout", case.rows()), &qkv, &out, &lse, &tiles, &mut dqkv);
        [out, lse, dqkv].concat()
    });
}

/// Laws of a long sequence, whose central differences would take too long: the output is homogeneous of degree 1 in v, and a
/// softmax does not see a shift of all its scores.
#[test]
fn gradients_over_several_strips_keep_the_laws() {
    let third = |x: &[f64], n: usize| x.chunks(24).flat_map(|row| row[8 * n..8 * (n + 1)].to_vec()).collect::<Vec<_>>();
    for pattern in [Pattern::Full, Pattern::Row, Pattern::Column, Pattern::Conv { kernel: 5 }] {
        let case = Case::new(2, 1, 8, pattern, Layout { text: 290, grid: 5 });
        let (qkv, dout) = (case.qkv::<f64>(), normals::<f64>("dout", case.rows()));
        let (dqkv, out) = (case.backward(&dout, &qkv), case.forward(&qkv).0);
        assert_close(&[weighted(&third(&dqkv, 2), &third(&qkv, 2))], &[weighted(&out, &dout)], 1e-10);
        assert_close(
            &[weighted(&third(&dqkv, 0), &third(&qkv, 0))],
            &[weighted(&third(&dqkv, 1), &third(&qkv, 1))],
            1e-10,
        );
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    for pattern in [Pattern::Full, Pattern::Column] {
        let case = Case::new(2, 3, 20, pattern, Layout { text: 60, grid: 9 });
        let (qkv, dout) = (case.qkv::<f32>(), normals::<f32>("dout", case.rows()));
        assert_same_on_any_threads(|| [case.forward(&qkv).0, case.backward(&dout, &qkv)].concat());
    }
}

#[test]
fn a_decoded_row_does_not_depend_on_the_batch_or_the_threads() {
    let case = Case::new(8, 4, 20, Pattern::Row, Layout { text: 80, grid: 6 });
    let (qkv, plan) = (case.qkv::<f32>(), case.pattern.cache_plan(case.layout));
    let run = |batch: usize| {
        let a = Attention { batch, ..case.sizes };
        let mut cache = [vec![0f32; batch * plan.size() * 80], vec![0f32; batch * plan.size() * 80]];
        let mut out = vec![0f32; case.rows() / 8 * batch];
        let [keys, values] = &mut cache;
        decode(a, &plan, 0, &qkv[..3 * out.len()], Prefix::NONE, (keys, values), &mut out);
        out
    };
    assert_same_on_any_threads(|| run(8));
    for batch in [1, 3] {
        assert!(run(batch) == run(8)[..case.rows() / 8 * batch]);
    }
}

/// A mask of everything, as encoders that look both ways have it.
#[test]
fn every_key_may_be_seen() {
    let (a, n) = (Attention { batch: 1, heads: 1, positions: 50, dim: 4 }, 50 * 4);
    let qkv = normals::<f64>("qkv", 3 * n);
    let (mut out, mut lse) = (vec![0.0; n], vec![0.0; 50]);
    forward(a, &qkv, &Tiles::full(50, BLOCK), &mut out, &mut lse);
    let vector = |third: usize, position: usize| &qkv[(position * 3 + third) * 4..][..4];
    for query in 0..50 {
        let weight = |key: usize| (weighted(vector(0, query), vector(1, key)) / 2.0).exp();
        let total: f64 = (0..50).map(weight).sum();
        let expected: Vec<f64> =
            (0..4).map(|c| (0..50).map(|key| weight(key) * vector(2, key)[c]).sum::<f64>() / total).collect();
        assert_close(&out[query * 4..][..4], &expected, 1e-12);
    }
}

#[test]
#[should_panic(expected = "a mask of 2 positions in tiles of 32, expected 3 in tiles of 32")]
fn a_mask_of_another_sequence_is_refused() {
    let a = Attention { batch: 1, heads: 1, positions: 3, dim: 1 };
    forward(a, &[0f32; 9], &Tiles::full(2, BLOCK), &mut [0.0; 3], &mut [0.0; 3]);
}
