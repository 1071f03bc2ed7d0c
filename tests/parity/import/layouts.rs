//! Every layout of published weights gives the published names and the same bits.

use super::{PKL, open, path};
use crate::fixture;
use dalle::import::{Kind, Weights, import};
use safetensors::SafeTensors;
use serde_json::Value;

/// `got` holds the tensors of the safetensors file `expected`, those and no others, bit for bit.
fn assert_same(got: &Weights, expected: &str) {
    let bytes = fixture::bytes(expected);
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> = got.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let mut wanted = expected.names();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for (name, view) in expected.iter() {
        let found = got.find(name).unwrap();
        assert_eq!((found.dtype, found.shape.as_slice()), (view.dtype(), view.shape()), "{name}");
        assert_eq!(got.bytes(name).unwrap(), view.data(), "{name}");
    }
}

fn config(half: &str) -> Value {
    let path = format!("{PKL}/{half}.pkl");
    let weights = open(&path);
    weights.attributes.into_iter().filter(|(path, _)| !path.contains('.')).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn every_layout_gives_the_published_names_and_the_same_bits() {
    for (file, layout, expected) in [
        ("encoder.pkl", "torch zip", "encoder_p"),
        ("decoder.pkl", "torch zip", "decoder_p"),
        ("encoder_old_layout_cuda_tag.pkl", "torch zip", "encoder_p"),
        ("encoder_legacy_nonzip.pkl", "torch legacy", "encoder_p"),
        ("encoder_state_dict.pt", "torch zip", "encoder_p"),
    ] {
        if file == "encoder_state_dict.pt" && !fixture::holds(&format!("{PKL}/{file}")) {
            continue;
        }
        let weights = open(&format!("{PKL}/{file}"));
        assert_eq!(weights.layout, layout, "{file}");
        assert_same(&weights, &format!("openai_dvae/{expected}.safetensors"));
    }
}

#[test]
fn views_dtypes_and_nesting_are_exact() {
    assert_same(&open(&format!("{PKL}/odd_tensors.pt")), &format!("{PKL}/odd_tensors_expected.safetensors"));
}

#[test]
fn a_safetensors_file_reads_as_itself() {
    assert_same(&open("openai_dvae/encoder_p.safetensors"), "openai_dvae/encoder_p.safetensors");
}

#[test]
fn half_precision_is_kept_and_widened_exactly() {
    if !fixture::holds(&format!("{PKL}/encoder_half.pkl")) {
        return;
    }
    for half in ["encoder", "decoder"] {
        let (halves, whole) =
            (open(&format!("{PKL}/{half}_half.pkl")), open(&format!("openai_dvae/{half}_p.safetensors")));
        assert_eq!(halves.tensors().len(), whole.tensors().len());
        for tensor in halves.tensors() {
            assert_eq!(tensor.dtype, safetensors::Dtype::F16, "{}", tensor.name);
            let rounded = halves.parameter(&tensor.name, &tensor.shape).unwrap();
            let exact = whole.parameter(&tensor.name, &tensor.shape).unwrap();
            for (a, b) in rounded.iter().zip(exact) {
                assert!((a - b).abs() <= b.abs() / 2048.0 + 3e-8, "{}: {a} of {b}", tensor.name);
            }
        }
    }
}

#[test]
fn the_configuration_is_that_of_the_modules_attributes() {
    let meta = fixture::json("openai_dvae/meta.json");
    for half in ["encoder", "decoder"] {
        let found = config(half);
        for (key, value) in meta["configs"]["p"]["config"].as_object().unwrap() {
            if let Some(found) = found.get(key) {
                assert_eq!(found, value, "{half}: {key}");
            }
        }
        assert!(found.get("n_hid").is_some(), "{found}");
    }
}

#[test]
fn a_dvae_is_imported_from_either_order_and_any_layout() {
    let folder = tempfile::tempdir().unwrap();
    let meta = fixture::json("openai_dvae/meta.json");
    let file = |name: &str| path(&format!("{PKL}/{name}"));
    for (index, files) in [
        [file("encoder.pkl"), file("decoder.pkl")],
        [file("decoder.pkl"), file("encoder_legacy_nonzip.pkl")],
        [file("encoder_state_dict.pt"), path("openai_dvae/decoder_p.safetensors")],
        [file("encoder_half.pkl"), file("decoder_half.pkl")],
    ]
    .into_iter()
    .filter(|files| files.iter().all(|file| file.exists()))
    .enumerate()
    {
        let out = folder.path().join(format!("{index}.safetensors"));
        let imported = import(Kind::OpenaiDvae, &files, &out).unwrap();
        assert_eq!(imported.config, meta["configs"]["p"]["config"]);
        let bytes = std::fs::read(&out).unwrap();
        SafeTensors::deserialize(&bytes).unwrap();
        let weights = Weights::open(&out).unwrap();
        assert_eq!(weights.attribute("kind"), Some(&"openai-dvae".into()));
        let kept: Value = serde_json::from_str(weights.attribute("config").unwrap().as_str().unwrap()).unwrap();
        assert_eq!(kept, imported.config);
        for half in ["encoder", "decoder"] {
            let source = files.iter().map(|file| Weights::open(file).unwrap());
            let is_encoder = |w: &Weights| w.find("blocks.input.w").unwrap().shape[2] > 1;
            let source = source.into_iter().find(|w| is_encoder(w) == (half == "encoder")).unwrap();
            assert_eq!(source.tensors().len(), meta["configs"]["p"][format!("{half}_keys")].as_object().unwrap().len());
            for tensor in source.tensors() {
                let name = format!("{half}.{}", tensor.name);
                let found = weights.find(&name).unwrap();
                assert_eq!((found.dtype, &found.shape), (tensor.dtype, &tensor.shape), "{name}");
                assert_eq!(weights.bytes(&name).unwrap(), source.bytes(&tensor.name).unwrap(), "{name}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), index + 1, "nothing else is left");
    }
}

/// The state dict of `meta.json`: names to dtypes and shapes, or to shapes alone.
fn assert_listed(weights: &Weights, keys: &Value) {
    for (name, listed) in keys.as_object().unwrap() {
        let tensor = weights.find(name).unwrap_or_else(|| panic!("no tensor {name}"));
        let shape: Vec<usize> =
            listed.as_array().unwrap().iter().filter_map(Value::as_u64).map(|side| side as usize).collect();
        assert_eq!(tensor.shape, shape, "{name}");
    }
}

#[test]
fn clip_is_imported_from_torchscript_and_from_state_dicts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("clip.safetensors");
    let meta = fixture::json("openai_clip/meta.json");
    let check = |file: &str, model: &Value| {
        let imported = import(Kind::OpenaiClip, &[path(file)], &out).unwrap();
        let weights = Weights::open(&out).unwrap();
        assert_eq!(imported.config, model["config"], "{file}");
        if let Some(keys) = model.get("keys") {
            assert_listed(&weights, keys);
        }
        weights
    };
    for (name, model) in meta["models"].as_object().unwrap() {
        if model.get("jit_fp16").is_none() {
            continue;
        }
        let weights = check(&format!("openai_clip/jit/{name}_fp16.pt"), model);
        let halves = weights.tensors().iter().filter(|tensor| tensor.dtype == safetensors::Dtype::F16).count();
        assert!(halves > 0 && halves < weights.tensors().len(), "dtypes are kept");
        for scalar in ["input_resolution", "context_length", "vocab_size"] {
            let tensor = weights.find(scalar).unwrap();
            assert_eq!((tensor.dtype, tensor.shape.len()), (safetensors::Dtype::I64, 0));
        }
    }
    for (name, model) in meta["models"].as_object().unwrap() {
        // The scripted models are published as archives only, those of another library are no models of this kind.
        if model.get("jit_fp16").is_none() && model.get("config").is_some() {
            check(&format!("openai_clip/{name}.safetensors"), model);
        }
    }
}

#[test]
fn other_checkpoints_are_imported_with_the_configuration_of_their_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let meta = fixture::json("rudalle/meta.json");
    for (name, model) in meta["models"].as_object().unwrap() {
        let file = format!("rudalle/{name}.safetensors");
        let config = import(Kind::Rudalle, &[path(&file)], &out).unwrap().config;
        for (key, value) in config.as_object().unwrap() {
            assert_eq!(*value, model["config"][key], "{name}: {key}");
        }
        assert_same(&Weights::open(&out).unwrap(), &file);
    }
    let file = "vqgan_gumbel/gumbel_vq.safetensors";
    let config = import(Kind::TamingGumbel, &[path(file)], &out).unwrap().config;
    let meta = fixture::json("vqgan_gumbel/meta.json");
    for key in ["n_embed", "embed_dim"] {
        assert_eq!(config[key], meta[key], "{key}");
    }
    for key in ["ch", "ch_mult", "num_res_blocks", "z_channels", "in_channels", "out_ch"] {
        assert_eq!(config[key], meta["ddconfig"][key], "{key}");
    }
    let meta = fixture::json("openai_clip/meta.json");
    let models = meta["models"].as_object().unwrap();
    for (model, _) in models.iter().filter(|(_, model)| model.get("transformers").is_some()) {
        let [json, tensors] = ["config.json", "model.safetensors"].map(|file| format!("openai_clip/{model}/{file}"));
        let config = import(Kind::HfClip, &[path(&tensors), path(&json)], &out).unwrap().config;
        assert_eq!(config, fixture::json(&json));
        assert_same(&Weights::open(&out).unwrap(), &tensors);
    }
    import(Kind::Torch, &[path(&format!("{PKL}/odd_tensors.pt"))], &out).unwrap();
    assert_same(&Weights::open(&out).unwrap(), &format!("{PKL}/odd_tensors_expected.safetensors"));
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let encoder = path(&format!("{PKL}/encoder.pkl"));
    for (kind, files, code, expected) in [
        (Kind::OpenaiDvae, vec![encoder.clone()], 2, "encoder.pkl and decoder.pkl"),
        (Kind::OpenaiDvae, vec![encoder.clone(), encoder.clone()], 4, "expected a decoder, got a second encoder"),
        (Kind::OpenaiClip, vec![encoder.clone()], 4, "text_projection, positional_embedding"),
        (Kind::Rudalle, vec![encoder.clone()], 4, "text_embeddings.weight"),
        (Kind::TamingGumbel, vec![encoder.clone()], 4, "encoder.conv_in.weight"),
        (Kind::HfClip, vec![encoder], 2, "config.json"),
    ] {
        let error = import(kind, &files, &out).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!out.exists());
    }
    assert!(Kind::named("openai-dave").unwrap_err().to_string().contains("openai-dvae"));
}
