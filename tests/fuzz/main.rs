//! The readers of files, fed with broken ones: no panic, no second without an answer, no allocation of more than 256 MiB, one line
//! of error with the right exit code.
//!
//! Each target changes the files of its folder in `corpus/` at random. `cargo test` makes some thousand of them; a million:
//! `BOLERO_RANDOM_ITERATIONS=1000000 BOLERO_RANDOM_TEST_TIME_MS=3600000 cargo test --release --test fuzz`.

use bolero::TypeGenerator;
use dalle::data::{Source, WebDataset};
use dalle::harness::load;
use dalle::import::Weights;
use dalle::models::presets;
use dalle::text::{Bpe, ClipBpe, Yttm};
use dalle::{Error, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
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

/// A file of the corpus with changes.
#[derive(Debug, TypeGenerator)]
struct Broken {
    of: u8,
    #[generator(bolero::produce::<Vec<Edit>>().with().len(0..12usize))]
    edits: Vec<Edit>,
}

/// At `at`/65536 of the length.
#[derive(Debug, Clone, TypeGenerator)]
enum Edit {
    Set {
        at: u16,
        byte: u8,
    },
    Flip {
        at: u16,
        bit: u8,
    },
    Insert {
        at: u16,
        byte: u8,
        times: u8,
    },
    Delete {
        at: u16,
        count: u8,
    },
    Copy {
        at: u16,
        from: u16,
        count: u8,
    },
    /// A number where a length may stand.
    Number {
        at: u16,
        value: u64,
        bytes: u8,
    },
    Largest {
        at: u16,
        bytes: u8,
    },
    Cut {
        at: u16,
    },
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: u16| usize::from(at) * len / 65536;
        let range = |at: u16, count: u8| place(at)..(place(at) + usize::from(count)).min(len);
        match *self {
            Edit::Set { at, byte } if len > 0 => bytes[place(at)] = byte,
            Edit::Flip { at, bit } if len > 0 => bytes[place(at)] ^= 1 << (bit % 8),
            Edit::Insert { at, byte, times } => {
                drop(bytes.splice(place(at)..place(at), vec![byte; usize::from(times)]));
            }
            Edit::Delete { at, count } => drop(bytes.drain(range(at, count))),
            Edit::Copy { at, from, count } => {
                let piece = bytes[range(from, count)].to_vec();
                drop(bytes.splice(place(at)..place(at), piece));
            }
            Edit::Number { at, value, bytes: size } => write(bytes, range(at, 1 + size % 8), value),
            Edit::Largest { at, bytes: size } => write(bytes, range(at, 1 + size % 8), u64::MAX >> (size & 1)),
            Edit::Cut { at } => bytes.truncate(place(at)),
            _ => {}
        }
    }
}

fn write(bytes: &mut [u8], range: std::ops::Range<usize>, value: u64) {
    bytes[range].iter_mut().zip(value.to_le_bytes()).for_each(|(byte, new)| *byte = new);
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

/// Runs `read` over the corpus and its changed files; a failure must exit with `code` and be told in one line.
fn target(name: &str, code: u8, read: fn(&Path) -> Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let told = |error: &Error| {
        let text = error.to_string();
        assert_eq!(error.exit_code(), code, "{text}");
        assert!(code == 2 || !text.trim_end().contains('\n'), "more than one line: {text}");
    };
    let files = corpus(name);
    for (file, bytes) in &files {
        fs::write(&path, bytes).unwrap();
        match read(&path) {
            Ok(()) => assert!(file.starts_with("good-"), "{name}/{file} was read"),
            Err(error) if file.starts_with("bad-") => told(&error),
            Err(error) => panic!("{name}/{file}: {error}"),
        }
    }
    bolero::check!().with_type::<Broken>().for_each(|Broken { of, edits }| {
        let mut bytes = files[usize::from(*of) % files.len()].1.clone();
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        fs::write(&path, &bytes).unwrap();
        let started = Instant::now();
        if let Err(error) = read(&path) {
            told(&error);
        }
        assert!(started.elapsed() < Duration::from_secs(1), "more than a second");
    });
}

fn weights(path: &Path) -> Result<()> {
    let weights = Weights::open(path)?;
    for tensor in weights.tensors() {
        let bytes = weights.bytes(&tensor.name)?;
        assert_eq!(bytes.len() as u64, tensor.size());
    }
    Ok(())
}

/// Text that a tokenizer must not fail on.
const TEXT: &str = "a red circle, 12 ▁ ﬀ <|endoftext|>\u{0} 🦀";

#[test]
fn torch() {
    target("torch", 4, weights);
}

#[test]
fn safetensors() {
    target("safetensors", 4, weights);
}

#[test]
fn bpe() {
    target("bpe", 4, |path| {
        let bpe = Bpe::load(path)?;
        bpe.decode(&bpe.encode(TEXT));
        Ok(())
    });
}

#[test]
fn merges() {
    target("merges", 4, |path| {
        let bpe = ClipBpe::load(path)?;
        bpe.decode(&bpe.encode(TEXT));
        Ok(())
    });
}

#[test]
fn yttm() {
    target("yttm", 4, |path| {
        Yttm::load(path)?.encode(TEXT);
        Ok(())
    });
}

#[test]
fn yaml() {
    target("yaml", 2, |path| load::load(path, &[], presets::NAMES).map(drop));
}

#[test]
fn tar() {
    target("tar", 4, |path| {
        let shards = WebDataset::open(&[path.to_owned()])?;
        // A broken sample is counted, not an error.
        (0..shards.len()).for_each(|index| drop(shards.get(index)));
        Ok(())
    });
}
