//! What a spec will cost before anything is allocated: parameters, memory by part, floating-point operations and time, for
//! each stage and for sampling; also for a preset that no machine here can hold.
//!
//! Parameters are read off the models' types ([`crate::nn::describe`]). Operations and activations come from `plan/walk.rs`,
//! which goes through each forward pass with the formulas of `plan/cost.rs`. A time is operations over the measured rate of
//! a product, times an efficiency that is stated. What is assumed is said in [`ASSUMPTIONS`] and below the table.

mod cost;
mod machine;
mod many;
mod sampling;
mod table;
pub(super) mod walk;

pub use cost::Flops;
pub use machine::Machine;
pub(super) use machine::available_bytes;
pub use many::{OneOf, Plans, of_many};
pub use sampling::SamplingPlan;
pub(super) use table::duration;

use super::models::unknown;

use crate::Result;
use crate::models::{clip::Clip, dvae::Dvae, transformer::Transformer, vqvae::Vqvae};
use crate::nn::{Module, describe};
use crate::shape::{Preset, TransformerShape};
use crate::spec::Spec;
use crate::spec::{Ema, FirstStageKind};
use crate::train::transformer_stage::patterns;
use dfdx::prelude::Cpu;
use serde::Serialize;
use walk::Part;

/// The share of the measured rate that the transformers' training reaches.
pub const LINEAR_EFFICIENCY: f64 = 0.45;
/// The share that the convolutional stages' training reaches.
pub const CONVOLUTION_EFFICIENCY: f64 = 0.45;
/// The share that cached sampling reaches: every step reads all weights for a few rows,
/// in an order of summation that no batch changes.
pub const DECODING_EFFICIENCY: f64 = 0.12;

/// Bytes of a value.
const VALUE: f64 = 4.0;
/// Copies of the weights: in the model and in the optimiser. Those that measure come and go between two steps, when a checkpoint
/// takes more.
const WEIGHT_COPIES: f64 = 2.0;

/// What the numbers of a plan stand on.
pub const ASSUMPTIONS: &[&str] = &[
    "every value has four bytes; memory is that of one stage alone, without data and program",
    "weights count twice: in the model and in the optimiser; a copy that measures comes and goes, and is less than a checkpoint",
    "kept: what the tape holds for the backward pass of a batch, or of one of its parts; in flight: tensors beside it",
    "gradients: once kept and in flight are free again; checkpoint: while one is written, when the gradients are free too",
    "training is three forward passes' products (two for the first layer, four for a block that is run again); pointwise \
     work and embeddings are left out",
    "attention multiplies the 32×32 tiles that its pattern touches, in sampling the pairs that it sees; in brackets: all",
    "time leaves out validation, and coding pictures for the transformer",
];

/// The cost of a spec.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The spec's name.
    pub name: String,
    /// Its preset.
    pub preset: &'static str,
    /// What times and warnings are relative to.
    pub machine: Machine,
    /// The stages in the order they are trained.
    pub stages: Vec<StagePlan>,
    /// After training.
    pub sampling: SamplingPlan,
    /// What does not fit, a sentence each.
    pub warnings: Vec<String>,
}

/// One stage in training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StagePlan {
    /// As in metrics and checkpoints.
    pub name: &'static str,
    /// The model's parts.
    pub parts: Vec<PartPlan>,
    /// Examples of a step.
    pub batch: usize,
    /// Updates.
    pub steps: u64,
    /// In training.
    pub memory: Memory,
    /// Of one step.
    pub flops: Flops,
    /// Of one step; `None` where the machine was not measured.
    pub seconds: Option<f64>,
}

/// One part of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartPlan {
    /// `encoder`, `layers`, …
    pub name: &'static str,
    /// Numbers that it learns.
    pub parameters: usize,
    /// Of one example, forward.
    pub forward: Flops,
    /// Of one example, forward and backward.
    pub training: Flops,
    /// Kept for the backward pass of one example, bytes.
    pub kept_bytes: f64,
}

/// Bytes of a stage in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Memory {
    /// All copies.
    pub weights: f64,
    /// At the end of a backward pass, when `kept` and `in_flight` are free again.
    pub gradients: f64,
    /// AdamW's two.
    pub moments: f64,
    /// The moving average, if there is one.
    pub average: f64,
    /// What the tape holds for the backward pass.
    pub kept: f64,
    /// Gradients beside the tape where both together are most.
    pub in_flight: f64,
    /// While one is written, between two steps.
    pub checkpoint: f64,
}

impl Memory {
    /// Between two steps.
    pub fn held(self) -> f64 {
        self.weights + self.moments + self.average
    }

    /// The most that a step takes beside that. Half-way through the backward pass half of what was kept is free and half of
    /// the gradients are there: the most is at one of its ends.
    pub fn step(self) -> f64 {
        (self.kept + self.in_flight).max(self.gradients)
    }

    /// The most at any time.
    pub fn peak(self) -> f64 {
        self.held() + self.step().max(self.checkpoint)
    }
}

/// The cost of `spec` on this machine.
///
/// # Errors
/// [`crate::Error::Usage`] for an unknown preset, or attention patterns that do not fit its depth.
pub fn plan(spec: &Spec) -> Result<Plan> {
    plan_on(spec, Machine::measure())
}

/// The cost of `spec` on a given machine: a pure function.
///
/// # Errors
/// Those of [`plan`].
pub fn plan_on(spec: &Spec, machine: Machine) -> Result<Plan> {
    crate::with_preset!(spec.preset.as_str(), P => of_preset::<P>(spec, machine))
        .unwrap_or_else(|| Err(unknown(&spec.preset)))
}

impl Plan {
    /// Of everything; `None` where the machine was not measured.
    pub fn seconds(&self) -> Option<f64> {
        self.stages.iter().map(StagePlan::in_all).chain([self.sampling.in_all()]).sum()
    }

    /// The most bytes at any time.
    pub fn peak(&self) -> f64 {
        self.stages.iter().map(|stage| stage.memory.peak()).fold(self.sampling.peak(), f64::max)
    }
}

impl StagePlan {
    /// Seconds of all steps; `None` where the machine was not measured.
    pub fn in_all(&self) -> Option<f64> {
        self.seconds.map(|seconds| seconds * self.steps as f64)
    }
}

fn of_preset<P: Preset>(spec: &Spec, machine: Machine) -> Result<Plan> {
    let () = P::CHECK;
    let (first, second, third) = (&spec.first_stage, &spec.transformer, &spec.clip);
    let patterns = patterns(second, <P::Transformer as TransformerShape>::DEPTH)?;
    // A stage that is taken from elsewhere is not trained.
    let steps = |from: &Option<String>, steps| if from.is_some() { 0 } else { steps };
    let (name, walked, parameters) = match first.kind {
        FirstStageKind::Dvae => ("dvae", walk::dvae::<P::Dvae>(), sizes::<Dvae<P::Dvae, f32, Cpu>>()),
        FirstStageKind::Vqvae => ("vqvae", walk::vqvae::<P::Dvae>(), sizes::<Vqvae<P::Dvae, f32, Cpu>>()),
    };
    let stages = vec![
        stage(
            name,
            &walked,
            &parameters,
            Work::new(first.batch, first.accumulate, steps(&first.from, first.steps)),
            first.ema,
            machine,
        ),
        stage(
            "transformer",
            &walk::transformer::<P::Transformer>(&patterns, second.recompute),
            &sizes::<Transformer<P::Transformer, f32, Cpu>>(),
            Work::new(second.batch, second.accumulate, steps(&second.from, second.steps)),
            second.ema,
            machine,
        ),
        stage(
            "clip",
            &walk::clip::<P::Clip>(third.batch),
            &sizes::<Clip<P::Clip, f32, Cpu>>(),
            Work::new(third.batch, 1, steps(&third.from, third.steps)),
            third.ema,
            machine,
        ),
    ];
    let sampling = sampling::plan::<P::Transformer>(spec, &stages, &patterns, machine);
    let mut needs: Vec<(&str, f64)> = stages.iter().map(|stage| (stage.name, stage.memory.peak())).collect();
    needs.push(("sampling", sampling.peak()));
    let warnings = needs.into_iter().filter_map(|(name, bytes)| warning(name, bytes, machine)).collect();
    Ok(Plan { name: spec.name.clone(), preset: P::NAME, machine, stages, sampling, warnings })
}

pub(super) fn warning(name: &str, bytes: f64, machine: Machine) -> Option<String> {
    let available = machine.available_bytes.filter(|&available| bytes > available)?;
    Some(format!("{name} needs {}, but {} are available", table::bytes(bytes), table::bytes(available)))
}

/// Names and numbers of values of a model's parameters.
fn sizes<M: Module<f32, Cpu>>() -> Vec<(String, usize)> {
    let declared = describe::<M, f32, Cpu>().into_iter();
    declared.map(|parameter| (parameter.name, parameter.shape.iter().product())).collect()
}

/// What a stage is asked to do.
#[derive(Clone, Copy)]
struct Work {
    batch: usize,
    accumulate: usize,
    steps: u64,
}

impl Work {
    fn new(batch: usize, accumulate: usize, steps: u64) -> Self {
        Work { batch, accumulate, steps }
    }
}

fn stage(
    name: &'static str,
    walked: &[Part],
    parameters: &[(String, usize)],
    Work { batch, accumulate, steps }: Work,
    ema: Ema,
    machine: Machine,
) -> StagePlan {
    let mut owned = vec![0; walked.len()];
    for (name, size) in parameters {
        let owner = |part: &Part| part.prefixes.iter().any(|prefix| name.starts_with(prefix));
        if let Some(part) = walked.iter().position(owner) {
            owned[part] += size;
        }
    }
    let parts = walked.iter().zip(owned).map(|(part, parameters)| PartPlan {
        name: part.name,
        parameters,
        forward: part.cost.forward,
        training: part.cost.training,
        kept_bytes: VALUE * part.cost.kept,
    });
    let weights = VALUE * parameters.iter().map(|(_, size)| *size as f64).sum::<f64>();
    let largest = parameters.iter().map(|(_, size)| *size).max().unwrap_or(0);
    let averages = if ema.decay > 0.0 { 1.0 } else { 0.0 };
    let at_once = (batch as f64 / accumulate as f64).ceil();
    let kept = VALUE * at_once * walked.iter().map(|part| part.cost.kept).sum::<f64>();
    let (mut before, mut most) = (0.0, 0f64);
    for Part { cost, .. } in walked {
        most = most.max(before + cost.most);
        before += cost.kept;
    }
    let summed = if accumulate > 1 { weights } else { 0.0 }; // the gradients of earlier parts
    let memory = Memory {
        weights: WEIGHT_COPIES * weights,
        gradients: weights,
        moments: 2.0 * weights,
        average: averages * weights,
        kept,
        in_flight: summed + (VALUE * at_once * most - kept).max(0.0),
        // The bytes of three files, weights and moments and average, and a tensor on its way into them.
        checkpoint: (3.0 + averages) * weights + VALUE * largest as f64,
    };
    let flops = walked.iter().map(|part| part.cost.training).sum::<Flops>() * batch as f64;
    StagePlan { name, parts: parts.collect(), batch, steps, memory, flops, seconds: seconds(flops, machine) }
}

/// The time of operations in training, or in decoding and ranking pictures.
fn seconds(flops: Flops, machine: Machine) -> Option<f64> {
    let linear = (flops.linear + flops.attention) / LINEAR_EFFICIENCY;
    Some((linear + flops.convolution / CONVOLUTION_EFFICIENCY) / machine.flops_per_second?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::paper_order;
    use crate::spec::ClipConfig;

    /// Each part's walk meets exactly the parameters that the model's type has there.
    fn walks_everything<P: Preset>() {
        let patterns = paper_order(<P::Transformer as TransformerShape>::DEPTH, 11);
        let models = [
            (walk::dvae::<P::Dvae>(), sizes::<Dvae<P::Dvae, f32, Cpu>>()),
            (walk::vqvae::<P::Dvae>(), sizes::<Vqvae<P::Dvae, f32, Cpu>>()),
            (walk::transformer::<P::Transformer>(&patterns, true), sizes::<Transformer<P::Transformer, f32, Cpu>>()),
            (walk::clip::<P::Clip>(ClipConfig::default().batch), sizes::<Clip<P::Clip, f32, Cpu>>()),
        ];
        let machine = Machine { threads: 1, flops_per_second: None, available_bytes: None };
        for (walked, parameters) in models {
            let planned = stage("", &walked, &parameters, Work::new(1, 1, 1), Ema::default(), machine);
            let walked: Vec<_> = walked.iter().map(|part| (part.name, part.cost.parameters)).collect();
            let described: Vec<_> = planned.parts.iter().map(|part| (part.name, part.parameters)).collect();
            assert_eq!(walked, described, "{}", P::NAME);
            let all: usize = parameters.iter().map(|(_, size)| size).sum();
            assert_eq!(described.iter().map(|(_, size)| size).sum::<usize>(), all, "{}", P::NAME);
        }
    }

    #[test]
    fn the_walks_meet_every_parameter_of_every_preset() {
        for name in crate::models::presets::NAMES {
            crate::with_preset!(*name, P => walks_everything::<P>()).unwrap();
        }
    }

    #[test]
    fn a_time_is_work_over_what_the_machine_reaches() {
        let machine = Machine { threads: 1, flops_per_second: Some(100.0), available_bytes: None };
        let flops = Flops { convolution: 50.0, linear: 80.0, attention: 20.0, dense_attention: 1e9 };
        let expected = 0.5 / CONVOLUTION_EFFICIENCY + 1.0 / LINEAR_EFFICIENCY;
        assert!((seconds(flops, machine).unwrap() - expected).abs() < 1e-12);
        assert_eq!(seconds(flops, Machine { flops_per_second: None, ..machine }), None);
    }
}
