//! Attention patterns as data (arXiv 2102.12092, section 2.2, appendix B.1 and figure 11).
//!
//! [`Pattern::sees`] is the one definition of which key a query may attend to. The dense mask, the block-sparse
//! [`Tiles`], the [`Reach`] of a key and the [`CachePlan`] that follows from it, the [`drawing`](Pattern::drawing) of a report and the order
//! of the layers all come from it. Every pattern is causal, every position sees itself, text never sees the image, and the image sees the
//! whole text. A mask of one's own is a function of (query, key): `ops::Mask::from_fn` runs it.
//!
//! Legend: `text` text slots come first, then `grid`² image slots in raster order; `sequence = text + grid²`. A slot is
//! named by the token that it *predicts*, so slot `text + i` stands for the image position in row `i / grid` and column
//! `i % grid`. Masks are row-major `[query, key]`.

mod cache;
pub(crate) mod drawing;
mod order;
mod reach;
#[cfg(test)]
pub(crate) mod testing;
mod tiles;

pub use cache::CachePlan;
pub use order::paper_order;
pub use reach::Reach;
pub use tiles::{Tile, Tiles};

use crate::{Error, Result};

/// The sequence that a mask covers: text slots, then a square grid of image slots in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The number of text slots, pads included.
    pub text: usize,
    /// The side of the image grid; 0 leaves a text-only sequence.
    pub grid: usize,
}

impl Layout {
    /// The number of image slots; the largest number where there are more, so that no limit takes it for a small one.
    pub const fn image(self) -> usize {
        self.grid.saturating_mul(self.grid)
    }

    /// The number of slots: text and image, as [`Layout::image`] counts them.
    pub const fn sequence(self) -> usize {
        self.text.saturating_add(self.image())
    }
}

/// The largest side of a convolution's kernel: far more than any grid has.
pub const MOST_KERNEL: usize = 4095;

/// Whether a convolution's window may have this side: odd, and at most [`MOST_KERNEL`].
pub fn is_kernel(side: usize) -> bool {
    side % 2 == 1 && side <= MOST_KERNEL
}

/// Which earlier positions an image position attends to.
///
/// The first four are the paper's; ru-dalle's are [`Row`](Pattern::Row), [`Column`](Pattern::Column) and a
/// [`Window`](Pattern::Window). The last three are those of dalle-pytorch, for its checkpoints and for comparison: they
/// place a slot by the token that it *reads*, one position behind the token that it predicts, so the first image slot
/// (which reads the end of the text there) still counts as text, and slot `text + 1 + i` stands for image position `i`.
///
/// As text: `full`, `row`, `col`, `conv:11`, `axial_row`, `axial_col`, `conv_like:5`, as in a spec, and for imported models
/// `conv_clip:11`, `conv_cylinder:11`, `conv_torus:11`. A bare `conv_like` has dalle-pytorch's kernel 5, the other
/// convolutions the paper's 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    /// Every earlier position.
    Full,
    /// The previous `grid` positions in raster order and the position itself: it wraps over the row's edge and ends with
    /// the position right above.
    Row,
    /// The same column in earlier rows, and the position itself.
    Column,
    /// The causal half of a `kernel`×`kernel` window centred on the position, as flat raster offsets: past a row's edge
    /// it goes on in the neighbouring row.
    Conv {
        /// The window's side, odd.
        kernel: usize,
    },
    /// The causal half of a `kernel`×`kernel` window centred on the position, by rows and columns: other readings of the
    /// paper's figure, and what ru-dalle does.
    Window {
        /// The window's side, odd.
        kernel: usize,
        /// What becomes of the window beyond the grid.
        edge: Edge,
    },
    /// dalle-pytorch: the position's own row, without wrapping.
    AxialRow,
    /// dalle-pytorch: the position's own column.
    AxialColumn,
    /// dalle-pytorch: the `kernel`×`kernel` window whose bottom right corner is the position, without wrapping.
    ConvLike {
        /// The window's side, odd.
        kernel: usize,
    },
}

/// How a [`Pattern::Window`] goes on beyond the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// It ends there: ru-dalle's v3.
    Clip,
    /// Columns wrap within their row, rows end.
    Cylinder,
    /// Columns and rows wrap: ru-dalle's v2. A position near the top sees nothing of the bottom, which is still to come;
    /// one near the bottom sees the top.
    Torus,
}

impl Pattern {
    /// Whether slot `query` attends to slot `key`; both are below `layout.sequence()`. This is the definition.
    pub fn sees(self, layout: Layout, query: usize, key: usize) -> bool {
        let prefix = self.prefix(layout);
        if key > query {
            return false;
        }
        if key < prefix {
            return true;
        }
        let grid = layout.grid;
        let (query, key) = (query - prefix, key - prefix);
        let offset = query - key;
        match self {
            Pattern::Full => true,
            Pattern::Row => offset <= grid,
            Pattern::Column | Pattern::AxialColumn => offset.is_multiple_of(grid),
            Pattern::Conv { kernel } => {
                // The nearest centre of a window row at or before the key; a small grid has windows that overlap.
                let half = kernel / 2;
                let rows = ((offset + half) / grid).min(half);
                offset.saturating_sub(rows * grid) <= half
            }
            Pattern::Window { kernel, edge } => {
                let away = |distance: usize, wraps: bool| if wraps { distance.min(grid - distance) } else { distance };
                let rows = away(query / grid - key / grid, edge == Edge::Torus);
                rows.max(away((query % grid).abs_diff(key % grid), edge != Edge::Clip)) <= kernel / 2
            }
            Pattern::AxialRow => query / grid == key / grid,
            Pattern::ConvLike { kernel } => {
                let (row, column) = (query / grid, query % grid);
                let (key_row, key_column) = (key / grid, key % grid);
                row - key_row < kernel && key_column <= column && column - key_column < kernel
            }
        }
    }

    /// The dense mask, row-major `[sequence, sequence]`: true where the query (row) sees the key (column).
    pub fn dense(self, layout: Layout) -> Vec<bool> {
        let sequence = layout.sequence();
        let mut mask = vec![false; sequence * sequence];
        for (query, row) in mask.chunks_exact_mut(sequence.max(1)).enumerate() {
            for (key, seen) in row[..=query].iter_mut().enumerate() {
                *seen = self.sees(layout, query, key);
            }
        }
        mask
    }

    /// The slots before the first that the pattern places on the grid: the text, and for dalle-pytorch's patterns the
    /// first image slot too.
    fn prefix(self, layout: Layout) -> usize {
        match self {
            Pattern::AxialRow | Pattern::AxialColumn | Pattern::ConvLike { .. } => layout.text + 1,
            _ => layout.text,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pattern::Full => f.write_str("full"),
            Pattern::Row => f.write_str("row"),
            Pattern::Column => f.write_str("col"),
            Pattern::Conv { kernel } => write!(f, "conv:{kernel}"),
            Pattern::Window { kernel, edge: Edge::Clip } => write!(f, "conv_clip:{kernel}"),
            Pattern::Window { kernel, edge: Edge::Cylinder } => write!(f, "conv_cylinder:{kernel}"),
            Pattern::Window { kernel, edge: Edge::Torus } => write!(f, "conv_torus:{kernel}"),
            Pattern::AxialRow => f.write_str("axial_row"),
            Pattern::AxialColumn => f.write_str("axial_col"),
            Pattern::ConvLike { kernel } => write!(f, "conv_like:{kernel}"),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = Error;

    /// Reads the names that [`Pattern`] lists.
    ///
    /// # Errors
    /// [`Error::Usage`] for another name, a kernel that is not an odd number, or a kernel where none belongs.
    fn from_str(text: &str) -> Result<Self> {
        let (name, kernel) = match text.split_once(':') {
            Some((name, kernel)) => (name, Some(kernel)),
            None => (text, None),
        };
        let kernel_or = |default: usize| match kernel {
            None => Ok(default),
            Some(digits) => digits.parse().ok().filter(|&kernel| is_kernel(kernel)).ok_or_else(|| {
                Error::Usage(format!(
                    "attention pattern {text:?}: expected an odd kernel of at most {MOST_KERNEL}, got {digits:?}"
                ))
            }),
        };
        let pattern = match name {
            "conv" => return Ok(Pattern::Conv { kernel: kernel_or(11)? }),
            "conv_clip" => return Ok(Pattern::Window { kernel: kernel_or(11)?, edge: Edge::Clip }),
            "conv_cylinder" => return Ok(Pattern::Window { kernel: kernel_or(11)?, edge: Edge::Cylinder }),
            "conv_torus" => return Ok(Pattern::Window { kernel: kernel_or(11)?, edge: Edge::Torus }),
            "conv_like" => return Ok(Pattern::ConvLike { kernel: kernel_or(5)? }),
            "full" => Pattern::Full,
            "row" => Pattern::Row,
            "col" => Pattern::Column,
            "axial_row" => Pattern::AxialRow,
            "axial_col" => Pattern::AxialColumn,
            _ => {
                return Err(Error::Usage(format!(
                    "unknown attention pattern {text:?}: expected full, row, col, axial_row, axial_col, or conv, conv_clip, \
                     conv_cylinder, conv_torus or conv_like with [:kernel]"
                )));
            }
        };
        match kernel {
            None => Ok(pattern),
            Some(_) => Err(Error::Usage(format!("attention pattern {text:?}: only convolutions take a kernel"))),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: Layout = Layout { text: 256, grid: 32 };

    #[test]
    fn the_papers_extents() {
        let image_keys = |pattern: Pattern, query: usize| {
            (256..=query).filter(|&key| pattern.sees(PAPER, query, key)).collect::<Vec<_>>()
        };
        let conv = image_keys(Pattern::Conv { kernel: 11 }, 1279);
        assert_eq!((conv.len(), 1279 - conv[0]), (61, 165));
        assert_eq!(image_keys(Pattern::Row, 1000), (968..=1000).collect::<Vec<_>>());
        assert_eq!(image_keys(Pattern::Column, 256 + 70), [256 + 6, 256 + 38, 256 + 70]);
    }

    #[test]
    fn the_papers_figure() {
        // Figure 11's hypothetical transformer: 6 text tokens, a 4×4 grid, extent 5 and a 3×3 kernel. The query is
        // image position 9, row 2 and column 1.
        let seen = |pattern: Pattern| {
            let layout = Layout { text: 6, grid: 4 };
            (0..16).filter(|key| pattern.sees(layout, 15, 6 + key)).collect::<Vec<_>>()
        };
        assert_eq!(seen(Pattern::Full), (0..=9).collect::<Vec<_>>());
        assert_eq!(seen(Pattern::Row), [5, 6, 7, 8, 9]);
        assert_eq!(seen(Pattern::Column), [1, 5, 9]);
        assert_eq!(seen(Pattern::Conv { kernel: 3 }), [4, 5, 6, 8, 9]);
        // One behind: the slot reads image position 8, row 2 and column 0, and key slots shift alike.
        assert_eq!(seen(Pattern::AxialRow), [0, 9]);
        assert_eq!(seen(Pattern::AxialColumn), [0, 1, 5, 9]);
        assert_eq!(seen(Pattern::ConvLike { kernel: 3 }), [0, 1, 5, 9]);
    }

    #[test]
    fn names_are_read_back() {
        let windows = ["conv_clip:7", "conv_cylinder:3", "conv_torus:5"];
        let names =
            ["full", "row", "col", "conv:7", "axial_row", "axial_col", "conv_like:3"].into_iter().chain(windows);
        for name in names {
            assert_eq!(name.parse::<Pattern>().unwrap().to_string(), name);
        }
        assert_eq!("conv".parse::<Pattern>().unwrap(), Pattern::Conv { kernel: 11 });
        assert_eq!("conv_like".parse::<Pattern>().unwrap(), Pattern::ConvLike { kernel: 5 });
        for wrong in ["rows", "", "conv:", "conv:4", "conv:0", "conv:-3", "row:3", "Row"] {
            assert!(matches!(wrong.parse::<Pattern>(), Err(Error::Usage(_))), "{wrong:?}");
        }
        let list: Vec<Pattern> = serde_json::from_str(r#"["row", "conv:5"]"#).unwrap();
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"["row","conv:5"]"#);
    }

    #[test]
    fn a_layout_that_overflows_is_larger_than_any_limit() {
        for layout in [
            Layout { text: 1, grid: 1 << 32 },
            Layout { text: 1, grid: usize::MAX },
            Layout { text: usize::MAX, grid: 1 },
        ] {
            assert_eq!(layout.sequence(), usize::MAX);
        }
        assert_eq!((PAPER.image(), PAPER.sequence()), (1024, 1280));
        assert!("conv:18446744073709551615".parse::<Pattern>().is_err());
    }

    #[test]
    fn a_sequence_of_text_alone_is_causal() {
        let layout = Layout { text: 3, grid: 0 };
        for pattern in [Pattern::Full, Pattern::Row, Pattern::AxialColumn] {
            assert_eq!(pattern.dense(layout), [true, false, false, true, true, false, true, true, true]);
        }
    }
}
