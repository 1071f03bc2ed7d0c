//! AMX-BF16: eight registers of 16 lines. Four hold sums, two each the rows of a and the columns of b. Rust has no stable
//! intrinsics for it yet, so the inner loop is written in assembly.

use super::super::layout::{Left, Line, SIDE, Sums, Tile};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

pub(super) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| !cfg!(miri) && has_it() && is_allowed())
}

/// Whether the CPU has the instructions, and the system keeps their registers.
fn has_it() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const OSXSAVE: u32 = 1 << 27;
    const STATE: u64 = 0b11 << 17;
    #[target_feature(enable = "xsave")]
    fn kept() -> u64 {
        // SAFETY: where XSAVE is in use, the register 0 can be read.
        unsafe { _xgetbv(0) }
    }
    #[allow(unused_unsafe)] // safe from Rust 1.94 on
    // SAFETY: every x86-64 CPU has the instruction.
    let (most, features) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx) };
    if most < 7 || features & OSXSAVE == 0 {
        return false;
    }
    #[allow(unused_unsafe)]
    // SAFETY: as above; the CPU has this leaf.
    let extended = unsafe { __cpuid_count(7, 0).edx };
    // SAFETY: the system uses XSAVE.
    extended & (BF16 | TILE) == BF16 | TILE && unsafe { kept() } & STATE == STATE
}

/// Asks Linux for the registers, which it keeps for those who asked, for the whole process.
fn is_allowed() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: i64;
    // SAFETY: a system call that reads and writes no memory of ours; it clobbers what is named.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") REQUEST, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}

/// What the registers hold: 16 lines of 64 bytes each.
#[repr(C, align(64))]
struct Layout([u8; 64]);

static LAYOUT: Layout = {
    let mut bytes = [0; 64];
    bytes[0] = 1; // the only kind of layout there is
    let mut register = 0;
    while register < 8 {
        bytes[16 + 2 * register] = 64;
        bytes[48 + register] = 16;
        register += 1;
    }
    Layout(bytes)
};

/// Gives the registers back, also where the work panics: a thread that holds them is slower to switch to.
struct Ready;

impl Drop for Ready {
    fn drop(&mut self) {
        // SAFETY: the CPU has the instruction, as `Ready` is made by `ready` alone; nobody reads the registers any more.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// # Panics
/// If the CPU has no AMX.
pub(super) fn ready<R>(work: impl FnOnce() -> R) -> R {
    assert!(is_here(), "Unit::Amx: this CPU has no AMX");
    // SAFETY: the CPU has the instruction, and reads the 64 bytes of a layout that it knows.
    unsafe { asm!("ldtilecfg [{layout}]", layout = in(reg) &raw const LAYOUT, options(nostack, readonly)) };
    let _ready = Ready;
    work()
}

/// Within `ready` alone.
pub(super) fn block(a: Left<'_>, b: &[&[Tile]], sums: &mut Sums) {
    let stride = a.stride * size_of::<u16>();
    // SAFETY, of all three: the registers are laid out by `ready`, within which this is called, and Rust's own code never uses them, so
    // that they keep their sums from one to the next.
    unsafe { asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem)) }
    for (&start, tiles) in a.segments.iter().zip(b).filter(|(_, tiles)| !tiles.is_empty()) {
        let rows = a.values[start..].as_ptr().cast::<u8>();
        // SAFETY: `Left::check` has seen that a segment's lines lie in `a` for 32 rows; the loop reads 16 rows of a line at a time, from
        // the first and from row 16 on. There are as many tiles as lines, each of 2·16 lines.
        unsafe {
            asm!(
                "2:",
                "tileloadd tmm4, [{a} + {stride}]",
                "tileloadd tmm6, [{b} + {line}]",
                "tileloadd tmm7, [{b} + {line} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{low} + {stride}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 64",
                "add {low}, 64",
                "add {b}, 2048",
                "dec {count}",
                "jnz 2b",
                a = inout(reg) rows => _,
                low = inout(reg) rows.wrapping_add(stride * SIDE / 2) => _,
                b = inout(reg) tiles.as_ptr() => _,
                count = inout(reg) tiles.len() => _,
                stride = in(reg) stride,
                line = in(reg) size_of::<Line>(),
                options(nostack),
            );
        }
    }
    // SAFETY: `sums` is 32 rows of 128 bytes.
    unsafe {
        asm!(
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            "tilestored [{sums} + {row} + 2048], tmm2",
            "tilestored [{sums} + {row} + 2112], tmm3",
            sums = in(reg) sums.as_mut_ptr(),
            row = in(reg) SIDE * size_of::<f32>(),
            options(nostack),
        );
    }
}
