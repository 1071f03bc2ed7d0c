//! Relaxation and losses: Gumbel-softmax, KL, cross-entropy, logit-Laplace.

use super::case::{Case, Outcome, Path, away_from, check, normals, tensor};
use dalle::kernels::Real;
use dalle::ops::*;
use dalle::random::Rng;
use dfdx::prelude::*;
use proptest::prelude::*;

#[derive(Debug)]
struct CrossEntropyCase {
    rows: (usize, usize),
    vocab: usize,
    targets: Vec<u32>,
}

impl Case for CrossEntropyCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        vec![normals(rng, self.targets.len() * self.vocab).into_iter().map(|x| 3.0 * x).collect()]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let logits = tensor(&leaves[0], (self.rows.0, self.rows.1, self.vocab));
        let y = match path {
            Path::Kernel => Cpu::cross_entropy(logits.leaky_trace(), &self.targets),
            Path::Composed => cross_entropy::composed(logits.leaky_trace(), &self.targets),
        };
        Outcome::of(y.expect("the CPU"), &[&logits])
    }
}

fn cross_entropies() -> impl Strategy<Value = CrossEntropyCase> {
    (1..=3usize, 1..=4usize, 1..=11usize).prop_flat_map(|(a, b, vocab)| {
        prop::collection::vec(0..vocab as u32, a * b).prop_map(move |targets| CrossEntropyCase {
            rows: (a, b),
            vocab,
            targets,
        })
    })
}

#[derive(Debug)]
struct RelaxCase {
    rows: usize,
    vocab: usize,
    tau: f64,
    hard: bool,
    noise: u64,
}

impl Case for RelaxCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        vec![normals(rng, self.rows * self.vocab)]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let logits = tensor(&leaves[0], (self.rows, self.vocab));
        let mut rng = Rng::new(self.noise, "noise", 0, 0);
        let noise = (0..self.rows * self.vocab).map(|_| E::of(f64::from(rng.gumbel() as f32))).collect();
        let (z, kl) = match path {
            Path::Kernel => Cpu::relax(logits.leaky_trace(), noise, self.tau, self.hard).expect("the CPU"),
            Path::Composed => {
                let kl = gumbel::kl_composed(logits.leaky_trace()).expect("the CPU");
                (gumbel::relax_composed(logits.leaky_trace(), noise, self.tau, self.hard).expect("the CPU"), kl)
            }
        };
        // Both results in one: each row's KL after its z.
        let kl = kl.try_reshape_like(&(self.rows, 1usize)).expect("as many");
        Outcome::of((z, kl).try_concat_along(Axis::<1>).expect("the CPU"), &[&logits])
    }

    fn smooth(&self) -> bool {
        !self.hard
    }
}

#[derive(Debug)]
struct KlCase {
    rows: usize,
    vocab: usize,
    spread: f64,
}

impl Case for KlCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        vec![normals(rng, self.rows * self.vocab).into_iter().map(|x| self.spread * x).collect()]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let logits = tensor(&leaves[0], (self.rows, self.vocab));
        let kl = match path {
            Path::Kernel => Cpu::kl_uniform(logits.leaky_trace()),
            Path::Composed => gumbel::kl_composed(logits.leaky_trace()),
        };
        Outcome::of(kl.expect("the CPU"), &[&logits])
    }
}

#[derive(Debug)]
struct LaplaceCase {
    sides: (usize, usize, usize),
    channels: usize,
    clamp: Option<f64>,
    target: u64,
}

impl LaplaceCase {
    /// In (0, 1), a third of them at the ends of φ's range or past it. Exact in f32.
    fn target(&self) -> Vec<f64> {
        let mut rng = Rng::new(self.target, "target", 0, 0);
        let ends = [0.1, 0.9, 0.1 + 1e-6, 1e-3, 1.0 - 1e-3];
        let value = |_| if rng.chance(0.33) { *rng.choose(&ends) } else { rng.range(0.1, 0.9) };
        (0..self.sides.num_elements() * self.channels).map(value).map(|x| f64::from(x as f32)).collect()
    }
}

impl Case for LaplaceCase {
    fn leaves(&self, rng: &mut Rng) -> Vec<Vec<f64>> {
        let target = self.target();
        let mut stats = Vec::with_capacity(2 * target.len());
        for pixel in target.chunks(self.channels) {
            stats.extend(pixel.iter().map(|x| away_from((x / (1.0 - x)).ln(), rng.normal())));
            let bound = self.clamp.unwrap_or(7.0);
            stats.extend(pixel.iter().map(|_| away_from(bound, away_from(-bound, rng.normal()))));
        }
        vec![stats]
    }

    fn run<E: Real>(&self, leaves: &[Vec<E>], path: Path) -> Outcome<E>
    where
        Cpu: Backend<E>,
    {
        let (batch, height, width) = self.sides;
        let stats = tensor(&leaves[0], (batch, height, width, 2 * self.channels));
        let target = self.target().into_iter().map(E::of).collect();
        let nll = match path {
            Path::Kernel => Cpu::logit_laplace(stats.leaky_trace(), target, self.clamp),
            Path::Composed => laplace::composed(stats.leaky_trace(), target, self.clamp),
        };
        Outcome::of(nll.expect("the CPU"), &[&stats])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn cross_entropies_of_rows(case in cross_entropies(), seed: u64) {
        check(case, seed);
    }

    #[test]
    fn relaxations(rows in 1..=6usize, vocab in 1..=9usize, tau in 0.3..2.0, hard: bool, noise: u64, seed: u64) {
        check(RelaxCase { rows, vocab, tau, hard, noise }, seed);
    }

    #[test]
    fn divergences_from_the_uniform(rows in 1..=6usize, vocab in 2..=9usize, spread in 0.1..4.0, seed: u64) {
        check(KlCase { rows, vocab, spread }, seed);
    }

    #[test]
    fn logit_laplace_likelihoods(
        sides in (1..=3usize, 1..=4usize, 1..=4usize),
        channels in 1..=3usize,
        clamp in prop_oneof![Just(None), Just(Some(0.6)), Just(Some(7.0))],
        target: u64,
        seed: u64,
    ) {
        check(LaplaceCase { sides, channels, clamp, target }, seed);
    }

    #[test]
    fn relaxed_rows_are_distributions_and_hard_ones_one_hot(rows in 1..=5usize, tau in 0.05..2.0, seed: u64) {
        let vocab = 8;
        let mut rng = Rng::new(seed, "relax", 0, 0);
        let logits = tensor(&normals(&mut rng, rows * vocab), (rows, vocab));
        let noise: Vec<f64> = (0..rows * vocab).map(|_| rng.gumbel()).collect();
        let soft = to_vec(Cpu::relax(logits.clone(), noise.clone(), tau, false).unwrap().0).unwrap();
        let hard = to_vec(Cpu::relax(logits, noise, tau, true).unwrap().0).unwrap();
        for (soft, hard) in soft.chunks(vocab).zip(hard.chunks(vocab)) {
            prop_assert!((soft.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let largest = soft.iter().copied().fold(0.0, f64::max);
            for (&soft, &hard) in soft.iter().zip(hard) {
                prop_assert_eq!(hard, if soft == largest { 1.0 } else { 0.0 });
            }
        }
    }
}
