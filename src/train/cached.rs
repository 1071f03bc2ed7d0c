//! Sequences that grow from caches: what every transformer's sampling shares.

use super::stage::Sequence;
use crate::error::{Error, Result};
use crate::models::transformer::Tokens;
use crate::nn::{Incremental, Precision};
use crate::ops::{KvCache, Mask};
use std::ops::Range;
use std::sync::OnceLock;

/// A transformer as sampling reads it, in each precision that was asked for so far.
#[derive(Debug, Default)]
pub struct Engines([OnceLock<Incremental<f32>>; 3]);

impl Engines {
    /// The one of `precision`, made when it is first asked for.
    ///
    /// # Errors
    /// What `make` says.
    pub fn get<E>(
        &self,
        precision: Precision,
        make: impl FnOnce(Precision) -> std::result::Result<Incremental<f32>, E>,
    ) -> Result<&Incremental<f32>>
    where
        Error: From<E>,
    {
        let engine = &self.0[precision as usize];
        if let Some(engine) = engine.get() {
            return Ok(engine);
        }
        let made = make(precision)?;
        Ok(engine.get_or_init(|| made))
    }
}

/// Bytes that one sequence's keys and values take.
pub fn row_bytes(width: usize, masks: &[Mask]) -> usize {
    masks.iter().map(|mask| KvCache::<f32>::row_bytes(width, mask)).sum()
}

/// Rows of tokens that grow together. `ids` says which rows of the tables the slots of a step sum.
pub struct Cached<'a, F> {
    engine: &'a Incremental<f32>,
    ids: F,
    batch: usize,
    caches: Vec<KvCache<f32>>,
}

impl<'a, F: Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5]> Cached<'a, F> {
    /// `batch` empty rows.
    pub fn new(engine: &'a Incremental<f32>, masks: &[Mask], batch: usize, ids: F) -> Self {
        Cached { engine, ids, batch, caches: engine.caches(batch, masks) }
    }
}

impl<F: Fn(usize, Tokens<'_>, Range<usize>) -> [Vec<u32>; 5]> Sequence for Cached<'_, F> {
    fn advance(&mut self, tokens: Tokens<'_>, slots: Range<usize>) -> Result<Vec<f32>> {
        let ids = (self.ids)(self.batch, tokens, slots);
        Ok(self.engine.step(self.batch, &ids, &mut self.caches))
    }

    fn repeat(&mut self, times: usize) {
        self.caches.iter_mut().for_each(|cache| *cache = cache.repeated(self.batch, times));
        self.batch *= times;
    }
}
