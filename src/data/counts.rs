//! What became of the samples that were met: used, filtered or broken, and none of them twice.

use super::BadSample;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many of something, by reason, with the first of each in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many, by reason.
    pub by_reason: BTreeMap<&'static str, usize>,
    /// The first one of each reason, in words.
    pub examples: BTreeMap<&'static str, String>,
}

impl Tally {
    /// How many in all.
    pub fn total(&self) -> usize {
        self.by_reason.values().sum()
    }

    /// One more.
    pub fn add(&mut self, bad: &BadSample) {
        *self.by_reason.entry(bad.reason).or_default() += 1;
        self.examples.entry(bad.reason).or_insert_with(|| format!("{}: {}", bad.key, bad.detail));
    }

    /// All of another.
    pub fn merge(&mut self, other: &Tally) {
        for (reason, count) in &other.by_reason {
            *self.by_reason.entry(reason).or_default() += count;
        }
        for (reason, example) in &other.examples {
            self.examples.entry(reason).or_insert_with(|| example.clone());
        }
    }

    /// "3 decode, 1 no-caption".
    pub fn summary(&self) -> String {
        let counts: Vec<String> = self.by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counts.join(", ")
    }

    /// The first example, of any reason.
    pub fn first(&self) -> &str {
        self.examples.values().next().map_or("", String::as_str)
    }
}

/// Below this many samples the share of broken ones says nothing, unless there are no more.
const FEW: usize = 20;

/// The distinct samples that were met: `seen = used + filtered + broken`.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Those that may be used.
    pub used: usize,
    /// Those that are whole and left out for their size or shape, as the paper does.
    pub filtered: Tally,
    /// Those that cannot be read, or lack a part.
    pub broken: Tally,
    /// A bit a sample.
    met: Vec<u64>,
}

impl Counts {
    /// How many distinct samples were met.
    pub fn seen(&self) -> usize {
        self.used + self.filtered.total() + self.broken.total()
    }

    /// Sample `index` was met and is usable, or is not. The second time says nothing new.
    pub fn add(&mut self, index: usize, bad: Option<&BadSample>) {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if self.met.len() <= word {
            self.met.resize(word + 1, 0);
        }
        if self.met[word] & bit != 0 {
            return;
        }
        self.met[word] |= bit;
        match bad {
            None => self.used += 1,
            Some(bad) if bad.is_filtered() => self.filtered.add(bad),
            Some(bad) => self.broken.add(bad),
        }
    }

    /// Whether more than `share` of the samples that were met are broken, of a source of `len`. Before all are met two
    /// standard deviations are granted to chance, and a few say nothing.
    pub fn too_broken(&self, share: f64, len: usize) -> bool {
        let whole = self.seen() >= len;
        let seen = self.seen() as f64;
        let chance = if whole { 0.0 } else { 2.0 * (seen * share * (1.0 - share)).max(0.0).sqrt() };
        (whole || self.seen() >= FEW) && self.broken.total() as f64 > seen * share + chance
    }

    /// "3 of 26 samples are broken (3 decode), 4 are filtered out (4 aspect)".
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (tally, what) in [(&self.broken, "broken"), (&self.filtered, "filtered out")] {
            if tally.total() > 0 {
                parts.push(format!("{} are {what} ({})", tally.total(), tally.summary()));
            }
        }
        let seen = self.seen();
        match parts.split_first_mut() {
            None => format!("all of {seen} samples can be used"),
            Some((first, _)) => {
                *first = first.replacen(" are", &format!(" of {seen} samples are"), 1);
                parts.join(", ")
            }
        }
    }

    /// The totals, for `run.json`.
    pub fn to_json(&self) -> Value {
        json!({
            "seen": self.seen(), "used": self.used,
            "filtered": self.filtered.by_reason, "broken": self.broken.by_reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PictureError;
    use proptest::{collection::vec, prop_assert_eq, proptest};

    #[test]
    fn words_say_what_was_met() {
        let mut counts = Counts::default();
        (0..3).for_each(|i| counts.add(i, None));
        assert_eq!(counts.summary(), "all of 3 samples can be used");
        counts.add(3, Some(&PictureError::new("aspect", "wide").of("a")));
        assert_eq!(counts.summary(), "1 of 4 samples are filtered out (1 aspect)");
        counts.add(4, Some(&PictureError::new("decode", "torn").of("b")));
        assert_eq!(counts.summary(), "1 of 5 samples are broken (1 decode), 1 are filtered out (1 aspect)");
        assert_eq!(counts.broken.first(), "b: torn");
        assert!(counts.too_broken(0.1, 5) && !counts.too_broken(0.2, 5) && !counts.too_broken(0.1, 6));
    }

    proptest! {
        #[test]
        fn every_sample_is_counted_once(met in vec((0usize..200, 0usize..4), 0..400)) {
            let reasons = ["decode", "no-caption", "too-small", "aspect"];
            let mut counts = Counts::default();
            for (index, _) in &met {
                // What a sample is does not change.
                let bad = (index % 3 == 0).then(|| PictureError::new(reasons[index % 4], "").of(""));
                counts.add(*index, bad.as_ref());
            }
            let distinct: std::collections::BTreeSet<usize> = met.iter().map(|(index, _)| *index).collect();
            prop_assert_eq!(counts.seen(), distinct.len());
            prop_assert_eq!(counts.used, distinct.iter().filter(|index| *index % 3 != 0).count());
            let broken = distinct.iter().filter(|index| *index % 3 == 0 && *index % 4 < 2).count();
            prop_assert_eq!(counts.broken.total(), broken);
        }
    }
}
