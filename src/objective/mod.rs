//! The objectives in closed form.

pub mod elbo;
