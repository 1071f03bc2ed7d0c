//! `shapes`: a procedural, embedded set of pictures and captions. Sample i is a pure function of (seed, split, i).
//!
//! One coloured shape, or two in a relation, on a pale background. One in ten (shape, colour) pairs, another tenth for
//! another seed, is kept out of training, for the zero-shot measure.

mod attributes;
mod claim;
mod scene;

pub use attributes::{Attribute, Background, Colour, Place, Relation, Shape, Size};
pub use claim::{Claim, ObjectClaim};
pub use scene::{Kind, Object, Scene, coverage, kinds};

use super::{BadSample, Sample, Source, Trace};
use crate::random::Rng;
use serde::{Deserialize, Serialize};

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
            Split::Train | Split::Validation => Scene::draw(&kinds(false, self.seed), &mut rng),
            Split::HeldOut => Scene::single(*rng.choose(&kinds(true, self.seed)), &mut rng),
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

    /// How they are drawn is the program's, which a run names too.
    fn trace(&self, index: usize, _: bool, trace: &mut Trace) {
        let Shapes { side, seed, split, .. } = self;
        trace.fact("shapes", format!("{side} {seed} {} {index}", split.name()).as_bytes());
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

/// What the captions of an evaluation are for. What one half says the other never does, so that figures which guided choices
/// are not those that are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Captions {
    /// Figures to report.
    Quoted,
    /// Choosing between settings.
    Tuning,
}

impl Captions {
    /// The half that a caption belongs to: a function of what it says, whatever its wording.
    fn of(claim: &Claim) -> Self {
        let tuning = Rng::new(0, &format!("captions/{claim:?}"), 0, 0).chance(0.5);
        if tuning { Captions::Tuning } else { Captions::Quoted }
    }
}

/// `count` captions for evaluation, a pure function of the arguments. One-object captions go through all the pairs in
/// turn, so that each is asked for equally often.
pub fn prompts(about: Prompts, captions: Captions, seed: u64, count: usize) -> Vec<String> {
    let (kinds, about_what) = match about {
        Prompts::Seen => (kinds(false, seed), "seen"),
        Prompts::HeldOut => (kinds(true, seed), "held-out"),
        Prompts::Pairs => (kinds(false, seed), "pairs"),
    };
    let stream = match captions {
        Captions::Quoted => format!("prompts/{about_what}"),
        Captions::Tuning => format!("tuning/{about_what}"),
    };
    let prompt = |index: usize| {
        let mut rng = Rng::new(seed, &stream, 0, index as u64);
        loop {
            let scene = match about {
                Prompts::Seen | Prompts::HeldOut => Scene::single(kinds[index % kinds.len()], &mut rng),
                Prompts::Pairs => Scene::pair(&kinds, &mut rng),
            };
            let caption = scene.caption(&mut rng);
            if Claim::parse(&caption).is_some_and(|claim| Captions::of(&claim) == captions) {
                return caption;
            }
        }
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
        for seed in 0..12 {
            let held_out: HashSet<Kind> = kinds(true, seed).into_iter().collect();
            let count = |of| {
                let scenes = (0..200).map(|i| split(of, seed).scene(i));
                scenes.flat_map(|s| s.objects).filter(|o| held_out.contains(&(o.shape, o.colour))).count()
            };
            assert_eq!([Split::Train, Split::Validation, Split::HeldOut].map(count), [0, 0, 200], "{seed}");
        }
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
            let prompts = prompts(about, Captions::Quoted, 3, 72);
            let claims = prompts.into_iter().map(|prompt| Claim::parse(&prompt).unwrap());
            claims.map(|c| c.objects.iter().map(|o| (o.shape, o.colour)).collect::<Vec<Kind>>()).collect::<Vec<_>>()
        };
        let singles = |about| kinds_of(about).into_iter().map(|k| if let [k] = k[..] { k } else { panic!() });
        assert_eq!(singles(Prompts::Seen).collect::<HashSet<_>>(), kinds(false, 3).into_iter().collect());
        assert_eq!(singles(Prompts::HeldOut).collect::<HashSet<_>>(), kinds(true, 3).into_iter().collect());
        assert!(kinds_of(Prompts::Pairs).iter().all(|k| k.len() == 2 && k.iter().all(|k| kinds(false, 3).contains(k))));
        assert_ne!(prompts(Prompts::Seen, Captions::Quoted, 3, 5), prompts(Prompts::Seen, Captions::Quoted, 4, 5));
    }

    #[test]
    fn captions_to_tune_with_say_nothing_that_is_quoted() {
        for about in [Prompts::Seen, Prompts::HeldOut, Prompts::Pairs] {
            let said = |captions| -> Vec<String> {
                let claims = (0..3).flat_map(|seed| prompts(about, captions, seed, 400));
                claims.map(|prompt| format!("{:?}", Claim::parse(&prompt))).collect()
            };
            let quoted: HashSet<String> = said(Captions::Quoted).into_iter().collect();
            assert!(said(Captions::Tuning).iter().all(|claim| !quoted.contains(claim)), "{about:?}");
            assert!(quoted.len() > 100, "{about:?}: {}", quoted.len());
        }
    }
}
