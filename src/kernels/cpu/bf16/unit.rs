//! What multiplies: three ways to compute a 32 × 32 block of c.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dot;
mod plain;

use super::layout::{Left, Sums, Tile};
use std::sync::OnceLock;

/// What multiplies, the fastest first. Sums of one unit are the same on every CPU that has it; those of two differ in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Intel's matrix unit (AMX-BF16, from Sapphire Rapids on): 16 × 16 sums of 32 products in an instruction.
    Amx,
    /// Vector instructions that sum pairs of products (AVX512-BF16, Cooper Lake, Zen 4).
    Dot,
    /// Any CPU: the factors are widened, and each product is added to its sum with one rounding.
    Plain,
}

impl Unit {
    /// All of them.
    pub const ALL: [Unit; 3] = [Unit::Amx, Unit::Dot, Unit::Plain];

    /// The fastest that this CPU has, and its system allows.
    pub fn best() -> Unit {
        static BEST: OnceLock<Unit> = OnceLock::new();
        *BEST.get_or_init(|| Unit::ALL.into_iter().find(|unit| unit.is_here()).unwrap_or(Unit::Plain))
    }

    /// Whether this CPU has it, and its system allows it.
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx => amx::is_here(),
            #[cfg(target_arch = "x86_64")]
            Unit::Dot => dot::is_here(),
            Unit::Plain => true,
            #[allow(unreachable_patterns)] // elsewhere
            _ => false,
        }
    }

    /// Calls `work` with the thread made ready for [`Unit::block`]. It must not hand work to other threads: while this one waits for them
    /// it might take up another's, and come back with the registers of the matrix unit gone.
    pub(in crate::kernels::cpu) fn ready<R>(self, work: impl FnOnce() -> R) -> R {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self == Unit::Amx {
            assert!(self.is_here(), "Unit::Amx: this CPU has no AMX");
            return amx::ready(work);
        }
        work()
    }

    /// sums = a·b for 32 rows of `a` and the tiles of 32 columns: for each segment of a row a tile for each of its lines.
    ///
    /// # Panics
    /// If `a` ends before that, or the CPU lacks the unit.
    pub(in crate::kernels::cpu) fn block(self, a: Left<'_>, b: &[&[Tile]], sums: &mut Sums) {
        a.check(b);
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx => amx::block(a, b, sums),
            #[cfg(target_arch = "x86_64")]
            Unit::Dot => dot::block(a, b, sums),
            _ => plain::block(a, b, sums),
        }
    }
}
