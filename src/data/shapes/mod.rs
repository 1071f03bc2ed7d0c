//! `shapes`: a procedural, embedded set of pictures and captions. Sample i is a pure function of (seed, split, i).
//!
//! One coloured shape, or two in a relation, on a pale background. One in ten (shape, colour) pairs is kept out of
//! training, for the zero-shot measure.

mod attributes;
mod claim;
mod scene;

pub use attributes::{Attribute, Background, Colour, Place, Relation, Shape, Size};
pub use claim::{Claim, ObjectClaim};
pub use scene::{Kind, Object, Scene, coverage, kinds};

use super::{BadSample, Sample, Source};
use crate::random::Rng;

/// Which draws a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Scenes of one and two objects, never of a held-out pair.
    Train,
    /// As [`Split::Train`], other draws.
    Validation,
    /// Scenes of one object of a held-out pair.
    HeldOut,
}

impl Split {
    /// Its name in keys and random streams.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::HeldOut => "held-out",
        }
    }
}

/// A split of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shapes {
    /// Pixels per side; 32 and 64 are meant.
    pub side: usize,
    /// The same seed gives the same samples.
    pub seed: u64,
    /// Which draws.
    pub split: Split,
    /// How many of them: the set has no natural end.
    pub count: usize,
}

/// Captions per sample: different wordings, each naming some of the attributes.
const CAPTIONS: usize = 4;

impl Shapes {
    /// Scene `index` and the generator that goes on to draw its captions.
    fn draw(&self, index: usize) -> (Scene, Rng) {
        let mut rng = Rng::new(self.seed, &format!("shapes/{}", self.split.name()), 0, index as u64);
        let scene = match self.split {
            Split::Train | Split::Validation => Scene::draw(&mut rng),
            Split::HeldOut => Scene::single(*rng.choose(&kinds(true)), &mut rng),
        };
        (scene, rng)
    }

    /// Scene `index` as data.
    pub fn scene(&self, index: usize) -> Scene {
        self.draw(index).0
    }
}

impl Source for Shapes {
    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<Sample, BadSample> {
        let (scene, mut rng) = self.draw(index);
        Ok(Sample {
            key: format!("{}-{index:06}", self.split.name()),
            picture: scene.render(self.side),
            captions: (0..CAPTIONS).map(|_| scene.caption(&mut rng)).collect(),
        })
    }

    fn captions(&self, index: usize) -> Result<Vec<String>, BadSample> {
        let (scene, mut rng) = self.draw(index);
        Ok((0..CAPTIONS).map(|_| scene.caption(&mut rng)).collect())
    }
}

/// What the captions of an evaluation are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompts {
    /// One object of a pair that training saw.
    Seen,
    /// One object of a held-out pair.
    HeldOut,
    /// Two objects of pairs that training saw.
    Pairs,
}

/// `count` captions for evaluation, a pure function of the arguments. One-object captions go through all the pairs in
/// turn, so that each is asked for equally often.
pub fn prompts(about: Prompts, seed: u64, count: usize) -> Vec<String> {
    let (kinds, stream) = match about {
        Prompts::Seen => (kinds(false), "prompts/seen"),
        Prompts::HeldOut => (kinds(true), "prompts/held-out"),
        Prompts::Pairs => (kinds(false), "prompts/pairs"),
    };
    let prompt = |index: usize| {
        let mut rng = Rng::new(seed, stream, 0, index as u64);
        let scene = match about {
            Prompts::Seen | Prompts::HeldOut => Scene::single(kinds[index % kinds.len()], &mut rng),
            Prompts::Pairs => Scene::pair(&kinds, &mut rng),
        };
        scene.caption(&mut rng)
    };
    (0..count).map(prompt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn split(split: Split, seed: u64) -> Shapes {
        Shapes { side: 32, seed, split, count: 400 }
    }

    #[test]
    fn samples_are_functions_of_seed_split_and_index() {
        let get = |of, seed, index| split(of, seed).get(index).unwrap();
        assert_eq!(get(Split::Train, 1, 7), get(Split::Train, 1, 7));
        for other in [get(Split::Validation, 1, 7), get(Split::Train, 2, 7), get(Split::Train, 1, 8)] {
            assert_ne!(get(Split::Train, 1, 7).picture, other.picture);
        }
        let larger = Shapes { side: 64, ..split(Split::Train, 1) };
        assert_eq!(larger.get(7).unwrap().captions, get(Split::Train, 1, 7).captions);
        assert_eq!(larger.get(7).unwrap().picture.rgb.len(), 64 * 64 * 3);
    }

    #[test]
    fn held_out_pairs_are_only_where_they_belong() {
        let held_out: HashSet<Kind> = kinds(true).into_iter().collect();
        let count = |of| {
            let scenes = (0..400).map(|i| split(of, 0).scene(i));
            scenes.flat_map(|s| s.objects).filter(|o| held_out.contains(&(o.shape, o.colour))).count()
        };
        assert_eq!([Split::Train, Split::Validation, Split::HeldOut].map(count), [0, 0, 400]);
    }

    #[test]
    fn captions_agree_with_their_scenes() {
        let shapes = split(Split::Train, 9);
        for i in 0..200 {
            let whole = shapes.scene(i).claim();
            for caption in shapes.get(i).unwrap().captions {
                let said = Claim::parse(&caption).unwrap();
                assert_eq!(said.relation, whole.relation);
                assert!(said.background.is_none() || said.background == whole.background);
                for (said, whole) in said.objects.iter().zip(&whole.objects) {
                    assert_eq!((said.shape, said.colour), (whole.shape, whole.colour));
                    assert!(said.size.is_none() || said.size == whole.size);
                    assert!(said.place.is_none() || said.place == whole.place);
                }
            }
        }
    }

    #[test]
    fn prompts_are_about_what_they_say() {
        let kinds_of = |about| {
            let claims = prompts(about, 3, 72).into_iter().map(|prompt| Claim::parse(&prompt).unwrap());
            claims.map(|c| c.objects.iter().map(|o| (o.shape, o.colour)).collect::<Vec<Kind>>()).collect::<Vec<_>>()
        };
        let singles = |about| kinds_of(about).into_iter().map(|k| if let [k] = k[..] { k } else { panic!() });
        assert_eq!(singles(Prompts::Seen).collect::<HashSet<_>>(), kinds(false).into_iter().collect());
        assert_eq!(singles(Prompts::HeldOut).collect::<HashSet<_>>(), kinds(true).into_iter().collect());
        assert!(kinds_of(Prompts::Pairs).iter().all(|k| k.len() == 2 && k.iter().all(|k| kinds(false).contains(k))));
        assert_ne!(prompts(Prompts::Seen, 3, 5), prompts(Prompts::Seen, 4, 5));
    }
}
