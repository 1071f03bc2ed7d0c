//! Names and sizes of parameters: of the paper's preset too, by walking its shapes without holding any of it.

use dalle::models::clip::Clip;
use dalle::models::dvae::Dvae;
use dalle::models::presets::{paper, tiny};
use dalle::models::transformer::Transformer;
use dalle::nn::{self, Module};
use dfdx::prelude::Cpu;
use std::collections::BTreeMap;

/// The shape of each parameter by its name.
fn shapes<M: Module<f32, Cpu>>() -> BTreeMap<String, Vec<usize>> {
    let described = nn::describe::<M, f32, Cpu>();
    let count = described.len();
    let by_name: BTreeMap<_, _> = described.into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
    assert_eq!(by_name.len(), count, "two parameters of one name");
    by_name
}

/// How many numbers the parameters under `prefix` hold.
fn size(shapes: &BTreeMap<String, Vec<usize>>, prefix: &str) -> usize {
    shapes.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

#[test]
fn the_papers_dvae_has_the_released_names_and_sizes() {
    let dvae = shapes::<Dvae<paper::Dvae, f32, Cpu>>();
    assert_eq!(size(&dvae, "encoder."), 53_786_240);
    assert_eq!(size(&dvae, "decoder."), 43_829_766);
    assert_eq!(size(&dvae, ""), 53_786_240 + 43_829_766);
    for (name, shape) in [
        ("encoder.blocks.input.w", &[256, 3, 7, 7][..]),
        ("encoder.blocks.group_1.block_1.res_path.conv_1.w", &[64, 256, 3, 3]),
        ("encoder.blocks.group_2.block_1.id_path.w", &[512, 256, 1, 1]),
        ("encoder.blocks.group_4.block_2.res_path.conv_4.w", &[2048, 512, 1, 1]),
        ("encoder.blocks.output.conv.w", &[8192, 2048, 1, 1]),
        ("decoder.blocks.input.w", &[128, 8192, 1, 1]),
        ("decoder.blocks.group_1.block_1.id_path.b", &[2048]),
        ("decoder.blocks.group_1.block_1.res_path.conv_1.w", &[512, 128, 1, 1]),
        ("decoder.blocks.group_4.block_2.res_path.conv_4.w", &[256, 64, 3, 3]),
        ("decoder.blocks.output.conv.w", &[6, 256, 1, 1]),
    ] {
        assert_eq!(dvae.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }
}

#[test]
fn an_identity_path_is_a_convolution_exactly_where_the_channels_change() {
    let dvae = shapes::<Dvae<paper::Dvae, f32, Cpu>>();
    let mut blocks = 0;
    for (name, shape) in &dvae {
        let Some(block) = name.strip_suffix("res_path.conv_1.w") else { continue };
        blocks += 1;
        let (inputs, outputs) = (shape[1], dvae[&format!("{block}res_path.conv_4.w")][0]);
        let path = dvae.get(&format!("{block}id_path.w"));
        assert_eq!(path, (inputs != outputs).then(|| vec![outputs, inputs, 1, 1]).as_ref(), "{block}");
    }
    assert_eq!(blocks, 16);
}

#[test]
fn the_papers_transformer_has_twelve_billion_parameters() {
    let transformer = shapes::<Transformer<paper::Transformer, f32, Cpu>>();
    let (width, words, text, codes, grid) = (3968, 16_384 + 256, 256, 8192, 32);
    let tables = (words + 1 + text + codes + 1 + 2 * grid) * width;
    let layer = 12 * width * width + 13 * width;
    let heads = (words + codes) * (width + 1);
    assert_eq!(size(&transformer, ""), tables + 64 * layer + 2 * width + heads);
    assert_eq!(size(&transformer, "transformer.layers.63."), layer);
    assert!(!transformer.contains_key("transformer.layers.64.mlp.dense_h_to_4h.weight"));
    for (name, shape) in [
        ("text_embeddings.weight", &[words + 1, width][..]),
        ("image_row_embeddings.weight", &[grid, width]),
        ("transformer.layers.0.input_layernorm.weight", &[width]),
        ("transformer.layers.0.attention.query_key_value.weight", &[3 * width, width]),
        ("transformer.layers.63.mlp.dense_4h_to_h.weight", &[width, 4 * width]),
        ("transformer.final_layernorm.bias", &[width]),
        ("to_image_logits.weight", &[codes, width]),
    ] {
        assert_eq!(transformer.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }
}

#[test]
fn clip_has_the_published_names() {
    let clip = shapes::<Clip<tiny::Clip, f32, Cpu>>();
    for (name, shape) in [
        ("visual.class_embedding", &[32][..]),
        ("visual.positional_embedding", &[17, 32]),
        ("visual.transformer.resblocks.0.attn.in_proj_weight", &[96, 32]),
        ("visual.proj", &[32, 16]),
        ("token_embedding.weight", &[66, 32]),
        ("positional_embedding", &[13, 32]),
        ("transformer.resblocks.0.mlp.c_fc.bias", &[128]),
        ("ln_final.weight", &[32]),
        ("text_projection", &[32, 16]),
    ] {
        assert_eq!(clip.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }
}
