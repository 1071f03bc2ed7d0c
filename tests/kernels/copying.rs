//! Copies of views and their gradients: reshape.cu and concat.cu.

use super::harness::Kernels;
use proptest::prelude::*;
use std::sync::LazyLock;

type Word = u64;
type ReshapeForward = unsafe extern "C" fn(Word, Word, Word, *const Word, *const f32, *mut f32);
type ReshapeBackward = unsafe extern "C" fn(Word, Word, Word, *const Word, *mut f32, *const f32);
type ConcatForward = unsafe extern "C" fn(*const Word, *const f32, *const f32, *mut f32);
type ConcatBackward = unsafe extern "C" fn(*const Word, *mut f32, *mut f32, *const f32);

static RESHAPE: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("reshape"));
static CONCAT: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("concat"));

/// A tensor's view: sizes, strides, and how many values lie below it.
#[derive(Debug, Clone)]
struct View {
    sizes: Vec<Word>,
    strides: Vec<Word>,
    values: usize,
}

impl View {
    /// Row-major, seen through a permutation of its axes; the axes of `repeated` are broadcast.
    fn new(sizes: Vec<Word>, order: &[usize], repeated: &[bool]) -> View {
        let mut strides = vec![0; sizes.len()];
        let mut values = 1;
        for &axis in order {
            if !repeated[axis] {
                strides[axis] = values;
                values *= sizes[axis];
            }
        }
        View { sizes, strides, values: values as usize }
    }

    fn len(&self) -> usize {
        self.sizes.iter().product::<Word>() as usize
    }

    fn info(&self) -> Vec<Word> {
        [&self.sizes[..], &self.strides].concat()
    }

    /// Where the element at `index` lies.
    fn place(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.strides).map(|(&i, &stride)| i * stride as usize).sum()
    }

    /// Every index, in row-major order.
    fn indices(&self) -> Vec<Vec<usize>> {
        self.sizes.iter().fold(vec![Vec::new()], |found, &size| {
            let longer = |index: Vec<usize>| (0..size as usize).map(move |i| [&index[..], &[i]].concat());
            found.into_iter().flat_map(longer).collect()
        })
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7 % 23) as f32 - 11.0).collect()
}

/// Sizes of up to four axes with an order of them and which are broadcast.
fn axes() -> impl Strategy<Value = (Vec<Word>, Vec<usize>, Vec<bool>)> {
    (1..=4usize).prop_flat_map(|rank| {
        let order = Just((0..rank).collect::<Vec<_>>()).prop_shuffle();
        (prop::collection::vec(1..=4u64, rank), order, prop::collection::vec(prop::bool::weighted(0.2), rank))
    })
}

fn grid() -> impl Strategy<Value = ([u32; 3], [u32; 3])> {
    (1..=3u32, 1..=5u32).prop_map(|(blocks, threads)| ([blocks, 1, 1], [threads, 1, 1]))
}

proptest! {
    #[test]
    fn reshape_copies_what_the_strides_say_and_sums_back((sizes, order, repeated) in axes(), (blocks, threads) in grid()) {
        let view = View::new(sizes, &order, &repeated);
        let (count, rank) = (view.len(), view.sizes.len() as Word);
        let info = [view.info(), vec![count as Word, 1]].concat();
        let forward: ReshapeForward = RESHAPE.function("reshape_fwd");
        let backward: ReshapeBackward = RESHAPE.function("reshape_bwd");

        let x = numbers(view.values);
        let mut y = vec![f32::NAN; count];
        // SAFETY: x, y and info have the lengths that the view says.
        RESHAPE.launch(blocks, threads, || unsafe { forward(count as Word, rank, 1, info.as_ptr(), x.as_ptr(), y.as_mut_ptr()) });
        let expected: Vec<f32> = view.indices().iter().map(|index| x[view.place(index)]).collect();
        prop_assert_eq!(&y, &expected);

        let mut expected = numbers(view.values);
        let mut dx = expected.clone();
        view.indices().iter().zip(&y).for_each(|(index, dy)| expected[view.place(index)] += dy);
        let length = dx.len() as Word;
        // SAFETY: as above.
        RESHAPE.launch(blocks, threads, || unsafe { backward(length, rank, 1, info.as_ptr(), dx.as_mut_ptr(), y.as_ptr()) });
        prop_assert_eq!(dx, expected);
    }

    #[test]
    fn concat_lays_two_side_by_side_and_splits_the_gradient(
        (sizes, order, repeated) in axes(), axis in 0..4usize, other in 1..=4u64, (blocks, threads) in grid()
    ) {
        let axis = axis % sizes.len();
        let wider = |size| { let mut sizes = sizes.clone(); sizes[axis] = size; sizes };
        let a = View::new(sizes.clone(), &order, &repeated);
        // Another order of axes than a's.
        let b = View::new(wider(other), &(0..sizes.len()).collect::<Vec<_>>(), &vec![false; sizes.len()]);
        let whole = View::new(wider(sizes[axis] + other), &(0..sizes.len()).rev().collect::<Vec<_>>(), &vec![false; sizes.len()]);
        let info = [vec![whole.len() as Word, sizes.len() as Word, axis as Word], a.info(), b.info()].concat();
        let forward: ConcatForward = CONCAT.function("fwd");
        let backward: ConcatBackward = CONCAT.function("bwd");

        let (left, right) = (numbers(a.values), numbers(b.values));
        let mut y = vec![f32::NAN; whole.len()];
        // SAFETY: the inputs and y have the lengths that the views say.
        CONCAT.launch(blocks, threads, || unsafe { forward(info.as_ptr(), left.as_ptr(), right.as_ptr(), y.as_mut_ptr()) });
        let (mut da, mut db) = (left.clone(), right.clone());
        let (mut expected_a, mut expected_b) = (left.clone(), right.clone());
        let mut expected = Vec::new();
        for (mut index, dy) in whole.indices().into_iter().zip(&y) {
            if index[axis] < sizes[axis] as usize {
                expected.push(left[a.place(&index)]);
                expected_a[a.place(&index)] += dy;
            } else {
                index[axis] -= sizes[axis] as usize;
                expected.push(right[b.place(&index)]);
                expected_b[b.place(&index)] += dy;
            }
        }
        prop_assert_eq!(&y, &expected);
        // SAFETY: as above.
        CONCAT.launch(blocks, threads, || unsafe { backward(info.as_ptr(), da.as_mut_ptr(), db.as_mut_ptr(), y.as_ptr()) });
        prop_assert_eq!((da, db), (expected_a, expected_b));
    }
}
