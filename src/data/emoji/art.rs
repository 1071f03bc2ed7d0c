//! The pictures of one style, found by code points in its package: an Iconify set (one JSON file of SVG bodies) or a
//! folder of WebP files.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::npm::Tarball;
use super::split::normal;
use crate::Result;

/// How a package holds its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `icons.json` (bodies by name) and `chars.json` (names by code points).
    Iconify,
    /// A `.webp` file for each emoji, named by its code points.
    WebP,
}

/// One picture as its package holds it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Art<'a> {
    /// The body of an SVG and its view box: left, top, width, height.
    Svg { body: &'a str, view_box: [f64; 4] },
    /// A WebP file.
    WebP(&'a [u8]),
}

/// All pictures of one style.
pub(super) struct Gallery {
    /// The tarball, for messages.
    pub(super) path: PathBuf,
    holdings: Holdings,
}

enum Holdings {
    Icons { icons: IconSet, names: HashMap<String, String> },
    Files(HashMap<String, Vec<u8>>),
}

#[derive(Deserialize)]
struct IconSet {
    icons: HashMap<String, Icon>,
    #[serde(default)]
    aliases: HashMap<String, Alias>,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    left: Option<f64>,
    top: Option<f64>,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Alias {
    parent: String,
    /// Flips and rotations.
    #[serde(flatten)]
    changes: serde_json::Map<String, serde_json::Value>,
}

/// Iconify's default side.
const ICON_SIDE: f64 = 16.0;

impl Gallery {
    /// Reads the package. Of two pictures whose code points differ in variation selectors alone, the later one counts.
    ///
    /// # Errors
    /// As [`Tarball::files`] and [`Tarball::json`].
    pub(super) fn open(tarball: &Tarball, format: Format) -> Result<Self> {
        let holdings = match format {
            Format::Iconify => {
                type Names = serde_json::Map<String, serde_json::Value>;
                let (icons, names): (IconSet, Names) = tarball.json("package/icons.json", "package/chars.json")?;
                let text = |name: serde_json::Value| name.as_str().map(str::to_owned);
                let names = names.into_iter().filter_map(|(points, name)| Some((normal(&points), text(name)?)));
                Holdings::Icons { icons, names: names.collect() }
            }
            Format::WebP => {
                let files = tarball.files(|name| name.ends_with(".webp"))?;
                let stem = |name: &str| name.rsplit('/').next().unwrap_or(name).trim_end_matches(".webp").to_owned();
                Holdings::Files(files.into_iter().map(|(name, bytes)| (normal(&stem(&name)), bytes)).collect())
            }
        };
        Ok(Gallery { path: tarball.path.clone(), holdings })
    }

    /// The picture of the emoji `codepoints` (as [`normal`] writes them) with this CLDR `label`, or `None` where the
    /// style has none of its own: a flipped or rotated copy of another does not count.
    pub(super) fn find(&self, codepoints: &str, label: &str) -> Option<Art<'_>> {
        match &self.holdings {
            Holdings::Files(files) => files.get(codepoints).map(|bytes| Art::WebP(bytes)),
            Holdings::Icons { icons, names } => {
                // Older sets carry no table of code points; their icons are named after the labels.
                let by_label = || names.is_empty().then(|| slug(label));
                let name = names.get(codepoints).cloned().or_else(by_label)?;
                let name = match icons.aliases.get(&name) {
                    Some(alias) if alias.changes.is_empty() => &alias.parent,
                    Some(_) => return None,
                    None => &name,
                };
                let icon = icons.icons.get(name)?;
                let side = |own: Option<f64>, common: Option<f64>| own.or(common).unwrap_or(ICON_SIDE);
                let (width, height) = (side(icon.width, icons.width), side(icon.height, icons.height));
                let view_box = [icon.left.unwrap_or(0.0), icon.top.unwrap_or(0.0), width, height];
                Some(Art::Svg { body: &icon.body, view_box })
            }
        }
    }
}

/// A label as an icon's name: "Woman’s Hat" is "womans-hat".
fn slug(label: &str) -> String {
    let is_quote = |letter: &char| matches!(letter, '’' | '\'' | '“' | '”');
    let plain = label.to_lowercase().chars().filter(|letter| !is_quote(letter)).collect::<String>();
    let ascii: String = plain.chars().filter(char::is_ascii).collect();
    let words = ascii.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[(&str, &str)]) -> Gallery {
        let icons = serde_json::from_str(
            r#"{"width": 32, "icons": {"womans-hat": {"body": "<g/>", "left": 1, "height": 24.5}},
                "aliases": {"same": {"parent": "womans-hat"}, "flipped": {"parent": "womans-hat", "hFlip": true}}}"#,
        );
        let names = names.iter().map(|(points, name)| (points.to_string(), name.to_string())).collect();
        Gallery { path: PathBuf::new(), holdings: Holdings::Icons { icons: icons.unwrap(), names } }
    }

    #[test]
    fn icons_are_found_through_names_and_aliases() {
        let gallery = set(&[("1", "womans-hat"), ("2", "same"), ("3", "flipped"), ("4", "lost")]);
        let found = |points| gallery.find(points, "Woman’s hat");
        for points in ["1", "2"] {
            assert!(matches!(found(points), Some(Art::Svg { view_box: [1.0, 0.0, 32.0, 24.5], .. })));
        }
        assert!(["3", "4", "5"].iter().all(|points| found(points).is_none()));
    }

    #[test]
    fn a_set_without_code_points_is_searched_by_label() {
        assert!(set(&[]).find("1", "Woman’s hat").is_some());
        assert!(set(&[]).find("1", "Man’s hat").is_none());
        assert_eq!(slug("Piñata: “A & B”!"), "piata-a-b");
    }
}
