//! Shapes as types on stable Rust: what a preset must say of each model, and what is checked about it when it compiles.
//!
//! Dimensions of a model are associated types; depth is a constant; everything else is a run-time value of the spec.
//! `Const` arithmetic on type parameters does not exist on stable, so derived dimensions (`4·Dim`, `Text + Image`) are
//! written out by [`preset!`](crate::preset), where they are arithmetic on literals, and related once by a `CHECK`.
//!
//! Legend: B batch, S sequence, C channels, H and W image height and width, V codes or vocabulary.

mod groups;
mod models;
mod preset;
mod ranked;
mod rudalle;

pub use groups::{Group, Groups};
pub use models::{
    BlockShape, ClipShape, DvaeShape, ErfGelu, Gelu, Preset, QuickGelu, TextTowerShape, TransformerShape,
};
pub use ranked::{Ranked, Rows};
#[doc(hidden)]
pub use rudalle::RudalleShape;
