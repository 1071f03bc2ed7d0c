//! The same maps with both factors of every product rounded to bf16 ([`bf16`](crate::kernels::cpu::bf16)). x is kept rounded for the
//! gradient of w; w is packed anew in each call, which an update would ask for anyway.

use super::{check, reduce};
use crate::kernels::cpu::activation::{self, Activation};
use crate::kernels::cpu::bf16::{Rows, Tiles, Unit, multiply, multiply_then};

/// y = x·wᵀ + b
pub fn forward(x: &Rows, w: &[f32], b: Option<&[f32]>, (inputs, outputs): (usize, usize), y: &mut [f32]) {
    let w = weights("linear::rounded::forward", x, w, b, (inputs, outputs), y);
    multiply_then(Unit::best(), y, &mut [], x, &w, |y, _, first| {
        if let Some(b) = b {
            reduce::add(y, &b[first..]);
        }
    });
}

/// z = x·wᵀ + b and y = f(z), of each piece of z as soon as it is there.
pub fn forward_activated(
    x: &Rows,
    w: &[f32],
    b: Option<&[f32]>,
    (inputs, outputs): (usize, usize),
    f: Activation,
    (z, y): (&mut [f32], &mut [f32]),
) {
    let w = weights("linear::rounded::forward_activated", x, w, b, (inputs, outputs), z);
    multiply_then(Unit::best(), z, y, x, &w, |z, y, first| {
        if let Some(b) = b {
            reduce::add(z, &b[first..]);
        }
        activation::forward_seq(f, z, y);
    });
}

fn weights(
    kernel: &str,
    x: &Rows,
    w: &[f32],
    b: Option<&[f32]>,
    (inputs, outputs): (usize, usize),
    y: &[f32],
) -> Tiles {
    assert_eq!(x.cols(), inputs, "{kernel}: columns of x");
    check(kernel, x.rows() * inputs, w, b, (inputs, outputs), y);
    Tiles::transposed(w, inputs)
}

/// dx += dy·w
pub fn backward_input(dy: &Rows, w: &[f32], (inputs, outputs): (usize, usize), dx: &mut [f32]) {
    assert_eq!(dy.cols(), outputs, "linear::rounded::backward_input: columns of dy");
    multiply(Unit::best(), dx, dy, &Tiles::of(w, inputs), true);
}

/// dw += dyᵀ·x
pub fn backward_weight(dy: &[f32], x: &Rows, (inputs, outputs): (usize, usize), dw: &mut [f32]) {
    assert_eq!(x.cols(), inputs, "linear::rounded::backward_weight: columns of x");
    multiply(Unit::best(), dw, &Rows::transposed(dy, outputs), &x.tiles(), true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::bf16::Bf16;
    use crate::kernels::cpu::linear;
    use crate::kernels::cpu::testing::{assert_close, normals};

    fn rounded(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| Bf16::round(x).widen().into()).collect()
    }

    #[test]
    fn all_of_it_equals_the_maps_of_rounded_factors() {
        let (rows, inputs, outputs) = (70, 45, 33);
        let sides = (inputs, outputs);
        let (x, dy) = (normals::<f32>("x", rows * inputs), normals::<f32>("dy", rows * outputs));
        let (w, b) = (normals::<f32>("w", outputs * inputs), normals::<f32>("b", outputs));
        let (x16, dy16, w16) = (rounded(&x), rounded(&dy), rounded(&w));
        let wide = |x: &[f32]| x.iter().map(|&x| x.into()).collect::<Vec<f64>>();
        let kept = Rows::of(&x, inputs);
        for b in [Some(&b[..]), None] {
            let (mut y, mut expected) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
            forward(&kept, &w, b, sides, &mut y);
            linear::forward(&x16, &w16, b.map(wide).as_deref(), sides, &mut expected);
            assert_close(&wide(&y), &expected, 1e-5);
            let (mut z, mut of_z) = (vec![0.0; y.len()], vec![0.0; y.len()]);
            forward_activated(&kept, &w, b, sides, Activation::QuickGelu, (&mut z, &mut of_z));
            assert_eq!(z, y);
            activation::forward(Activation::QuickGelu, &z, &mut y);
            assert_eq!(of_z, y);
        }
        let (mut dx, mut dw) = (normals::<f32>("dx", x.len()), normals::<f32>("dw", w.len()));
        let (mut dx_expected, mut dw_expected) = (wide(&dx), wide(&dw));
        backward_input(&Rows::of(&dy, outputs), &w, sides, &mut dx);
        linear::backward_input(&dy16, &w16, sides, &mut dx_expected);
        assert_close(&wide(&dx), &dx_expected, 1e-5);
        backward_weight(&dy, &kept, sides, &mut dw);
        linear::backward_weight(&dy16, &x16, sides, &mut dw_expected);
        assert_close(&wide(&dw), &dw_expected, 1e-5);
    }

    #[test]
    #[should_panic(expected = "columns of x")]
    fn other_inputs_are_refused() {
        forward(&Rows::of(&[0.0; 4], 4), &[0.0; 6], None, (3, 2), &mut [0.0; 2]);
    }
}
