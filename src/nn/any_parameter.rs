//! A parameter whose shape is known at run time only: what the walks of a model hand on.

use crate::error::{Error, Result};
use crate::kernels::Real;
use dfdx::prelude::{Cpu, Device, Gradients, HasShape, Shape, Storage, Tensor};
use std::any::Any;
#[cfg(feature = "cuda")]
use {
    crate::kernels::cuda::gpu::{Address, Gpu},
    dfdx::prelude::Cuda,
};

pub(super) fn device_error<X: std::fmt::Display>(error: X) -> Error {
    Error::Device(error.to_string())
}

/// A parameter whose shape is known at run time only.
pub trait AnyParameter<E, D: Storage<E>> {
    /// Its dimensions.
    fn shape(&self) -> Vec<usize>;
    /// Its values, in row-major order.
    fn read(&self) -> Result<Vec<E>>;
    /// Takes as many values as it has.
    fn write(&mut self, values: &[E]);
    /// Takes its gradient out of `gradients`; zeros where the loss did not reach it.
    fn gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Vec<E>>;
    /// Where its values lie.
    #[cfg(feature = "cuda")]
    fn address(&self, gpu: &Gpu) -> Result<Address>;
    /// Where its gradient lies.
    #[cfg(feature = "cuda")]
    fn gradient_address(&self, gradients: &mut Gradients<E, D>) -> Result<Address>;
}

#[cfg(feature = "cuda")]
fn not_on_gpu() -> Error {
    Error::Device("expected a parameter on the GPU, got one of another device".into())
}

impl<S: Shape, E: Real, D: Device<E>> AnyParameter<E, D> for Tensor<S, E, D> {
    fn shape(&self) -> Vec<usize> {
        HasShape::shape(self).concrete().into()
    }

    fn read(&self) -> Result<Vec<E>> {
        let mut values = vec![E::zero(); HasShape::shape(self).num_elements()];
        self.copy_into(&mut values); // a parameter is never a permuted view
        Ok(values)
    }

    fn write(&mut self, values: &[E]) {
        self.copy_from(values);
    }

    fn gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Vec<E>> {
        let gradient: &mut dyn Any = gradients.get_or_alloc_mut(&self.ghost()).map_err(device_error)?;
        if let Some(on_host) = gradient.downcast_mut::<<Cpu as Storage<E>>::Vec>() {
            return Ok(std::mem::take(&mut **on_host));
        }
        let mut values = vec![E::zero(); HasShape::shape(self).num_elements()];
        gradients.get(self).copy_into(&mut values);
        Ok(values)
    }

    #[cfg(feature = "cuda")]
    fn address(&self, gpu: &Gpu) -> Result<Address> {
        let tensor = (self as &dyn Any).downcast_ref::<Tensor<S, f32, Cuda>>().ok_or_else(not_on_gpu)?;
        Ok(gpu.address(tensor)?)
    }

    #[cfg(feature = "cuda")]
    fn gradient_address(&self, gradients: &mut Gradients<E, D>) -> Result<Address> {
        let gradient: &mut dyn Any = gradients.get_or_alloc_mut(&self.ghost()).map_err(device_error)?;
        Ok(Address::of(gradient.downcast_ref::<<Cuda as Storage<f32>>::Vec>().ok_or_else(not_on_gpu)?))
    }
}
