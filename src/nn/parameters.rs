//! The parameters of any model as plain named data: initialisation, saving, loading, and the walk of an optimiser.

use crate::error::{Error, Result};
use crate::kernels::Real;
use crate::random::Rng;
use dfdx::nn::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor};
use dfdx::nn::{ViewTensorMut, ViewTensorName};
use dfdx::prelude::{Cpu, Device, Gradients, HasShape, Shape, Storage, Tensor};
use std::any::Any;

/// One tensor of a model, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter<E> {
    /// The dotted path of the published checkpoints.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<E>,
}

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every value the same.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

/// Builds a model and fills each parameter by `rule(name, shape)`, drawn from a stream of its own: the values depend on the
/// seed, the parameter's name and nothing else.
pub fn build<E: Real, D: Device<E>, M: TensorCollection<E, D, To<E, D> = M>>(
    device: &D,
    seed: u64,
    rule: impl Fn(&str, &[usize]) -> Init,
) -> Result<M> {
    let mut make = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        Some(match rule(name, shape) {
            Init::Constant(value) => vec![E::of(value); count],
            Init::Normal(std) => {
                let mut rng = Rng::new(seed, name, 0, 0);
                (0..count).map(|_| E::of(std * rng.normal())).collect()
            }
        })
    };
    let built =
        M::iter_tensors(&mut RecursiveWalker { m: String::new(), f: &mut Builder { make: &mut make, device } })?;
    Ok(built.unwrap_or_else(|| unreachable!("every parameter was made")))
}

/// Names and shapes of all parameters of a model type, in the order of [`export`]: nothing is built for it, so that a model
/// no machine here can hold is described like any other.
pub fn describe<M: TensorCollection<E, D>, E: Real, D: Device<E>>() -> Vec<(String, Vec<usize>)> {
    let mut found = Vec::new();
    let mut note = |name: &str, shape: &[usize]| {
        found.push((name.to_owned(), shape.to_vec()));
        None
    };
    let mut builder = Builder { make: &mut note, device: &D::default() };
    // Nothing is made, so nothing can fail.
    let _ = M::iter_tensors(&mut RecursiveWalker { m: String::new(), f: &mut builder });
    found
}

/// All parameters, in the order of the model's fields.
pub fn export<E: Real, D: Device<E>, M: TensorCollection<E, D> + Clone>(model: &M) -> Result<Vec<Parameter<E>>> {
    let mut found = Vec::new();
    // The clone shares every value: reading copies nothing else.
    walk(&mut model.clone(), &mut |name, parameter| {
        found.push(Parameter { name: name.to_owned(), shape: parameter.shape(), values: parameter.read()? });
        Ok(())
    })?;
    Ok(found)
}

/// Replaces every parameter by what `find(name, shape)` gives.
///
/// # Errors
/// What `find` says, or [`Error::Data`] where it gives another number of values.
pub fn import<E: Real, D: Device<E>, M: TensorCollection<E, D>, V: AsRef<[E]>>(
    model: &mut M,
    mut find: impl FnMut(&str, &[usize]) -> Result<V>,
) -> Result<()> {
    walk(model, &mut |name, parameter| {
        let shape = parameter.shape();
        let values = find(name, &shape)?;
        let values = values.as_ref();
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::data(name, format!("expected {shape:?} values, got {}", values.len())));
        }
        parameter.write(values);
        Ok(())
    })
}

/// Walks every parameter with its gradient, which it takes: `visit(name, gradient)`.
pub fn with_gradients<E: Real, D: Device<E>, M: TensorCollection<E, D>>(
    model: &mut M,
    gradients: &mut Gradients<E, D>,
    mut visit: impl FnMut(&str, Vec<E>),
) -> Result<()> {
    walk(model, &mut |name, parameter| {
        visit(name, parameter.gradient(gradients)?);
        Ok(())
    })
}

fn device_error<X: std::fmt::Display>(error: X) -> Error {
    Error::Device(error.to_string())
}

/// A parameter whose shape is known at run time only.
trait AnyParameter<E, D: Storage<E>> {
    fn shape(&self) -> Vec<usize>;
    fn read(&self) -> Result<Vec<E>>;
    fn write(&mut self, values: &[E]);
    fn gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Vec<E>>;
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
        // Zeros where the loss did not reach it.
        let gradient: &mut dyn Any = gradients.get_or_alloc_mut(&self.ghost()).map_err(device_error)?;
        if let Some(on_host) = gradient.downcast_mut::<<Cpu as Storage<E>>::Vec>() {
            return Ok(std::mem::take(&mut **on_host));
        }
        let mut values = vec![E::zero(); HasShape::shape(self).num_elements()];
        gradients.get(self).copy_into(&mut values);
        Ok(values)
    }
}

type Visit<'v, E, D> = &'v mut dyn FnMut(&str, &mut dyn AnyParameter<E, D>) -> Result<()>;

// Two visitors are all: each one that dfdx walks a model with is compiled for every model of every preset.

/// Walks models that exist.
struct Walker<'v, E, D: Storage<E>>(Visit<'v, E, D>);

fn walk<E: Real, D: Device<E>, M: TensorCollection<E, D>>(model: &mut M, visit: Visit<'_, E, D>) -> Result<()> {
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut Walker(visit) }).map(drop)
}

impl<E: Real, D: Device<E>> TensorVisitor<E, D> for Walker<'_, E, D> {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        (tensor, name): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>> {
        (self.0)(&name, tensor)?;
        Ok(None)
    }
}

/// Walks model types: makes the tensors of a model, or none where `make` only takes note.
struct Builder<'b, E, D> {
    make: &'b mut dyn FnMut(&str, &[usize]) -> Option<Vec<E>>,
    device: &'b D,
}

impl<E: Real, D: Device<E>> TensorVisitor<E, D> for Builder<'_, E, D> {
    type Viewer = ViewTensorName;
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(&mut self, options: TensorOptions<S, E, D>, name: String) -> Result<Option<Tensor<S, E, D>>> {
        let shape: Vec<usize> = options.shape.concrete().into();
        let Some(values) = (self.make)(&name, &shape) else { return Ok(None) };
        self.device.try_tensor_from_vec(values, options.shape).map(Some).map_err(device_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Block, BlockNames};
    use crate::ops::Activation;
    use dfdx::prelude::Cpu;

    crate::block!(
        /// Small.
        Small: dim 8, heads 2);

    #[derive(Debug, Clone)]
    struct Names;

    impl BlockNames for Names {
        const LN_1: &'static str = "a";
        const QKV: [&'static str; 2] = ["b", "c"];
        const OUT: &'static str = "d.e";
        const LN_2: &'static str = "f";
        const UP: &'static str = "g";
        const DOWN: &'static str = "h";
        const ACTIVATION: Activation = Activation::Relu;
    }

    #[test]
    fn a_description_equals_the_built_block() {
        let built: Block<Small, Names, f64, Cpu> = build(&Cpu::default(), 0, |_, _| Init::Constant(0.0)).unwrap();
        let built: Vec<_> = export(&built).unwrap().into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(built[4], ("d.e.weight".to_owned(), vec![8, 8]));
        assert_eq!(describe::<Block<Small, Names, f64, Cpu>, f64, Cpu>(), built);
    }
}
