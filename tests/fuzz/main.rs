//! The readers of files, fed with broken ones: no panic, no second without an answer, no allocation of more than 256 MiB, one line
//! of error with the right exit code.
//!
//! Each target changes the files of its folder in `corpus/` at random, puts their checksums right so that the parser sees the
//! change, and counts how they fared (`--nocapture` shows it). `cargo test` makes some thousand of them;
//! `scripts/trials --mutations 100000` as many as are asked for.

mod counts;
mod edits;
#[cfg(feature = "onnx")]
mod networks;
#[cfg(feature = "onnx")]
#[path = "../onnx/mod.rs"]
mod onnx;
mod targets;

use counts::Counts;
use dalle::{Error, Result};
use edits::Broken;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Refuses what no reader of a small file has any use for: the process aborts there.
struct Bounded;

const LARGEST: usize = 256 << 20;

// SAFETY: everything is handed to the system's allocator, or refused by null as the trait allows.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LARGEST { std::ptr::null_mut() } else { unsafe { System.realloc(at, layout, size) } }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// A file that takes longer is no longer waited for: the process ends, so that a loop without end is seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A kind of file and its reader.
struct Target<'a> {
    /// Names the folder of the corpus.
    name: &'a str,
    /// Where the file lies in a folder of its own.
    file: &'a str,
    /// The exit code of a failure.
    code: u8,
    /// Puts the checksums of a changed file right.
    repair: fn(&mut [u8]),
    /// Parts of errors that come before the parser: another kind of file, a checksum.
    outside: &'a [&'a str],
}

impl<'a> Target<'a> {
    fn new(name: &'a str, code: u8) -> Self {
        Target { name, file: name, code, repair: edits::as_it_is, outside: &[] }
    }

    /// [`Target::read`] of the corpus.
    fn run(&self, read: impl Fn(&Path) -> Result<()> + std::panic::RefUnwindSafe) {
        self.read(&corpus(self.name), read);
    }

    /// Runs `read` over the files and changed ones; a failure must exit with the code and be told in one line.
    fn read(&self, files: &[(String, Vec<u8>)], read: impl Fn(&Path) -> Result<()> + std::panic::RefUnwindSafe) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(self.file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let told = |error: &Error| {
            let text = error.to_string();
            assert_eq!(error.exit_code(), self.code, "{text}");
            assert!(self.code == 2 || !text.trim_end().contains('\n'), "more than one line: {text}");
        };
        for (file, bytes) in files {
            fs::write(&path, bytes).unwrap();
            match read(&path) {
                Ok(()) => assert!(file.starts_with("good-"), "{}/{file} was read", self.name),
                Err(error) if file.starts_with("bad-") => told(&error),
                Err(error) => panic!("{}/{file}: {error}", self.name),
            }
        }
        let counts = Mutex::new(Counts::default());
        let timed = || {
            let started = Instant::now();
            (read(&path), started.elapsed())
        };
        watched(&path, &|progress| {
            bolero::check!().with_type::<Broken>().for_each(|Broken { of, edits }| {
                progress.fetch_add(1, Ordering::Relaxed);
                let original = &files[usize::from(*of) % files.len()].1;
                let mut bytes = original.clone();
                edits.iter().for_each(|edit| edit.apply(&mut bytes));
                (self.repair)(&mut bytes);
                if bytes == *original {
                    return counts.lock().unwrap().unchanged();
                }
                fs::write(&path, &bytes).unwrap();
                let (outcome, mut took) = timed();
                if let Err(error) = &outcome {
                    told(error);
                }
                // Another process may have had the core for that long.
                if took > Duration::from_secs(1) {
                    took = timed().1;
                }
                assert!(took < Duration::from_secs(1), "more than a second");
                counts.lock().unwrap().add(&outcome, self.outside, took);
            });
        });
        let counts = counts.into_inner().unwrap();
        println!("{}", counts.line(self.name));
        assert!(4 * counts.reached() > counts.changed(), "most changes do not reach the parser: {counts:?}");
    }
}

/// Runs `work`, which counts what it has done; ends the process where that stands still.
fn watched(path: &Path, work: &dyn Fn(&AtomicU64)) {
    let (progress, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut last, mut since) = (0, Instant::now());
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                let now = progress.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > PATIENCE {
                    eprintln!("no answer within {} s: the file is kept at {}", PATIENCE.as_secs(), path.display());
                    std::process::abort();
                }
            }
        });
        // A failure must not leave the watcher waiting.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&progress)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The files of a corpus by name: `good-…` reads, `bad-…` is refused.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.iter().any(|(name, _)| name.starts_with("good-")), "{}: no good file", folder.display());
    files
}
