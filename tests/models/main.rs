//! Laws of the models and of their training, on the tiny preset: causality, cached sampling, names and sizes, invariances,
//! and runs that are bit-identical for any number of threads and over a resume.

mod clip;
mod common;
mod dvae;
mod parameters;
mod training;
mod transformer;
mod vqvae;
