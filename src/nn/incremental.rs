//! A transformer made ready for sampling: weights packed once, one cache a layer, a few rows of values a step.
//!
//! Everything that is summed is summed in an order of its own, so a sequence has the same logits, bit for bit, whatever its
//! batch, the number of positions in a step, and the threads. On the host, without tensors: a step at batch 1 takes as long
//! as reading the weights once, and copies of them would double that.
//!
//! Legend: B batch, F positions in a step, C width.

use crate::kernels::Real;
use crate::kernels::cpu::activation::{self, Activation};
use crate::kernels::cpu::packed::Packed;
use crate::kernels::cpu::{embed, norm};
use crate::ops::{KvCache, Mask};

/// A layer norm's gain and bias.
#[derive(Debug, Clone)]
pub struct Norm<E> {
    /// (C)
    pub gain: Vec<E>,
    /// (C)
    pub bias: Vec<E>,
    /// ε
    pub epsilon: f64,
}

/// One block of [`Block`](super::Block)'s form.
#[derive(Debug, Clone)]
pub struct IncrementalBlock<E> {
    /// Before attention.
    pub ln_1: Norm<E>,
    /// Queries, keys and values.
    pub qkv: Packed<E>,
    /// Attention's output.
    pub out: Packed<E>,
    /// Before the MLP.
    pub ln_2: Norm<E>,
    /// Widens.
    pub up: Packed<E>,
    /// Narrows.
    pub down: Packed<E>,
    /// Of the branches' results; none without a sandwich.
    pub after: Vec<Norm<E>>,
    /// Between the MLP's maps.
    pub activation: Activation,
    /// Heads of attention.
    pub heads: usize,
}

/// Embeddings, blocks, norms and a head.
#[derive(Debug, Clone)]
pub struct Incremental<E> {
    /// What is summed for a position: a row of each table (rows, C).
    pub tables: Vec<Vec<E>>,
    /// In order.
    pub blocks: Vec<IncrementalBlock<E>>,
    /// After the blocks, one after the other.
    pub norms: Vec<Norm<E>>,
    /// To the logits.
    pub head: Packed<E>,
}

impl<E: Real> Norm<E> {
    fn forward(&self, x: &[E]) -> Vec<E> {
        let rows = x.len() / self.gain.len();
        let (mut y, mut mean, mut rstd) = (vec![E::zero(); x.len()], vec![E::zero(); rows], vec![E::zero(); rows]);
        norm::forward(x, &self.gain, &self.bias, self.epsilon, &mut y, &mut mean, &mut rstd);
        y
    }
}

impl<E: Real> IncrementalBlock<E> {
    /// x (B, F, C) += attention(norm(x)), then += mlp(norm(x)).
    fn step(&self, batch: usize, x: &mut [E], cache: &mut KvCache<E>) {
        let qkv = self.qkv.forward(&self.ln_1.forward(x));
        self.add(0, self.out.forward(&cache.attend(batch, &qkv)), x);
        let wide = self.up.forward(&self.ln_2.forward(x));
        let mut active = vec![E::zero(); wide.len()];
        activation::forward(self.activation, &wide, &mut active);
        self.add(1, self.down.forward(&active), x);
    }

    /// x += a branch's result, normalised where there is a sandwich.
    fn add(&self, branch: usize, y: Vec<E>, x: &mut [E]) {
        let y = self.after.get(branch).map(|norm| norm.forward(&y)).unwrap_or(y);
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }
}

impl<E: Real> Incremental<E> {
    /// Empty caches for `batch` sequences. One mask a layer.
    pub fn caches(&self, batch: usize, masks: &[Mask]) -> Vec<KvCache<E>> {
        let width = self.norms[0].gain.len();
        masks.iter().zip(&self.blocks).map(|(mask, block)| KvCache::new(batch, block.heads, width, mask)).collect()
    }

    /// The logits (B, O) of the last of the positions, which follow on those in the caches. `ids`: for each table the rows of
    /// the positions (B, F), [`ABSENT`](crate::ops::ABSENT) for none.
    pub fn step(&self, batch: usize, ids: &[Vec<u32>], caches: &mut [KvCache<E>]) -> Vec<E> {
        // From here on every loop is split by a worker of the pool, which wakes the others faster than a stranger does.
        rayon::scope(|_| {
            let width = self.norms[0].gain.len();
            let mut x = vec![E::zero(); ids[0].len() * width];
            let mut rows = x.clone();
            for (table, ids) in self.tables.iter().zip(ids) {
                embed::forward(table, width, ids, &mut rows);
                x.iter_mut().zip(&rows).for_each(|(x, &row)| *x += row);
            }
            for (block, cache) in self.blocks.iter().zip(caches) {
                block.step(batch, &mut x, cache);
            }
            let fresh = x.len() / batch.max(1);
            let last = x.chunks(fresh.max(1)).flat_map(|x| &x[fresh - width..]).copied().collect();
            self.head.forward(&self.norms.iter().fold(last, |x: Vec<E>, norm| norm.forward(&x)))
        })
    }
}
