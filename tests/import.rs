//! The readers of published weights: every layout that there is, to the bit, and files that are broken in every way.

mod fixture;

use dalle::Error;
use dalle::import::{Kind, Weights, import};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const PKL: &str = "openai_dvae/pkl";

fn path(file: &str) -> PathBuf {
    fixture::root().join(file)
}

fn open(file: &str) -> Weights {
    Weights::open(path(file)).unwrap()
}

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

// Broken files.

/// Reads all of a file: the one-line error, where there is one.
fn all(bytes: Vec<u8>) -> Result<usize, String> {
    let read = || -> dalle::Result<usize> {
        let weights = Weights::from_bytes("broken", bytes)?;
        weights.tensors().iter().map(|tensor| Ok(weights.bytes(&tensor.name)?.len())).sum()
    };
    read().map_err(|error: Error| {
        assert!(matches!(error, Error::Data { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("broken: ") && !text.contains('\n'), "{text}");
        text
    })
}

#[track_caller]
fn refused(bytes: Vec<u8>, expected: &str) {
    let error = all(bytes).unwrap_err();
    assert!(error.contains(expected), "expected {expected:?} in {error:?}");
}

/// A zip archive of stored entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_of(entries, false)
}

/// The same, its sizes and offsets in the 64-bit fields that files past 4 GiB need.
fn zip_of(entries: &[(&str, &[u8])], wide: bool) -> Vec<u8> {
    let narrow = |value: usize| if wide { u32::MAX } else { value as u32 }.to_le_bytes();
    let (mut file, mut list) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let extra: Vec<u8> = match wide {
            true => [&[9, 9, 1, 0, 7, 1, 0, 24, 0][..], &wide_fields(&[data.len(), data.len(), file.len()])].concat(),
            false => Vec::new(),
        };
        let fields = |extra: usize| {
            let mut fields = vec![0; 12]; // flags, method, time, date, checksum
            fields.extend(narrow(data.len()));
            fields.extend(narrow(data.len()));
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend((extra as u16).to_le_bytes());
            fields
        };
        list.extend(b"PK\x01\x02\x14\0\x14\0");
        list.extend(fields(extra.len()));
        list.extend([0; 10]);
        list.extend(narrow(file.len()));
        list.extend(name.as_bytes());
        list.extend(extra);
        file.extend(b"PK\x03\x04\x14\0");
        file.extend(fields(0));
        file.extend(name.as_bytes());
        file.extend(*data);
    }
    let start = file.len();
    file.extend(&list);
    if wide {
        let record = file.len();
        file.extend([&b"PK\x06\x06"[..], &[0; 36], &wide_fields(&[list.len(), start])].concat());
        file.extend([&b"PK\x06\x07"[..], &[0; 4], &wide_fields(&[record]), &[1, 0, 0, 0]].concat());
    }
    file.extend([&b"PK\x05\x06"[..], &[0; 8], &narrow(list.len()), &narrow(start), &[0; 2]].concat());
    file
}

fn wide_fields(values: &[usize]) -> Vec<u8> {
    values.iter().flat_map(|&value| (value as u64).to_le_bytes()).collect()
}

/// An archive of `pickle` with sixteen bytes as storage 0.
fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("any/data.pkl", pickle), ("any/data/0", &[0; 16])])
}

fn long(value: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &value.to_le_bytes()].concat()
}

/// A tensor of storage 0, said to have `count` values.
fn tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let tuple =
        |sides: &[i64]| [&b"("[..], &sides.iter().flat_map(|&side| long(side)).collect::<Vec<_>>(), b"t"].concat();
    [
        &b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"[..],
        &long(count),
        b"tQ",
        &long(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89Nt",
        b"R.",
    ]
    .concat()
}

#[test]
fn the_helpers_of_these_tests_write_files_that_can_be_read() {
    assert_eq!(all(archive(&tensor(4, 0, &[2, 2], &[2, 1]))), Ok(16));
    assert_eq!(all(archive(&tensor(4, 1, &[2], &[2]))), Ok(8));
    assert_eq!(all(archive(&tensor(4, 0, &[], &[]))), Ok(4));
    let wide = zip_of(&[("any/data.pkl", &tensor(4, 0, &[4], &[1])), ("any/data/0", &[7; 16])], true);
    assert_eq!(Weights::from_bytes("wide", wide).unwrap().bytes("tensor").unwrap(), [7; 16]);
}

#[test]
fn what_would_run_is_never_called_and_no_file_is_that_alone() {
    for (pickle, expected) in [
        (&b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..], "expected tensors, got a call of \"os system\""),
        (b"\x80\x02}cbuiltins\neval\n.", "call of \"builtins eval\""),
        (b"\x80\x02cposix\nsystem\n.", "call of \"posix system\""),
        (b"\x80\x02ctorch\nload\n.", "call of \"torch load\""),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "_load_from_bytes"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "call of \"os system\""),
        (b"\x80\x02(ios\nsystem\n.", "byte 3: opcode 0x69 (INST) is not allowed"),
        (b"\x80\x02(o.", "opcode 0x6f (OBJ)"),
        (b"\x80\x02\x82\x01.", "opcode 0x82 (EXT)"),
        (b"\x80\x02\xff.", "opcode 0xff is not allowed"),
    ] {
        refused(archive(pickle), expected);
    }
}

/// A pickle of a dictionary: names to the pickles of values, each without protocol and end.
fn dict(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}".to_vec();
    for (name, value) in entries {
        pickle.push(b'X');
        pickle.extend((name.len() as u32).to_le_bytes());
        pickle.extend(name.as_bytes());
        pickle.extend(*value);
        pickle.push(b's');
    }
    pickle.push(b'.');
    pickle
}

/// [`tensor`] of four values as a part of another pickle.
fn part() -> Vec<u8> {
    let whole = tensor(4, 0, &[4], &[1]);
    whole[2..whole.len() - 1].to_vec()
}

#[test]
fn what_is_not_known_is_opaque_and_only_a_tensor_that_needs_it_refuses_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let write = |pickle: &[u8]| {
        let path = folder.path().join("in.pt");
        std::fs::write(&path, archive(pickle)).unwrap();
        path
    };
    // A trainer's own class, built and given attributes and items, beside a tensor.
    let namespace = b"cargparse\nNamespace\n)R}b";
    let own = b"cmy.code\nOwn\n)\x81(NNu";
    let path = write(&dict(&[("w", &part()), ("args", namespace), ("own", own), ("f", b"cos\nsystem\n")]));
    let weights = Weights::open(&path).unwrap();
    assert_eq!(weights.tensors().len(), 1);
    let opaque: Vec<&str> = weights.opaque.iter().map(|(_, global)| global.as_str()).collect();
    assert_eq!(opaque, ["argparse Namespace", "my.code Own", "os system"]);
    let imported = import(Kind::Torch, &[path], &out).unwrap();
    assert!(imported.left_out[0].starts_with("3 values that only running the file"), "{:?}", imported.left_out);
    // A tensor that nobody here knows how to rebuild.
    let quantised = dict(&[("w", &part()), ("q", b"ctorch._utils\n_rebuild_qtensor\n)R")]);
    let path = write(&quantised);
    assert_eq!(Weights::open(&path).unwrap().tensors().len(), 1);
    let error = import(Kind::Torch, &[path], &out).unwrap_err().to_string();
    assert!(error.contains("tensor q cannot be read: it is made by \"torch._utils _rebuild_qtensor\""), "{error}");
    let path = write(&dict(&[("w", &part()), ("text_projection", b"ctorch._utils\n_rebuild_qtensor\n)R")]));
    let error = import(Kind::OpenaiClip, std::slice::from_ref(&path), &out).unwrap_err().to_string();
    assert!(error.contains("text_projection") && error.contains("_rebuild_qtensor"), "{error}");
    let error = Weights::open(&path).unwrap().parameter("text_projection", &[4]).unwrap_err().to_string();
    assert!(error.contains("_rebuild_qtensor"), "{error}");
    // A function that rebuilds by a function that rebuilds, and so on.
    let cyclic = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\0](h\0NNeq\x01h\0h\x01R.";
    refused(archive(cyclic), "expected another function");
}

#[test]
fn newer_ways_to_rebuild_a_tensor_are_read() {
    // A parameter with state, and a tensor of a class of its own.
    let parameter = [&b"ctorch._utils\n_rebuild_parameter_with_state\n("[..], &part(), b"\x88N}tR"].concat();
    let inner = part();
    let inner = inner.strip_prefix(b"ctorch._utils\n_rebuild_tensor_v2\n").unwrap().strip_suffix(b"R").unwrap();
    let own = [
        &b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmy.code\nTensor\n"[..],
        inner,
        b"}tR",
    ]
    .concat();
    // Dtypes that have no storage of their own: two bytes, and one, a value.
    let third = |dtype: &str, values: u8| {
        let storage = b"((X\x07\0\0\0storagectorch.storage\nUntypedStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQK\x00K";
        let rest = format!("ctorch\n{dtype}\ntR");
        [
            b"ctorch._utils\n_rebuild_tensor_v3\n",
            &storage[..],
            &[values, 0x85, b'K', 1, 0x85],
            b"\x89N",
            rest.as_bytes(),
        ]
        .concat()
    };
    let entries = [
        ("p", parameter),
        ("t", own),
        ("u", third("uint16", 8)),
        ("f", third("float8_e4m3fn", 16)),
        ("n", third("float4_e2m1fn_x2", 16)),
    ];
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let weights = Weights::from_bytes("new", archive(&dict(&entries))).unwrap();
    use safetensors::Dtype;
    let found: Vec<_> = weights.tensors().iter().map(|t| (t.name.as_str(), t.dtype, t.shape[0])).collect();
    let expected = [("p", Dtype::F32, 4), ("t", Dtype::F32, 4), ("u", Dtype::U16, 8), ("f", Dtype::F8_E4M3, 16)];
    assert_eq!(found, expected);
    assert_eq!(weights.opaque, [("n".to_owned(), "torch float4_e2m1fn_x2".to_owned())]);
    let error = weights.parameter("u", &[8]).unwrap_err().to_string();
    assert!(error.contains("tensor u: expected floating point, got U16"), "{error}");
    let outside = archive(&dict(&[("u", &third("uint16", 9))]));
    refused(outside, "tensor u: shape [9] is too large");
}

/// The tensors of a file by name; the order of the data follows the file that they were read from.
fn contents(path: &std::path::Path) -> std::collections::BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

/// Writes the tensors of the fixture `file` that `keeps` a name, under new names.
fn renamed(file: &str, out: &std::path::Path, name: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let bytes = fixture::bytes(file);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = tensors.iter().collect();
    all.sort_by(|a, b| a.0.cmp(b.0));
    let views: Vec<_> = all.into_iter().filter_map(|(old, view)| Some((name(old)?, view))).collect();
    let names = views.iter().map(|(name, _)| name.clone()).collect();
    std::fs::write(out, safetensors::serialize(views, None).unwrap()).unwrap();
    names
}

#[test]
fn wrappers_are_left_off_for_every_kind_and_shards_are_found_by_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let (wrapped, out) = (folder.path().join("wrapped.safetensors"), folder.path().join("out.safetensors"));
    let meta = fixture::json("openai_clip/meta.json");
    let clip = meta["models"].as_object().unwrap().iter();
    let clip = clip.into_iter().find(|(_, m)| m.get("jit_fp16").is_none() && m.get("config").is_some());
    let rudalle = fixture::json("rudalle/meta.json");
    let rudalle = rudalle["models"].as_object().unwrap().keys().next().unwrap().clone();
    // The compact fixtures hold no plain CLIP.
    let clip = clip.map(|(clip, _)| (Kind::OpenaiClip, format!("openai_clip/{clip}.safetensors")));
    let files = clip.into_iter().chain([(Kind::Rudalle, format!("rudalle/{rudalle}.safetensors"))]);
    for (kind, file) in files {
        let plain = import(kind, &[path(&file)], &out).unwrap();
        let expected = contents(&out);
        for prefix in ["state_dict.", "module.", "model.", "state_dict.module.", "model.module._orig_mod."] {
            renamed(&file, &wrapped, |name| Some(format!("{prefix}{name}")));
            let imported = import(kind, std::slice::from_ref(&wrapped), &out).unwrap();
            assert_eq!((imported.config, imported.left_out.len()), (plain.config.clone(), 0), "{prefix}");
            assert!(contents(&out) == expected, "{prefix}");
        }
        // Two shards and their index.
        let (mut map, mut odd) = (serde_json::Map::new(), false);
        for shard in ["a.safetensors", "b.safetensors"] {
            let turn = std::cell::Cell::new(odd);
            let take = |name: &str| {
                turn.set(!turn.get());
                turn.get().then(|| name.to_owned())
            };
            let names = renamed(&file, &folder.path().join(shard), take);
            map.extend(names.into_iter().map(|name| (name, shard.into())));
            odd = true;
        }
        let index = folder.path().join("model.safetensors.index.json");
        let write = |map: &serde_json::Map<String, Value>| {
            std::fs::write(&index, serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
        };
        write(&map);
        import(kind, std::slice::from_ref(&index), &out).unwrap();
        assert!(contents(&out) == expected);
        for (tensor, shard, needle) in [
            ("more", "a.safetensors", "tensor more: the index says that it is in a.safetensors"),
            ("more", "c.safetensors", "c.safetensors"),
            ("more", "../a.safetensors", "the name of a file beside the index"),
        ] {
            let mut wrong = map.clone();
            wrong.insert(tensor.into(), shard.into());
            write(&wrong);
            let error = import(kind, std::slice::from_ref(&index), &out).unwrap_err();
            assert!(error.exit_code() == 4 && error.to_string().contains(needle), "{error}");
        }
        for broken in ["", "[]", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 3}}"#] {
            std::fs::write(&index, broken).unwrap();
            assert_eq!(import(kind, std::slice::from_ref(&index), &out).unwrap_err().exit_code(), 4, "{broken}");
        }
    }
    // Which of two is meant?
    let bytes = fixture::bytes(&format!("rudalle/{rudalle}.safetensors"));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let twice = tensors
        .iter()
        .flat_map(|(name, view)| [(format!("model.{name}"), view.clone()), (format!("module.{name}"), view)]);
    std::fs::write(&wrapped, safetensors::serialize(twice, None).unwrap()).unwrap();
    let error = import(Kind::Rudalle, &[wrapped], &out).unwrap_err().to_string();
    assert!(error.contains("found model.") && error.contains(" and module."), "{error}");
}

#[test]
fn a_pickle_that_makes_no_sense_is_refused() {
    for (pickle, expected) in [
        (&b""[..], "truncated"),
        (b"\x80\x02", "truncated"),
        (b".", "the stack is empty"),
        (b"t.", "no mark"),
        (b"N(0.", "the stack is empty"),
        (b"h\x05.", "nothing is remembered as 5"),
        (b"Na.", "the stack is empty"),
        (b"NNa.", "expected a list"),
        (b"}(Nu.", "keys and values"),
        (b"N)R.", "expected a global to call"),
        (b"ctorch\nFloatStorage\n)R.", "cannot be called"),
        (b"NNb.", "expected an object"),
        (b")Q.", "expected a storage's class"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "expected a storage, an offset"),
        (b"X\xff\xff\xff\xff.", "expected a text of at most"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "expected a text of at most"),
        (b"X\x01\0\0\0\xff.", "expected UTF-8"),
        (b"\x8a\x09123456789.", "an integer of at most 8 bytes"),
    ] {
        refused(archive(pickle), expected);
    }
    // A large value that is copied again and again.
    let list = [&b"c__builtin__\nset\nq\0(("[..], &b"N".repeat(1000), b"lt"].concat();
    let copies = [&list[..], b"q\x01", &b"0h\0h\x01R".repeat(2000), b"."].concat();
    refused(archive(&copies), "items of sets and dictionaries");
    let endless = [&b"c"[..], &[b'x'; 4096]].concat();
    refused(archive(&endless), "name of at most");
    let without_end = vec![b'N'; 3 << 20];
    refused(archive(&without_end), "opcodes");
}

#[test]
fn deep_wide_and_cyclic_values_are_bounded() {
    // Lists in lists.
    let deep = [vec![b']'; 5000], vec![b'a'; 4999], b".".to_vec()].concat();
    refused(archive(&deep), "levels");
    // A list that holds itself.
    refused(archive(b"]q\0h\0a."), "levels");
    // Each list holds the one before it twice: 2⁴⁰ values in a few bytes.
    let mut doubling = b"]q\0".to_vec();
    for _ in 0..40 {
        doubling.extend(b"q\x01](h\x01h\x01e");
    }
    doubling.push(b'.');
    refused(archive(&doubling), "values");
    // One tensor under so many names that writing them all would fill a disk.
    let one = tensor(4, 0, &[4], &[1]);
    let mut many = b"\x80\x02](".to_vec();
    many.extend(&one[2..one.len() - 1]);
    many.extend(b"q\0");
    many.extend(b"h\0".repeat(200_000));
    many.extend(b"e.");
    refused(archive(&many), "expected at most 65536 tensors");
}

#[test]
fn a_tensor_stays_in_its_storage() {
    for (pickle, expected) in [
        (tensor(5, 0, &[5], &[1]), "expected 5 values, got 4"),
        (tensor(i64::MAX, 0, &[1], &[1]), "values, got 4"),
        (tensor(-1, 0, &[1], &[1]), "count"),
        (tensor(4, 1, &[4], &[1]), "reach past the end"),
        (tensor(4, 4, &[], &[]), "reach past the end"),
        (tensor(4, i64::MAX, &[2], &[1]), "reach past the end"),
        (tensor(4, 0, &[2], &[i64::MAX]), "reach past the end"),
        (tensor(4, -1, &[1], &[1]), "expected a storage, an offset"),
        (tensor(4, 0, &[-1], &[1]), "expected a storage, an offset"),
        (tensor(4, 0, &[2, 2], &[1]), "expected a storage, an offset"),
        (tensor(4, 0, &[1 << 40], &[0]), "too large"),
        (tensor(4, 0, &[i64::MAX, i64::MAX, i64::MAX], &[0, 0, 0]), "too large"),
        (tensor(4, 0, &[0, i64::MAX, i64::MAX], &[0, 0, 0]), "too large"),
        (tensor(4, 0, &[1; 17], &[1; 17]), "expected a storage, an offset"),
    ] {
        refused(archive(&pickle), expected);
    }
    assert_eq!(all(archive(&tensor(4, i64::MAX, &[0, i64::MAX], &[1, 1]))), Ok(0));
}

#[test]
fn a_broken_archive_is_refused() {
    let good = archive(&tensor(4, 0, &[4], &[1]));
    refused(zip(&[("any/data.pkl", &tensor(4, 0, &[4], &[1]))]), "storage data/0 is missing");
    refused(zip(&[("any/other", b"x")]), "found none");
    refused(zip(&[("a/data.pkl", b"N."), ("b/data.pkl", b"N.")]), "found several");
    refused(zip(&[("a/data.pkl", b"N."), ("a/data.pkl", b"N.")]), "one name");
    refused(zip(&[("a/data.pkl", b"N."), ("a/byteorder", b"big")]), "byteorder little, got \"big\"");
    refused(zip(&[("a/data.pkl", b"N."), ("a/byteorder", b"")]), "byteorder little, got \"\"");
    // Fields of the last record: the start of the list, and its size.
    let change = |from_end: usize, value: u32| {
        let mut bytes = good.clone();
        let at = bytes.len() - from_end;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    refused(change(6, 0), "list of entries is broken");
    refused(change(6, 1 << 30), "truncated");
    refused(change(6, u32::MAX), "64-bit record");
    refused(change(10, 1 << 30), "expected a list of at most");
    // Fields of the list's first entry.
    let list = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let change = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[list + at..list + at + value.len()].copy_from_slice(value);
        bytes
    };
    refused(change(8, &[1]), "stored");
    refused(change(10, &[8]), "stored");
    refused(change(20, &[1, 0, 0, 1, 1, 0, 0, 1]), "the file ends at");
    refused(change(20, &[0xff; 8]), "list of entries is broken");
    refused(change(42, &7u32.to_le_bytes()), "expected the header of any/data.pkl at byte 7");
    refused(change(42, &(1u32 << 31).to_le_bytes()), "truncated");
}

/// Cut off at every byte of the small files, and at many of the large.
#[test]
fn every_truncation_is_an_error() {
    let files = [
        format!("{PKL}/odd_tensors.pt"),
        format!("{PKL}/encoder_legacy_nonzip.pkl"),
        format!("{PKL}/encoder_old_layout_cuda_tag.pkl"),
        "openai_clip/jit/vit_j_fp16.pt".into(),
        "openai_dvae/encoder_p.safetensors".into(),
    ];
    for file in files {
        let whole = fixture::bytes(&file);
        assert!(all(whole.clone()).is_ok(), "{file}");
        let step = (whole.len() / 600).max(1) | 1;
        for end in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            assert!(all(whole[..end].to_vec()).is_err(), "{file} cut at {end} of {}", whole.len());
        }
    }
}

/// No byte that changes makes anything but an error or other tensors.
#[test]
fn changed_bytes_never_panic() {
    let files = ["odd_tensors.pt", "encoder_legacy_nonzip.pkl", "encoder_old_layout_cuda_tag.pkl"];
    for (index, file) in files.into_iter().enumerate() {
        let whole = fixture::bytes(&format!("{PKL}/{file}"));
        let mut rng = dalle::random::Rng::new(0, "changed bytes", index as u64, 0);
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..rng.between(1, 4) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.below(256) as u8;
            }
            let _ = all(bytes);
        }
        // And in the pickle alone, where changes tell.
        let start = whole.windows(2).position(|bytes| bytes == b"\x80\x02").unwrap();
        for at in start..whole.len().min(start + 500) {
            for value in [0xff, b'(', b'.'] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = all(bytes);
            }
        }
    }
}

#[test]
fn broken_safetensors_are_refused() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let entry =
        |shape: &str, end: u64| format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    assert_eq!(all(file(&entry("[2,2]", 16), 16)), Ok(16));
    refused(file(&entry("[2,2]", 16), 15), "expected 16 bytes of tensors, got 15");
    refused(file(&entry("[2,2]", 12), 12), "not a safetensors file");
    refused(file(&entry("[4611686018427387904,4]", 16), 16), "not a safetensors file");
    // Tensors that together end where a sum of sizes wraps around.
    let part = |part: u64| {
        let (start, end) = (part << 60, if part < 15 { (part + 1) << 60 } else { u64::MAX });
        format!(r#""x{part}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, end - start)
    };
    let parts: Vec<String> = (0..16).map(part).collect();
    refused(file(&format!("{{{}}}", parts.join(",")), 7), "bytes of tensors, got 7");
    refused(file("{\"x\":", 0), "not a safetensors file");
    refused([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "expected a header of at most");
    refused(b"\x02\0\0\0\0\0\0\0{".to_vec(), "truncated");
    refused(b"neither".to_vec(), "expected a safetensors file");
    refused(Vec::new(), "expected a safetensors file");
}

// The command line.

fn experiment(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_experiment")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_imports_and_inspects() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("dvae.safetensors").display().to_string();
    let [encoder, decoder] = ["encoder.pkl", "decoder.pkl"].map(|f| path(&format!("{PKL}/{f}")).display().to_string());
    let (code, said, error) = experiment(&["import", "openai-dvae", &encoder, &decoder, "--out", &out]);
    assert_eq!(code, Some(0), "{error}");
    let last = said.lines().last().unwrap();
    let (read, written) = (open(&format!("{PKL}/encoder.pkl")), Weights::open(&out).unwrap());
    assert!(last.starts_with(&format!("{} tensors, ", written.tensors().len())), "{last}");
    assert!(written.tensors().len() > read.tensors().len());
    for (file, weights, layout) in
        [(&encoder, &read, "torch zip, a dall_e.encoder Encoder"), (&out, &written, "safetensors")]
    {
        let (code, said, error) = experiment(&["inspect", file]);
        assert_eq!(code, Some(0), "{error}");
        assert!(said.lines().next().unwrap().ends_with(layout), "{said}");
        for tensor in weights.tensors() {
            let line = said.lines().find(|line| line.split_whitespace().next() == Some(&tensor.name)).unwrap();
            assert!(line.contains("F32"), "{line}");
        }
        let values: u64 = weights.tensors().iter().map(|tensor| tensor.elements()).sum();
        let last = said.lines().last().unwrap();
        assert!(last.starts_with(&format!("{} tensors, {values} values, ", weights.tensors().len())), "{last}");
    }
    let broken = folder.path().join("broken.pt");
    std::fs::write(&broken, archive(b"\x80\x02cos\nsystem\n.")).unwrap();
    let broken = broken.display().to_string();
    for (arguments, code, expected) in [
        (vec!["inspect", &broken], 4, "call of \"os system\""),
        (vec!["inspect", "nowhere.pt"], 4, "nowhere.pt"),
        (vec!["inspect", "/"], 4, "expected a regular file, got a folder"),
        (vec!["import", "torch", &broken, "--out", "x"], 4, "expected tensors"),
        (vec!["import", "torcch", &encoder, "--out", "x"], 2, "expected one of openai-dvae"),
        (vec!["import", "openai-dvae", &encoder, "--out", "x"], 2, "encoder.pkl and decoder.pkl"),
        (vec!["decode", &encoder, "x"], 4, "cannot read x"),
    ] {
        let (got, said, error) = experiment(&arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {error}");
        assert!(said.is_empty() && error.lines().count() == 1 && error.contains(expected), "{arguments:?}: {error}");
    }
}
