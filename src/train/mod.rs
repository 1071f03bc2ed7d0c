//! Training: what a spec says of a stage, schedules, the optimiser, checkpoints and the erased stages.

pub mod config;
