//! What is held out. The split is a pure function of names (sha256 to the unit interval), so that a rebuild, with more
//! styles or fewer, moves no concept from one side to the other.

use sha2::{Digest, Sha256};

/// The share of concepts that are held out in every style.
const HELD_OUT_CONCEPTS: f64 = 0.05;
/// The share of (emoji, style) pairs that are held out of the concepts that stay.
const HELD_OUT_PAIRS: f64 = 0.05;
/// A pair is held out only where the emoji exists in so many styles.
const MIN_STYLES: usize = 3;

/// Code points that vary a picture and not what it shows: joiner, variation selector, gender signs, the arrow of
/// "facing right", man, woman, person, and the five skin tones.
const VARIANTS: &[&str] =
    &["200d", "fe0f", "2640", "2642", "27a1", "1f468", "1f469", "1f9d1", "1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"];

/// The part of the dataset that a pair belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Trained on.
    Train,
    /// The emoji is in `Train` in other styles, in this style it is not: compositional generalisation.
    HeldOutPair,
    /// The emoji is in `Train` in no style: unseen concepts.
    HeldOutConcept,
}

impl Split {
    /// Every split, in the order of the names.
    pub const ALL: [Split; 3] = [Split::Train, Split::HeldOutPair, Split::HeldOutConcept];

    /// The name in `splits.tsv` and at the head of a shard's file name.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::HeldOutPair => "valcombo",
            Split::HeldOutConcept => "valconcept",
        }
    }

    /// The split of the emoji `codepoints` (as [`normal`] writes them) in `style`, one of `num_styles` that have it.
    pub(super) fn of(codepoints: &str, style: &str, num_styles: usize) -> Split {
        if unit(&["concept", &concept(codepoints)]) < HELD_OUT_CONCEPTS {
            Split::HeldOutConcept
        } else if num_styles >= MIN_STYLES && unit(&["combo", codepoints, style]) < HELD_OUT_PAIRS {
            Split::HeldOutPair
        } else {
            Split::Train
        }
    }
}

/// Code points in lower-case hexadecimal joined by "-", without variation selectors: `"2764_FE0F"` is `"2764"`.
pub(super) fn normal(codepoints: &str) -> String {
    let lower = codepoints.to_lowercase();
    lower.split(['-', '_']).filter(|point| *point != "fe0f").collect::<Vec<_>>().join("-")
}

/// What an emoji shows, without gender, tone and direction: near-duplicates share it and so stay on one side.
fn concept(codepoints: &str) -> String {
    let kept: Vec<&str> = codepoints.split('-').filter(|point| !VARIANTS.contains(point)).collect();
    if kept.is_empty() { codepoints.to_owned() } else { kept.join("-") }
}

/// True for the man's or the woman's variant of a person's picture (they are left out: nearly the same picture again).
pub(super) fn is_gendered(codepoints: &str) -> bool {
    let starts = ["1f468-200d-", "1f469-200d-"].iter().any(|start| codepoints.starts_with(start));
    starts || ["-200d-2640", "-200d-2642"].iter().any(|part| codepoints.contains(part))
}

/// A number in [0, 1) that is a pure function of the names: the first 48 bits of their sha256, joined by "|".
pub(super) fn unit(names: &[&str]) -> f64 {
    let digest = Sha256::digest(names.join("|"));
    let bits = digest.iter().take(6).fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
    bits as f64 / (1u64 << 48) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_one_spelling() {
        assert_eq!(normal("1F469-200D-2764-FE0F-200D-1F468"), "1f469-200d-2764-200d-1f468");
        assert_eq!(normal("0023_fe0f_20e3"), "0023-20e3");
    }

    #[test]
    fn variants_share_a_concept() {
        for (codepoints, key) in [
            ("1f469-200d-2764-200d-1f468", "2764"),
            ("1f9ce-200d-2642-200d-27a1", "1f9ce"),
            ("1f44b-1f3fd", "1f44b"),
            ("1f468", "1f468"),
            ("1f468-200d-1f469-200d-1f466", "1f466"),
        ] {
            assert_eq!(concept(codepoints), key);
        }
        assert!(is_gendered("1f9ce-200d-2642") && is_gendered("1f468-200d-1f9b3"));
        assert!(!is_gendered("1f468") && !is_gendered("1f9d1-200d-1f9b3") && !is_gendered("2642"));
    }

    #[test]
    fn the_unit_interval_is_sha256() {
        // sha256("abc") begins ba7816bf8f01.
        assert_eq!(unit(&["abc"]), 0xba78_16bf_8f01_u64 as f64 / (1u64 << 48) as f64);
        assert_eq!(unit(&["a|b"]), unit(&["a", "b"]));
        assert_ne!(unit(&["ab"]), unit(&["a", "b"]));
    }

    #[test]
    fn known_keys_stay_in_their_split() {
        for (codepoints, style, num_styles, split) in [
            ("1f34e", "noto", 5, Split::Train),
            ("1f436", "noto", 5, Split::Train),
            ("1f436", "twemoji", 5, Split::HeldOutPair),
            ("1f436", "fluentflat", 5, Split::HeldOutPair),
            ("1f436", "fluentflat", 2, Split::Train),
            ("1f99a", "fluent3d", 3, Split::HeldOutPair),
            ("1f95a", "fluent3d", 5, Split::HeldOutConcept),
            ("1f95a", "noto", 1, Split::HeldOutConcept),
            ("1f9d1-200d-1f9b1", "fluent3d", 4, Split::HeldOutConcept),
            ("1f468-200d-1f9b1", "fluent3d", 4, Split::HeldOutConcept),
        ] {
            assert_eq!(Split::of(codepoints, style, num_styles), split, "{codepoints} {style} {num_styles}");
        }
    }
}
