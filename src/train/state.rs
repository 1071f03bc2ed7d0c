//! What a checkpoint holds of a model in training: weights, moving average, the optimiser's moments.

use super::weights;
use crate::error::Result;
use crate::nn::Parameter;

/// A checkpoint's files.
pub type Files = Vec<(&'static str, Vec<u8>)>;

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

    /// As the files of a checkpoint.
    pub fn files(&self) -> Result<Files> {
        let model = self.weights.iter().map(|p| (p.name.clone(), &p.shape[..], &p.values[..]));
        let moments = self.named(&self.mean, "mean.").chain(self.named(&self.variance, "variance."));
        let mut files = vec![
            ("model.safetensors", weights::to_bytes(model)?),
            ("optimizer.safetensors", weights::to_bytes(moments)?),
        ];
        if !self.average.is_empty() {
            files.push(("ema.safetensors", weights::to_bytes(self.named(&self.average, ""))?));
        }
        Ok(files)
    }

    /// Takes everything back from [`State::files`], by name.
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
        Ok(())
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
