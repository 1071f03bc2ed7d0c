//! What is measured, while training and after it: reconstruction, both bounds, samples judged by the attribute oracle, and
//! what reranking gains.

use super::bounds::bounds;
use super::models::Models;
use super::pipeline::{clip_text, pixels};
use super::run_dir::{file_part, write_atomic};
use super::sources::{Sources, measured};
use super::spec::{DataKind, SampleSpec, Spec};
use crate::data::shapes::{Attribute, Claim, Prompts, Scene, kinds, prompts};
use crate::data::{Example, Picture, Source};
use crate::error::Result;
use crate::evaluate::measure::Estimate;
use crate::evaluate::oracle::judge;
use crate::evaluate::similarity::psnr;
use crate::generate::{self, Options, Prompt, cosines, rank};
use crate::models::transformer::Tokens;
use crate::random::Rng;
use crate::text::Bpe;
use crate::train::first_stage::usage;
use crate::train::{ImageTokenizer, Numbers, Ranker, TokenModel};
use serde_json::{Map, Value, json};
use std::path::Path;

/// `limit` good examples of a validation set (0: all), spread over it, centre-cropped: fewer are the first of more.
pub fn held_out(spec: &Spec, name: &str, source: &dyn Source, side: usize, limit: usize) -> Result<Vec<Example>> {
    let limit = if limit == 0 { source.len() } else { limit };
    measured(spec, name, source, side, limit)
}

/// A first stage on validation pictures, as metrics.
pub fn first_stage(stage: &dyn ImageTokenizer, held: &[f32]) -> Result<Numbers> {
    let g = stage.geometry();
    let values = g.side * g.side * 3;
    let size = held.len() / values;
    let found = stage.reconstruct(size, held)?;
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let prior = (g.grid * g.grid) as f64 * (g.codes as f64).ln();
    let (used, perplexity) = usage(&found.codes, g.codes);
    Ok(vec![
        ("hard_elbo", -(mean(&found.nll) + prior) / values as f64),
        ("val_nll", mean(&found.nll) / values as f64),
        ("val_kl", mean(&found.kl) / (g.grid * g.grid) as f64),
        ("usage", used as f64),
        ("perplexity", perplexity),
        ("psnr", mean_psnr(&found.pixels, held, values)),
    ])
}

fn mean_psnr(a: &[f32], b: &[f32], values: usize) -> f64 {
    let each: Vec<f64> = a.chunks(values).zip(b.chunks(values)).map(|(a, b)| psnr(a, b)).collect();
    each.iter().sum::<f64>() / each.len().max(1) as f64
}

/// The transformer on validation pairs, as metrics: nats per token.
pub fn transformer(stage: &dyn TokenModel, size: usize, text: &[u32], image: &[u32]) -> Result<Numbers> {
    let (text, image) = stage.nll(size, Tokens { text, image })?;
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    Ok(vec![("val_text_loss", mean(&text)), ("val_image_loss", mean(&image))])
}

/// CLIP on validation pairs, as metrics: how often a picture is nearest to its own caption among all.
pub fn clip(stage: &dyn Ranker, size: usize, held: &[f32], text: &[u32]) -> Result<Numbers> {
    let (images, texts) = (stage.images(held)?, stage.texts(text)?);
    let width = images.len() / size.max(1);
    let scores = cosines(&images, &texts, width);
    let right = scores.chunks(size).enumerate().filter(|(i, row)| rank(row)[0] == *i).count();
    Ok(vec![
        ("val_accuracy", right as f64 / size.max(1) as f64),
        ("val_loss", contrastive_loss(&scores, size, stage.scale())),
    ])
}

/// The symmetric cross-entropy of `size`² cosines at the model's scale, in nats.
fn contrastive_loss(scores: &[f32], size: usize, scale: f32) -> f64 {
    let at = |i: usize, j: usize| f64::from(scale) * f64::from(scores[i * size + j]);
    let nll = |of: &dyn Fn(usize) -> f64, right: usize| {
        let top = (0..size).map(of).fold(f64::NEG_INFINITY, f64::max);
        top + (0..size).map(|j| (of(j) - top).exp()).sum::<f64>().ln() - of(right)
    };
    let both = |i: usize| nll(&|j| at(i, j), i) + nll(&|j| at(j, i), i);
    (0..size).map(both).sum::<f64>() / (2 * size).max(1) as f64
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

/// What is asked before each measurement and each part of one, with its name and how many of its parts are done; an error of it
/// ends them.
pub type Proceed<'a> = &'a dyn Fn(&str, usize, usize) -> Result<()>;

/// Everything after training; writes pictures under `images/` and gives `results` for `run.json`.
pub fn everything(
    spec: &Spec,
    run: &Path,
    sources: &Sources,
    models: &Models,
    bpe: &Bpe,
    proceed: Proceed<'_>,
) -> Result<Value> {
    let mut results = Map::new();
    let (mut shown, mut real) = (Vec::new(), Vec::new());
    if spec.data.kind == DataKind::Shapes {
        let sets = [
            ("seen", Prompts::Seen, spec.evaluate.seen),
            ("held_out", Prompts::HeldOut, spec.evaluate.held_out),
            ("pairs", Prompts::Pairs, spec.evaluate.two_objects),
        ];
        let mut accuracy = Map::new();
        for (name, about, count) in sets.into_iter().filter(|(_, _, count)| *count > 0) {
            let captions = prompts(about, spec.seed, count);
            let drawn = draw(spec, models, bpe, name, &captions, proceed)?;
            let judged = judged(&captions, &drawn, models.first.geometry().side);
            accuracy.insert(name.into(), judged.accuracy(&drawn));
            if name == "seen" {
                results.insert("rerank_curve".into(), curve(&drawn, Some(&judged)));
            }
            let scene =
                |caption: &String| Some(Scene::of(&Claim::parse(caption)?)?.render(models.first.geometry().side));
            real.push(captions.iter().map(scene).collect());
            shown.push((name, captions, drawn, Some(judged.right)));
        }
        results.insert("attribute_accuracy".into(), Value::Object(accuracy));
        proceed("zero-shot classification", 0, 1)?;
        results.insert("zero_shot".into(), zero_shot(spec, sources, models, bpe)?);
    } else {
        for (name, source) in &sources.validation {
            let count = spec.sample.shown.div_ceil(sources.validation.len().max(1)).max(1);
            let examples = held_out(spec, name, source.as_ref(), models.first.geometry().side, count)?;
            real.push(examples.iter().map(|example| Some(example.picture.clone())).collect());
            let picked: Vec<String> = examples.into_iter().map(|example| example.caption).collect();
            let drawn = draw(spec, models, bpe, name, &picked, proceed)?;
            results.entry("rerank_curve").or_insert_with(|| curve(&drawn, None));
            shown.push((name.as_str(), picked, drawn, None));
        }
    }
    let mut reconstructions = Vec::new();
    for (name, source) in &sources.validation {
        proceed(&format!("bounds and reconstructions of {name}"), 0, 1)?;
        let (numbers, pictures) = bounds(spec, models, bpe, (name, source.as_ref()), run, false)?;
        results.insert(format!("elbo_{name}"), numbers);
        reconstructions.extend(pictures);
    }
    write_json(run, "images/reconstructions.json", &Value::Array(reconstructions))?;
    write_samples(spec, run, models, &shown, &real)?;
    Ok(Value::Object(results))
}

/// The candidates of some captions: pictures, prompt by prompt, and their CLIP scores (100·cosine).
struct Drawn {
    pictures: Vec<Vec<Vec<f32>>>,
    scores: Vec<Vec<f32>>,
}

fn draw(
    spec: &Spec,
    models: &Models,
    bpe: &Bpe,
    set: &str,
    captions: &[String],
    proceed: Proceed<'_>,
) -> Result<Drawn> {
    let wanted = spec.sample.candidates;
    let prompt = |(index, caption): (usize, &String)| -> Result<Prompt> {
        let seed = |candidate| Rng::new(spec.seed, &format!("sample/{set}"), index as u64, candidate as u64).bits();
        Ok(Prompt {
            text: models.text.prompt(bpe, caption)?,
            seeds: (0..wanted).map(seed).collect(),
            forced: Vec::new(),
        })
    };
    let asked: Vec<Prompt> = captions.iter().enumerate().map(prompt).collect::<Result<_>>()?;
    let empty = models.text.fill(&[]);
    let task = format!("drawing {wanted} pictures for each of {} captions ({set})", captions.len());
    let mut codes = Vec::new();
    // As many as the sampler draws at once: the split changes neither pictures nor time.
    for asked in asked.chunks((generate::ROWS / wanted.max(1)).max(1)) {
        proceed(&task, codes.len() / wanted.max(1), captions.len())?;
        codes.extend(generate::sample(models.transformer.as_ref(), asked, &empty, &options(&spec.sample))?);
    }
    proceed(&format!("decoding and ranking ({set})"), 0, 1)?;
    let decoded = models.first.decode(&codes.concat())?;
    let features = models.clip.images(&decoded)?;
    let text = clip_text(bpe, models.clip_text, captions.iter().map(String::as_str));
    let texts = models.clip.texts(&text)?;
    let width = features.len() / codes.len().max(1);
    let side = models.first.geometry().side;
    let pictures: Vec<Vec<f32>> = decoded.chunks(side * side * 3).map(<[f32]>::to_vec).collect();
    let scores = features
        .chunks(width * wanted)
        .zip(texts.chunks(width))
        .map(|(own, text)| cosines(text, own, width).iter().map(|c| 100.0 * c).collect())
        .collect();
    Ok(Drawn { pictures: pictures.chunks(wanted).map(<[Vec<f32>]>::to_vec).collect(), scores })
}

/// 8-bit pixels of values in [0, 1].
pub fn picture(values: &[f32], width: usize, height: usize) -> Picture {
    let rgb = values.iter().map(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect();
    Picture { width, height, rgb }
}

/// Which candidate shows every attribute that its caption names, and which the next caption's (chance).
struct Judged {
    right: Vec<Vec<bool>>,
    chance: Vec<bool>,
}

fn judged(captions: &[String], drawn: &Drawn, side: usize) -> Judged {
    let claims: Vec<Option<Claim>> = captions.iter().map(|caption| Claim::parse(caption)).collect();
    let right = |values: &[f32], claim: &Option<Claim>| {
        claim.as_ref().is_some_and(|claim| judge(&picture(values, side, side), claim).all())
    };
    let each =
        |(candidates, claim): (&Vec<Vec<f32>>, &Option<Claim>)| candidates.iter().map(|v| right(v, claim)).collect();
    let shift = claims.len() / 2; // each picture against another caption, far along the list
    let best = |i: usize| &drawn.pictures[i][rank(&drawn.scores[i])[0]];
    Judged {
        right: drawn.pictures.iter().zip(&claims).map(each).collect(),
        chance: (0..claims.len()).map(|i| right(best(i), &claims[(i + shift + 1) % claims.len()])).collect(),
    }
}

impl Judged {
    /// Best of the first `n` by CLIP, per caption.
    fn best_of(&self, drawn: &Drawn, n: usize) -> Estimate {
        let hit = |(right, scores): &(&Vec<bool>, &Vec<f32>)| right[rank(&scores[..n.min(scores.len())])[0]];
        let hits = self.right.iter().zip(&drawn.scores).filter(hit).count();
        Estimate::of(hits, self.right.len())
    }

    fn accuracy(&self, drawn: &Drawn) -> Value {
        let candidates = self.right.first().map_or(0, Vec::len);
        let any = self.right.iter().filter(|right| right.iter().any(|&r| r)).count();
        let chance = self.chance.iter().filter(|&&r| r).count();
        let best = format!("best_of_{candidates}");
        let mut out = Map::new();
        out.insert(best, json!(self.best_of(drawn, candidates)));
        out.insert("best_of_1".into(), json!(self.best_of(drawn, 1)));
        out.insert("chance".into(), json!(Estimate::of(chance, self.chance.len())));
        out.insert(format!("any_of_{candidates}"), json!(Estimate::of(any, self.right.len())));
        Value::Object(out)
    }
}

/// What reranking gains: the best score among the first N candidates, and where an oracle judges, how often it is right.
fn curve(drawn: &Drawn, judged: Option<&Judged>) -> Value {
    let candidates = drawn.scores.first().map_or(0, Vec::len);
    let counts: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&n| n <= candidates).collect();
    let best_score = |n: usize| {
        let best = |scores: &Vec<f32>| f64::from(scores[..n].iter().copied().fold(f32::NEG_INFINITY, f32::max));
        drawn.scores.iter().map(best).sum::<f64>() / drawn.scores.len().max(1) as f64
    };
    let mut out = json!({"n": counts, "score": counts.iter().map(|&n| best_score(n)).collect::<Vec<_>>()});
    if let Some(judged) = judged {
        out["accuracy"] = json!(counts.iter().map(|&n| judged.best_of(drawn, n).value).collect::<Vec<_>>());
    }
    out
}

/// CLIP as a classifier: which (shape, colour) a one-object validation picture shows, among all of them.
fn zero_shot(spec: &Spec, sources: &Sources, models: &Models, bpe: &Bpe) -> Result<Value> {
    let names: Vec<String> =
        [kinds(false), kinds(true)].concat().iter().map(|(s, c)| format!("a {} {}", c.name(), s.name())).collect();
    let text = clip_text(bpe, models.clip_text, names.iter().map(String::as_str));
    let texts = models.clip.texts(&text)?;
    let width = texts.len() / names.len();
    let mut out = Map::new();
    for (name, source) in &sources.validation {
        let examples = held_out(spec, name, source.as_ref(), models.first.geometry().side, spec.evaluate.pairs)?;
        let named = |e: &Example| {
            let claim = Claim::parse(&e.caption).filter(|claim| claim.objects.len() == 1)?;
            let object = &claim.objects[0];
            names.iter().position(|n| *n == format!("a {} {}", object.colour.name(), object.shape.name()))
        };
        let single: Vec<(Example, usize)> =
            examples.into_iter().filter_map(|e| named(&e).map(|kind| (e, kind))).collect();
        let (examples, truth): (Vec<Example>, Vec<usize>) = single.into_iter().unzip();
        let features = models.clip.images(&pixels(&examples))?;
        let scores = cosines(&features, &texts, width);
        let hits = scores.chunks(names.len()).zip(&truth).filter(|(row, kind)| rank(row)[0] == **kind).count();
        out.insert(
            if name == "validation" { "seen".into() } else { name.clone() },
            json!(Estimate::of(hits, truth.len())),
        );
    }
    Ok(Value::Object(out))
}

type Shown<'a> = (&'a str, Vec<String>, Drawn, Option<Vec<Vec<bool>>>);

/// The first captions of each set with all their candidates, and a real picture of each caption where there is one.
fn write_samples(
    spec: &Spec,
    run: &Path,
    models: &Models,
    shown: &[Shown<'_>],
    real: &[Vec<Option<Picture>>],
) -> Result<()> {
    let side = models.first.geometry().side;
    let each = spec.sample.shown.div_ceil(shown.len().max(1));
    let mut listed = Vec::new();
    for ((set, captions, drawn, right), real) in shown.iter().zip(real) {
        for (i, caption) in captions.iter().enumerate().take(each) {
            let mut candidates = Vec::new();
            for (j, values) in drawn.pictures[i].iter().enumerate() {
                let file = format!("images/sample-{}-{i}-{j}.png", file_part(set));
                picture(values, side, side).save_png(run.join(&file))?;
                let correct = right.as_ref().map(|right| right[i][j]);
                candidates.push(json!({"file": file, "clip": drawn.scores[i][j], "correct": correct}));
            }
            let mut entry = json!({"caption": caption, "split": set, "candidates": candidates});
            if let Some(Some(picture)) = real.get(i) {
                let file = format!("images/real-{set}-{i}.png");
                picture.save_png(run.join(&file))?;
                entry["real"] = json!(file);
            }
            listed.push(entry);
        }
    }
    write_json(run, "images/samples.json", &Value::Array(listed))
}

fn write_json(run: &Path, name: &str, value: &Value) -> Result<()> {
    write_atomic(run.join(name), value.to_string().as_bytes())
}
