//! A mask of one's own: any function of (query, key), compiled into the tiles that attention walks. Such masks are what
//! `Transformer::forward` takes, one a layer; a pattern that specs can name is a variant of `mask::Pattern`.
//!
//! `cargo run --release --example 05-your-own-mask`

use dalle::Result;
use dalle::ops::{AttentionOp, Mask, to_vec};
use dalle::random::Rng;
use dfdx::prelude::{Const, Cpu, TensorFromVec};

const TEXT: usize = 4;
const GRID: usize = 6;
const SLOTS: usize = TEXT + GRID * GRID;

dalle::block!(
    /// What attention must know of a layer: two heads of eight.
    Narrow: dim 16, heads 2);

/// Everything sees the text; of the image, a position sees the two diagonals that meet in it, as far as they have come.
fn diagonals(query: usize, key: usize) -> bool {
    if key < TEXT {
        return true;
    }
    let (query, key) = (query - TEXT, key - TEXT);
    (query / GRID).abs_diff(key / GRID) == (query % GRID).abs_diff(key % GRID)
}

/// Attention of one sequence: queries, keys and values (1, S, 3·16), from them (1, S, 16).
fn attend(qkv: Vec<f32>, mask: &Mask) -> Result<Vec<f32>> {
    let qkv = Cpu::default().try_tensor_from_vec(qkv, (Const::<1>, SLOTS, Const::<48>))?;
    Ok(to_vec(Cpu::attention::<Narrow, _, _, _>(qkv, mask)?)?)
}

fn main() -> Result<()> {
    // It is asked for earlier slots only: no mask looks ahead, and every slot sees itself.
    let mask = Mask::from_fn(SLOTS, &diagonals);

    let mut rng = Rng::new(0, "qkv", 0, 0);
    let qkv: Vec<f32> = (0..SLOTS * 48).map(|_| rng.normal() as f32).collect();
    let before = attend(qkv.clone(), &mask)?;

    // Who sees the position in row 1 and column 2? Those whose output changes with it.
    let key = TEXT + GRID + 2;
    let mut changed = qkv;
    changed[key * 48..(key + 1) * 48].iter_mut().for_each(|value| *value += 1.0);
    let after = attend(changed, &mask)?;
    let sees = |query: usize| before[query * 16..(query + 1) * 16] != after[query * 16..(query + 1) * 16];
    for row in 0..GRID {
        let seen = |column| if sees(TEXT + row * GRID + column) { " #" } else { " ." };
        println!("{}", (0..GRID).map(seen).collect::<String>());
    }
    for query in 0..SLOTS {
        assert_eq!(sees(query), query == key || (query > key && diagonals(query, key)), "slot {query}");
    }
    Ok(())
}
