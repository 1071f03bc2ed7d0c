//! The schema of a spec, derived from its types: what every key may hold, and what it says. The walk that checks a spec reads it,
//! editors read it as JSON Schema, and people read it as a page or a key at a time.

use super::kinds::LARGEST;
use super::{Spec, defaults};
use crate::error::{Error, Result};
use crate::mask::MOST_KERNEL;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::fmt::{self, Write};
use std::ops::Bound;
use std::sync::LazyLock;

/// The formats of text that JSON Schema has no word for.
pub const NAME: &str = "name";
/// A row of the preset table.
pub const PRESET: &str = "preset";
/// A file, a folder or a pattern.
pub const GLOB: &str = "files";
/// A line of the `expect:` block.
pub const EXPECTATION: &str = "expectation";

/// A number's range.
pub type Range = (Bound<f64>, Bound<f64>);

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// These keys and no others.
    Map(Vec<Row>),
    /// Keys that are names, values of one kind.
    Named(Box<Kind>),
    /// At least so many values of one kind.
    List(usize, Box<Kind>),
    /// A number, or what it goes through.
    Either(Box<Kind>, Box<Kind>),
    /// A run's name: it becomes a folder.
    Name,
    /// A row of the preset table.
    Preset,
    /// A file, a folder or a glob.
    Glob,
    /// A line of the `expect:` block.
    Expectation,
    /// One of these words.
    Choice(Vec<Word>),
    /// `true` or `false`.
    Flag,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// An odd whole number.
    Odd,
    /// A finite number in a range.
    Real(Range),
}

/// One key.
#[derive(Debug)]
pub struct Row {
    /// As it is written.
    pub name: String,
    /// What it says.
    pub about: String,
    /// What it may hold.
    pub kind: Kind,
    /// Whether it has no default.
    pub required: bool,
}

/// A word that a value may be.
#[derive(Debug)]
pub struct Word {
    /// As it is written.
    pub name: String,
    /// What it means; empty where that needs no words.
    pub about: String,
}

/// The schema as JSON Schema, draft 2020-12.
pub fn json() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<Spec>().to_value();
        undefaulted(&mut schema);
        schema["title"] = json!("dalle experiment");
        schema
    });
    &SCHEMA
}

/// Defaults follow from what a spec says, so that none of them holds everywhere.
fn undefaulted(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            entries.remove("default");
            entries.values_mut().for_each(undefaulted);
        }
        Value::Array(items) => items.iter_mut().for_each(undefaulted),
        _ => {}
    }
}

/// What a spec may hold.
pub fn spec() -> &'static Kind {
    static SPEC: LazyLock<Kind> = LazyLock::new(|| Kind::of(json()));
    &SPEC
}

impl Kind {
    /// What a part of the schema says. The parts are this module's own: one that it does not know is a fault of the program that
    /// a test finds.
    fn of(schema: &Value) -> Kind {
        if let Some(words) = choices(schema) {
            return Kind::Choice(words);
        }
        if let Some([first, second]) = schema["anyOf"].as_array().map(Vec::as_slice) {
            return Kind::Either(Box::new(Kind::of(first)), Box::new(Kind::of(second)));
        }
        let whole = |key: &str, default| schema[key].as_u64().unwrap_or(default);
        let bound = |inclusive: &str, exclusive: &str| match (schema[inclusive].as_f64(), schema[exclusive].as_f64()) {
            (Some(bound), _) => Bound::Included(bound),
            (_, Some(bound)) => Bound::Excluded(bound),
            _ => Bound::Unbounded,
        };
        match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default()) {
            ("object", _) if schema["additionalProperties"].is_object() => {
                Kind::Named(Box::new(Kind::of(&schema["additionalProperties"])))
            }
            ("object", _) => Kind::Map(rows(schema)),
            ("array", _) => Kind::List(whole("minItems", 0) as usize, Box::new(Kind::of(&schema["items"]))),
            ("boolean", _) => Kind::Flag,
            ("integer", "odd") => Kind::Odd,
            ("integer", _) => Kind::Whole(whole("minimum", 0), whole("maximum", u64::MAX)),
            ("number", _) => Kind::Real((bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum"))),
            (_, NAME) => Kind::Name,
            (_, PRESET) => Kind::Preset,
            (_, GLOB) => Kind::Glob,
            (_, EXPECTATION) => Kind::Expectation,
            _ => unreachable!("a part of the schema: {schema}"),
        }
    }

    /// The keys of a mapping.
    pub fn rows(&self) -> &[Row] {
        match self {
            Kind::Map(rows) => rows,
            Kind::Either(_, other) => other.rows(),
            _ => &[],
        }
    }
}

fn rows(schema: &Value) -> Vec<Row> {
    let required = |name: &String| schema["required"].as_array().into_iter().flatten().any(|key| key == name);
    let row = |(name, schema): (&String, &Value)| Row {
        name: name.clone(),
        about: about(schema),
        kind: Kind::of(schema),
        required: required(name),
    };
    schema["properties"].as_object().into_iter().flatten().map(row).collect()
}

/// The words of an enumeration; none of anything else.
fn choices(schema: &Value) -> Option<Vec<Word>> {
    let word = |name: &Value, about: String| Some(Word { name: name.as_str()?.to_owned(), about });
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|name| word(name, String::new())).collect();
    }
    schema["oneOf"].as_array()?.iter().map(|of| word(&of["const"], about(of))).collect()
}

/// The comment of a key, in one line.
fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
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
            Kind::Choice(words) => {
                let names: Vec<&str> = words.iter().map(|word| word.name.as_str()).collect();
                write!(f, "one of {}", names.join(", "))
            }
            Kind::Either(first, second) => write!(f, "{first}, or {second}"),
            Kind::Flag => write!(f, "true or false"),
            Kind::Whole(0, u64::MAX) => write!(f, "a whole number of 64 bits"),
            Kind::Whole(0, LARGEST) => write!(f, "a whole number"),
            Kind::Whole(least, LARGEST) => write!(f, "a whole number of at least {least}"),
            Kind::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
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

/// What the key at a dotted path says, what it may hold, and its default.
///
/// # Errors
/// [`Error::Usage`] for a key that there is not; the nearest one is suggested.
pub fn explain(path: &str) -> Result<String> {
    let (mut kind, mut found) = (spec(), None);
    for (depth, key) in path.split('.').enumerate() {
        let Some(row) = kind.rows().iter().find(|row| row.name == key) else {
            let above = path.split('.').take(depth).collect::<Vec<_>>().join(".");
            let place = if above.is_empty() { String::new() } else { format!(" in {above}") };
            let names: Vec<&str> = kind.rows().iter().map(|row| row.name.as_str()).collect();
            let hint = did_you_mean(key, &names).unwrap_or_else(|| match names.is_empty() {
                true => "it holds no keys".into(),
                false => format!("the keys{place} are {}", names.join(", ")),
            });
            return Err(Error::Usage(format!("unknown key {key:?}{place}; {hint}")));
        };
        (kind, found) = (&row.kind, Some(row));
    }
    let Some(row) = found else { return Ok(page()) };
    let mut text = format!("{path}: {}\n  {}\n  {}\n", row.kind, row.about, default_of(path, row));
    if let Kind::Choice(words) = &row.kind {
        for word in words.iter().filter(|word| !word.about.is_empty()) {
            let _ = writeln!(text, "  `{}`: {}", word.name, word.about);
        }
    }
    for row in row.kind.rows() {
        let _ = writeln!(text, "  `{path}.{}`: {}", row.name, row.about);
    }
    Ok(text)
}

/// The defaults of a spec that says nothing but the preset of the quickstart.
fn plain() -> &'static Value {
    static PLAIN: LazyLock<Value> = LazyLock::new(|| json!(defaults::plain("mini")));
    &PLAIN
}

/// The default of a key, for a spec that says nothing but its name and the preset of the quickstart.
fn default_of(path: &str, row: &Row) -> String {
    if row.required {
        return "no default: every spec says it".into();
    }
    match path.split('.').try_fold(plain(), |value, key| value.get(key)) {
        Some(Value::String(text)) => format!("default: {text}"),
        Some(value) if !value.is_object() => format!("default: {value}"),
        _ => "its keys have defaults".into(),
    }
}

/// Every key, as a page in Markdown.
pub fn page() -> String {
    let mut text = String::from(
        "# The keys of a spec\n\nMade by `experiment explain`; `experiment explain KEY` says it of one key, and `experiment schema` prints \
         it as JSON Schema. Every key but `name` and `preset` has a default: here that of preset `mini` with nothing else said. \
         `experiment SPEC --dry-run` prints all of a spec's.\n\nA schedule is a number, or `{from, to, steps, curve, warmup}`.\n",
    );
    let (sections, keys): (Vec<&Row>, Vec<&Row>) = spec().rows().iter().partition(|row| !row.kind.rows().is_empty());
    table(&mut text, keys.into_iter().map(|row| (row.name.clone(), row)).collect());
    for section in sections {
        let _ = write!(text, "\n## `{}`\n\n{}\n", section.name, section.about);
        let mut rows = Vec::new();
        collect(section, &section.name, &mut rows);
        table(&mut text, rows);
    }
    text
}

fn table(text: &mut String, rows: Vec<(String, &Row)>) {
    let _ = write!(text, "\n| key | what it says | what it may be | default |\n|---|---|---|---|\n");
    for (path, row) in rows {
        line(text, &path, row);
    }
}

/// The keys below a row; a schedule is one key.
fn collect<'r>(row: &'r Row, path: &str, rows: &mut Vec<(String, &'r Row)>) {
    for below in row.kind.rows() {
        let path = format!("{path}.{}", below.name);
        match below.kind {
            Kind::Map(_) => collect(below, &path, rows),
            _ => rows.push((path, below)),
        }
    }
}

fn line(text: &mut String, path: &str, row: &Row) {
    let default = match (default_of(path, row), &row.kind) {
        (_, Kind::Either(..)) => schedule(path),
        (default, _) => default.strip_prefix("default: ").unwrap_or("–").to_owned(),
    };
    let kind = match &row.kind {
        Kind::Either(number, _) => format!("a schedule, its values {number}"),
        kind => kind.to_string(),
    };
    let [about, kind] = [&row.about, &kind].map(|text| text.replace('|', "\\|"));
    let _ = writeln!(text, "| `{path}` | {about} | {kind} | {default} |");
}

/// The default of a schedule.
fn schedule(path: &str) -> String {
    let schedule = path.split('.').fold(plain(), |value, key| &value[key]);
    let steps = |key: &str, before: &str| match schedule[key].as_u64() {
        None | Some(0) => String::new(),
        Some(steps) => format!("{before}{steps}"),
    };
    let (in_steps, warmup) = (steps("steps", " in "), steps("warmup", ", after a warm-up of "));
    format!("{} to {}{in_steps}{warmup}", schedule["from"], schedule["to"])
}

/// "did you mean `x`?" for the known word nearest to `word`, if one is near.
pub fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let score = |name: &&&str| strsim::jaro_winkler(word, name);
    let best = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(&best) > 0.75).then(|| format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::super::check::join;
    use super::*;
    use std::collections::BTreeSet;

    /// Dotted paths of the schema's leaves.
    fn schema_keys(kind: &Kind, path: &str, keys: &mut BTreeSet<String>) {
        match kind {
            Kind::Map(_) | Kind::Either(..) => {
                kind.rows().iter().for_each(|row| schema_keys(&row.kind, &join(path, &row.name), keys))
            }
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
        schema_keys(spec(), "", &mut ours);
        serde_keys(&serde_yaml::to_value(default_spec()).unwrap(), "", &mut theirs);
        assert_eq!(ours, theirs);
        assert!(ours.len() > 80 && ours.contains("clip.optimizer.lr.warmup"));
    }

    #[test]
    fn serde_reads_every_choice() {
        fn words(kind: &'static Kind, path: &str, found: &mut Vec<(String, &'static str)>) {
            match kind {
                Kind::Choice(words) => found.extend(words.iter().map(|word| (path.to_owned(), word.name.as_str()))),
                kind if !kind.rows().is_empty() => {
                    kind.rows().iter().for_each(|row| words(&row.kind, &join(path, &row.name), found))
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        words(spec(), "", &mut found);
        assert!(found.len() >= 15, "{found:?}");
        for (path, word) in found {
            let mut value = serde_yaml::to_value(default_spec()).unwrap();
            let leaf = path.split('.').fold(&mut value, |value, key| &mut value[key]);
            *leaf = word.into();
            assert!(serde_yaml::from_value::<Spec>(value).is_ok(), "{path}: {word}");
        }
    }

    #[test]
    fn every_key_says_what_it_is() {
        fn walk(kind: &Kind, path: &str) {
            for row in kind.rows() {
                let path = join(path, &row.name);
                assert!(row.about.ends_with('.'), "{path}: {:?}", row.about);
                walk(&row.kind, &path);
            }
        }
        walk(spec(), "");
    }

    #[test]
    fn a_key_is_explained_with_its_range_its_words_and_its_default() {
        let text = explain("first_stage.optimizer.method").unwrap();
        for part in ["one of adamw, muon", "default: muon", "`adamw`: The paper's."] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = explain("transformer.optimizer.lr").unwrap();
        for part in ["a number of at least 0, or a mapping", "`transformer.optimizer.lr.warmup`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(explain("name").unwrap().contains("no default"));
        let error = explain("first_stage.optimiser").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("did you mean `optimizer`?"), "{error}");
    }
}
