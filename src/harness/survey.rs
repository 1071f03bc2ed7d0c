//! What a spec's data hold, before anything is trained on them: counts, sizes, captions, and what would be skipped.

use super::models::Architecture;
use super::sources::Sources;
use crate::data::{Counts, Source, View};
use crate::random::Rng;
use crate::spec::Spec;
use crate::text::Bpe;
use crate::text::Cut;
use rayon::prelude::*;
use std::fmt;

/// Of a larger set so many samples are looked at, drawn at random.
const LOOK: usize = 512;

/// A look at one set.
#[derive(Debug)]
pub struct Survey {
    /// What the spec calls it.
    pub name: String,
    /// Samples of the set.
    pub samples: usize,
    /// What became of those that were looked at.
    pub counts: Counts,
    /// Smallest and largest width and height of the pictures that can be read.
    pub sides: Option<[(usize, usize); 2]>,
    /// Fewest and most words of a caption.
    pub words: Option<(usize, usize)>,
    /// Captions against what the models read, by a tokenizer that learned from these.
    pub cut: Vec<(&'static str, Cut)>,
    left_out: String,
}

/// Looks at every set.
pub fn survey(spec: &Spec, sources: &Sources, models: &Architecture) -> Vec<Survey> {
    let side = models.geometry.side;
    let (mut train, captions) = one("training", sources.train.as_ref(), spec.seed, side);
    let vocabulary = if spec.text.vocabulary == 0 { models.text.bpe } else { spec.text.vocabulary };
    // Captions too few for a tokenizer are the run's to refuse.
    let bpe = Bpe::train(captions.iter().cloned(), vocabulary).ok();
    let cut = |captions: &[String]| -> Vec<(&'static str, Cut)> {
        let Some(bpe) = &bpe else { return Vec::new() };
        let lengths: Vec<usize> = captions.iter().map(|caption| bpe.encode(caption).len()).collect();
        let rooms = [("transformer", models.text.room()), ("CLIP", models.clip_text.room())];
        rooms.map(|(model, room)| (model, Cut::of(room, lengths.iter().copied()))).into()
    };
    train.cut = cut(&captions);
    let mut found = vec![train];
    for (name, source) in &sources.validation {
        let (mut set, captions) = one(name, source.as_ref(), spec.seed, side);
        set.cut = cut(&captions);
        if sources.held_out.is_some() {
            set.left_out.clear(); // said of the training set
        }
        found.push(set);
    }
    found
}

/// A look at one set, and the captions that it met.
fn one(name: &str, source: &dyn Source, seed: u64, side: usize) -> (Survey, Vec<String>) {
    let mut indices: Vec<usize> = (0..source.len()).collect();
    if source.len() > LOOK {
        indices = Rng::new(seed, "data/survey", 0, 0).permutation(source.len());
        indices.truncate(LOOK);
    }
    let look = |index: usize| {
        let sample = source.get(index);
        let facts = sample.as_ref().ok().map(|s| ((s.picture.width, s.picture.height), s.captions.clone()));
        let used = sample.and_then(|s| {
            let mut rng = Rng::new(seed, "data/survey", 1, index as u64);
            View::EVALUATION.apply(&s.picture, "", side, &mut rng).map_err(|error| error.of(&s.key))
        });
        (index, facts, used.err())
    };
    let looked: Vec<_> = indices.into_par_iter().map(look).collect();
    let (mut counts, mut sides, mut all) = (Counts::default(), None::<[(usize, usize); 2]>, Vec::new());
    for (index, facts, bad) in looked {
        counts.add(index, bad.as_ref());
        if let Some(((width, height), captions)) = facts {
            let [(w, h), (wide, high)] = sides.unwrap_or([(width, height); 2]);
            sides = Some([(w.min(width), h.min(height)), (wide.max(width), high.max(height))]);
            all.extend(captions);
        }
    }
    let lengths = || all.iter().map(|caption| caption.split_whitespace().count());
    let words = lengths().min().zip(lengths().max());
    let left_out = source.left_out();
    let left_out = match left_out.total() {
        0 => String::new(),
        _ => format!("left out: {}; first: {}", left_out.summary(), left_out.first()),
    };
    let name = name.to_owned();
    (Survey { name, samples: source.len(), counts, sides, words, cut: Vec::new(), left_out }, all)
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Survey { name, samples, counts, .. } = self;
        write!(f, "  {name}: {samples} samples")?;
        if counts.seen() < *samples {
            write!(f, ", {} of them looked at", counts.seen())?;
        }
        if let Some([(w, h), (wide, high)]) = self.sides {
            write!(f, "; pictures {w} to {wide} pixels wide, {h} to {high} high")?;
        }
        if let Some((fewest, most)) = self.words {
            write!(f, "; captions of {fewest} to {most} words")?;
        }
        for tally in [&counts.broken, &counts.filtered].into_iter().filter(|tally| tally.total() > 0) {
            let what = if std::ptr::eq(tally, &counts.broken) { "broken" } else { "filtered out" };
            write!(f, "\n    {} {what}: {}; first: {}", tally.total(), tally.summary(), tally.first())?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\n    {}", self.left_out)?;
        }
        for (model, cut) in self.cut.iter().filter(|(_, cut)| cut.any()) {
            write!(f, "\n    {model}: about {cut}")?;
        }
        Ok(())
    }
}
