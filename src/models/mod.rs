//! The models: discrete VAE and VQ-VAE (first stage), transformer (second), CLIP (reranker), and the preset table.

pub mod clip;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod dalle_pytorch;
pub mod dvae;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod feature_map;
pub mod presets;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod rudalle;
pub mod transformer;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod vqgan;
pub mod vqvae;
