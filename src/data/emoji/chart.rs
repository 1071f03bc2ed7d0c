//! The emoji chart: names, keywords and groups from the emojibase package, with a noun phrase for each name.

use std::collections::HashMap;

use serde::Deserialize;

use super::caption::noun_phrase;
use super::npm::Tarball;
use super::split::normal;
use crate::{Error, Result};

/// The emoji that pictures are taken of, in the chart's order.
pub(super) struct Chart(pub(super) Vec<Emoji>);

/// One emoji.
pub(super) struct Emoji {
    /// As [`normal`] writes them.
    pub(super) codepoints: String,
    /// CLDR's name.
    pub(super) label: String,
    /// The name as a noun phrase.
    pub(super) phrase: String,
    pub(super) group: String,
    pub(super) subgroup: String,
    /// CLDR's keywords.
    pub(super) tags: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    hexcode: String,
    label: String,
    group: Option<u32>,
    subgroup: Option<u32>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    groups: HashMap<u32, String>,
    subgroups: HashMap<u32, String>,
}

impl Chart {
    /// Reads the package; parts of emoji (skin tones, hair, regional indicators) and "facing right" variants are left
    /// out.
    ///
    /// # Errors
    /// As [`Tarball::json`], and [`Error::Data`] where a group has no name.
    pub(super) fn read(tarball: &Tarball) -> Result<Self> {
        let (entries, names): (Vec<Entry>, Groups) =
            tarball.json("package/en/data.json", "package/meta/groups.json")?;
        let name_of = |names: &HashMap<u32, String>, number: Option<u32>, label: &str| {
            let name = number.and_then(|number| names.get(&number)).cloned();
            name.ok_or_else(|| Error::data(&tarball.path, format!("{label}: its group {number:?} has no name")))
        };
        let mut emoji = Vec::new();
        for Entry { hexcode, label, group, subgroup, tags } in entries {
            if group.is_none() || label.contains("facing right") {
                continue;
            }
            let group = name_of(&names.groups, group, &label)?;
            if group == "component" {
                continue;
            }
            let subgroup = name_of(&names.subgroups, subgroup, &label)?;
            let phrase = noun_phrase(&label, &group, &subgroup);
            emoji.push(Emoji { codepoints: normal(&hexcode), label, phrase, group, subgroup, tags });
        }
        Ok(Chart(emoji))
    }
}
