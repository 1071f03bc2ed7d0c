//! Both bounds and the reconstructions of a validation set.

use super::measure::{held_out, picture};
use super::models::Models;
use super::pipeline::pixels;
use super::run_dir::file_part;
use super::spec::{DataKind, Spec};
use crate::data::shapes::Claim;
use crate::data::{Example, Source};
use crate::error::Result;
use crate::evaluate::measure::Estimate;
use crate::evaluate::oracle::judge;
use crate::evaluate::similarity::{Window, psnr, ssim};
use crate::models::dvae::EPSILON;
use crate::models::transformer::Tokens;
use crate::objective::elbo::Elbo;
use crate::text::Bpe;
use crate::train::first_stage::usage;
use serde_json::{Value, json};
use std::path::Path;

/// The figures of the first `spec.evaluate.pairs` pairs of a set, and the pictures of some, written under `images/`. Figures
/// are means over the pairs, with an interval where `intervals` asks for it.
pub(super) fn bounds(
    spec: &Spec,
    models: &Models,
    bpe: &Bpe,
    (name, source): (&str, &dyn Source),
    run: &Path,
    intervals: bool,
) -> Result<(Value, Vec<Value>)> {
    let g = models.first.geometry();
    let (values, slots, positions) = (g.side * g.side * 3, models.text.slots, g.grid * g.grid);
    let examples = held_out(spec, name, source, g.side, spec.evaluate.pairs)?;
    let (size, held) = (examples.len(), pixels(&examples));
    let found = models.first.reconstruct(size, &held)?;
    let text: Vec<u32> = examples.iter().flat_map(|e| models.text.fill(&bpe.encode(&e.caption))).collect();
    let mut bounds = Vec::new();
    let mut nll = found.nll.iter();
    for (text, image) in text.chunks(32 * slots).zip(found.codes.chunks(32 * positions)) {
        let (t, i) = models.transformer.nll(text.len() / slots, Tokens { text, image })?;
        for (text, image) in t.chunks(slots).zip(i.chunks(positions)) {
            let picture = nll.next().copied().unwrap_or_default();
            bounds.push(Elbo { picture, image_tokens: image.iter().sum(), text_tokens: text.iter().sum(), values });
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
        "joint_bits_per_dim_of_8_bit_pixels": of_each(&|b| b.bits_per_pixel_value(1.0, EPSILON)),
        "trained_beta": beta,
        "joint_nats_at_trained_beta": of_each(&|b| b.nats(beta)),
        "joint_bits_per_dim_at_trained_beta": of_each(&|b| b.bits_per_dim(beta)),
        "picture_nats": of_each(&|b| b.picture),
        "image_token_nats": of_each(&|b| b.image_tokens),
        "text_nats": of_each(&|b| b.text_tokens),
        "pairs": size,
    });
    if spec.data.kind == DataKind::Shapes {
        // What the first stage alone loses: no sample can do better than this.
        let kept = |(example, values): (&Example, &[f32])| {
            Claim::parse(&example.caption).is_some_and(|claim| judge(&picture(values, g.side, g.side), &claim).all())
        };
        let hits = examples.iter().zip(found.pixels.chunks(values)).filter(|pair| kept(*pair)).count();
        numbers["attributes_after_reconstruction"] = json!(Estimate::of(hits, size));
    }
    let mut pictures = Vec::new();
    for (i, example) in examples.iter().enumerate().take(12) {
        let at = i * values..(i + 1) * values;
        let file = |kind: &str| format!("images/{kind}-{}-{i}.png", file_part(name));
        let (original, decoded) = (file("original"), file("reconstruction"));
        picture(&held[at.clone()], g.side, g.side).save_png(run.join(&original))?;
        picture(&found.pixels[at.clone()], g.side, g.side).save_png(run.join(&decoded))?;
        let psnr = psnr(&found.pixels[at.clone()], &held[at]);
        pictures
            .push(json!({"caption": example.caption, "original": original, "reconstruction": decoded, "psnr": psnr}));
    }
    Ok((numbers, pictures))
}
