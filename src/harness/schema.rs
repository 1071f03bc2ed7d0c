//! What a spec may hold, as a table: one row a key, with its type and range. One walk over the tree holds every value against
//! its row and collects all problems. The rows mirror the types of [`super::spec`]; a test keeps the two equal.

use super::expect;
use super::parse::{Data, Key, Node};
use super::problem::{Place, Problem};
use crate::mask::{MOST_KERNEL, is_kernel};
use crate::train::config::{FirstStageConfig, TransformerConfig};
use std::fmt;
use std::ops::{Bound, RangeBounds};

/// Attention patterns of the transformer's layers.
pub const ATTENTION: &[&str] = &["full", "row", "col", "conv", "axial_row", "axial_col", "conv_like"];

/// A number's range.
type Range = (Bound<f64>, Bound<f64>);
const POSITIVE: Kind = Kind::Real((Bound::Excluded(0.0), Bound::Unbounded));
const NOT_NEGATIVE: Kind = Kind::Real((Bound::Included(0.0), Bound::Unbounded));
const FROM_ONE: Kind = Kind::Real((Bound::Included(1.0), Bound::Unbounded));
const SHARE: Kind = Kind::Real((Bound::Included(0.0), Bound::Included(1.0)));
const BELOW_ONE: Kind = Kind::Real((Bound::Included(0.0), Bound::Excluded(1.0)));
const ANY: Kind = Kind::Whole(0);
const COUNT: Kind = Kind::Whole(1);
const WORDS: Kind = Kind::List(0, &Kind::Glob);
/// Examples of a step, which are in memory at once: more than anybody trains with.
const BATCH: Kind = Kind::Between(1, 1 << 20);
/// Scenes or captions, each of which takes some bytes.
const SCENES: Kind = Kind::Between(1, 100_000_000);
const CAPTIONS: Kind = Kind::Between(0, 1_000_000);
/// The largest whole number of a spec that every reader of its JSON keeps exactly.
const LARGEST: u64 = 1 << 53;

/// What a value may be.
enum Kind {
    /// These keys and no others.
    Map(&'static [Row]),
    /// Keys that are names, values of one kind.
    Named(&'static Kind),
    /// At least so many values of one kind.
    List(usize, &'static Kind),
    /// A run's name: it becomes a folder.
    Name,
    /// A row of the preset table.
    Preset,
    /// A file, a folder or a glob.
    Glob,
    /// A line of the `expect:` block.
    Expectation,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// Any whole number of 64 bits.
    Seed,
    /// A whole number of at least this.
    Whole(u64),
    /// A whole number from the first to the second.
    Between(u64, u64),
    /// An odd whole number.
    Odd,
    /// A finite number in a range.
    Real(Range),
}

/// One key.
struct Row {
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn row(name: &'static str, kind: Kind) -> Row {
    Row { name, kind, required: false }
}

/// The schedules: their `from` and `to` share a range.
macro_rules! schedule {
    ($range:expr) => {
        Kind::Map(&[
            row("from", $range),
            row("to", $range),
            row("steps", ANY),
            row("curve", Kind::Choice(&["cosine", "linear"])),
            row("warmup", ANY),
        ])
    };
}

const SPEC: Kind = Kind::Map(&[
    Row { name: "name", kind: Kind::Name, required: true },
    Row { name: "preset", kind: Kind::Preset, required: true },
    row("seed", Kind::Seed),
    row("data", DATA),
    row("text", Kind::Map(&[row("vocabulary", ANY), row("dropout", BELOW_ONE)])),
    row("first_stage", FIRST_STAGE),
    row("transformer", TRANSFORMER),
    row("clip", CLIP),
    row("sample", SAMPLE),
    row(
        "evaluate",
        Kind::Map(&[
            row("pairs", ANY),
            row("seen", CAPTIONS),
            row("held_out", CAPTIONS),
            row("two_objects", CAPTIONS),
            row("captions", Kind::Choice(&["quoted", "tuning"])),
        ]),
    ),
    row("gpu", Kind::Map(&[row("products", Kind::Choice(&["f32", "tf32", "bf16"]))])),
    row("expect", Kind::List(0, &Kind::Expectation)),
]);

const DATA: Kind = Kind::Map(&[
    row("kind", Kind::Choice(&["shapes", "webdataset", "folder"])),
    row("train_scenes", SCENES),
    row("validation_scenes", SCENES),
    row("train", Kind::List(0, &Kind::Glob)),
    row("validation", Kind::Named(&Kind::List(1, &Kind::Glob))),
    row("augment", Kind::Flag),
    row("whole", Kind::Flag),
    row("flip", Kind::Flag),
    row("flip_pairs", Kind::Flag),
    row("validation_share", BELOW_ONE),
    row("extensions", Kind::Map(&[row("picture", WORDS), row("caption", WORDS)])),
    row("max_bad", SHARE),
]);

const FIRST_STAGE: Kind = Kind::Map(&[
    row("kind", Kind::Choice(&["dvae", "vqvae"])),
    row("steps", COUNT),
    row("batch", BATCH),
    row("accumulate", BATCH),
    row("optimizer", OPTIMIZER),
    row("ema", EMA),
    row("temperature", schedule!(POSITIVE)),
    row("kl_weight", schedule!(NOT_NEGATIVE)),
    row("straight_through", Kind::Flag),
    row("clamp_log_b", POSITIVE),
    row("commitment", NOT_NEGATIVE),
    row("keep", KEEP),
    row("patience", ANY),
    row("validate_every", COUNT),
    row("checkpoint_every", COUNT),
]);

const TRANSFORMER: Kind = Kind::Map(&[
    row("steps", COUNT),
    row("batch", BATCH),
    row("accumulate", BATCH),
    row("recompute", Kind::Flag),
    row("optimizer", OPTIMIZER),
    row("ema", EMA),
    row("attention", Kind::List(0, &Kind::Choice(ATTENTION))),
    row("conv_kernel", Kind::Odd),
    row("text_weight", SHARE),
    row("pad_loss", Kind::Flag),
    row("caption_dropout", BELOW_ONE),
    row("keep", KEEP),
    row("patience", ANY),
    row("validate_every", COUNT),
    row("checkpoint_every", COUNT),
]);

const CLIP: Kind = Kind::Map(&[
    row("steps", COUNT),
    row("batch", Kind::Between(2, 1 << 20)),
    row("optimizer", OPTIMIZER),
    row("ema", EMA),
    row("max_scale", FROM_ONE),
    row("reconstructed", SHARE),
    row("keep", KEEP),
    row("patience", ANY),
    row("validate_every", COUNT),
    row("checkpoint_every", COUNT),
]);

const SAMPLE: Kind = Kind::Map(&[
    row("candidates", Kind::Between(1, 1 << 16)),
    row("temperature", POSITIVE),
    row("top_k", ANY),
    row("top_p", Kind::Real((Bound::Excluded(0.0), Bound::Included(1.0)))),
    row("guidance", NOT_NEGATIVE),
    row("precision", Kind::Choice(&["f32", "bf16", "int8"])),
    row("shown", Kind::Between(0, 10_000)),
]);

const OPTIMIZER: Kind = Kind::Map(&[
    row("method", Kind::Choice(&["adamw", "muon"])),
    row("lr", schedule!(NOT_NEGATIVE)),
    row("plateau", PLATEAU),
    row("beta1", BELOW_ONE),
    row("beta2", BELOW_ONE),
    row("epsilon", POSITIVE),
    row("weight_decay", NOT_NEGATIVE),
    row("clip", NOT_NEGATIVE),
    row("max_variance", NOT_NEGATIVE),
]);

const PLATEAU: Kind = Kind::Map(&[
    row("patience", ANY),
    row("factor", Kind::Real((Bound::Excluded(0.0), Bound::Excluded(1.0)))),
    row("times", ANY),
    row("threshold", BELOW_ONE),
    row("smoothing", BELOW_ONE),
]);

const KEEP: Kind = Kind::Choice(&["best", "last"]);

const EMA: Kind = Kind::Map(&[row("decay", BELOW_ONE), row("every", COUNT)]);

/// Every problem of the tree: keys, types, ranges, then what only several keys together can get wrong.
pub fn check(root: &Node, presets: &[&str]) -> Vec<Problem> {
    let mut walk = Walk { presets, problems: Vec::new() };
    walk.value(root, &SPEC, "");
    walk.across(root);
    walk.problems
}

struct Walk<'a> {
    presets: &'a [&'a str],
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn value(&mut self, node: &Node, kind: &Kind, path: &str) {
        match (kind, &node.data) {
            (Kind::Map(rows), Data::Map(entries)) => self.rows(node, rows, entries, path),
            (Kind::Named(kind), Data::Map(entries)) => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.name(key, &entries[..at], path);
                    self.value(value, kind, &join(path, &key.name));
                }
            }
            (Kind::List(least, kind), Data::List(items)) if items.len() >= *least => {
                for (i, item) in items.iter().enumerate() {
                    self.value(item, kind, &format!("{path}[{i}]"));
                }
            }
            (Kind::Flag, Data::Flag(_)) => {}
            (Kind::Seed, Data::Whole(whole)) if u64::try_from(*whole).is_ok() => {}
            (Kind::Whole(least), Data::Whole(whole)) if within(*whole, *least, LARGEST) => {}
            (Kind::Between(least, most), Data::Whole(whole)) if within(*whole, *least, *most) => {}
            (Kind::Odd, Data::Whole(whole)) if usize::try_from(*whole).is_ok_and(is_kernel) => {}
            (Kind::Real(range), Data::Real(real)) if real.is_finite() && range.contains(real) => {}
            (Kind::Real(range), Data::Whole(whole)) if range.contains(&(*whole as f64)) => {}
            (_, Data::Text(text)) => self.text(node, kind, text, path),
            _ => self.expected(node, kind, path),
        }
    }

    fn rows(&mut self, node: &Node, rows: &[Row], entries: &[(Key, Node)], path: &str) {
        for (key, value) in entries {
            match rows.iter().find(|row| row.name == key.name) {
                Some(row) => self.value(value, &row.kind, &join(path, row.name)),
                None => {
                    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
                    let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
                    let hint = did_you_mean(&key.name, &names)
                        .unwrap_or_else(|| format!("the keys{place} are {}", names.join(", ")));
                    self.problem(&key.place, format!("unknown key `{}`{place}", key.name), hint);
                }
            }
        }
        for row in rows.iter().filter(|row| row.required && node.get(row.name).is_none()) {
            let mut place = node.place.clone();
            place.end = place.start;
            let hint = match row.kind {
                Kind::Preset => format!("presets: {}", self.presets.join(", ")),
                _ => String::new(),
            };
            self.problem(&place, format!("missing key `{}`: {}", join(path, row.name), row.kind), hint);
        }
    }

    /// A key that somebody chose: it becomes a part of files' names, on some systems in any case of its letters.
    fn name(&mut self, key: &Key, before: &[(Key, Node)], path: &str) {
        if !is_name(&key.name) {
            let message = format!("a name in `{path}` must be {}, found {:?}", Kind::Name, key.name);
            self.problem(&key.place, message, "it names files");
        } else if before.iter().any(|(other, _)| other.name.eq_ignore_ascii_case(&key.name)) {
            self.problem(&key.place, format!("two names in `{path}` differ only in case: `{}`", key.name), "");
        }
    }

    fn text(&mut self, node: &Node, kind: &Kind, text: &str, path: &str) {
        match kind {
            Kind::Name if is_name(text) => {}
            Kind::Glob if !text.is_empty() => {}
            Kind::Choice(words) if words.contains(&text) => {}
            Kind::Preset if self.presets.contains(&text) => {}
            Kind::Preset => {
                let hint =
                    did_you_mean(text, self.presets).unwrap_or_else(|| format!("presets: {}", self.presets.join(", ")));
                self.problem(&node.place, format!("unknown preset `{text}`"), hint);
            }
            Kind::Choice(words) => {
                let hint = did_you_mean(text, words).unwrap_or_default();
                self.problem(&node.place, format!("`{path}` must be {kind}, found {}", describe(node)), hint);
            }
            Kind::Expectation => {
                if let Err(why) = expect::parse(text) {
                    self.problem(
                        &node.place,
                        format!("`{path}` is not an expectation: {why}"),
                        format!("write {kind}"),
                    );
                }
            }
            _ => self.expected(node, kind, path),
        }
    }

    fn expected(&mut self, node: &Node, kind: &Kind, path: &str) {
        let text_wanted = matches!(kind, Kind::Name | Kind::Glob | Kind::Preset | Kind::Choice(_));
        let hint = match node.data {
            Data::Null => "give it a value, or remove the key",
            Data::Whole(_) | Data::Real(_) | Data::Flag(_) if text_wanted => "quote it to make it text",
            Data::Text(_) if matches!(kind, Kind::List(..)) => "a list is written [a, b]",
            _ => "",
        };
        let subject = if path.is_empty() { "the spec".to_owned() } else { format!("`{path}`") };
        self.problem(&node.place, format!("{subject} must be {kind}, found {}", describe(node)), hint);
    }

    /// What only several keys together can get wrong. Values of the wrong type are left to [`Walk::value`].
    fn across(&mut self, root: &Node) {
        let whole = |path: &str| match root.at(path).map(|node| &node.data) {
            Some(Data::Whole(whole)) => *whole,
            _ => 0,
        };
        for stage in ["first_stage", "transformer", "clip"] {
            let schedule = format!("{stage}.optimizer.lr");
            let (steps, warmup) = (whole(&format!("{schedule}.steps")), whole(&format!("{schedule}.warmup")));
            if let Some(node) = root.at(&format!("{schedule}.warmup"))
                && steps > 0
                && warmup >= steps
            {
                let message =
                    format!("`{schedule}.warmup` must end before `{schedule}.steps` = {steps}, found {warmup}");
                self.problem(&node.place, message, "");
            }
        }
        for (stage, batch) in
            [("first_stage", FirstStageConfig::default().batch), ("transformer", TransformerConfig::default().batch)]
        {
            let path = format!("{stage}.accumulate");
            let given = whole(&format!("{stage}.batch"));
            let (parts, batch) = (whole(&path), if given > 0 { given } else { batch as i128 });
            if let Some(node) = root.at(&path)
                && parts > 0
                && batch % parts != 0
            {
                let message = format!("`{path}` must divide `{stage}.batch` = {batch}, found {parts}");
                self.problem(&node.place, message, "a batch is run in so many equal parts");
            }
        }
        for schedule in ["first_stage.temperature", "first_stage.kl_weight"] {
            let path = format!("{schedule}.warmup");
            if let Some(node) = root.at(&path)
                && whole(&path) > 0
            {
                let hint = "only an optimizer's lr warms up: use from, to and steps";
                self.problem(&node.place, format!("`{path}` must be 0, found {}", whole(&path)), hint);
            }
        }
        let real = |path: &str, default: f64| match root.at(path).map(|node| &node.data) {
            Some(Data::Whole(whole)) => *whole as f64,
            Some(Data::Real(real)) => *real,
            _ => default,
        };
        if let Some(node) = root.at("sample.guidance")
            && real("sample.guidance", 1.0) != 1.0
            && real("transformer.caption_dropout", 0.0) == 0.0
        {
            let message = "`sample.guidance` needs a transformer that has seen empty captions";
            self.problem(&node.place, message.into(), "set transformer.caption_dropout, for example 0.1");
        }
        self.source(root);
    }

    /// Files are named exactly when the source reads files: a `train` that is never read would be a silent mistake.
    fn source(&mut self, root: &Node) {
        let Some(data) = root.get("data") else { return };
        let kind = match data.get("kind") {
            None => "shapes",
            Some(Node { data: Data::Text(text), .. }) => text,
            Some(_) => return,
        };
        let unheld = data.get("validation_share").is_some_and(|node| match node.data {
            Data::Whole(share) => share == 0,
            Data::Real(share) => share == 0.0,
            _ => false,
        });
        for key in ["train", "validation"] {
            let given = data.get(key);
            let filled = given.is_some_and(|node| match &node.data {
                Data::List(items) => !items.is_empty(),
                Data::Map(entries) => !entries.is_empty(),
                _ => true,
            });
            match kind {
                // Without a validation set some of the training set is held out.
                "webdataset" | "folder" if !filled && (key == "train" || unheld) => {
                    let place = &given.or(data.get("kind")).unwrap_or(data).place;
                    let example =
                        if key == "train" { "train: [\"pictures/*\"]" } else { "validation: {name: [\"held-out/*\"]}" };
                    self.problem(
                        place,
                        format!("`data.{key}` must name files where `data.kind` is {kind}"),
                        format!("for example {example}"),
                    );
                }
                "shapes" if filled => {
                    if let Some(node) = given {
                        let hint = "set data.kind to folder or webdataset, or remove it";
                        self.problem(
                            &node.place,
                            format!("`data.{key}` is not read where `data.kind` is shapes"),
                            hint,
                        );
                    }
                }
                _ => {}
            }
        }
    }

    fn problem(&mut self, place: &Place, message: String, hint: impl Into<String>) {
        self.problems.push(Problem::new(place, message, hint));
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Map(_) | Kind::Named(_) => write!(f, "a mapping"),
            Kind::List(0, _) => write!(f, "a list"),
            Kind::List(least, _) => write!(f, "a list of at least {least}"),
            Kind::Name => write!(f, "at most 64 letters, digits, `-`, `_` or `.`, no `.` first"),
            Kind::Preset => write!(f, "the name of a preset"),
            Kind::Glob => write!(f, "a file, a folder or a pattern"),
            Kind::Expectation => write!(f, "`dotted.path.in.results (<|<=|>|>=) number`"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Flag => write!(f, "true or false"),
            Kind::Seed => write!(f, "a whole number of 64 bits"),
            Kind::Whole(0) => write!(f, "a whole number"),
            Kind::Whole(least) => write!(f, "a whole number of at least {least}"),
            Kind::Between(least, most) => write!(f, "a whole number from {least} to {most}"),
            Kind::Odd => write!(f, "an odd whole number of at most {MOST_KERNEL}"),
            Kind::Real((low, high)) => {
                write!(f, "a number")?;
                match low {
                    Bound::Included(low) => write!(f, " of at least {low}")?,
                    Bound::Excluded(low) => write!(f, " above {low}")?,
                    Bound::Unbounded => {}
                }
                match high {
                    Bound::Included(high) => write!(f, " and at most {high}"),
                    Bound::Excluded(high) => write!(f, " and below {high}"),
                    Bound::Unbounded => Ok(()),
                }
            }
        }
    }
}

fn within(whole: i128, least: u64, most: u64) -> bool {
    u64::try_from(whole).is_ok_and(|whole| (least..=most).contains(&whole))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A name becomes a folder or a part of a file's name: it must neither climb out nor hide.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with('.')
        && (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn describe(node: &Node) -> String {
    match &node.data {
        Data::Null => "nothing".into(),
        Data::Flag(flag) => flag.to_string(),
        Data::Whole(whole) => whole.to_string(),
        Data::Real(real) => real.to_string(),
        Data::Text(text) if text.chars().count() > 40 => "a longer text".into(),
        Data::Text(text) => format!("the text {text:?}"),
        Data::List(items) if items.is_empty() => "an empty list".into(),
        Data::List(_) => "a list".into(),
        Data::Map(_) => "a mapping".into(),
    }
}

/// "did you mean `x`?" for the known word nearest to `word`, if one is near.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let score = |name: &&&str| strsim::jaro_winkler(word, name);
    let best = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(&best) > 0.75).then(|| format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::super::spec::Spec;
    use super::*;
    use std::collections::BTreeSet;

    /// Dotted paths of the schema's leaves.
    fn schema_keys(kind: &Kind, path: &str, keys: &mut BTreeSet<String>) {
        match kind {
            Kind::Map(rows) => rows.iter().for_each(|row| schema_keys(&row.kind, &join(path, row.name), keys)),
            _ => drop(keys.insert(path.to_owned())),
        }
    }

    fn serde_keys(value: &serde_yaml::Value, path: &str, keys: &mut BTreeSet<String>) {
        match value.as_mapping().filter(|_| path != "data.validation") {
            Some(entries) => {
                entries.iter().for_each(|(key, value)| serde_keys(value, &join(path, key.as_str().unwrap()), keys))
            }
            None => drop(keys.insert(path.to_owned())),
        }
    }

    fn default_spec() -> Spec {
        serde_yaml::from_str("{name: a, preset: tiny}").unwrap()
    }

    #[test]
    fn the_schema_and_serde_know_the_same_keys() {
        let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        schema_keys(&SPEC, "", &mut ours);
        serde_keys(&serde_yaml::to_value(default_spec()).unwrap(), "", &mut theirs);
        assert_eq!(ours, theirs);
        assert!(ours.len() > 80 && ours.contains("clip.optimizer.lr.warmup"));
    }

    #[test]
    fn the_defaults_pass_the_schema() {
        let text = serde_yaml::to_string(&default_spec()).unwrap();
        let root = super::super::parse::parse(&text, 0, 0, &mut Vec::new()).unwrap();
        assert_eq!(check(&root, &["tiny"]), []);
    }

    #[test]
    fn serde_reads_every_choice() {
        fn choices(kind: &Kind, path: &str, found: &mut Vec<(String, &'static str)>) {
            match kind {
                Kind::Map(rows) => rows.iter().for_each(|row| choices(&row.kind, &join(path, row.name), found)),
                Kind::Choice(words) => found.extend(words.iter().map(|word| (path.to_owned(), *word))),
                _ => {}
            }
        }
        let mut found = Vec::new();
        choices(&SPEC, "", &mut found);
        assert!(found.len() >= 15, "{found:?}");
        for (path, word) in found {
            let mut value = serde_yaml::to_value(default_spec()).unwrap();
            let leaf = path.split('.').fold(&mut value, |value, key| &mut value[key]);
            *leaf = word.into();
            assert!(serde_yaml::from_value::<Spec>(value).is_ok(), "{path}: {word}");
        }
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(
            did_you_mean("tempreature", &["steps", "temperature"]).as_deref(),
            Some("did you mean `temperature`?")
        );
        assert_eq!(did_you_mean("xyz", &["steps", "temperature"]), None);
    }
}
