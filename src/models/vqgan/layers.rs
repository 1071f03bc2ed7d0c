//! The blocks of both halves: group norm and swish before each convolution, and attention over all pixels of a map.

use crate::Result;
use crate::kernels::cpu::attention::{self, Attention as Sizes, BLOCK};
use crate::kernels::cpu::group_norm;
use crate::mask::Tiles;
use crate::models::feature_map::{Conv, FeatureMap, Find, take};
use crate::ops::Activation;

/// Groups of a norm.
const GROUPS: usize = 32;
/// ε of a norm.
const EPSILON: f64 = 1e-6;

/// Group normalisation. Parameters: weight (C,), bias (C,).
#[derive(Debug, Clone)]
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    pub fn load(find: &mut Find<'_>, name: &str, channels: usize) -> Result<Self> {
        let mut get = |part: &str| take(find, &format!("{name}.{part}"), &[channels]);
        Ok(Norm { weight: get("weight")?, bias: get("bias")? })
    }

    pub fn forward(&self, x: &FeatureMap) -> FeatureMap {
        let mut values = vec![0.0; x.values.len()];
        let affine = (&self.weight[..], &self.bias[..]);
        group_norm::forward(&x.values, x.height * x.width, GROUPS, affine, EPSILON, &mut values);
        FeatureMap { values, ..*x }
    }

    /// swish(norm(x))
    pub fn swish(&self, x: &FeatureMap) -> FeatureMap {
        self.forward(x).activated(Activation::Silu)
    }
}

/// x + conv2(swish(norm2(conv1(swish(norm1(x)))))), with a 1×1 convolution of x where the channels change.
#[derive(Debug, Clone)]
pub(super) struct Residual {
    norm1: Norm,
    conv1: Conv,
    norm2: Norm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl Residual {
    pub fn load(find: &mut Find<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Residual {
            norm1: Norm::load(find, &format!("{name}.norm1"), inputs)?,
            conv1: Conv::load(find, &format!("{name}.conv1"), [inputs, outputs, 3])?,
            norm2: Norm::load(find, &format!("{name}.norm2"), outputs)?,
            conv2: Conv::load(find, &format!("{name}.conv2"), [outputs, outputs, 3])?,
            shortcut: match inputs == outputs {
                true => None,
                false => Some(Conv::load(find, &format!("{name}.nin_shortcut"), [inputs, outputs, 1])?),
            },
        })
    }

    pub fn forward(&self, x: &FeatureMap) -> FeatureMap {
        let y = self.conv1.same(&self.norm1.swish(x), false);
        let y = self.conv2.same(&self.norm2.swish(&y), false);
        match &self.shortcut {
            Some(shortcut) => y.plus(&shortcut.same(x, false)),
            None => y.plus(x),
        }
    }
}

/// x + proj_out(softmax(q·kᵀ/√C)·v) over the pixels of each map, one head.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    norm: Norm,
    q: Conv,
    k: Conv,
    v: Conv,
    out: Conv,
}

impl Attention {
    pub fn load(find: &mut Find<'_>, name: &str, channels: usize) -> Result<Self> {
        let norm = Norm::load(find, &format!("{name}.norm"), channels)?;
        let mut conv = |part: &str| Conv::load(find, &format!("{name}.{part}"), [channels, channels, 1]);
        Ok(Attention { norm, q: conv("q")?, k: conv("k")?, v: conv("v")?, out: conv("proj_out")? })
    }

    pub fn forward(&self, x: &FeatureMap) -> FeatureMap {
        let pixels = x.height * x.width;
        let y = self.norm.forward(x);
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|conv| conv.same(&y, false).values);
        let rows = q.chunks(x.channels).zip(k.chunks(x.channels)).zip(v.chunks(x.channels));
        let qkv: Vec<f32> = rows.flat_map(|((q, k), v)| [q, k, v].concat()).collect();
        let sizes = Sizes { batch: x.batch, heads: 1, positions: pixels, dim: x.channels };
        let (mut mixed, mut lse) = (vec![0.0; q.len()], vec![0.0; x.batch * pixels]);
        attention::forward(sizes, &qkv, &Tiles::full(pixels, BLOCK), &mut mixed, &mut lse);
        self.out.same(&FeatureMap { values: mixed, ..*x }, false).plus(x)
    }
}

/// A residual block, and attention after it at some resolutions.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    block: Residual,
    attention: Option<Attention>,
}

impl Stage {
    /// Block and attention number `index` of the level `name`.
    pub fn load(
        find: &mut Find<'_>,
        name: &str,
        index: usize,
        (inputs, outputs): (usize, usize),
        attends: bool,
    ) -> Result<Self> {
        let block = Residual::load(find, &format!("{name}.block.{index}"), inputs, outputs)?;
        let attention = match attends {
            true => Some(Attention::load(find, &format!("{name}.attn.{index}"), outputs)?),
            false => None,
        };
        Ok(Stage { block, attention })
    }

    pub fn forward(&self, x: &FeatureMap) -> FeatureMap {
        let y = self.block.forward(x);
        match &self.attention {
            Some(attention) => attention.forward(&y),
            None => y,
        }
    }
}

/// Block, attention, block at the grid's resolution.
#[derive(Debug, Clone)]
pub(super) struct Middle {
    block_1: Residual,
    attn_1: Attention,
    block_2: Residual,
}

impl Middle {
    pub fn load(find: &mut Find<'_>, name: &str, channels: usize) -> Result<Self> {
        Ok(Middle {
            block_1: Residual::load(find, &format!("{name}.block_1"), channels, channels)?,
            attn_1: Attention::load(find, &format!("{name}.attn_1"), channels)?,
            block_2: Residual::load(find, &format!("{name}.block_2"), channels, channels)?,
        })
    }

    pub fn forward(&self, x: &FeatureMap) -> FeatureMap {
        self.block_2.forward(&self.attn_1.forward(&self.block_1.forward(x)))
    }
}
