//! What a checkpoint holds of a model in training: weights, moving average, the optimiser's moments.

use super::plateau::Plateau;
use crate::error::{Error, Result};
use crate::inference::AVERAGED;
use crate::nn::{Parameter, weights};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A checkpoint's files.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// The weights in training.
pub const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const COUNTS: &str = "state.json";

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateCounts {
    /// Updates of the weights.
    pub updates: u64,
    /// How many updates the moving average has taken in.
    pub averaged: u64,
    /// Where the training loss stands.
    pub plateau: Plateau,
}

/// In the order of the weights.
#[derive(Debug, Clone)]
pub struct State {
    /// As the optimiser keeps them.
    pub weights: Vec<Parameter<f32>>,
    /// The running mean of each gradient.
    pub mean: Vec<Vec<f32>>,
    /// The running mean of its square.
    pub variance: Vec<Vec<f32>>,
    /// Of the weights; empty without one.
    pub average: Vec<Vec<f32>>,
}

impl State {
    /// Before the first update.
    pub fn new(weights: Vec<Parameter<f32>>, averaged: bool) -> State {
        let zeros: Vec<Vec<f32>> = weights.iter().map(|p| vec![0.0; p.values.len()]).collect();
        let average = if averaged { weights.iter().map(|p| p.values.clone()).collect() } else { Vec::new() };
        State { weights, mean: zeros.clone(), variance: zeros, average }
    }

    /// The first weight that is not finite, by name with its value.
    pub fn not_finite(&self) -> Option<(String, f32)> {
        let broken = |weight: &&Parameter<f32>| !weight.values.par_iter().with_min_len(1 << 16).all(|v| v.is_finite());
        let weight = self.weights.iter().find(broken)?;
        weight.values.iter().find(|value| !value.is_finite()).map(|&value| (weight.name.clone(), value))
    }

    /// As the files of a checkpoint.
    pub fn files(&self, counts: &UpdateCounts) -> Result<Files> {
        let model = self.weights.iter().map(|p| (p.name.clone(), &p.shape[..], &p.values[..]));
        let moments = self.named(&self.mean, "mean.").chain(self.named(&self.variance, "variance."));
        let counts = serde_json::to_vec(counts).map_err(|error| Error::data(COUNTS, error.to_string()))?;
        let mut files =
            vec![(MODEL, weights::to_bytes(model)?), (OPTIMIZER, weights::to_bytes(moments)?), (COUNTS, counts)];
        if !self.average.is_empty() {
            files.push((AVERAGED, weights::to_bytes(self.named(&self.average, ""))?));
        }
        Ok(files)
    }

    /// The weights that measure and sample, as a file: the average where there is one.
    pub fn averaged_file(&self) -> Result<Files> {
        let weights = self.weights.iter().map(|p| &p.values);
        let values: Vec<&[f32]> = match self.average.is_empty() {
            true => weights.map(Vec::as_slice).collect(),
            false => self.average.iter().map(Vec::as_slice).collect(),
        };
        let named = self.weights.iter().zip(values).map(|(p, values)| (p.name.clone(), &p.shape[..], values));
        Ok(vec![(AVERAGED, weights::to_bytes(named)?)])
    }

    /// The values of [`State::averaged_file`], in the order of the weights.
    pub fn read_averaged(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Vec<Vec<f32>>> {
        let mut found = weights::from_bytes(&read(AVERAGED)?, AVERAGED)?;
        self.weights.iter().map(|p| weights::take(&mut found, &p.name, &p.shape, AVERAGED)).collect()
    }

    /// What [`State::files`] wrote of a state like this one, by name.
    pub fn read(&self, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<(State, UpdateCounts)> {
        let mut model = weights::from_bytes(&read(MODEL)?, MODEL)?;
        let mut moments = weights::from_bytes(&read(OPTIMIZER)?, OPTIMIZER)?;
        let mut found = State { weights: Vec::new(), mean: Vec::new(), variance: Vec::new(), average: Vec::new() };
        for Parameter { name, shape, .. } in &self.weights {
            let values = weights::take(&mut model, name, shape, MODEL)?;
            found.weights.push(Parameter { name: name.clone(), shape: shape.clone(), values });
            let mut moment = |prefix: &str| weights::take(&mut moments, &format!("{prefix}{name}"), shape, OPTIMIZER);
            found.mean.push(moment("mean.")?);
            found.variance.push(moment("variance.")?);
        }
        let counts = serde_json::from_slice(&read(COUNTS)?)
            .map_err(|error| Error::data(COUNTS, format!("expected the counts of a checkpoint: {error}")))?;
        if !self.average.is_empty() {
            found.average = self.read_averaged(read)?;
        }
        Ok((found, counts))
    }

    /// A value for each parameter: (prefix and name, shape, values).
    fn named<'a>(
        &'a self,
        values: &'a [Vec<f32>],
        prefix: &'a str,
    ) -> impl Iterator<Item = (String, &'a [usize], &'a [f32])> {
        let all = self.weights.iter().zip(values);
        all.map(move |(p, v)| (format!("{prefix}{}", p.name), &p.shape[..], &v[..]))
    }
}
