//! Both bounds and the reconstructions of a validation set.

use super::accuracy::breakdown;
use super::measure::{counted, held_out, picture, relaxed};
use super::models::Models;
use super::pipeline::pixels;
use super::run_dir::file_part;
use super::spec::{DataKind, Spec};
use crate::data::shapes::Claim;
use crate::data::{Example, Source};
use crate::error::Result;
use crate::evaluate::measure::Estimate;
use crate::evaluate::oracle::{Rule, Verdict, compare};
use crate::evaluate::reading::read;
use crate::evaluate::similarity::{Window, psnr, ssim};
use crate::inference::first_stage::usage;
use crate::models::dvae::EPSILON;
use crate::models::transformer::Tokens;
use crate::objective::elbo::Elbo;
use crate::text::Bpe;

use serde_json::{Value, json};
use std::path::Path;

/// The figures of `spec.evaluate.pairs` pairs of a set, and the pictures of some, written under `images/`. Figures
/// are means over the pairs, with an interval where `intervals` asks for it.
pub(super) fn bounds(
    spec: &Spec,
    models: &Models,
    bpe: &Bpe,
    (name, source): (&str, &dyn Source),
    run: &Path,
    intervals: bool,
) -> Result<(Value, Vec<Value>)> {
    let g = models.architecture.geometry;
    let (values, slots, positions) = (g.side * g.side * 3, models.architecture.text.slots, g.grid * g.grid);
    let examples = held_out(spec, name, source, g.side, spec.evaluate.pairs)?;
    let (size, held) = (examples.len(), pixels(&examples));
    let found = models.first.reconstruct(size, &held)?;
    let text: Vec<u32> = examples.iter().flat_map(|e| models.architecture.text.fill(&bpe.encode(&e.caption))).collect();
    let mut bounds = Vec::new();
    let mut pictures = found.nll.iter().zip(&found.nll_of_8_bits);
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
    let figure = |each: Vec<f64>| {
        let mean = Estimate::mean(&each);
        if intervals { json!(mean) } else { json!(mean.value) }
    };
    let of_each = |f: &dyn Fn(&Elbo) -> f64| figure(bounds.iter().map(f).collect());
    let compared = |f: &dyn Fn(&[f32], &[f32]) -> f64| {
        figure(found.pixels.chunks(values).zip(held.chunks(values)).map(|(a, b)| f(a, b)).collect())
    };
    let beta = spec.first_stage.kl_weight.at(spec.first_stage.steps, spec.first_stage.steps);
    let (used, perplexity) = usage(&found.codes, g.codes);
    let prior = positions as f64 * (g.codes as f64).ln();
    let mut numbers = json!({
        "psnr": compared(&|a, b| psnr(a, b)),
        "ssim": compared(&|a, b| ssim(a, b, [g.side, g.side, 3], Window::Uniform)),
        "codes_in_use": used,
        "perplexity": perplexity,
        "first_stage_hard_elbo_nats_per_dim": of_each(&|b| -(b.picture + prior) / values as f64),
        "joint_nats": of_each(&|b| b.nats(1.0)),
        "joint_bits_per_dim": of_each(&|b| b.bits_per_dim(1.0)),
        "joint_bits_per_value": of_each(&|b| b.bits_per_value()),
        "joint_bits_per_value_as_density": of_each(&|b| b.bits_per_value_as_density(1.0, EPSILON)),
        "trained_beta": beta,
        "joint_nats_at_trained_beta": of_each(&|b| b.nats(beta)),
        "joint_bits_per_dim_at_trained_beta": of_each(&|b| b.bits_per_dim(beta)),
        "picture_nats": of_each(&|b| b.picture),
        "image_token_nats": of_each(&|b| b.image_tokens),
        "text_nats": of_each(&|b| b.text_tokens),
        "pairs": size,
    });
    if let Some(relaxed) = relaxed(models.first.as_ref(), size, &held, &spec.first_stage, spec.first_stage.steps)? {
        let hard = bounds.iter().map(|b| -(b.picture + prior) / values as f64);
        let gaps: Vec<f64> = relaxed.iter().zip(hard).map(|(relaxed, hard)| relaxed - hard).collect();
        numbers["first_stage_relaxed_elbo_nats_per_dim"] = figure(relaxed);
        numbers["first_stage_elbo_gap_nats_per_dim"] = figure(gaps);
    }
    if spec.data.kind == DataKind::Shapes {
        // What the first stage alone loses: no sample can do better than this.
        let read = |(example, values): (&Example, &[f32])| {
            Some((Claim::parse(&example.caption)?, read(&picture(values, g.side, g.side))))
        };
        let readings: Vec<_> = examples.iter().zip(found.pixels.chunks(values)).filter_map(read).collect();
        let judged = |rule| -> Vec<_> {
            readings.iter().map(|(claim, reading)| (claim.clone(), compare(reading, claim, rule))).collect()
        };
        let [strict, lenient] = [Rule::Strict, Rule::Lenient].map(judged);
        let all = |judged: &[(Claim, Verdict)]| Estimate::of(judged.iter().filter(|of| of.1.all()).count(), size);
        numbers["attributes_after_reconstruction"] = json!(all(&strict));
        let mut detail = breakdown(&strict);
        detail.insert("lenient".into(), json!(all(&lenient)));
        numbers["after_reconstruction"] = Value::Object(detail);
    }
    let mut written = Vec::new();
    for (i, example) in examples.iter().enumerate().take(12) {
        let at = i * values..(i + 1) * values;
        let file = |kind: &str| format!("images/{kind}-{}-{i}.png", file_part(name));
        let (original, decoded) = (file("original"), file("reconstruction"));
        picture(&held[at.clone()], g.side, g.side).save_png(run.join(&original))?;
        picture(&found.pixels[at.clone()], g.side, g.side).save_png(run.join(&decoded))?;
        let psnr = psnr(&found.pixels[at.clone()], &held[at]);
        written
            .push(json!({"caption": example.caption, "original": original, "reconstruction": decoded, "psnr": psnr}));
    }
    Ok((numbers, written))
}
