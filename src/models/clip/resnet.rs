//! CLIP's other picture tower, the ModifiedResNet of RN50 and its larger siblings: a stem of three convolutions, average
//! pools before every stride (anti-aliasing), batch norms with their running statistics, attention as the last pool.
//!
//! Its sizes are run-time values, read from the file as the published `build_model` does: it is imported and evaluated here,
//! with gradients, but not trained from a preset, and fifty convolutions with typed channels would each be compiled for
//! themselves. So its parameters are flat tensors by their published names, and it has no use for the visitors of `nn`.
//!
//! Legend: B batch, H and W picture sides, C channels, N slots of the pool.

use crate::error::{Error, Result};
use crate::kernels::Real;
use crate::ops::{Activation, Backend, Input};
use dfdx::prelude::{Device, *};
use std::collections::BTreeMap;

/// Batch norms' ε.
const EPSILON: f64 = 1e-5;
/// Channels per head of the attention pool.
const HEAD_DIM: usize = 64;
/// Five halvings: the stem's stride and pool, and the strides of layers 2 to 4.
const STRIDE: usize = 32;

/// The tower's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResNetSizes {
    /// Bottlenecks of each of the four layers.
    pub layers: [usize; 4],
    /// Channels after the stem; four times as many after the first layer, thirty-two times after the last.
    pub width: usize,
    /// Side of the pictures; a multiple of 32.
    pub side: usize,
    /// The shared embedding.
    pub embed: usize,
}

/// A convolution without bias and the batch norm after it.
struct ConvNorm {
    conv: String,
    norm: String,
    inputs: usize,
    outputs: usize,
    kernel: usize,
}

/// One residual block: 1×1, 3×3, pool, 1×1.
struct Bottleneck {
    convs: [ConvNorm; 3],
    /// The way round it where the shape changes.
    downsample: Option<ConvNorm>,
    strided: bool,
}

impl ResNetSizes {
    /// RN50.
    pub const RN50: ResNetSizes = ResNetSizes { layers: [3, 4, 6, 3], width: 64, side: 224, embed: 1024 };

    /// The sizes of a state dict; `shape` gives the shape of a tensor by name.
    ///
    /// # Errors
    /// [`Error::Data`] where it is not that of a ModifiedResNet.
    pub fn of(shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Result<ResNetSizes> {
        let side = |name: &str, axis: usize| {
            shape(name)
                .and_then(|s| s.get(axis).copied())
                .ok_or_else(|| Error::data(name, "expected a ModifiedResNet's"))
        };
        let blocks = |layer: usize| {
            (0..).take_while(|b| shape(&format!("visual.layer{layer}.{b}.conv1.weight")).is_some()).count()
        };
        let slots = side("visual.attnpool.positional_embedding", 0)?.saturating_sub(1);
        Ok(ResNetSizes {
            layers: [1, 2, 3, 4].map(blocks),
            width: side("visual.layer1.0.conv1.weight", 0)?,
            side: slots.isqrt() * STRIDE,
            embed: side("visual.attnpool.c_proj.weight", 0)?,
        })
    }

    /// Channels that enter the attention pool.
    fn channels(&self) -> usize {
        32 * self.width
    }

    fn stem(&self) -> [ConvNorm; 3] {
        let half = self.width / 2;
        [(1, 3, half), (2, half, half), (3, half, self.width)].map(|(i, inputs, outputs)| ConvNorm {
            conv: format!("visual.conv{i}"),
            norm: format!("visual.bn{i}"),
            inputs,
            outputs,
            kernel: 3,
        })
    }

    fn bottlenecks(&self) -> Vec<Bottleneck> {
        let mut inputs = self.width;
        let mut found = Vec::new();
        for (layer, &blocks) in self.layers.iter().enumerate() {
            let (planes, outputs) = (self.width << layer, (4 * self.width) << layer);
            for block in 0..blocks {
                let name = format!("visual.layer{}.{block}", layer + 1);
                let conv = |i: usize, inputs, outputs, kernel| ConvNorm {
                    conv: format!("{name}.conv{i}"),
                    norm: format!("{name}.bn{i}"),
                    inputs,
                    outputs,
                    kernel,
                };
                let strided = layer > 0 && block == 0;
                found.push(Bottleneck {
                    convs: [conv(1, inputs, planes, 1), conv(2, planes, planes, 3), conv(3, planes, outputs, 1)],
                    downsample: (strided || inputs != outputs).then(|| ConvNorm {
                        conv: format!("{name}.downsample.0"),
                        norm: format!("{name}.downsample.1"),
                        inputs,
                        outputs,
                        kernel: 1,
                    }),
                    strided,
                });
                inputs = outputs;
            }
        }
        found
    }

    /// Names and shapes of all that the tower is made of (a state dict also counts batches, which nothing reads).
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut found = Vec::new();
        let mut conv_norm = |part: ConvNorm| {
            let kernel = vec![part.outputs, part.inputs, part.kernel, part.kernel];
            found.push((format!("{}.weight", part.conv), kernel));
            for name in ["weight", "bias", "running_mean", "running_var"] {
                found.push((format!("{}.{name}", part.norm), vec![part.outputs]));
            }
        };
        self.stem().into_iter().for_each(&mut conv_norm);
        for block in self.bottlenecks() {
            block.convs.into_iter().chain(block.downsample).for_each(&mut conv_norm);
        }
        let (channels, grid) = (self.channels(), self.side / STRIDE);
        found.push(("visual.attnpool.positional_embedding".into(), vec![grid * grid + 1, channels]));
        for (name, outputs) in [("k", channels), ("q", channels), ("v", channels), ("c", self.embed)] {
            found.push((format!("visual.attnpool.{name}_proj.weight"), vec![outputs, channels]));
            found.push((format!("visual.attnpool.{name}_proj.bias"), vec![outputs]));
        }
        found
    }
}

type Vector<E, D, T = NoneTape> = Tensor<(usize,), E, D, T>;
type Matrix<E, D, T = NoneTape> = Tensor<(usize, usize), E, D, T>;
/// Per head: (B, heads, rows, columns); or pictures (B, H, W, C).
type Four<E, D, T> = Tensor<(usize, usize, usize, usize), E, D, T>;

/// The tower.
#[derive(Debug, Clone)]
pub struct ResNet<E: Real, D: Backend<E>> {
    sizes: ResNetSizes,
    tensors: BTreeMap<String, Vector<E, D>>,
}

impl<E: Real, D: Backend<E>> ResNet<E, D> {
    /// From what `find(name, shape)` gives for each of [`ResNetSizes::parameters`].
    ///
    /// # Errors
    /// What `find` says, and [`Error::Data`] for sizes that cannot be or another number of values.
    pub fn load(
        sizes: ResNetSizes,
        device: &D,
        mut find: impl FnMut(&str, &[usize]) -> Result<Vec<E>>,
    ) -> Result<Self> {
        let channels = sizes.channels();
        if sizes.side == 0 || !sizes.side.is_multiple_of(STRIDE) || channels == 0 || !channels.is_multiple_of(HEAD_DIM)
        {
            let what =
                format!("expected a side that {STRIDE} divides and channels that {HEAD_DIM} divides, got {sizes:?}");
            return Err(Error::data("visual", what));
        }
        let mut tensors = BTreeMap::new();
        for (name, shape) in sizes.parameters() {
            let values = find(&name, &shape)?;
            let count = shape.iter().product();
            if values.len() != count {
                return Err(Error::data(name, format!("expected {shape:?} values, got {}", values.len())));
            }
            let tensor = device.try_tensor_from_vec(values, (count,)).map_err(|e| Error::Device(e.to_string()))?;
            tensors.insert(name, tensor);
        }
        Ok(ResNet { sizes, tensors })
    }

    /// Its sizes.
    pub fn sizes(&self) -> ResNetSizes {
        self.sizes
    }

    /// The gradient of a parameter; `None` for a name that it does not have.
    pub fn gradient(&self, name: &str, gradients: &Gradients<E, D>) -> Option<Vec<E>> {
        self.tensors.get(name).map(|tensor| gradients.get(tensor).as_vec())
    }

    /// Features of `batch` pictures as the tower gives them, not of unit length: (B, embed). `pixels`: normalised,
    /// (B, side, side, 3).
    pub fn forward<T: Tape<E, D>>(
        &self,
        batch: usize,
        pixels: Vec<E>,
        device: &D,
        tape: T,
    ) -> std::result::Result<Matrix<E, D, T>, D::Err> {
        let side = self.sizes.side;
        let mut x = device.try_tensor_from_vec(pixels, (batch, side, side, 3))?.put_tape(tape);
        for (i, part) in self.sizes.stem().iter().enumerate() {
            x = self.conv_norm(x, part, if i == 0 { Input::Picture } else { Input::Linear })?;
            // A stride of two: every second row and column of the same convolution without.
            x = if i == 0 { every_second(x)? } else { x };
            x = D::activation(x, Activation::Relu)?;
        }
        x = average_pool(x)?;
        for block in self.sizes.bottlenecks() {
            x = self.bottleneck(x, &block)?;
        }
        self.attention_pool(x)
    }

    fn bottleneck<T: Tape<E, D>>(
        &self,
        x: Four<E, D, T>,
        block: &Bottleneck,
    ) -> std::result::Result<Four<E, D, T>, D::Err> {
        let pool = |x| if block.strided { average_pool(x) } else { Ok(x) };
        let [reduce, spatial, expand] = &block.convs;
        // The way round keeps the id of x: both paths accumulate into one gradient.
        let mut round = x.with_empty_tape();
        if let Some(part) = &block.downsample {
            round = self.conv_norm(pool(round)?, part, Input::Linear)?;
        }
        let x = D::activation(self.conv_norm(x, reduce, Input::Linear)?, Activation::Relu)?;
        let x = D::activation(self.conv_norm(x, spatial, Input::Linear)?, Activation::Relu)?;
        let x = self.conv_norm(pool(x)?, expand, Input::Linear)?;
        D::activation(D::add_scaled(x, round, 1.0)?, Activation::Relu)
    }

    /// The batch norm folded into its convolution: w·g ∗ x + (b − g·mean), g = gain/√(variance + ε).
    fn conv_norm<T: Tape<E, D>>(
        &self,
        x: Four<E, D, T>,
        part: &ConvNorm,
        input: Input,
    ) -> std::result::Result<Four<E, D, T>, D::Err> {
        let ConvNorm { conv, norm, inputs, outputs, kernel } = part;
        let named = |name: &str| self.tensors[&format!("{norm}.{name}")].retaped::<T>();
        let rows = (*outputs, inputs * kernel * kernel);
        let deviation = named("running_var").try_add(E::of(EPSILON))?.try_sqrt()?;
        let gain = named("weight").try_div(deviation)?;
        let shift = named("running_mean").try_mul(gain.with_empty_tape())?;
        let (bias, bias_tape) = named("bias").try_sub(shift)?.split_tape();
        let weight = self.tensors[&format!("{conv}.weight")].retaped::<T>().try_reshape_like(&rows)?;
        let weight = weight.try_mul(BroadcastTo::try_broadcast_like::<_, Axis<1>>(gain, &rows)?)?;
        let (weight, weight_tape) = weight.split_tape();
        let (x, tape) = x.split_tape();
        let x = x.put_tape(tape.merge(weight_tape).merge(bias_tape));
        D::conv2d(x, &weight.try_reshape_like(&(*outputs, *inputs, *kernel, *kernel))?, &bias, input)
    }

    /// Attention from the mean of all pixels to it and them. Shapes: (B, H, W, C) → (B, embed).
    fn attention_pool<T: Tape<E, D>>(&self, x: Four<E, D, T>) -> std::result::Result<Matrix<E, D, T>, D::Err> {
        let (batch, height, width, channels) = *x.shape();
        let (slots, heads) = (height * width + 1, channels / HEAD_DIM);
        let x = x.try_reshape_like(&(batch, slots - 1, channels))?;
        let mean =
            x.with_empty_tape().try_mean::<(usize, usize), Axis<1>>()?.try_reshape_like(&(batch, 1usize, channels))?;
        let x = (mean, x).try_concat_along(Axis::<1>)?;
        let position = self.tensors["visual.attnpool.positional_embedding"].retaped::<T>();
        let position = position.try_reshape_like(&(slots, channels))?;
        let shape = (batch, slots, channels);
        let x =
            x.try_reshape_like(&shape)?.try_add(BroadcastTo::try_broadcast_like::<_, Axis<0>>(position, &shape)?)?;
        let first: Vec<u32> = (0..batch).map(|b| (b * slots) as u32).collect();
        let query = D::gather_rows(x.with_empty_tape(), &first, (batch, channels))?;
        let query = self.linear(query, "q")?.try_mul(E::of((HEAD_DIM as f64).powf(-0.5)))?;
        let query = query.try_reshape_like(&(batch, heads, 1usize, HEAD_DIM))?;
        let x = x.try_reshape_like(&(batch * slots, channels))?;
        let by_head = (batch, slots, heads, HEAD_DIM);
        let keys = self.linear(x.with_empty_tape(), "k")?.try_reshape_like(&by_head)?;
        let keys = keys.try_permute::<(usize, usize, usize, usize), Axes4<0, 2, 3, 1>>()?; // (B, heads, dim, N)
        let values = self.linear(x, "v")?.try_reshape_like(&by_head)?;
        let values = values.try_permute::<(usize, usize, usize, usize), Axes4<0, 2, 1, 3>>()?; // (B, heads, N, dim)
        let pooled = query.try_matmul(keys)?.try_softmax::<Axis<3>>()?.try_matmul(values)?;
        self.linear(pooled.try_reshape_like(&(batch, channels))?, "c")
    }

    /// x·weightᵀ + bias with the pool's projection `name`.
    fn linear<T: Tape<E, D>>(&self, x: Matrix<E, D, T>, name: &str) -> std::result::Result<Matrix<E, D, T>, D::Err> {
        let named = |kind: &str| self.tensors[&format!("visual.attnpool.{name}_proj.{kind}")].retaped::<T>();
        let (rows, inputs) = *x.shape();
        let bias = named("bias");
        let outputs = bias.shape().0;
        let weight = named("weight").try_reshape_like(&(outputs, inputs))?;
        let y = x.try_matmul(weight.try_permute::<(usize, usize), Axes2<1, 0>>()?)?;
        y.try_add(BroadcastTo::try_broadcast_like::<_, Axis<0>>(bias, &(rows, outputs))?)
    }
}

/// The mean of each 2×2 pixels.
fn average_pool<E: Real, D: Device<E>, T: Tape<E, D>>(x: Four<E, D, T>) -> std::result::Result<Four<E, D, T>, D::Err> {
    let (b, h, w, c) = *x.shape();
    x.try_reshape_like(&(b, h / 2, 2usize, w / 2, 2usize, c))?.try_mean::<(usize, usize, usize, usize), Axes2<2, 4>>()
}

/// The pixels whose row and column are even.
fn every_second<E: Real, D: Backend<E>, T: Tape<E, D>>(x: Four<E, D, T>) -> std::result::Result<Four<E, D, T>, D::Err> {
    let (b, h, w, c) = *x.shape();
    let mut kept = Vec::with_capacity(b * h * w / 4);
    for row in (0..b * h).step_by(2) {
        kept.extend((0..w).step_by(2).map(|column| (row * w + column) as u32));
    }
    D::gather_rows(x, &kept, (b, h / 2, w / 2, c))
}
