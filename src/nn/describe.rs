//! The parameters of a model that nobody built: names and shapes from its type alone, so that a model no machine here can
//! hold is described like any other.

use crate::kernels::Real;
use dfdx::nn::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorName};
use dfdx::prelude::{Device, Shape, Tensor};
use std::convert::Infallible;

/// Names and shapes of all parameters of `M`, in the order of [`export`](super::export) and equal to its. Allocates no tensor.
pub fn describe<M: TensorCollection<E, D>, E: Real, D: Device<E>>() -> Vec<(String, Vec<usize>)> {
    let mut visitor = Describe(Vec::new());
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: String::new(), f: &mut visitor });
    visitor.0
}

struct Describe(Vec<(String, Vec<usize>)>);

impl<E: Real, D: Device<E>> TensorVisitor<E, D> for Describe {
    type Viewer = ViewTensorName;
    type Err = Infallible;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        name: String,
    ) -> Result<Option<Tensor<S, E, D>>, Infallible> {
        self.0.push((name, options.shape.concrete().into()));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Block, BlockNames, Init, build, export};
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
