//! The sizes of a CLIP with a vision transformer as run-time values: what a file says, to be compared with what a type says.

use crate::error::{Error, Result};
use crate::shape::{BlockShape, ClipShape, Gelu};
use dfdx::shapes::ConstDim;

/// The sizes of both towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClipSizes {
    /// The picture tower's.
    pub vision: Tower,
    /// The text tower's.
    pub text: Tower,
    /// Side of the pictures.
    pub side: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Text slots.
    pub context: usize,
    /// Text tokens.
    pub vocab: usize,
    /// The shared embedding.
    pub embed: usize,
    /// x·σ(1.702x), not the exact GELU.
    pub quick_gelu: bool,
}

/// One tower's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tower {
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the MLP.
    pub mlp: usize,
    /// Layers.
    pub depth: usize,
}

impl Tower {
    /// That of `depth` blocks of a type.
    pub fn of<B: BlockShape>(depth: usize) -> Tower {
        Tower { width: B::Dim::SIZE, heads: B::Heads::SIZE, mlp: B::Mlp::SIZE, depth }
    }
}

impl ClipSizes {
    /// Those of a type.
    pub fn of<S: ClipShape>() -> ClipSizes {
        ClipSizes {
            vision: Tower::of::<S::Vision>(S::VISION_DEPTH),
            text: Tower::of::<S::Language>(S::LANGUAGE_DEPTH),
            side: S::SIDE,
            patch: S::Patch::SIZE,
            context: S::Context::SIZE,
            vocab: S::Vocab::SIZE,
            embed: S::Embed::SIZE,
            quick_gelu: S::Gelu::QUICK,
        }
    }

    /// Those of OpenAI's state dict, as the published `build_model` reads them; `shape` gives the shape of a tensor by name.
    ///
    /// # Errors
    /// [`Error::Data`] where it is not that of a CLIP with a vision transformer.
    pub fn read(shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Result<ClipSizes> {
        let side = |name: &str, axis: usize| {
            let what = "expected the state dict of a CLIP with a vision transformer";
            shape(name).and_then(|s| s.get(axis).copied()).ok_or_else(|| Error::data(name, what))
        };
        let tower = |prefix: &str| -> Result<Tower> {
            let block = |i: usize, name: &str| format!("{prefix}transformer.resblocks.{i}.{name}");
            let width = side(&block(0, "ln_1.weight"), 0)?;
            let depth = (0..).take_while(|&i| shape(&block(i, "ln_1.weight")).is_some()).count();
            Ok(Tower { width, heads: width / 64, mlp: side(&block(0, "mlp.c_fc.weight"), 0)?, depth })
        };
        let patch = side("visual.conv1.weight", 3)?;
        Ok(ClipSizes {
            vision: tower("visual.")?,
            text: tower("")?,
            side: side("visual.positional_embedding", 0)?.saturating_sub(1).isqrt().saturating_mul(patch),
            patch,
            context: side("positional_embedding", 0)?,
            vocab: side("token_embedding.weight", 0)?,
            embed: side("text_projection", 1)?,
            quick_gelu: true,
        })
    }
}
