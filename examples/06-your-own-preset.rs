//! A preset of one's own: the sizes of all three models as types, checked against each other when they compile, and a first stage
//! of that size trained for a few steps. A row of `src/models/presets.rs` makes it one that specs can name.
//!
//! `cargo run --release --example 06-your-own-preset`

use dalle::Result;
use dalle::data::shapes::Split;
use dalle::data::{Loader, Shapes, View, pixels};
use dalle::models::{clip::Clip, dvae::Dvae, transformer::Transformer};
use dalle::nn::size;
use dalle::shape::Preset;
use dalle::spec::{FirstStageConfig, Method};
use dalle::train::{Batch, first_stage};
use dfdx::prelude::Cpu;

// Three heads for a width of 32 would not compile, nor 16 pixels over a grid of 5: the message says which rule is broken.
dalle::preset! {
    /// Half of preset tiny.
    Narrow = "narrow" in narrow;
    dvae { side 16, grid 4, codes 16, init 8, down [4, 8, 16], up [16, 8, 4], blocks 1 }
    transformer { text 12, bpe 64, dim 16, heads 2, depth 2 }
    clip { patch 4, dim 16, heads 2, depth 1, embed 8 }
}

fn main() -> Result<()> {
    let () = Narrow::CHECK;
    println!("preset {}", Narrow::NAME); // how many numbers its models learn; nothing is built for it
    println!("  dvae        {:>6} parameters", size::<Dvae<narrow::Dvae, f32, Cpu>, f32, Cpu>());
    println!("  transformer {:>6}", size::<Transformer<narrow::Transformer, f32, Cpu>, f32, Cpu>());
    println!("  clip        {:>6}", size::<Clip<narrow::Clip, f32, Cpu>, f32, Cpu>());

    let shapes = Shapes { side: 16, seed: 0, split: Split::Train, count: 256 };
    let mut loader = Loader::new(&shapes, "shapes", View::EVALUATION, 16, (0, "dvae"), 0.0)?;
    let config = FirstStageConfig::recipe(40, Method::Muon);
    let mut stage = first_stage::build::<narrow::Dvae, Cpu>(&config, 0, Cpu::default())?;
    let mut losses = Vec::new();
    for step in 0..config.steps {
        let pixels = pixels(&loader.batch(step, config.batch)?);
        losses.push(stage.step(step, &Batch { size: config.batch, pixels, ..Batch::default() })?.loss);
    }
    println!("loss {:.3} → {:.3} nats per value", losses[0], losses[losses.len() - 1]);
    assert!(losses[losses.len() - 1] < losses[0]);

    let codes = stage.frozen()?.encode(1, &pixels(&loader.batch(0, 1)?))?;
    println!("codes {codes:?}");
    assert!(codes.len() == 16 && codes.iter().all(|&code| code < 16));
    Ok(())
}
