//! `DALLE` of [DALLE-pytorch](https://github.com/lucidrains/DALLE-pytorch), commit 58c1e1a, with gradients and under its parameters'
//! names.
//!
//! Of its switches these are supported: `depth`, `heads`, `dim_head`, `attn_types` in any cycle of `full`, `axial_row`,
//! `axial_col` and `conv_like`, `rotary_emb`, `shift_tokens`, `stable`, `sandwich_norm` and `share_input_output_emb` on and off,
//! and `loss_img_weight`. **Not supported**: `reversible`, `shared_attn_ids` and `shared_ff_ids`, the types `sparse` and
//! `mlp`, dropout, another `ff_mult`, null conditioning, and caches in sampling. The rescaled softmax of `stable` is without effect
//! in f32 and left out.
//!
//! A sequence is a start of text (id 0), the text, and the image without its last token: slot j reads what slot j − 1
//! predicts. The masks place a slot by what it *reads*, see [`Pattern`]. Rotations act on values too; their angles, a buffer
//! of the published state dict, are a parameter here that no gradient reaches. Where the embeddings are shared, the head's
//! weight is their one parameter; the state dict repeats it as `text_emb.linear` and `image_emb.linear`.
//!
//! Legend: B batch, T text slots, G grid side, N slots, V text classes.

use super::layer::{Layer, Stream, Wiring};
use super::shape::DallePytorchShape;
use dalle::kernels::{Real, cpu::argmax};
use dalle::mask::{Layout, Pattern};
use dalle::models::rudalle::scaled_gradient;
use dalle::models::transformer::Tokens;
use dalle::nn::{Init, LayerNorm, Linear, Role};
use dalle::ops::{ABSENT, Backend, Mask, scalar, to_vec};
use dfdx::prelude::*;

/// The reference's default of `loss_img_weight`: the image's weight against the text's 1.
pub const IMAGE_WEIGHT: f64 = 7.0;

dalle::module! {
    /// Embeddings, layers, a norm and a head.
    pub struct Dalle<S: DallePytorchShape> check S::CHECK, {
        /// None where they are shared with the head.
        embeddings: Vec<Embeddings<S, E, D>> => (!S::SHARED).then_some("");
        /// Rotations or position embeddings: one of these vectors has an entry.
        angles: Vec<Tensor<(Const<1>, S::Positions, S::Rotated), E, D>> =>
            S::ROTARY.then_some("transformer.pos_emb"), (Role::Embedding, Init::Constant(0.0));
        positions: Vec<Positions<S, E, D>> => (!S::ROTARY).then_some("");
        layers: Vec<Layer<S, E, D>> => (0..S::DEPTH).map(|i| format!("transformer.layers.layers.{i}"));
        head_norm: LayerNorm<S::Width, E, D> = "to_logits.0";
        head: Linear<S::Width, S::Classes, E, D> = "to_logits.1", IMPORTED;
    }
}

/// Its weights are imported; nothing here starts one.
pub const IMPORTED: Init = Init::Constant(0.0);

dalle::module! {
    /// Embeddings of text and codes.
    struct Embeddings<S: DallePytorchShape> {
        text: Tensor<(S::TextVocab, S::Width), E, D> = "text_emb.weight", (Role::Embedding, IMPORTED);
        image: Tensor<(S::Codes, S::Width), E, D> = "image_emb.weight", (Role::Embedding, IMPORTED);
    }
}

dalle::module! {
    /// Position embeddings: of the text, and of the image by row and column.
    struct Positions<S: DallePytorchShape> {
        text: Tensor<(S::TextPositions, S::Width), E, D> = "text_pos_emb.weight", (Role::Embedding, IMPORTED);
        row: Tensor<(Const<1>, S::Grid, Const<1>, S::Width), E, D> =
            "image_pos_emb.weights_0", (Role::Embedding, IMPORTED);
        column: Tensor<(Const<1>, Const<1>, S::Grid, S::Width), E, D> =
            "image_pos_emb.weights_1", (Role::Embedding, IMPORTED);
    }
}

/// Logits of the text's and the image's slots, over their own classes: (B, T, V) and (B, G², Codes).
#[derive(Debug)]
pub struct Logits<E: Dtype, D: Storage<E>, T> {
    /// (B, T, V)
    pub text: Tensor<(usize, usize, usize), E, D, T>,
    /// (B, G², Codes)
    pub image: Tensor<(usize, usize, usize), E, D, T>,
}

/// One mask per layer: `types` in a cycle.
pub fn masks(types: &[Pattern], depth: usize, layout: Layout) -> Vec<Mask> {
    let masks: Vec<Mask> = types.iter().map(|&pattern| Mask::new(pattern, layout)).collect();
    masks.into_iter().cycle().take(if types.is_empty() { 0 } else { depth }).collect()
}

impl<S: DallePytorchShape, E: Real, D: Backend<E>> Dalle<S, E, D> {
    /// Logits of whole sequences. Text ids of 0 are pads; one mask a layer.
    pub fn forward<T: Tape<E, D>>(
        &self,
        batch: usize,
        tokens: Tokens<'_>,
        masks: &[Mask],
        tape: T,
    ) -> Result<Logits<E, D, T>, D::Err> {
        let wiring = Wiring {
            sources: S::SHIFT.then(sources::<S>),
            angles: self.angles.first().map(|angles| to_vec(angles.clone())).transpose()?,
        };
        let mut x = self.embed(batch, tokens, tape)?;
        if S::STABLE {
            x = scaled_gradient(x)?;
        }
        for (layer, mask) in self.layers.iter().zip(masks) {
            x = layer.forward(x, mask, &wiring)?;
        }
        if S::STABLE {
            x = by_largest::<S, E, D, T>(x)?;
        }
        let logits = self.head.forward(self.head_norm.forward(x)?)?;
        let (text, slots, words, classes) = (S::Text::SIZE, S::Seq::SIZE, S::TextVocab::SIZE, S::Classes::SIZE);
        let logits = logits.try_reshape_like(&(batch, slots, classes))?;
        let of_text = logits.with_empty_tape().try_slice((0..batch, 0..text, 0..words))?;
        Ok(Logits { text: of_text, image: logits.try_slice((0..batch, text..slots, words..classes))? })
    }

    /// (text + weight·image)/(1 + weight), each a mean over its slots, in nats; and both parts.
    #[allow(clippy::type_complexity)]
    pub fn loss<T: Tape<E, D>>(
        &self,
        batch: usize,
        tokens: Tokens<'_>,
        masks: &[Mask],
        weight: f64,
        tape: T,
    ) -> Result<(Tensor<(), E, D, T>, [E; 2]), D::Err> {
        let logits = self.forward(batch, tokens, masks, tape)?;
        let words: Vec<u32> = (0..batch * S::Text::SIZE).map(|at| filled::<S>(tokens.text, at)).collect();
        let text = D::cross_entropy(logits.text, &words)?.try_mean()?;
        let image = D::cross_entropy(logits.image, tokens.image)?.try_mean()?;
        let parts = [scalar(&text), scalar(&image)];
        Ok((image.try_mul(E::of(weight))?.try_add(text)?.try_div(E::of(1.0 + weight))?, parts))
    }

    /// The code of the largest logit at each position, given `text` (B·T ids, 0 for pads): B·G² codes. Each step runs whole
    /// sequences: there is no cache.
    pub fn greedy(&self, text: &[u32], masks: &[Mask]) -> Result<Vec<u32>, D::Err> {
        let (batch, image, codes) = (text.len() / S::Text::SIZE, S::Grid::SIZE * S::Grid::SIZE, S::Codes::SIZE);
        let mut out = vec![0; batch * image];
        for position in 0..image {
            let logits = to_vec(self.forward(batch, Tokens { text, image: &out }, masks, NoneTape)?.image)?;
            for b in 0..batch {
                let at = b * image + position;
                out[at] = argmax(&logits[at * codes..(at + 1) * codes]) as u32;
            }
        }
        Ok(out)
    }

    /// The sum of each slot's embeddings: (B, N, Dim).
    fn embed<T: Tape<E, D>>(&self, batch: usize, tokens: Tokens<'_>, tape: T) -> Result<Stream<S, E, D, T>, D::Err> {
        let (text, grid, slots) = (S::Text::SIZE, S::Grid::SIZE, S::Seq::SIZE);
        let shape = (batch, slots, S::Width::default());
        let each = |id: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
            (0..batch).flat_map(|b| (0..slots).map(move |slot| id(b, slot))).collect()
        };
        let at_text = |b: usize, slot: usize| match slot {
            0 => 0, // start of text
            slot if slot <= text => filled::<S>(tokens.text, b * text + slot - 1),
            _ => ABSENT,
        };
        let in_grid = |slot: usize, f: &dyn Fn(usize) -> u32| if slot <= text { ABSENT } else { f(slot - text - 1) };
        let at_image = |b: usize, slot: usize| in_grid(slot, &|i| tokens.image[b * grid * grid + i]);
        let x = match self.embeddings.first() {
            Some(Embeddings { text, image }) => {
                let x = D::gather_rows(text.clone().put_tape(tape), &each(&at_text), shape)?;
                D::add_scaled(x, D::gather_rows(image.retaped::<T>(), &each(&at_image), shape)?, 1.0)?
            }
            None => {
                let row = |b: usize, slot: usize| match slot <= text {
                    true => at_text(b, slot),
                    false => S::TextVocab::SIZE as u32 + at_image(b, slot),
                };
                D::gather_rows(self.head.weight.clone().put_tape(tape), &each(&row), shape)?
            }
        };
        let Some(positions) = self.positions.first() else { return Ok(x) };
        let at_position = each(&|_, slot| if slot <= text { slot as u32 } else { ABSENT });
        let x = D::add_scaled(x, D::gather_rows(positions.text.retaped::<T>(), &at_position, shape)?, 1.0)?;
        let rows = each(&|_, slot| in_grid(slot, &|i| (i / grid) as u32));
        let x = D::add_scaled(x, D::gather_rows(positions.row.retaped::<T>(), &rows, shape)?, 1.0)?;
        let columns = each(&|_, slot| in_grid(slot, &|i| (i % grid) as u32));
        D::add_scaled(x, D::gather_rows(positions.column.retaped::<T>(), &columns, shape)?, 1.0)
    }
}

/// Each slot divided by its largest channel, which counts as a constant.
fn by_largest<S: DallePytorchShape, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Stream<S, E, D, T>,
) -> Result<Stream<S, E, D, T>, D::Err> {
    let (device, shape) = (x.device().clone(), *x.shape());
    let values = to_vec(x.with_empty_tape().split_tape().0)?;
    let largest = |row: &[E]| vec![row[argmax(row)]; row.len()];
    let largest = values.chunks(S::Width::SIZE).flat_map(largest).collect();
    x.try_div(device.try_tensor_from_vec(largest, shape)?)
}

/// Where the shift takes the first two quarters of each slot's channels from.
fn sources<S: DallePytorchShape>() -> Vec<[Option<usize>; 2]> {
    let (text, grid) = (S::Text::SIZE, S::Grid::SIZE);
    let of = |slot: usize| match slot.checked_sub(text + 1) {
        None => [slot.checked_sub(1); 2],
        Some(position) => [(position >= grid).then(|| slot - grid), (position % grid > 0).then(|| slot - 1)],
    };
    (0..S::Seq::SIZE).map(of).collect()
}

/// Text token `at` of the batch, a pad's 0 replaced by the id that the vocabulary keeps for a pad at its place.
fn filled<S: DallePytorchShape>(text: &[u32], at: usize) -> u32 {
    match text[at] {
        0 => (S::TextVocab::SIZE - S::Text::SIZE + at % S::Text::SIZE) as u32,
        id => id,
    }
}
