//! The objectives in closed form.

mod contrastive;
pub mod discrete;
pub mod elbo;

pub use contrastive::contrastive;
pub(crate) use contrastive::contrastive_of;
