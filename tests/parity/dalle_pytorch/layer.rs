//! One layer: attention and a gated feed-forward, each scaled before it is added to the stream.
//!
//! Legend: B batch, N slots, C channels.

use super::model::IMPORTED;
use super::shape::DallePytorchShape;
use dalle::kernels::Real;
use dalle::nn::{Init, LayerNorm, Linear, Role};
use dalle::ops::{ABSENT, Activation, Backend, Mask};
use dalle::shape::BlockShape;
use dfdx::prelude::*;

type Heads<S> = <<S as DallePytorchShape>::Attention as BlockShape>::Dim;
type Qkv<S> = <<S as DallePytorchShape>::Attention as BlockShape>::Qkv;
/// (B, N, C)
pub type Stream<S, E, D, T> = Tensor<(usize, usize, <S as DallePytorchShape>::Width), E, D, T>;
type Scale<S, E, D> = Tensor<(Const<1>, Const<1>, <S as DallePytorchShape>::Width), E, D>;

/// What all layers share beside their masks.
pub struct Wiring<E> {
    /// For each slot, where its first two quarters of channels come from; none without a shift.
    pub sources: Option<Vec<[Option<usize>; 2]>>,
    /// (N, Rotated) in radians; none without rotations.
    pub angles: Option<Vec<E>>,
}

/// The path of a part of attention's branch: the shift wraps what it stands before, for attention's cache twice.
fn attention<S: DallePytorchShape>(part: &str) -> String {
    format!("{}.{part}", if S::SHIFT { "0.fn.fn.fn.fn.fn" } else { "0.fn.fn.fn" })
}

/// The path of a part of the feed-forward's branch.
fn feed<S: DallePytorchShape>(part: &str) -> String {
    format!("{}.{part}", if S::SHIFT { "1.fn.fn.fn.fn" } else { "1.fn.fn" })
}

dalle::module! {
    /// x + scale·attention(norm(x)), then x + scale·feed-forward(norm(x)).
    pub struct Layer<S: DallePytorchShape> {
        attention_scale: Scale<S, E, D> = "0.scale", (Role::Gain, Init::Constant(1.0));
        attention_norm: LayerNorm<S::Width, E, D> = "0.fn.norm";
        to_qkv: Tensor<(Qkv<S>, S::Width), E, D> = attention::<S>("to_qkv.weight"), (Role::Matrix, IMPORTED);
        to_out: Linear<Heads<S>, S::Width, E, D> = attention::<S>("to_out.0"), IMPORTED;
        feed_scale: Scale<S, E, D> = "1.scale", (Role::Gain, Init::Constant(1.0));
        feed_norm: LayerNorm<S::Width, E, D> = "1.fn.norm";
        up: Linear<S::Width, S::Gated, E, D> = feed::<S>("net.0"), IMPORTED;
        down: Linear<S::Feed, S::Width, E, D> = feed::<S>("net.3"), IMPORTED;
        /// Of both branches' results, in a sandwich; else none.
        after: Vec<LayerNorm<S::Width, E, D>> =>
            ["0.fn.norm_out", "1.fn.norm_out"].into_iter().filter(|_| S::SANDWICH);
    }
}

impl<S: DallePytorchShape, E: Real, D: Backend<E>> Layer<S, E, D> {
    /// (B, N, C) → (B, N, C)
    pub fn forward<T: Tape<E, D>>(
        &self,
        x: Stream<S, E, D, T>,
        mask: &Mask,
        wiring: &Wiring<E>,
    ) -> Result<Stream<S, E, D, T>, D::Err> {
        let skip = x.with_empty_tape();
        let seen = shifted::<S, E, D, T>(self.attention_norm.forward(x)?, wiring)?;
        let qkv = D::linear(seen, &self.to_qkv, None, None)?;
        let mixed = D::attention::<S::Attention, usize, usize, T>(rotated::<S, E, D, T>(qkv, wiring)?, mask)?;
        let y = self.after(0, self.to_out.forward(mixed)?)?;
        let x = add::<S, E, D, T>(skip, y, &self.attention_scale)?;

        let skip = x.with_empty_tape();
        let seen = shifted::<S, E, D, T>(self.feed_norm.forward(x)?, wiring)?;
        let y = self.after(1, self.down.forward(gated::<S, E, D, T>(self.up.forward(seen)?)?)?)?;
        add::<S, E, D, T>(skip, y, &self.feed_scale)
    }

    /// The norm of a branch's result, where there is one.
    fn after<T: Tape<E, D>>(&self, branch: usize, y: Stream<S, E, D, T>) -> Result<Stream<S, E, D, T>, D::Err> {
        match self.after.get(branch) {
            Some(norm) => norm.forward(y),
            None => Ok(y),
        }
    }
}

/// x + scale·y, channel by channel.
fn add<S: DallePytorchShape, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Stream<S, E, D, T>,
    y: Stream<S, E, D, T>,
    scale: &Scale<S, E, D>,
) -> Result<Stream<S, E, D, T>, D::Err> {
    let shape = *y.shape();
    let scale = scale.retaped::<T>().try_reshape_like(&(S::Width::default(),))?;
    let scale = BroadcastTo::try_broadcast_like::<_, Axes2<0, 1>>(scale, &shape)?;
    D::add_scaled(x, y.try_mul(scale)?, 1.0)
}

/// a·gelu(b) of the two halves of the channels.
fn gated<S: DallePytorchShape, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, S::Gated), E, D, T>,
) -> Result<Tensor<(usize, usize, S::Feed), E, D, T>, D::Err> {
    let (batch, slots, _) = *x.shape();
    let (half, whole) = (S::Feed::SIZE, S::Gated::SIZE);
    let gate = x.with_empty_tape().try_slice((0..batch, 0..slots, half..whole))?;
    let x = x.try_slice((0..batch, 0..slots, 0..half))?;
    let y = x.try_mul(D::activation(gate, Activation::ErfGelu)?)?;
    y.try_reshape_like(&(batch, slots, S::Feed::default()))
}

/// The token shift: the first half of a text slot's channels is its predecessor's; the first quarter of an image slot's is
/// that of the slot above, the second that of the slot to the left. Zeros where there is none.
fn shifted<S: DallePytorchShape, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Stream<S, E, D, T>,
    wiring: &Wiring<E>,
) -> Result<Stream<S, E, D, T>, D::Err> {
    let Some(sources) = &wiring.sources else { return Ok(x) };
    let shape = *x.shape();
    let (batch, slots, _) = shape;
    let (device, width) = (x.device().clone(), S::Width::SIZE);
    let ids = |quarter: usize| -> Vec<u32> {
        let at =
            |b: usize| sources.iter().map(move |from| from[quarter].map_or(ABSENT, |slot| (b * slots + slot) as u32));
        (0..batch).flat_map(at).collect()
    };
    // One or zero for each channel: which of the three sums it is in.
    let of = |quarters: std::ops::Range<usize>| {
        let share = |channel: usize| E::of(f64::from(u8::from(quarters.contains(&(channel * 4 / width)))));
        device.try_tensor_from_vec((0..batch * slots * width).map(|at| share(at % width)).collect(), shape)
    };
    let above = D::gather_rows(x.with_empty_tape(), &ids(0), shape)?.try_mul(of(0..1)?)?;
    let left = D::gather_rows(x.with_empty_tape(), &ids(1), shape)?.try_mul(of(1..2)?)?;
    x.try_mul(of(2..4)?)?.try_add(above)?.try_add(left)
}

/// Rotates the first channels of each head of queries, keys **and values** by the slot's angles, in neighbouring pairs.
fn rotated<S: DallePytorchShape, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<(usize, usize, Qkv<S>), E, D, T>,
    wiring: &Wiring<E>,
) -> Result<Tensor<(usize, usize, Qkv<S>), E, D, T>, D::Err> {
    let Some(angles) = &wiring.angles else { return Ok(x) };
    let shape = *x.shape();
    let (slots, width) = (shape.1, Qkv::<S>::SIZE);
    let (head, rotated) = (<S::Attention as BlockShape>::HeadDim::SIZE, S::Rotated::SIZE);
    let device = x.device().clone();
    let count = shape.0 * slots * width;
    // The channel within its head, where that is rotated.
    let turned = |at: usize| Some(at % width % head).filter(|&channel| channel < rotated);
    let angle = |at: usize, channel: usize| angles[at / width % slots * rotated + channel].as_f64();
    let constant =
        |of: &dyn Fn(usize) -> f64| device.try_tensor_from_vec((0..count).map(|at| E::of(of(at))).collect(), shape);
    let cosine = constant(&|at| turned(at).map_or(1.0, |channel| angle(at, channel).cos()))?;
    // (a, b) → (a·cos − b·sin, b·cos + a·sin)
    let sign = |channel: usize| if channel.is_multiple_of(2) { -1.0 } else { 1.0 };
    let sine = constant(&|at| turned(at).map_or(0.0, |channel| sign(channel) * angle(at, channel).sin()))?;
    let partner = |at: usize| match turned(at) {
        Some(channel) if channel.is_multiple_of(2) => at + 1,
        Some(_) => at - 1,
        None => at,
    };
    let partners: Vec<u32> = (0..count).map(|at| partner(at) as u32).collect();
    let flat = x.with_empty_tape().try_reshape_like(&(count, 1usize))?;
    let partner = D::gather_rows(flat, &partners, (count, 1usize))?.try_reshape_like(&shape)?;
    x.try_mul(cosine)?.try_add(partner.try_mul(sine)?)
}
