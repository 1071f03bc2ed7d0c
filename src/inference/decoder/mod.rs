//! Sequences that grow from caches: what every transformer's sampling shares.

#[cfg(feature = "cuda")]
mod gpu;

use super::Sequence;
use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::kernels::cuda::{experimental, gpu::Gpu, grids::attention_width, sampler::Transformer};
use crate::models::transformer::Tokens;
use crate::nn::{Incremental, Precision};
use crate::ops::{KvCache, Mask};
use std::ops::Range;
use std::sync::OnceLock;

/// A transformer as sampling reads it, in each precision that was asked for so far.
#[derive(Debug, Default)]
pub struct DecoderCache {
    host: [OnceLock<Incremental<f32>>; 3],
    #[cfg(feature = "cuda")]
    gpu: [OnceLock<Transformer>; 3],
}

/// Where a sequence's weights and caches are.
#[derive(Debug, Clone, Copy)]
pub enum DecoderDevice {
    /// In the host's memory.
    Host,
    /// In the GPU's, which was opened with kernels of our own.
    #[cfg(feature = "cuda")]
    Gpu(&'static Gpu),
}

impl DecoderDevice {
    /// The GPU, where one can sample with heads of `dim` values.
    pub fn gpu(dim: usize) -> Option<DecoderDevice> {
        #[cfg(feature = "cuda")]
        if let (Some(gpu), Some(_)) = (experimental(), attention_width(dim)) {
            return Some(DecoderDevice::Gpu(gpu));
        }
        let _ = dim;
        None
    }
}

impl DecoderCache {
    /// `batch` empty rows that grow with weights of `precision`, which `make` makes when they are first asked for. `ids` says
    /// which rows of the tables the slots of a step sum.
    ///
    /// # Errors
    /// What `make` says; [`Error::Device`] where the GPU has too little memory.
    pub fn sequence<'a, E>(
        &'a self,
        device: DecoderDevice,
        precision: Precision,
        masks: &[Mask],
        batch: usize,
        ids: impl Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5] + 'a,
        make: impl FnOnce(Precision) -> std::result::Result<Incremental<f32>, E>,
    ) -> Result<Box<dyn Sequence + 'a>>
    where
        Error: From<E>,
    {
        let which = precision as usize;
        match device {
            DecoderDevice::Host => {
                let engine = made(&self.host[which], || Ok(make(precision)?))?;
                Ok(Box::new(Cached::new(engine, masks, batch, ids)))
            }
            #[cfg(feature = "cuda")]
            DecoderDevice::Gpu(device) => {
                let model = made(&self.gpu[which], || gpu::copy(device, &make(precision)?, masks))?;
                Ok(Box::new(gpu::OnGpu::new(model, batch, ids)?))
            }
        }
    }
}

/// What is there, or is made now.
fn made<T>(engine: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(engine) = engine.get() {
        return Ok(engine);
    }
    let made = make()?;
    Ok(engine.get_or_init(|| made))
}

/// Bytes that one sequence's keys and values take.
pub fn row_bytes(width: usize, masks: &[Mask]) -> usize {
    masks.iter().map(|mask| KvCache::<f32>::row_bytes(width, mask)).sum()
}

/// Rows of tokens that grow together on the host. `ids` says which rows of the tables the slots of a step sum.
struct Cached<'a, F> {
    engine: &'a Incremental<f32>,
    ids: F,
    batch: usize,
    caches: Vec<KvCache<f32>>,
}

impl<'a, F: Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5]> Cached<'a, F> {
    /// `batch` empty rows.
    fn new(engine: &'a Incremental<f32>, masks: &[Mask], batch: usize, ids: F) -> Self {
        Cached { engine, ids, batch, caches: engine.caches(batch, masks) }
    }
}

impl<F: Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5]> Sequence for Cached<'_, F> {
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>> {
        let ids = (self.ids)(self.batch, tokens, slots);
        Ok(self.engine.step(self.batch, &ids, &mut self.caches))
    }

    fn repeat(&mut self, times: usize) -> Result<()> {
        self.caches.iter_mut().for_each(|cache| *cache = cache.repeated(self.batch, times));
        self.batch *= times;
        Ok(())
    }
}
