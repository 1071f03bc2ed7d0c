//! CLIP's picture tower as a vision transformer: patches, a class slot before them, blocks that see everything; the feature is
//! read at the class slot.

use super::{Features, Names, block_init, project};
use crate::kernels::Real;
use crate::nn::{Block, Init, LayerNorm, Role};
use crate::ops::{ABSENT, Backend, Mask};
use crate::shape::{BlockShape, ClipShape};
use dfdx::prelude::*;

type Dim<S> = <<S as ClipShape>::Vision as BlockShape>::Dim;
/// The published kernel of the patches' convolution, which is a linear map of each patch.
type Kernel<S> = (Dim<S>, Const<3>, <S as ClipShape>::Patch, <S as ClipShape>::Patch);

/// The standard deviation of whatever adds to the stream: 1/√Dim.
fn std<S: ClipShape>() -> Init {
    Init::Normal((Dim::<S>::SIZE as f64).powf(-0.5))
}

crate::module! {
    /// The picture tower: a vision transformer.
    pub struct Vision<S: ClipShape> {
        patches: Tensor<Kernel<S>, E, D> =
            "conv1.weight", (Role::Matrix, Init::Normal((S::PatchValues::SIZE as f64).powf(-0.5)));
        class: Tensor<(Dim<S>,), E, D> = "class_embedding", (Role::Embedding, std::<S>());
        position: Tensor<(S::VisionSeq, Dim<S>), E, D> = "positional_embedding", (Role::Embedding, std::<S>());
        ln_pre: LayerNorm<Dim<S>, E, D> = "ln_pre";
        blocks: Vec<Block<S::Vision, Names<S::Gelu>, E, D>> =>
            (0..S::VISION_DEPTH).map(|i| format!("transformer.resblocks.{i}")),
            block_init(Dim::<S>::SIZE, S::VISION_DEPTH);
        ln_post: LayerNorm<Dim<S>, E, D> = "ln_post";
        projection: Tensor<(Dim<S>, S::Embed), E, D> = "proj", (Role::Matrix, std::<S>());
    }
}

impl<S: ClipShape, E: Real, D: Backend<E>> Vision<S, E, D> {
    /// Features of `batch` pictures as the tower gives them, not of unit length: (B, Embed). `pixels`: normalised,
    /// (B, side, side, 3).
    pub fn forward<T: Tape<E, D>>(
        &self,
        batch: usize,
        pixels: &[E],
        device: &D,
        tape: T,
    ) -> Result<Features<S, E, D, T>, D::Err> {
        let (slots, width) = (S::VisionSeq::default(), Dim::<S>::default());
        let (per_picture, shape) = (S::VisionSeq::SIZE - 1, (batch, slots, width));
        let each = |id: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
            (0..batch).flat_map(|b| (0..S::VisionSeq::SIZE).map(move |slot| id(b, slot))).collect()
        };
        let patches = patches(pixels, S::SIDE, S::Patch::SIZE);
        let patches = device.try_tensor_from_vec(patches, (batch * per_picture, S::PatchValues::default()))?;
        // Reshaping keeps the kernel's id, and so its gradient.
        let kernel = self.patches.clone().try_reshape_like(&(width, S::PatchValues::default()))?;
        let x = D::linear(patches.put_tape(tape), &kernel, None, None)?;
        let after_class = each(&|b, slot| if slot == 0 { ABSENT } else { (b * per_picture + slot - 1) as u32 });
        let x = D::gather_rows(x, &after_class, shape)?;
        let class = self.class.retaped::<T>().try_reshape_like(&(1usize, width))?;
        let class = D::gather_rows(class, &each(&|_, slot| if slot == 0 { 0 } else { ABSENT }), shape)?;
        let x = D::add_scaled(x, class, 1.0)?;
        let position = D::gather_rows(self.position.retaped::<T>(), &each(&|_, slot| slot as u32), shape)?;
        let mut x = self.ln_pre.forward(D::add_scaled(x, position, 1.0)?)?;
        for block in &self.blocks {
            x = block.forward(x, &Mask::Full)?;
        }
        let class_slots: Vec<u32> = (0..batch).map(|b| (b * S::VisionSeq::SIZE) as u32).collect();
        let x = self.ln_post.forward(D::gather_rows(x, &class_slots, (batch, width))?)?;
        project::<_, S, E, D, T>(x, &self.projection)
    }
}

/// Pictures (B, side, side, 3) as patches: B·P rows, each channel by channel (as the published convolution reads them).
fn patches<E: Real>(pixels: &[E], side: usize, patch: usize) -> Vec<E> {
    let per_side = side / patch;
    let mut out = Vec::with_capacity(pixels.len());
    for picture in pixels.chunks(side * side * 3) {
        for at in 0..per_side * per_side {
            let (top, left) = (at / per_side * patch, at % per_side * patch);
            for channel in 0..3 {
                let pixel = |offset: usize| (top + offset / patch) * side + left + offset % patch;
                out.extend((0..patch * patch).map(|offset| picture[pixel(offset) * 3 + channel]));
            }
        }
    }
    out
}
