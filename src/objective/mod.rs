//! The objectives in closed form.

mod contrastive;
pub mod elbo;

pub use contrastive::contrastive;
