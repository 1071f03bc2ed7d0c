//! On the host: weights are kept beside the model, whose tensors dfdx keeps to itself, and copied into it after an update.

use super::{Move, ParameterStore, Rule, write};
use crate::error::Result;
use crate::kernels::cpu::sum::add_scaled;
use crate::kernels::cpu::{adamw, muon};
use crate::nn::{self, Module};
use crate::ops::Backend;
use crate::train::state::State;
use dfdx::prelude::Gradients;
use rayon::prelude::*;
use std::borrow::Cow;

/// The state, and the gradients of the parts of a batch that were run so far, summed.
#[derive(Debug)]
pub struct OnHost {
    state: State,
    gradients: Vec<Vec<f32>>,
}

impl OnHost {
    /// Around a state.
    pub fn new(state: State) -> OnHost {
        OnHost { state, gradients: Vec::new() }
    }
}

impl<M: Module<f32, D>, D: Backend<f32>> ParameterStore<M, D> for OnHost {
    fn add(&mut self, model: &mut M, mut gradients: Gradients<f32, D>) -> Result<()> {
        let mut index = 0;
        nn::with_gradients(model, &mut gradients, |_, gradient| {
            match self.gradients.get_mut(index) {
                Some(sum) => add_scaled(sum, &gradient, 1.0),
                None => self.gradients.push(gradient),
            }
            index += 1;
        })
    }

    fn forget(&mut self) {
        self.gradients.clear();
    }

    fn squares(&self) -> Result<Vec<f64>> {
        Ok(self.gradients.iter().map(|gradient| adamw::sum_of_squares(gradient)).collect())
    }

    /// The small ones' arithmetic is too short for all threads, so each parameter is a task of its own.
    fn update(&mut self, model: &mut M, moves: &[Move]) -> Result<()> {
        let gradients = &self.gradients;
        let State { weights, mean, variance, .. } = &mut self.state;
        let moments = mean.par_iter_mut().zip_eq(variance);
        let tasks = weights.par_iter_mut().zip_eq(gradients).zip_eq(moments).zip_eq(moves).with_max_len(1);
        tasks.for_each(|(((weight, gradient), (mean, variance)), of)| {
            match of.rule {
                Rule::AdamW(constants) => adamw::update(constants, &mut weight.values, gradient, mean, variance),
                Rule::Muon(constants, rows) => muon::update(constants, rows, &mut weight.values, gradient, mean),
            }
            if of.bound < f32::INFINITY {
                weight.values.iter_mut().for_each(|v| *v = v.min(of.bound));
            }
        });
        write(model, self.state.weights.iter().map(|weight| &weight.values))
    }

    fn not_finite(&self) -> Option<(String, f32)> {
        self.state.not_finite()
    }

    fn average(&mut self, _: &mut M, decay: f64) -> Result<()> {
        for (average, weight) in self.state.average.iter_mut().zip(&self.state.weights) {
            adamw::average(decay, average, &weight.values);
        }
        Ok(())
    }

    fn state(&self, _: &M) -> Result<Cow<'_, State>> {
        Ok(Cow::Borrowed(&self.state))
    }

    fn restore(&mut self, model: &mut M, state: State) -> Result<()> {
        self.state = state;
        write(model, self.state.weights.iter().map(|weight| &weight.values))
    }
}
