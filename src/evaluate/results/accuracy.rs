//! How often drawn pictures are right, as the oracle reads them: by the way that a picture is chosen, and what it depends on.

use super::super::estimate::Estimate;
use super::{Named, ResultRow, words};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// How one of the pictures of a caption is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Choice {
    /// The best by CLIP of the first so many.
    BestOf(usize),
    /// Any of so many, the right one if there is one.
    AnyOf(usize),
    /// The best picture of another caption.
    Chance,
}

impl Choice {
    /// In words.
    pub fn title(self) -> String {
        match self {
            Choice::BestOf(1) => "the first drawn".into(),
            Choice::BestOf(n) => format!("best of {n} by CLIP"),
            Choice::AnyOf(n) => format!("any of {n}"),
            Choice::Chance => "chance: the best picture of another caption".into(),
        }
    }

    /// The best of the most candidates comes first.
    fn place(self) -> (u8, Reverse<usize>) {
        match self {
            Choice::BestOf(n) => (0, Reverse(n)),
            Choice::AnyOf(n) => (1, Reverse(n)),
            Choice::Chance => (2, Reverse(0)),
        }
    }
}

impl Ord for Choice {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Choice {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Choice::BestOf(n) => write!(f, "best_of_{n}"),
            Choice::AnyOf(n) => write!(f, "any_of_{n}"),
            Choice::Chance => f.write_str("chance"),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(key: &str) -> Result<Self, String> {
        let count = |prefix: &str| key.strip_prefix(prefix)?.parse().ok();
        match key {
            "chance" => Some(Choice::Chance),
            _ => count("best_of_").map(Choice::BestOf).or_else(|| count("any_of_").map(Choice::AnyOf)),
        }
        .ok_or_else(|| format!("expected best_of_N, any_of_N or chance, got {key}"))
    }
}

impl TryFrom<String> for Choice {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        key.parse()
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> String {
        choice.to_string()
    }
}

/// The share of captions whose picture is right, by how the picture is chosen.
pub type Choices = BTreeMap<Choice, Estimate>;

/// What the pictures of a set of captions are worth.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Loose")]
pub struct Accuracy {
    /// A shape must fit its outline.
    pub strict: Choices,
    /// The nearest shape, however poor the fit.
    pub lenient: Choices,
    /// Of the best pictures, by the strict reading.
    pub breakdown: Breakdown,
}

/// The strict choices stand beside everything else.
impl Serialize for Accuracy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |(choice, share): (&Choice, &Estimate)| (choice.to_string(), json!(share));
        let mut all: Map<String, Value> = self.strict.iter().map(entry).collect();
        if !self.lenient.is_empty() {
            all.insert("lenient".into(), json!(self.lenient));
        }
        if let Value::Object(breakdown) = json!(self.breakdown) {
            all.extend(breakdown);
        }
        all.serialize(serializer)
    }
}

/// An [`Accuracy`] as it is read: a key that is no choice is passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Loose {
    #[serde(flatten)]
    breakdown: Breakdown,
    lenient: Map<String, Value>,
    #[serde(flatten)]
    strict: Map<String, Value>,
}

impl From<Loose> for Accuracy {
    fn from(Loose { strict, lenient, breakdown }: Loose) -> Accuracy {
        let choice = |(key, value): (String, Value)| Some((key.parse().ok()?, Estimate::read(&value)?));
        let choices = |entries: Map<String, Value>| entries.into_iter().filter_map(choice).collect();
        Accuracy { strict: choices(strict), lenient: choices(lenient), breakdown }
    }
}

impl Accuracy {
    /// Every share, as rows.
    pub fn rows(&self) -> Vec<ResultRow> {
        let row = |(choice, share): (&Choice, &Estimate)| ResultRow::share(choice.to_string(), choice.title(), *share);
        let lenient = self.lenient.iter().map(row).map(|row| row.below("lenient").within("lenient"));
        self.strict.iter().map(row).chain(lenient).chain(self.breakdown.rows()).collect()
    }
}

/// Where pictures are right: shares of those that are concerned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breakdown {
    /// By attribute, of the captions that name it.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub by_attribute: Named<Estimate>,
    /// By number of objects.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub by_objects: Named<Estimate>,
    /// By shape and colour, where all captions have one object.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub by_kind: Named<Estimate>,
}

impl Breakdown {
    /// Every share, as rows.
    pub fn rows(&self) -> impl Iterator<Item = ResultRow> {
        let parts =
            [("by_attribute", &self.by_attribute), ("by_objects", &self.by_objects), ("by_kind", &self.by_kind)];
        parts.into_iter().flat_map(|(key, shares)| {
            let row = |name: &str, share: &Estimate| ResultRow::share(name, words(name), *share);
            shares.iter().map(move |(name, share)| row(name, share).below(&words(key)).within(key))
        })
    }
}

/// What the first stage alone keeps of a picture's attributes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AfterReconstruction {
    /// By the strict reading.
    #[serde(flatten)]
    pub breakdown: Breakdown,
    /// Everything right by the lenient reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lenient: Option<Estimate>,
}

impl AfterReconstruction {
    /// Every share, as rows.
    pub fn rows(&self) -> Vec<ResultRow> {
        let lenient = self.lenient.map(|share| ResultRow::share("lenient", "everything right, lenient", share));
        let rows = self.breakdown.rows().chain(lenient);
        rows.map(|row| row.below("after reconstruction").within("after_reconstruction")).collect()
    }
}
