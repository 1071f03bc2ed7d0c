//! The preset table: what a spec's `preset:` may name. A new width is a new row here.

use crate::preset;

preset! {
    /// For tests: everything in a second.
    Tiny = "tiny" in tiny;
    dvae { side 16, grid 4, codes 32, init 8, down [8, 16, 32], up [32, 16, 8], blocks 1 }
    transformer { text 12, bpe 64, dim 32, heads 2, depth 2 }
    clip { patch 4, dim 32, heads 2, depth 1, embed 16 }
}

preset! {
    /// The quickstart: trains in minutes on two cores.
    Mini = "mini" in mini;
    dvae { side 32, grid 8, codes 256, init 64, down [32, 64, 128], up [128, 96, 64], blocks 1 }
    transformer { text 40, bpe 256, dim 128, heads 4, depth 4 }
    clip { patch 4, dim 128, heads 4, depth 3, embed 64 }
}

preset! {
    /// Real pictures on two cores in an hour.
    Emoji = "emoji" in emoji;
    dvae { side 32, grid 8, codes 512, init 64, down [48, 96, 192], up [192, 128, 96], blocks 1 }
    transformer { text 48, bpe 2048, dim 256, heads 8, depth 6 }
    clip { patch 4, dim 192, heads 4, depth 4, embed 128 }
}

preset! {
    /// An own transformer and CLIP over a published first stage that takes 8×8 pixels to one of 8,192 codes: OpenAI's dVAE, ruDALL-E's
    /// VQGAN (`first_stage.from`).
    Published = "published" in published;
    dvae { side 128, grid 16, codes 8192, init 64, down [64, 64, 128, 128], up [128, 128, 64, 64], blocks 1 }
    transformer { text 64, bpe 4096, dim 256, heads 8, depth 8 }
    clip { patch 16, dim 256, heads 4, depth 4, embed 128 }
}

preset! {
    /// The benchmark's smaller shape.
    BenchS = "bench-s" in bench_s;
    dvae { side 64, grid 16, codes 1024, init 64, down [64, 128, 256], up [256, 128, 64], blocks 2 }
    transformer { text 64, bpe 4096, dim 512, heads 8, depth 8 }
    clip { patch 8, dim 256, heads 4, depth 4, embed 128 }
}

preset! {
    /// The benchmark's larger shape.
    BenchL = "bench-l" in bench_l;
    dvae { side 256, grid 32, codes 8192, init 128, down [64, 128, 256, 512], up [512, 256, 128, 64], blocks 2 }
    transformer { text 256, bpe 16384, dim 512, heads 8, depth 8 }
    clip { patch 32, dim 512, heads 8, depth 4, embed 512 }
}

preset! {
    /// The paper's own: twelve billion parameters. It type-checks and can be planned; no machine here holds it.
    Paper = "paper" in paper;
    dvae { side 256, grid 32, codes 8192, init 128, down [256, 512, 1024, 2048], up [2048, 1024, 512, 256], blocks 2 }
    transformer { text 256, bpe 16384, dim 3968, heads 62, depth 64 }
    clip { patch 32, dim 768, heads 12, depth 12, embed 512 }
}

/// Every name of the table.
pub const NAMES: &[&str] = &["tiny", "mini", "emoji", "published", "bench-s", "bench-l", "paper"];

/// Evaluates `$run` with `$preset` standing for the preset named at run time: the one place where a name becomes a type.
/// `None` for an unknown name.
#[doc(hidden)]
#[macro_export]
macro_rules! with_preset {
    ($name:expr, $preset:ident => $run:expr) => {
        $crate::with_preset!($name, $preset => $run;
            "tiny" Tiny, "mini" Mini, "emoji" Emoji, "published" Published, "bench-s" BenchS, "bench-l" BenchL, "paper" Paper)
    };
    ($name:expr, $preset:ident => $run:expr; $($label:literal $kind:ident),*) => {
        match $name {
            $($label => {
                type $preset = $crate::models::presets::$kind;
                Some($run)
            })*
            _ => None,
        }
    };
}
