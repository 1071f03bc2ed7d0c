//! Same-padded, stride-1 convolution of NHWC pictures with the published checkpoints' weight layout.

use super::products::{rounds, single as of, single_mut as of_mut};
use super::tape::{erase, slot, typed};
use crate::kernels::cpu::conv::{self, Conv, rounded};
use crate::kernels::{Real, Values};
use dfdx::prelude::{Device, *};
use dfdx::tensor::CpuError;

/// Convolutions. Shapes: x (B, H, W, I), w (O, I, K, K), b (O,), y (B, H, W, O). K odd.
pub trait ConvOp<E: Real>: Device<E> {
    /// w ∗ x + b, or w ∗ max(x, 0) + b where `input` says so.
    fn conv2d<B: Dim, H: Dim, W: Dim, I: Dim, O: Dim, K: Dim, T: Tape<E, Self>>(
        x: Tensor<(B, H, W, I), E, Self, T>,
        w: &Tensor<(O, I, K, K), E, Self>,
        b: &Tensor<(O,), E, Self>,
        input: Input,
    ) -> Result<Tensor<(B, H, W, O), E, Self, T>, Self::Err> {
        composed(x, w, b, input)
    }
}

/// What is convolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Data: x as it is, and no gradient for it.
    Picture,
    /// x as it is.
    Linear,
    /// max(x, 0): the ReLU before every convolution of a residual block, without its copy.
    Relu,
}

/// The composition of dfdx operations that [`ConvOp::conv2d`] equals: gather the neighbours of each pixel, then multiply.
pub fn composed<B: Dim, H: Dim, W: Dim, I: Dim, O: Dim, K: Dim, E: Real, D: Device<E>, T: Tape<E, D>>(
    x: Tensor<(B, H, W, I), E, D, T>,
    w: &Tensor<(O, I, K, K), E, D>,
    b: &Tensor<(O,), E, D>,
    input: Input,
) -> Result<Tensor<(B, H, W, O), E, D, T>, D::Err> {
    let device = x.device().clone();
    let ((batch, height, width, i), (o, _, k, _)) = (*x.shape(), *w.shape());
    let (images, h, w_side, inputs, kernel) = (batch.size(), height.size(), width.size(), i.size(), k.size());
    let (pixels, area) = (h * w_side, kernel * kernel);
    let x = if input == Input::Relu { x.try_relu()? } else { x };
    let border = device.try_zeros_like(&(images, 1usize, inputs))?;
    let x = x.try_reshape_like(&(images, pixels, inputs))?;
    let padded = (x, border).try_concat_along(Axis::<1>)?;
    let neighbours = device.try_tensor_from_vec(taps(h, w_side, kernel).repeat(images), (images, pixels * area))?;
    let columns = padded.try_gather(neighbours)?.try_reshape_like(&(images * pixels, area * inputs))?;
    let weight = w
        .retaped::<T>()
        .try_permute::<(K, K, I, O), Axes4<2, 3, 1, 0>>()?
        .try_reshape_like(&(area * inputs, o.size()))?;
    let bias = b.retaped::<T>().try_reshape_like(&(o.size(),))?;
    let bias = BroadcastTo::try_broadcast_like::<_, Axis<0>>(bias, &(images * pixels, o.size()))?;
    let y = columns.try_matmul(weight)?.try_add(bias)?;
    y.try_reshape_like(&(batch, height, width, o))
}

/// For each pixel, the indices of its K² neighbours; those outside the picture are `height · width`, the row of zeros.
fn taps(height: usize, width: usize, kernel: usize) -> Vec<usize> {
    let (h, w, radius) = (height as isize, width as isize, (kernel / 2) as isize);
    let mut taps = Vec::with_capacity(height * width * kernel * kernel);
    for y in 0..h {
        for x in 0..w {
            for dy in -radius..=radius {
                for dx in -radius..=radius {
                    let inside = (0..h).contains(&(y + dy)) && (0..w).contains(&(x + dx));
                    taps.push(if inside { ((y + dy) * w + x + dx) as usize } else { height * width });
                }
            }
        }
    }
    taps
}

impl<E: Real> ConvOp<E> for Cpu
where
    Cpu: Device<E>,
{
    fn conv2d<B: Dim, H: Dim, W: Dim, I: Dim, O: Dim, K: Dim, T: Tape<E, Self>>(
        x: Tensor<(B, H, W, I), E, Self, T>,
        w: &Tensor<(O, I, K, K), E, Self>,
        b: &Tensor<(O,), E, Self>,
        input: Input,
    ) -> Result<Tensor<(B, H, W, O), E, Self, T>, Self::Err> {
        Ok(typed(on_cpu(erase(x), erase(w.clone()), erase(b.clone()), input)?))
    }
}

fn on_cpu<E: Real, T: Tape<E, Cpu>>(
    x: Tensor<[usize; 4], E, Cpu, T>,
    w: Tensor<[usize; 4], E, Cpu>,
    b: Tensor<[usize; 1], E, Cpu>,
    input: Input,
) -> Result<Tensor<[usize; 4], E, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let device = x.device().clone();
    let ([batch, height, width, inputs], [outputs, _, kernel, _]) = (*x.shape(), *w.shape());
    let sizes = Conv { batch, height, width, inputs, outputs, kernel, relu: input == Input::Relu };
    let shape = [batch, height, width, outputs];
    let (xs, ws, bs) = (Values::of(&x), Values::of(&w), Values::of(&b));
    let mut ys = vec![E::zero(); shape.num_elements()];
    let rounds = rounds::<E>();
    if rounds {
        rounded::forward(sizes, of(&xs), of(&ws), of(&bs), of_mut(&mut ys));
    } else {
        conv::forward(sizes, &xs, &ws, &bs, &mut ys);
    }
    let y = device.try_tensor_from_vec(ys, shape)?;
    let (x_slot, w_slot, b_slot, y_slot) = (slot(&x), slot(&w), slot(&b), slot(&y));
    tape.add_backward_op(move |grads| {
        let dy = y_slot.take(grads)?;
        let (mut dw, mut db) = (vec![E::zero(); ws.len()], vec![E::zero(); outputs]);
        let mut backward = |dx: Option<&mut [E]>| {
            if rounds {
                let (dw, db) = (of_mut(&mut dw), of_mut(&mut db));
                rounded::backward(sizes, of(&dy), of(&xs), of(&ws), dx.map(of_mut), dw, db);
            } else {
                conv::backward(sizes, &dy, &xs, &ws, dx, &mut dw, &mut db);
            }
        };
        match input {
            Input::Picture => backward(None),
            Input::Linear | Input::Relu => x_slot.accumulate(grads, |dx| backward(Some(dx)))?,
        }
        w_slot.accumulate(grads, |total| total.iter_mut().zip(&dw).for_each(|(t, &d)| *t += d))?;
        b_slot.accumulate(grads, |total| total.iter_mut().zip(&db).for_each(|(t, &d)| *t += d))
    });
    Ok(y.put_tape(tape))
}
