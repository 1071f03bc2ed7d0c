//! What a program or a notebook needs, as concrete types: they stand at the crate's root too. They show themselves in a cell
//! of evcxr, and read the same run directories as the command line.
//!
//! No signature has a type parameter but for paths, which are read as `&Path` at once, and [`Sizes::of`], which is there to
//! try a preset out: so a cell compiles in about a second, and everything generic is compiled once, in here. Each value shows
//! itself as a picture or a table with a plain text beside it, and `save` writes what the cell shows.
//!
//! ```no_run
//! use dalle::notebook::*;
//! # fn main() -> dalle::Result<()> {
//! let run = Run::trained("../experiments/notebook.yaml")?; // trains it, or opens what was trained before
//! let model = run.model()?;
//! let drawn = model.sample(&Sampling::of("a large red circle").candidates(8))?;
//! drawn.ranked().save("circles.svg")?;
//! # Ok(())
//! # }
//! ```

mod attention;
mod chart;
mod comparison;
mod image;
mod mask;
mod model;
mod preset;
mod run;
mod runs;
mod samples;
mod sheet;
mod show;
mod spec;
mod sweep;
mod table;
mod tokens;

pub use attention::Attention;
pub use chart::{Chart, ChartGrid};
pub use comparison::Comparison;
pub use image::{Image, ImageGrid};
pub use mask::Mask;
pub use model::{Bound, Model};
pub use plotters;
pub use preset::Sizes;
pub use run::Run;
pub use runs::Runs;
pub use samples::{Samples, Sampling};
pub use spec::{Spec, Text};
pub use sweep::Sweep;
pub use table::Table;
pub use tokens::Tokens;
