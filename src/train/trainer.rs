//! What every stage shares: a model with its gradients, AdamW or Muon over all its parameters, the moving average, the checkpoint.

use super::state::{Files, State, UpdateCounts};
use super::store::{Move, ParameterStore, Rule, store, write};
use crate::error::{Error, Result};
use crate::kernels::cpu::adamw::{AdamW, clip_scale};
use crate::kernels::cpu::muon::Muon;
use crate::nn::{self, Declared, Module, Role};
use crate::ops::{Backend, scalar};
use crate::spec::{Ema, Method, Optimizer};
use dfdx::prelude::{Backward, OwnedTape, Tensor};
use std::borrow::Cow;

/// A model in training.
#[derive(Debug)]
pub struct Trainer<M, D: Backend<f32>> {
    stage: &'static str,
    model: M,
    device: D,
    parameters: Vec<Declared>,
    store: Box<dyn ParameterStore<M, D>>,
    counts: UpdateCounts,
    /// The losses of the parts of a batch that were run so far.
    loss: f64,
    optimizer: Optimizer,
    ema: Ema,
    total: u64,
    /// Parameters held below a bound after each update.
    bounds: Vec<(&'static str, f32)>,
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

impl<M: Module<f32, D>, D: Backend<f32>> Trainer<M, D> {
    /// Around a model that was just built.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn new(stage: &'static str, model: M, device: D, optimizer: Optimizer, ema: Ema, total: u64) -> Result<Self> {
        let state = State::new(nn::export(&model)?, ema.is_on());
        let (model, store) = store(&device, model, state, optimizer.method)?;
        Ok(Trainer {
            stage,
            model,
            device,
            parameters: nn::describe::<M, f32, D>(),
            store,
            counts: UpdateCounts::default(),
            loss: 0.0,
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
        self.parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
    }

    /// Runs the tape of the loss of a part of the batch backwards. The parts' losses add up to the batch's.
    ///
    /// # Errors
    /// [`Error::Numeric`] where the loss is not finite.
    pub fn add(&mut self, step: u64, loss: Tensor<(), f32, D, OwnedTape<f32, D>>) -> Result<()> {
        let value = scalar(&loss);
        if !value.is_finite() {
            self.forget();
            return Err(self.not_finite(step, "loss", value.into()));
        }
        self.loss += f64::from(value);
        let gradients = loss.try_backward().map_err(|error| Error::Device(format!("{error:?}")))?;
        self.store.add(&mut self.model, gradients)
    }

    /// Updates every parameter by the gradients of a whole batch, whose parts were [added](Trainer::add).
    ///
    /// # Errors
    /// [`Error::Numeric`] where a gradient is not finite: nothing has been changed then; or where a weight is not finite after
    /// the update: the stage cannot go on then, and nothing of it may be kept.
    pub fn update(&mut self, step: u64) -> Result<Update> {
        let (loss, grad_norm) = (self.loss, self.grad_norm(step));
        let grad_norm = grad_norm.inspect_err(|_| self.forget())?;
        let plateau = &self.optimizer.plateau;
        let lr = self.optimizer.lr.at(step, self.total) * self.counts.plateau.factor(plateau);
        self.counts.plateau.observe(plateau, loss);
        self.counts.updates = step + 1;
        let moves = self.moves(step, lr, grad_norm);
        self.store.update(&mut self.model, &moves)?;
        self.forget();
        self.expect_finite(self.store.not_finite())?;
        if self.ema.is_due(step) {
            self.store.average(&mut self.model, self.ema.decay_at(self.counts.averaged))?;
            self.counts.averaged += 1;
        }
        Ok(Update { loss, grad_norm, lr })
    }

    /// A batch ends here, updated or not.
    fn forget(&mut self) {
        self.loss = 0.0;
        self.store.forget();
    }

    /// The gradient's global norm.
    fn grad_norm(&self, step: u64) -> Result<f64> {
        let squares = self.store.squares()?;
        for (parameter, &squares) in self.parameters.iter().zip(&squares) {
            if !squares.is_finite() {
                return Err(self.not_finite(step, &format!("the gradient of {}", parameter.name), squares));
            }
        }
        Ok(squares.iter().sum::<f64>().sqrt())
    }

    /// What the optimiser does to each parameter. Weight decay and Muon are for matrices; gains, biases and embeddings are
    /// exempt. The paper does not say which; users of dalle-pytorch got brown pictures from AdamW with the decay of B.2 on
    /// everything (lucidrains/DALLE-pytorch 169, 170, 394).
    fn moves(&self, step: u64, lr: f64, grad_norm: f64) -> Vec<Move> {
        let o = self.optimizer;
        let grad_scale = if o.clip > 0.0 { clip_scale(grad_norm, o.clip) } else { 1.0 };
        let of = |parameter: &Declared| {
            let matrix = parameter.role == Role::Matrix;
            let weight_decay = if matrix { o.weight_decay } else { 0.0 };
            let rule = if matrix && o.method == Method::Muon {
                Rule::Muon(Muon { lr, momentum: o.beta1, weight_decay, grad_scale }, parameter.shape[0])
            } else {
                let max_variance = (o.max_variance > 0.0).then_some(o.max_variance);
                let (beta1, beta2, epsilon) = (o.beta1, o.beta2, o.epsilon);
                Rule::AdamW(AdamW { lr, beta1, beta2, epsilon, weight_decay, step: step + 1, grad_scale, max_variance })
            };
            let bounds = self.bounds.iter().filter(|(bounded, _)| *bounded == parameter.name);
            Move { rule, bound: bounds.fold(f32::INFINITY, |least, (_, bound)| least.min(*bound)) }
        };
        self.parameters.iter().map(of).collect()
    }

    /// The weights that measure and sample: the moving average where there is one (paper A.2, B.2).
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn averaged(&self) -> Result<M> {
        let state = self.store.state(&self.model)?;
        // A GPU moves weights in place, so a clone is no copy there.
        let copied = matches!(state, Cow::Owned(_));
        match state.average.is_empty() {
            true if !copied => Ok(self.model.clone()),
            true => self.holding(state.weights.iter().map(|p| &p.values)),
            false => self.holding(state.average.iter()),
        }
    }

    /// [`Trainer::averaged`] as a file, to keep.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn averaged_file(&self) -> Result<Files> {
        self.store.state(&self.model)?.averaged_file()
    }

    /// The weights of [`Trainer::averaged_file`].
    ///
    /// # Errors
    /// [`Error::Data`] where a tensor is missing or has another shape.
    pub fn read_averaged(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<M> {
        self.holding(self.store.state(&self.model)?.read_averaged(read)?.iter())
    }

    /// How much of the average is still what its first update took in: 0 without one.
    pub fn share_of_start(&self) -> f64 {
        if self.ema.is_on() { self.ema.share_of_start(self.counts.averaged) } else { 0.0 }
    }

    /// The model with these values.
    fn holding<'a>(&self, values: impl Iterator<Item = &'a Vec<f32>>) -> Result<M> {
        let mut model = self.model.clone();
        write(&mut model, values)?;
        Ok(model)
    }

    /// Everything that a run needs to go on: weights, moving average, moments, counts.
    ///
    /// # Errors
    /// [`Error::Numeric`] for weights that are not finite.
    pub fn checkpoint(&self) -> Result<Files> {
        let state = self.store.state(&self.model)?;
        self.expect_finite(state.not_finite())?;
        state.files(&self.counts)
    }

    /// Takes everything back from [`Trainer::checkpoint`]'s files, by name.
    ///
    /// # Errors
    /// [`Error::Data`] where something is missing or has another shape.
    pub fn restore(&mut self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        let (state, counts) = self.store.state(&self.model)?.read(read)?;
        self.counts = counts;
        self.store.restore(&mut self.model, state)
    }

    /// Weights that are not finite are never kept.
    fn expect_finite(&self, broken: Option<(String, f32)>) -> Result<()> {
        let Some((name, value)) = broken else { return Ok(()) };
        let step = self.counts.updates.saturating_sub(1);
        Err(self.not_finite(step, &format!("weight {name} after the update"), value.into()))
    }

    fn not_finite(&self, step: u64, tensor: &str, value: f64) -> Error {
        // The step as progress and metrics count it.
        Error::Numeric { stage: self.stage.into(), step: step + 1, tensor: tensor.into(), value: value.to_string() }
    }
}
