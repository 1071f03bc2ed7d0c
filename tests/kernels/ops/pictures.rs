//! Operations on pictures: convolution, max-pool, upsampling.

use super::case::{Case, Outcome, Path, away_from, check, normals, tensor};
use dalle::kernels::Real;
use dalle::ops::*;
use dalle::random::Rng;
use dfdx::prelude::*;
use proptest::prelude::*;

#[derive(Debug)]
struct ConvCase<const I: usize, const O: usize, const K: usize> {
    /// Batch, height and width.
    sides: (usize, usize, usize),
    input: Input,
}

impl<const I: usize, const O: usize, const K: usize> Case for ConvCase<I, O, K> {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        let x = normals(rng, self.sides.num_elements() * I);
        vec![normals(rng, O * I * K * K), normals(rng, O), x.into_iter().map(|x| away_from(0.0, x)).collect()]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let (batch, height, width) = self.sides;
        let w = tensor(&leaves[0], (Const::<O>, Const::<I>, Const::<K>, Const::<K>));
        let b = tensor(&leaves[1], (Const::<O>,));
        let x = tensor(&leaves[2], (batch, height, width, Const::<I>));
        let y = match path {
            Path::Kernel => Cpu::conv2d(x.leaky_trace(), &w, &b, self.input),
            Path::Composed => conv::composed(x.leaky_trace(), &w, &b, self.input),
        };
        let y = y.expect("the CPU");
        match self.input {
            Input::Picture => Outcome::of(y, &[&w, &b]), // x is data
            Input::Linear | Input::Relu => Outcome::of(y, &[&w, &b, &x]),
        }
    }
}

#[derive(Debug)]
enum Resize {
    MaxPool,
    Upsample,
}

#[derive(Debug)]
struct ResizeCase {
    kind: Resize,
    sides: (usize, usize, usize),
}

const CHANNELS: usize = 3;

impl Case for ResizeCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        // No two alike: a tie is a kink of the maximum.
        let order = rng.permutation(self.sides.num_elements() * CHANNELS);
        vec![order.into_iter().map(|i| 0.03 * i as f64 - 1.0).collect()]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let (batch, height, width) = self.sides;
        let x = tensor(&leaves[0], (batch, height, width, Const::<CHANNELS>));
        let y = match (&self.kind, path) {
            (Resize::MaxPool, Path::Kernel) => Cpu::max_pool(x.leaky_trace()),
            (Resize::MaxPool, Path::Composed) => pool::max_composed(x.leaky_trace()),
            (Resize::Upsample, Path::Kernel) => Cpu::upsample(x.leaky_trace()),
            (Resize::Upsample, Path::Composed) => pool::nearest_composed(x.leaky_trace()),
        };
        Outcome::of(y.expect("the CPU"), &[&x])
    }
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![Just(Input::Picture), Just(Input::Linear), Just(Input::Relu)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn convolutions_of_one_pixel(sides in (1..=3usize, 1..=6usize, 1..=6usize), input in input(), seed: u64) {
        check(ConvCase::<4, 6, 1> { sides, input }, seed);
    }

    #[test]
    fn convolutions_of_three_by_three(sides in (1..=3usize, 1..=6usize, 1..=6usize), input in input(), seed: u64) {
        check(ConvCase::<5, 4, 3> { sides, input }, seed);
    }

    #[test]
    fn convolutions_of_seven_by_seven(sides in (1..=2usize, 1..=9usize, 1..=9usize), input in input(), seed: u64) {
        check(ConvCase::<3, 5, 7> { sides, input }, seed);
    }

    #[test]
    fn max_pools(batch in 1..=3usize, height in 1..=4usize, width in 1..=4usize, seed: u64) {
        check(ResizeCase { kind: Resize::MaxPool, sides: (batch, 2 * height, 2 * width) }, seed);
    }

    #[test]
    fn upsamplings(sides in (1..=3usize, 1..=4usize, 1..=4usize), seed: u64) {
        check(ResizeCase { kind: Resize::Upsample, sides }, seed);
    }
}

#[test]
fn the_first_of_a_tie_takes_the_gradient_of_a_max_pool() {
    let x = tensor(&[2.0, 2.0, 2.0, 1.0], (1usize, 2usize, 2usize, Const::<1>));
    let gradients = Cpu::max_pool(x.leaky_trace()).unwrap().sum::<(), _>().backward();
    assert_eq!(to_vec(gradients.get(&x)).unwrap(), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn sides_halve_and_double() {
    let x = tensor(&[0f32; 8 * 16 * 3], (1usize, Const::<8>, Const::<16>, Const::<3>));
    let half: Tensor<(usize, usize, usize, Const<3>), f32, Cpu> = Cpu::max_pool(x.clone()).unwrap();
    let twice: Tensor<(usize, usize, usize, Const<3>), f32, Cpu> = Cpu::upsample(x).unwrap();
    assert_eq!((half.shape().num_elements(), twice.shape().num_elements()), (4 * 8 * 3, 16 * 32 * 3));
}
