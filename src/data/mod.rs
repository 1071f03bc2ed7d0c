//! Pairs of pictures and captions: where they come from, how they are augmented, in what order they are seen.
//!
//! A [`Source`] yields samples by index ([`shapes`] are drawn, a [`Folder`] and a [`WebDataset`] are read), an [`Order`]
//! says which index comes when, a [`View`] crops and resizes, and a [`Loader`] puts them together into batches.

pub mod augment;
mod captions;
pub(crate) mod colour;
mod counts;
mod decode;
#[cfg(feature = "emoji")]
#[doc(hidden)]
pub mod emoji;
mod extensions;
mod fingerprint;
mod folder;
mod joined;
mod loader;
mod order;
pub(crate) mod paths;
#[doc(hidden)]
pub mod preprocess;
mod read;
mod sample;
pub mod shapes;
mod source;
mod trace;
mod webdataset;

pub use augment::{Crop, Flip, View};
pub use counts::{Counts, Tally};
pub use decode::PictureError;
pub use extensions::Extensions;
pub use fingerprint::{Fingerprint, of_sample};
pub use folder::Folder;
pub(crate) use joined::{Joined, hold_out};
pub use loader::{Example, Loader, Read, Reader, Seen, pixels};
pub use order::Order;
pub use sample::{BadSample, Picture, Sample};
pub use shapes::Shapes;
pub use source::Source;
pub use trace::Trace;
pub use webdataset::WebDataset;
