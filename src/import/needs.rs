//! What a checkpoint must hold to be imported as its kind, and the configuration that its shapes tell, which the VQGAN's reader
//! takes from there.
//!
//! A checkpoint may have any size, and Hugging Face's has other names than the model: no type describes what it holds. Only what has
//! one of the sizes that are types can be opened, and then every name and shape is compared with the model's.

use super::Weights;
use crate::error::Result;
use serde_json::{Value as Json, json};

/// The first convolution of the dVAE's encoder and of its decoder.
pub(super) const DVAE_INPUT: &str = "blocks.input.w";

/// The files of one checkpoint, and what stands before the names in them.
pub(super) struct Needs<'a> {
    pub files: &'a [Weights],
    pub prefix: &'a str,
}

impl<'a> Needs<'a> {
    /// Of one file.
    fn of((file, prefix): (&'a Weights, &'a str)) -> Self {
        Needs { files: std::slice::from_ref(file), prefix }
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        let name = format!("{}{name}", self.prefix);
        self.files.iter().find_map(|file| file.find(&name)).map(|tensor| tensor.shape.as_slice())
    }

    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The side `axis` of a tensor that must be there.
    pub fn side(&self, name: &str, axis: usize) -> Result<usize> {
        self.all([name.to_owned()])?;
        let shape = self.shape(name).unwrap_or_default();
        let few = || self.files[0].source.bad(format!("tensor {name}: expected more than {axis} axes, got {shape:?}"));
        shape.get(axis).copied().ok_or_else(few)
    }

    /// How many of `name(0)`, `name(1)`, … there are.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&index| self.has(&name(index))).count()
    }

    /// All of `names` must be there.
    fn all(&self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let missing: Vec<String> = names.into_iter().filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let made = |name: &String| {
            let path = format!("{}{name}", self.prefix);
            self.files.iter().find_map(|file| file.opaque.iter().find(|(opaque, _)| *opaque == path))
        };
        if let Some((name, global)) = missing.iter().find_map(made) {
            let what = format!("tensor {name}, which is needed, cannot be read: it is made by {global:?}");
            return Err(self.files[0].source.bad(what));
        }
        let more = if missing.len() > 3 { format!(" and {} more", missing.len() - 3) } else { String::new() };
        let first = &missing[..missing.len().min(3)];
        Err(self.files[0].source.bad(format!("tensors that are needed are missing: {}{more}", first.join(", "))))
    }

    /// `prefix.part.weight` and `prefix.part.bias` of each part.
    fn affine(&self, prefix: &str, parts: &[&str]) -> Result<()> {
        let both = |part: &&str| ["weight", "bias"].map(|leaf| format!("{prefix}{part}.{leaf}"));
        self.all(parts.iter().flat_map(both))
    }
}

/// Both halves of OpenAI's dVAE: every tensor with the shape that the widths and counts ask for, and agreement with the
/// attributes where the file has any.
pub(super) fn openai_dvae(encoder: (&Weights, &str), decoder: (&Weights, &str)) -> Result<Json> {
    let (down, up) = (Needs::of(encoder), Needs::of(decoder));
    let block = |group: usize, block: usize| format!("blocks.group_{}.block_{}", group + 1, block + 1);
    let res = |group, index| format!("{}.res_path.conv_1.w", block(group, index));
    let (groups, blocks) = (down.count(|group| res(group, 0)).max(1), down.count(|index| res(0, index)).max(1));
    let n_hid = down.side(DVAE_INPUT, 0)?;
    let codes = down.side("blocks.output.conv.w", 0)?;
    let n_init = up.side(DVAE_INPUT, 0)?;
    let outputs = up.side("blocks.output.conv.w", 0)?;
    let inputs = down.side(DVAE_INPUT, 1)?;
    for (needs, is_encoder) in [(&down, true), (&up, false)] {
        let last = n_hid << groups.saturating_sub(1).min(16);
        let kernels = if is_encoder { [3, 3, 3, 1] } else { [1, 3, 3, 3] };
        let mut convs: Vec<(String, [usize; 4])> = Vec::new();
        let mut width = if is_encoder { n_hid } else { n_init };
        convs.push(match is_encoder {
            true => ("blocks.input".into(), [n_hid, inputs, 7, 7]),
            false => ("blocks.input".into(), [n_init, codes, 1, 1]),
        });
        for group in 0..groups {
            let out = if is_encoder { n_hid << group.min(16) } else { last >> group.min(16) };
            for index in 0..blocks {
                let block = block(group, index);
                if width != out {
                    convs.push((format!("{block}.id_path"), [out, width, 1, 1]));
                }
                let widths = [width, out / 4, out / 4, out / 4, out];
                for conv in 0..4 {
                    let kernel = kernels[conv];
                    let name = format!("{block}.res_path.conv_{}", conv + 1);
                    convs.push((name, [widths[conv + 1], widths[conv], kernel, kernel]));
                }
                width = out;
            }
        }
        convs.push(match is_encoder {
            true => ("blocks.output.conv".into(), [codes, width, 1, 1]),
            false => ("blocks.output.conv".into(), [outputs, width, 1, 1]),
        });
        needs.all(convs.iter().flat_map(|(name, _)| [format!("{name}.w"), format!("{name}.b")]))?;
        for (name, shape) in &convs {
            for (name, shape) in [(format!("{name}.w"), &shape[..]), (format!("{name}.b"), &shape[..1])] {
                if needs.shape(&name) != Some(shape) {
                    let got = needs.shape(&name).unwrap_or_default();
                    let what = format!("tensor {name}: expected shape {shape:?}, got {got:?}");
                    return Err(needs.files[0].source.bad(what));
                }
            }
        }
        let layers = (groups * blocks) as f64;
        agree(&needs.files[0], "blocks.group_1.block_1.post_gain", json!(1.0 / (layers * layers)))?;
        agree(&needs.files[0], "n_hid", json!(n_hid))?;
        agree(&needs.files[0], "n_blk_per_group", json!(blocks))?;
        agree(&needs.files[0], "vocab_size", json!(codes))?;
    }
    agree(decoder.0, "n_init", json!(n_init))?;
    Ok(json!({
        "group_count": groups, "n_hid": n_hid, "n_blk_per_group": blocks, "n_init": n_init, "vocab_size": codes,
        "input_channels": inputs, "output_channels": outputs / 2,
    }))
}

/// What the file says of itself must be what its shapes say.
fn agree(file: &Weights, path: &str, expected: Json) -> Result<()> {
    match file.attribute(path) {
        Some(got) if *got != expected => {
            Err(file.source.bad(format!("attribute {path}: the shapes ask for {expected}, got {got}")))
        }
        _ => Ok(()),
    }
}

/// OpenAI's CLIP: either image tower, and the text tower.
pub(super) fn openai_clip(needs: &Needs<'_>) -> Result<Json> {
    let text = ["text_projection", "positional_embedding", "token_embedding.weight", "logit_scale"];
    needs.all(text.map(String::from))?;
    needs.affine("", &["ln_final"])?;
    let blocks = |prefix: &str| -> Result<usize> {
        let layers = needs.count(|layer| format!("{prefix}.resblocks.{layer}.attn.in_proj_weight"));
        for layer in 0..layers.max(1) {
            let at = format!("{prefix}.resblocks.{layer}.");
            needs.all([format!("{at}attn.in_proj_weight"), format!("{at}attn.in_proj_bias")])?;
            needs.affine(&at, &["attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj"])?;
        }
        Ok(layers)
    };
    let width = needs.side("ln_final.weight", 0)?;
    let side = |positions: usize| (positions.saturating_sub(1)).isqrt();
    let (resolution, vision_layers, vision_width, patch) = if needs.has("visual.proj") {
        let (conv, positions) = ("visual.conv1.weight", "visual.positional_embedding");
        needs.all([conv, positions, "visual.class_embedding"].map(String::from))?;
        needs.affine("visual.", &["ln_pre", "ln_post"])?;
        let patch = needs.side(conv, 3)?;
        let resolution = patch.saturating_mul(side(needs.side(positions, 0)?));
        (resolution, json!(blocks("visual.transformer")?), needs.side(conv, 0)?, json!(patch))
    } else {
        needs.affine("visual.attnpool.", &["q_proj", "k_proj", "v_proj", "c_proj"])?;
        needs.all((1..=3).map(|conv| format!("visual.conv{conv}.weight")))?;
        needs.all((1..=4).map(|layer| format!("visual.layer{layer}.0.conv3.weight")))?;
        let layers = [1, 2, 3, 4].map(|layer| needs.count(|block| format!("visual.layer{layer}.{block}.conv1.weight")));
        let resolution = 32 * side(needs.side("visual.attnpool.positional_embedding", 0)?);
        (resolution, json!(layers), needs.side("visual.layer1.0.conv1.weight", 0)?, Json::Null)
    };
    Ok(json!({
        "embed_dim": needs.side("text_projection", 1)?, "image_resolution": resolution, "vision_layers": vision_layers,
        "vision_width": vision_width, "vision_patch_size": patch, "context_length": needs.side("positional_embedding", 0)?,
        "vocab_size": needs.side("token_embedding.weight", 0)?, "transformer_width": width,
        "transformer_heads": width / 64, "transformer_layers": blocks("transformer")?,
    }))
}

/// CLIP in Hugging Face's names, as many layers as `config` says.
pub(super) fn hf_clip(needs: &Needs<'_>, config: &Json) -> Result<Json> {
    for tower in ["text", "vision"] {
        let layers = config[format!("{tower}_config")]["num_hidden_layers"].as_u64().filter(|&n| n <= 1024);
        let what = format!("config.json: expected {tower}_config.num_hidden_layers, at most 1024");
        for layer in 0..layers.ok_or_else(|| needs.files[0].source.bad(what))? {
            let at = format!("{tower}_model.encoder.layers.{layer}.");
            let attention = ["q_proj", "k_proj", "v_proj", "out_proj"].map(|part| format!("self_attn.{part}"));
            needs.affine(&at, &attention.each_ref().map(String::as_str))?;
            needs.affine(&at, &["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"])?;
        }
    }
    needs.affine("", &["text_model.final_layer_norm", "vision_model.pre_layrnorm", "vision_model.post_layernorm"])?;
    let others = [
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "vision_model.embeddings.class_embedding",
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.position_embedding.weight",
        "visual_projection.weight",
        "text_projection.weight",
        "logit_scale",
    ];
    needs.all(others.map(String::from))?;
    Ok(config.clone())
}

/// ru-DALL-E's transformer. How many heads it has no shape tells.
pub(super) fn rudalle(needs: &Needs<'_>) -> Result<Json> {
    let tables = ["text", "image", "text_pos", "image_row", "image_col"];
    needs.all(tables.map(|table| format!("{table}_embeddings.weight")))?;
    needs.affine("", &["to_logits.0", "to_logits.1", "transformer.final_layernorm"])?;
    let layer = |layer: usize| format!("transformer.layers.{layer}.");
    let layers = needs.count(|index| format!("{}attention.query_key_value.weight", layer(index)));
    let sandwich = needs.has("transformer.layers.0.before_first_addition_layernorm.weight");
    for index in 0..layers.max(1) {
        let parts = [
            "input_layernorm",
            "post_attention_layernorm",
            "attention.query_key_value",
            "attention.dense",
            "mlp.dense_h_to_4h",
        ];
        needs.affine(&layer(index), &parts)?;
        needs.affine(&layer(index), &["mlp.dense_4h_to_h"])?;
        if sandwich {
            needs.affine(&layer(index), &["before_first_addition_layernorm", "before_second_addition_layernorm"])?;
        }
    }
    Ok(json!({
        "num_layers": layers, "vocab_size": needs.side("text_embeddings.weight", 0)?,
        "hidden_size": needs.side("text_embeddings.weight", 1)?,
        "text_seq_length": needs.side("text_pos_embeddings.weight", 0)?.saturating_sub(1),
        "image_tokens_per_dim": needs.side("image_row_embeddings.weight", 0)?,
        "image_vocab_size": needs.side("image_embeddings.weight", 0)?, "cogview_sandwich_layernorm": sandwich,
    }))
}

/// The Gumbel VQGAN: encoder, codes, decoder.
pub(super) fn taming_gumbel(needs: &Needs<'_>) -> Result<Json> {
    needs.affine("", &["encoder.conv_in", "encoder.conv_out", "quantize.proj", "post_quant_conv"])?;
    needs.affine("", &["encoder.norm_out", "decoder.norm_out", "decoder.conv_in", "decoder.conv_out"])?;
    needs.all(["quantize.embed.weight".to_owned()])?;
    let middle =
        ["block_1.norm1", "block_1.conv1", "block_1.norm2", "block_1.conv2", "attn_1.q", "attn_1.k", "attn_1.v"];
    for half in ["encoder", "decoder"] {
        needs.affine(&format!("{half}.mid."), &middle)?;
    }
    let block = |level: usize, index: usize| format!("encoder.down.{level}.block.{index}.conv1.weight");
    let ch = needs.side("encoder.conv_in.weight", 0)?;
    let levels = needs.count(|level| block(level, 0));
    let mult = (0..levels).map(|level| Ok(needs.side(&block(level, 0), 0)? / ch.max(1))).collect::<Result<Vec<_>>>()?;
    let attended = |&level: &usize| needs.has(&format!("encoder.down.{level}.attn.0.q.weight"));
    Ok(json!({
        "ch": ch, "ch_mult": mult, "num_res_blocks": needs.count(|index| block(0, index)),
        "attn_levels": (0..levels).filter(attended).collect::<Vec<_>>(),
        "in_channels": needs.side("encoder.conv_in.weight", 1)?, "out_ch": needs.side("decoder.conv_out.weight", 0)?,
        "z_channels": needs.side("encoder.conv_out.weight", 0)?, "n_embed": needs.side("quantize.embed.weight", 0)?,
        "embed_dim": needs.side("quantize.embed.weight", 1)?,
    }))
}
