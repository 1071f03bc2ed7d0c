//! A preset of one's own, defined in a cell.

use super::run::Run;
use super::show::{Rich, Show, shown};
use super::spec::Spec;
use super::table::Table;
use crate::Result;
use crate::harness::models;
use crate::models::{clip::Clip, dvae::Dvae, transformer::Transformer};
use crate::nn;
use crate::shape::{ClipShape, DvaeShape, Preset, TextTowerShape, TransformerShape};
use dfdx::prelude::{ConstDim, Cpu};
use std::fmt::{self, Display, Formatter};

/// What the sizes of a preset of one's own ([`preset!`](crate::preset)) come to, and how it is trained.
#[derive(Clone)]
pub struct Sizes {
    name: &'static str,
    table: Table,
    train: models::Build,
}

impl Sizes {
    /// Those of preset `P`. A preset whose numbers do not fit each other does not compile.
    ///
    /// ```
    /// mod mine {
    ///     dalle::preset! { Narrow = "narrow" in narrow;
    ///         dvae { side 16, grid 4, codes 32, init 8, down [8, 16, 32], up [32, 16, 8], blocks 1 }
    ///         transformer { text 8, bpe 56, dim 32, heads 2, depth 2 }
    ///         clip { patch 4, dim 32, heads 2, depth 1, embed 16 }
    ///     }
    /// }
    /// let sizes = dalle::Sizes::of::<mine::Narrow>();
    /// assert!(sizes.to_string().contains("transformer"));
    /// ```
    pub fn of<P: Preset>() -> Sizes {
        let () = P::CHECK;
        let mut table = Table::new(["stage", "shape", "parameters"]);
        let mut row =
            |stage: &str, shape: String, count: usize| table.row([stage.to_owned(), shape, count.to_string()]);
        let (side, grid) = (<P::Dvae as DvaeShape>::Side::SIZE, <P::Dvae as DvaeShape>::Grid::SIZE);
        let codes = <P::Dvae as DvaeShape>::Codes::SIZE;
        row(
            "dvae",
            format!("{side}² pixels, {grid}² of {codes} codes"),
            nn::size::<Dvae<P::Dvae, f32, Cpu>, f32, Cpu>(),
        );
        let text = <P::Transformer as TransformerShape>::Text::SIZE;
        let depth = <P::Transformer as TransformerShape>::DEPTH;
        let shape = format!("{depth} layers over {text} + {} slots", grid * grid);
        row("transformer", shape, nn::size::<Transformer<P::Transformer, f32, Cpu>, f32, Cpu>());
        let (layers, embed) = (<P::Clip as ClipShape>::VISION_DEPTH, <P::Clip as TextTowerShape>::Embed::SIZE);
        row("clip", format!("{layers} layers, {embed} features"), nn::size::<Clip<P::Clip, f32, Cpu>, f32, Cpu>());
        Sizes { name: P::NAME, table, train: models::of::<P> }
    }

    /// Trains a spec with these sizes in the background; the spec's own preset is left aside. Only the [`Run`] returned knows
    /// the sizes: other programs cannot open its models until the preset is in the library's table.
    ///
    /// # Errors
    /// Those of [`Run::start`].
    pub fn start(&self, spec: &Spec) -> Result<Run> {
        Run::start_with(spec, self.name, self.train)
    }
}

impl Display for Sizes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.name, self.table)
    }
}

impl Show for Sizes {
    fn rich(&self) -> Result<Rich> {
        self.table.rich()
    }
}

shown!(Sizes);
