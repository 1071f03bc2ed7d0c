//! Which emoji is taken from which style, into which split, with which captions: all of a pair but its pixels.

use super::art::{Art, Gallery};
use super::caption::{captions, new_tags};
use super::chart::{Chart, Emoji};
use super::render::{png, render};
use super::shards::{Card, Pair};
use super::split::{Split, is_gendered};
use super::styles::Style;
use crate::{Error, Result};

/// The one style that country flags are taken from.
const FLAGS_FROM: &str = "twemoji";
/// The one style that symbols (buttons, arrows, zodiac, keycaps) are taken from.
const SYMBOLS_FROM: &str = "noto";

/// A pair to be rendered.
pub(super) struct EmojiPlan<'a> {
    pub(super) style: &'static Style,
    emoji: &'a Emoji,
    split: Split,
    art: Art<'a>,
    /// Where the picture comes from, for messages.
    gallery: &'a Gallery,
}

/// All pairs, emoji by emoji in the chart's order and in each the styles in the order given.
pub(super) fn plans<'a>(chart: &'a Chart, galleries: &'a [(&'static Style, Gallery)]) -> Vec<EmojiPlan<'a>> {
    let mut plans = Vec::new();
    for emoji in chart.0.iter().filter(|emoji| !is_gendered(&emoji.codepoints)) {
        let takes = |style: &Style| {
            (emoji.subgroup != "country-flag" || style.name == FLAGS_FROM)
                && (emoji.group != "symbols" || style.name == SYMBOLS_FROM)
        };
        let wanted = galleries.iter().filter(|(style, _)| takes(style));
        let found = wanted
            .filter_map(|(style, gallery)| Some((*style, gallery, gallery.find(&emoji.codepoints, &emoji.label)?)));
        let found: Vec<_> = found.collect();
        let num_styles = found.len();
        plans.extend(found.into_iter().map(|(style, gallery, art)| {
            let split = Split::of(&emoji.codepoints, style.name, num_styles);
            EmojiPlan { style, emoji, split, art, gallery }
        }));
    }
    plans
}

impl EmojiPlan<'_> {
    /// The pair's name: `CODEPOINTS_STYLE`.
    fn key(&self) -> String {
        format!("{}_{}", self.emoji.codepoints, self.style.name)
    }

    /// The picture as a PNG file, or `None` where nothing is to be seen on it.
    ///
    /// # Errors
    /// [`Error::Data`] where the package's picture is broken.
    pub(super) fn render(&self, size: u32) -> Result<Option<Vec<u8>>> {
        let file = render(self.art, size).and_then(|picture| picture.as_ref().map(png).transpose());
        file.map_err(|reason| Error::data(&self.gallery.path, format!("the picture {}: {reason}", self.key())))
    }

    /// The pair with its rendered picture.
    pub(super) fn pair(&self, png: Vec<u8>) -> Pair {
        let Emoji { label, phrase, group, subgroup, tags, .. } = self.emoji;
        let tags = new_tags(phrase, tags);
        let card = Card {
            style: self.style.name,
            label: label.to_lowercase(),
            np: phrase.clone(),
            group: group.clone(),
            subgroup: subgroup.clone(),
            captions: captions(phrase, self.style.words, &tags),
            tags,
            license: self.style.license,
        };
        Pair { key: self.key(), split: self.split, card, png }
    }
}
