//! AdamW where the weights are: on a GPU, with experimental kernels. The host sees a gradient's norm at each step, and the rest
//! only for a checkpoint.

use super::state::{Counts, State};
use crate::error::{Error, Result};
use crate::kernels::cpu::adamw::AdamW;
use crate::kernels::cuda::adamw::Moments;
use crate::kernels::cuda::experimental;
use crate::kernels::cuda::gpu::{Address, Gpu};
use crate::nn::{self, Parameter};
use crate::ops::Backend;
use crate::spec::Method;
use cudarc::driver::CudaSlice;
use dfdx::nn::TensorCollection;
use dfdx::prelude::{Cuda, Gradients};
use std::any::Any;

/// The moments and the moving average of every parameter, on the GPU.
#[derive(Debug)]
pub struct AdamwOnGpu {
    gpu: &'static Gpu,
    moments: Vec<Moments>,
}

impl AdamwOnGpu {
    /// A copy of `state` where `device` is a GPU that was opened with experimental kernels, and there are some for `method`;
    /// and the model, with weights of its own then: they are moved in place.
    pub fn new<D: Backend<f32>, M: TensorCollection<f32, D>>(
        device: &D,
        mut model: M,
        state: &State,
        method: Method,
    ) -> Result<(M, Option<AdamwOnGpu>)> {
        let on_gpu = method == Method::Adamw && (device as &dyn Any).is::<Cuda>();
        let Some(gpu) = experimental().filter(|_| on_gpu) else { return Ok((model, None)) };
        let mut weights = state.weights.iter();
        // Written values are shared with no clone.
        nn::import(&mut model, |name, _| match weights.next() {
            Some(weight) => Ok(&weight.values),
            None => Err(Error::data(name, "the model has more parameters than the state")),
        })?;
        Ok((model, Some(AdamwOnGpu { gpu, moments: moments(gpu, state)? })))
    }

    /// Takes `state` in place of what is there.
    pub fn put(&mut self, state: &State) -> Result<()> {
        self.moments = moments(self.gpu, state)?;
        Ok(())
    }

    /// Everything as of now; the weights are those of `model`.
    pub fn read<D, M>(&self, model: &M, counts: Counts) -> Result<State>
    where
        D: Backend<f32>,
        M: TensorCollection<f32, D> + Clone,
    {
        let read = |memory: &CudaSlice<f32>| -> Result<Vec<f32>> { Ok(self.gpu.read(memory)?) };
        Ok(State {
            weights: nn::export(model)?,
            mean: self.moments.iter().map(|of| read(&of.mean)).collect::<Result<_>>()?,
            variance: self.moments.iter().map(|of| read(&of.variance)).collect::<Result<_>>()?,
            average: self.moments.iter().filter_map(|of| of.average.as_ref()).map(read).collect::<Result<_>>()?,
            counts,
        })
    }

    /// Adds the gradients of a part of a batch to `sums`, empty before the first part.
    pub fn add<D: Backend<f32>, M: TensorCollection<f32, D>>(
        &self,
        model: &mut M,
        gradients: &mut Gradients<f32, D>,
        sums: &mut Vec<CudaSlice<f32>>,
    ) -> Result<()> {
        if sums.is_empty() {
            *sums = self.moments.iter().map(|of| of.sum(self.gpu)).collect::<std::result::Result<_, _>>()?;
        }
        let mut sums = sums.iter();
        nn::gradient_addresses(model, gradients, |_, gradient| match sums.next() {
            Some(sum) => Ok(self.gpu.add_gradient(sum, gradient)?),
            None => Ok(()),
        })
    }

    /// Σ g² of each gradient.
    pub fn squares(&self, gradients: &[CudaSlice<f32>]) -> Result<Vec<f64>> {
        Ok(self.gpu.squares(gradients)?)
    }

    /// Moves every weight by the constants that `of` gives, to a value of at most the one that it gives.
    pub fn update<D: Backend<f32>, M: TensorCollection<f32, D>>(
        &mut self,
        model: &mut M,
        weights: &[Parameter<f32>],
        gradients: &[CudaSlice<f32>],
        of: impl Fn(&Parameter<f32>) -> (AdamW, f32),
    ) -> Result<()> {
        let mut all = weights.iter().zip(gradients).zip(&self.moments);
        nn::addresses(model, self.gpu, |_, at| match all.next() {
            Some(((weight, gradient), moments)) => {
                let (constants, top) = of(weight);
                Ok(self.gpu.adamw(&constants, top, at, gradient, moments)?)
            }
            None => Ok(()),
        })
    }

    /// average ← decay·average + (1 − decay)·weight
    pub fn average<D: Backend<f32>, M: TensorCollection<f32, D>>(&mut self, model: &mut M, decay: f64) -> Result<()> {
        let mut averages = self.moments.iter().filter_map(|of| of.average.as_ref());
        nn::addresses(model, self.gpu, |_, at: Address| match averages.next() {
            Some(average) => Ok(self.gpu.moving_average(average, at, decay)?),
            None => Ok(()),
        })
    }
}

fn moments(gpu: &Gpu, state: &State) -> Result<Vec<Moments>> {
    let all = state.mean.iter().zip(&state.variance).enumerate();
    all.map(|(index, (mean, variance))| {
        let average = state.average.get(index).map(Vec::as_slice);
        Ok(Moments::new(gpu, mean, variance, average)?)
    })
    .collect()
}
