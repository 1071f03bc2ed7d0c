//! AdamW on the GPU: adamw.cu, for one parameter after the other.

use super::gpu::{Address, Gpu, Parameter};
use super::grids::Grid;
use crate::kernels::cpu::adamw::AdamW;
use cudarc::driver::{CudaSlice, DeviceSlice};
use dfdx::tensor::CudaError;

/// What AdamW keeps of a parameter.
#[derive(Debug)]
pub struct Moments {
    /// m
    pub mean: CudaSlice<f32>,
    /// v
    pub variance: CudaSlice<f32>,
    /// Of the weights, where there is one.
    pub average: Option<CudaSlice<f32>>,
}

impl Moments {
    /// A copy on the GPU.
    pub fn new(gpu: &Gpu, mean: &[f32], variance: &[f32], average: Option<&[f32]>) -> Result<Moments, CudaError> {
        let copy = |values: &[f32]| gpu.upload(values);
        Ok(Moments { mean: copy(mean)?, variance: copy(variance)?, average: average.map(copy).transpose()? })
    }

    /// Where a gradient can be summed: zeros.
    pub fn sum(&self, gpu: &Gpu) -> Result<CudaSlice<f32>, CudaError> {
        gpu.zeroed(self.mean.len())
    }
}

impl Gpu {
    /// sum += gradient
    pub fn add_gradient(&self, sum: &CudaSlice<f32>, gradient: Address) -> Result<(), CudaError> {
        let parameters = [sum.into(), gradient.into(), sum.len().into()];
        self.launch(("adamw", "add_gradient"), fours(sum.len()), &parameters)
    }

    /// Σ g² of each gradient. Waits for the GPU.
    pub fn squares(&self, gradients: &[CudaSlice<f32>]) -> Result<Vec<f64>, CudaError> {
        let sums = self.copy(vec![0f64; gradients.len()])?;
        for (index, gradient) in gradients.iter().enumerate() {
            let (grid, count) = (fours(gradient.len()), gradient.len());
            let parts = self.memory::<f64>(grid.blocks[0] as usize)?;
            self.launch(("adamw", "square_parts"), grid, &[gradient.into(), (&parts).into(), count.into()])?;
            let sum = Address::of(&sums.slice(index..index + 1));
            let parameters = [(&parts).into(), sum.into(), grid.blocks[0].into()];
            self.launch(("adamw", "square_sum"), Grid::line(1, 256), &parameters)?;
        }
        self.read(&sums)
    }

    /// Moves a weight, which stays at or below `top`.
    pub fn adamw(
        &self,
        c: &AdamW,
        top: f32,
        weight: Address,
        gradient: &CudaSlice<f32>,
        of: &Moments,
    ) -> Result<(), CudaError> {
        let count = gradient.len();
        let places = [weight.into(), gradient.into(), (&of.mean).into(), (&of.variance).into(), count.into()];
        let rates = c.rates::<f32>().map(Parameter::from);
        self.launch(("adamw", "adamw"), fours(count), &[&places[..], &rates, &[top.into()]].concat())
    }

    /// average ← decay·average + (1 − decay)·weight
    pub fn moving_average(&self, average: &CudaSlice<f32>, weight: Address, decay: f64) -> Result<(), CudaError> {
        let parameters = [average.into(), weight.into(), average.len().into(), (decay as f32).into()];
        self.launch(("adamw", "moving_average"), fours(average.len()), &parameters)
    }
}

/// A thread for each four values.
fn fours(count: usize) -> Grid {
    Grid::values(count.div_ceil(4))
}
