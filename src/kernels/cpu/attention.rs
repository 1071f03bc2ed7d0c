//! Masked attention: softmax(q·kᵀ/√d + mask)·v, one softmax over all keys that a query may see.
//! Shapes: q, out (B, Q, H, D), k, v (B, K, H, D) — as they leave the projections, no permuted copies; lse (B, H, Q);
//! mask (Q, K), true where a query sees a key; every row sees at least one.
//!
//! A task is one head of one batch entry. It goes through its queries in blocks, so that a block of scores stays in the
//! cache, and multiplies only the range of keys that some query of the block sees.

use super::lanes::{dot, exp_in_place, max, vectorised};
use super::matmul::{View, matmul_seq};
use super::parallel::{by_columns, expect_lengths, pieces, rows_per_task};
use super::softmax::row_in_place;
use crate::kernels::Real;
use rayon::prelude::*;
use std::ops::Range;

/// The sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Batch entries, B.
    pub batch: usize,
    /// Heads, H.
    pub heads: usize,
    /// Query positions, Q.
    pub queries: usize,
    /// Key positions, K.
    pub keys: usize,
    /// Width of a head, D.
    pub dim: usize,
}

/// Queries per block of scores.
const BLOCK: usize = 128;

/// Writes `out` and, for the backward pass, the logsumexp of each row of scores.
pub fn forward<E: Real>(a: Attention, q: &[E], k: &[E], v: &[E], mask: Option<&[bool]>, out: &mut [E], lse: &mut [E]) {
    a.check("attention::forward", q, k, v, mask, lse);
    expect_lengths("attention::forward", &[("out", out.len(), q.len())]);
    let (blocks, scale) = (a.blocks(mask), a.scale::<E>());
    let tasks = a.by_head(out).into_par_iter().zip_eq(lse.par_chunks_mut(a.queries)).enumerate();
    tasks.with_min_len(a.heads_per_task()).for_each(|(head, (mut out, lse))| {
        let (mut scores, mut block_out) = (Vec::<E>::new(), Vec::<E>::new());
        for (queries, keys) in &blocks {
            let size = (queries.len(), keys.len(), a.dim);
            scores.resize(queries.len() * keys.len(), E::of(0.0));
            matmul_seq(&mut scores, size, a.query_rows(q, head, queries), a.key_rows(k, head, keys).t(), false);
            let rows = scores.chunks_exact_mut(keys.len()).zip(queries.clone()).zip(&mut lse[queries.clone()]);
            vectorised!(move || {
                for ((row, query), lse) in rows {
                    match mask.map(|mask| &mask[query * a.keys..][keys.clone()]) {
                        Some(mask) => {
                            for (x, visible) in row.iter_mut().zip(mask) {
                                *x = if *visible { *x * scale } else { E::of(f64::NEG_INFINITY) };
                            }
                        }
                        None => row.iter_mut().for_each(|x| *x *= scale),
                    }
                    *lse = row_in_place(row);
                }
            });
            block_out.resize(queries.len() * a.dim, E::of(0.0));
            let size = (queries.len(), a.dim, keys.len());
            matmul_seq(&mut block_out, size, View::rows(&scores, keys.len()), a.key_rows(v, head, keys), false);
            for (out, row) in out[queries.clone()].iter_mut().zip(block_out.chunks_exact(a.dim)) {
                out.copy_from_slice(row);
            }
        }
    });
}

/// dq +=, dk +=, dv += ; the probabilities are recomputed from `lse`.
#[allow(clippy::too_many_arguments)]
pub fn backward<E: Real>(
    a: Attention,
    dout: &[E],
    q: &[E],
    k: &[E],
    v: &[E],
    out: &[E],
    lse: &[E],
    mask: Option<&[bool]>,
    dq: &mut [E],
    dk: &mut [E],
    dv: &mut [E],
) {
    a.check("attention::backward", q, k, v, mask, lse);
    let lengths = [
        ("dout", dout.len(), q.len()),
        ("out", out.len(), q.len()),
        ("dq", dq.len(), q.len()),
        ("dk", dk.len(), k.len()),
        ("dv", dv.len(), v.len()),
    ];
    expect_lengths("attention::backward", &lengths);
    let (blocks, scale) = (a.blocks(mask), a.scale::<E>());
    let gradients = a.by_head(dq).into_par_iter().zip_eq(a.by_head(dk)).zip_eq(a.by_head(dv)).enumerate();
    gradients.with_min_len(a.heads_per_task()).for_each(|(head, ((mut dq, mut dk), mut dv))| {
        let (mut p, mut ds, mut block_dq) = (Vec::<E>::new(), Vec::<E>::new(), Vec::<E>::new());
        // Per head, contiguous: the rows of dk and dv lie H·D apart.
        let (mut head_dk, mut head_dv) = (vec![E::of(0.0); a.keys * a.dim], vec![E::of(0.0); a.keys * a.dim]);
        for (queries, keys) in &blocks {
            let (rows, columns) = (queries.len(), keys.len());
            let (block_q, block_k) = (a.query_rows(q, head, queries), a.key_rows(k, head, keys));
            let block_dout = a.query_rows(dout, head, queries);
            p.resize(rows * columns, E::of(0.0));
            ds.resize(rows * columns, E::of(0.0));
            matmul_seq(&mut p, (rows, columns, a.dim), block_q, block_k.t(), false);
            matmul_seq(&mut ds, (rows, columns, a.dim), block_dout, a.key_rows(v, head, keys).t(), false);
            let rows_of = p.chunks_exact_mut(columns).zip(ds.chunks_exact_mut(columns)).zip(queries.clone());
            vectorised!(move || {
                for ((p, ds), query) in rows_of {
                    let at = a.query_at(head, query);
                    let mean = dot(&dout[at..at + a.dim], &out[at..at + a.dim]);
                    let lse = lse[head * a.queries + query];
                    match mask.map(|mask| &mask[query * a.keys..][keys.clone()]) {
                        Some(mask) => {
                            for (p, visible) in p.iter_mut().zip(mask) {
                                *p = if *visible { (*p * scale - lse).fast_exp() } else { E::of(0.0) };
                            }
                        }
                        None => p.iter_mut().for_each(|p| *p = (*p * scale - lse).fast_exp()),
                    }
                    for (ds, p) in ds.iter_mut().zip(p) {
                        *ds = *p * (*ds - mean) * scale;
                    }
                }
            });
            let (p, ds) = (View::rows(&p, columns), View::rows(&ds, columns));
            let range = keys.start * a.dim..keys.end * a.dim;
            matmul_seq(&mut head_dv[range.clone()], (columns, a.dim, rows), p.t(), block_dout, true);
            matmul_seq(&mut head_dk[range], (columns, a.dim, rows), ds.t(), block_q, true);
            block_dq.resize(rows * a.dim, E::of(0.0));
            matmul_seq(&mut block_dq, (rows, a.dim, columns), ds, block_k, false);
            add_rows(&mut dq[queries.clone()], &block_dq, a.dim);
        }
        add_rows(&mut dk, &head_dk, a.dim);
        add_rows(&mut dv, &head_dv, a.dim);
    });
}

/// The decode path: queries are the last `a.queries` of `a.keys` positions; k, v are caches of `capacity` positions per batch
/// entry (B, capacity, H, D) of which the first `a.keys` are filled; mask rows (Q, capacity). Every output element is summed in
/// one order that depends on the key positions alone, whatever the batch, the number of queries in the call and the threads.
/// Keys that a query does not see are not read.
pub fn decode<E: Real>(a: Attention, capacity: usize, q: &[E], k: &[E], v: &[E], mask: &[bool], out: &mut [E]) {
    assert!(a.keys <= capacity, "attention::decode: {} keys in a cache of {capacity} positions", a.keys);
    let (rows, cache) = (a.batch * a.queries * a.heads * a.dim, a.batch * capacity * a.heads * a.dim);
    let lengths = [
        ("q", q.len(), rows),
        ("k", k.len(), cache),
        ("v", v.len(), cache),
        ("mask", mask.len(), a.queries * capacity),
        ("out", out.len(), rows),
    ];
    expect_lengths("attention::decode", &lengths);
    let visible: Vec<Vec<usize>> =
        mask.chunks_exact(capacity).map(|row| (0..a.keys).filter(|key| row[*key]).collect()).collect();
    assert!(visible.iter().all(|keys| !keys.is_empty()), "attention::decode: a query sees no key");
    let scale = a.scale::<E>();
    let seen: usize = visible.iter().map(Vec::len).sum();
    let heads = a.batch * a.heads;
    let tasks = a.by_head(out).into_par_iter().enumerate();
    tasks.with_min_len(rows_per_task(heads, seen * 2 * a.dim)).for_each(|(head, out)| {
        let mut weights: Vec<E> = Vec::new();
        vectorised!(|| {
            let key = |key: usize| ((head / a.heads * capacity + key) * a.heads + head % a.heads) * a.dim;
            for (query, (out, keys)) in out.into_iter().zip(&visible).enumerate() {
                let q = &q[a.query_at(head, query)..][..a.dim];
                weights.resize(keys.len(), E::of(0.0));
                for (weight, j) in weights.iter_mut().zip(keys) {
                    *weight = dot(q, &k[key(*j)..][..a.dim]) * scale;
                }
                let shift = max(&weights);
                let normaliser = E::of(1.0) / exp_in_place(&mut weights, shift);
                out.fill(E::of(0.0));
                for (j, weight) in keys.iter().zip(&weights) {
                    for (out, v) in out.iter_mut().zip(&v[key(*j)..][..a.dim]) {
                        *out += *weight * *v;
                    }
                }
                for out in out.iter_mut() {
                    *out *= normaliser;
                }
            }
        });
    });
}

/// rows += block, whose rows are contiguous.
fn add_rows<E: Real>(rows: &mut [&mut [E]], block: &[E], dim: usize) {
    for (row, block) in rows.iter_mut().zip(block.chunks_exact(dim)) {
        for (x, add) in row.iter_mut().zip(block) {
            *x += *add;
        }
    }
}

/// Heads are counted through the batch: head b·H + h is head h of batch entry b.
impl Attention {
    fn scale<E: Real>(self) -> E {
        E::of(1.0 / (self.dim as f64).sqrt())
    }

    /// Where a query's row of a head begins.
    #[inline(always)]
    fn query_at(self, head: usize, query: usize) -> usize {
        self.row_at(head, query, self.queries)
    }

    /// Where a position's row of a head begins, for `positions` positions per batch entry.
    #[inline(always)]
    fn row_at(self, head: usize, position: usize, positions: usize) -> usize {
        ((head / self.heads * positions + position) * self.heads + head % self.heads) * self.dim
    }

    fn query_rows<'x, E>(self, x: &'x [E], head: usize, queries: &Range<usize>) -> View<'x, E> {
        View::rows(&x[self.query_at(head, queries.start)..], self.heads * self.dim)
    }

    fn key_rows<'x, E>(self, x: &'x [E], head: usize, keys: &Range<usize>) -> View<'x, E> {
        View::rows(&x[self.row_at(head, keys.start, self.keys)..], self.heads * self.dim)
    }

    /// The rows of each head of x (B, positions, H, D).
    fn by_head<E>(self, x: &mut [E]) -> Vec<Vec<&mut [E]>> {
        let entry = (x.len() / self.batch.max(1)).max(1);
        x.chunks_exact_mut(entry).flat_map(|x| by_columns(x, self.heads * self.dim, self.dim)).collect()
    }

    fn heads_per_task(self) -> usize {
        rows_per_task(self.batch * self.heads, self.queries * self.keys * self.dim / 8)
    }

    /// Blocks of queries, each with the range of keys from the first to the last that one of its queries sees.
    fn blocks(self, mask: Option<&[bool]>) -> Vec<(Range<usize>, Range<usize>)> {
        let seen = |queries: &Range<usize>| {
            let Some(mask) = mask else { return 0..self.keys };
            let rows = || mask[queries.start * self.keys..queries.end * self.keys].chunks_exact(self.keys);
            let first = rows().filter_map(|row| row.iter().position(|visible| *visible)).min();
            let last = rows().filter_map(|row| row.iter().rposition(|visible| *visible)).max();
            first.unwrap_or(0)..last.map_or(0, |last| last + 1)
        };
        pieces(self.queries, BLOCK).map(|queries| (queries.clone(), seen(&queries))).collect()
    }

    #[track_caller]
    fn check<E>(self, name: &str, q: &[E], k: &[E], v: &[E], mask: Option<&[bool]>, lse: &[E]) {
        let Attention { batch, heads, queries, keys, dim } = self;
        let lengths = [
            ("q", q.len(), batch * queries * heads * dim),
            ("k", k.len(), batch * keys * heads * dim),
            ("v", v.len(), batch * keys * heads * dim),
            ("mask", mask.map_or(queries * keys, <[bool]>::len), queries * keys),
            ("lse", lse.len(), batch * heads * queries),
        ];
        expect_lengths(name, &lengths);
        assert!(keys > 0 && queries > 0, "{name}: {queries} queries and {keys} keys, expected at least one each");
        let blind = mask.and_then(|mask| mask.chunks_exact(keys).position(|row| !row.contains(&true)));
        assert!(blind.is_none(), "{name}: query {} sees no key", blind.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_close, assert_gradient, assert_same_on_any_threads, normals, weighted};
    use proptest::prelude::*;

    impl Attention {
        fn inputs<E: Real>(self) -> [Vec<E>; 4] {
            let (rows, keys) = (self.batch * self.queries, self.batch * self.keys);
            let n = self.heads * self.dim;
            [normals("q", rows * n), normals("k", keys * n), normals("v", keys * n), normals("dout", rows * n)]
        }
    }

    /// The last `queries` of `keys` positions; each sees itself and some of the earlier ones.
    fn causal(queries: usize, keys: usize) -> Vec<bool> {
        let visible = |i: usize| {
            let (query, key) = (keys - queries + i / keys, i % keys);
            key == query || (key < query && (key * 7 + query * 3) % 5 < 3)
        };
        (0..queries * keys).map(visible).collect()
    }

    /// The output and the logsumexp.
    fn naive(a: Attention, q: &[f64], k: &[f64], v: &[f64], mask: &[bool]) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut lse) = (vec![0.0; q.len()], Vec::new());
        for head in 0..a.batch * a.heads {
            for query in 0..a.queries {
                let at = a.query_at(head, query);
                let keys: Vec<_> = (0..a.keys).filter(|key| mask[query * a.keys + key]).collect();
                let row = |x: &[f64], key: usize| x[a.row_at(head, key, a.keys)..][..a.dim].to_vec();
                let score = |key: &usize| weighted(&q[at..at + a.dim], &row(k, *key)) / (a.dim as f64).sqrt();
                let sum: f64 = keys.iter().map(|key| score(key).exp()).sum();
                for key in &keys {
                    for (out, v) in out[at..at + a.dim].iter_mut().zip(row(v, *key)) {
                        *out += score(key).exp() / sum * v;
                    }
                }
                lse.push(sum.ln());
            }
        }
        (out, lse)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn forward_and_decode_equal_the_definition(
            (batch, heads, dim) in (1usize..3, 1usize..4, 1usize..20),
            (queries, earlier) in (1usize..12, 0usize..12),
            (spare, dense) in (0usize..3, proptest::bool::ANY),
        ) {
            let keys = queries + earlier;
            let a = Attention { batch, heads, queries, keys, dim };
            let [q, k, v, _] = a.inputs::<f64>();
            let mask = if dense { vec![true; queries * keys] } else { causal(queries, keys) };
            let (expected, expected_lse) = naive(a, &q, &k, &v, &mask);
            let (mut out, mut lse) = (vec![f64::NAN; q.len()], vec![f64::NAN; batch * heads * queries]);
            forward(a, &q, &k, &v, (!dense).then_some(&mask), &mut out, &mut lse);
            assert_close(&out, &expected, 1e-12);
            assert_close(&lse, &expected_lse, 1e-12);
            let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
            let (mut out32, mut lse32) = (vec![0f32; q.len()], vec![0f32; lse.len()]);
            forward(a, &narrow(&q), &narrow(&k), &narrow(&v), Some(&mask), &mut out32, &mut lse32);
            assert_close(&out32, &expected, 1e-5);
            // What lies beyond the filled part of a cache is never read: NaNs there change nothing.
            let capacity = keys + spare;
            let pad = |x: &[f64]| -> Vec<f64> {
                let gap = vec![f64::NAN; spare * heads * dim];
                x.chunks(keys * heads * dim).flat_map(|entry| [entry, &gap].concat()).collect()
            };
            let padded: Vec<bool> = mask.chunks(keys).flat_map(|row| [row, &vec![true; spare]].concat()).collect();
            let mut out = vec![f64::NAN; q.len()];
            decode(a, capacity, &q, &pad(&k), &pad(&v), &padded, &mut out);
            assert_close(&out, &expected, 1e-12);
        }
    }

    #[test]
    fn gradients_equal_central_differences_and_accumulate() {
        let a = Attention { batch: 2, heads: 2, queries: 4, keys: 6, dim: 3 };
        let [q, k, v, dout] = a.inputs::<f64>();
        for mask in [vec![true; 24], causal(4, 6)] {
            let value = |q: &[f64], k: &[f64], v: &[f64]| weighted(&naive(a, q, k, v, &mask).0, &dout);
            let (out, lse) = naive(a, &q, &k, &v, &mask);
            let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
            let mut run = || {
                backward(a, &dout, &q, &k, &v, &out, &lse, Some(&mask), &mut dq, &mut dk, &mut dv);
                (dq.clone(), dk.clone(), dv.clone())
            };
            let (dq, dk, dv) = run();
            assert_gradient(&q, &dq, |q| value(q, &k, &v));
            assert_gradient(&k, &dk, |k| value(&q, k, &v));
            assert_gradient(&v, &dv, |v| value(&q, &k, v));
            let (twice, ..) = run();
            assert_close(&twice, &dq.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-12);
        }
    }

    /// More queries than a block holds, and ranges of keys that start late and end early.
    #[test]
    fn blocks_equal_the_definition_on_any_threads() {
        let a = Attention { batch: 2, heads: 3, queries: 2 * BLOCK + 9, keys: 2 * BLOCK + 9, dim: 8 };
        let [q, k, v, dout] = a.inputs::<f64>();
        let window = |i: usize| (i / a.keys).saturating_sub(40) <= i % a.keys && i % a.keys <= i / a.keys;
        let mask: Vec<bool> = (0..a.queries * a.keys).map(window).collect();
        assert!(a.blocks(Some(&mask))[1].1.start > 0 && a.blocks(Some(&mask))[0].1.end < a.keys);
        let run = || {
            let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; a.batch * a.heads * a.queries]);
            forward(a, &q, &k, &v, Some(&mask), &mut out, &mut lse);
            let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
            backward(a, &dout, &q, &k, &v, &out, &lse, Some(&mask), &mut dq, &mut dk, &mut dv);
            // The output is homogeneous of degree 1 in v; a softmax does not see a shift of all scores.
            assert_close(&[weighted(&dv, &v)], &[weighted(&out, &dout)], 1e-10);
            assert_close(&[weighted(&dq, &q)], &[weighted(&dk, &k)], 1e-10);
            [out, lse, dq, dk, dv].concat()
        };
        assert_same_on_any_threads(run);
        assert_close(&run()[..q.len()], &naive(a, &q, &k, &v, &mask).0, 1e-12);
    }

    #[test]
    fn decode_does_not_depend_on_the_batch_the_queries_of_a_call_or_the_threads() {
        let a = Attention { batch: 8, heads: 4, queries: 5, keys: 120, dim: 20 };
        let [q, k, v, _] = a.inputs::<f32>();
        let mask = causal(5, 120);
        let all = || {
            let mut out = vec![0f32; q.len()];
            decode(a, 120, &q, &k, &v, &mask, &mut out);
            out
        };
        assert_same_on_any_threads(all);
        let (all, row, entry) = (all(), a.heads * a.dim, 120 * a.heads * a.dim);
        for batch in [1, 3] {
            let mut out = vec![0f32; batch * 5 * row];
            let some = Attention { batch, ..a };
            decode(some, 120, &q[..out.len()], &k[..batch * entry], &v[..batch * entry], &mask, &mut out);
            assert!(out == all[..out.len()]);
        }
        // The third query of the first entry alone, when two positions fewer are filled.
        let mut out = vec![0f32; row];
        let one = Attention { batch: 1, queries: 1, keys: 118, ..a };
        decode(one, 120, &q[2 * row..3 * row], &k[..entry], &v[..entry], &mask[2 * 120..3 * 120], &mut out);
        assert!(out == all[2 * row..3 * row]);
    }

    #[test]
    #[should_panic(expected = "query 1 sees no key")]
    fn a_row_without_keys_is_refused() {
        let a = Attention { batch: 1, heads: 1, queries: 2, keys: 2, dim: 1 };
        let x = [0.0f32; 2];
        forward(a, &x, &x, &x, Some(&[true, false, false, false]), &mut [0.0; 2], &mut [0.0; 2]);
    }
}
