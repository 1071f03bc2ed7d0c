//! The models: discrete VAE and VQ-VAE (first stage), transformer (second), CLIP (reranker), and the preset table.

pub mod clip;
pub mod dvae;
#[doc(hidden)]
pub mod feature_map;
pub mod presets;
#[doc(hidden)]
pub mod rudalle;
mod token_embeddings;
pub mod transformer;
#[doc(hidden)]
pub mod vqgan;
pub mod vqvae;
