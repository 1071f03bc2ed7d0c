//! Training: what a spec says of a stage, schedules, the optimiser, and the stages behind their erased traits.

pub mod clip_stage;
mod ema;
pub mod first_stage;
mod plateau;
mod stage;
mod state;
mod store;
mod trainer;
pub mod transformer_stage;

pub use stage::{Batch, Learns, Metrics, Stage, StepReport};
pub use state::{Files, MODEL};
pub use trainer::{Trainer, Update};
