//! `experiment eval`: what a finished run is worth on its validation sets, with intervals. Both bounds, PSNR, SSIM and the
//! codebook's use; retrieval and the similarity by CLIP; and with a network of the user's the Fréchet distance and the inception
//! score of samples under the blurs of the paper's Figure 9.

use super::device::Device;
use super::evaluators::bounds;
use super::measure::{held_out, request};
use super::open::{Opened, Which};
use super::progress::Tasks;
use super::run_dir::write_atomic;
use super::sources::Sources;
use crate::data::{Example, Picture};
use crate::error::{Error, Result};
use crate::evaluate::blur::{RADII, blurred, in_pixels};
use crate::evaluate::clip_score::{PREFIX, clip_score, cosines, similarities};
use crate::evaluate::each::Each;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::frechet::Moments;
use crate::evaluate::inception_score::inception_scores;
use crate::evaluate::network::{Network, Seen};
use crate::evaluate::results::{
    EvaluatedSet, Evaluation, Named, NetworkResults, Recall, SampleFigures, SampleResults, UnderBlur,
};
use crate::evaluate::retrieval::{found, transposed};
use crate::inference::{Drawn, Generator, Reranker};
use crate::random::Rng;
use crate::spec::Spec;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The file that it writes into the run directory; the report shows it.
pub const FILE: &str = "evaluation.json";
/// Runs of pictures over which the inception score is averaged, as is the custom.
const SPLITS: usize = 10;

/// What to measure, and with what.
#[derive(Default)]
pub struct Asked {
    /// Pairs of each validation set; 0: all.
    pub pairs: usize,
    /// For the Fréchet distance and the inception score.
    pub network: Option<Network>,
    /// A CLIP for retrieval and similarity (a published one: CLIPScore too), and its name; the run's own if left out.
    pub judge: Option<(String, Reranker)>,
    /// How often the Fréchet distance is measured again on pictures drawn with replacement, for its interval; 0: never.
    pub resamples: usize,
    /// Which of the run's checkpoints.
    pub which: Which,
    /// Whether the captions are MS-COCO's, for which there are published figures.
    pub coco: bool,
}

/// Measures the run at `path` on `device` and writes [`FILE`] there; `say` hears what is going on.
///
/// # Errors
/// [`Error::Data`] where there is no finished run or its data is missing, and what models and network say.
pub fn evaluate(
    path: &Path,
    device: Device,
    asked: &Asked,
    say: &mut dyn FnMut(String),
) -> Result<(PathBuf, Evaluation)> {
    let Opened { run, loaded, models, bpe, warnings } = Opened::open(path, device, asked.which)?;
    let sources = Sources::open(&loaded, models.architecture.geometry.side)?;
    let spec = loaded.spec;
    let side = models.architecture.geometry.side;
    let (mut sets, mut each) = (Named::default(), Each::default());
    for (name, source) in &sources.validation {
        say(format!("{name}: bounds and reconstructions"));
        let limited = Spec {
            evaluate: crate::spec::EvaluateSpec { pairs: asked.pairs, ..spec.evaluate.clone() },
            ..spec.clone()
        };
        let set = bounds(&limited, &models, &bpe, (name, source.as_ref()), &run, (&mut each, true))?.0;
        sets.insert(name, EvaluatedSet { set, ..EvaluatedSet::default() });
    }
    let generator = models.generator(&spec, &bpe);
    let own = models.reranker.clone();
    let (judge, by) = match &asked.judge {
        Some((name, judge)) => (judge, name.as_str()),
        None => (&own, "the run's own, which chose the samples"),
    };
    for (name, source) in &sources.validation {
        let pairs = held_out(&spec, name, source.as_ref(), side, asked.pairs)?;
        say(format!("{name}: {} captions, the best of {} pictures each", pairs.len(), spec.sample.candidates));
        let captions: Vec<String> = pairs.iter().map(|pair| pair.caption.clone()).collect();
        let cut = generator.cut(&captions);
        cut.iter().for_each(|cut| say(format!("warning: {name}: {cut}")));
        let samples = samples(&generator, &spec, name, &captions)?;
        let Some(entry) = sets.get_mut(name) else { continue };
        entry.samples = Some(against_captions(judge, &pairs, &samples)?);
        entry.captions_cut = cut;
        if let Some(network) = &asked.network {
            let mut say = |line| say(format!("{name}: {line}"));
            entry.network = Some(seen_by(network, &spec, asked, &pairs, &samples, &mut say)?);
        }
    }
    let (candidates, resamples, coco) = (spec.sample.candidates, asked.resamples, asked.coco);
    let found = Evaluation { judge: by.to_owned(), candidates, resamples, coco, sets, warnings };
    write_atomic(run.join(FILE), format!("{:#}\n", json!(found)).as_bytes())?;
    Ok((run, found))
}

/// The best picture of each caption.
fn samples(generator: &Generator, spec: &Spec, set: &str, captions: &[String]) -> Result<Vec<Picture>> {
    let (mut tasks, all) = (Tasks::new("eval", true), captions.len());
    let drawn = generator.draw(captions, &request(spec), &mut |done| {
        tasks.at(format_args!("drawing for the captions of {set}"), done, all);
        Ok(())
    })?;
    let best = |mut drawn: Drawn| match drawn.order().first() {
        Some(&best) => Ok(drawn.pictures.swap_remove(best)),
        None => Err(Error::Usage("sample.candidates: expected at least 1, got 0".into())),
    };
    drawn.into_iter().map(best).collect()
}

/// What a CLIP makes of samples and of the real pictures.
fn against_captions(judge: &Reranker, pairs: &[Example], samples: &[Picture]) -> Result<SampleResults> {
    let captions: Vec<String> = pairs.iter().map(|pair| pair.caption.clone()).collect();
    let real: Vec<Picture> = pairs.iter().map(|pair| pair.picture.clone()).collect();
    let wide = |features: Vec<f32>| -> Vec<f64> { features.into_iter().map(f64::from).collect() };
    let texts = wide(judge.captions(&captions)?);
    let (real, drawn) = (wide(judge.pictures(&real)?), wide(judge.pictures(samples)?));
    let width = texts.len() / captions.len().max(1);
    let mean = |features: &[f64], texts: &[f64], score: &dyn Fn(f64) -> f64| {
        Some(Estimate::mean(&cosines(features, texts, width).into_iter().map(score).collect::<Vec<_>>()))
    };
    let similarity = |features: &[f64]| mean(features, &texts, &|cosine| 100.0 * cosine);
    let n = captions.len();
    let recall = |similarities: &[f64]| {
        let at = |k| Some(Estimate::of(found(similarities, n, k), n));
        Recall { at_1: at(1), at_5: at(5), at_10: at(10) }
    };
    let of_pictures = similarities(&real, &texts, width);
    let mut figures = SampleFigures {
        similarity: similarity(&drawn),
        similarity_of_real_pictures: similarity(&real),
        ..SampleFigures::default()
    };
    if judge.is_published() {
        // A run's own CLIP has never read the prefix that is part of the score's definition.
        let prefixed: Vec<String> = captions.iter().map(|caption| format!("{PREFIX}{caption}")).collect();
        let texts = wide(judge.captions(&prefixed)?);
        let score = |features: &[f64]| mean(features, &texts, &|cosine| clip_score(&[cosine]));
        figures.clip_score = score(&drawn);
        figures.clip_score_of_real_pictures = score(&real);
    }
    let retrieval_of_pictures = recall(&transposed(&of_pictures, n));
    Ok(SampleResults { figures, retrieval_of_captions: recall(&of_pictures), retrieval_of_pictures })
}

/// Fréchet distance and inception score at every radius.
fn seen_by(
    network: &Network,
    spec: &Spec,
    asked: &Asked,
    pairs: &[Example],
    samples: &[Picture],
    say: &mut dyn FnMut(String),
) -> Result<NetworkResults> {
    let mut found = NetworkResults::default();
    for radius in RADII {
        say(format!("blur {radius}"));
        let see = |pictures: &mut dyn Iterator<Item = &Picture>| {
            let blur = |picture: &Picture| blurred(picture, in_pixels(radius, picture.width));
            network.see(&pictures.map(blur).collect::<Vec<_>>())
        };
        let real = see(&mut pairs.iter().map(|pair| &pair.picture))?;
        let drawn = see(&mut samples.iter())?;
        found.metric = network.metric(&drawn);
        let scores = inception_scores(&drawn.probabilities, drawn.classes, SPLITS.min(samples.len()));
        found.by_radius.push(UnderBlur {
            radius,
            pixels: in_pixels(radius, samples.first().map_or(0, |picture| picture.width)).into(),
            distance: distance(&real, &drawn, spec.seed, asked.resamples)?,
            inception_score: Estimate { n: Some(samples.len()), ..Estimate::mean(&scores) },
        });
    }
    Ok(found)
}

/// The Fréchet distance, its interval from resampling the pictures of both sides; a number alone without that.
fn distance(real: &Seen, drawn: &Seen, seed: u64, resamples: usize) -> Result<Estimate> {
    let width = real.width;
    let between = |a: &[f64], b: &[f64]| Moments::of(a, width)?.frechet_distance(&Moments::of(b, width)?);
    let again = |features: &[f64], side: u64, turn: usize| -> Vec<f64> {
        let mut rng = Rng::new(seed, "eval/resample", turn as u64, side);
        let n = features.len() / width;
        (0..n)
            .flat_map(|_| {
                let row = rng.below(n);
                &features[row * width..(row + 1) * width]
            })
            .copied()
            .collect()
    };
    let value = between(&real.features, &drawn.features)?;
    if resamples == 0 {
        return Ok(value.into());
    }
    let others = (0..resamples).map(|turn| between(&again(&real.features, 0, turn), &again(&drawn.features, 1, turn)));
    let others: Vec<f64> = others.collect::<Result<_>>()?;
    Ok(Estimate::resampled(value, &others, drawn.features.len() / width))
}
