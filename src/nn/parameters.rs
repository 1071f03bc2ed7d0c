//! The parameters of any model as plain named data: initialisation, saving, loading, and the walk of an optimiser.

use crate::error::{Error, Result};
use crate::kernels::Real;
use crate::random::Rng;
use dfdx::nn::{BuildModule, RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor};
use dfdx::nn::{ViewTensorMut, ViewTensorName, ViewTensorRef};
use dfdx::prelude::{Device, Gradients, HasShape, OwnedTape, ReshapeTo, Shape, SplitTape, Tensor, Trace};

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
pub fn build<E: Real, D: Device<E>, M>(device: &D, seed: u64, rule: impl Fn(&str, &[usize]) -> Init) -> Result<M>
where
    M: TensorCollection<E, D, To<E, D> = M> + BuildModule<D, E>,
{
    let mut model = M::try_build(device).map_err(device_error)?;
    initialise(&mut model, seed, rule)?;
    Ok(model)
}

/// Fills each parameter as [`build`] does.
pub fn initialise<E: Real, D: Device<E>, M: TensorCollection<E, D>>(
    model: &mut M,
    seed: u64,
    rule: impl Fn(&str, &[usize]) -> Init,
) -> Result<()> {
    import(model, |name, shape| {
        let count = shape.iter().product();
        Ok(match rule(name, shape) {
            Init::Constant(value) => vec![E::of(value); count],
            Init::Normal(std) => {
                let mut rng = Rng::new(seed, name, 0, 0);
                (0..count).map(|_| E::of(std * rng.normal())).collect()
            }
        })
    })
}

/// All parameters, in the order of the model's fields.
pub fn export<E: Real, D: Device<E>, M: TensorCollection<E, D>>(model: &M) -> Result<Vec<Parameter<E>>> {
    let mut visitor = Export(Vec::new());
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut visitor })
        .map_err(device_error::<D::Err>)?;
    Ok(visitor.0)
}

/// Replaces every parameter by what `find(name, shape)` gives.
///
/// # Errors
/// What `find` says, or [`Error::Data`] where it gives another number of values.
pub fn import<E: Real, D: Device<E>, M: TensorCollection<E, D>>(
    model: &mut M,
    find: impl FnMut(&str, &[usize]) -> Result<Vec<E>>,
) -> Result<()> {
    let mut visitor = Import(find, std::marker::PhantomData::<E>);
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut visitor })?;
    Ok(())
}

/// How many numbers the model learns.
pub fn count<E: Real, D: Device<E>, M: TensorCollection<E, D>>(model: &M) -> Result<usize> {
    Ok(export(model)?.iter().map(|p| p.values.len()).sum())
}

/// Walks every parameter with its gradient: `visit(index, name, gradient)` may return new values for the parameter.
pub fn with_gradients<E: Real, D: Device<E>, M: TensorCollection<E, D>>(
    model: &mut M,
    gradients: &Gradients<E, D>,
    visit: impl FnMut(usize, &str, &[E]) -> Result<Option<Vec<E>>>,
) -> Result<()> {
    let mut visitor = Walk { gradients, visit, index: 0 };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut visitor })?;
    Ok(())
}

/// A tape that accumulates into `gradients`. (dfdx keeps its constructor to itself; a traced scalar carries one.)
pub fn tape_with<E: Real, D: Device<E>>(device: &D, gradients: Gradients<E, D>) -> Result<OwnedTape<E, D>> {
    let scalar: Tensor<(), E, D> = device.try_zeros_like(&()).map_err(device_error)?;
    Ok(scalar.traced(gradients).split_tape().1)
}

fn device_error<X: std::fmt::Display>(error: X) -> Error {
    Error::Device(error.to_string())
}

struct Export<E>(Vec<Parameter<E>>);

impl<E: Real, D: Device<E>> TensorVisitor<E, D> for Export<E> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        (tensor, name): (&Tensor<S, E, D>, String),
    ) -> std::result::Result<Option<Tensor<S, E, D>>, D::Err> {
        let shape: Vec<usize> = tensor.shape().concrete().into();
        let mut values = vec![E::zero(); tensor.shape().num_elements()];
        tensor.clone().try_contiguous()?.copy_into(&mut values);
        self.0.push(Parameter { name, shape, values });
        Ok(None)
    }
}

struct Import<F, E>(F, std::marker::PhantomData<E>);

impl<E: Real, D: Device<E>, F: FnMut(&str, &[usize]) -> Result<Vec<E>>> TensorVisitor<E, D> for Import<F, E> {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        (tensor, name): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>> {
        let shape: Vec<usize> = tensor.shape().concrete().into();
        let values = (self.0)(&name, &shape)?;
        if values.len() != tensor.shape().num_elements() {
            return Err(Error::data(&name, format!("expected {shape:?} values, got {}", values.len())));
        }
        tensor.copy_from(&values);
        Ok(None)
    }
}

struct Walk<'a, E, D: dfdx::prelude::Storage<E>, F> {
    gradients: &'a Gradients<E, D>,
    visit: F,
    index: usize,
}

impl<E: Real, D: Device<E>, F: FnMut(usize, &str, &[E]) -> Result<Option<Vec<E>>>> TensorVisitor<E, D>
    for Walk<'_, E, D, F>
{
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Error;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        (tensor, name): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>> {
        let gradient = self.gradients.get(&*tensor);
        let mut values = vec![E::zero(); tensor.shape().num_elements()];
        gradient.copy_into(&mut values);
        if let Some(values) = (self.visit)(self.index, &name, &values)? {
            tensor.copy_from(&values);
        }
        self.index += 1;
        Ok(None)
    }
}
