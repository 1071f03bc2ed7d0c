//! The cost of drawing pictures with cached keys and values: the text once for all candidates, then each image slot of each.

use super::cost::Flops;
use super::{DECODING_EFFICIENCY, Machine, StagePlan, VALUE, seconds};
use crate::inference::held_at_once;
use crate::mask::{Layout, Pattern};
use crate::shape::{BlockShape, TransformerShape};
use crate::spec::Spec;
use dfdx::shapes::ConstDim;
use serde::Serialize;
use std::collections::HashMap;

/// Drawing pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SamplingPlan {
    /// Captions of the report and, for `shapes`, of the measurement.
    pub captions: usize,
    /// Pictures per caption.
    pub candidates: usize,
    /// Of one caption: its prefix once, then every candidate; decoded and ranked.
    pub flops: Flops,
    /// Of one caption; `None` where the machine was not measured.
    pub seconds: Option<f64>,
    /// Weights of the three models, once each.
    pub weight_bytes: f64,
    /// Keys and values of one sequence: each layer keeps what its pattern still reaches.
    pub cache_bytes: f64,
    /// Those of all positions.
    pub dense_cache_bytes: f64,
    /// Sequences that the sampler holds at once: as many candidates as it takes together, twice with guidance.
    pub sequences: usize,
}

impl SamplingPlan {
    /// Seconds of all captions; `None` where the machine was not measured.
    pub fn in_all(&self) -> Option<f64> {
        self.seconds.map(|seconds| seconds * self.captions as f64)
    }

    /// Weights and caches of the sequences that grow at once.
    pub fn peak(self) -> f64 {
        self.weight_bytes + self.cache_bytes * self.sequences as f64
    }
}

/// The cost of what `spec` draws, with the models of `stages` and one pattern a layer.
pub(super) fn plan<S: TransformerShape>(
    spec: &Spec,
    stages: &[StagePlan],
    patterns: &[Pattern],
    machine: Machine,
) -> SamplingPlan {
    let layout = Layout { text: S::Text::SIZE, grid: S::Grid::SIZE };
    let width = <S::Block as BlockShape>::Dim::SIZE as f64;
    let passes = if spec.sample.guidance == 1.0 { 1 } else { 2 };
    let guided = passes as f64;
    let candidates = spec.sample.candidates as f64;

    let (mut seen, mut reach) = (HashMap::new(), HashMap::new());
    let (mut image_pairs, mut reachable) = (0, 0);
    for &pattern in patterns {
        image_pairs += *seen.entry(pattern).or_insert_with(|| pairs_of_image(pattern, layout));
        reachable += *reach.entry(pattern).or_insert_with(|| pattern.reach(layout).peak());
    }
    let text_pairs = S::DEPTH * S::Text::SIZE * (S::Text::SIZE + 1) / 2;
    let dense_pairs = S::DEPTH as f64 * (layout.sequence() * (layout.sequence() + 1) / 2) as f64;
    let attention = |pairs: f64| 4.0 * pairs * width;
    let slot = 2.0 * S::DEPTH as f64 * 12.0 * width * width;
    let image_slot = slot + 2.0 * width * S::Codes::SIZE as f64;
    let prefix =
        Flops { linear: S::Text::SIZE as f64 * slot, attention: attention(text_pairs as f64), ..Flops::default() };
    let image = Flops {
        linear: S::Image::SIZE as f64 * image_slot,
        attention: attention(image_pairs as f64),
        ..Flops::default()
    };
    let drawn = (prefix + image * candidates) * guided;
    let dense = attention(text_pairs as f64 + (dense_pairs - text_pairs as f64) * candidates) * guided;
    let forward = |part: &str| -> Flops {
        let parts = stages.iter().flat_map(|stage| &stage.parts);
        parts.filter(|p| p.name == part).map(|p| p.forward).sum()
    };
    let drawing = machine.flops_per_second.map(|rate| drawn.total() / DECODING_EFFICIENCY / rate);
    let shown = (forward("decoder") + forward("image tower")) * candidates + forward("text tower");
    let measured: Vec<usize> = spec.judged().iter().map(|set| set.count).collect();
    let parameters = stages.iter().flat_map(|stage| &stage.parts).map(|part| part.parameters).sum::<usize>();
    // A set is drawn at a time.
    let together = measured.iter().copied().max().unwrap_or(spec.sample.shown).max(1);
    let captions = measured.into_iter().fold(spec.sample.shown, usize::saturating_add);
    let cache_bytes = 2.0 * VALUE * width * reachable as f64;
    SamplingPlan {
        captions,
        candidates: spec.sample.candidates,
        flops: drawn + shown + Flops { dense_attention: dense, ..Flops::default() },
        seconds: seconds(shown, machine).zip(drawing).map(|(shown, drawing)| drawing + shown),
        weight_bytes: VALUE * parameters as f64,
        cache_bytes,
        dense_cache_bytes: 2.0 * VALUE * width * (S::DEPTH * layout.sequence()) as f64,
        sequences: passes * held_at_once(together, spec.sample.candidates, cache_bytes as usize, passes),
    }
}

/// Pairs that the queries of image slots see: what cached sampling multiplies.
fn pairs_of_image(pattern: Pattern, layout: Layout) -> usize {
    pattern.dense(layout).chunks(layout.sequence()).skip(layout.text).flatten().filter(|&&sees| sees).count()
}
