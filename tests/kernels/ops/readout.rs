//! What leaves the tape.

use super::case::tensor;
use dalle::ops::{argmax_rows, nearest_rows, to_vec};
use dfdx::prelude::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_argmax_is_the_first_of_the_largest(rows in prop::collection::vec([-2..=2i8, -2..=2i8, -2..=2i8], 1..=6)) {
        let values: Vec<f32> = rows.iter().flatten().map(|&x| f32::from(x)).collect();
        let got = argmax_rows(tensor(&values, (rows.len(), 3usize))).unwrap();
        for (row, index) in rows.iter().zip(got) {
            let largest = row.iter().max().unwrap();
            prop_assert_eq!(row.iter().position(|x| x == largest), Some(index as usize));
        }
    }

    #[test]
    fn the_nearest_row_is_nearer_than_all_others(
        x in prop::collection::vec([-9..=9i8, -9..=9i8], 1..=6),
        table in [[-9..=9i8, -9..=9i8], [-9..=9i8, -9..=9i8], [-9..=9i8, -9..=9i8], [-9..=9i8, -9..=9i8]],
    ) {
        let flat = |rows: &[[i8; 2]]| rows.iter().flatten().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let codes = tensor(&flat(&table), (Const::<4>, Const::<2>));
        let got = nearest_rows(tensor(&flat(&x), (x.len(), Const::<2>)), &codes).unwrap();
        for (x, code) in x.iter().zip(got) {
            let distance = |row: &[i8; 2]| (0..2).map(|i| (i32::from(row[i]) - i32::from(x[i])).pow(2)).sum::<i32>();
            let least = table.iter().map(distance).min();
            prop_assert_eq!(table.iter().position(|row| Some(distance(row)) == least), Some(code as usize));
        }
    }
}

#[test]
fn values_leave_in_row_major_order_whatever_the_strides() {
    let x = tensor(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], (2usize, 3usize)).permute::<(usize, usize), Axes2<1, 0>>();
    assert_eq!(to_vec(x).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let broadcast = tensor(&[1f32, 2.0], (Const::<2>,)).broadcast_like::<_, Axis<0>>(&(2usize, Const::<2>));
    assert_eq!(to_vec(broadcast).unwrap(), [1.0, 2.0, 1.0, 2.0]);
}
