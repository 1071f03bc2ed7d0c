//! Attention patterns.

use super::image::{Image, ImageGrid};
use super::sheet::{Cell, sheet};
use super::show::{Rich, Show, shown};
use super::table::Table;
use crate::data::Picture;
use crate::kernels::cpu::attention::BLOCK;
use crate::mask::{Layout, Pattern, drawing, paper_order};
use crate::report::masks;
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};

/// A [`Pattern`] over a sequence, to look at and to count: which slots each slot attends to. `text` text slots come first, then
/// `grid`² image slots in raster order (arXiv 2102.12092, section 2.2 and figure 11). What runs in a layer is
/// [`ops::Mask`](crate::ops::Mask).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    pattern: Pattern,
    layout: Layout,
}

/// The query of a picture, and the slots that come after it.
const QUERY: [u8; 3] = [30, 30, 34];
/// Larger masks are not drawn, nor counted pair by pair.
const MOST: usize = 4096;

impl Mask {
    /// The pattern of a name (`full`, `row`, `col`, `conv:11`, `axial_row`, …) over `text` text slots and a grid of image
    /// slots of side `grid`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name, or a sequence of none or more than 4,096 slots.
    pub fn new(pattern: &str, text: usize, grid: usize) -> Result<Mask> {
        let layout = Layout { text, grid };
        if !(1..=MOST).contains(&text.saturating_add(grid.saturating_mul(grid))) {
            return Err(Error::Usage(format!("{text} text slots and a grid of {grid}: expected 1 to {MOST} slots")));
        }
        Ok(Mask { pattern: pattern.parse()?, layout })
    }

    /// Whether slot `query` attends to slot `key`; no slot beyond the sequence does, or is attended to.
    pub fn sees(&self, query: usize, key: usize) -> bool {
        query < self.layout.sequence() && self.pattern.sees(self.layout, query, key)
    }

    /// The pairs that it allows.
    pub fn pairs(&self) -> usize {
        self.pattern.dense(self.layout).iter().filter(|&&seen| seen).count()
    }

    /// What the image position at (row, column) sees: text slots above, the image below; black is the position itself.
    ///
    /// # Errors
    /// [`Error::Usage`] outside the grid.
    pub fn seen_by(&self, row: usize, column: usize) -> Result<Image> {
        let Layout { text, grid } = self.layout;
        if row >= grid || column >= grid {
            return Err(Error::Usage(format!(
                "({row}, {column}): the grid has {grid} rows and columns, counted from 0"
            )));
        }
        let query = text + row * grid + column;
        let above = text.div_ceil(grid);
        let mut rgb = Vec::new();
        for (line, at) in (0..above + 1 + grid).flat_map(|line| (0..grid).map(move |at| (line, at))) {
            let slot =
                if line < above { line * grid + at } else { text + (line.max(above + 1) - above - 1) * grid + at };
            rgb.extend(match () {
                () if line == above || (line < above && slot >= text) => [255; 3],
                () if slot == query => QUERY,
                () if !self.sees(query, slot) => drawing::UNSEEN,
                () if slot < text => drawing::IMAGE_TO_TEXT,
                () => drawing::IMAGE_TO_IMAGE,
            });
        }
        let picture = Picture { width: grid, height: above + 1 + grid, rgb };
        Ok(Image { picture, caption: self.pattern.to_string() })
    }

    /// What the position at (row, column) sees under each of several patterns.
    ///
    /// # Errors
    /// Those of [`Mask::seen_by`].
    pub fn side_by_side(masks: &[Mask], row: usize, column: usize) -> Result<ImageGrid> {
        let images: Vec<Image> = masks.iter().map(|mask| mask.seen_by(row, column)).collect::<Result<_>>()?;
        Ok(ImageGrid::of(&images))
    }

    /// What each costs: pairs that it allows, pairs in the 32×32 tiles that training multiplies, and the keys that sampling
    /// must keep, the last two as shares of what full attention takes.
    pub fn costs(masks: &[Mask]) -> Table {
        let mut table = Table::new(["pattern", "pairs", "of all", "in tiles", "tiles of full", "keys kept", "of full"]);
        let share = |part: usize, whole: usize| format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64);
        for mask in masks {
            let Mask { pattern, layout } = *mask;
            let sequence = layout.sequence();
            let tiles = |pattern: Pattern| pattern.tiles(layout, BLOCK).count() * BLOCK * BLOCK;
            let kept = |pattern: Pattern| pattern.cache_plan(layout).size();
            table.row([
                pattern.to_string(),
                mask.pairs().to_string(),
                share(mask.pairs(), sequence * sequence),
                tiles(pattern).to_string(),
                share(tiles(pattern), tiles(Pattern::Full)),
                kept(pattern).to_string(),
                share(kept(pattern), kept(Pattern::Full)),
            ]);
        }
        table
    }

    /// Which pattern each of `depth` layers has in the paper: a column layer every fourth, a convolution last.
    pub fn paper_layers(depth: usize, kernel: usize) -> Table {
        let mut table = Table::new(["pattern", "layers", "which, counted from 0"]);
        let order = paper_order(depth, kernel);
        for pattern in [Pattern::Row, Pattern::Column, Pattern::Conv { kernel }] {
            let layers: Vec<String> =
                (0..depth).filter(|&layer| order[layer] == pattern).map(|layer| layer.to_string()).collect();
            let named = match &layers[..] {
                [first @ .., last] if first.len() > 8 => format!("{}, …, {last}", first[..8].join(", ")),
                all => all.join(", "),
            };
            table.row([pattern.to_string(), layers.len().to_string(), named]);
        }
        table
    }
}

impl Display for Mask {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Layout { text, grid } = self.layout;
        let pairs = self.pairs();
        write!(f, "{}: {text} text slots and {grid} × {grid} image slots, {pairs} pairs", self.pattern)
    }
}

impl Show for Mask {
    fn rich(&self) -> Result<Rich> {
        let dense = self.pattern.dense(self.layout);
        let rows: Vec<Vec<bool>> = dense.chunks(self.layout.sequence()).map(<[bool]>::to_vec).collect();
        let svg = masks::mask(&self.pattern.to_string(), &rows, self.layout.text);
        Ok(Rich::Svg(sheet(&[Cell::chart(&svg)], 1, &self.to_string())))
    }
}

shown!(Mask);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_sees_the_text_and_its_column() {
        let seen = Mask::new("col", 3, 2).unwrap().seen_by(1, 1).unwrap();
        assert_eq!((seen.width(), seen.height()), (2, 2 + 1 + 2));
        let pixel = |row, column| seen.pixel(row, column).unwrap();
        let (text, image) = (drawing::IMAGE_TO_TEXT, drawing::IMAGE_TO_IMAGE);
        assert_eq!([pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1)], [text, text, text, [255; 3]]);
        assert_eq!(
            [pixel(3, 0), pixel(3, 1), pixel(4, 0), pixel(4, 1)],
            [drawing::UNSEEN, image, drawing::UNSEEN, QUERY]
        );
    }

    #[test]
    fn what_is_no_mask_is_an_error_and_no_panic() {
        assert!(Mask::new("diagonal", 3, 2).is_err());
        assert!(Mask::new("row", 0, 0).is_err() && Mask::new("row", 1, usize::MAX).is_err());
        let mask = Mask::new("row", 3, 2).unwrap();
        assert!(mask.seen_by(2, 0).is_err() && !mask.sees(99, 0) && !mask.sees(0, 99));
    }

    #[test]
    fn costs_are_shares_of_full_attention() {
        let masks = ["full", "row"].map(|name| Mask::new(name, 4, 8).unwrap());
        let table = Mask::costs(&masks).to_string();
        assert!(table.lines().nth(1).unwrap().ends_with("100.0 %"), "{table}");
        assert!(Mask::paper_layers(64, 11).to_string().contains("conv:11"));
    }
}
