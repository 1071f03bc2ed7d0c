//! What tells one set of data from another without reading all of it.

use super::{Source, Trace};
use rayon::prelude::*;

/// So many samples of a set, at the most, are read whole.
const READ: usize = 4096;

/// A set of data in a few digits: the same for the same samples in the same order, wherever they lie.
///
/// It covers, of every sample, its key, which files it has and how many bytes each holds; and of 4,096 samples, spread evenly
/// over the set, the bytes themselves: of all of them where a set has no more. What it does not see is a file of a larger set
/// that was changed and kept its size, unless it is one of those 4,096. Times, owners and the folder's own path do not count:
/// a copy is the same data. Of a procedural set it covers what its samples are drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many samples.
    pub samples: usize,
    /// The size of their files together; 0 for what is drawn.
    pub bytes: u64,
    /// 32 hexadecimal digits.
    pub hash: String,
}

/// What tells a sample of `source` from any other, as it is now: of its files every byte, or what it is drawn from.
pub fn of_sample(source: &dyn Source, index: usize) -> blake3::Hash {
    let mut trace = Trace::default();
    source.trace(index, true, &mut trace);
    trace.finish().0
}

impl Fingerprint {
    /// That of `source`, as it is now. Reads a few thousand files, and looks at the sizes of all.
    pub fn of(source: &dyn Source) -> Fingerprint {
        let samples = source.len();
        let stride = samples.div_ceil(READ).max(1);
        let trace = |index: usize| {
            let mut trace = Trace::default();
            source.trace(index, index.is_multiple_of(stride), &mut trace);
            trace.finish()
        };
        // In pieces: a list of all would be 40 MB for a million samples.
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        hasher.update(&(samples as u64).to_le_bytes());
        for start in (0..samples).step_by(1 << 16) {
            let end = samples.min(start + (1 << 16));
            let traces: Vec<_> = (start..end).into_par_iter().map(trace).collect();
            for (hash, size) in traces {
                hasher.update(hash.as_bytes());
                bytes += size;
            }
        }
        Fingerprint { samples, bytes, hash: hasher.finalize().to_hex()[..32].to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::Split;
    use crate::data::{Folder, Shapes, WebDataset};
    use std::fs;
    use std::path::Path;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| fs::write(place.path().join(name), bytes).unwrap());
        place
    }

    fn of(path: &Path) -> Fingerprint {
        Fingerprint::of(&Folder::open(path).unwrap())
    }

    const PAIR: [(&str, &[u8]); 2] = [("a.png", b"picture"), ("a.txt", b"a cat")];

    #[test]
    fn a_copy_is_the_same_data_and_any_change_of_a_small_set_is_seen() {
        let (one, two) = (folder(&PAIR), folder(&PAIR));
        assert_eq!(of(one.path()), of(two.path()));
        assert_eq!((of(one.path()).samples, of(one.path()).bytes), (1, 12));
        let before = of(one.path());
        let changes: [(&str, &[u8]); 5] = [
            ("a.txt", b"a dog"),
            ("a.png", b"Picture"),
            ("a.json", b"\"a cat\""),
            ("b.png", b"picture"),
            ("a.txt", b"a cat\n"),
        ];
        for (name, bytes) in changes {
            let other = folder(&PAIR);
            fs::write(other.path().join(name), bytes).unwrap();
            assert_ne!(of(other.path()).hash, before.hash, "{name}");
        }
        fs::rename(one.path().join("a.png"), one.path().join("b.png")).unwrap();
        fs::rename(one.path().join("a.txt"), one.path().join("b.txt")).unwrap();
        assert_ne!(of(one.path()).hash, before.hash);
        fs::remove_file(two.path().join("a.png")).unwrap();
        std::os::unix::fs::symlink("gone.png", two.path().join("a.png")).unwrap();
        assert_ne!(of(two.path()).hash, before.hash);
    }

    #[test]
    fn of_a_large_set_sizes_count_and_some_contents() {
        let place = tempfile::tempdir().unwrap();
        for index in 0..=READ {
            fs::write(place.path().join(format!("{index:05}.png")), b"x").unwrap();
        }
        let before = of(place.path());
        assert_eq!((before.samples, before.bytes), (READ + 1, READ as u64 + 1));
        // Every other one is read.
        fs::write(place.path().join("00001.png"), b"y").unwrap();
        assert_eq!(of(place.path()), before);
        fs::write(place.path().join("00001.png"), b"xx").unwrap();
        assert_ne!(of(place.path()).hash, before.hash);
        fs::write(place.path().join("00001.png"), b"x").unwrap();
        fs::write(place.path().join("00002.png"), b"y").unwrap();
        assert_ne!(of(place.path()).hash, before.hash);
    }

    #[test]
    fn a_shard_is_known_by_its_members() {
        let place = tempfile::tempdir().unwrap();
        let shard = |name: &str, files: &[(&str, &[u8])]| {
            let path = place.path().join(name);
            let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
            for (name, bytes) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, name, *bytes).unwrap();
            }
            tar.finish().unwrap();
            Fingerprint::of(&WebDataset::open(&[path]).unwrap())
        };
        let one = shard("1.tar", &PAIR);
        assert_eq!((one.samples, one.bytes), (1, 12));
        assert_eq!(shard("2.tar", &PAIR), one);
        assert_ne!(shard("3.tar", &[PAIR[0], ("a.txt", b"a dog")]).hash, one.hash);
        assert_ne!(shard("4.tar", &[PAIR[0], PAIR[1], ("b.png", b"")]).hash, one.hash);
    }

    #[test]
    fn drawn_sets_are_known_by_what_they_are_drawn_from() {
        let of = |seed, split, count| Fingerprint::of(&Shapes { side: 32, seed, split, count });
        let one = of(0, Split::Train, 10);
        assert_eq!((one.samples, one.bytes), (10, 0));
        assert_eq!(of(0, Split::Train, 10), one);
        for other in [of(1, Split::Train, 10), of(0, Split::Validation, 10), of(0, Split::Train, 11)] {
            assert_ne!(other.hash, one.hash);
        }
        assert_eq!(of(0, Split::Train, 0).samples, 0);
    }
}
