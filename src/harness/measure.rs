//! What is measured of a stage on validation pairs, while it trains and after it.

use super::sources::measured;
use crate::data::{Example, Source};
use crate::error::Result;
use crate::evaluate::similarity::psnr;
use crate::inference::first_stage::usage;
use crate::inference::{Embedder, ImageTokenizer, Options, Request, TokenModel, cosines, rank};
use crate::models::transformer::Tokens;
use crate::objective::contrastive_of;
use crate::random::Rng;
use crate::spec::{FirstStageConfig, FirstStageKind};
use crate::spec::{SampleSpec, Spec};
use crate::train::Metrics;

/// `limit` good examples of a validation set (0: all), spread over it, centre-cropped: fewer are the first of more.
pub fn held_out(spec: &Spec, name: &str, source: &dyn Source, side: usize, limit: usize) -> Result<Vec<Example>> {
    let limit = if limit == 0 { source.len() } else { limit };
    measured(spec, name, source, side, limit)
}

/// A first stage on validation pictures (no metrics of none) after `step` updates, as metrics. The hard and the relaxed bound are of the same
/// pictures, in nats a value: what lies between them is what the relaxation hides.
pub fn first_stage(stage: &dyn ImageTokenizer, held: &[f32], spec: &FirstStageConfig, step: u64) -> Result<Metrics> {
    let g = stage.geometry();
    let values = g.side * g.side * 3;
    let size = held.len() / values;
    if size == 0 {
        return Ok(Metrics::new());
    }
    let found = stage.reconstruct(size, held)?;
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let prior = (g.grid * g.grid) as f64 * (g.codes as f64).ln();
    let (used, perplexity) = usage(&found.codes, g.codes);
    let mut metrics = vec![("hard_elbo", -(mean(&found.nll) + prior) / values as f64)];
    if let Some(relaxed) = relaxed(stage, size, held, spec, step)? {
        metrics.push(("relaxed_elbo", mean(&relaxed)));
    }
    metrics.extend([
        ("val_nll", mean(&found.nll) / values as f64),
        ("val_kl", mean(&found.kl) / (g.grid * g.grid) as f64),
        ("usage", used as f64),
        ("perplexity", perplexity),
        ("psnr", mean_psnr(&found.pixels, held, values)),
    ]);
    Ok(metrics)
}

/// The relaxed bound of each picture (β = 1) at the temperature of `step`, nats a value; none for codes that are not relaxed, or published ones.
pub(super) fn relaxed(
    stage: &dyn ImageTokenizer,
    size: usize,
    held: &[f32],
    spec: &FirstStageConfig,
    step: u64,
) -> Result<Option<Vec<f64>>> {
    if spec.kind != FirstStageKind::Dvae || spec.is_published() {
        return Ok(None);
    }
    let side = stage.geometry().side;
    // The noise is the same every time, so that two measurements differ by what was learned between them.
    let noise = Rng::new(0, "relaxed", 0, 0).bits();
    let found = stage.relaxed(size, held, spec.temperature.at(step, spec.steps), noise)?;
    Ok(Some(found.nll.iter().zip(&found.kl).map(|(nll, kl)| -(nll + kl) / (3 * side * side) as f64).collect()))
}

fn mean_psnr(a: &[f32], b: &[f32], values: usize) -> f64 {
    let each: Vec<f64> = a.chunks(values).zip(b.chunks(values)).map(|(a, b)| psnr(a, b)).collect();
    each.iter().sum::<f64>() / each.len().max(1) as f64
}

/// The transformer on validation pairs, as metrics: nats per token, of the text's those that the loss counts.
pub fn transformer(stage: &dyn TokenModel, size: usize, text: &[u32], image: &[u32]) -> Result<Metrics> {
    if size == 0 {
        return Ok(Metrics::new());
    }
    let (text_nll, image) = stage.nll(size, Tokens { text, image })?;
    let text: Vec<f64> = counted(&text_nll, &stage.text_targets(text)).collect();
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    Ok(vec![("val_text_loss", mean(&text)), ("val_image_loss", mean(&image))])
}

/// The figures of those slots that are targets.
pub(super) fn counted(nll: &[f64], targets: &[bool]) -> impl Iterator<Item = f64> {
    nll.iter().zip(targets).filter(|(_, target)| **target).map(|(nll, _)| *nll)
}

/// CLIP on validation pairs, as metrics: the contrastive loss over all of them, and how often a picture is nearest to its own
/// caption.
pub fn clip(stage: &dyn Embedder, size: usize, held: &[f32], text: &[u32]) -> Result<Metrics> {
    if size == 0 {
        return Ok(Metrics::new());
    }
    let (images, texts) = (stage.images(held)?, stage.texts(text)?);
    let scores = cosines(&images, &texts, images.len() / size);
    let right = scores.chunks(size).enumerate().filter(|(i, row)| rank(row).first() == Some(i)).count();
    let logits: Vec<f32> = scores.iter().map(|cosine| stage.scale() * cosine).collect();
    Ok(vec![("val_loss", contrastive_of(&logits, size)), ("val_accuracy", right as f64 / size as f64)])
}

/// How the spec draws.
pub fn options(spec: &SampleSpec) -> Options {
    Options {
        temperature: spec.temperature,
        top_k: spec.top_k,
        top_p: spec.top_p,
        guidance: spec.guidance,
        precision: spec.precision,
    }
}

/// What the spec asks to be drawn for each caption.
pub(super) fn request(spec: &Spec) -> Request {
    let sample = &spec.sample;
    Request { candidates: sample.candidates, seed: spec.seed, forced: Vec::new(), options: options(sample) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::load::check;
    use crate::harness::models::{Architecture, named};
    use crate::train::Batch;

    /// Models that have learned nothing.
    struct Untrained {
        architecture: Architecture,
        first: Box<dyn ImageTokenizer>,
        transformer: Box<dyn TokenModel>,
        clip: Box<dyn Embedder>,
    }

    fn models(rest: &str) -> (Spec, Untrained) {
        let text = format!("name: a\npreset: tiny\n{rest}");
        let spec = check("a.yaml", &text, &[], &["tiny"]).unwrap();
        let family = named(&spec).unwrap();
        let models = Untrained {
            architecture: family.architecture(&spec).unwrap(),
            first: family.train_first_stage(&spec).unwrap().frozen().unwrap(),
            transformer: family.train_transformer(&spec).unwrap().frozen().unwrap(),
            clip: family.train_clip(&spec).unwrap().frozen().unwrap(),
        };
        (spec, models)
    }

    fn number(numbers: &Metrics, name: &str) -> Option<f64> {
        numbers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn some_pixels(pictures: usize) -> Vec<f32> {
        let mut rng = Rng::new(1, "pixels", 0, 0);
        (0..pictures * 16 * 16 * 3).map(|_| rng.below(256) as f32 / 255.0).collect()
    }

    #[test]
    fn validation_counts_the_text_that_training_counts() {
        for pad_loss in [true, false] {
            let (spec, models) = models(&format!("transformer: {{conv_kernel: 3, pad_loss: {pad_loss}}}\n"));
            let mut stage = named(&spec).unwrap().train_transformer(&spec).unwrap();
            let text: Vec<u32> =
                [&[3, 4, 5][..], &[9; 7]].iter().flat_map(|ids| models.architecture.text.fill(ids)).collect();
            let batch = Batch { size: 2, text, codes: (0..32).collect(), ..Batch::default() };
            let held = transformer(models.transformer.as_ref(), 2, &batch.text, &batch.codes).unwrap();
            let trained = stage.step(0, &batch).unwrap();
            for (ours, theirs) in [("val_text_loss", "text_loss"), ("val_image_loss", "image_loss")] {
                let (held, trained) = (number(&held, ours).unwrap(), trained.get(theirs).unwrap());
                assert!((held - trained).abs() < 1e-4, "{pad_loss} {ours}: {held} {trained}");
            }
        }
    }

    #[test]
    fn clips_validation_has_the_loss_that_it_is_trained_by() {
        let (spec, models) = models("");
        let mut stage = named(&spec).unwrap().train_clip(&spec).unwrap();
        let text: Vec<u32> =
            [&[3, 4, 5][..], &[9; 7], &[7]].iter().flat_map(|ids| models.architecture.clip_text.fill(ids)).collect();
        let batch = Batch { size: 3, text, pixels: some_pixels(3), ..Batch::default() };
        let held = clip(models.clip.as_ref(), 3, &batch.pixels, &batch.text).unwrap();
        let trained = stage.step(0, &batch).unwrap();
        let (held, trained) = (number(&held, "val_loss").unwrap(), trained.get("loss").unwrap());
        assert!((held - trained).abs() < 1e-4, "{held} {trained}");
    }

    #[test]
    fn both_bounds_are_of_the_same_pictures_and_meet_where_the_relaxation_is_cold() {
        let (spec, models) = models("");
        let held = some_pixels(4);
        let numbers = first_stage(models.first.as_ref(), &held, &spec.first_stage, 0).unwrap();
        let (hard, warm) = (number(&numbers, "hard_elbo").unwrap(), number(&numbers, "relaxed_elbo").unwrap());
        // At the start the posterior is nearly uniform: it pays no KL, the argmax code pays all of it.
        let positions = 16.0 * 32f64.ln() / 768.0;
        assert!((0.0..2.0 * positions).contains(&(warm - hard)), "{hard} {warm}");
        assert_eq!(numbers, first_stage(models.first.as_ref(), &held, &spec.first_stage, 0).unwrap());
        let cold = first_stage(models.first.as_ref(), &held, &spec.first_stage, spec.first_stage.steps).unwrap();
        assert_ne!(number(&cold, "relaxed_elbo"), Some(warm), "the temperature follows the schedule");
        let (spec, models) = self::models("first_stage: {kind: vqvae}\n");
        let numbers = first_stage(models.first.as_ref(), &held, &spec.first_stage, 0).unwrap();
        assert_eq!(number(&numbers, "relaxed_elbo"), None, "nearest codes are not relaxed");
    }

    #[test]
    fn nothing_to_measure_is_no_panic() {
        let (spec, models) = models("");
        assert!(first_stage(models.first.as_ref(), &[], &spec.first_stage, 0).unwrap().is_empty());
        assert!(transformer(models.transformer.as_ref(), 0, &[], &[]).unwrap().is_empty());
        assert!(clip(models.clip.as_ref(), 0, &[], &[]).unwrap().is_empty());
    }
}
