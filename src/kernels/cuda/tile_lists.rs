//! A mask's tiles as attention.cu reads them: by queries and, for the gradients of keys and values, by keys.

use std::collections::HashMap;

/// The side of the tiles, in positions.
pub const SIDE: usize = 64;
/// In the place of a mask's number: every pair of the tile is seen.
pub const WHOLE: u32 = u32::MAX;
/// Words of a mask: for each query of the tile, a bit for each key; then for each key, a bit for each query.
pub const MASK_WORDS: usize = 2 * SIDE * SIDE / 32;

/// What the kernels are given, each as memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileLists {
    /// The position at each place of the tile order.
    pub order: Vec<u32>,
    /// For each block of queries where its tiles start, counted in tiles, and at last where they end; then two words for each
    /// tile: its block of keys and the number of its mask or [`WHOLE`].
    pub rows: Vec<u32>,
    /// The same for each block of keys, with its blocks of queries.
    pub columns: Vec<u32>,
    /// [`MASK_WORDS`] for each mask. Tiles with the same bits have the same mask.
    pub masks: Vec<u32>,
}

impl TileLists {
    /// Of the tiles of each block of queries: their block of keys, and row-major `[SIDE, SIDE]` which pairs are seen, or `None`
    /// for all that lie inside the sequence.
    pub fn new<'a, R>(order: &[usize], rows: impl IntoIterator<Item = R>) -> TileLists
    where
        R: IntoIterator<Item = (usize, Option<&'a [bool]>)>,
    {
        let blocks = order.len().div_ceil(SIDE);
        let slots = |block: usize| SIDE.min(order.len() - block * SIDE);
        let (mut masks, mut numbers) = (Vec::new(), HashMap::new());
        let (mut by_row, mut by_column) = (vec![Vec::new(); blocks], vec![Vec::new(); blocks]);
        for (row, tiles) in rows.into_iter().enumerate() {
            for (column, bits) in tiles {
                let (queries, keys) = (slots(row), slots(column));
                let mask = if bits.is_none() && queries == SIDE && keys == SIDE {
                    WHOLE
                } else {
                    let seen = |query: usize, key: usize| {
                        query < queries && key < keys && bits.is_none_or(|bits| bits[query * SIDE + key])
                    };
                    let words = [words(seen), words(|key, query| seen(query, key))].concat();
                    let next = numbers.len() as u32;
                    *numbers.entry(words).or_insert_with_key(|words| {
                        masks.extend_from_slice(words);
                        next
                    })
                };
                by_row[row].push([column as u32, mask]);
                by_column[column].push([row as u32, mask]);
            }
        }
        let order = order.iter().map(|&position| position as u32).collect();
        TileLists { order, rows: list(&by_row), columns: list(&by_column), masks }
    }
}

/// A tile's bits, the first of each word in its lowest place.
fn words(seen: impl Fn(usize, usize) -> bool) -> Vec<u32> {
    let word = |at: usize| {
        let (row, first) = (at * 32 / SIDE, at * 32 % SIDE);
        (0..32).fold(0, |word, bit| word | u32::from(seen(row, first + bit)) << bit)
    };
    (0..MASK_WORDS / 2).map(word).collect()
}

fn list(blocks: &[Vec<[u32; 2]>]) -> Vec<u32> {
    let starts = blocks.iter().scan(0, |end, tiles| {
        *end += tiles.len() as u32;
        Some(*end)
    });
    std::iter::once(0).chain(starts).chain(blocks.iter().flatten().flatten().copied()).collect()
}
