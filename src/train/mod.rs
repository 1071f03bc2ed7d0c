//! Training: what a spec says of a stage, schedules, the optimiser, and the stages behind their erased traits.

#[cfg(feature = "cuda")]
mod adamw_on_gpu;
mod cached;
pub mod checkpoint;
pub mod clip_stage;
pub mod config;
pub mod durable;
mod ema;
pub mod first_stage;
#[cfg(feature = "cuda")]
mod on_gpu;
mod plateau;
mod schedule;
pub mod stage;
mod state;
mod trainer;
pub mod transformer_stage;
mod weights;

pub use cached::{Engines, Place, row_bytes};
pub use stage::{
    Autoregressive, Batch, Codec, Geometry, ImageTokenizer, Numbers, Ranker, Reconstruction, Sequence, Stage,
    TokenModel,
};
pub use state::Files;
pub use trainer::{Trainer, Update};
