//! The models' forward passes as costs: each function goes through the operations of one model in their order, without a
//! tensor. That none was forgotten shows in the parameters, which must sum to those of the model's type.
//!
//! Legend: G side of the token grid, T text slots, N slots of a sequence, V codes.

use super::cost::Cost;
use crate::mask::{Layout, Pattern};
use crate::ops::Input;
use crate::shape::{BlockShape, ClipShape, DvaeShape, Groups, TransformerShape};
use dfdx::shapes::ConstDim;
use std::collections::HashMap;

/// The side of the tiles that block-sparse attention visits (the block size of the paper's kernels).
pub const TILE: usize = 32;

/// A part of a model: its name, what its parameters' names start with (the first part that fits has them), and its cost.
#[derive(Debug, Clone)]
pub struct Part {
    /// As the table shows it.
    pub name: &'static str,
    /// Prefixes of its parameters' names.
    pub prefixes: &'static [&'static str],
    /// For one example.
    pub cost: Cost,
}

impl Part {
    fn new(name: &'static str, prefixes: &'static [&'static str], cost: Cost) -> Self {
        Part { name, prefixes, cost }
    }
}

/// Channels of each group, in order.
fn widths<G: Groups>() -> Vec<usize> {
    fn walk<G: Groups>(widths: &mut Vec<usize>) {
        if G::COUNT > 0 {
            widths.push(G::Channels::SIZE);
            walk::<G::Rest>(widths);
        }
    }
    let mut found = Vec::new();
    walk::<G>(&mut found);
    found
}

/// The dVAE for one picture.
pub fn dvae<S: DvaeShape>() -> Vec<Part> {
    let (positions, codes, init) = (S::Grid::SIZE * S::Grid::SIZE, S::Codes::SIZE, S::Init::SIZE);
    let encoder = encoder::<S>(codes);
    let mut relaxation = Cost::default();
    relaxation.pointwise(positions * codes); // KL: the logits
    relaxation.pointwise(positions * codes); // Gumbel-softmax: its result
    let mut decoder = Cost::default();
    decoder.convolution(positions, (codes, init), 1, Input::Linear);
    trunk::<S>(&mut decoder);
    let decoder = with_likelihood::<S>(decoder);
    vec![
        Part::new("encoder", &["encoder."], encoder),
        Part::new("relaxation", &[], relaxation),
        Part::new("decoder", &["decoder."], decoder),
    ]
}

/// The VQ-VAE for one picture.
pub fn vqvae<S: DvaeShape>() -> Vec<Part> {
    let (positions, codes, init) = (S::Grid::SIZE * S::Grid::SIZE, S::Codes::SIZE, S::Init::SIZE);
    let mut codebook = Cost::default();
    codebook.table(codes, init, positions);
    // Distances to every code, once and without a gradient: subtract, square, add.
    codebook.forward.linear += 3.0 * (positions * codes * init) as f64;
    codebook.training.linear += 3.0 * (positions * codes * init) as f64;
    codebook.pointwise(positions * init); // the two squared distances
    codebook.pointwise(positions * init);
    let mut decoder = Cost::default();
    trunk::<S>(&mut decoder);
    vec![
        Part::new("encoder", &["encoder."], encoder::<S>(init)),
        Part::new("codebook", &["quantize."], codebook),
        Part::new("decoder", &["decoder."], with_likelihood::<S>(decoder)),
    ]
}

fn encoder<S: DvaeShape>(outputs: usize) -> Cost {
    let widths = widths::<S::Down>();
    let (mut cost, mut pixels, mut channels) = (Cost::default(), S::Side::SIZE * S::Side::SIZE, widths[0]);
    cost.convolution(pixels, (3, channels), 7, Input::Picture);
    for (group, &width) in widths.iter().enumerate() {
        if group > 0 {
            pixels /= 4;
            cost.keep(pixels * channels); // max-pool: which of four was the largest
        }
        residual_blocks::<S>(&mut cost, pixels, (channels, width), [3, 1]);
        channels = width;
    }
    cost.convolution(pixels, (channels, outputs), 1, Input::Relu);
    cost
}

/// From the codebook's vectors to the six statistics.
fn trunk<S: DvaeShape>(cost: &mut Cost) {
    let (mut pixels, mut channels) = (S::Grid::SIZE * S::Grid::SIZE, S::Init::SIZE);
    for (group, width) in widths::<S::Up>().into_iter().enumerate() {
        if group > 0 {
            pixels *= 4;
        }
        residual_blocks::<S>(cost, pixels, (channels, width), [1, 3]);
        channels = width;
    }
    cost.convolution(pixels, (channels, 6), 1, Input::Relu);
}

fn residual_blocks<S: DvaeShape>(
    cost: &mut Cost,
    pixels: usize,
    (inputs, outputs): (usize, usize),
    [first, last]: [usize; 2],
) {
    let hidden = outputs / 4;
    for inputs in std::iter::once(inputs).chain(std::iter::repeat_n(outputs, S::BLOCKS - 1)) {
        cost.convolution(pixels, (inputs, hidden), first, Input::Relu);
        if inputs != outputs {
            cost.convolution_of_kept(pixels, (inputs, outputs), 1, Input::Linear);
        }
        cost.convolution(pixels, (hidden, hidden), 3, Input::Relu);
        cost.convolution(pixels, (hidden, hidden), 3, Input::Relu);
        cost.convolution(pixels, (hidden, outputs), last, Input::Relu);
    }
}

/// The logit-Laplace keeps the statistics and the picture.
fn with_likelihood<S: DvaeShape>(mut cost: Cost) -> Cost {
    let pixels = S::Side::SIZE * S::Side::SIZE;
    cost.pointwise(pixels * 6);
    cost.keep(pixels * 3);
    cost
}

/// The transformer for one sequence; one pattern a layer, whose block is run again in the backward pass or is not.
pub fn transformer<S: TransformerShape>(patterns: &[Pattern], recompute: bool) -> Vec<Part> {
    let (text, grid, image, sequence) = (S::Text::SIZE, S::Grid::SIZE, S::Image::SIZE, S::Seq::SIZE);
    let (width, vocabulary, codes) = (<S::Block as BlockShape>::Dim::SIZE, S::TextVocab::SIZE, S::Codes::SIZE);
    let mut embeddings = Cost::default();
    for entries in [S::TextRows::SIZE, text, S::ImageRows::SIZE, grid, grid] {
        embeddings.table(entries, width, sequence);
    }
    let layout = Layout { text, grid };
    let mut known: HashMap<Pattern, usize> = HashMap::new();
    let mut layers = Cost::default();
    for &pattern in patterns {
        let pairs = *known.entry(pattern).or_insert_with(|| tile_pairs(pattern, layout));
        let block = block::<S::Block>(sequence, pairs);
        if recompute { layers.recomputed(sequence * width, block) } else { layers.block(block) }
    }
    let mut heads = Cost::default();
    heads.norm(sequence, width);
    heads.keep(sequence); // which slots are text and which image
    heads.linear(text, (width, vocabulary), true);
    heads.linear(image, (width, codes), true);
    heads.pointwise(text * vocabulary); // cross-entropies: the logits
    heads.pointwise(image * codes);
    heads.keep(2 * sequence);
    vec![
        Part::new("layers", &["transformer.layers."], layers),
        Part::new("heads", &["transformer.final_layernorm.", "to_text_logits.", "to_image_logits."], heads),
        Part::new("embeddings", &[""], embeddings),
    ]
}

/// Pairs of positions in the tiles that `pattern` visits.
pub fn tile_pairs(pattern: Pattern, layout: Layout) -> usize {
    let all = layout.sequence() * layout.sequence();
    (pattern.work(layout, TILE) * TILE * TILE).min(all) // the last tiles hang over the edge
}

/// Pre-norm attention and MLP.
fn block<W: BlockShape>(sequence: usize, pairs: usize) -> Cost {
    let (width, mlp) = (W::Dim::SIZE, W::Mlp::SIZE);
    let mut cost = Cost { stream: Some(sequence * width), ..Cost::default() };
    cost.norm(sequence, width);
    cost.linear(sequence, (width, W::Qkv::SIZE), true);
    cost.attention(sequence, width, W::Heads::SIZE, pairs);
    cost.linear(sequence, (width, width), true);
    cost.norm(sequence, width);
    cost.linear(sequence, (width, mlp), true);
    cost.pointwise(sequence * mlp);
    cost.linear(sequence, (mlp, width), true);
    cost
}

/// CLIP for one pair in a batch of `batch`.
pub fn clip<S: ClipShape>(batch: usize) -> Vec<Part> {
    let embed = S::Embed::SIZE;
    let (slots, width) = (S::VisionSeq::SIZE, <S::Vision as BlockShape>::Dim::SIZE);
    let mut image = Cost::default();
    image.linear(slots - 1, (S::PatchValues::SIZE, width), false);
    image.keep(slots); // patches to slots
    image.table(1, width, slots);
    image.table(slots, width, slots);
    image.norm(slots, width);
    for _ in 0..S::VISION_DEPTH {
        image.block(block::<S::Vision>(slots, slots * slots));
    }
    image.norm(1, width);
    image.linear(1, (width, embed), false);

    let (context, width) = (S::Context::SIZE, <S::Language as BlockShape>::Dim::SIZE);
    let causal = tile_pairs(Pattern::Full, Layout { text: context, grid: 0 });
    let mut text = Cost::default();
    text.table(S::Vocab::SIZE, width, context);
    text.table(context, width, context);
    for _ in 0..S::LANGUAGE_DEPTH {
        text.block(block::<S::Language>(context, causal));
    }
    text.norm(context, width);
    text.linear(1, (width, embed), false);

    let mut contrast = Cost { parameters: 1, ..Cost::default() };
    let forward = 2.0 * batch as f64 * embed as f64;
    contrast.forward.linear = forward;
    contrast.training.linear = 3.0 * forward;
    contrast.kept = 4.0 * batch as f64; // cosines, and logits both ways
    vec![
        Part::new("image tower", &["visual."], image),
        Part::new("contrast", &["logit_scale"], contrast),
        Part::new("text tower", &[""], text),
    ]
}
