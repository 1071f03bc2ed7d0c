//! The block-sparse form of a mask: square tiles, of which the empty ones are left out and the full ones need no bits.
//!
//! Legend: tile (I, J) holds queries `I·block..` and keys `J·block..`, counted in tile order. Tile order is the
//! sequence's own, except for the column patterns, whose image is enumerated column by column: so a column is a dense
//! causal block instead of a stripe through every tile (the transposition of figure 11c).

use super::{Layout, Pattern};

/// One tile of which at least one pair is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Its block of keys.
    pub column: usize,
    /// Row-major `[block, block]`, or `None` if every pair that lies inside the sequence is seen. Pairs beyond the
    /// sequence's end, which the last tiles may have, are false here and must be skipped where there are no bits.
    pub bits: Option<Vec<bool>>,
}

/// A mask as rows of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiles {
    /// The side of a tile, in slots.
    pub block: usize,
    /// The slot at each place of the tile order: gather queries, keys and values by it, and scatter the output.
    pub order: Vec<usize>,
    rows: Vec<Vec<Tile>>,
}

impl Tiles {
    /// Every query sees every key.
    pub fn full(sequence: usize, block: usize) -> Tiles {
        let side = sequence.div_ceil(block);
        let row = || (0..side).map(|column| Tile { column, bits: None }).collect();
        Tiles { block, order: (0..sequence).collect(), rows: (0..side).map(|_| row()).collect() }
    }

    /// The tiles of `block`×`block` slots of the mask `sees(query, key)`, with the slots at their places of `order`: no slot
    /// may see one whose place is later.
    pub fn from_fn(order: Vec<usize>, block: usize, sees: &dyn Fn(usize, usize) -> bool) -> Tiles {
        let mut tiles = Tiles { block, order, rows: Vec::new() };
        let side = tiles.order.len().div_ceil(block);
        tiles.rows =
            (0..side).map(|row| (0..=row).filter_map(|column| tiles.tile(row, column, sees)).collect()).collect();
        tiles
    }

    /// The tile of two blocks; none where no pair is seen.
    fn tile(&self, row: usize, column: usize, sees: &dyn Fn(usize, usize) -> bool) -> Option<Tile> {
        let (queries, keys) = (self.slots(row), self.slots(column));
        let mut bits = vec![false; self.block * self.block];
        let mut seen = 0;
        for (&query, bits) in queries.iter().zip(bits.chunks_exact_mut(self.block)) {
            for (&key, bit) in keys.iter().zip(bits) {
                *bit = sees(query, key);
                seen += usize::from(*bit);
            }
        }
        match seen {
            0 => None,
            _ if seen == queries.len() * keys.len() => Some(Tile { column, bits: None }),
            _ => Some(Tile { column, bits: Some(bits) }),
        }
    }

    /// The tiles of each block of queries, by increasing `column`.
    pub fn rows(&self) -> &[Vec<Tile>] {
        &self.rows
    }

    /// The number of tiles of each block of queries.
    pub fn counts(&self) -> Vec<usize> {
        self.rows.iter().map(Vec::len).collect()
    }

    /// The number of tiles.
    pub fn count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// The mask that the tiles cover, row-major `[sequence, sequence]` in the sequence's own order: the oracle of any
    /// kernel that walks the tiles.
    pub fn dense(&self) -> Vec<bool> {
        let sequence = self.order.len();
        let mut mask = vec![false; sequence * sequence];
        for (row, tiles) in self.rows.iter().enumerate() {
            for tile in tiles {
                for (i, &query) in self.slots(row).iter().enumerate() {
                    for (j, &key) in self.slots(tile.column).iter().enumerate() {
                        mask[query * sequence + key] = tile.bits.as_ref().is_none_or(|bits| bits[i * self.block + j]);
                    }
                }
            }
        }
        mask
    }

    /// The slots of block `index`: `block` of them, fewer at the end.
    fn slots(&self, index: usize) -> &[usize] {
        let start = index * self.block;
        &self.order[start..self.order.len().min(start + self.block)]
    }
}

impl Pattern {
    /// The mask in tiles of `block`×`block` slots; `block` must not be 0.
    pub fn tiles(self, layout: Layout, block: usize) -> Tiles {
        // No pattern sees ahead in its tile order either: columns are visited one after the other.
        Tiles::from_fn(self.tile_order(layout), block, &|query, key| self.sees(layout, query, key))
    }

    /// The work of one layer: how many tiles of `block`×`block` slots its attention visits.
    pub fn work(self, layout: Layout, block: usize) -> usize {
        self.tiles(layout, block).count()
    }

    fn tile_order(self, layout: Layout) -> Vec<usize> {
        let sequence = layout.sequence();
        if !matches!(self, Pattern::Column | Pattern::AxialColumn) {
            return (0..sequence).collect();
        }
        let prefix = self.prefix(layout).min(sequence);
        let columns = (prefix..sequence.min(prefix + layout.grid)).flat_map(|top| (top..sequence).step_by(layout.grid));
        (0..prefix).chain(columns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_tile_counts() {
        let layout = Layout { text: 256, grid: 32 };
        let work = |pattern: Pattern| pattern.work(layout, 32);
        assert_eq!(work(Pattern::Full), 820);
        assert_eq!(work(Pattern::Row), 355);
        assert_eq!(work(Pattern::Column), 324);
        assert_eq!(work(Pattern::Conv { kernel: 11 }), 495);
        assert_eq!(Pattern::Row.tiles(layout, 32).counts()[7..11], [8, 9, 10, 10]);
    }

    #[test]
    fn only_tiles_that_the_mask_cuts_have_bits() {
        let layout = Layout { text: 8, grid: 4 };
        let tiles = Pattern::Column.tiles(layout, 4);
        let cut =
            |row: usize| tiles.rows()[row].iter().map(|tile| (tile.column, tile.bits.is_some())).collect::<Vec<_>>();
        assert_eq!(cut(0), [(0, true)]);
        assert_eq!(cut(1), [(0, false), (1, true)]);
        assert_eq!(cut(3), [(0, false), (1, false), (3, true)]);
        assert_eq!(tiles.order[8..13], [8, 12, 16, 20, 9]);
    }
}
