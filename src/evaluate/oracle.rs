//! The attribute oracle: is what a caption says true of a picture? It looks at pixels only; see [`super::reading`].

use super::reading::{Reading, Seen, read};
use crate::data::Picture;
use crate::data::shapes::{Claim, ObjectClaim, Place, Relation, Size};

/// Which of the attributes that a claim names are right; those that it does not name are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// As many objects as claimed.
    pub count: bool,
    /// The shapes of all the objects.
    pub shape: bool,
    /// The colours of all the objects.
    pub colour: bool,
    /// Every size named.
    pub size: Option<bool>,
    /// Every place named.
    pub place: Option<bool>,
    /// The background.
    pub background: Option<bool>,
    /// The relation of the two objects.
    pub relation: Option<bool>,
}

impl Verdict {
    /// Every attribute that the claim names is right, and so is the number of objects.
    pub fn all(&self) -> bool {
        let optional = [self.size, self.place, self.background, self.relation];
        self.count && self.shape && self.colour && optional.iter().all(|right| *right != Some(false))
    }

    fn rights(&self) -> usize {
        let optional = [self.size, self.place, self.background, self.relation].map(|right| right == Some(true));
        [self.count, self.shape, self.colour].iter().chain(&optional).filter(|&&right| right).count()
    }
}

/// Compares a picture with a claim. Two objects may be either way round: the way with more right attributes counts.
pub fn judge(picture: &Picture, claim: &Claim) -> Verdict {
    compare(&read(picture), claim)
}

/// Compares a reading with a claim, as [`judge`].
pub fn compare(reading: &Reading, claim: &Claim) -> Verdict {
    let mut order: Vec<&Seen> = reading.objects.iter().take(claim.objects.len()).collect();
    let forward = compare_in_order(reading, &order, claim);
    order.reverse();
    let backward = compare_in_order(reading, &order, claim);
    if backward.rights() > forward.rights() { backward } else { forward }
}

fn compare_in_order(reading: &Reading, seen: &[&Seen], claim: &Claim) -> Verdict {
    let all = |right: &dyn Fn(&ObjectClaim, &Seen) -> bool| {
        seen.len() == claim.objects.len() && claim.objects.iter().zip(seen).all(|(object, seen)| right(object, seen))
    };
    let named = |is_named: bool, right: bool| is_named.then_some(right);
    Verdict {
        count: reading.objects.len() == claim.objects.len(),
        shape: all(&|object, seen| object.shape == seen.shape),
        colour: all(&|object, seen| object.colour == seen.colour),
        size: named(
            claim.objects.iter().any(|object| object.size.is_some()),
            all(&|object, seen| object.size.is_none_or(|size| size == Size::nearest(seen.diameter))),
        ),
        place: named(
            claim.objects.iter().any(|object| object.place.is_some()),
            all(&|object, seen| object.place.is_none_or(|place| place == Place::nearest(seen.centre))),
        ),
        background: claim.background.map(|background| background == reading.background),
        relation: claim.relation.map(|relation| match seen {
            [first, second] => relation == Relation::between(first.centre, second.centre),
            _ => false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::{Attribute, Background, Colour, Prompts, Scene, Shape, prompts};
    use crate::random::Rng;

    fn scene(i: u64) -> Scene {
        Scene::draw(&mut Rng::new(11, "oracle", i, 0))
    }

    /// A 3×3 box blur.
    fn blur(picture: &Picture) -> Picture {
        let (width, height) = (picture.width as isize, picture.height as isize);
        let mean = |at: isize| {
            let (column, row, channel) = (at / 3 % width, at / 3 / width, at % 3);
            let near = (0..9).map(|i| (column + i % 3 - 1, row + i / 3 - 1));
            let inside = near.filter(|&(x, y)| (0..width).contains(&x) && (0..height).contains(&y));
            let values: Vec<f64> =
                inside.map(|(x, y)| f64::from(picture.rgb[(3 * (y * width + x) + channel) as usize])).collect();
            (values.iter().sum::<f64>() / values.len() as f64).round() as u8
        };
        Picture { rgb: (0..picture.rgb.len() as isize).map(mean).collect(), ..picture.clone() }
    }

    /// Uniform noise of ±`levels`.
    fn noisy(mut picture: Picture, levels: f64, rng: &mut Rng) -> Picture {
        for value in &mut picture.rgb {
            *value = (f64::from(*value) + rng.range(-levels, levels)).round().clamp(0.0, 255.0) as u8;
        }
        picture
    }

    /// The share of scenes, of one and of two objects, all of whose attributes are read right.
    fn accuracy(count: u64, picture: impl Fn(&Scene, u64) -> Picture) -> [f64; 2] {
        let (mut right, mut total) = ([0.0; 2], [0.0; 2]);
        for i in 0..count {
            let scene = scene(i);
            let verdict = judge(&picture(&scene, i), &scene.claim());
            let two = scene.objects.len() - 1;
            total[two] += 1.0;
            right[two] += f64::from(u8::from(verdict.all()));
        }
        [right[0] / total[0], right[1] / total[1]]
    }

    #[test]
    fn reads_clean_renderings() {
        for (side, count) in [(32, 2000), (64, 300)] {
            let [one, two] = accuracy(count, |scene, _| scene.render(side));
            assert!(one >= 0.99 && two >= 0.99, "{side}: {one} {two}");
        }
    }

    #[test]
    fn reads_degraded_renderings() {
        let noise = |i| Rng::new(2, "noise", i, 0);
        let [one, two] = accuracy(1000, |scene, i| noisy(blur(&scene.render(32)), 8.0, &mut noise(i)));
        assert!(one >= 0.95 && two >= 0.95, "{one} {two}");
        let [one, two] = accuracy(500, |scene, _| blur(&blur(&scene.render(32))));
        assert!(one >= 0.95 && two >= 0.95, "blurred twice: {one} {two}");
    }

    #[test]
    fn shuffled_captions_are_rarely_right() {
        let mut right = 0;
        let captions = prompts(Prompts::Seen, 1, 2000);
        for (i, caption) in captions.iter().enumerate() {
            let scene =
                Scene::single((Shape::ALL[i % 5], Colour::ALL[i / 5 % 8]), &mut Rng::new(4, "chance", i as u64, 0));
            right += usize::from(judge(&scene.render(32), &Claim::parse(caption).unwrap()).all());
        }
        assert!(right < 40, "{right} of 2000");
    }

    #[test]
    fn each_wrong_attribute_is_noticed() {
        let scene = (0..).map(scene).find(|scene| scene.objects.len() == 1).unwrap();
        let picture = scene.render(32);
        let verdict = |change: &dyn Fn(&mut Claim)| {
            let mut claim = scene.claim();
            change(&mut claim);
            judge(&picture, &claim)
        };
        let other = |shape: Shape| if shape == Shape::Ring { Shape::Circle } else { Shape::Ring };
        assert!(verdict(&|_| {}).all());
        assert!(!verdict(&|claim| claim.objects[0].shape = other(claim.objects[0].shape)).shape);
        let colour = scene.objects[0].colour;
        let wrong = *Colour::ALL.iter().find(|&&c| c != colour).unwrap();
        assert!(!verdict(&|claim| claim.objects[0].colour = wrong).colour);
        let size = if scene.objects[0].size == Size::Small { Size::Large } else { Size::Small };
        assert_eq!(verdict(&|claim| claim.objects[0].size = Some(size)).size, Some(false));
        let place = *Place::ALL.iter().find(|&&p| Some(p) != scene.objects[0].place).unwrap();
        assert_eq!(verdict(&|claim| claim.objects[0].place = Some(place)).place, Some(false));
        let ground = *Background::ALL.iter().find(|&&b| b != scene.background).unwrap();
        assert_eq!(verdict(&|claim| claim.background = Some(ground)).background, Some(false));
        assert_eq!(verdict(&|claim| claim.background = None).background, None);
        let doubled = verdict(&|claim| claim.objects.push(claim.objects[0]));
        assert!(!doubled.count && !doubled.shape && !doubled.all());
    }

    #[test]
    fn order_does_not_matter_but_the_relation_does() {
        let scene = (0..).map(scene).find(|scene| scene.objects.len() == 2).unwrap();
        let (picture, claim) = (scene.render(32), scene.claim());
        let opposite = Relation::between(scene.objects[1].centre, scene.objects[0].centre);
        let mut turned = claim.clone();
        turned.objects.reverse();
        turned.relation = Some(opposite);
        assert!(judge(&picture, &claim).all() && judge(&picture, &turned).all());
        turned.objects.reverse();
        let verdict = judge(&picture, &turned);
        assert!(!verdict.all() && verdict.count);
    }

    #[test]
    fn any_picture_can_be_read() {
        let flat = Picture { width: 32, height: 32, rgb: vec![200; 3 * 32 * 32] };
        assert_eq!(read(&flat).objects, []);
        for (width, height) in [(0, 0), (1, 1), (3, 40), (16, 16)] {
            let mut rng = Rng::new(1, "static", 0, 0);
            let rgb = (0..3 * width * height).map(|_| rng.below(256) as u8).collect();
            read(&Picture { width, height, rgb });
        }
    }
}
