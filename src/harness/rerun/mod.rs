//! Whether a run can be repeated: what is not as it was, before it is trained again (`changed`), and whether the bits are the
//! same afterwards (`bits`).

mod bits;
mod changed;

pub use bits::{Compared, compare};
pub use changed::{changed, here, other_data};
