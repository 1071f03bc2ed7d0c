//! A scene as data, how one is drawn at random, and its picture.
//!
//! Lengths are shares of the picture's side, x to the right and y downwards, so a scene renders at any size.

use super::attributes::{Attribute, Background, Colour, Place, Relation, Shape, Size};
use super::claim::{Claim, ObjectClaim};
use crate::data::Picture;
use crate::random::Rng;

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its outline.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its size as a caption names it.
    pub size: Size,
    /// Its place as a caption names it; `None` in a scene of two, where the relation says it.
    pub place: Option<Place>,
    /// The middle of its box, jitter included.
    pub centre: [f64; 2],
    /// The side of its box, jitter included.
    pub diameter: f64,
}

/// A background with one object, or with two in a relation.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// What is behind.
    pub background: Background,
    /// At most two; drawn scenes have one or two.
    pub objects: Vec<Object>,
    /// Where the first object is, seen from the second; `None` unless there are two.
    pub relation: Option<Relation>,
}

/// A (shape, colour) pair.
pub type Kind = (Shape, Colour);

/// The pairs that training sees under `seed`, or those kept out of it: every tenth in the order of the tables, four of forty,
/// no two of one shape or of one colour. Which tenth turns with the seed: ten seeds in a row hold out each pair once.
pub fn kinds(held_out: bool, seed: u64) -> Vec<Kind> {
    let all = Shape::ALL.iter().flat_map(|&shape| Colour::ALL.iter().map(move |&colour| (shape, colour)));
    let kept_out = |place: u64| (place + seed % 10) % 10 == 9;
    all.zip(0..).filter(|&(_, place)| kept_out(place) == held_out).map(|(kind, _)| kind).collect()
}

/// Half the distance of two objects.
const APART: f64 = 0.25;
/// Largest jitter of a diameter, of a lone object's centre, and of a pair's along and across its axis. With these a large
/// pair at 32 pixels still has a gap of more than a pixel.
const SIZE_JITTER: f64 = 0.01;
const PLACE_JITTER: f64 = 0.02;
const ALONG_JITTER: f64 = 0.015;
const ACROSS_JITTER: f64 = 0.08;

fn jitter(rng: &mut Rng, largest: f64) -> f64 {
    rng.range(-largest, largest)
}

impl Scene {
    /// A scene of one object of `kind`, the rest at random.
    pub fn single(kind: Kind, rng: &mut Rng) -> Self {
        let place = *rng.choose(Place::ALL);
        let centre = place.centre().map(|at| at + jitter(rng, PLACE_JITTER));
        let object = Object::new(kind, Some(place), centre, rng);
        Scene { background: *rng.choose(Background::ALL), objects: vec![object], relation: None }
    }

    /// A scene of two objects of different colours, their kinds among `kinds`.
    pub fn pair(kinds: &[Kind], rng: &mut Rng) -> Self {
        let first = *rng.choose(kinds);
        let others: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.1 != first.1).collect();
        let second = *rng.choose(&others);
        let relation = *rng.choose(Relation::ALL);
        let step = relation.step();
        let objects = [(first, APART), (second, -APART)].map(|(kind, offset)| {
            let along = offset + jitter(rng, ALONG_JITTER);
            let across = jitter(rng, ACROSS_JITTER);
            let centre = [0.5 + step[0] * along + step[1] * across, 0.5 + step[1] * along + step[0] * across];
            Object::new(kind, None, centre, rng)
        });
        Scene { background: *rng.choose(Background::ALL), objects: objects.into(), relation: Some(relation) }
    }

    /// A scene of one object, or with probability 1/3 of two, their kinds among `kinds`.
    pub fn draw(kinds: &[Kind], rng: &mut Rng) -> Self {
        if rng.chance(1.0 / 3.0) { Scene::pair(kinds, rng) } else { Scene::single(*rng.choose(kinds), rng) }
    }

    /// Everything that can be said about it.
    pub fn claim(&self) -> Claim {
        let object = |o: &Object| ObjectClaim { shape: o.shape, colour: o.colour, size: Some(o.size), place: o.place };
        Claim {
            background: Some(self.background),
            objects: self.objects.iter().map(object).collect(),
            relation: self.relation,
        }
    }

    /// A caption: shapes, colours and the relation always, each other attribute more often than not, in one of several
    /// wordings.
    pub fn caption(&self, rng: &mut Rng) -> String {
        const NAMED: f64 = 0.6;
        let mut claim = self.claim();
        claim.background = claim.background.filter(|_| rng.chance(NAMED));
        for object in &mut claim.objects {
            object.size = object.size.filter(|_| rng.chance(NAMED));
            object.place = object.place.filter(|_| rng.chance(NAMED));
        }
        claim.write(rng)
    }

    /// Its picture, `side` pixels wide and high; edges are anti-aliased, light falls from the top left.
    pub fn render(&self, side: usize) -> Picture {
        let mut rgb = Vec::with_capacity(3 * side * side);
        for row in 0..side {
            for column in 0..side {
                let [x, y] = [column, row].map(|at| (at as f64 + 0.5) / side as f64);
                let mut colour = self.background.rgb().map(|byte| f64::from(byte) * background_shade(x, y));
                for object in &self.objects {
                    let cover = object.coverage(column, row, side);
                    let shade = object.shade(x, y);
                    for (channel, byte) in colour.iter_mut().zip(object.colour.rgb()) {
                        *channel += cover * (f64::from(byte) * shade - *channel);
                    }
                }
                rgb.extend(colour.map(|value| value.round().clamp(0.0, 255.0) as u8));
            }
        }
        Picture { width: side, height: side, rgb }
    }
}

/// Brightness of the background: 1 at the top left, a little less towards the bottom right and in the corners.
fn background_shade(x: f64, y: f64) -> f64 {
    let from_middle2 = (x - 0.5).powi(2) + (y - 0.5).powi(2);
    1.01 - 0.02 * (x + y) - 0.05 * from_middle2
}

impl Object {
    fn new((shape, colour): Kind, place: Option<Place>, centre: [f64; 2], rng: &mut Rng) -> Self {
        let size = *rng.choose(Size::ALL);
        let diameter = size.diameter() + jitter(rng, SIZE_JITTER);
        Object { shape, colour, size, place, centre, diameter }
    }

    /// The share of a pixel that it covers, in [0, 1].
    fn coverage(&self, column: usize, row: usize, side: usize) -> f64 {
        let scale = side as f64;
        coverage(self.shape, self.centre.map(|at| at * scale), self.diameter * scale, column, row)
    }

    /// Brightness at a point: lighter towards the top left.
    fn shade(&self, x: f64, y: f64) -> f64 {
        1.0 - 0.12 * (x - self.centre[0] + y - self.centre[1]) / self.diameter
    }
}

/// The share of pixel (column, row) that `shape` covers, in [0, 1], by 4×4 samples; `centre` and `diameter` of its box in
/// pixels.
pub fn coverage(shape: Shape, centre: [f64; 2], diameter: f64, column: usize, row: usize) -> f64 {
    const SAMPLES: usize = 4;
    let offset = [column as f64 - centre[0], row as f64 - centre[1]];
    if offset.iter().any(|&o| o > diameter / 2.0 || o + 1.0 < -diameter / 2.0) {
        return 0.0;
    }
    let at = |axis: usize, sample: usize| (offset[axis] + (sample as f64 + 0.5) / SAMPLES as f64) / diameter;
    let samples = (0..SAMPLES * SAMPLES).map(|i| (at(0, i % SAMPLES), at(1, i / SAMPLES)));
    samples.filter(|&(x, y)| shape.contains(x, y)).count() as f64 / (SAMPLES * SAMPLES) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_pair_in_ten_is_held_out_and_nothing_vanishes() {
        for seed in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, u64::MAX] {
            let (seen, held_out) = (kinds(false, seed), kinds(true, seed));
            assert_eq!((seen.len(), held_out.len()), (36, 4));
            assert!(held_out.iter().all(|kind| !seen.contains(kind)));
            let shapes = |kinds: &[Kind]| kinds.iter().map(|kind| kind.0).collect::<HashSet<_>>().len();
            let colours = |kinds: &[Kind]| kinds.iter().map(|kind| kind.1).collect::<HashSet<_>>().len();
            assert_eq!((shapes(&seen), colours(&seen)), (Shape::ALL.len(), Colour::ALL.len()), "{seed}");
            assert_eq!((shapes(&held_out), colours(&held_out)), (4, 4), "{seed}");
        }
    }

    #[test]
    fn ten_seeds_hold_out_every_pair_once() {
        let all: HashSet<Kind> = (3..13).flat_map(|seed| kinds(true, seed)).collect();
        assert_eq!(all.len(), 40);
        let of_seed_0: Vec<Kind> =
            [(1, 1), (2, 3), (3, 5), (4, 7)].map(|(s, c)| (Shape::ALL[s], Colour::ALL[c])).into();
        assert_eq!(kinds(true, 0), of_seed_0);
    }

    #[test]
    fn objects_stay_inside_and_apart() {
        for i in 0..2000 {
            let scene = Scene::draw(&kinds(false, 0), &mut Rng::new(3, "scene", i, 0));
            for object in &scene.objects {
                let reach = object.diameter / 2.0;
                assert!(object.centre.iter().all(|&at| at - reach > 0.0 && at + reach < 1.0), "{object:?}");
            }
            if let [a, b] = &scene.objects[..] {
                let axis = usize::from((a.centre[0] - b.centre[0]).abs() < (a.centre[1] - b.centre[1]).abs());
                let gap = (a.centre[axis] - b.centre[axis]).abs() - (a.diameter + b.diameter) / 2.0;
                assert!(gap * 32.0 > 1.0, "{scene:?}");
                assert_ne!(a.colour, b.colour);
                assert_eq!(scene.relation, Some(Relation::between(a.centre, b.centre)));
            }
        }
    }

    #[test]
    fn a_third_of_the_scenes_has_two_objects() {
        let draw = |i| Scene::draw(&kinds(false, 0), &mut Rng::new(1, "scene", i, 0));
        let pairs = (0..3000).filter(|&i| draw(i).objects.len() == 2).count();
        assert!((900..1100).contains(&pairs), "{pairs}");
    }

    #[test]
    fn coverage_sums_to_the_area() {
        for &shape in Shape::ALL {
            let pixels = (0..32 * 32).map(|i| coverage(shape, [15.3, 16.1], 13.0, i % 32, i / 32));
            let area = pixels.sum::<f64>() / (13.0 * 13.0);
            assert!((area - shape.area()).abs() < 0.02, "{shape:?}: {area}");
        }
    }
}
