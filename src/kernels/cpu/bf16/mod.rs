//! Matrix products whose factors are rounded to bf16 and whose sums are in f32: c (m, n) = a (m, k) · b (k, n).
//!
//! bf16 is the upper half of an f32. A factor is rounded to nearest, ties to even: a relative error of at most 2⁻⁸. What the
//! product of two factors is then does not depend on where it is made; in which order they are summed does, by the [`Unit`]:
//! within one, an element is summed in an order that k alone decides, whatever the other sizes, the batch and the threads.
//!
//! `a` is kept as rows of lines ([`Rows`]), `b` as tiles in which the two factors of neighbouring k lie side by side
//! ([`Tiles`]), as the instructions of all units want them. The unit of work is a 32 × 32 block of c.

mod layout;
mod pack;
mod product;
mod round;
mod transpose;
mod unit;

#[cfg(test)]
mod tests;

pub(super) use layout::{LINE, Left, SIDE, Sums, Tile};
pub(super) use pack::relu;
pub use pack::{Rows, Tiles};
pub use product::{multiply, multiply_then};
pub use round::Bf16;
pub use unit::Unit;
