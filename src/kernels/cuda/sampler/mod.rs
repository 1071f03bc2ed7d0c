//! Sampling on the GPU: a transformer's weights, its caches, and a step as launches of sampler.cu and few_rows.cu.
//!
//! Everything that changes from one step to the next comes in one short copy; so the step of a single position is recorded once
//! and then played, a call of the driver's for all of its kernels. A sequence has the same logits, bit for bit, whatever its
//! batch and however many positions came at once.
//!
//! Legend: B batch, F positions in a step, C width, O outputs.

mod model;

pub use model::{Block, Map, Norm, Transformer};

use super::gpu::{Address, Parameter};
use super::graph::{Graph, Launch};
use super::grids::Grid;
use crate::kernels::cpu::activation::Activation;
use crate::kernels::cpu::packed::Precision;
use cudarc::driver::CudaSlice;
use dfdx::tensor::CudaError;

/// A step of F positions: what it reads, what it runs, what it gives.
#[derive(Debug)]
struct Step {
    inputs: CudaSlice<u32>,
    launches: Vec<Launch>,
    logits: CudaSlice<f32>,
    /// What lies between, which the launches name.
    _values: [CudaSlice<f32>; 5],
}

impl Step {
    fn new(model: &Transformer, cache: &CudaSlice<f32>, batch: usize, fresh: usize) -> Result<Step, CudaError> {
        let (gpu, width, rows) = (model.gpu, model.width(), batch * fresh);
        let wide = model.blocks.iter().map(|block| block.up.outputs).max().unwrap_or(0);
        let inputs = gpu.memory(1 + model.rows.len() * rows)?;
        let logits = gpu.memory(batch * model.head.outputs)?;
        let [x, normal, qkv, mixed, wide] = [
            gpu.memory(rows * width)?,
            gpu.memory(rows * width)?,
            gpu.memory(rows * 3 * width)?,
            gpu.memory(rows * width)?,
            gpu.memory(rows * wide)?,
        ];
        let mut launches = vec![Launch {
            kernel: ("sampler", "embed_sum"),
            grid: Grid::values(rows * width),
            parameters: vec![
                (&model.table).into(),
                (&inputs).into(),
                (&x).into(),
                model.rows.len().into(),
                rows.into(),
                width.into(),
            ],
        }];
        let stride = model.kept_before(model.blocks.len());
        for (layer, block) in model.blocks.iter().enumerate() {
            let plan = &model.plans[model.plan_of[layer]];
            let dim = width / block.heads;
            let kept: Parameter = Address::offset(cache, model.kept_before(layer)).into();
            // x += a branch's result, normalised where there is a sandwich.
            let add = |branch: usize, map: &Map, from: &CudaSlice<f32>| match block.after.get(branch) {
                Some(after) => vec![
                    product(map, from, None, None, &normal, rows),
                    norm_rows(after, (&normal).into(), width, Some(&x), &x, rows),
                ],
                None => vec![product(map, from, None, Some(&x), &x, rows)],
            };
            launches.push(norm_rows(&block.ln_1, (&x).into(), width, None, &normal, rows));
            launches.push(product(&block.qkv, &normal, None, None, &qkv, rows));
            let cached = [(&qkv).into(), kept, stride.into(), (&inputs).into(), (&plan.places).into()];
            let size = plan.of.size().into();
            if fresh > 1 {
                launches.push(Launch {
                    kernel: ("sampler", "store"),
                    grid: Grid::store([batch, fresh]),
                    parameters: [&cached[..], &[size, block.heads.into(), dim.into()]].concat(),
                });
            }
            let lists = [(&plan.starts).into(), (&plan.seen).into(), (&mixed).into(), size, dim.into()];
            launches.push(Launch {
                kernel: ("sampler", "attend"),
                grid: Grid::attend([batch, block.heads, fresh]),
                parameters: [cached, lists].concat(),
            });
            launches.extend(add(0, &block.out, &mixed));
            launches.push(norm_rows(&block.ln_2, (&x).into(), width, None, &normal, rows));
            launches.push(product(&block.up, &normal, Some(block.activation), None, &wide, rows));
            launches.extend(add(1, &block.down, &wide));
        }
        // Only the last position of each sequence has logits.
        let (mut from, mut stride) = (Address::offset(&x, (fresh - 1) * width).into(), fresh * width);
        for norm in &model.norms {
            launches.push(norm_rows(norm, from, stride, None, &normal, batch));
            (from, stride) = ((&normal).into(), width);
        }
        launches.push(product(&model.head, &normal, None, None, &logits, batch));
        Ok(Step { inputs, launches, logits, _values: [x, normal, qkv, mixed, wide] })
    }
}

/// y (R, O) = [add +] f(x·wᵀ + b).
fn product(
    map: &Map,
    x: &CudaSlice<f32>,
    f: Option<Activation>,
    add: Option<&CudaSlice<f32>>,
    y: &CudaSlice<f32>,
    rows: usize,
) -> Launch {
    let (name, at_once) = match map.precision {
        Precision::F32 => ("few_rows_f32", 4),
        Precision::Bf16 => ("few_rows_bf16", 8),
        Precision::Int8 => ("few_rows_int8", 16),
    };
    let perhaps = |x: Option<&CudaSlice<f32>>| x.map_or(Address::NONE, Address::of).into();
    Launch {
        kernel: ("few_rows", name),
        grid: Grid::few_rows([rows, map.inputs, map.outputs], at_once),
        parameters: vec![
            x.into(),
            (&map.weights).into(),
            perhaps(map.scales.as_ref()),
            (&map.bias).into(),
            perhaps(add),
            y.into(),
            rows.into(),
            map.inputs.into(),
            map.outputs.into(),
            f.into(),
        ],
    }
}

/// y (R, C) = [add +] norm(x), whose rows begin `stride` values after each other. y may be x.
fn norm_rows(
    norm: &Norm,
    x: Parameter,
    stride: usize,
    add: Option<&CudaSlice<f32>>,
    y: &CudaSlice<f32>,
    rows: usize,
) -> Launch {
    Launch {
        kernel: ("sampler", "norm_rows"),
        grid: Grid::line(rows, 256),
        parameters: vec![
            x,
            (&norm.gain).into(),
            (&norm.bias).into(),
            add.map_or(Address::NONE, Address::of).into(),
            y.into(),
            stride.into(),
            norm.columns.into(),
            norm.epsilon.into(),
        ],
    }
}

/// Sequences that grow together.
#[derive(Debug)]
pub struct Sequences<'a> {
    model: &'a Transformer,
    batch: usize,
    filled: usize,
    /// (B, blocks, 2, heads, places, D)
    cache: CudaSlice<f32>,
    /// The step of one position.
    single: Option<(Graph, Step)>,
}

impl<'a> Sequences<'a> {
    /// `batch` sequences without a position.
    pub fn new(model: &'a Transformer, batch: usize) -> Result<Sequences<'a>, CudaError> {
        let cache = model.gpu.memory(batch * model.kept_before(model.blocks.len()))?;
        Ok(Sequences { model, batch, filled: 0, cache, single: None })
    }

    /// How many there are.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The logits (B, O) of the last of the positions, which follow on those that there are. `ids`: for each table the rows of the
    /// positions (B, F), [`ABSENT`] for none.
    ///
    /// # Panics
    /// If an id has no row, or there are more positions than the plans have.
    pub fn advance(&mut self, ids: &[Vec<u32>]) -> Result<Vec<f32>, CudaError> {
        if self.batch == 0 {
            return Ok(Vec::new());
        }
        let (fresh, start) = (ids[0].len() / self.batch, self.filled);
        let end = start + fresh;
        let mut logits = Vec::new();
        while self.filled < end {
            let together = self.model.plans.iter().map(|plan| plan.of.together(self.filled, end));
            let count = together.min().unwrap_or(end - self.filled);
            let inputs = self.model.inputs(self.filled, ids, fresh, self.filled - start, count);
            logits = self.step(inputs, count)?;
            self.filled += count;
        }
        Ok(logits)
    }

    fn step(&mut self, inputs: Vec<u32>, count: usize) -> Result<Vec<f32>, CudaError> {
        let gpu = self.model.gpu;
        if count > 1 {
            let mut step = Step::new(self.model, &self.cache, self.batch, count)?;
            gpu.write(inputs, &mut step.inputs)?;
            gpu.run(&step.launches)?;
            return gpu.read(&step.logits);
        }
        let (graph, step) = match self.single.take() {
            Some(single) => self.single.insert(single),
            None => {
                let step = Step::new(self.model, &self.cache, self.batch, 1)?;
                self.single.insert((gpu.record(&step.launches)?, step))
            }
        };
        gpu.write(inputs, &mut step.inputs)?;
        gpu.play(graph)?;
        gpu.read(&step.logits)
    }

    /// Each sequence `times` times, one after the other.
    pub fn repeat(&mut self, times: usize) -> Result<(), CudaError> {
        let row = self.model.kept_before(self.model.blocks.len());
        // What was recorded names the old memory.
        self.single = None;
        self.cache = self.model.gpu.repeated(&self.cache, row, times)?;
        self.batch *= times;
        Ok(())
    }
}
