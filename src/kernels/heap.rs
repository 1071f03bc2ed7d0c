//! The heap of a program that trains: mimalloc, which keeps freed pages for the next step, and a count of what is live.
//!
//! A program chooses it: `#[global_allocator] static HEAP: Heap = Heap;`, and [`keep_pages`] first in `main`. Where none did,
//! the counts stay 0.

use libmimalloc_sys as mimalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// `mi_option_purge_delay` of mimalloc 3's mimalloc.h: milliseconds until freed pages go back to the system.
const PURGE_DELAY: c_int = 15;
/// Longer than a training step, so that it finds the last one's pages; short enough that a stage's go once it is over.
const KEPT_MILLISECONDS: c_long = 10_000;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Whether a program wants to end where there is no memory, and whether a thread of it has begun to.
static ENDS: AtomicBool = AtomicBool::new(false);
static ENDING: AtomicBool = AtomicBool::new(false);
/// The exit code of an error of the device.
const NO_MEMORY: c_int = 6;

/// mimalloc, counted.
#[derive(Debug, Clone, Copy)]
pub struct Heap;

/// Bytes that are allocated now.
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

/// The most bytes that were allocated at any time since the start or [`reset_peak`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Forgets all peaks before now. Meaningful while no other thread allocates.
pub fn reset_peak() {
    PEAK.store(live(), Relaxed);
}

/// Keeps freed pages for ten seconds instead of one: a step's buffers are those of the step before, and a page that the
/// system takes back is cleared when it comes again. `MIMALLOC_PURGE_DELAY`, where it is set, wins.
pub fn keep_pages() {
    // SAFETY: mimalloc ignores a number that is no option; before other threads start, nothing reads the option meanwhile.
    unsafe { mimalloc::mi_option_set_default(PURGE_DELAY, KEPT_MILLISECONDS) }
}

/// From now on the process ends with one line on stderr and the exit code of a device that has no memory, where Rust would
/// abort. What the last checkpoint holds is kept, as after `kill -9`.
pub fn end_without_memory() {
    ENDS.store(true, Relaxed);
}

/// Says what was asked for, without allocating, and ends the process.
#[cold]
fn end(bytes: usize) -> ! {
    if ENDING.swap(true, Relaxed) {
        loop {
            std::thread::yield_now(); // until the thread that was first has said it
        }
    }
    let mut text = [0; 256];
    let mut left = &mut text[..];
    let held = live() >> 20;
    let _ =
        writeln!(left, "error: device: not enough memory: {bytes} bytes more were asked for, {held} MiB are in use");
    let unused = left.len();
    // SAFETY: the file is not dropped, so stderr stays open; the standard library's own handle could be locked by this thread.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    let _ = stderr.write_all(&text[..text.len() - unused]);
    signal_hook::low_level::exit(NO_MEMORY)
}

/// Counts a new block, if there is one.
fn taken(block: *mut c_void, bytes: usize) -> *mut u8 {
    if block.is_null() {
        if ENDS.load(Relaxed) {
            end(bytes);
        }
    } else {
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        // Nearly always below the peak: then the line is only read, which threads may do at once.
        if live > peak() {
            PEAK.fetch_max(live, Relaxed);
        }
    }
    block.cast()
}

// SAFETY: every block is mimalloc's own, of the layout's size and alignment; the counters are no memory of any block.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: a layout's alignment is a power of two, which is all that mimalloc asks.
        let block = unsafe { mimalloc::mi_malloc_aligned(layout.size(), layout.align()) };
        taken(block, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block = unsafe { mimalloc::mi_zalloc_aligned(layout.size(), layout.align()) };
        taken(block, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller got `block` from this allocator, and gives it back once.
        unsafe { mimalloc::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `block` as in `dealloc`, the alignment as in `alloc`.
        let moved = unsafe { mimalloc::mi_realloc_aligned(block.cast(), size, layout.align()) };
        let moved = taken(moved, size);
        if !moved.is_null() {
            LIVE.fetch_sub(layout.size(), Relaxed); // after: where it moves, both are live for a moment
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_live_is_counted() {
        let before = live(); // no other test uses this heap
        let layout = Layout::from_size_align(1000, 64).unwrap();
        // SAFETY: each block is used within its size, and given back once, with the layout that it has then.
        unsafe {
            let block = Heap.alloc(layout);
            assert_eq!((live() - before, block.align_offset(64)), (1000, 0));
            block.write_bytes(7, 1000);
            reset_peak();
            let longer = Heap.realloc(block, layout, 3000);
            assert_eq!((live() - before, peak() - before, *longer.add(999)), (3000, 4000, 7));
            let zeros = Heap.alloc_zeroed(layout);
            assert_eq!((live() - before, peak() - before, *zeros.add(999)), (4000, 4000, 0));
            Heap.dealloc(longer, Layout::from_size_align(3000, 64).unwrap());
            Heap.dealloc(zeros, layout);
            assert_eq!((live(), peak()), (before, before + 4000));
            let too_much = Layout::from_size_align(isize::MAX as usize - 63, 64).unwrap();
            assert!(Heap.alloc(too_much).is_null());
            assert_eq!((live(), peak()), (before, before + 4000));
        }
    }

    #[test]
    fn the_option_is_the_delay() {
        // SAFETY: reading an option has no precondition.
        let delay = || unsafe { mimalloc::mi_option_get(PURGE_DELAY) };
        let theirs = std::env::var("MIMALLOC_PURGE_DELAY").is_ok();
        let before = delay();
        assert!(theirs || before == 1000, "{before} is not mimalloc's default");
        keep_pages();
        assert_eq!(delay(), if theirs { before } else { KEPT_MILLISECONDS });
    }
}
