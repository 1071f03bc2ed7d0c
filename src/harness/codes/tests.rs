use super::*;
use crate::data::{Sample, Trace};
use crate::harness::load::check;
use crate::harness::notice;
use crate::inference::{Codec, Reconstruction};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Codes a picture as its first values, a grid of so many a side, and counts how many it has coded.
struct First {
    coded: AtomicUsize,
    grid: usize,
}

impl First {
    fn new(grid: usize) -> Self {
        First { coded: AtomicUsize::new(0), grid }
    }

    fn coded(&self) -> usize {
        self.coded.load(Ordering::Relaxed)
    }
}

impl Codec for First {
    fn stride(&self) -> usize {
        8
    }
    fn vocabulary(&self) -> usize {
        300
    }
    fn encode_any(&self, _: [usize; 3], _: &[f32]) -> Result<Vec<u32>> {
        unreachable!()
    }
    fn decode_any(&self, _: [usize; 3], _: &[u32]) -> Result<Vec<f32>> {
        unreachable!()
    }
}

impl ImageTokenizer for First {
    fn geometry(&self) -> Geometry {
        Geometry { side: 16, grid: self.grid, codes: 300 }
    }
    fn encode(&self, size: usize, pixels: &[f32]) -> Result<Vec<u32>> {
        self.coded.fetch_add(size, Ordering::Relaxed);
        let picture = |values: &[f32]| -> Vec<u32> {
            let values = values.iter().cycle().take(self.grid * self.grid);
            values.map(|value| (value * 255.0).round() as u32 + 44).collect()
        };
        Ok(pixels.chunks(pixels.len() / size).flat_map(picture).collect())
    }
    fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        Ok(codes.chunks(4).flat_map(|codes| vec![(codes[0] - 44) as f32 / 255.0; 16 * 16 * 3]).collect())
    }
    fn reconstruct(&self, _: usize, _: &[f32]) -> Result<Reconstruction> {
        unreachable!()
    }
    fn posterior(&self, _: usize, _: &[f32]) -> Result<Vec<f32>> {
        unreachable!()
    }
    fn relaxed(&self, _: usize, _: &[f32], _: f64, _: u64) -> Result<Reconstruction> {
        unreachable!()
    }
}

/// Twelve pictures with another grey in every corner, and a shade that may change under them.
struct Greys(AtomicU8);

impl Source for Greys {
    fn len(&self) -> usize {
        12
    }
    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let shade = self.0.load(Ordering::Relaxed);
        let side = 24;
        let rgb = (0..side * side * 3).map(|i| (i * (index + 3) % 200) as u8 ^ shade).collect();
        let captions = vec![format!("a picture {index}"), "its left half".into()];
        Ok(Sample { key: "same".into(), picture: Picture { width: side, height: side, rgb }, captions })
    }
    fn trace(&self, index: usize, _: bool, trace: &mut Trace) {
        trace.fact("shade", &[self.0.load(Ordering::Relaxed), index as u8]);
    }
}

fn spec(more: &str) -> Spec {
    let files = "kind: folder, train: [a], flip: false";
    check("a.yaml", &format!("{{name: a, preset: tiny, data: {{{files}, {more}}}}}"), &[], &["tiny"]).unwrap()
}

fn loader<'a>(source: &'a Greys, spec: &Spec) -> Loader<'a> {
    let loader = Loader::new(source, "greys", view(&spec.data, false), 16, (spec.seed, "transformer"), 0.1);
    loader.unwrap().with_views(spec.data.views)
}

fn batches(codes: &mut Codes<'_>, loader: &mut Loader<'_>) -> Vec<Vec<(String, Vec<u32>)>> {
    (0..8).map(|step| taken(codes, loader, step)).collect()
}

fn taken(codes: &mut Codes<'_>, loader: &mut Loader<'_>, step: u64) -> Vec<(String, Vec<u32>)> {
    let read = codes.reading()(loader.reader(), step, 6);
    codes.take(loader, read).unwrap()
}

#[test]
fn with_and_without_a_file_the_batches_are_the_same() {
    let (first, source) = (First::new(2), Greys(AtomicU8::new(0)));
    for (more, looks) in [("augment: false, flip_pairs: false", 1), ("views: 3", 6)] {
        let spec = spec(more);
        let place = tempfile::tempdir().unwrap();
        let kept = place.path().join("tokens");
        let nowhere = place.path().join("file");
        fs::write(&nowhere, "").unwrap();
        let open = |folder: &Path, data| Codes::open(&first, &source, (&spec, folder), ("first", data)).unwrap();
        let mut without = open(&nowhere.join("tokens"), "data");
        assert!(without.failed.is_some() && without.path().is_none());
        let expected = batches(&mut without, &mut loader(&source, &spec));
        assert_eq!((without.found, without.coded), (0, 48));
        let mut with = open(&kept, "data");
        assert_eq!(batches(&mut with, &mut loader(&source, &spec)), expected);
        assert!(with.failed.is_none() && with.coded <= 12 * looks && with.found + with.coded == 48);
        // All are read before one is coded.
        let mut ahead = open(&kept, "data read ahead");
        let mut loader_ahead = loader(&source, &spec);
        let read: Vec<_> = (0..8).map(|step| ahead.reading()(loader_ahead.reader(), step, 6)).collect();
        let found: Vec<_> = read.into_iter().map(|read| ahead.take(&mut loader_ahead, read).unwrap()).collect();
        assert_eq!((found, ahead.coded, ahead.found), (expected.clone(), with.coded, with.found));
        let before = first.coded();
        let mut again = open(&kept, "data");
        assert_eq!(batches(&mut again, &mut loader(&source, &spec)), expected);
        assert_eq!((again.found, again.coded, first.coded()), (48, 0, before));
        // All of them, before anybody asks.
        let mut filled = open(&kept, "other data");
        filled.fill(loader(&source, &spec).reader(), 0..12, &mut |_| unreachable!()).unwrap();
        assert_eq!(filled.coded, 12 * looks);
        assert_eq!(batches(&mut filled, &mut loader(&source, &spec)), expected);
        assert_eq!(filled.found, 48);
        let entries = fs::read_dir(&kept).unwrap().count();
        assert_eq!(entries, 3);
    }
}

#[test]
fn a_picture_that_was_changed_and_a_row_that_was_damaged_are_coded_again() {
    let (first, source) = (First::new(2), Greys(AtomicU8::new(0)));
    let spec = spec("augment: false, flip_pairs: false");
    let place = tempfile::tempdir().unwrap();
    let open = || Codes::open(&first, &source, (&spec, place.path()), ("first", "data")).unwrap();
    let old = batches(&mut open(), &mut loader(&source, &spec));
    source.0.store(1, Ordering::Relaxed);
    let mut codes = open();
    let new = batches(&mut codes, &mut loader(&source, &spec));
    assert_ne!(old, new);
    assert_eq!(codes.coded, 12);
    let path = codes.path().unwrap().to_owned();
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEAD + 3 * 16 + CHECK + 1] ^= 1; // a code of the fourth
    bytes.truncate(HEAD + 11 * 16 + 5); // the last was cut off
    fs::write(&path, &bytes).unwrap();
    let mut codes = open();
    assert_eq!(batches(&mut codes, &mut loader(&source, &spec)), new);
    assert_eq!(codes.coded, 2);
    fs::write(&path, "something else").unwrap();
    let mut codes = open();
    assert_eq!((batches(&mut codes, &mut loader(&source, &spec)), codes.coded), (new, 12));
}

#[test]
fn reconstructions_come_from_the_same_codes() {
    let (first, source) = (First::new(2), Greys(AtomicU8::new(0)));
    let spec = spec("augment: false, flip_pairs: false");
    let place = tempfile::tempdir().unwrap();
    let mut codes = Codes::open(&first, &source, (&spec, place.path()), ("first", "data")).unwrap();
    let seen = |codes: &mut Codes<'_>| {
        let mut examples = loader(&source, &spec).batch(0, 6).unwrap();
        codes.reconstruct(&mut examples, |at| at % 2 == 0).unwrap();
        examples
    };
    let (one, two) = (seen(&mut codes), seen(&mut codes));
    assert_eq!((&one, codes.coded, codes.found), (&two, 3, 3));
    assert_ne!(one, loader(&source, &spec).batch(0, 6).unwrap());
}

/// So many small pictures.
struct Many(usize);

impl Source for Many {
    fn len(&self) -> usize {
        self.0
    }
    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        let picture = Picture { width: 16, height: 16, rgb: vec![index as u8; 16 * 16 * 3] };
        Ok(Sample { key: index.to_string(), picture, captions: vec!["grey".into()] })
    }
    fn trace(&self, index: usize, _: bool, trace: &mut Trace) {
        trace.fact("index", &index.to_le_bytes());
    }
}

/// A measurement: `cargo test --release --lib -- --ignored --nocapture a_million_pictures`. It writes two gigabytes.
#[test]
#[ignore = "writes two gigabytes"]
fn a_million_pictures_take_two_gigabytes_of_disk_and_no_memory() {
    let (first, source, place) = (First::new(32), Many(1_000_000), tempfile::tempdir().unwrap());
    let spec = spec("augment: false, flip_pairs: false");
    let mut codes = Codes::open(&first, &source, (&spec, place.path()), ("first", "data")).unwrap();
    let loader = Loader::new(&source, "many", view(&spec.data, false), 16, (0, "transformer"), 0.1).unwrap();
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    };
    let before = peak();
    let started = std::time::Instant::now();
    for start in (0..source.len()).step_by(256) {
        codes.fill(loader.reader(), start..source.len().min(start + 256), &mut |_| unreachable!()).unwrap();
    }
    let made = started.elapsed().as_secs_f64();
    let bytes = fs::metadata(codes.path().unwrap()).unwrap().len();
    let started = std::time::Instant::now();
    let known = (0..100_000).filter(|&at| codes.kept.as_ref().unwrap().row(&source, at * 10, 0).is_some()).count();
    let read = started.elapsed().as_secs_f64() * 10.0;
    notice::line(format_args!(
        "{bytes} bytes, {made:.1} s to make, {read:.1} s to read; peak {before} MiB before, {} after",
        peak()
    ));
    assert_eq!((codes.coded, known), (1_000_000, 100_000));
    assert_eq!(bytes, 4096 + 1_000_000 * (8 + 2 * 1024));
    assert!(peak() < before + 100, "{} MiB", peak());
}
