//! Masked attention, whole and cached.

use super::case::{Case, Outcome, Path, check, normals, tensor};
use dalle::kernels::Real;
use dalle::mask::{Layout, Pattern};
use dalle::ops::*;
use dalle::random::Rng;
use dalle::shape::BlockShape;
use dfdx::prelude::*;
use proptest::prelude::*;
use std::marker::PhantomData;

dalle::block!(
    /// Two heads of four.
    Narrow: dim 8, heads 2);
dalle::block!(
    /// One head of six.
    Single: dim 6, heads 1);

/// Who sees whom.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Everything,
    Causal,
    Pattern(Pattern),
    /// A mask of one's own, with holes anywhere.
    Own(usize),
}

#[derive(Debug)]
struct AttentionCase<W> {
    batch: usize,
    layout: Layout,
    seen: Seen,
    block: PhantomData<W>,
}

impl<W: BlockShape> AttentionCase<W> {
    fn new(batch: usize, layout: Layout, seen: Seen) -> Self {
        AttentionCase { batch, layout, seen, block: PhantomData }
    }

    fn mask(&self) -> Mask {
        match self.seen {
            Seen::Everything => Mask::Full,
            Seen::Causal => Mask::causal(self.layout.sequence()),
            Seen::Pattern(pattern) => Mask::new(pattern, self.layout),
            Seen::Own(seed) => {
                Mask::from_fn(self.layout.sequence(), &|query, key| (7 * query + 3 * key + seed) % 5 < 2)
            }
        }
    }
}

impl<W: BlockShape> Case for AttentionCase<W> {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        vec![normals(rng, self.batch * self.layout.sequence() * W::Qkv::SIZE)]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let qkv = tensor(&leaves[0], (self.batch, self.layout.sequence(), W::Qkv::default()));
        let (traced, mask) = (qkv.leaky_trace(), self.mask());
        let y = match path {
            Path::Kernel => Cpu::attention::<W, _, _, _>(traced, &mask),
            Path::Composed => attention::composed::<W, _, _, _, _, _>(traced, &mask),
        };
        Outcome::of(y.expect("the CPU"), &[&qkv])
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![Just(Seen::Everything), causal()]
}

fn causal() -> impl Strategy<Value = Seen> {
    prop_oneof![Just(Seen::Causal), patterns().prop_map(Seen::Pattern), (0..5usize).prop_map(Seen::Own)]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        Just(Pattern::Full),
        Just(Pattern::Row),
        Just(Pattern::Column),
        Just(Pattern::Conv { kernel: 3 }),
        Just(Pattern::AxialRow),
        Just(Pattern::AxialColumn),
        Just(Pattern::ConvLike { kernel: 3 }),
    ]
}

fn layouts() -> impl Strategy<Value = Layout> {
    (1..=4usize, 1..=3usize).prop_map(|(text, grid)| Layout { text, grid })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn attention_of_two_heads(batch in 1..=2usize, layout in layouts(), seen in seen(), seed: u64) {
        check(AttentionCase::<Narrow>::new(batch, layout, seen), seed);
    }

    #[test]
    fn attention_of_one_head(batch in 1..=2usize, layout in layouts(), seen in seen(), seed: u64) {
        check(AttentionCase::<Single>::new(batch, layout, seen), seed);
    }

    /// Whatever the pieces in which a sequence comes: the values of the whole one, and always the same bits.
    #[test]
    fn cached_attention_equals_the_whole(layout in layouts(), seen in causal(), cut in 0.0..1.0, seed: u64) {
        let case = AttentionCase::<Narrow>::new(2, layout, seen);
        let (sequence, mask) = (layout.sequence(), case.mask());
        let qkv = case.leaves(&mut Rng::new(seed, "case", 0, 0)).remove(0);
        let (width, heads) = (<Narrow as BlockShape>::Dim::SIZE, <Narrow as BlockShape>::Heads::SIZE);
        let empty = KvCache::new(2, heads, width, &mask);
        let decode = |pieces: &[usize]| {
            let mut cache = empty.clone();
            let mut out = vec![0.0; 2 * sequence * width];
            let mut start = 0;
            for &fresh in pieces {
                let piece = |b: usize| &qkv[(b * sequence + start) * 3 * width..][..fresh * 3 * width];
                let y = cache.attend(2, &[piece(0), piece(1)].concat());
                for (b, y) in y.chunks(fresh * width).enumerate() {
                    out[(b * sequence + start) * width..][..fresh * width].copy_from_slice(y);
                }
                start += fresh;
            }
            assert_eq!(cache.filled(), sequence);
            out
        };
        let whole = decode(&[sequence]);
        let first = 1 + ((sequence - 1) as f64 * cut) as usize;
        prop_assert_eq!(&decode(&[first, sequence - first]), &whole);
        prop_assert_eq!(&decode(&vec![1; sequence]), &whole);
        // Copies that are made on the way, also of nothing, share what came before and go on alike.
        let new = |from: usize, fresh: usize, copies: usize| -> Vec<f64> {
            let piece = |b: usize| qkv[(b * sequence + from) * 3 * width..][..fresh * 3 * width].repeat(copies);
            [piece(0), piece(1)].concat()
        };
        for early in [1, 2] {
            let mut cache = empty.repeated(2, early);
            cache.attend(2 * early, &new(0, first, early));
            let mut copies = 3 * early;
            cache = cache.repeated(2 * early, 3);
            for start in first..sequence {
                if start == first + 2 {
                    cache = cache.repeated(2 * copies, 2);
                    copies *= 2;
                }
                for (row, y) in cache.attend(2 * copies, &new(start, 1, copies)).chunks(width).enumerate() {
                    prop_assert_eq!(y, &whole[(row / copies * sequence + start) * width..][..width]);
                }
            }
        }
        for (got, expected) in whole.iter().zip(case.run(std::slice::from_ref(&qkv), Path::Composed).values) {
            prop_assert!((got - expected).abs() < 1e-12, "got {got}, expected {expected}");
        }
    }
}
