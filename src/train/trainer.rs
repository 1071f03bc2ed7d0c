//! What every stage shares: a model with its gradients, AdamW or Muon over all its parameters, the moving average, the checkpoint.

#[cfg(feature = "cuda")]
use super::adamw_on_gpu::AdamwOnGpu;
use super::state::{Files, State};
use crate::error::{Error, Result};
use crate::kernels::cpu::adamw::{self, AdamW};
use crate::kernels::cpu::muon::{self, Muon};
use crate::kernels::cpu::sum::add_scaled;
use crate::nn::{self, Parameter};
use crate::ops::{Backend, scalar};
use crate::spec::{Ema, Method, Optimizer};
use dfdx::nn::TensorCollection;
use dfdx::prelude::{Backward, OwnedTape, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;

/// A model in training.
#[derive(Debug)]
pub struct Trainer<M, D: Backend<f32>> {
    stage: &'static str,
    model: M,
    device: D,
    /// The model's weights again, and what the optimiser keeps of them. Where a GPU keeps it, this is what it began with.
    state: State,
    #[cfg(feature = "cuda")]
    gpu: Option<AdamwOnGpu>,
    optimizer: Optimizer,
    ema: Ema,
    total: u64,
    /// Parameters held below a bound after each update.
    bounds: Vec<(&'static str, f32)>,
}

/// The gradients of the parts of a batch that were run so far, summed, in the order of the weights.
#[derive(Debug, Default)]
pub struct Sum {
    loss: f64,
    gradients: Vec<Vec<f32>>,
    #[cfg(feature = "cuda")]
    on_gpu: Vec<cudarc::driver::CudaSlice<f32>>,
}

/// What one update says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The loss before the update.
    pub loss: f64,
    /// The gradient's global norm before clipping.
    pub grad_norm: f64,
    /// The learning rate used.
    pub lr: f64,
}

impl<M, D> Trainer<M, D>
where
    D: Backend<f32>,
    M: TensorCollection<f32, D, To<f32, D> = M> + Clone,
{
    /// Around a model that was just built.
    pub fn new(stage: &'static str, model: M, device: D, optimizer: Optimizer, ema: Ema, total: u64) -> Result<Self> {
        let state = State::new(nn::export(&model)?, ema.is_on());
        #[cfg(feature = "cuda")]
        let (model, gpu) = AdamwOnGpu::new(&device, model, &state, optimizer.method)?;
        Ok(Trainer {
            stage,
            model,
            device,
            state,
            #[cfg(feature = "cuda")]
            gpu,
            optimizer,
            ema,
            total,
            bounds: Vec::new(),
        })
    }

    /// Holds parameter `name` at or below `bound`.
    pub fn bounded(mut self, name: &'static str, bound: f32) -> Self {
        self.bounds.push((name, bound));
        self
    }

    /// The weights in training.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// How many numbers are learned.
    pub fn num_parameters(&self) -> usize {
        self.state.weights.iter().map(|p| p.values.len()).sum()
    }

    /// The weights that measure and sample: the moving average where there is one (paper A.2, B.2).
    pub fn averaged(&self) -> Result<M> {
        let state = self.state()?;
        // A GPU moves weights in place, so a clone is no copy there.
        let copied = matches!(state, Cow::Owned(_));
        match state.average.is_empty() {
            true if !copied => Ok(self.model.clone()),
            true => self.holding(state.weights.iter().map(|p| &p.values)),
            false => self.holding(state.average.iter()),
        }
    }

    /// [`Trainer::averaged`] as a file, to keep.
    pub fn averaged_file(&self) -> Result<Files> {
        self.state()?.averaged_file()
    }

    /// The weights of [`Trainer::averaged_file`].
    pub fn read_averaged(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<M> {
        self.holding(self.state.read_averaged(read)?.iter())
    }

    /// How much of the average is still what its first update took in: 0 without one.
    pub fn share_of_start(&self) -> f64 {
        if self.ema.is_on() { self.ema.share_of_start(self.state.counts.averaged) } else { 0.0 }
    }

    /// The model with these values.
    fn holding<'a>(&self, mut values: impl Iterator<Item = &'a Vec<f32>>) -> Result<M> {
        let mut model = self.model.clone();
        nn::import(&mut model, |name, _| values.next().ok_or_else(|| missing(name)))?;
        Ok(model)
    }

    /// Runs the tape of the loss of a part of the batch backwards. The parts' losses add up to the batch's.
    ///
    /// # Errors
    /// [`Error::Numeric`] where the loss is not finite.
    pub fn add(&mut self, step: u64, loss: Tensor<(), f32, D, OwnedTape<f32, D>>, sum: &mut Sum) -> Result<()> {
        let value = scalar(&loss);
        if !value.is_finite() {
            return Err(self.not_finite(step, "loss", value.into()));
        }
        sum.loss += f64::from(value);
        let mut gradients = loss.try_backward().map_err(device_error)?;
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return gpu.add(&mut self.model, &mut gradients, &mut sum.on_gpu);
        }
        let mut index = 0;
        nn::with_gradients(&mut self.model, &mut gradients, |_, gradient| {
            match sum.gradients.get_mut(index) {
                Some(sum) => add_scaled(sum, &gradient, 1.0),
                None => sum.gradients.push(gradient),
            }
            index += 1;
        })
    }

    /// Updates every parameter by the gradients of a whole batch.
    ///
    /// # Errors
    /// [`Error::Numeric`] where a gradient is not finite: nothing has been changed then; or where a weight is not finite after
    /// the update: the stage cannot go on then, and nothing of it may be kept.
    pub fn update(&mut self, step: u64, sum: Sum) -> Result<Update> {
        let of_each = self.squares(&sum)?;
        for (weight, &squares) in self.state.weights.iter().zip(&of_each) {
            if !squares.is_finite() {
                return Err(self.not_finite(step, &format!("the gradient of {}", weight.name), squares));
            }
        }
        let grad_norm = of_each.iter().sum::<f64>().sqrt();
        let plateau = &self.optimizer.plateau;
        let lr = self.optimizer.lr.at(step, self.total) * self.state.counts.plateau.factor(plateau);
        self.state.counts.plateau.observe(plateau, sum.loss);
        self.state.counts.updates = step + 1;
        self.apply(step, lr, grad_norm, &sum)?;
        if self.ema.is_due(step) {
            self.average_weights()?;
            self.state.counts.averaged += 1;
        }
        Ok(Update { loss: sum.loss, grad_norm, lr })
    }

    /// Weights that are not finite are never kept.
    fn expect_finite(&self, weights: &[Parameter<f32>]) -> Result<()> {
        let broken = |weight: &&Parameter<f32>| !weight.values.par_iter().with_min_len(1 << 16).all(|v| v.is_finite());
        match weights.iter().find(broken) {
            None => Ok(()),
            Some(weight) => {
                let value = weight.values.iter().find(|value| !value.is_finite()).copied().unwrap_or(f32::NAN);
                Err(self.not_finite(
                    self.state.counts.updates.saturating_sub(1),
                    &format!("weight {} after the update", weight.name),
                    value.into(),
                ))
            }
        }
    }

    /// Σ g² of each gradient.
    fn squares(&self, sum: &Sum) -> Result<Vec<f64>> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return gpu.squares(&sum.on_gpu);
        }
        Ok(sum.gradients.iter().map(|gradient| adamw::sum_of_squares(gradient)).collect())
    }

    /// Moves every weight: the small ones' arithmetic is too short for all threads, so each is a task of its own.
    fn apply(&mut self, step: u64, lr: f64, grad_norm: f64, sum: &Sum) -> Result<()> {
        let o = self.optimizer;
        let grad_scale = if o.clip > 0.0 { adamw::clip_scale(grad_norm, o.clip) } else { 1.0 };
        let weight_decay =
            |weight: &Parameter<f32>| if is_matrix(&weight.name, &weight.shape) { o.weight_decay } else { 0.0 };
        let constants = |weight: &Parameter<f32>| AdamW {
            lr,
            beta1: o.beta1,
            beta2: o.beta2,
            epsilon: o.epsilon,
            weight_decay: weight_decay(weight),
            step: step + 1,
            grad_scale,
            max_variance: (o.max_variance > 0.0).then_some(o.max_variance),
        };
        let bounds = &self.bounds;
        let top = |weight: &Parameter<f32>| {
            let of_it = bounds.iter().filter(|(bounded, _)| *bounded == weight.name);
            of_it.fold(f32::INFINITY, |top, (_, bound)| top.min(*bound))
        };
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &mut self.gpu {
            let of = |weight: &_| (constants(weight), top(weight));
            return gpu.update(&mut self.model, &self.state.weights, &sum.on_gpu, of);
        }
        let State { weights, mean, variance, .. } = &mut self.state;
        let moments = mean.par_iter_mut().zip_eq(variance);
        let tasks = weights.par_iter_mut().zip_eq(&sum.gradients).zip_eq(moments).with_max_len(1);
        tasks.for_each(|((weight, gradient), (mean, variance))| {
            if o.method == Method::Muon && is_matrix(&weight.name, &weight.shape) {
                let constants = Muon { lr, momentum: o.beta1, weight_decay: o.weight_decay, grad_scale };
                muon::update(constants, weight.shape[0], &mut weight.values, gradient, mean);
            } else {
                adamw::update(constants(weight), &mut weight.values, gradient, mean, variance);
            }
            let top = top(weight);
            if top < f32::INFINITY {
                weight.values.iter_mut().for_each(|v| *v = v.min(top));
            }
        });
        self.expect_finite(&self.state.weights)?;
        self.write_weights()
    }

    /// Puts the state's weights into the model.
    fn write_weights(&mut self) -> Result<()> {
        let mut weights = self.state.weights.iter();
        nn::import(&mut self.model, |name, _| Ok(&weights.next().ok_or_else(|| missing(name))?.values))
    }

    fn average_weights(&mut self) -> Result<()> {
        let decay = self.ema.decay_at(self.state.counts.averaged);
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &mut self.gpu {
            return gpu.average(&mut self.model, decay);
        }
        for (average, weight) in self.state.average.iter_mut().zip(&self.state.weights) {
            adamw::average(decay, average, &weight.values);
        }
        Ok(())
    }

    /// As of now.
    fn state(&self) -> Result<Cow<'_, State>> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return gpu.read(&self.model, self.state.counts).map(Cow::Owned);
        }
        Ok(Cow::Borrowed(&self.state))
    }

    fn not_finite(&self, step: u64, tensor: &str, value: f64) -> Error {
        // The step as progress and metrics count it.
        Error::Numeric { stage: self.stage.into(), step: step + 1, tensor: tensor.into(), value: value.to_string() }
    }

    /// Everything that a run needs to go on: weights, moving average, moments, counts.
    ///
    /// # Errors
    /// [`Error::Numeric`] for weights that are not finite.
    pub fn checkpoint(&self) -> Result<Files> {
        let state = self.state()?;
        self.expect_finite(&state.weights)?;
        state.files()
    }

    /// Takes everything back from [`Trainer::checkpoint`]'s files, by name.
    pub fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        self.state.restore(read)?;
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &mut self.gpu {
            gpu.put(&self.state)?;
        }
        self.write_weights()
    }
}

/// What weight decay and Muon are for; gains, biases and embeddings are exempt. The paper does not say which;
/// users of dalle-pytorch got brown pictures from AdamW with the decay of B.2 (lucidrains/DALLE-pytorch 169, 170, 394).
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() > 1 && !name.contains("embed")
}

fn missing(name: &str) -> Error {
    Error::data(name, "the model has more parameters than the state")
}

fn device_error<X: std::fmt::Display>(error: X) -> Error {
    Error::Device(error.to_string())
}
