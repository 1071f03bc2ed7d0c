//! What a caption says: written from a scene, read back from the words.
//!
//! ```text
//! caption    = ["a picture of"] (subject [("on" | "against") ground] | ground "with" subject)
//! ground     = "a" background "background"
//! subject    = object [place] | object relation object
//! object     = "a" [size] colour shape
//! ```

use super::attributes::{Attribute, Background, Colour, Place, Relation, Shape, Size};
use crate::random::Rng;

/// What is said of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectClaim {
    /// Always named.
    pub shape: Shape,
    /// Always named.
    pub colour: Colour,
    /// `None` where it is not named.
    pub size: Option<Size>,
    /// `None` where it is not named, and beside a relation.
    pub place: Option<Place>,
}

/// What a caption says: exactly the attributes that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `None` where it is not named.
    pub background: Option<Background>,
    /// One object, or two in the order in which they are named.
    pub objects: Vec<ObjectClaim>,
    /// Where the first object is, seen from the second; `None` for one object.
    pub relation: Option<Relation>,
}

impl Claim {
    /// One of its wordings: lower-case, at most 19 words.
    pub fn write(&self, rng: &mut Rng) -> String {
        let mut words = Vec::new();
        if rng.chance(0.2) {
            words.push("a picture of".to_owned());
        }
        let ground = self.background.map(|background| format!("a {} background", background.name()));
        let ground_first = rng.chance(0.25);
        if let (Some(ground), true) = (&ground, ground_first) {
            words.push(format!("{ground} with"));
        }
        for (i, object) in self.objects.iter().enumerate() {
            if let (Some(relation), 1) = (self.relation, i) {
                words.push((*rng.choose(relation.phrases())).to_owned());
            }
            words.push(object.write(rng));
        }
        if let (Some(ground), false) = (&ground, ground_first) {
            words.push(format!("{} {ground}", rng.choose(&["on", "against"])));
        }
        words.join(" ")
    }

    /// Reads a caption of the grammar above, whatever its case and spacing; `None` where it is not one.
    pub fn parse(caption: &str) -> Option<Claim> {
        let caption = caption.to_lowercase();
        let mut words = Words(caption.trim().trim_end_matches('.').split_whitespace().collect());
        words.take("a picture of");
        let mut background = words.optional(|words| {
            let ground = words.ground()?;
            words.take("with").then_some(ground)
        });
        let mut first = words.object()?;
        let mut objects = vec![first];
        let relation = words.attribute();
        if relation.is_some() {
            objects.push(words.object()?);
        } else {
            first.place = words.attribute();
            objects = vec![first];
        }
        if background.is_none() && (words.take("on") || words.take("against")) {
            background = Some(words.ground()?);
        }
        words.0.is_empty().then_some(Claim { background, objects, relation })
    }
}

impl ObjectClaim {
    fn write(&self, rng: &mut Rng) -> String {
        let mut words = Vec::new();
        words.extend(self.size.map(|size| *rng.choose(size.phrases())));
        words.extend([self.colour.name(), self.shape.name()]);
        words.extend(self.place.map(|place| *rng.choose(place.phrases())));
        let article = if words[0].starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!("{article} {}", words.join(" "))
    }
}

/// The words not yet read.
struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    /// Reads `phrase` if it comes next.
    fn take(&mut self, phrase: &str) -> bool {
        let count = phrase.split(' ').count();
        let next = self.0.len() >= count && phrase.split(' ').eq(self.0[..count].iter().copied());
        if next {
            self.0.drain(..count);
        }
        next
    }

    /// Reads what `read` reads, or nothing.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.0.clone();
        let found = read(self);
        if found.is_none() {
            self.0 = before;
        }
        found
    }

    fn attribute<A: Attribute>(&mut self) -> Option<A> {
        A::ALL.iter().copied().find(|value| value.phrases().iter().any(|phrase| self.take(phrase)))
    }

    fn article(&mut self) -> Option<()> {
        (self.take("a") || self.take("an")).then_some(())
    }

    fn ground(&mut self) -> Option<Background> {
        self.article()?;
        let background = self.attribute()?;
        self.take("background").then_some(background)
    }

    fn object(&mut self) -> Option<ObjectClaim> {
        self.article()?;
        let size = self.attribute();
        Some(ObjectClaim { size, colour: self.attribute()?, shape: self.attribute()?, place: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::{Scene, kinds};
    use proptest::{prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    #[test]
    fn reads_what_is_said_and_no_more() {
        let claim = Claim::parse("A small red circle above a blue square on a pale yellow background.").unwrap();
        let object = |shape, colour, size| ObjectClaim { shape, colour, size, place: None };
        let circle = object(Shape::Circle, Colour::Red, Some(Size::Small));
        assert_eq!(claim.objects, [circle, object(Shape::Square, Colour::Blue, None)]);
        assert_eq!((claim.relation, claim.background), (Some(Relation::Above), Some(Background::Yellow)));

        let claim = Claim::parse("a picture of an orange ring in the middle").unwrap();
        assert_eq!(claim.objects[0].place, Some(Place::Centre));
        assert_eq!((claim.objects[0].size, claim.background), (None, None));

        for other in ["", "a circle", "a red", "a red circle on", "a red circle a", "a dog", "a red circle above"] {
            assert_eq!(Claim::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn captions_are_short_and_of_few_words() {
        let captions: Vec<String> = (0..4000)
            .map(|i| {
                let mut rng = Rng::new(5, "caption", i, 0);
                Scene::draw(&kinds(false, 0), &mut rng).caption(&mut rng)
            })
            .collect();
        let words: BTreeSet<&str> = captions.iter().flat_map(|caption| caption.split(' ')).collect();
        assert!(words.len() <= 60, "{} words: {words:?}", words.len());
        assert!(captions.iter().all(|caption| caption.split(' ').count() <= 20));
        let share = |holds: &dyn Fn(&Claim) -> bool| {
            let claims = captions.iter().filter_map(|caption| Claim::parse(caption));
            claims.filter(|claim| holds(claim)).count() as f64 / captions.len() as f64
        };
        let size = share(&|claim| claim.objects.iter().any(|object| object.size.is_some()));
        let place = share(&|claim| claim.objects[0].place.is_some());
        let background = share(&|claim| claim.background.is_some());
        assert!(size > 0.5 && place > 0.3 && background > 0.5, "{size} {place} {background}");
    }

    proptest! {
        #[test]
        fn parsing_is_inverse_to_writing(seed: u64, drop: [bool; 5]) {
            let mut rng = Rng::new(seed, "claim", 0, 0);
            let mut claim = Scene::draw(&kinds(false, seed), &mut rng).claim();
            claim.background = claim.background.filter(|_| drop[0]);
            for (i, object) in claim.objects.iter_mut().enumerate() {
                object.size = object.size.filter(|_| drop[1 + i]);
                object.place = object.place.filter(|_| drop[3 + i]);
            }
            prop_assert_eq!(Claim::parse(&claim.write(&mut rng)), Some(claim));
        }
    }
}
