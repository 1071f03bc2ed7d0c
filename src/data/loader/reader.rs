//! What a loader reads with: a pure function of step and place, that many threads may ask at once.

use super::{Example, Met, Seen};
use crate::data::{BadSample, Order, PictureError, Sample, Source, View};
use crate::random::Rng;
use rayon::prelude::*;
use std::sync::Arc;

/// How many replacements are tried for one sample that cannot be used.
const REPLACEMENTS: u64 = 64;

/// What is known of the sample at a place and in a look.
type Known<'a, T> = &'a (dyn Fn(usize, usize) -> Option<T> + Sync);

/// What was met for each example of a step: samples that cannot be used, then one that can.
pub struct Read<T>(pub(super) Vec<Vec<Met<T>>>);

/// Reads the samples of a source in a seeded order.
#[derive(Clone)]
pub struct Reader<'a> {
    source: &'a dyn Source,
    view: View,
    target: usize,
    seed: u64,
    stream: Arc<str>,
    views: usize,
    order: Arc<Order>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Source, view: View, target: usize, (seed, stream): (u64, &str)) -> Self {
        let order = Arc::new(Order::new(seed, &format!("{stream}/order"), source.len()));
        Reader { source, view, target, seed, stream: stream.into(), views: 0, order }
    }

    pub(super) fn with_views(self, views: usize) -> Self {
        Reader { views, ..self }
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.source.len()
    }

    /// How many looks each sample has, where these are fixed: of one view, or of some, each apart for captions that let it be mirrored
    /// and for those that do not.
    pub fn looks(&self) -> Option<usize> {
        match (self.view.is_fixed(), self.views) {
            (true, _) => Some(1),
            (false, 0) => None,
            (false, views) => Some(2 * views),
        }
    }

    /// What [`Loader::batch`](super::Loader::batch) takes.
    pub fn batch(&self, step: u64, batch: usize) -> Read<Example> {
        self.met(step, batch, |index, rng| self.read(index, rng, true))
    }

    /// The same, in which no picture is decoded of which `known` knows something by its place and its look.
    pub fn batch_beside<T: Send>(&self, step: u64, batch: usize, known: Known<'_, T>) -> Read<Seen<T>> {
        self.met(step, batch, |index, rng| match self.known(index, rng.clone(), known) {
            Some(seen) => Ok(seen),
            None => self.read(index, rng, true).map(Seen::Read),
        })
    }

    /// The `batch` samples of `step` as `read` reads them.
    fn met<T: Send>(
        &self,
        step: u64,
        batch: usize,
        read: impl Fn(usize, &mut Rng) -> std::result::Result<T, BadSample> + Sync,
    ) -> Read<T> {
        let first = step * batch as u64;
        Read((first..first + batch as u64).into_par_iter().map(|position| self.example(position, &read)).collect())
    }

    /// Every place once, in an order in which few are spread over all.
    pub(super) fn spread(&self) -> Vec<usize> {
        Rng::new(self.seed, "data/spread", 0, 0).permutation(self.source.len())
    }

    /// The sample at `index` with its first caption.
    pub(super) fn first_of(&self, index: usize) -> std::result::Result<Example, BadSample> {
        self.read(index, &mut Rng::new(self.seed, &self.stream, 0, index as u64), false)
    }

    /// The sample at `index` in each of its looks, as far as it has captions for them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn all_looks(&self, index: usize) -> std::result::Result<Vec<Example>, BadSample> {
        let Sample { key, picture, captions } = self.source.get(index)?;
        let mut found: Vec<Example> = Vec::new();
        for caption in captions {
            for view in 0..self.looks().map_or(0, |looks| looks.div_ceil(2)) {
                let (look, mut rng) = self.look(index, &caption, view);
                if found.iter().any(|example| example.look == Some(look)) {
                    continue;
                }
                let picture =
                    self.view.apply(&picture, &caption, self.target, &mut rng).map_err(|error| error.of(&key))?;
                found.push(Example { index, key: key.clone(), picture, caption: caption.clone(), look: Some(look) });
            }
        }
        Ok(found)
    }

    /// What is met at `position`: the example comes last.
    fn example<T>(
        &self,
        position: u64,
        read: impl Fn(usize, &mut Rng) -> std::result::Result<T, BadSample>,
    ) -> Vec<Met<T>> {
        let mut met = Vec::new();
        for attempt in 0..=REPLACEMENTS {
            let mut rng = Rng::new(self.seed, &self.stream, position, attempt);
            let index = if attempt == 0 { self.order.at(position) } else { rng.below(self.source.len()) };
            met.push((index, read(index, &mut rng)));
            if met[met.len() - 1].1.is_ok() {
                break;
            }
        }
        met
    }

    fn read(&self, index: usize, rng: &mut Rng, any_caption: bool) -> std::result::Result<Example, BadSample> {
        let Sample { key, picture, captions } = self.source.get(index)?;
        let Some(caption) = chosen(captions, rng, any_caption) else {
            return Err(PictureError::new("no-caption", "expected at least one caption, got none").of(&key));
        };
        let mut own = self.drawn(index, &caption, rng);
        let (look, rng) = own.as_mut().map_or((None, rng), |(look, own)| (Some(*look), own));
        let picture = self.view.apply(&picture, &caption, self.target, rng).map_err(|error| error.of(&key))?;
        Ok(Example { index, key, picture, caption, look })
    }

    /// What is known of the sample at `index`, with the caption that [`Reader::read`] would take.
    fn known<T>(&self, index: usize, mut rng: Rng, known: Known<'_, T>) -> Option<Seen<T>> {
        self.looks()?;
        let caption = chosen(self.source.captions(index).ok()?, &mut rng, true)?;
        let (look, _) = self.drawn(index, &caption, &mut rng)?;
        Some(Seen::Known(known(index, look)?, caption))
    }

    /// The look in which the sample at `index` is seen this time, and what its view is drawn from; `None` where that is `rng` itself.
    fn drawn(&self, index: usize, caption: &str, rng: &mut Rng) -> Option<(usize, Rng)> {
        let looks = self.looks()?;
        let view = if looks > 1 { rng.below(self.views) } else { 0 };
        Some(self.look(index, caption, view))
    }

    /// A look of the sample at `index`.
    fn look(&self, index: usize, caption: &str, view: usize) -> (usize, Rng) {
        let look = if self.view.is_fixed() { 0 } else { 2 * view + usize::from(self.view.is_sided(caption)) };
        // Of no stage: all of them see the same views.
        (look, Rng::new(self.seed, "data/view", index as u64, view as u64))
    }
}

/// One of the captions, the first where none is to be drawn.
fn chosen(captions: Vec<String>, rng: &mut Rng, any: bool) -> Option<String> {
    let chosen = if any && captions.len() > 1 { rng.below(captions.len()) } else { 0 };
    captions.into_iter().nth(chosen)
}
