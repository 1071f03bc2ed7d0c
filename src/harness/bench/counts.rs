//! What each work asks for at the least: floating-point operations and bytes, of the work and not of how it is done. What runs
//! more (dense attention, a sequence run whole for each token) reaches a smaller share of the bounds.
//!
//! Operations are those of products and attention, as `experiment plan` counts them. Bytes are what no cache can keep: weights,
//! the optimiser's state and the tape of a step; the weights, keys and values of a token; a forward pass's weights, inputs and
//! outputs. A value has four bytes, whatever a product rounds it to on its way; a sampler's weights may have fewer.

use crate::harness::plan::Flops;
use crate::harness::plan::walk::Part;
use crate::mask::{Layout, Pattern};
use crate::shape::BlockShape;
use dfdx::shapes::ConstDim;

/// Bytes of a value.
const VALUE: f64 = 4.0;

/// Operations and bytes of a work; divided by its seconds, its rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl std::ops::Div<f64> for Count {
    type Output = Count;

    fn div(self, seconds: f64) -> Count {
        Count { flops: self.flops / seconds, bytes: self.bytes / seconds }
    }
}

/// A product of (m, k) and (k, n): 2·m·k·n operations, each matrix once.
pub fn product(m: usize, k: usize, n: usize) -> Count {
    Count { flops: 2.0 * (m * k * n) as f64, bytes: VALUE * (m * k + k * n + m * n) as f64 }
}

/// A copy: each byte read and written.
pub fn copy(bytes: usize) -> Count {
    Count { flops: 0.0, bytes: 2.0 * bytes as f64 }
}

/// One layer's attention of `width` channels, forward and backward: scores and sums, 4·width operations a pair that is seen, and
/// twice that backward. Queries, keys and values and the result are read or written once, and so are their gradients.
pub fn attention(pattern: Pattern, layout: Layout, width: usize) -> Count {
    let pairs = pattern.dense(layout).iter().filter(|&&sees| sees).count();
    Count { flops: 3.0 * 4.0 * pairs as f64 * width as f64, bytes: VALUE * (2 * 4 * layout.sequence() * width) as f64 }
}

/// A training step of `batch` examples. The gradient of each parameter is written and, once the norm is known, read; AdamW reads
/// and writes the parameter and two moments: 8 passes. What is multiplied, and not looked up in a table, is also read forward and
/// backward: 2 more. Each value of the tape is written and read.
pub fn training(parts: &[Part], batch: usize) -> Count {
    let parameters = |counts: fn(&Part) -> bool| -> usize {
        parts.iter().filter(|part| counts(part)).map(|part| part.cost.parameters).sum()
    };
    let state = 8 * parameters(|_| true) + 2 * parameters(|part| part.name != "embeddings");
    let kept: f64 = parts.iter().map(|part| part.cost.kept).sum();
    let flops = parts.iter().map(|part| part.cost.training).sum::<Flops>() * batch as f64;
    Count { flops: flops.total(), bytes: VALUE * (state as f64 + 2.0 * batch as f64 * kept) }
}

/// A forward pass of `batch` examples through the part `name`: its weights once, and `values` in and out of each example.
pub fn forward(parts: &[Part], name: &str, batch: usize, values: usize) -> Count {
    let costs = || parts.iter().filter(|part| part.name == name).map(|part| part.cost);
    let flops = costs().map(|cost| cost.forward).sum::<Flops>() * batch as f64;
    let parameters: usize = costs().map(|cost| cost.parameters).sum();
    Count { flops: flops.total(), bytes: VALUE * (parameters + batch * values) as f64 }
}

/// Image tokens `first..` of `batch` rows of one prompt, a token of each row at a time: the matrices of the blocks and of the head
/// once a step; the prompt's keys and values once a step for all rows, each row's own that the patterns show it (of which the newest
/// are written). Norms, biases, rows of the embeddings and logits are left out; a weight has `weight` bytes.
pub fn sampling<B: BlockShape>(
    patterns: &[Pattern],
    layout: Layout,
    codes: usize,
    batch: usize,
    first: usize,
    weight: f64,
) -> Count {
    let own = |pattern: &Pattern| -> usize {
        let keys = |query: usize| (layout.text..=query).filter(|&key| pattern.sees(layout, query, key)).count();
        (layout.text + first..layout.sequence()).map(keys).sum()
    };
    let (steps, batch) = ((layout.image() - first) as f64, batch as f64);
    let weights = matrices::<B>(patterns.len(), codes) as f64;
    let (shared, own) = (steps * (patterns.len() * layout.text) as f64, patterns.iter().map(own).sum::<usize>() as f64);
    let width = B::Dim::SIZE as f64;
    Count {
        flops: batch * (2.0 * steps * weights + 4.0 * width * (shared + own)),
        bytes: weight * steps * weights + VALUE * 2.0 * width * (shared + batch * own),
    }
}

/// Weights of the matrices of `depth` blocks and of a head of `codes`.
pub fn matrices<B: BlockShape>(depth: usize, codes: usize) -> usize {
    let (width, mlp) = (B::Dim::SIZE, B::Mlp::SIZE);
    depth * (4 * width * width + 2 * width * mlp) + width * codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::plan::walk;
    use crate::mask::paper_order;
    use crate::models::clip::presets::VitB32;
    use crate::models::presets::{bench_s, tiny};
    use crate::shape::TransformerShape;

    #[test]
    fn a_product_a_copy_and_a_layers_attention() {
        assert_eq!(product(2, 3, 5), Count { flops: 60.0, bytes: 4.0 * (6 + 15 + 10) as f64 });
        assert_eq!(copy(7), Count { flops: 0.0, bytes: 14.0 });
        // Three slots that look back: 1 + 2 + 3 pairs.
        let causal = attention(Pattern::Full, Layout { text: 3, grid: 0 }, 16);
        assert_eq!(causal, Count { flops: 12.0 * 6.0 * 16.0, bytes: 4.0 * 8.0 * 3.0 * 16.0 });
    }

    /// Of 320 tokens, 64 of them text: 8 blocks of 12·512² weights, heads of 4160 and 1024. Of 10×10 tiles of 32² pairs the text
    /// has 3, every pattern sees 16 between picture and text, and within the picture rows see 8 + 7, columns (whose slots are taken
    /// column by column) 8, a 7×7 window 8 + 7 + 6; five layers are rows, two columns, one the window: 264 tiles.
    #[test]
    fn a_training_step_of_the_smaller_shape() {
        let parts = walk::transformer::<bench_s::Transformer>(&paper_order(8, 7), false);
        let (blocks, heads) = (320 * 8 * 12 * 512 * 512u64, 512 * (64 * 4160 + 256 * 1024u64));
        let (products, pairs) = (3 * 2 * (blocks + heads), 3 * 4 * 512 * 264 * 32 * 32u64);
        assert_eq!((products, pairs), (49_941_577_728, 1_660_944_384));
        assert_eq!(training(&parts, 8).flops, 412_820_176_896.0);
    }

    #[test]
    fn a_step_reads_and_writes_state_and_tape() {
        let part = |name, parameters, kept| {
            let mut part = Part { name, prefixes: &[], cost: Default::default() };
            (part.cost.parameters, part.cost.kept) = (parameters, kept);
            part
        };
        let parts = [part("layers", 10, 5.0), part("embeddings", 4, 0.0)];
        assert_eq!(training(&parts, 2).bytes, 4.0 * (8 * 14 + 2 * 10 + 2 * 2 * 5) as f64);
    }

    /// 12 blocks of 12·768² weights over 50 slots, 49 patches of 3072 values, scores and sums of 50² pairs in each block, and the
    /// projection of the class slot; 87.8 M parameters, 224²·3 values in, 512 out.
    #[test]
    fn a_forward_pass_of_vit_b_32() {
        let count = forward(&walk::clip::<VitB32>(1), "image tower", 16, 224 * 224 * 3 + 512);
        let weights = 50 * 12 * 12 * 768 * 768 + 49 * 3072 * 768 + 12 * 2 * 50 * 50 * 768 + 768 * 512u64;
        assert_eq!(weights, 4_408_811_520);
        assert_eq!(count, Count { flops: 141_081_968_640.0, bytes: 4.0 * (87_849_216 + 16 * 151_040) as f64 });
        assert_eq!(forward(&[], "image tower", 16, 0), Count { flops: 0.0, bytes: 0.0 });
    }

    /// The last token of a 4×4 grid: two blocks of 12·32² weights and a head of 32²; in each 12 keys of the text, and 5 of the
    /// picture: the four before it and itself, or itself, the one before, and the three above.
    #[test]
    fn a_token_reads_weights_keys_and_values() {
        type Shape = tiny::Transformer;
        let layout = Layout { text: 12, grid: 4 };
        let last =
            |weight| sampling::<<Shape as TransformerShape>::Block>(&paper_order(2, 3), layout, 32, 3, 15, weight);
        let count = last(4.0);
        let (weights, text, own) = (2 * 12 * 32 * 32 + 32 * 32, 2 * 12, 2 * 5);
        assert_eq!(count.flops, (3 * (2 * weights + 4 * 32 * (text + own))) as f64);
        assert_eq!(count.bytes, (4 * (weights + 2 * 32 * (text + 3 * own))) as f64);
        assert_eq!(count, Count { flops: 166_656.0, bytes: 116_224.0 });
        let int8 = last(1.0);
        assert_eq!(count.bytes - int8.bytes, (3 * weights) as f64);
    }
}
