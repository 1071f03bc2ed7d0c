//! The parameters of any model as plain named data: initialisation, saving, loading, and the walk of an optimiser.

use super::module::{Declared, Init, Module, Path, Visit};
use crate::error::{Error, Result};
use crate::kernels::Real;
#[cfg(feature = "cuda")]
use crate::kernels::cuda::gpu::{Address, Gpu};
use crate::random::Rng;
use dfdx::prelude::{Device, Gradients};

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

/// A model with each parameter as it starts, drawn from a stream of its own: the values depend on the seed, the parameter's
/// name and nothing else.
///
/// # Errors
/// [`Error::Device`] where the device has no room for it.
pub fn build<E: Real, D: Device<E>, M: Module<E, D>>(device: &D, seed: u64) -> Result<M> {
    build_with(device, seed, |parameter| parameter.init)
}

/// [`build`] with starts that `rule` chooses.
///
/// # Errors
/// Those of [`build`].
pub fn build_with<E: Real, D: Device<E>, M: Module<E, D>>(
    device: &D,
    seed: u64,
    rule: impl Fn(&Declared) -> Init,
) -> Result<M> {
    filled(device, |parameter| {
        let count = parameter.shape.iter().product();
        Ok(match rule(parameter) {
            Init::Constant(value) => vec![E::of(value); count],
            Init::Normal(std) => {
                let mut rng = Rng::new(seed, &parameter.name, 0, 0);
                (0..count).map(|_| E::of(std * rng.normal())).collect()
            }
        })
    })
}

/// A model with the values that `find` gives for each parameter.
///
/// # Errors
/// What `find` says, [`Error::Data`] where it gives another number of values, those of [`build`].
pub fn filled<E: Real, D: Device<E>, M: Module<E, D>>(
    device: &D,
    mut find: impl FnMut(&Declared) -> Result<Vec<E>>,
) -> Result<M> {
    let mut make = |parameter: Declared| {
        let values = find(&parameter)?;
        expect(&parameter.name, &parameter.shape, values.len())?;
        Ok(Some(values))
    };
    let made = M::make((), &mut Path::default(), device, &mut make)?;
    Ok(made.unwrap_or_else(|| unreachable!("every parameter was made")))
}

/// All parameters of a model type, in the order of [`export`]: nothing is built for it, so that a model no machine here can
/// hold is described like any other.
pub fn describe<M: Module<E, D>, E: Real, D: Device<E>>() -> Vec<Declared> {
    let mut found = Vec::new();
    let mut note = |parameter: Declared| {
        found.push(parameter);
        Ok(None)
    };
    // Nothing is made, so nothing can fail.
    let _ = M::make((), &mut Path::default(), &D::default(), &mut note);
    found
}

/// How many numbers a model type has.
pub fn size<M: Module<E, D>, E: Real, D: Device<E>>() -> usize {
    describe::<M, E, D>().iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

/// All parameters, in the order of the model's fields.
pub fn export<E: Real, D: Device<E>, M: Module<E, D>>(model: &M) -> Result<Vec<Parameter<E>>> {
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
pub fn import<E: Real, D: Device<E>, M: Module<E, D>, V: AsRef<[E]>>(
    model: &mut M,
    mut find: impl FnMut(&str, &[usize]) -> Result<V>,
) -> Result<()> {
    walk(model, &mut |name, parameter| {
        let shape = parameter.shape();
        let values = find(name, &shape)?;
        expect(name, &shape, values.as_ref().len())?;
        parameter.write(values.as_ref());
        Ok(())
    })
}

fn expect(name: &str, shape: &[usize], got: usize) -> Result<()> {
    match got == shape.iter().product::<usize>() {
        true => Ok(()),
        false => Err(Error::data(name, format!("expected {shape:?} values, got {got}"))),
    }
}

/// Walks every parameter with its gradient, which it takes: `visit(name, gradient)`.
pub fn with_gradients<E: Real, D: Device<E>, M: Module<E, D>>(
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
pub fn addresses<E: Real, D: Device<E>, M: Module<E, D>>(
    model: &mut M,
    gpu: &Gpu,
    mut visit: impl FnMut(&str, Address) -> Result<()>,
) -> Result<()> {
    walk(model, &mut |name, parameter| visit(name, parameter.address(gpu)?))
}

/// The same with the gradients of the parameters.
#[cfg(feature = "cuda")]
pub fn gradient_addresses<E: Real, D: Device<E>, M: Module<E, D>>(
    model: &mut M,
    gradients: &mut Gradients<E, D>,
    mut visit: impl FnMut(&str, Address) -> Result<()>,
) -> Result<()> {
    walk(model, &mut |name, parameter| visit(name, parameter.gradient_address(gradients)?))
}

fn walk<E: Real, D: Device<E>, M: Module<E, D>>(model: &mut M, visit: Visit<'_, E, D>) -> Result<()> {
    model.walk(&mut Path::default(), visit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Block, BlockInit, BlockNames, Role};
    use crate::ops::Activation;
    use crate::shape::BlockShape;
    use dfdx::prelude::Cpu;

    crate::block!(
        /// Small.
        Small: dim 8, heads 2);

    #[derive(Debug, Clone)]
    struct Names;

    impl BlockNames for Names {
        const LN_1: &'static str = "a";
        const QKV: &'static str = "b_";
        const OUT: &'static str = "d.e";
        const LN_2: &'static str = "f";
        const UP: &'static str = "g";
        const DOWN: &'static str = "h";
        const ACTIVATION: Activation = Activation::Relu;
    }

    crate::module! {
        /// One block.
        struct One<W: BlockShape> {
            block: Block<W, Names, E, D> = "", BlockInit { qkv: 1.0, out: 2.0, up: 3.0, down: 4.0 };
        }
    }

    #[test]
    fn a_description_equals_the_built_block() {
        let built: One<Small, f64, Cpu> = build(&Cpu::default(), 0).unwrap();
        let built: Vec<_> = export(&built).unwrap().into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!((&built[2].0[..], &built[4]), ("b_weight", &("d.e.weight".to_owned(), vec![8, 8])));
        let declared = describe::<One<Small, f64, Cpu>, f64, Cpu>();
        assert_eq!((declared[4].role, declared[4].init), (Role::Matrix, Init::Normal(2.0)));
        let declared: Vec<_> = declared.into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(declared, built);
    }

    #[test]
    fn a_model_takes_as_many_values_as_it_has() {
        let short = filled::<f64, _, One<Small, f64, Cpu>>(&Cpu::default(), |_| Ok(vec![0.0; 3]));
        let error = short.map(drop).unwrap_err().to_string();
        assert!(error.contains("a.weight") && error.contains("expected [8] values, got 3"), "{error}");
    }
}
