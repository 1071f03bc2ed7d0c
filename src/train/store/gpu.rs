//! AdamW where the weights are: on a GPU, with experimental kernels. The host sees a gradient's norm at each step, and the rest
//! only for a checkpoint.

use super::{Move, ParameterStore, Rule, missing, write};
use crate::error::{Error, Result};
use crate::kernels::cuda::adamw::Moments;
use crate::kernels::cuda::experimental;
use crate::kernels::cuda::gpu::{Address, Gpu};
use crate::nn::{self, Module};
use crate::ops::Backend;
use crate::spec::Method;
use crate::train::state::State;
use cudarc::driver::CudaSlice;
use dfdx::prelude::{Cuda, Gradients};
use std::any::Any;
use std::borrow::Cow;

/// The moments and the moving average of every parameter, and the sums of their gradients, on the GPU.
#[derive(Debug)]
pub struct OnGpu {
    gpu: &'static Gpu,
    moments: Vec<Moments>,
    /// Empty before the first part of a batch.
    gradients: Vec<CudaSlice<f32>>,
}

/// What became of a model and its state.
pub enum Opened<M> {
    /// They are on the GPU.
    Store(M, OnGpu),
    /// There are no kernels for them there.
    NoKernels(M, State),
}

impl OnGpu {
    /// A copy of `state` where `device` is a GPU that was opened with experimental kernels, and there are some for `method`;
    /// and the model, with weights of its own then: they are moved in place.
    pub fn open<D: Backend<f32>, M: Module<f32, D>>(
        device: &D,
        mut model: M,
        state: State,
        method: Method,
    ) -> Result<Opened<M>> {
        let on_gpu = method == Method::Adamw && (device as &dyn Any).is::<Cuda>();
        let Some(gpu) = experimental().filter(|_| on_gpu) else { return Ok(Opened::NoKernels(model, state)) };
        // Written values are shared with no clone.
        write(&mut model, state.weights.iter().map(|weight| &weight.values))?;
        Ok(Opened::Store(model, OnGpu { gpu, moments: moments(gpu, &state)?, gradients: Vec::new() }))
    }
}

impl<M: Module<f32, D>, D: Backend<f32>> ParameterStore<M, D> for OnGpu {
    fn add(&mut self, model: &mut M, mut gradients: Gradients<f32, D>) -> Result<()> {
        if self.gradients.is_empty() {
            self.gradients = self.moments.iter().map(|of| of.sum(self.gpu)).collect::<std::result::Result<_, _>>()?;
        }
        let mut sums = self.gradients.iter();
        nn::gradient_addresses(model, &mut gradients, |name, gradient| {
            Ok(self.gpu.add_gradient(sums.next().ok_or_else(|| missing(name))?, gradient)?)
        })
    }

    fn forget(&mut self) {
        self.gradients.clear();
    }

    fn squares(&self) -> Result<Vec<f64>> {
        Ok(self.gpu.squares(&self.gradients)?)
    }

    fn update(&mut self, model: &mut M, moves: &[Move]) -> Result<()> {
        let mut all = moves.iter().zip(&self.gradients).zip(&self.moments);
        nn::addresses(model, self.gpu, |name, at| {
            let ((of, gradient), moments) = all.next().ok_or_else(|| missing(name))?;
            match of.rule {
                Rule::AdamW(constants) => Ok(self.gpu.adamw(&constants, of.bound, at, gradient, moments)?),
                Rule::Muon(..) => Err(Error::Device(format!("{name}: Muon has no kernel on a GPU"))),
            }
        })
    }

    fn not_finite(&self) -> Option<(String, f32)> {
        None
    }

    fn average(&mut self, model: &mut M, decay: f64) -> Result<()> {
        let mut averages = self.moments.iter().filter_map(|of| of.average.as_ref());
        nn::addresses(model, self.gpu, |_, at: Address| match averages.next() {
            Some(average) => Ok(self.gpu.moving_average(average, at, decay)?),
            None => Ok(()),
        })
    }

    fn state(&self, model: &M) -> Result<Cow<'_, State>> {
        let read = |memory: &CudaSlice<f32>| -> Result<Vec<f32>> { Ok(self.gpu.read(memory)?) };
        Ok(Cow::Owned(State {
            weights: nn::export(model)?,
            mean: self.moments.iter().map(|of| read(&of.mean)).collect::<Result<_>>()?,
            variance: self.moments.iter().map(|of| read(&of.variance)).collect::<Result<_>>()?,
            average: self.moments.iter().filter_map(|of| of.average.as_ref()).map(read).collect::<Result<_>>()?,
        }))
    }

    fn restore(&mut self, model: &mut M, state: State) -> Result<()> {
        self.moments = moments(self.gpu, &state)?;
        write(model, state.weights.iter().map(|weight| &weight.values))
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
