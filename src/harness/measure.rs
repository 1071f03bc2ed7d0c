//! What is measured, while training and after it: reconstruction, both bounds, samples judged by the attribute oracle, and
//! what reranking gains.

use super::accuracy::{Judged, kind_name};
use super::bounds::bounds;
use super::models::Models;
use super::pipeline::{clip_text, pixels};
use super::run_dir::{file_part, write_atomic};
use super::sources::{Sources, measured};
use super::spec::{DataKind, SampleSpec, Spec};
use crate::data::shapes::{Claim, Prompts, Scene, kinds, prompts};
use crate::data::{Example, Picture, Source};
use crate::error::Result;
use crate::evaluate::measure::Estimate;
use crate::evaluate::oracle::Rule;
use crate::evaluate::similarity::psnr;
use crate::inference::first_stage::usage;
use crate::inference::{self, Embedder, ImageTokenizer, Options, Prompt, TokenModel, cosines, rank};
use crate::models::transformer::Tokens;
use crate::objective::contrastive_of;
use crate::random::Rng;
use crate::text::Bpe;
use crate::train::Numbers;
use crate::train::config::{FirstStageConfig, FirstStageKind};
use serde_json::{Map, Value, json};
use std::path::Path;

/// `limit` good examples of a validation set (0: all), spread over it, centre-cropped: fewer are the first of more.
pub fn held_out(spec: &Spec, name: &str, source: &dyn Source, side: usize, limit: usize) -> Result<Vec<Example>> {
    let limit = if limit == 0 { source.len() } else { limit };
    measured(spec, name, source, side, limit)
}

/// A first stage on validation pictures (no metrics of none) after `step` updates, as metrics. The hard and the relaxed bound are of the same
/// pictures, in nats a value: what lies between them is what the relaxation hides.
pub fn first_stage(stage: &dyn ImageTokenizer, held: &[f32], spec: &FirstStageConfig, step: u64) -> Result<Numbers> {
    let g = stage.geometry();
    let values = g.side * g.side * 3;
    let size = held.len() / values;
    if size == 0 {
        return Ok(Numbers::new());
    }
    let found = stage.reconstruct(size, held)?;
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let prior = (g.grid * g.grid) as f64 * (g.codes as f64).ln();
    let (used, perplexity) = usage(&found.codes, g.codes);
    let mut numbers = vec![("hard_elbo", -(mean(&found.nll) + prior) / values as f64)];
    if let Some(relaxed) = relaxed(stage, size, held, spec, step)? {
        numbers.push(("relaxed_elbo", mean(&relaxed)));
    }
    numbers.extend([
        ("val_nll", mean(&found.nll) / values as f64),
        ("val_kl", mean(&found.kl) / (g.grid * g.grid) as f64),
        ("usage", used as f64),
        ("perplexity", perplexity),
        ("psnr", mean_psnr(&found.pixels, held, values)),
    ]);
    Ok(numbers)
}

/// The relaxed bound of each picture (β = 1) at the temperature of `step`, nats a value; none for codes that are not relaxed.
pub(super) fn relaxed(
    stage: &dyn ImageTokenizer,
    size: usize,
    held: &[f32],
    spec: &FirstStageConfig,
    step: u64,
) -> Result<Option<Vec<f64>>> {
    if spec.kind != FirstStageKind::Dvae {
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
pub fn transformer(stage: &dyn TokenModel, size: usize, text: &[u32], image: &[u32]) -> Result<Numbers> {
    if size == 0 {
        return Ok(Numbers::new());
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
pub fn clip(stage: &dyn Embedder, size: usize, held: &[f32], text: &[u32]) -> Result<Numbers> {
    if size == 0 {
        return Ok(Numbers::new());
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
            let captions = prompts(about, spec.evaluate.captions, spec.seed, count);
            let drawn = draw(spec, models, bpe, name, &captions, proceed)?;
            let judged = Judged::new(&captions, &drawn.pictures, &drawn.scores, models.architecture.geometry.side);
            accuracy.insert(name.into(), judged.accuracy());
            if name == "seen" {
                results.insert("rerank_curve".into(), curve(&drawn, Some(&judged)));
            }
            let scene =
                |caption: &String| Some(Scene::of(&Claim::parse(caption)?)?.render(models.architecture.geometry.side));
            real.push(captions.iter().map(scene).collect());
            let right = [Rule::Strict, Rule::Lenient].map(|rule| judged.right(rule));
            shown.push((name, captions, drawn, Some(right)));
        }
        results.insert("attribute_accuracy".into(), Value::Object(accuracy));
        proceed("zero-shot classification", 0, 1)?;
        results.insert("zero_shot".into(), zero_shot(spec, sources, models, bpe)?);
    } else {
        for (name, source) in &sources.validation {
            let count = spec.sample.shown.div_ceil(sources.validation.len().max(1)).max(1);
            let examples = held_out(spec, name, source.as_ref(), models.architecture.geometry.side, count)?;
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

/// The candidates of some captions: pictures, prompt by prompt, and their similarities by CLIP (100·cosine).
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
    if wanted == 0 {
        return Ok(Drawn { pictures: vec![Vec::new(); captions.len()], scores: vec![Vec::new(); captions.len()] });
    }
    let prompt = |(index, caption): (usize, &String)| -> Result<Prompt> {
        let seed = |candidate| Rng::new(spec.seed, &format!("sample/{set}"), index as u64, candidate as u64).bits();
        Ok(Prompt {
            text: models.architecture.text.prompt(bpe, caption)?,
            seeds: (0..wanted).map(seed).collect(),
            forced: Vec::new(),
        })
    };
    let asked: Vec<Prompt> = captions.iter().enumerate().map(prompt).collect::<Result<_>>()?;
    let empty = models.architecture.text.fill(&[]);
    let task = format!("drawing {wanted} pictures for each of {} captions ({set})", captions.len());
    let mut codes = Vec::new();
    // As many as the sampler draws at once: the split changes neither pictures nor time.
    for asked in asked.chunks((inference::ROWS / wanted.max(1)).max(1)) {
        proceed(&task, codes.len() / wanted.max(1), captions.len())?;
        codes.extend(inference::sample(models.transformer.as_ref(), asked, &empty, &options(&spec.sample))?);
    }
    proceed(&format!("decoding and ranking ({set})"), 0, 1)?;
    let decoded = models.first.decode(&codes.concat())?;
    let features = models.clip.images(&decoded)?;
    let text = clip_text(bpe, models.architecture.clip_text, captions.iter().map(String::as_str));
    let texts = models.clip.texts(&text)?;
    let width = features.len() / codes.len().max(1);
    let side = models.architecture.geometry.side;
    let pictures: Vec<Vec<f32>> = decoded.chunks(side * side * 3).map(<[f32]>::to_vec).collect();
    let scores = features
        .chunks((width * wanted).max(1))
        .zip(texts.chunks(width.max(1)))
        .map(|(own, text)| cosines(text, own, width).iter().map(|c| 100.0 * c).collect())
        .collect();
    Ok(Drawn { pictures: pictures.chunks(wanted).map(<[Vec<f32>]>::to_vec).collect(), scores })
}

/// 8-bit pixels of values in [0, 1].
pub fn picture(values: &[f32], width: usize, height: usize) -> Picture {
    let rgb = values.iter().map(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect();
    Picture { width, height, rgb }
}

/// What reranking gains: the largest similarity among the first N candidates, and where an oracle judges, how often that
/// candidate is right.
fn curve(drawn: &Drawn, judged: Option<&Judged<'_>>) -> Value {
    let candidates = drawn.scores.first().map_or(0, Vec::len);
    let counts: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&n| n <= candidates).collect();
    let best_similarity = |n: usize| {
        let best = |scores: &Vec<f32>| f64::from(scores.iter().take(n).copied().fold(f32::NEG_INFINITY, f32::max));
        drawn.scores.iter().map(best).sum::<f64>() / drawn.scores.len().max(1) as f64
    };
    let similarity: Vec<f64> = counts.iter().map(|&n| best_similarity(n)).collect();
    let mut out = json!({"n": counts, "similarity": similarity});
    if let Some(judged) = judged {
        let accuracy = |rule| -> Vec<f64> { counts.iter().map(|&n| judged.best_of(n, rule).value).collect() };
        out["accuracy"] = json!(accuracy(Rule::Strict));
        out["lenient_accuracy"] = json!(accuracy(Rule::Lenient));
    }
    out
}

/// CLIP as a classifier: which (shape, colour) a one-object validation picture shows, among all of them.
fn zero_shot(spec: &Spec, sources: &Sources, models: &Models, bpe: &Bpe) -> Result<Value> {
    let all = [kinds(false, spec.seed), kinds(true, spec.seed)].concat();
    let names: Vec<String> = all.iter().map(|&(shape, colour)| format!("a {}", kind_name(colour, shape))).collect();
    let text = clip_text(bpe, models.architecture.clip_text, names.iter().map(String::as_str));
    let texts = models.clip.texts(&text)?;
    let width = texts.len() / names.len();
    let mut out = Map::new();
    for (name, source) in &sources.validation {
        let examples = held_out(spec, name, source.as_ref(), models.architecture.geometry.side, spec.evaluate.pairs)?;
        let named = |e: &Example| {
            let claim = Claim::parse(&e.caption).filter(|claim| claim.objects.len() == 1)?;
            let object = &claim.objects[0];
            all.iter().position(|&kind| kind == (object.shape, object.colour))
        };
        let single: Vec<(Example, usize)> =
            examples.into_iter().filter_map(|e| named(&e).map(|kind| (e, kind))).collect();
        let (examples, truth): (Vec<Example>, Vec<usize>) = single.into_iter().unzip();
        let features = models.clip.images(&pixels(&examples))?;
        let scores = cosines(&features, &texts, width);
        let hits =
            scores.chunks(names.len()).zip(&truth).filter(|(row, kind)| rank(row).first() == Some(*kind)).count();
        out.insert(
            if name == "validation" { "seen".into() } else { name.clone() },
            json!(Estimate::of(hits, truth.len())),
        );
    }
    Ok(Value::Object(out))
}

/// A set's name, its captions, their candidates, and which of those are right by the strict and by the lenient rule.
type Shown<'a> = (&'a str, Vec<String>, Drawn, Option<[Vec<Vec<bool>>; 2]>);

/// The first captions of each set with all their candidates, and a real picture of each caption where there is one.
fn write_samples(
    spec: &Spec,
    run: &Path,
    models: &Models,
    shown: &[Shown<'_>],
    real: &[Vec<Option<Picture>>],
) -> Result<()> {
    let side = models.architecture.geometry.side;
    let each = spec.sample.shown.div_ceil(shown.len().max(1));
    let mut listed = Vec::new();
    for ((set, captions, drawn, right), real) in shown.iter().zip(real) {
        for (i, caption) in captions.iter().enumerate().take(each) {
            let mut candidates = Vec::new();
            for (j, values) in drawn.pictures[i].iter().enumerate() {
                let file = format!("images/sample-{}-{i}-{j}.png", file_part(set));
                picture(values, side, side).save_png(run.join(&file))?;
                let [correct, lenient] = [0, 1].map(|rule| right.as_ref().map(|right| right[rule][i][j]));
                let similarity = drawn.scores[i][j];
                candidates
                    .push(json!({"file": file, "similarity": similarity, "correct": correct, "lenient": lenient}));
            }
            let mut entry = json!({"caption": caption, "split": set, "candidates": candidates});
            if let Some(Some(picture)) = real.get(i) {
                let file = format!("images/real-{}-{i}.png", file_part(set));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::load::check;
    use crate::harness::models::named;
    use crate::train::Batch;

    fn models(rest: &str) -> (Spec, Models) {
        let text = format!("name: a\npreset: tiny\n{rest}");
        let spec = check("a.yaml", &text, &[], &["tiny"]).unwrap();
        let models = Models::untrained(&spec).unwrap();
        (spec, models)
    }

    fn number(numbers: &Numbers, name: &str) -> Option<f64> {
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
                let (held, trained) = (number(&held, ours).unwrap(), number(&trained, theirs).unwrap());
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
        let (held, trained) = (number(&held, "val_loss").unwrap(), number(&trained, "loss").unwrap());
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
        let (mut spec, models) = models("");
        assert!(first_stage(models.first.as_ref(), &[], &spec.first_stage, 0).unwrap().is_empty());
        assert!(transformer(models.transformer.as_ref(), 0, &[], &[]).unwrap().is_empty());
        assert!(clip(models.clip.as_ref(), 0, &[], &[]).unwrap().is_empty());
        let bpe = Bpe::train(["a red circle".to_owned()].into_iter(), 40).unwrap();
        let none = draw(&spec, &models, &bpe, "seen", &[], &|_, _, _| Ok(())).unwrap();
        assert!(none.pictures.is_empty() && curve(&none, None)["n"].as_array().unwrap().is_empty());
        spec.sample.candidates = 0;
        let none = draw(&spec, &models, &bpe, "seen", &["a red circle".into()], &|_, _, _| Ok(())).unwrap();
        assert_eq!((none.pictures.len(), none.scores.len()), (1, 1));
        assert!(none.pictures[0].is_empty() && curve(&none, None)["similarity"].as_array().unwrap().is_empty());
    }
}
