//! Rows of a table by id. Shapes: table (V, C), ids (R), y (R, C). The id [`ABSENT`] stands for a row of zeros without gradient.

use super::parallel::{expect_lengths, rows_per_task};
use crate::kernels::{Real, compiled};
use rayon::prelude::*;

/// The id of no row.
pub const ABSENT: u32 = u32::MAX;

compiled! {
    /// `y = table[ids]`; C is `cols`.
    ///
    /// # Panics
    /// If an id other than [`ABSENT`] is not below V.
    pub fn forward(table: &[E], cols: usize, ids: &[u32], y: &mut [E]) = forward_of;

    /// `dtable[ids] += dy`, in row order whatever the threads.
    ///
    /// # Panics
    /// If an id other than [`ABSENT`] is not below V.
    pub fn backward(dy: &[E], cols: usize, ids: &[u32], dtable: &mut [E]) = backward_of;
}

fn forward_of<E: Real>(table: &[E], cols: usize, ids: &[u32], y: &mut [E]) {
    check("embed::forward", table, cols, ids, y);
    let chunk = rows_per_task(ids.len(), cols);
    y.par_chunks_mut(chunk * cols).zip_eq(ids.par_chunks(chunk)).for_each(|(y, ids)| {
        for (y, id) in y.chunks_exact_mut(cols).zip(ids) {
            if *id == ABSENT {
                y.fill(E::of(0.0));
            } else {
                y.copy_from_slice(&table[*id as usize * cols..][..cols]);
            }
        }
    });
}

fn backward_of<E: Real>(dy: &[E], cols: usize, ids: &[u32], dtable: &mut [E]) {
    check("embed::backward", dtable, cols, ids, dy);
    // A task owns a range of the table and picks its ids out of all of them: cheaper than sorting them.
    let owned = (dtable.len() / cols).div_ceil(ids.len().div_ceil(rows_per_task(ids.len(), cols)).max(1)).max(1);
    dtable.par_chunks_mut(owned * cols).enumerate().for_each(|(task, dtable)| {
        for (dy, id) in dy.chunks_exact(cols).zip(ids) {
            let id = *id as usize;
            if id / owned == task && id != ABSENT as usize {
                for (dtable, dy) in dtable[(id - task * owned) * cols..][..cols].iter_mut().zip(dy) {
                    *dtable += *dy;
                }
            }
        }
    });
}

/// Asserts the lengths and that every id has a row.
#[track_caller]
fn check<E>(kernel: &str, table: &[E], cols: usize, ids: &[u32], y: &[E]) {
    let rows = table.len() / cols;
    expect_lengths(kernel, &[("table", table.len(), rows * cols), ("y", y.len(), ids.len() * cols)]);
    for id in ids {
        assert!((*id as usize) < rows || *id == ABSENT, "{kernel}: id {id} of a table of {rows} rows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::testing::{assert_same_on_any_threads, normals};

    #[test]
    fn rows_are_copied_and_gradients_added_in_order() {
        let table = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let ids = [2, 0, ABSENT, 2];
        let mut y = [9.0f64; 8];
        forward(&table, 2, &ids, &mut y);
        assert_eq!(y, [5.0, 6.0, 1.0, 2.0, 0.0, 0.0, 5.0, 6.0]);
        let mut dtable = [1.0; 6];
        backward(&[1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 7.0, 8.0], 2, &ids, &mut dtable);
        assert_eq!(dtable, [4.0, 5.0, 1.0, 1.0, 9.0, 11.0]);
    }

    #[test]
    fn large_tables_equal_a_plain_loop_on_any_threads() {
        let (rows, cols, n) = (37, 33, 3000);
        let dy = normals::<f32>("dy", n * cols);
        let ids: Vec<u32> = (0..n as u32).map(|i| if i % 50 == 0 { ABSENT } else { i * i % 37 }).collect();
        let mut expected = vec![0f32; rows * cols];
        for (id, dy) in ids.iter().zip(dy.chunks(cols)).filter(|(id, _)| **id != ABSENT) {
            for (c, dy) in dy.iter().enumerate() {
                expected[*id as usize * cols + c] += dy;
            }
        }
        let run = || {
            let mut dtable = vec![0f32; rows * cols];
            backward(&dy, cols, &ids, &mut dtable);
            dtable
        };
        assert_same_on_any_threads(run);
        assert_eq!(run(), expected);
        assert_same_on_any_threads(|| {
            let mut y = vec![0f32; n * cols];
            forward(&expected, cols, &ids, &mut y);
            y
        });
    }

    #[test]
    #[should_panic(expected = "id 3 of a table of 3 rows")]
    fn an_id_outside_the_table_is_refused() {
        forward(&[0.0f32; 6], 2, &[3], &mut [0.0; 2]);
    }
}
