//! Specs, good and bad: every message of a broken one is pinned, `--set` behaves like a line of the file, and the resolved spec
//! reads back as itself.

use dalle::Error;
use dalle::harness::identity::SPEC_VERSION;
use dalle::harness::load::{check, load};
use dalle::models::presets;
use dalle::spec::{Spec, schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

const PRESETS: &[&str] = &["tiny", "mini", "emoji", "paper"];
const HEAD: &str = "name: a\npreset: tiny\n";

fn parse(text: &str, sets: &[&str]) -> Result<Spec, Error> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    check("a.yaml", text, &sets, PRESETS)
}

/// The messages of a broken spec; every problem starts with its file, line and column.
fn errors(text: &str, sets: &[&str]) -> String {
    match parse(text, sets) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
    }
}

#[test]
fn broken_specs() {
    let broken: &[(&str, &str)] = &[
        ("unknown key", "name: a\npreset: tiny\nsede: 3\n"),
        ("unknown nested key", "name: a\npreset: tiny\ntransformer:\n  batchs: 32\n"),
        ("unknown deep key", "name: a\npreset: tiny\nclip:\n  optimizer:\n    lr: {form: 1e-3}\n"),
        ("key unlike any", "name: a\npreset: tiny\nsample:\n  zzz: 3\n"),
        ("missing keys", "seed: 3\n"),
        ("unknown preset", "name: a\npreset: mimi\n"),
        ("preset unlike any", "name: a\npreset: enormous\n"),
        ("preset of the wrong type", "name: a\npreset: 3\n"),
        ("text for a number", "name: a\npreset: tiny\nfirst_stage:\n  steps: many\n"),
        ("number with separators", "name: a\npreset: tiny\nfirst_stage: {steps: 1_000}\n"),
        ("fraction for a whole number", "name: a\npreset: tiny\nclip: {batch: 2.5}\n"),
        ("negative seed", "name: a\npreset: tiny\nseed: -1\n"),
        ("seed too large", "name: a\npreset: tiny\nseed: 18446744073709551616\n"),
        ("batch of nothing", "name: a\npreset: tiny\ntransformer: {batch: 0}\n"),
        ("nothing to contrast", "name: a\npreset: tiny\nclip: {batch: 1}\n"),
        ("temperature of zero", "name: a\npreset: tiny\nfirst_stage:\n  temperature: {from: 1, to: 0}\n"),
        ("sampling temperature", "name: a\npreset: tiny\nsample: {temperature: -0.5}\n"),
        ("text weight above one", "name: a\npreset: tiny\ntransformer: {text_weight: 1.5}\n"),
        ("decay of one", "name: a\npreset: tiny\nclip: {ema: {decay: 1.0}}\n"),
        ("infinity", "name: a\npreset: tiny\nfirst_stage: {clamp_log_b: .inf}\n"),
        ("even kernel", "name: a\npreset: tiny\ntransformer: {conv_kernel: 10}\n"),
        ("unknown attention", "name: a\npreset: tiny\ntransformer:\n  attention: [row, columns, row, conv]\n"),
        ("attention as text", "name: a\npreset: tiny\ntransformer:\n  attention: row\n"),
        ("unknown kind", "name: a\npreset: tiny\ndata: {kind: shape}\n"),
        ("curve", "name: a\npreset: tiny\nclip: {optimizer: {lr: {curve: cosin}}}\n"),
        ("flag as a number", "name: a\npreset: tiny\ndata: {flip: 1}\n"),
        ("flag of another YAML", "name: a\npreset: tiny\ndata: {flip: yes}\n"),
        ("empty section", "name: a\npreset: tiny\nclip:\n"),
        ("scalar for a section", "name: a\npreset: tiny\nclip: 3\n"),
        ("list for a section", "name: a\npreset: tiny\nclip: [3]\n"),
        ("list for the spec", "- name\n- preset\n"),
        ("duplicate key", "name: a\npreset: tiny\nseed: 1\nclip: {batch: 2}\nseed: 2\n"),
        (
            "warm-up longer than the schedule",
            "name: a\npreset: tiny\nclip: {optimizer: {lr: {steps: 50, warmup: 50}}}\n",
        ),
        ("warm-up of a temperature", "name: a\npreset: tiny\nfirst_stage: {temperature: {warmup: 5}}\n"),
        ("no files", "name: a\npreset: tiny\ndata: {kind: folder}\n"),
        ("empty files", "name: a\npreset: tiny\ndata:\n  kind: webdataset\n  train: []\n  validation: {all: []}\n"),
        ("files that shapes never reads", "name: a\npreset: tiny\ndata: {train: [\"pictures/*\"]}\n"),
        (
            "file of the wrong type",
            "name: a\npreset: tiny\ndata: {kind: folder, train: [3], validation: {v: [\"\"]}}\n",
        ),
        (
            "attention of another depth",
            "name: a\npreset: tiny\ntransformer:\n  steps: 3\n  attention: [row, col, row]\n",
        ),
        ("more words than the preset has room for", "name: a\npreset: tiny\ntext: {vocabulary: 65}\n"),
        ("expectations", "name: a\npreset: tiny\nexpect:\n  - elbo = 3\n  - elbo < few\n  - 3\n"),
        ("name that climbs out", "name: ../../etc\npreset: tiny\n"),
        (
            "names of validation sets",
            "name: a\npreset: tiny\ndata:\n  kind: folder\n  train: [t]\n  validation: {coco/val: [v], ../up: [v], ok: [v], OK: [v]}\n",
        ),
        ("name of a folder of the program's own", "name: Tokens\npreset: tiny\n"),
        ("hidden name", "name: .a\npreset: tiny\n"),
        ("tab", "name: a\npreset: tiny\nclip:\n\tbatch: 3\n"),
        ("unclosed list", "name: a\npreset: tiny\nexpect: [a < 3\n"),
        ("unclosed quote", "name: \"a\npreset: tiny\n"),
        ("colon in a value", "name: a: b\npreset: tiny\n"),
        ("wrong indentation", "name: a\n preset: tiny\n"),
        ("anchor", "name: &x a\npreset: *x\n"),
        ("tag", "name: !!str 3\npreset: tiny\n"),
        ("complex key", "name: a\npreset: tiny\n[a, b]: 3\n"),
        ("second document", "name: a\npreset: tiny\n---\nname: b\n"),
        ("empty", "# nothing but a comment\n"),
        (
            "several at once",
            "nam: ä\npreset: tiny\ntransformer:\n  steps: 0\n  text_weight: 2 # too much\n  attention: [rows]\n",
        ),
    ];
    assert!(broken.len() >= 25);
    let start = Instant::now();
    let shown: Vec<String> = broken
        .iter()
        .map(|(title, text)| {
            let shown = errors(text, &[]);
            assert!(shown.starts_with("a.yaml:"), "{title}: {shown}");
            format!("=== {title}\n{shown}\n")
        })
        .collect();
    assert!(start.elapsed().as_millis() < 50 * broken.len() as u128);
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn broken_sets() {
    let broken: &[(&str, &[&str])] = &[
        ("no equals", &["clip.batch"]),
        ("no key", &["=3"]),
        ("empty key", &["clip..batch=3"]),
        ("blank in a key", &["clip .batch=3"]),
        ("no value", &["clip.batch="]),
        ("unknown key", &["clip.batchs=3"]),
        ("unknown section", &["clop.batch=3"]),
        ("wrong type", &["clip.batch=many"]),
        ("out of range", &["transformer.text_weight=1.25"]),
        ("inside a value", &["seed.more=3"]),
        ("inside a list", &["transformer.attention.0=row"]),
        ("not YAML", &["transformer.attention=[row"]),
        ("unknown attention", &["transformer.attention=[row, colum]"]),
        ("two mistakes", &["preset=huge", "clip.batch=0"]),
        ("repeated key in a value", &["clip.ema={every: 1, every: 2}"]),
    ];
    let shown: Vec<String> = broken
        .iter()
        .map(|(title, sets)| {
            let shown = errors("name: a\npreset: tiny\nseed: 1\ntransformer: {attention: [row, row]}\n", sets);
            assert!(shown.starts_with("--set:1:"), "{title}: {shown}");
            format!("=== {title}\n{shown}\n")
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn sets_are_typed_like_yaml_and_later_ones_win() {
    let spec = parse(
        HEAD,
        &[
            "seed=18446744073709551615",
            "first_stage.straight_through=true",
            "first_stage.kl_weight.to=1.65",
            "first_stage.temperature={from: 2, to: 0.5}",
            "transformer.attention=[row, conv]",
            "clip.batch=16",
            "clip.batch=8",
            "name=b-2",
            "expect=[elbo_held.psnr < 1, rerank_curve.n.0 >= 2]",
            "data.kind=folder",
            "data.train=[\"my pictures/*\"]",
            "data.validation.held=[held]",
        ],
    )
    .unwrap();
    assert_eq!((spec.seed, spec.name.as_str(), spec.clip.batch), (u64::MAX, "b-2", 8));
    assert!(spec.first_stage.straight_through);
    assert_eq!(spec.first_stage.kl_weight.to, 1.65);
    assert_eq!((spec.first_stage.temperature.from, spec.first_stage.temperature.to), (2.0, 0.5));
    assert_eq!(spec.transformer.attention, ["row", "conv"]);
    assert_eq!(spec.expect, ["elbo_held.psnr < 1", "rerank_curve.n.0 >= 2"]);
    assert_eq!(spec.data.train, ["my pictures/*"]);
    assert_eq!(spec.data.validation["held"], ["held"]);
}

#[test]
fn a_set_mends_a_wrong_line_and_fills_an_empty_section() {
    assert!(parse("name: a\npreset: wrong\nclip:\n", &[]).is_err());
    let spec = parse("name: a\npreset: wrong\nclip:\n", &["preset=mini", "clip.batch=4"]).unwrap();
    assert_eq!((spec.preset.as_str(), spec.clip.batch), ("mini", 4));
}

#[test]
fn defaults_fill_what_a_spec_leaves_out() {
    let spec =
        parse("name: a\npreset: tiny\ntransformer: {optimizer: {lr: {from: 1e-3}}, ema: {every: 3}}\n", &[]).unwrap();
    assert_eq!(spec.transformer.steps, 2000);
    assert_eq!(spec.transformer.ema.every, 3);
    assert_eq!((spec.transformer.optimizer.lr.from, spec.transformer.optimizer.lr.to), (1e-3, 2e-4));
}

/// Every constant that the paper names (A.2, B.2), where a reader looks for it.
#[test]
fn the_papers_constants_are_a_spec() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/paper.yaml");
    let spec = load(path, &[], dalle::models::presets::NAMES).unwrap().spec;
    let (first, second) = (&spec.first_stage, &spec.transformer);
    assert_eq!((first.steps, first.batch, first.ema.decay, first.ema.every), (3_000_000, 512, 0.999, 1));
    let rate = |step| first.optimizer.lr.at(step, first.steps);
    assert_eq!((rate(0), rate(1_200_000)), (1e-4, 1.25e-6));
    assert_eq!((first.optimizer.beta1, first.optimizer.beta2, first.optimizer.weight_decay), (0.9, 0.999, 1e-4));
    let (tau, beta) = (|step| first.temperature.at(step, first.steps), |step| first.kl_weight.at(step, first.steps));
    assert_eq!((tau(0), tau(150_000), beta(0), beta(5_000)), (1.0, 1.0 / 16.0, 0.0, 6.6));
    assert_eq!((second.steps, second.batch, second.ema.decay, second.ema.every), (430_000, 1024, 0.99, 25));
    let rate = |step| second.optimizer.lr.at(step, second.steps);
    assert_eq!((rate(0), rate(4_999), rate(429_999)), (4.5e-4 / 5000.0, 4.5e-4, 4.5e-4));
    assert_eq!((second.optimizer.plateau.factor, second.optimizer.plateau.times), (0.5, 5));
    let of = &second.optimizer;
    assert_eq!((of.beta1, of.beta2, of.weight_decay, of.clip, of.max_variance), (0.9, 0.96, 4.5e-2, 4.0, 5.0));
    assert_eq!((second.conv_kernel, second.text_weight, second.caption_dropout), (11, 0.125, 0.0));
    assert!(second.pad_loss && second.attention.is_empty() && spec.data.augment && spec.data.flip);
    assert!(!spec.data.flip_pairs && !spec.data.whole, "listing 2 mirrors nothing, and listing 1 starts at 9/8");
    assert_eq!((spec.text.dropout, spec.sample.candidates, spec.sample.temperature), (0.1, 512, 1.0));
}

#[test]
fn a_missing_file_is_a_usage_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("no.yaml"), folder.path().to_owned(), folder.path().join("a/b.yaml")] {
        let error = load(&path, &[], PRESETS).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.lines().count() == 1 && text.contains(path.to_str().unwrap()), "{text}");
    }
}

#[test]
fn hostile_files_are_refused_quickly_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let hostile: [(Vec<u8>, &str); 6] = [
        ("[".repeat(100_000).into_bytes(), "nested deeper than 64 levels"),
        ("- ".repeat(100_000).into_bytes(), "nested deeper than 64 levels"),
        ([HEAD, "expect: ", &"{a: ".repeat(100_000)].concat().into_bytes(), "nested deeper than 64 levels"),
        (vec![b'#'; (1 << 20) + 1], "larger than 1048576 bytes"),
        (b"name: a\npreset: \xff\n".to_vec(), "a.yaml:2: not UTF-8"),
        (vec![0; 1000], "not YAML"),
    ];
    for (bytes, message) in hostile {
        std::fs::write(&path, bytes).unwrap();
        let start = Instant::now();
        let error = load(&path, &[], PRESETS).unwrap_err();
        assert!(start.elapsed().as_millis() < 500, "{message}: {:?}", start.elapsed());
        let text = error.to_string();
        assert_eq!(error.exit_code(), 2);
        assert!(text.contains(message), "{text}");
        assert!(text.lines().next().unwrap().len() < 300 && text.lines().count() <= 4, "{text}");
    }
    // A comment up to the cap is no crime.
    std::fs::write(&path, format!("{HEAD}#{}", "x".repeat((1 << 20) - HEAD.len() - 1))).unwrap();
    assert!(load(&path, &[], PRESETS).is_ok());
}

#[test]
fn loading_keeps_the_text_and_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let text = format!("# why\n{HEAD}");
    std::fs::write(&path, &text).unwrap();
    let loaded = load(&path, &["seed=4".to_owned()], PRESETS).unwrap();
    assert_eq!((loaded.text, loaded.folder.as_path(), loaded.spec.seed), (text, folder.path(), 4));
}

#[test]
fn the_hash_follows_the_meaning_and_not_the_text() {
    let plain = parse(HEAD, &[]).unwrap().hash().unwrap();
    assert_eq!(plain, parse("# hello\npreset: 'tiny'\nname: a\nseed: 0\n", &[]).unwrap().hash().unwrap());
    assert_ne!(plain, parse(HEAD, &["seed=1"]).unwrap().hash().unwrap());
    assert!(plain.len() == 16 && plain.bytes().all(|b| b.is_ascii_hexdigit()));
}

/// `tests/defaults.txt`: the version, then `path: value` of each preset's spec that says nothing, and of some that move
/// their defaults.
#[test]
fn a_default_that_changes_moves_the_version() {
    let presets = presets::NAMES;
    let mut now = BTreeMap::new();
    let stages = |key: &str| ["first_stage", "transformer", "clip"].map(|stage| format!("{stage}.{key}")).to_vec();
    let moved = [
        ("files", vec!["data.kind=folder".to_owned(), "data.train=[a]".to_owned()]),
        ("short", stages("steps=100")),
        ("adamw", stages("optimizer.method=adamw")),
    ];
    for (case, preset, sets) in presets
        .iter()
        .map(|&preset| (preset, preset, Vec::new()))
        .chain(moved.into_iter().map(|(case, sets)| (case, "mini", sets)))
    {
        let spec = check("a.yaml", &format!("name: a\npreset: {preset}\n"), &sets, presets).unwrap();
        let leaves = spec.leaves().unwrap().into_iter().filter(|(path, _)| path != "name" && path != "preset");
        now.extend(leaves.map(|(path, value)| (format!("{case} {path}"), value.to_string())));
    }
    let lines: String = now.iter().map(|(path, value)| format!("{path}: {value}\n")).collect();
    let text = format!("version: {SPEC_VERSION}\n{lines}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/defaults.txt");
    let written = std::fs::read_to_string(path).unwrap();
    if written == text {
        return;
    }
    let proposed = std::env::temp_dir().join("defaults.txt");
    std::fs::write(&proposed, &text).unwrap();
    let version = written.lines().next().unwrap();
    for line in written.lines().skip(1) {
        let (path, value) = line.split_once(": ").unwrap();
        let same = now.get(path).is_some_and(|now| now == value);
        assert!(
            same || version != format!("version: {SPEC_VERSION}"),
            "the default of {path} was {value} and is {:?}: raise SPEC_VERSION, then put {} in the place of {}",
            now.get(path),
            proposed.display(),
            "tests/defaults.txt"
        );
    }
    panic!("keys were added, or the version moved: put {} in the place of tests/defaults.txt", proposed.display());
}

proptest! {
    /// What serde_yaml writes, the checked reader reads as the same spec, whatever the numbers look like.
    #[test]
    fn the_resolved_spec_reads_back(
        name in "[a-z0-9_][a-z0-9_.-]{0,12}",
        seed in 0u64..=1 << 53,
        from in 1e-12f64..1e12,
        share in 0.0f64..0.999,
        steps in 1u64..=1 << 53,
        glob in "[ -~é]{1,20}",
        layers in proptest::collection::vec(proptest::sample::select(vec!["full", "row", "col", "conv_like"]), 2),
        listed in proptest::bool::ANY,
    ) {
        let mut spec = parse(HEAD, &[]).unwrap();
        spec.name = name;
        spec.seed = seed;
        spec.clip.steps = steps;
        spec.first_stage.temperature.from = from;
        spec.transformer.optimizer.beta1 = share;
        spec.transformer.attention = layers.into_iter().filter(|_| listed).map(str::to_owned).collect();
        spec.data.kind = dalle::spec::DataKind::Folder;
        spec.data.train = vec![glob.clone()];
        spec.data.validation.insert(spec.name.clone(), vec![glob]);
        let resolved = spec.resolved().unwrap();
        prop_assert_eq!(parse(&resolved, &[]).map_err(|error| error.to_string()), Ok(spec), "{}", resolved);
    }

    #[test]
    fn no_text_panics(text in "(name|preset|clip|data|kind|train|[:,\\[\\]{} \\n\t'\"#&*!|>0-9é-]){0,40}") {
        let _ = parse(&text, &[&text]);
        let _ = parse(HEAD, &[&text]);
    }
}

/// What is made of the schema, beside what is committed.
#[test]
fn the_page_of_keys_and_the_editors_schema_are_those_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, made, how) in [
        ("docs/spec.md", schema::page(), "experiment explain > docs/spec.md"),
        ("experiments/schema.json", format!("{:#}\n", schema::json()), "experiment schema > experiments/schema.json"),
    ] {
        let there = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(there == made, "{file} is not what the program says: {how}");
    }
    for entry in std::fs::read_dir(root.join("experiments")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let line = "# yaml-language-server: $schema=schema.json";
            assert_eq!(text.lines().next(), Some(line), "{}", path.display());
        }
    }
}
