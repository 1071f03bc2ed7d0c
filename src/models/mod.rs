//! The models: discrete VAE and VQ-VAE (first stage), transformer (second), CLIP (reranker), and the preset table.

pub mod clip;
#[cfg(feature = "cli")]
pub mod dalle_pytorch;
pub mod dvae;
#[cfg(feature = "cli")]
pub mod feature_map;
pub mod presets;
#[cfg(feature = "cli")]
pub mod rudalle;
mod token_embeddings;
pub mod transformer;
#[cfg(feature = "cli")]
pub mod vqgan;
pub mod vqvae;
