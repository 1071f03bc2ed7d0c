//! A run's CLIP as Hugging Face's `CLIPModel`: its weights under the names there, its sizes, and how it reads captions and pictures.

use crate::data::preprocess::{MEAN, STD};
use crate::error::{Error, Result};
use crate::harness::models::Architecture;
use crate::models::clip::hf::{self, Config};
use crate::nn::weights;
use crate::text::Bpe;
use serde_json::{Value, json};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// The files of its folder, by name.
///
/// # Errors
/// [`Error::Data`] where `file` does not hold CLIP's weights.
pub(super) fn files(file: &[u8], architecture: &Architecture, bpe: &Bpe) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let vocab = architecture.clip_text;
    let end = vocab.bpe as u32 + 1;
    let mut config = Config { sizes: architecture.clip, end: Some(end) }.json();
    for (key, id) in [("bos_token_id", end - 1), ("pad_token_id", end)] {
        config["text_config"][key] = json!(id);
    }
    let tokenizer = tokenizer(&bpe.json()?, vocab.bpe)?;
    let reading = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": vocab.context,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END, // the feature is read at the first end
    });
    let lines = |value: &Value| format!("{value:#}\n").into_bytes();
    Ok(vec![
        ("config.json", lines(&config)),
        ("model.safetensors", renamed(file)?),
        ("preprocessor_config.json", lines(&pictures(architecture.clip.side))),
        ("tokenizer.json", tokenizer.to_string().into_bytes()),
        ("tokenizer_config.json", lines(&reading)),
    ])
}

/// Published names to Hugging Face's, in the order of the names.
fn renamed(file: &[u8]) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    for parameter in weights::from_bytes(file, "clip")?.into_values() {
        parts.extend(hf::write(&parameter.name, &parameter.shape, &parameter.values)?);
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    weights::to_bytes(parts.iter().map(|(name, shape, values)| (name.clone(), &shape[..], &values[..])))
}

/// How an evaluation reads pictures: the short side resized by Lanczos' filter, the middle, CLIP's normalisation.
fn pictures(side: usize) -> Value {
    const LANCZOS: u8 = 1; // Pillow's number
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": {"shortest_edge": side},
        "resample": LANCZOS,
        "do_center_crop": true,
        "crop_size": {"height": side, "width": side},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": MEAN,
        "image_std": STD,
    })
}

/// The run's tokenizer with start and end around each caption, whose ids follow the `room` that the models have for tokens.
fn tokenizer(json: &str, room: usize) -> Result<Value> {
    let bad = |what: String| Error::data("tokenizer.json", what);
    let mut tokenizer: Value = serde_json::from_str(json).map_err(|error| bad(error.to_string()))?;
    let vocab = tokenizer["model"]["vocab"].as_object_mut().ok_or_else(|| bad("expected a vocab".into()))?;
    // Tokens that no merge makes, so that whoever numbers added tokens on from the last one gets to the same ids.
    for id in vocab.len()..room {
        vocab.insert(format!("<|unused{id}|>"), json!(id));
    }
    let special = |content: &str, id: usize| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
        })
    };
    tokenizer["added_tokens"] = json!([special(START, room), special(END, room + 1)]);
    let token = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let known = |content: &str, id: usize| json!({"id": content, "ids": [id], "tokens": [content]});
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [token(START), text("A"), token(END)],
        "pair": [token(START), text("A"), token(END), text("B"), token(END)],
        "special_tokens": {START: known(START, room), END: known(END, room + 1)},
    });
    Ok(tokenizer)
}
