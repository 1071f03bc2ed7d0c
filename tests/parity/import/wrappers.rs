//! What training scripts wrap around published names, and weights in several files.

use super::path;
use crate::fixture;
use dalle::import::{Kind, import};
use safetensors::SafeTensors;
use serde_json::Value;

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
