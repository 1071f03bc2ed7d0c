//! Each way to keep the weights against the definition.

use super::*;
use crate::kernels::cpu::testing::{assert_close, assert_same_on_any_threads, normals, weighted};
use proptest::prelude::*;

const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

fn naive(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let inputs = w.len() / b.len();
    x.chunks(inputs).flat_map(|x| w.chunks(inputs).zip(b).map(|(w, b)| weighted(x, w) + b)).collect()
}

#[test]
fn rows_for_other_memory_hold_the_weights_and_then_zeros() {
    for (inputs, precision) in [1, 4, 5, 8, 9, 16, 17, 33].into_iter().flat_map(|inputs| ALL.map(|p| (inputs, p))) {
        let w = normals::<f32>("w", 3 * inputs);
        let packed = Packed::new(w.clone(), vec![0.0; 3], inputs, precision);
        let (bytes, scales) = packed.rows();
        let each = [4, 2, 1][precision as usize];
        let row = (inputs * each).next_multiple_of(16);
        assert_eq!((bytes.len(), scales.map(<[f32]>::len)), (3 * row, (each == 1).then_some(3)));
        for (output, bytes) in bytes.chunks(row).enumerate() {
            let (kept, zeros) = bytes.split_at(inputs * each);
            assert!(zeros.iter().all(|&byte| byte == 0));
            for (input, kept) in kept.chunks(each).enumerate() {
                let unit = (0..inputs).map(|i| f32::from(u8::from(i == input))).collect::<Vec<_>>();
                let value = match *kept {
                    [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                    [a, b] => f32::from_le_bytes([0, 0, a, b]),
                    _ => f32::from(kept[0] as i8) * scales.unwrap()[output],
                };
                assert_eq!(value, packed.forward(&unit)[output]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each rounding changes an output by no more than its bound: 2⁻⁸ of Σ|x·w|, or max|w|/254 of Σ|x|.
    #[test]
    fn outputs_equal_the_definition_up_to_the_rounding(rows in 1usize..10, inputs in 1usize..70, outputs in 1usize..40) {
        let (x, w) = (normals::<f64>("x", rows * inputs), normals::<f64>("w", outputs * inputs));
        let b = normals::<f64>("b", outputs);
        let exact = naive(&x, &w, &b);
        let forward = |precision| Packed::new(w.clone(), b.clone(), inputs, precision).forward(&x);
        assert_close(&forward(Precision::F32), &exact, 1e-13);
        let (half, byte) = (forward(Precision::Bf16), forward(Precision::Int8));
        for (i, exact) in exact.iter().enumerate() {
            let (x, w) = (&x[i / outputs * inputs..][..inputs], &w[i % outputs * inputs..][..inputs]);
            let magnitude: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
            prop_assert!((half[i] - exact).abs() <= magnitude / 256.0 + 1e-12, "bf16: {} for {exact}", half[i]);
            let top = w.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let bound = top / 254.0 * x.iter().map(|x| x.abs()).sum::<f64>();
            prop_assert!((byte[i] - exact).abs() <= bound + 1e-12, "int8: {} for {exact}", byte[i]);
        }
    }
}

#[test]
fn a_row_depends_on_neither_the_other_rows_nor_the_threads() {
    let (inputs, outputs) = (301, 67);
    let (x, w) = (normals::<f32>("x", 8 * inputs), normals::<f32>("w", outputs * inputs));
    for precision in ALL {
        let packed = Packed::new(w.clone(), normals("b", outputs), inputs, precision);
        assert_same_on_any_threads(|| packed.forward(&x));
        let all = packed.forward(&x);
        for rows in [1, 3, 4, 7] {
            assert!(packed.forward(&x[..rows * inputs]) == all[..rows * outputs], "{precision:?}: {rows} rows");
        }
    }
}

#[test]
fn a_row_of_zeros_stays_one() {
    let packed = Packed::new(vec![0.0f32; 6], vec![1.0, 2.0], 3, Precision::Int8);
    assert_eq!(packed.forward(&[1.0, 2.0, 3.0]), [1.0, 2.0]);
}

#[test]
fn registers_of_eight_and_of_sixteen_give_the_same_bits() {
    let (inputs, outputs) = (301, 67);
    let x = normals::<f32>("x", 7 * inputs);
    for rows in [1, 7] {
        let x = &x[..rows * inputs];
        let packed = Packed::new(normals("w", outputs * inputs), normals("b", outputs), inputs, Precision::Bf16);
        let Weights::Half(w) = &packed.weights else { unreachable!() };
        let mut found = [(); 4].map(|()| vec![0.0; rows * outputs]);
        packed.product_by::<Bf16, 1, 2, 4, LANES>(x, w, None, &mut found[0]);
        packed.product_by::<Bf16, 1, 2, 2, { 2 * LANES }>(x, w, None, &mut found[1]);
        packed.product_by::<Bf16, 4, 1, 2, LANES>(x, w, None, &mut found[2]);
        packed.product_by::<Bf16, 4, 2, 2, { 2 * LANES }>(x, w, None, &mut found[3]);
        assert!(found.iter().all(|y| *y == packed.forward(x)), "{rows} rows");
    }
}
