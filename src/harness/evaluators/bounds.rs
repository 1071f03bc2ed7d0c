//! Both bounds and the reconstructions of a validation set.

use super::accuracy::{breakdown, kind_names, parts};
use super::{Context, Evaluator, figure, fingerprint, share, shares_of, write_json};
use crate::data::shapes::Claim;
use crate::data::{Example, Picture, Source, pixels};
use crate::error::Result;
use crate::evaluate::each::Each;
use crate::evaluate::estimate::Estimate;
use crate::evaluate::oracle::{Rule, Verdict, compare};
use crate::evaluate::reading::read;
use crate::evaluate::results::{AfterReconstruction, Bounds, Results, SetResults, set_key};
use crate::evaluate::similarity::{Window, psnr, ssim};
use crate::harness::measure::{counted, held_out, relaxed};
use crate::harness::models::Models;
use crate::harness::run_dir::file_part;
use crate::harness::sources;
use crate::inference::first_stage::usage;
use crate::models::dvae::EPSILON;
use crate::models::transformer::Tokens;
use crate::objective::elbo::Elbo;
use crate::spec::FirstStageKind;
use crate::spec::Spec;
use crate::text::Bpe;
use serde_json::{Value, json};
use std::path::Path;

/// Both bounds and the reconstructions of every validation set.
pub(super) struct BoundsAndReconstructions;

impl Evaluator for BoundsAndReconstructions {
    fn run(&self, context: &Context<'_>, results: &mut Results, each: &mut Each) -> Result<()> {
        let Context { spec, run, sources, models, bpe, .. } = *context;
        let mut reconstructions = Vec::new();
        for (name, source) in &sources.validation {
            context.proceed(&format!("bounds and reconstructions of {name}"))?;
            let (figures, pictures) = bounds(spec, models, bpe, (name, source.as_ref()), run, (each, false))?;
            results.sets.insert(name, figures);
            reconstructions.extend(pictures);
        }
        write_json(run, "images/reconstructions.json", &Value::Array(reconstructions))
    }

    fn will_hold(&self, spec: &Spec, results: &mut Results) {
        for (name, held_out) in sources::names(spec) {
            let mut bounds = Bounds { joint_bits_per_dim_of_8_bit_pixels: None, ..Bounds::all(figure()) };
            if spec.first_stage.kind != FirstStageKind::Dvae {
                (bounds.first_stage_relaxed_elbo_nats_per_dim, bounds.first_stage_elbo_gap_nats_per_dim) = (None, None);
            }
            if spec.first_stage.is_published() {
                bounds = bounds.without_likelihood();
            }
            let is_judged = spec.data.kind.is_judged();
            bounds.attributes_after_reconstruction = is_judged.then(share);
            let breakdown =
                if held_out { parts(&["1"], kind_names(true, spec.seed)) } else { parts(&["1", "2"], vec![]) };
            let after_reconstruction = is_judged.then(|| AfterReconstruction { breakdown, lenient: Some(share()) });
            results.sets.insert(name, SetResults { bounds, after_reconstruction });
        }
    }
}

/// The figures of `spec.evaluate.pairs` pairs of a set, and the pictures of some, written under `images/`. Figures
/// are means over the pairs, with an interval where `intervals` asks for it; the pairs' own go into `each`.
pub(in crate::harness) fn bounds(
    spec: &Spec,
    models: &Models,
    bpe: &Bpe,
    (name, source): (&str, &dyn Source),
    run: &Path,
    (each, intervals): (&mut Each, bool),
) -> Result<(SetResults, Vec<Value>)> {
    let g = models.architecture.geometry;
    let (values, slots, positions) = (g.side * g.side * 3, models.architecture.text.slots, g.grid * g.grid);
    let examples = held_out(spec, name, source, g.side, spec.evaluate.pairs)?;
    let (size, held) = (examples.len(), pixels(&examples));
    let found = models.first.reconstruct(size, &held)?;
    let text: Vec<u32> = examples.iter().flat_map(|e| models.architecture.text.fill(&bpe.encode(&e.caption))).collect();
    let mut bounds = Vec::new();
    // A published first stage is asked for no likelihood: what depends on one is then left out.
    let likely = !spec.first_stage.is_published();
    let unknown = vec![f64::NAN; if likely { 0 } else { size }];
    let (nll, of_8_bits) = if likely { (&found.nll, &found.nll_of_8_bits) } else { (&unknown, &unknown) };
    let mut pictures = nll.iter().zip(of_8_bits);
    for (text, image) in text.chunks(32 * slots).zip(found.codes.chunks(32 * positions)) {
        let (t, i) = models.transformer.nll(text.len() / slots, Tokens { text, image })?;
        let targets = models.transformer.text_targets(text);
        let texts = t.chunks(slots).zip(targets.chunks(slots));
        for (((text, targets), image), (&picture, &picture_of_8_bits)) in
            texts.zip(i.chunks(positions)).zip(pictures.by_ref())
        {
            let (image_tokens, text_tokens) = (image.iter().sum(), counted(text, targets).sum());
            bounds.push(Elbo { picture, picture_of_8_bits, image_tokens, text_tokens, values });
        }
    }
    each.set(name, examples.iter().map(fingerprint).collect());
    let mut mean = |key: &str, values: Vec<f64>| {
        let estimate = Estimate::mean(&values);
        each.add(format!("{}.{key}", set_key(name)), name, values);
        Some(if intervals { estimate } else { estimate.alone() })
    };
    let of_each = |f: &dyn Fn(&Elbo) -> f64| -> Vec<f64> { bounds.iter().map(f).collect() };
    let compared = |f: &dyn Fn(&[f32], &[f32]) -> f64| -> Vec<f64> {
        found.pixels.chunks(values).zip(held.chunks(values)).map(|(a, b)| f(a, b)).collect()
    };
    let beta = spec.first_stage.kl_weight.at(spec.first_stage.steps, spec.first_stage.steps);
    let (used, perplexity) = usage(&found.codes, g.codes);
    let prior = positions as f64 * (g.codes as f64).ln();
    let hard = |b: &Elbo| -(b.picture + prior) / values as f64;
    let relaxed = relaxed(models.first.as_ref(), size, &held, &spec.first_stage, spec.first_stage.steps)?;
    let gaps: Option<Vec<f64>> =
        relaxed.as_ref().map(|relaxed| relaxed.iter().zip(&bounds).map(|(relaxed, b)| relaxed - hard(b)).collect());
    let mut results = SetResults {
        bounds: Bounds {
            psnr: mean("psnr", compared(&|a, b| psnr(a, b))),
            ssim: mean("ssim", compared(&|a, b| ssim(a, b, [g.side, g.side, 3], Window::Uniform))),
            codes_in_use: Some((used as f64).into()),
            perplexity: Some(perplexity.into()),
            first_stage_hard_elbo_nats_per_dim: mean("first_stage_hard_elbo_nats_per_dim", of_each(&hard)),
            first_stage_relaxed_elbo_nats_per_dim: relaxed
                .and_then(|values| mean("first_stage_relaxed_elbo_nats_per_dim", values)),
            first_stage_elbo_gap_nats_per_dim: gaps
                .and_then(|values| mean("first_stage_elbo_gap_nats_per_dim", values)),
            joint_nats: mean("joint_nats", of_each(&|b| b.nats(1.0))),
            joint_bits_per_dim: mean("joint_bits_per_dim", of_each(&|b| b.bits_per_dim(1.0))),
            joint_bits_per_dim_of_8_bit_pixels: None,
            joint_bits_per_value: mean("joint_bits_per_value", of_each(&|b| b.bits_per_value())),
            joint_bits_per_value_as_density: mean(
                "joint_bits_per_value_as_density",
                of_each(&|b| b.bits_per_value_as_density(1.0, EPSILON)),
            ),
            trained_beta: Some(beta.into()),
            joint_nats_at_trained_beta: mean("joint_nats_at_trained_beta", of_each(&|b| b.nats(beta))),
            joint_bits_per_dim_at_trained_beta: mean(
                "joint_bits_per_dim_at_trained_beta",
                of_each(&|b| b.bits_per_dim(beta)),
            ),
            picture_nats: mean("picture_nats", of_each(&|b| b.picture)),
            image_token_nats: mean("image_token_nats", of_each(&|b| b.image_tokens)),
            text_nats: mean("text_nats", of_each(&|b| b.text_tokens)),
            pairs: Some((size as f64).into()),
            attributes_after_reconstruction: None,
        },
        after_reconstruction: None,
    };
    if !likely {
        results.bounds = results.bounds.without_likelihood();
    }
    if spec.data.kind.is_judged() {
        // What the first stage alone loses: no sample can do better than this.
        let read = |(example, values): (&Example, &[f32])| {
            Some((Claim::parse(&example.caption)?, read(&Picture::of_values(values, g.side, g.side))))
        };
        let readings: Vec<_> = examples.iter().zip(found.pixels.chunks(values)).filter_map(read).collect();
        let judged = |rule| -> Vec<_> {
            readings.iter().map(|(claim, reading)| (claim.clone(), compare(reading, claim, rule))).collect()
        };
        let [strict, lenient] = [Rule::Strict, Rule::Lenient].map(judged);
        let all = |judged: &[(Claim, Verdict)]| Some(Estimate::of(judged.iter().filter(|of| of.1.all()).count(), size));
        if strict.len() == size {
            let rights: Vec<bool> = strict.iter().map(|of| of.1.all()).collect();
            each.add(format!("{}.attributes_after_reconstruction", set_key(name)), name, shares_of(&rights));
        }
        results.bounds.attributes_after_reconstruction = all(&strict);
        results.after_reconstruction =
            Some(AfterReconstruction { breakdown: breakdown(&strict), lenient: all(&lenient) });
    }
    let mut written = Vec::new();
    for (i, example) in examples.iter().enumerate().take(12) {
        let at = i * values..(i + 1) * values;
        let file = |kind: &str| format!("images/{kind}-{}-{i}.png", file_part(name));
        let (original, decoded) = (file("original"), file("reconstruction"));
        Picture::of_values(&held[at.clone()], g.side, g.side).save_png(run.join(&original))?;
        Picture::of_values(&found.pixels[at.clone()], g.side, g.side).save_png(run.join(&decoded))?;
        let psnr = psnr(&found.pixels[at.clone()], &held[at]);
        written
            .push(json!({"caption": example.caption, "original": original, "reconstruction": decoded, "psnr": psnr}));
    }
    Ok((results, written))
}
