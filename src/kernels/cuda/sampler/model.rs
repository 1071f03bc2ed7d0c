//! A transformer's weights on the GPU, and which places of a cache its masks show.

use super::super::gpu::Gpu;
use crate::kernels::cpu::activation::Activation;
use crate::kernels::cpu::embed::ABSENT;
use crate::kernels::cpu::packed::{Packed, Precision};
use crate::mask::CachePlan;
use cudarc::driver::CudaSlice;
use dfdx::tensor::CudaError;

/// A linear map.
#[derive(Debug)]
pub struct Map {
    pub(super) weights: CudaSlice<u8>,
    pub(super) scales: Option<CudaSlice<f32>>,
    pub(super) bias: CudaSlice<f32>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) precision: Precision,
}

/// A layer norm.
#[derive(Debug)]
pub struct Norm {
    pub(super) gain: CudaSlice<f32>,
    pub(super) bias: CudaSlice<f32>,
    pub(super) columns: usize,
    pub(super) epsilon: f32,
}

/// One block: x += after(attention(norm(x))), then x += after(mlp(norm(x))).
#[derive(Debug)]
pub struct Block {
    /// Before attention.
    pub ln_1: Norm,
    /// Queries, keys and values.
    pub qkv: Map,
    /// Attention's output.
    pub out: Map,
    /// Before the MLP.
    pub ln_2: Norm,
    /// Widens.
    pub up: Map,
    /// Narrows.
    pub down: Map,
    /// Of the branches' results; none without a sandwich.
    pub after: Vec<Norm>,
    /// Between the MLP's maps.
    pub activation: Activation,
    /// Heads of attention, of at most 128 values.
    pub heads: usize,
}

/// A mask's places and what each query sees.
#[derive(Debug)]
pub(super) struct LaunchPlan {
    pub(super) of: CachePlan,
    pub(super) places: CudaSlice<u32>,
    pub(super) starts: CudaSlice<u32>,
    pub(super) seen: CudaSlice<u32>,
}

/// Embeddings, blocks, norms and a head.
#[derive(Debug)]
pub struct Transformer {
    pub(super) gpu: &'static Gpu,
    /// All tables, one after the other, and the rows of each.
    pub(super) table: CudaSlice<f32>,
    pub(super) rows: Vec<usize>,
    pub(super) blocks: Vec<Block>,
    /// Those that differ, and which of them each block has.
    pub(super) plans: Vec<LaunchPlan>,
    pub(super) plan_of: Vec<usize>,
    pub(super) norms: Vec<Norm>,
    pub(super) head: Map,
}

impl Map {
    /// A copy of `packed`.
    pub fn new(gpu: &Gpu, packed: &Packed<f32>) -> Result<Map, CudaError> {
        let (weights, scales) = packed.rows();
        Ok(Map {
            weights: gpu.upload(&weights)?,
            scales: scales.map(|scales| gpu.upload(scales)).transpose()?,
            bias: gpu.upload(packed.bias())?,
            inputs: packed.inputs(),
            outputs: packed.outputs(),
            precision: packed.precision(),
        })
    }
}

impl Norm {
    /// Of rows of as many values as `gain` and `bias` have.
    pub fn new(gpu: &Gpu, gain: &[f32], bias: &[f32], epsilon: f64) -> Result<Norm, CudaError> {
        let (columns, epsilon) = (gain.len(), epsilon as f32);
        Ok(Norm { gain: gpu.upload(gain)?, bias: gpu.upload(bias)?, columns, epsilon })
    }
}

impl LaunchPlan {
    fn new(gpu: &Gpu, plan: &CachePlan) -> Result<LaunchPlan, CudaError> {
        let positions = 0..plan.positions();
        let places: Vec<u32> = positions.clone().map(|position| plan.place(position) as u32).collect();
        let (mut starts, mut seen) = (vec![0], Vec::new());
        for query in positions {
            seen.extend_from_slice(plan.seen(query));
            starts.push(seen.len() as u32);
        }
        let [places, starts, seen] = [gpu.upload(&places)?, gpu.upload(&starts)?, gpu.upload(&seen)?];
        Ok(LaunchPlan { of: plan.clone(), places, starts, seen })
    }
}

impl Transformer {
    /// `tables`: what is summed for a position, a row of each table (rows, C). One plan a block.
    pub fn new(
        gpu: &'static Gpu,
        tables: &[Vec<f32>],
        blocks: Vec<Block>,
        plans: &[&CachePlan],
        norms: Vec<Norm>,
        head: Map,
    ) -> Result<Transformer, CudaError> {
        let width = norms[0].columns;
        let mut different: Vec<&CachePlan> = Vec::new();
        let mut plan_of = Vec::new();
        for plan in plans {
            let found = different.iter().position(|known| known == plan);
            plan_of.push(found.unwrap_or(different.len()));
            if found.is_none() {
                different.push(plan);
            }
        }
        Ok(Transformer {
            gpu,
            table: gpu.upload(&tables.concat())?,
            rows: tables.iter().map(|table| table.len() / width).collect(),
            blocks,
            plans: different.into_iter().map(|plan| LaunchPlan::new(gpu, plan)).collect::<Result<_, _>>()?,
            plan_of,
            norms,
            head,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.norms[0].columns
    }

    /// The values that a sequence keeps of block `layer`, and of all blocks before it.
    fn kept(&self, layer: usize) -> usize {
        2 * self.plans[self.plan_of[layer]].of.size() * self.width()
    }

    pub(super) fn kept_before(&self, layer: usize) -> usize {
        (0..layer).map(|layer| self.kept(layer)).sum()
    }

    /// What the kernels call `inputs`: the first position, then the row of the one table that each id stands for. Of `ids`, (B, F)
    /// for each table, the positions `from..from + count` of F.
    ///
    /// # Panics
    /// If an id other than [`ABSENT`] has no row.
    pub(super) fn inputs(
        &self,
        position: usize,
        ids: &[Vec<u32>],
        fresh: usize,
        from: usize,
        count: usize,
    ) -> Vec<u32> {
        let mut inputs = vec![position as u32];
        let mut first = 0;
        for (ids, &rows) in ids.iter().zip(&self.rows) {
            for &id in ids.chunks(fresh).flat_map(|ids| &ids[from..from + count]) {
                assert!(id == ABSENT || (id as usize) < rows, "id {id} of a table of {rows} rows");
                inputs.push(if id == ABSENT { ABSENT } else { first + id });
            }
            first += rows as u32;
        }
        inputs
    }
}
