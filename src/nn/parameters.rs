//! The parameters of any model as plain named data: initialisation, saving, loading, and the walk of an optimiser.

use crate::error::{Error, Result};
use crate::kernels::Real;
use crate::random::Rng;
use dfdx::nn::{ModuleFields, ModuleVisitor, ScalarOptions, TensorCollection, TensorOptions};
use dfdx::prelude::{Cpu, Device, Gradients, HasShape, Shape, Storage, Tensor};
use num_traits::NumCast;
use std::any::Any;
#[cfg(feature = "cuda")]
use {
    crate::kernels::cuda::gpu::{Address, Gpu},
    dfdx::prelude::Cuda,
};

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
    let built = M::iter_tensors(&mut Builder { step: Step::new(&mut make), device })?;
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
    let mut builder = Builder { step: Step::new(&mut note), device: &D::default() };
    // Nothing is made, so nothing can fail.
    let _ = M::iter_tensors(&mut builder);
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

/// Walks every parameter of a model on the GPU: `visit(name, where its values lie)`.
#[cfg(feature = "cuda")]
pub fn addresses<E: Real, D: Device<E>, M: TensorCollection<E, D>>(
    model: &mut M,
    gpu: &Gpu,
    mut visit: impl FnMut(&str, Address) -> Result<()>,
) -> Result<()> {
    walk(model, &mut |name, parameter| visit(name, parameter.address(gpu)?))
}

/// The same with the gradients of the parameters.
#[cfg(feature = "cuda")]
pub fn gradient_addresses<E: Real, D: Device<E>, M: TensorCollection<E, D>>(
    model: &mut M,
    gradients: &mut Gradients<E, D>,
    mut visit: impl FnMut(&str, Address) -> Result<()>,
) -> Result<()> {
    walk(model, &mut |name, parameter| visit(name, parameter.gradient_address(gradients)?))
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
    #[cfg(feature = "cuda")]
    fn address(&self, gpu: &Gpu) -> Result<Address>;
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
        // Zeros where the loss did not reach it.
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

// dfdx compiles a walk anew for every module of every preset. So there are two, and what is done at a parameter is compiled once.

/// Where a walk is, the dotted path of a module, and what it does there.
struct Step<F> {
    path: String,
    run: F,
}

impl<F> Step<F> {
    fn new(run: F) -> Self {
        Step { path: String::new(), run }
    }

    /// Appends a field to the path; returns what [`Step::leave`] goes back to.
    #[inline(never)]
    fn enter(&mut self, field: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        length
    }

    fn leave(&mut self, length: usize) {
        self.path.truncate(length);
    }
}

type Visit<'v, E, D> = &'v mut dyn FnMut(&str, &mut dyn AnyParameter<E, D>) -> Result<()>;

/// Walks a model that exists.
struct Walker<'w, 'v, M, E, D: Storage<E>> {
    model: &'w mut M,
    step: &'w mut Step<Visit<'v, E, D>>,
}

fn walk<E: Real, D: Device<E>, M: TensorCollection<E, D>>(model: &mut M, visit: Visit<'_, E, D>) -> Result<()> {
    M::iter_tensors(&mut Walker { model, step: &mut Step::new(visit) }).map(drop)
}

impl<E: Real, D: Device<E>> Step<Visit<'_, E, D>> {
    #[inline(never)]
    fn parameter(&mut self, field: &str, parameter: &mut dyn AnyParameter<E, D>) -> Result<()> {
        let length = self.enter(field);
        (self.run)(&self.path, parameter)?;
        self.leave(length);
        Ok(())
    }
}

impl<M: TensorCollection<E, D>, E: Real, D: Device<E>> ModuleVisitor<M, E, D> for Walker<'_, '_, M, E, D> {
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit_module<Field: TensorCollection<E, D>, GetRef, GetMut: FnMut(&mut M) -> &mut Field>(
        &mut self,
        name: &str,
        _: GetRef,
        mut field: GetMut,
    ) -> Result<Option<Field::To<E, D>>> {
        let length = self.step.enter(name);
        Field::iter_tensors(&mut Walker { model: field(self.model), step: self.step })?;
        self.step.leave(length);
        Ok(None)
    }

    fn visit_tensor<S: Shape, GetRef, GetMut: FnMut(&mut M) -> &mut Tensor<S, E, D>>(
        &mut self,
        name: &str,
        _: GetRef,
        mut field: GetMut,
        _: TensorOptions<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>> {
        self.step.parameter(name, field(self.model))?;
        Ok(None)
    }

    fn visit_scalar<N: NumCast, GetRef, GetMut>(
        &mut self,
        _: &str,
        _: GetRef,
        _: GetMut,
        _: ScalarOptions<N>,
    ) -> Result<Option<N>> {
        Ok(None)
    }

    fn visit_fields<F: ModuleFields<M, E, D>>(
        &mut self,
        fields: F,
        _: impl FnOnce(F::Output<E, D>) -> M::To<E, D>,
    ) -> Result<Option<M::To<E, D>>> {
        fields.visit_fields(self)?;
        Ok(None)
    }
}

/// Walks a model's type: makes its tensors, or none where `run` only takes note.
struct Builder<'b, E, D> {
    step: Step<&'b mut dyn FnMut(&str, &[usize]) -> Option<Vec<E>>>,
    device: &'b D,
}

impl<E> Step<&mut dyn FnMut(&str, &[usize]) -> Option<Vec<E>>> {
    #[inline(never)]
    fn values(&mut self, field: &str, shape: &[usize]) -> Option<Vec<E>> {
        let length = self.enter(field);
        let values = (self.run)(&self.path, shape);
        self.leave(length);
        values
    }
}

impl<M: TensorCollection<E, D>, E: Real, D: Device<E>> ModuleVisitor<M, E, D> for Builder<'_, E, D> {
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit_module<Field: TensorCollection<E, D>, GetRef, GetMut>(
        &mut self,
        name: &str,
        _: GetRef,
        _: GetMut,
    ) -> Result<Option<Field::To<E, D>>> {
        let length = self.step.enter(name);
        let made = Field::iter_tensors(self)?;
        self.step.leave(length);
        Ok(made)
    }

    fn visit_tensor<S: Shape, GetRef, GetMut>(
        &mut self,
        name: &str,
        _: GetRef,
        _: GetMut,
        options: TensorOptions<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>> {
        let Some(values) = self.step.values(name, options.shape.concrete().as_ref()) else { return Ok(None) };
        self.device.try_tensor_from_vec(values, options.shape).map(Some).map_err(device_error)
    }

    fn visit_scalar<N: NumCast, GetRef, GetMut>(
        &mut self,
        _: &str,
        _: GetRef,
        _: GetMut,
        options: ScalarOptions<N>,
    ) -> Result<Option<N>> {
        Ok(Some(options.default))
    }

    fn visit_fields<F: ModuleFields<M, E, D>>(
        &mut self,
        fields: F,
        build: impl FnOnce(F::Output<E, D>) -> M::To<E, D>,
    ) -> Result<Option<M::To<E, D>>> {
        Ok(F::handle_options(fields.visit_fields(self)?).map(build))
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
