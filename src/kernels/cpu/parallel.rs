//! How work is split. The split is a function of the sizes alone, so that sums fall into the same parts, and results have
//! the same bits, for any number of threads.

use std::ops::Range;

/// Elements of work below which a task is not worth handing to another thread.
const GRAIN: usize = 1 << 14;

/// The most tasks that one call is split into.
pub(super) const TASKS: usize = 32;

/// Rows per task for `rows` rows that cost about `work` elements each; at least 1.
pub(super) fn rows_per_task(rows: usize, work: usize) -> usize {
    let tasks = (rows.saturating_mul(work) / GRAIN).clamp(1, TASKS);
    rows.div_ceil(tasks).max(1)
}

/// `0..length` in pieces of `size`, the last one shorter.
pub(super) fn pieces(length: usize, size: usize) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    (0..length.div_ceil(size)).map(move |i| i * size..length.min((i + 1) * size))
}

/// Deals the columns of a row-major matrix out in blocks: entry t holds, for every row, columns `t·block..(t + 1)·block`.
pub(super) fn by_columns<E>(x: &mut [E], cols: usize, block: usize) -> Vec<Vec<&mut [E]>> {
    let rows = x.len() / cols;
    let mut hands: Vec<Vec<&mut [E]>> = (0..cols.div_ceil(block)).map(|_| Vec::with_capacity(rows)).collect();
    for row in x.chunks_exact_mut(cols) {
        for (hand, piece) in hands.iter_mut().zip(row.chunks_mut(block)) {
            hand.push(piece);
        }
    }
    hands
}

/// Asserts that slices have the lengths that a kernel's sizes ask for: (name, length, expected length) each.
#[track_caller]
pub(super) fn expect_lengths(kernel: &str, slices: &[(&str, usize, usize)]) {
    for (name, got, expected) in slices {
        assert!(got == expected, "{kernel}: `{name}` has {got} elements, expected {expected}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_work_is_one_task_and_large_work_at_most_the_limit() {
        assert_eq!(rows_per_task(100, 100), 100);
        assert_eq!(rows_per_task(0, 100), 1);
        let rows = 1_000_003usize;
        assert!(rows.div_ceil(rows_per_task(rows, 1000)) <= TASKS);
        assert!(rows.div_ceil(rows_per_task(rows, 1000)) > TASKS / 2);
    }

    #[test]
    fn pieces_cover_once_and_in_order() {
        assert_eq!(pieces(7, 3).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        assert_eq!(pieces(0, 3).len(), 0);
    }

    #[test]
    fn columns_are_dealt_by_block() {
        let mut x: Vec<u8> = (0..10).collect();
        assert_eq!(
            by_columns(&mut x, 5, 2),
            [vec![[0, 1], [5, 6]], vec![[2, 3], [7, 8]]]
                .map(|hand| { hand.into_iter().map(Vec::from).collect::<Vec<_>>() })
                .into_iter()
                .chain([vec![vec![4], vec![9]]])
                .collect::<Vec<_>>()
        );
    }

    #[test]
    #[should_panic(expected = "test: `x` has 3 elements, expected 4")]
    fn a_wrong_length_is_said_in_a_sentence() {
        expect_lengths("test", &[("y", 1, 1), ("x", 3, 4)]);
    }
}
