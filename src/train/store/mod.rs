//! Where the values of a model in training live, and what an update does to them: on the host, or on a GPU.

#[cfg(feature = "cuda")]
mod gpu;
mod host;

use super::state::State;
use crate::error::{Error, Result};
use crate::kernels::cpu::adamw::AdamW;
use crate::kernels::cpu::muon::Muon;
use crate::nn::{self, Module};
use crate::ops::Backend;
use crate::spec::Method;
use dfdx::prelude::Gradients;
use std::borrow::Cow;
use std::fmt::Debug;

/// How one parameter is moved.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    /// By what.
    pub rule: Rule,
    /// No value ends above this.
    pub bound: f32,
}

/// The optimiser of one parameter, with its constants of this step.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Loshchilov and Hutter's (arXiv 1711.05101).
    AdamW(AdamW),
    /// Orthogonalised momentum, for a matrix with so many rows.
    Muon(Muon, usize),
}

/// Weights, moments, moving average and the gradients of a batch, in the order of the model's fields.
pub trait ParameterStore<M, D: Backend<f32>>: Debug {
    /// Adds the gradients of a part of a batch.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn add(&mut self, model: &mut M, gradients: Gradients<f32, D>) -> Result<()>;

    /// Forgets the gradients.
    fn forget(&mut self);

    /// Σ g² of each parameter's gradient so far.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn squares(&self) -> Result<Vec<f64>>;

    /// Moves every parameter by its gradient.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn update(&mut self, model: &mut M, moves: &[Move]) -> Result<()>;

    /// The first weight that is not finite, by name with its value. Only where looking costs little: a GPU's weights are
    /// looked at when they are read.
    fn not_finite(&self) -> Option<(String, f32)>;

    /// average ← decay·average + (1 − decay)·weight
    ///
    /// # Errors
    /// [`Error::Device`].
    fn average(&mut self, model: &mut M, decay: f64) -> Result<()>;

    /// Everything as of now; borrowed where the model's own weights are the same values.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn state(&self, model: &M) -> Result<Cow<'_, State>>;

    /// Takes `state` in place of what is there.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn restore(&mut self, model: &mut M, state: State) -> Result<()>;
}

/// The store for a model on `device`, and the model: a GPU's moves weights in place, so its model shares them with no clone.
///
/// # Errors
/// [`Error::Device`].
pub fn store<M: Module<f32, D>, D: Backend<f32>>(
    device: &D,
    model: M,
    state: State,
    method: Method,
) -> Result<(M, Box<dyn ParameterStore<M, D>>)> {
    #[cfg(feature = "cuda")]
    let (model, state) = match gpu::OnGpu::open(device, model, state, method)? {
        gpu::Opened::Store(model, store) => return Ok((model, Box::new(store))),
        gpu::Opened::NoKernels(model, state) => (model, state),
    };
    #[cfg(not(feature = "cuda"))]
    let _ = (device, method);
    Ok((model, Box::new(host::OnHost::new(state))))
}

/// Puts values into the model, one after the other in the order of its fields.
///
/// # Errors
/// [`Error::Data`] where there are fewer than parameters.
pub fn write<'a, M: Module<f32, D>, D: Backend<f32>>(
    model: &mut M,
    values: impl IntoIterator<Item = &'a Vec<f32>>,
) -> Result<()> {
    let mut values = values.into_iter();
    nn::import(model, |name, _| values.next().ok_or_else(|| missing(name)))
}

/// What a walk says of a parameter for which there is nothing.
fn missing(name: &str) -> Error {
    Error::data(name, "the model has more parameters than the state")
}
