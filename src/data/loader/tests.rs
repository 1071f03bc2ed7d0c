use super::*;
use crate::data::{Crop, Flip, Order, PictureError, Sample};
use proptest::{prop_assert, prop_assert_eq, proptest};

const VIEW: View = View { crop: Crop::Transformer, flip: Flip::Never };

/// Sample i is a picture of grey level i; those in `broken` cannot be read, those in `small` are.
#[derive(Default)]
struct Greys {
    len: usize,
    broken: Vec<usize>,
    small: Vec<usize>,
}

impl Source for Greys {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> std::result::Result<Sample, BadSample> {
        if self.broken.contains(&index) {
            return Err(PictureError::new("decode", "no picture").of(&index.to_string()));
        }
        let side = if self.small.contains(&index) { 3 } else { 4 };
        let picture = Picture { width: side, height: side, rgb: vec![index as u8; 3 * side * side] };
        Ok(Sample { key: index.to_string(), picture, captions: vec!["one".into(), "two".into()] })
    }
}

fn loader(source: &Greys, max_bad: f64) -> Loader<'_> {
    Loader::new(source, "greys", VIEW, 4, (5, "test"), max_bad).unwrap()
}

#[test]
fn a_batch_depends_on_its_step_alone() {
    let source = Greys { len: 50, broken: vec![3, 17, 40], ..Greys::default() };
    let mut first = loader(&source, 0.5);
    let batches: Vec<_> = (0..6).map(|step| first.batch(step, 16).unwrap()).collect();
    let mut second = loader(&source, 0.5);
    for step in [5, 0, 3] {
        assert_eq!(second.batch(step, 16).unwrap(), batches[step as usize]);
    }
    assert!(batches.iter().all(|batch| batch.len() == 16));
    assert!(batches.iter().flatten().all(|example| !["3", "17", "40"].contains(&example.key.as_str())));
    let twos = batches.iter().flatten().filter(|example| example.caption == "two").count();
    assert!((30..66).contains(&twos), "{twos} of 96");
}

#[test]
fn a_batch_of_good_samples_follows_the_order() {
    let source = Greys { len: 12, ..Greys::default() };
    let mut keys: Vec<String> = loader(&source, 0.0).batch(1, 12).unwrap().into_iter().map(|e| e.key).collect();
    let order = Order::new(5, "test/order", 12);
    assert!(keys.iter().zip(12..).all(|(key, position)| *key == order.at(position).to_string()));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 12);
}

#[test]
fn broken_samples_are_counted_once() {
    let source = Greys { len: 30, broken: vec![1, 2], small: vec![5] };
    let mut loader = loader(&source, 0.1);
    for step in 0..20 {
        loader.batch(step, 10).unwrap();
    }
    assert_eq!(loader.counts().broken.summary(), "2 decode");
    assert_eq!(loader.counts().filtered.summary(), "1 too-small");
    assert_eq!((loader.counts().seen(), loader.counts().used), (30, 27));
}

#[test]
fn too_many_broken_samples_are_refused() {
    let refused = |len: usize, broken: usize, steps: u64| {
        let source = Greys { len, broken: (0..broken).collect(), ..Greys::default() };
        let mut loader = loader(&source, 0.1);
        let error = (0..steps).find_map(|step| loader.batch(step, 10).err());
        error.map(|error| (error.exit_code(), error.to_string()))
    };
    assert_eq!(refused(40, 4, 8), None);
    let (code, text) = refused(40, 5, 4).unwrap();
    assert_eq!(code, 4);
    assert!(text.starts_with("greys: 5 of 40 samples are broken (5 decode); data.max_bad is 0.1; first: "), "{text}");
    assert!(refused(1000, 500, 2).is_some());
    assert!(refused(10, 10, 1).is_some());
    // After ten of a thousand nothing can be said yet.
    assert_eq!(refused(1000, 400, 1), None);
    assert!(Loader::new(&Greys::default(), "none", VIEW, 4, (0, ""), 0.1).is_err());
}

#[test]
fn what_is_filtered_is_not_broken() {
    let source = Greys { len: 30, broken: vec![0], small: (1..20).collect() };
    let mut some = loader(&source, 0.1);
    (0..6).for_each(|step| assert_eq!(some.batch(step, 10).unwrap().len(), 10));
    assert_eq!(some.counts().summary(), "1 of 30 samples are broken (1 decode), 19 are filtered out (19 too-small)");
    let all = Greys { len: 30, broken: vec![], small: (0..30).collect() };
    let error = loader(&all, 0.1).batch(0, 4).unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("filtered out"), "{error}");
}

#[test]
fn evaluation_is_spread_and_leaves_out() {
    let source = Greys { len: 300, broken: vec![1], ..Greys::default() };
    let indices = |limit| -> Vec<usize> {
        let mut loader = loader(&source, 0.1);
        let examples = loader.spread(limit).unwrap();
        assert!(examples.iter().all(|example| example.caption == "one"));
        examples.iter().map(|example| example.index).collect()
    };
    let (few, more, all) = (indices(30), indices(60), indices(400));
    assert_eq!(few, indices(30));
    assert_eq!(few, more[..few.len()]);
    assert!(few.iter().any(|&index| index < 100) && few.iter().any(|&index| index >= 200), "{few:?}");
    assert_eq!((all.len(), all.contains(&1)), (299, false));
    // Those that cannot be used make room for others.
    let mostly = Greys { len: 300, small: (0..290).collect(), ..Greys::default() };
    assert_eq!(loader(&mostly, 0.1).spread(10).unwrap().len(), 10);
    let mute = Greys { len: 4, broken: (0..4).collect(), ..Greys::default() };
    let error = loader(&mute, 1.0).spread(2).unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("4 of 4 samples are broken"), "{error}");
}

proptest! {
    /// seen = used + filtered + broken holds by construction; that each number is right does not.
    #[test]
    fn every_sample_that_is_met_is_counted(len in 1usize..60, steps in 1u64..8, broken in 0usize..60, small in 0usize..60) {
        let broken: Vec<usize> = (0..broken.min(len)).collect();
        let small: Vec<usize> = (broken.len()..(broken.len() + small).min(len)).collect();
        let good = len - broken.len() - small.len();
        let source = Greys { len, broken, small };
        let mut loader = loader(&source, 1.0);
        let refused = (0..steps).any(|step| loader.batch(step, 8).is_err());
        let counts = loader.counts();
        prop_assert!(counts.used <= good && counts.seen() <= len);
        prop_assert!(counts.broken.total() <= source.broken.len());
        prop_assert!(counts.filtered.total() <= source.small.len());
        // Of few good ones none may be found in time.
        prop_assert!(refused || good > 0);
        prop_assert!(!refused || good * 4 < len);
        // One epoch meets every sample.
        if steps as usize * 8 >= len && !refused {
            let found = (counts.used, counts.filtered.total(), counts.broken.total());
            prop_assert_eq!(found, (good, source.small.len(), source.broken.len()));
        }
    }
}
