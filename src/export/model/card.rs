//! The model card: what the models are, how they were trained, what was measured of them and with what uncertainty, and what they are
//! not good for. Every figure is the run's own.

use crate::error::{Error, Result, one_line};
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Choice, ResultRow, Results, words};
use crate::export::figures;
use crate::export::pictures::ROWS;
use crate::models::clip::ClipSizes;
use crate::report::duration;
use crate::report::figures::{self as written, unit};
use crate::report::run::Run;
use crate::spec::{DataKind, Spec};
use serde_json::{Value, json};
use std::fmt::Write;

/// What a card is made of.
pub(super) struct Facts<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its spec.
    pub spec: &'a Spec,
    /// The sizes of its CLIP.
    pub clip: ClipSizes,
    /// The stages with the steps that their weights are of.
    pub stages: &'a [(&'static str, u64)],
    /// Whether there is a sheet of samples.
    pub samples: bool,
    /// What was damaged of the run.
    pub warnings: &'a [String],
}

/// The card, with the front matter that model hubs read.
///
/// # Errors
/// [`Error::Data`] for facts that YAML cannot hold; none are.
pub(super) fn card(facts: &Facts<'_>) -> Result<String> {
    let (main, details) = facts.run.results.as_ref().map(rows).unwrap_or_default();
    let front = serde_yaml::to_string(&front(facts)).map_err(|error| Error::data("README.md", error.to_string()))?;
    let name = &facts.spec.name;
    let parts = [
        format!("---\n{front}---\n\n# {name}\n\n{}", what(facts)),
        use_of(facts),
        training(facts),
        measured(&main, &details),
        limits(facts),
    ];
    Ok(parts.join("\n"))
}

/// What was measured, the details apart.
fn rows(results: &Results) -> (Vec<ResultRow>, Vec<ResultRow>) {
    let mut main = Vec::new();
    for (set, accuracy) in results.attribute_accuracy.iter() {
        let heading = format!("right, {}", words(set));
        let row = |(choice, share): (&Choice, &Estimate)| {
            ResultRow::share(choice.to_string(), choice.title(), *share).below(&heading)
        };
        main.extend(accuracy.strict.iter().map(row));
    }
    let zero_shot = results.zero_shot.iter();
    main.extend(zero_shot.map(|(set, share)| ResultRow::share(set, words(set), *share).below("zero-shot")));
    for (set, figures) in results.sets.iter() {
        main.extend(figures.rows().0.into_iter().map(|row| row.below(&words(set))));
    }
    // Titles are of one row each.
    let known = |row: &ResultRow| main.iter().any(|main| main.title == row.title);
    let details = results.rows().into_iter().filter(|row| !known(row)).collect();
    (main, details)
}

/// The figures that model hubs are told, by their paths in the results.
fn key_figures(results: &Value) -> Vec<(String, Estimate)> {
    const LAST: [&str; 4] = ["psnr", "codes_in_use", "image_token_nats", "joint_bits_per_value"];
    let is_key = |path: &str| {
        let (set, last) = path.rsplit_once('.').unwrap_or_default();
        let accuracy = set.starts_with("attribute_accuracy.") && set.matches('.').count() == 1;
        set == "zero_shot" || accuracy || (set.starts_with("elbo_") && LAST.contains(&last))
    };
    figures(results).into_iter().filter(|(path, _)| is_key(path)).collect()
}

fn front(facts: &Facts<'_>) -> Value {
    let metric = |(path, figure): (String, Estimate)| {
        let mut metric = json!({"type": path, "value": figure.value});
        if let Some([low, high]) = figure.interval {
            metric["args"] = json!({"confidence": 0.95, "low": low, "high": high});
        }
        metric
    };
    let results = facts.run.facts.get("results").unwrap_or(&Value::Null);
    let measured = key_figures(results).into_iter().filter(|(_, figure)| figure.value.is_finite());
    let metrics: Vec<Value> = measured.map(metric).collect();
    let mut front = json!({"library_name": "dalle", "pipeline_tag": "text-to-image", "tags": ["dall-e", "dvae", "clip", "text-to-image"]});
    if !metrics.is_empty() {
        let data = data_name(facts.spec);
        front["model-index"] = json!([{
            "name": facts.spec.name,
            "results": [{
                "task": {"type": "text-to-image"},
                "dataset": {"type": slug(&data), "name": data},
                "metrics": metrics,
            }],
        }]);
    }
    front
}

fn what(facts: &Facts<'_>) -> String {
    let mut text = format!(
        "Draws pictures of captions as OpenAI's first DALL·E did ([arXiv 2102.12092](https://arxiv.org/abs/2102.12092)): a first stage \
         turns pictures into tokens, a transformer draws tokens for a caption, and CLIP picks the best. Preset `{}`, {}.\n",
        facts.spec.preset,
        data_name(facts.spec)
    );
    if facts.samples {
        text += "\n![Samples, a row for each caption, the best by CLIP first](samples.png)\n\nThe captions of the rows:\n\n";
        for sampled in facts.run.samples.iter().take(ROWS) {
            let _ = writeln!(text, "1. {}", one_line(&sampled.caption).replace('<', "&lt;"));
        }
    }
    text
}

fn use_of(facts: &Facts<'_>) -> String {
    let first = facts.spec.first_stage.kind.name();
    format!(
        "## Use\n\n\
         | folder | what it is | read by |\n|---|---|---|\n\
         | `{first}/` | pictures to tokens and back | `load.py` |\n\
         | `transformer/` | captions to tokens | `load.py`; the tokens of captions by `tokenizer.json` |\n\
         | `clip/` | captions against pictures | `transformers.CLIPModel.from_pretrained` |\n\n\
         ```python\n\
         from load import Codec, Transformer\n\
         from tokenizers import Tokenizer\n\n\
         codec, transformer = Codec(\"{first}\"), Transformer(\"transformer\")\n\
         ids = Tokenizer.from_file(\"tokenizer.json\").encode(\"a caption\").ids\n\
         picture = codec.decode(transformer.draw(ids, seed=0))  # uint8, height × width × 3\n\n\
         from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel\n\n\
         clip, tokenizer = CLIPModel.from_pretrained(\"clip\"), AutoTokenizer.from_pretrained(\"clip\")\n\
         processor = AutoImageProcessor.from_pretrained(\"clip\", backend=\"pil\")\n\
         pictures = processor(picture, return_tensors=\"pt\")\n\
         text = tokenizer([\"a caption\"], padding=True, truncation=True, return_tensors=\"pt\")\n\
         print(clip(**pictures, input_ids=text.input_ids).logits_per_image)\n\
         ```\n"
    )
}

fn training(facts: &Facts<'_>) -> String {
    let Facts { run, spec, .. } = facts;
    let batches = [("transformer", spec.transformer.batch), ("clip", spec.clip.batch)];
    let mut text = String::from("## Training\n\n| stage | weights of step | batch | time |\n|---|---|---|---|\n");
    for (stage, step) in facts.stages {
        let batch = batches.iter().find(|(name, _)| name == stage).map_or(spec.first_stage.batch, |(_, batch)| *batch);
        let time = match run.from(stage) {
            Some(from) => format!("from run {from}"),
            None => run.seconds(stage).map_or("–".into(), duration),
        };
        let _ = writeln!(text, "| {stage} | {step} | {batch} | {time} |");
    }
    let machine = run.text("gpu").or_else(|| run.text("cpu")).unwrap_or("a machine that is not known");
    let threads = run.facts.get("threads").and_then(Value::as_u64);
    let threads = threads.map_or_else(String::new, |threads| format!(", {threads} threads"));
    let total = run.seconds("total").map_or("a time that is not known".into(), duration);
    let commit = run.facts.get("built").and_then(|built| built["commit"].as_str()).unwrap_or("not known");
    let _ = writeln!(
        text,
        "\nOn {machine}{threads}; {total} in all, measurements included. The run is {}, seed {}, started {}, of commit {commit}. Every \
         setting is in `spec.resolved.yaml`. The weights are the moving averages that the run kept.",
        run.text("status").unwrap_or("of unknown status"),
        spec.seed,
        run.text("started").unwrap_or("at an unknown time"),
    );
    text
}

fn measured(main: &[ResultRow], details: &[ResultRow]) -> String {
    if main.is_empty() && details.is_empty() {
        return "## Measured\n\nNothing yet: the run has no results.\n".into();
    }
    let table = |rows: &[ResultRow]| {
        let mut text = String::from("| figure | value | unit | 95 % interval |\n|---|---|---|---|\n");
        for row in rows {
            let ((value, detail), unit) = (written::figures(row), unit(row));
            let _ = writeln!(text, "| {} | {value} | {unit} | {detail} |", row.title.replace('|', "\\|"));
        }
        text
    };
    let mut text =
        format!("## Measured\n\nBy the run itself, after training. `results.json` has all digits.\n\n{}", table(main));
    if !details.is_empty() {
        let _ = write!(text, "\n<details><summary>In detail</summary>\n\n{}\n</details>\n", table(details));
    }
    text
}

fn limits(facts: &Facts<'_>) -> String {
    let ClipSizes { side, context, vision, text: language, .. } = facts.clip;
    let mut text = format!(
        "## Limits\n\n\
         - It draws what it was trained on ({}), {side} × {side} pixels, and nothing else. Nothing was done about what may be wrong, private \
         or offensive in those pictures and captions.\n\
         - CLIP has OpenAI's architecture: pre-norm blocks, x·σ(1.702x), a causal text tower that is read at the end of text, projections \
         without bias. Its sizes and its tokenizer are its own. It reads {} tokens of a caption.\n\
         - It was trained on pictures resized by Lanczos' filter, which `preprocessor_config.json` asks for. Processors over torchvision \
         have none and take another: scores of pictures of another size than {side} differ a little there.\n",
        data_name(facts.spec),
        context.saturating_sub(2),
    );
    if [vision, language].iter().any(|tower| tower.heads * 64 != tower.width) {
        let (v, t) = (vision.width / vision.heads.max(1), language.width / language.heads.max(1));
        let _ = writeln!(
            text,
            "- Its heads are {v} (pictures) and {t} (text) wide, as `config.json` says. OpenAI's own loader takes every head to be 64 wide, \
             and would compute something else with these weights."
        );
    }
    text += "- No licence is stated: whoever publishes these weights chooses one that the pictures allow, as `license:` above.\n";
    for (stage, warning) in facts.run.warnings() {
        let _ = writeln!(text, "- While training, {stage}: {warning}");
    }
    for warning in facts.warnings {
        let _ = writeln!(text, "- Of the run's files: {warning}");
    }
    text
}

/// What the pictures were, in words.
fn data_name(spec: &Spec) -> String {
    match spec.data.kind {
        DataKind::Folder | DataKind::Webdataset => {
            format!("pictures with captions from {}", spec.data.train.join(", "))
        }
        _ => "drawn shapes with captions".into(),
    }
}

/// Words as a name for programs.
fn slug(text: &str) -> String {
    let kept = text.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect::<String>();
    kept.split_whitespace().collect::<Vec<_>>().join("_")
}
