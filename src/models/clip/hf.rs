//! Hugging Face's `CLIPModel` as the same model, read and written: what its `config.json` says, and which of its tensors make up
//! each published parameter. Nothing else differs: queries, keys and values are stored apart there, and projections as [out, in].

use super::sizes::{ClipSizes, Tower};
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// What `config.json` says of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Its sizes.
    pub sizes: ClipSizes,
    /// The id that ends a text; `None` where it is the largest one of each text, as in OpenAI's models.
    pub end: Option<u32>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    text_config: TowerFile,
    #[serde(default)]
    vision_config: TowerFile,
    projection_dim: Option<usize>,
}

/// The keys of both towers; what a file leaves out has the value of ViT-B/32.
#[derive(Default, Deserialize)]
struct TowerFile {
    hidden_size: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    num_channels: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    vocab_size: Option<usize>,
    eos_token_id: Option<u32>,
}

impl TowerFile {
    fn tower(&self, width: usize, heads: usize, mlp: usize) -> Tower {
        Tower {
            width: self.hidden_size.unwrap_or(width),
            heads: self.num_attention_heads.unwrap_or(heads),
            mlp: self.intermediate_size.unwrap_or(mlp),
            depth: self.num_hidden_layers.unwrap_or(12),
        }
    }

    fn act(&self) -> &str {
        self.hidden_act.as_deref().unwrap_or("quick_gelu")
    }
}

impl Config {
    /// Reads `config.json`; `path` is for the message.
    ///
    /// # Errors
    /// [`Error::Data`] where it is not the JSON of a CLIP that this model can be.
    pub fn parse(json: &[u8], path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let bad = |what: String| Error::data(path, what);
        let file: File = serde_json::from_slice(json).map_err(|e| bad(format!("expected CLIP's config.json: {e}")))?;
        let (text, vision) = (file.text_config, file.vision_config);
        for epsilon in [&text, &vision].into_iter().filter_map(|tower| tower.layer_norm_eps) {
            if epsilon != 1e-5 {
                return Err(bad(format!("layer_norm_eps: expected 1e-5, got {epsilon}")));
            }
        }
        if text.act() != vision.act() {
            return Err(bad(format!("expected one hidden_act, got {:?} and {:?}", text.act(), vision.act())));
        }
        let quick_gelu = match text.act() {
            "quick_gelu" => true,
            "gelu" => false,
            other => return Err(bad(format!("hidden_act: expected quick_gelu or gelu, got {other:?}"))),
        };
        if let Some(channels) = vision.num_channels.filter(|&channels| channels != 3) {
            return Err(bad(format!("num_channels: expected 3, got {channels}")));
        }
        let sizes = ClipSizes {
            vision: vision.tower(768, 12, 3072),
            text: text.tower(512, 8, 2048),
            side: vision.image_size.unwrap_or(224),
            patch: vision.patch_size.unwrap_or(32),
            context: text.max_position_embeddings.unwrap_or(77),
            vocab: text.vocab_size.unwrap_or(49408),
            embed: file.projection_dim.unwrap_or(512),
            quick_gelu,
        };
        Ok(Config {
            sizes,
            // Files from before the key was right say 2, and mean the largest id.
            end: text.eos_token_id.or(Some(49407)).filter(|&id| id != 2),
        })
    }
}

impl Config {
    /// The `config.json` of it, which [`parse`](Config::parse) reads back.
    pub fn json(&self) -> Value {
        let Config { sizes, end } = *self;
        let tower = |kind: &str, Tower { width, heads, mlp, depth }: Tower| {
            json!({
                "model_type": kind,
                "hidden_size": width,
                "intermediate_size": mlp,
                "num_attention_heads": heads,
                "num_hidden_layers": depth,
                "hidden_act": if sizes.quick_gelu { "quick_gelu" } else { "gelu" },
                "layer_norm_eps": 1e-5,
                "projection_dim": sizes.embed,
            })
        };
        let mut text = tower("clip_text_model", sizes.text);
        text["max_position_embeddings"] = json!(sizes.context);
        text["vocab_size"] = json!(sizes.vocab);
        // 2 stands for the largest id of a text, as in the files that know no better.
        text["eos_token_id"] = json!(end.unwrap_or(2));
        let mut vision = tower("clip_vision_model", sizes.vision);
        vision["image_size"] = json!(sizes.side);
        vision["patch_size"] = json!(sizes.patch);
        vision["num_channels"] = json!(3);
        json!({
            "model_type": "clip",
            "architectures": ["CLIPModel"],
            "dtype": "float32",
            "projection_dim": sizes.embed,
            "text_config": text,
            "vision_config": vision,
        })
    }
}

/// What a published parameter is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Names of Hugging Face's tensors: their rows, one after the other.
    pub parts: Vec<String>,
    /// Stored [out, in] there and [in, out] here.
    pub transposed: bool,
}

/// Where the values of the published parameter `name` are; `None` for a name that the model does not have.
pub fn source(name: &str) -> Option<Source> {
    let whole = |part: &str| Some(Source { parts: vec![part.to_owned()], transposed: false });
    match name {
        "logit_scale" => return whole("logit_scale"),
        "visual.proj" => return whole("visual_projection.weight").map(|s| Source { transposed: true, ..s }),
        "text_projection" => return whole("text_projection.weight").map(|s| Source { transposed: true, ..s }),
        _ => {}
    }
    let (tower, rest) = match name.strip_prefix("visual.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", name),
    };
    let embedding = match (tower, rest) {
        ("vision_model", "class_embedding") => Some("class_embedding"),
        ("vision_model", "conv1.weight") => Some("patch_embedding.weight"),
        ("text_model", "token_embedding.weight") => Some("token_embedding.weight"),
        (_, "positional_embedding") => Some("position_embedding.weight"),
        _ => None,
    };
    if let Some(embedding) = embedding {
        return whole(&format!("{tower}.embeddings.{embedding}"));
    }
    let Some(rest) = rest.strip_prefix("transformer.resblocks.") else {
        let (norm, kind) = rest.split_once('.')?;
        let norm = match (tower, norm) {
            ("vision_model", "ln_pre") => "pre_layrnorm", // sic
            ("vision_model", "ln_post") => "post_layernorm",
            ("text_model", "ln_final") => "final_layer_norm",
            _ => return None,
        };
        return whole(&format!("{tower}.{norm}.{kind}"));
    };
    let (layer, rest) = rest.split_once('.')?;
    let within = |part: &str| format!("{tower}.encoder.layers.{layer}.{part}");
    if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
        let parts = ["q", "k", "v"].map(|p| within(&format!("self_attn.{p}_proj.{kind}"))).into();
        return Some(Source { parts, transposed: false });
    }
    let (part, kind) = rest.rsplit_once('.')?;
    let part = match part {
        "ln_1" => "layer_norm1",
        "ln_2" => "layer_norm2",
        "attn.out_proj" => "self_attn.out_proj",
        "mlp.c_fc" => "mlp.fc1",
        "mlp.c_proj" => "mlp.fc2",
        _ => return None,
    };
    whole(&within(&format!("{part}.{kind}")))
}

/// The values of the published parameter `name` of `shape`, from what `find(name, shape)` gives for Hugging Face's names; to
/// be used with [`nn::import`](crate::nn::import).
///
/// # Errors
/// What `find` says, and [`Error::Data`] for another name or number of values.
pub fn read<E: Copy>(
    name: &str,
    shape: &[usize],
    mut find: impl FnMut(&str, &[usize]) -> Result<Vec<E>>,
) -> Result<Vec<E>> {
    let source = source(name).ok_or_else(|| Error::data(name, "not a parameter of CLIP"))?;
    let mut stored = shape.to_vec();
    if source.transposed {
        stored.reverse();
    }
    if let Some(rows) = stored.first_mut() {
        *rows /= source.parts.len();
    }
    let mut values = Vec::new();
    for part in &source.parts {
        values.extend(find(part, &stored)?);
    }
    if values.len() != shape.iter().product::<usize>() {
        return Err(Error::data(source.parts.join(", "), format!("expected {shape:?} values, got {}", values.len())));
    }
    match *shape {
        [rows, columns] if source.transposed => {
            Ok((0..rows * columns).map(|i| values[i % columns * rows + i / columns]).collect())
        }
        _ => Ok(values),
    }
}

/// The published parameter `name` of `shape` as Hugging Face's tensors: the name, shape and values of each. The inverse of [`read`].
///
/// # Errors
/// [`Error::Data`] for another name or number of values.
pub fn write<E: Copy>(name: &str, shape: &[usize], values: &[E]) -> Result<Vec<(String, Vec<usize>, Vec<E>)>> {
    let source = source(name).ok_or_else(|| Error::data(name, "not a parameter of CLIP"))?;
    if values.len() != shape.iter().product::<usize>() {
        return Err(Error::data(name, format!("expected {shape:?} values, got {}", values.len())));
    }
    if let ([rows, columns], true) = (shape, source.transposed) {
        let turned: Vec<E> = (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect();
        return Ok(source.parts.into_iter().map(|part| (part, vec![*columns, *rows], turned.clone())).collect());
    }
    let (mut shape, count) = (shape.to_vec(), source.parts.len());
    if let Some(rows) = shape.first_mut() {
        *rows /= count;
    }
    let parts = source.parts.into_iter().zip(values.chunks((values.len() / count).max(1)));
    Ok(parts.map(|(part, values)| (part, shape.clone(), values.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn what_is_written_is_read_again() {
        let block = "transformer.resblocks.0.";
        let parameters: [(String, Vec<usize>); 8] = [
            ("logit_scale".into(), vec![]),
            ("visual.proj".into(), vec![4, 3]),
            ("visual.conv1.weight".into(), vec![4, 3, 2, 2]),
            ("text_projection".into(), vec![2, 5]),
            ("ln_final.bias".into(), vec![4]),
            (format!("visual.{block}attn.in_proj_weight"), vec![12, 4]),
            (format!("{block}attn.in_proj_bias"), vec![12]),
            (format!("{block}mlp.c_proj.weight"), vec![4, 16]),
        ];
        for (name, shape) in parameters {
            let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
            let written = write(&name, &shape, &values).unwrap();
            let mut files: HashMap<String, (Vec<usize>, Vec<f32>)> =
                written.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect();
            let read = read(&name, &shape, |part, shape| {
                let (stored, values) = files.remove(part).unwrap();
                assert_eq!(stored, shape, "{part}");
                Ok(values)
            });
            assert_eq!((read.unwrap(), files.len()), (values, 0), "{name}");
        }
        // A matrix [in, out] as [out, in].
        let (_, shape, values) = write("visual.proj", &[2, 3], &[1, 2, 3, 4, 5, 6]).unwrap().remove(0);
        assert_eq!((shape, values), (vec![3, 2], vec![1, 4, 2, 5, 3, 6]));
        assert!(write("ln_final.bias", &[3], &[1]).unwrap_err().to_string().contains("expected [3] values, got 1"));
        assert!(write("encoder.conv", &[1], &[1]).is_err());
    }

    #[test]
    fn a_config_is_read_as_it_was_written() {
        let tower = |width| Tower { width, heads: 4, mlp: 3 * width, depth: 2 };
        let (vision, text) = (tower(12), tower(8));
        let sizes = ClipSizes { vision, text, side: 32, patch: 4, context: 10, vocab: 66, embed: 6, quick_gelu: false };
        for config in
            [Config { sizes, end: Some(65) }, Config { sizes: ClipSizes { quick_gelu: true, ..sizes }, end: None }]
        {
            assert_eq!(Config::parse(config.json().to_string().as_bytes(), "config.json").unwrap(), config);
        }
    }
}
