//! Attention by tiles and its gradients: attention.cu, with the lists of tile_lists.rs.

use super::grids::{Grid, attention_width};
use super::harness::{Kernels, error, noted, tensor, tensor_mut, uniform};
use super::tile_lists::{MASK_WORDS, SIDE, TileLists, WHOLE};
use proptest::prelude::*;
use std::sync::LazyLock;

type Forward = unsafe extern "C" fn(u64, u64, *mut f32, *const u32, *const u32, *const u32, u32, u32, u32);
type Backward =
    unsafe extern "C" fn(u64, u64, u64, *const f32, *const f32, *const u32, *const u32, *const u32, u32, u32, u32);
type Delta = unsafe extern "C" fn(u64, u64, *mut f32, u32, u32, u32, u32);

static ATTENTION: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("attention"));

/// Sizes, and the mask by sequence positions, which its tiles take in `order`.
#[derive(Debug, Clone)]
struct Case {
    batch: usize,
    heads: usize,
    positions: usize,
    dim: usize,
    order: Vec<usize>,
    seen: Vec<bool>,
}

/// out, lse and dqkv, which starts from other numbers than zeros.
struct Results<E> {
    out: Vec<E>,
    lse: Vec<E>,
    dqkv: Vec<E>,
}

impl Case {
    fn new([batch, heads, positions, dim]: [usize; 4], order: Vec<usize>, sees: impl Fn(usize, usize) -> bool) -> Case {
        let seen = (0..positions * positions).map(|pair| sees(pair / positions, pair % positions)).collect();
        Case { batch, heads, positions, dim, order, seen }
    }

    fn tiles(&self) -> Vec<Vec<(usize, Option<Vec<bool>>)>> {
        let side = self.positions.div_ceil(SIDE);
        let slots = |block: usize| &self.order[block * SIDE..self.positions.min((block + 1) * SIDE)];
        let tile = |row, column| {
            let mut bits = vec![false; SIDE * SIDE];
            for (i, query) in slots(row).iter().enumerate() {
                for (j, key) in slots(column).iter().enumerate() {
                    bits[i * SIDE + j] = self.seen[query * self.positions + key];
                }
            }
            match bits.iter().filter(|&&seen| seen).count() {
                0 => None,
                count if count == slots(row).len() * slots(column).len() => Some((column, None)),
                _ => Some((column, Some(bits))),
            }
        };
        (0..side).map(|row| (0..side).filter_map(|column| tile(row, column)).collect()).collect()
    }

    fn lists(&self) -> TileLists {
        let tiles = self.tiles();
        TileLists::new(&self.order, tiles.iter().map(|row| row.iter().map(|(column, bits)| (*column, bits.as_deref()))))
    }

    fn vectors(&self) -> usize {
        self.batch * self.positions * self.heads
    }

    fn qkv(&self) -> Vec<f32> {
        uniform(3 * self.vectors() * self.dim, 1).iter().map(|x| 2.0 * x).collect()
    }

    fn dout(&self) -> Vec<f32> {
        uniform(self.vectors() * self.dim, 2)
    }

    fn gradient_before(&self) -> Vec<f32> {
        uniform(3 * self.vectors() * self.dim, 3)
    }

    /// Where value 0 of a vector lies in x (B, S, parts, H, D).
    fn at(&self, entry: usize, position: usize, [parts, part]: [usize; 2], head: usize) -> usize {
        (((entry * self.positions + position) * parts + part) * self.heads + head) * self.dim
    }

    fn run(&self, exact: bool) -> Results<f32> {
        let (width, lists) = (attention_width(self.dim).unwrap(), self.lists());
        let name = |kernel: &str| format!("attention_{kernel}_{width}{}", if exact { "_exact" } else { "" });
        let sizes = [self.positions, self.heads, self.dim].map(|size| size as u32);
        let [positions, heads, dim] = sizes;
        let Grid { blocks, threads } = Grid::attention([self.batch, self.heads, self.positions], width);
        let [order, rows, columns, masks] =
            [&lists.order, &lists.rows, &lists.columns, &lists.masks].map(|x| x.as_ptr());

        // What must not be read is not a number.
        let margin = [f32::NAN; 64];
        let qkv = [&margin[..], &self.qkv(), &margin].concat();
        let qkv = tensor(&qkv[64..]);
        let mut out = vec![f32::NAN; self.vectors() * self.dim];
        let mut lse = vec![f32::NAN; self.vectors()];
        let forward: Forward = ATTENTION.function(&name("forward"));
        // SAFETY: all have the lengths that the sizes say.
        ATTENTION.launch(blocks, threads, || unsafe {
            forward(noted(&qkv), tensor_mut(&mut out), lse.as_mut_ptr(), order, rows, masks, positions, heads, dim);
        });

        let (dout, mut delta) = (self.dout(), vec![f32::NAN; self.vectors()]);
        let per_vector = Grid::warps(self.vectors());
        let rowsums: Delta = ATTENTION.function("attention_delta");
        // SAFETY: as above.
        ATTENTION.launch(per_vector.blocks, per_vector.threads, || unsafe {
            rowsums(tensor(&dout), tensor(&out), delta.as_mut_ptr(), self.batch as u32, positions, heads, dim);
        });
        let mut dqkv = self.gradient_before();
        for (kernel, list) in [("queries", rows), ("keys", columns)] {
            let backward: Backward = ATTENTION.function(&name(kernel));
            let (lse, delta) = (lse.as_ptr(), delta.as_ptr());
            // SAFETY: as above.
            ATTENTION.launch(blocks, threads, || unsafe {
                let (dqkv, dout) = (tensor_mut(&mut dqkv), tensor(&dout));
                backward(dqkv, dout, qkv, lse, delta, order, list, masks, positions, heads, dim);
            });
        }
        Results { out, lse, dqkv }
    }

    /// The same by the formulas.
    fn expected(&self) -> Results<f64> {
        let numbers = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<_>>();
        let (qkv, dout) = (numbers(self.qkv()), numbers(self.dout()));
        let mut results = Results {
            out: vec![0.0; dout.len()],
            lse: vec![f64::NEG_INFINITY; self.vectors()],
            dqkv: numbers(self.gradient_before()),
        };
        let scale = 1.0 / (self.dim as f64).sqrt();
        let dot = |x: &[f64], y: &[f64], a: usize, b: usize| (0..self.dim).map(|d| x[a + d] * y[b + d]).sum::<f64>();
        for vector in 0..self.vectors() {
            let (entry, head, query) =
                (vector / self.positions / self.heads, vector / self.positions % self.heads, vector % self.positions);
            let third = |position, part| self.at(entry, position, [3, part], head);
            let (q, result) = (third(query, 0), self.at(entry, query, [1, 0], head));
            let keys = || (0..self.positions).filter(|key| self.seen[query * self.positions + key]);
            let score = |key| dot(&qkv, &qkv, q, third(key, 1)) * scale;
            let total: f64 = keys().map(|key| score(key).exp()).sum();
            results.lse[vector] = total.ln();
            let weights: Vec<(usize, f64)> = keys().map(|key| (key, score(key).exp() / total)).collect();
            let mut mean = 0.0;
            for &(key, p) in &weights {
                (0..self.dim).for_each(|d| results.out[result + d] += p * qkv[third(key, 2) + d]);
                mean += p * dot(&dout, &qkv, result, third(key, 2));
            }
            for &(key, p) in &weights {
                let (k, v) = (third(key, 1), third(key, 2));
                let ds = p * (dot(&dout, &qkv, result, v) - mean) * scale;
                for d in 0..self.dim {
                    results.dqkv[q + d] += ds * qkv[k + d];
                    results.dqkv[k + d] += ds * qkv[q + d];
                    results.dqkv[v + d] += p * dout[result + d];
                }
            }
        }
        results
    }

    /// The largest error of each result.
    fn errors(&self, exact: bool) -> [f64; 3] {
        let (got, expected) = (self.run(exact), self.expected());
        [error(&got.out, &expected.out), error(&got.lse, &expected.lse), error(&got.dqkv, &expected.dqkv)]
    }

    #[track_caller]
    fn check(&self, exact: bool) {
        let (errors, limit) = (self.errors(exact), if exact { 1e-5 } else { 4e-3 });
        assert!(errors.iter().all(|&error| error < limit), "out, lse, dqkv: {errors:?}");
    }
}

/// 64 positions of text, then an image of 8×9 whose positions see the text and those before them in their column.
fn column() -> Case {
    let image = |position: usize| (position - 64) % 9;
    let order = (0..64).chain((0..9).flat_map(|top| (64 + top..136).step_by(9))).collect();
    let sees = |query, key| key <= query && (key < 64 || image(key) == image(query));
    Case::new([2, 2, 136, 64], order, sees)
}

/// Pairs at random, each position with itself, whole tiles that are seen or not, and an order at random.
fn any_case(dims: impl Strategy<Value = usize>) -> impl Strategy<Value = Case> {
    let sizes = (1..=2usize, 1..=2usize, 1..=150usize, dims);
    (sizes, any::<u64>()).prop_flat_map(|((batch, heads, positions, dim), seed)| {
        let order = Just((0..positions).collect::<Vec<_>>()).prop_shuffle();
        order.prop_map(move |order| {
            let (pairs, tiles) = (uniform(positions * positions, seed), uniform(9, seed ^ 5));
            let mut place = vec![0; positions];
            order.iter().enumerate().for_each(|(slot, &position)| place[position] = slot);
            let sees = |query: usize, key: usize| {
                let tile = tiles[place[query] / SIDE * 3 + place[key] / SIDE];
                query == key || tile > 0.4 || (tile > -0.4 && pairs[query * positions + key] > 0.2)
            };
            Case::new([batch, heads, positions, dim], order, sees)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_mask_of_narrow_heads_in_f32(case in any_case(1..=32usize)) {
        case.check(true);
    }

    #[test]
    fn any_mask_of_narrow_heads_in_tf32(case in any_case(1..=32usize)) {
        case.check(false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn any_mask_of_wide_heads(case in any_case(33..=128usize), exact: bool) {
        case.check(exact);
    }
}

#[test]
fn a_column_mask_in_its_own_order() {
    column().check(false);
}

#[test]
fn a_column_mask_in_f32() {
    column().check(true);
}

#[test]
fn two_warps_share_a_vector_of_128() {
    let case = |dim| Case::new([1, 1, 70, dim], (0..70).rev().collect(), |query, key| key <= query);
    case(128).check(true);
    case(101).check(false);
}

#[test]
fn a_query_that_sees_nothing_gets_zeros() {
    let case = Case::new([1, 2, 80, 16], (0..80).collect(), |query, key| query % 3 > 0 && query < 64 && key % 2 == 0);
    let results = case.run(false);
    assert!(results.dqkv.iter().chain(&results.out).all(|x| x.is_finite()));
    for query in 0..80 {
        let blind = query % 3 == 0 || query >= 64;
        for head in 0..2 {
            let out = &results.out[case.at(0, query, [1, 0], head)..][..16];
            assert_eq!(out.iter().all(|&x| x == 0.0), blind);
            assert_eq!(results.lse[head * 80 + query] == f32::NEG_INFINITY, blind);
        }
    }
    let errors = [error(&results.out, &case.expected().out), error(&results.dqkv, &case.expected().dqkv)];
    assert!(errors.iter().all(|&error| error < 4e-3), "{errors:?}");
}

#[test]
fn every_run_is_the_same() {
    let [a, b] = [column().run(false), column().run(false)];
    assert!(a.out == b.out && a.lse == b.lse && a.dqkv == b.dqkv);
}

/// The pairs that a list shows, by slots of its blocks and of theirs.
fn pairs(list: &[u32], masks: &[u32], blocks: usize, by_column: bool) -> Vec<[usize; 2]> {
    let mut pairs = Vec::new();
    for block in 0..blocks {
        for tile in list[block] as usize..list[block + 1] as usize {
            let [other, mask] = [0, 1].map(|i| list[blocks + 1 + 2 * tile + i]);
            for at in 0..SIDE * SIDE {
                let bit = at + if by_column { SIDE * SIDE } else { 0 };
                let word = |mask: u32| masks[mask as usize * MASK_WORDS + bit / 32];
                if mask == WHOLE || word(mask) >> (bit % 32) & 1 == 1 {
                    pairs.push([block * SIDE + at / SIDE, other as usize * SIDE + at % SIDE]);
                }
            }
        }
    }
    pairs
}

proptest! {
    #[test]
    fn the_columns_are_the_rows_transposed(case in any_case(Just(1))) {
        let (lists, blocks) = (case.lists(), case.positions.div_ceil(SIDE));
        let mut rows = pairs(&lists.rows, &lists.masks, blocks, false);
        let mut columns: Vec<_> =
            pairs(&lists.columns, &lists.masks, blocks, true).into_iter().map(|[key, query]| [query, key]).collect();
        rows.sort_unstable();
        columns.sort_unstable();
        prop_assert_eq!(&rows, &columns);
        let n = case.positions;
        let mut expected: Vec<_> = (0..n * n).map(|pair| [pair / n, pair % n]).collect();
        expected.retain(|pair| case.seen[lists.order[pair[0]] as usize * n + lists.order[pair[1]] as usize]);
        prop_assert_eq!(rows, expected);
    }
}

#[test]
fn tiles_with_the_same_bits_have_one_mask() {
    let case = Case::new([1, 1, 256, 1], (0..256).collect(), |query, key| key <= query && query < key + 64);
    let lists = case.lists();
    // On the diagonal, and beside it.
    assert_eq!(lists.masks.len(), 2 * MASK_WORDS);
    assert_eq!(lists.rows, [0, 1, 3, 5, 7, 0, 0, 0, 1, 1, 0, 1, 1, 2, 0, 2, 1, 3, 0]);
    assert!(Case::new([1, 1, 128, 1], (0..128).collect(), |_, _| true).lists().masks.is_empty());
}
