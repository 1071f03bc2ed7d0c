//! Who attends to whom: the paper's row, column and convolutional patterns (arXiv 2102.12092, section 2.2 and figure 11).
//!
//! `cargo run --release --example 01-masks`

use dalle::{Mask, Result};

fn main() -> Result<()> {
    // Six text slots, then a grid of 4 × 4 image slots in raster order: the sequence of figure 11.
    let (text, grid) = (6, 4);
    let masks: Vec<Mask> = ["full", "row", "col", "conv:3"]
        .into_iter()
        .map(|pattern| Mask::new(pattern, text, grid))
        .collect::<Result<_>>()?;

    // What the image position in row 2 and column 1 sees of the image; all of them see the whole text.
    let query = text + 2 * grid + 1;
    for mask in &masks {
        println!("{mask}");
        for row in 0..grid {
            let seen = |column| if mask.sees(query, text + row * grid + column) { " #" } else { " ." };
            println!("  {}", (0..grid).map(seen).collect::<String>());
        }
    }

    // No pattern looks ahead, and every slot sees itself.
    let slots = text + grid * grid;
    for mask in &masks {
        for query in 0..slots {
            assert!(mask.sees(query, query));
            assert!((query + 1..slots).all(|key| !mask.sees(query, key)));
        }
    }

    // What they cost at the paper's size, in pairs, in tiles that training multiplies, and in keys that sampling keeps; and which
    // of the paper's 64 layers has which.
    let paper: Vec<Mask> =
        ["full", "row", "col", "conv:11"].into_iter().map(|name| Mask::new(name, 256, 32)).collect::<Result<_>>()?;
    println!("\n{}\n{}", Mask::costs(&paper), Mask::paper_layers(64, 11));
    Ok(())
}
