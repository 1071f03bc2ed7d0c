//! What every stage shares: a model with its gradients, AdamW or Muon over all its parameters, the moving average, the checkpoint.

use super::config::{Ema, Method, Optimizer};
use super::weights;
use crate::error::{Error, Result};
use crate::kernels::cpu::adamw::{self, AdamW};
use crate::kernels::cpu::muon::{self, Muon};
use crate::kernels::cpu::sum::add_scaled;
use crate::nn::{self, Parameter};
use crate::ops::{Backend, scalar};
use dfdx::nn::TensorCollection;
use dfdx::prelude::{Backward, OwnedTape, Tensor};
use rayon::prelude::*;

/// A checkpoint's files.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// A model in training.
#[derive(Debug)]
pub struct Trainer<M, D: Backend<f32>> {
    stage: &'static str,
    model: M,
    device: D,
    /// The weights as the optimiser keeps them; the model holds the same.
    weights: Vec<Parameter<f32>>,
    mean: Vec<Vec<f32>>,
    variance: Vec<Vec<f32>>,
    average: Vec<Vec<f32>>,
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
}

/// What one update says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The loss before the update.
    pub loss: f64,
    /// The gradient's global norm before clipping.
    pub grad_norm: f64,
    /// The step size used.
    pub lr: f64,
}

impl<M, D> Trainer<M, D>
where
    D: Backend<f32>,
    M: TensorCollection<f32, D, To<f32, D> = M> + Clone,
{
    /// Around a model that was just built.
    pub fn new(stage: &'static str, model: M, device: D, optimizer: Optimizer, ema: Ema, total: u64) -> Result<Self> {
        let weights = nn::export(&model)?;
        let zeros: Vec<Vec<f32>> = weights.iter().map(|p| vec![0.0; p.values.len()]).collect();
        let average = if ema.decay > 0.0 { weights.iter().map(|p| p.values.clone()).collect() } else { Vec::new() };
        let (mean, variance) = (zeros.clone(), zeros);
        Ok(Trainer {
            stage,
            model,
            device,
            weights,
            mean,
            variance,
            average,
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
        self.weights.iter().map(|p| p.values.len()).sum()
    }

    /// The weights that measure and sample: the moving average where there is one (paper A.2, B.2).
    pub fn averaged(&self) -> Result<M> {
        let mut model = self.model.clone();
        if !self.average.is_empty() {
            let mut values = self.average.iter();
            nn::import(&mut model, |name, _| values.next().ok_or_else(|| missing(name)))?;
        }
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
    /// [`Error::Numeric`] where a gradient is not finite: nothing has been changed then.
    pub fn update(&mut self, step: u64, sum: Sum) -> Result<Update> {
        let mut squares = 0.0;
        for (weight, gradient) in self.weights.iter().zip(&sum.gradients) {
            let of_one = adamw::sum_of_squares(gradient);
            if !of_one.is_finite() {
                return Err(self.not_finite(step, &format!("the gradient of {}", weight.name), of_one));
            }
            squares += of_one;
        }
        let grad_norm = squares.sqrt();
        let lr = self.optimizer.lr.at(step, self.total);
        self.apply(step, lr, grad_norm, &sum.gradients)?;
        if self.ema.decay > 0.0 && (step + 1).is_multiple_of(self.ema.every.max(1)) {
            self.average_weights();
        }
        Ok(Update { loss: sum.loss, grad_norm, lr })
    }

    /// Moves every weight: the small ones' arithmetic is too short for all threads, so each is a task of its own.
    fn apply(&mut self, step: u64, lr: f64, grad_norm: f64, gradients: &[Vec<f32>]) -> Result<()> {
        let o = self.optimizer;
        let grad_scale = if o.clip > 0.0 { adamw::clip_scale(grad_norm, o.clip) } else { 1.0 };
        let bounds = &self.bounds;
        let moments = self.mean.par_iter_mut().zip_eq(&mut self.variance);
        let tasks = self.weights.par_iter_mut().zip_eq(gradients).zip_eq(moments).with_max_len(1);
        tasks.for_each(|((weight, gradient), (mean, variance))| {
            let is_matrix = is_matrix(&weight.name, &weight.shape);
            let weight_decay = if is_matrix { o.weight_decay } else { 0.0 };
            if is_matrix && o.method == Method::Muon {
                let constants = Muon { lr, momentum: o.beta1, weight_decay, grad_scale };
                muon::update(constants, weight.shape[0], &mut weight.values, gradient, mean);
            } else {
                let constants = AdamW {
                    lr,
                    beta1: o.beta1,
                    beta2: o.beta2,
                    epsilon: o.epsilon,
                    weight_decay,
                    step: step + 1,
                    grad_scale,
                    max_variance: (o.max_variance > 0.0).then_some(o.max_variance),
                };
                adamw::update(constants, &mut weight.values, gradient, mean, variance);
            }
            for (_, bound) in bounds.iter().filter(|(bounded, _)| *bounded == weight.name) {
                weight.values.iter_mut().for_each(|v| *v = v.min(*bound));
            }
        });
        let mut weights = self.weights.iter();
        nn::import(&mut self.model, |name, _| Ok(&weights.next().ok_or_else(|| missing(name))?.values))
    }

    fn average_weights(&mut self) {
        for (average, weight) in self.average.iter_mut().zip(&self.weights) {
            adamw::average(self.ema.decay, average, &weight.values);
        }
    }

    fn not_finite(&self, step: u64, tensor: &str, value: f64) -> Error {
        Error::Numeric { stage: self.stage.into(), step, tensor: tensor.into(), value: value.to_string() }
    }

    /// Everything that a resumed run needs: weights, moving average, moments.
    pub fn checkpoint(&self) -> Result<Files> {
        let named = |values, prefix| named(&self.weights, values, prefix);
        let model = self.weights.iter().map(|p| (p.name.clone(), &p.shape[..], &p.values[..]));
        let moments = named(&self.mean, "mean.").chain(named(&self.variance, "variance."));
        let mut files = vec![
            ("model.safetensors", weights::to_bytes(model)?),
            ("optimizer.safetensors", weights::to_bytes(moments)?),
        ];
        if !self.average.is_empty() {
            files.push(("ema.safetensors", weights::to_bytes(named(&self.average, ""))?));
        }
        Ok(files)
    }

    /// Takes everything back from [`Trainer::checkpoint`]'s files, by name.
    pub fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        let mut model = weights::from_bytes(&read("model.safetensors")?, "model.safetensors")?;
        for weight in &mut self.weights {
            weight.values = weights::take(&mut model, &weight.name, &weight.shape, "model.safetensors")?;
        }
        let mut moments = weights::from_bytes(&read("optimizer.safetensors")?, "optimizer.safetensors")?;
        for (index, weight) in self.weights.iter().enumerate() {
            let mut take = |prefix: &str| {
                weights::take(&mut moments, &format!("{prefix}{}", weight.name), &weight.shape, "optimizer.safetensors")
            };
            self.mean[index] = take("mean.")?;
            self.variance[index] = take("variance.")?;
        }
        if !self.average.is_empty() {
            let mut average = weights::from_bytes(&read("ema.safetensors")?, "ema.safetensors")?;
            for (index, weight) in self.weights.iter().enumerate() {
                self.average[index] = weights::take(&mut average, &weight.name, &weight.shape, "ema.safetensors")?;
            }
        }
        let mut values = self.weights.iter();
        nn::import(&mut self.model, |name, _| values.next().map(|p| &p.values).ok_or_else(|| missing(name)))
    }
}

/// A value of the optimiser for each parameter: (prefix and name, shape, values).
fn named<'a>(
    weights: &'a [Parameter<f32>],
    values: &'a [Vec<f32>],
    prefix: &'a str,
) -> impl Iterator<Item = (String, &'a [usize], &'a [f32])> {
    weights.iter().zip(values).map(move |(p, v)| (format!("{prefix}{}", p.name), &p.shape[..], &v[..]))
}

/// What weight decay and Muon are for; gains, biases and embeddings are exempt (facts §3, 11).
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() > 1 && !name.contains("embed")
}

fn missing(name: &str) -> Error {
    Error::data(name, "the model has more parameters than the state")
}

fn device_error<X: std::fmt::Display>(error: X) -> Error {
    Error::Device(error.to_string())
}
