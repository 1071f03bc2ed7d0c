//! Sequences that grow on a GPU, by kernels of our own.

use crate::error::Result;
use crate::inference::Sequence;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::sampler::{Block, Map, Norm, Sequences, Transformer};
use crate::models::transformer::Tokens;
use crate::nn::{self, Incremental, IncrementalBlock};
use crate::ops::Mask;
use dfdx::tensor::CudaError;
use std::ops::Range;

/// A copy of `engine` on the GPU.
pub fn copy(gpu: &'static Gpu, engine: &Incremental<f32>, masks: &[Mask]) -> Result<Transformer> {
    let norm = |norm: &nn::Norm<f32>| Norm::new(gpu, &norm.gain, &norm.bias, norm.epsilon);
    let norms = |norms: &[nn::Norm<f32>]| norms.iter().map(norm).collect::<std::result::Result<_, _>>();
    let block = |block: &IncrementalBlock<f32>| -> std::result::Result<Block, CudaError> {
        Ok(Block {
            ln_1: norm(&block.ln_1)?,
            qkv: Map::new(gpu, &block.qkv)?,
            out: Map::new(gpu, &block.out)?,
            ln_2: norm(&block.ln_2)?,
            up: Map::new(gpu, &block.up)?,
            down: Map::new(gpu, &block.down)?,
            after: norms(&block.after)?,
            activation: block.activation,
            heads: block.heads,
        })
    };
    let blocks = engine.blocks.iter().map(block).collect::<std::result::Result<_, _>>()?;
    let plan = |mask| Mask::plan(mask).expect("a cache needs a mask that looks back only");
    let plans: Vec<_> = masks.iter().map(plan).collect();
    Ok(Transformer::new(gpu, &engine.tables, blocks, &plans, norms(&engine.norms)?, Map::new(gpu, &engine.head)?)?)
}

/// Rows of tokens that grow together. `ids` says which rows of the tables the slots of a step sum.
pub struct OnGpu<'a, F> {
    sequences: Sequences<'a>,
    ids: F,
}

impl<'a, F: Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5]> OnGpu<'a, F> {
    /// `batch` empty rows.
    pub fn new(model: &'a Transformer, batch: usize, ids: F) -> Result<Self> {
        Ok(OnGpu { sequences: Sequences::new(model, batch)?, ids })
    }
}

impl<F: Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5]> Sequence for OnGpu<'_, F> {
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>> {
        let ids = (self.ids)(self.sequences.batch(), tokens, slots);
        Ok(self.sequences.advance(&ids)?)
    }

    fn repeat(&mut self, times: usize) -> Result<()> {
        Ok(self.sequences.repeat(times)?)
    }
}
