//! A CLIP without its type: what everything that ranks, classifies or measures asks of it.

use crate::error::Result;

/// Unit features of pictures and captions.
pub trait Embedder {
    /// Side of the pictures.
    fn side(&self) -> usize;
    /// Ids of text.
    fn vocabulary(&self) -> usize;
    /// Text slots.
    fn context(&self) -> usize;
    /// What cosines are multiplied by: exp(logit_scale).
    fn scale(&self) -> f32;
    /// Features of pictures (B, side, side, 3) with values in [0, 1]: (B, embed).
    fn images(&self, pixels: &[f32]) -> Result<Vec<f32>>;
    /// Features of captions (B, context): (B, embed).
    fn texts(&self, ids: &[u32]) -> Result<Vec<f32>>;
}

/// `f` over at most `chunk` of the inputs that `values` holds, `each` long, at a time: to bound memory.
pub fn by_chunk<X, Y>(
    values: &[X],
    each: usize,
    chunk: usize,
    f: impl Fn(&[X], usize) -> Result<Vec<Y>>,
) -> Result<Vec<Y>> {
    let mut out = Vec::new();
    for chunk in values.chunks((chunk * each).max(1)) {
        out.extend(f(chunk, chunk.len() / each)?);
    }
    Ok(out)
}
