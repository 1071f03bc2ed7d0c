//! Writing that a crash cannot tear: what checkpoints take from [`crate::files`].

pub use crate::files::write_atomic;
pub(crate) use crate::files::{replace, sync_folder, write_synced};
