//! What a unit reads and writes.
//!
//! Legend: line: 32 neighbouring bf16, 64 bytes; pair: two bf16 of neighbouring k, the first in the lower half.

/// Factors of one line.
pub(in crate::kernels::cpu) const LINE: usize = 32;
/// Rows and columns of c that are computed at once.
pub(in crate::kernels::cpu) const SIDE: usize = 32;

/// 64 bytes, as a cache keeps them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::kernels::cpu) struct Line(pub [u16; LINE]);

pub(super) const ZERO: Line = Line([0; LINE]);

/// The 32 columns of 32 k: first 16 columns, then the others, each as 16 lines of the pairs of one k and the next.
pub(in crate::kernels::cpu) type Tile = [[Line; SIDE / 2]; 2];

/// A block of c.
pub(in crate::kernels::cpu) type Sums = [[f32; SIDE]; SIDE];

/// 32 rows of a left factor. A row is one or more segments of lines; rows may overlap, as the patches of a convolution do.
#[derive(Clone, Copy)]
pub(in crate::kernels::cpu) struct Left<'a> {
    /// The numbers, in bf16.
    pub values: &'a [u16],
    /// From one row to the next.
    pub stride: usize,
    /// Where each segment of the first row begins.
    pub segments: &'a [usize],
    /// Of each segment.
    pub lines: usize,
}

impl Left<'_> {
    /// Asserts that all rows are there, and a tile for each line.
    pub(super) fn check(&self, b: &[&[Tile]]) {
        assert_eq!(self.segments.len(), b.len(), "bf16: the segments of a row of a, and of b");
        for (&start, tiles) in self.segments.iter().zip(b) {
            assert_eq!(self.lines, tiles.len(), "bf16: the lines of a segment, and its tiles");
            let end = start + (SIDE - 1) * self.stride + self.lines * LINE;
            assert!(end <= self.values.len(), "bf16: {} values of a, expected {end}", self.values.len());
        }
    }

    /// Line `line` of a segment of row `row`.
    #[inline(always)]
    pub(super) fn line(&self, segment: usize, row: usize, line: usize) -> &[u16; LINE] {
        let from = self.segments[segment] + row * self.stride + line * LINE;
        self.values[from..].first_chunk().expect("checked")
    }
}

const _: () = assert!(size_of::<Line>() == 2 * LINE && size_of::<Tile>() == SIDE * size_of::<Line>());
