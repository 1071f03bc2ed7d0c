//! A sampling step's other kernels, sampler.cu: embeddings, norms, and attention from a cache.

use super::grids::Grid;
use super::harness::{Kernels, error, uniform};
use proptest::prelude::*;
use std::ptr::null;
use std::sync::LazyLock;

type EmbedSum = unsafe extern "C" fn(*const f32, *const u32, *mut f32, u32, u32, u32);
type NormRows = unsafe extern "C" fn(*const f32, *const f32, *const f32, *const f32, *mut f32, u64, u32, f32);
type Store = unsafe extern "C" fn(*const f32, *mut f32, u64, *const u32, *const u32, u32, u32, u32);
#[rustfmt::skip]
type Attend = unsafe extern "C" fn(
    *const f32, *mut f32, u64, *const u32, *const u32, *const u32, *const u32, *mut f32, u32, u32,
);

static KERNELS: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("sampler"));
const EPSILON: f32 = 1e-5;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn rows_of_tables_are_summed(tables in 1..6usize, rows in 1..9usize, columns in 1..70usize, seed in 0..1000u32) {
        let table = uniform(11 * columns, seed.into());
        // Some name no row.
        let ids: Vec<u32> = (0..(tables * rows) as u32).map(|i| (i * 7 + seed) % 13).map(|id| if id < 11 { id } else { u32::MAX }).collect();
        let inputs: Vec<u32> = std::iter::once(99).chain(ids.iter().copied()).collect();
        let kernel: EmbedSum = KERNELS.function("embed_sum");
        let mut x = vec![f32::NAN; rows * columns];
        let (grid, x_at) = (Grid::values(rows * columns), x.as_mut_ptr());
        KERNELS.launch(grid.blocks, grid.threads, || {
            // SAFETY: the slices have the lengths that the sizes say.
            unsafe { kernel(table.as_ptr(), inputs.as_ptr(), x_at, tables as u32, rows as u32, columns as u32) }
        });
        let expected: Vec<f64> = (0..rows * columns).map(|at| {
            let named = ids.chunks(rows).map(|ids| ids[at / columns]).filter(|&id| id != u32::MAX);
            named.map(|id| f64::from(table[id as usize * columns + at % columns])).sum()
        }).collect();
        prop_assert!(error(&x, &expected) < 1e-6);
    }

    /// Of every `fresh`th row, from the last of the first ones on.
    #[test]
    fn rows_are_normalised(rows in 1..5usize, fresh in 1..4usize, columns in 2..700usize, add: bool, seed in 0..1000u64) {
        let x: Vec<f32> = uniform(rows * fresh * columns, seed).iter().map(|x| 2.0 * x + 3.0).collect();
        let (gain, bias) = (uniform(columns, seed + 1), uniform(columns, seed + 2));
        // What is added to is where the result goes.
        let before = uniform(rows * columns, seed + 3);
        let mut y = if add { before.clone() } else { vec![f32::NAN; rows * columns] };
        let kernel: NormRows = KERNELS.function("norm_rows");
        let (y_at, stride) = (y.as_mut_ptr(), (fresh * columns) as u64);
        let (x_at, add_at) = (x[(fresh - 1) * columns..].as_ptr(), if add { y_at.cast_const() } else { null() });
        KERNELS.launch([rows as u32, 1, 1], [256, 1, 1], || {
            // SAFETY: as above.
            unsafe { kernel(x_at, gain.as_ptr(), bias.as_ptr(), add_at, y_at, stride, columns as u32, EPSILON) }
        });
        let mut expected = Vec::new();
        for x in x.chunks(columns).skip(fresh - 1).step_by(fresh) {
            let (x, n) = (wide(x), columns as f64);
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            for (i, x) in x.iter().enumerate() {
                let normal = (x - mean) / (variance + f64::from(EPSILON)).sqrt();
                let added = if add { f64::from(before[expected.len()]) } else { 0.0 };
                expected.push(added + normal * f64::from(gain[i]) + f64::from(bias[i]));
            }
        }
        let error = error(&y, &expected);
        prop_assert!(error < 2e-4, "{error}");
    }
}

/// Sequences that see what a random rule shows, in places that are not their order.
struct Case {
    batch: usize,
    heads: usize,
    dim: usize,
    positions: usize,
    /// (B, S, 3, H, D)
    qkv: Vec<f32>,
    places: Vec<u32>,
    starts: Vec<u32>,
    seen: Vec<u32>,
}

impl Case {
    fn new([batch, heads, dim, positions]: [usize; 4], seed: u64) -> Case {
        let qkv = uniform(batch * positions * 3 * heads * dim, seed).iter().map(|x| 3.0 * x).collect();
        let places: Vec<u32> = (0..positions).map(|p| ((p + seed as usize) % positions) as u32).collect();
        let (mut starts, mut seen) = (vec![0], Vec::new());
        for query in 0..positions {
            let rule = |key: &usize| *key == query || (key * 31 + query * 17 + seed as usize) % 5 < 3;
            seen.extend((0..=query).filter(rule).map(|key| places[key]));
            starts.push(seen.len() as u32);
        }
        Case { batch, heads, dim, positions, qkv, places, starts, seen }
    }

    /// Sequences `rows`, by steps of so many positions: (B, S, H, D).
    fn run(&self, rows: std::ops::Range<usize>, steps: &[usize]) -> Vec<f32> {
        let (store, attend): (Store, Attend) = (KERNELS.function("store"), KERNELS.function("attend"));
        let (width, batch) = (self.heads * self.dim, rows.len());
        let each = self.positions * 3 * width;
        let stride = 2 * self.positions * width + 5; // other layers'
        let mut cache = vec![f32::NAN; batch * stride];
        let mut out = vec![f32::NAN; batch * self.positions * width];
        let mut position = 0;
        for &fresh in steps {
            let part = |row: usize| &self.qkv[row * each + position * 3 * width..][..fresh * 3 * width];
            let qkv: Vec<f32> = rows.clone().flat_map(part).copied().collect();
            let mut step = vec![f32::NAN; batch * fresh * width];
            let (inputs, cache_at, out_at) = ([position as u32], cache.as_mut_ptr(), step.as_mut_ptr());
            let (size, heads, dim) = (self.positions as u32, self.heads as u32, self.dim as u32);
            if fresh > 1 {
                let grid = Grid::store([batch, fresh]);
                KERNELS.launch(grid.blocks, grid.threads, || {
                    // SAFETY: the slices have the lengths that the sizes say.
                    unsafe {
                        let (inputs, places) = (inputs.as_ptr(), self.places.as_ptr());
                        store(qkv.as_ptr(), cache_at, stride as u64, inputs, places, size, heads, dim)
                    }
                });
            }
            let grid = Grid::attend([batch, self.heads, fresh]);
            KERNELS.launch(grid.blocks, grid.threads, || {
                // SAFETY: as above.
                unsafe {
                    let [places, starts, seen] = [&self.places, &self.starts, &self.seen].map(|list| list.as_ptr());
                    let inputs = inputs.as_ptr();
                    attend(qkv.as_ptr(), cache_at, stride as u64, inputs, places, starts, seen, out_at, size, dim)
                }
            });
            for (out, step) in out.chunks_mut(self.positions * width).zip(step.chunks(fresh * width)) {
                out[position * width..][..step.len()].copy_from_slice(step);
            }
            position += fresh;
        }
        out
    }

    fn expected(&self) -> Vec<f64> {
        let (width, dim) = (self.heads * self.dim, self.dim);
        let mut out = vec![0.0; self.batch * self.positions * width];
        let vector = |b: usize, p: usize, third: usize, head: usize| {
            wide(&self.qkv[((b * self.positions + p) * 3 + third) * width + head * dim..][..dim])
        };
        for (index, out) in out.chunks_mut(dim).enumerate() {
            let (head, query, b) =
                (index % self.heads, index / self.heads % self.positions, index / self.heads / self.positions);
            let q = vector(b, query, 0, head);
            let places = &self.seen[self.starts[query] as usize..self.starts[query + 1] as usize];
            let position = |place: &u32| self.places.iter().position(|p| p == place).unwrap();
            let keys: Vec<usize> = places.iter().map(position).collect();
            let score = |&key: &usize| {
                let k = vector(b, key, 1, head);
                q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
            };
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let top = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            for (key, score) in keys.iter().zip(&scores) {
                let weight = (score - top).exp() / total;
                out.iter_mut().zip(vector(b, *key, 2, head)).for_each(|(out, v)| *out += weight * v);
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// However many positions come at once, and whatever the batch: the same bits.
    #[test]
    fn attention_from_a_cache(
        batch in 1..4usize, heads in 1..4usize, dim in 1..40usize, positions in 2..40usize,
        first in 1..20usize, then in 1..20usize, seed in 0..1000u64,
    ) {
        let case = Case::new([batch, heads, dim, positions], seed);
        let first = first.min(positions - 1);
        let then = then.min(positions - first);
        let steps: Vec<usize> = [first, then].into_iter().chain(std::iter::repeat_n(1, positions - first - then)).collect();
        let together = case.run(0..batch, &steps);
        let error = error(&together, &case.expected());
        prop_assert!(error < 2e-5, "{error}");
        prop_assert_eq!(&case.run(0..batch, &vec![1; positions]), &together);
        let alone: Vec<f32> = (0..batch).flat_map(|row| case.run(row..row + 1, &steps)).collect();
        prop_assert_eq!(alone, together);
    }
}

#[test]
fn heads_of_every_width_see_more_keys_than_are_taken_at_once() {
    for (dim, positions) in [(16, 300), (32, 170), (64, 130), (100, 70), (128, 60)] {
        let case = Case::new([1, 1, dim, positions], 3);
        let error = error(&case.run(0..1, &[positions]), &case.expected());
        assert!(error < 3e-5, "{dim}: {error}");
    }
}
