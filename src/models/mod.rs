//! The models: discrete VAE and VQ-VAE (first stage), transformer (second), CLIP (reranker), and the preset table.

pub mod clip;
pub mod dvae;
pub mod presets;
pub mod transformer;
pub mod vqvae;
