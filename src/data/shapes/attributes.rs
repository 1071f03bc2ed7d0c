//! What a scene can show, and the words for it: shapes, colours, sizes, places, backgrounds, relations.
//!
//! The caption writer and the caption parser share these tables, so that they cannot drift apart.

/// A closed set of values, each with the phrases that name it.
pub trait Attribute: Copy + PartialEq + Sized + 'static {
    /// Every value, in a fixed order.
    const ALL: &'static [Self];

    /// Its wordings; the first one is the canonical one. No phrase of the set is a word-wise prefix of another.
    fn phrases(self) -> &'static [&'static str];

    /// The canonical wording.
    fn name(self) -> &'static str {
        self.phrases()[0]
    }
}

macro_rules! attribute {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = [$($phrase:literal),+],)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl Attribute for $name {
            const ALL: &'static [Self] = &[$($name::$value,)+];

            fn phrases(self) -> &'static [&'static str] {
                match self { $($name::$value => &[$($phrase),+],)+ }
            }
        }
    };
}

attribute! {
    /// The outline of an object. Each fits a box of side 1 around the origin, y downwards.
    Shape {
        /// A disc of diameter 1.
        Circle = ["circle"],
        /// Upright, of about the disc's area.
        Square = ["square"],
        /// Isosceles, apex up, as high as wide.
        Triangle = ["triangle"],
        /// An upright plus sign.
        Cross = ["cross"],
        /// A disc with a round hole of half its diameter.
        Ring = ["ring"],
    }
}

attribute! {
    /// The colour of an object: well apart from the others and from every background.
    Colour {
        /// A dark, pure red.
        Red = ["red"],
        /// Between red and yellow.
        Orange = ["orange"],
        /// A deep yellow, unlike the pale one.
        Yellow = ["yellow"],
        /// A dark green.
        Green = ["green"],
        /// Between green and blue.
        Cyan = ["cyan"],
        /// A dark blue.
        Blue = ["blue"],
        /// A reddish purple.
        Purple = ["purple"],
        /// Nearly black.
        Black = ["black"],
    }
}

attribute! {
    /// How large an object is; see [`Size::diameter`].
    Size {
        /// About a quarter of the side.
        Small = ["small", "little"],
        /// About two fifths of the side.
        Large = ["large", "big"],
    }
}

attribute! {
    /// Where a lone object is.
    Place {
        /// Top left.
        TopLeft = ["in the top left corner", "at the top left"],
        /// Top right.
        TopRight = ["in the top right corner", "at the top right"],
        /// Bottom left.
        BottomLeft = ["in the bottom left corner", "at the bottom left"],
        /// Bottom right.
        BottomRight = ["in the bottom right corner", "at the bottom right"],
        /// In the middle.
        Centre = ["in the centre", "in the middle"],
    }
}

attribute! {
    /// Where the first of two objects is, seen from the second.
    Relation {
        /// Higher up.
        Above = ["above", "over"],
        /// Further down.
        Below = ["below", "under"],
        /// Further left.
        LeftOf = ["to the left of", "left of"],
        /// Further right.
        RightOf = ["to the right of", "right of"],
    }
}

attribute! {
    /// The colour behind the objects.
    Background {
        /// Pale yellow.
        Yellow = ["pale yellow"],
        /// Pale blue.
        Blue = ["pale blue"],
        /// Pale green.
        Green = ["pale green"],
        /// Pale pink.
        Pink = ["pale pink"],
        /// A light grey.
        Grey = ["pale grey"],
        /// Pale purple.
        Purple = ["pale purple"],
    }
}

/// Half the side of [`Shape::Square`].
const SQUARE: f64 = 0.44;
/// Half the width of the arms of [`Shape::Cross`].
const ARM: f64 = 0.18;
/// The radius of the hole of [`Shape::Ring`].
const HOLE: f64 = 0.25;

impl Shape {
    /// True where the point (x, y) of the unit box, both in [−1/2, 1/2], lies inside.
    pub fn contains(self, x: f64, y: f64) -> bool {
        let inside = |half_width: f64, half_height: f64| x.abs() <= half_width && y.abs() <= half_height;
        let radius2 = x * x + y * y;
        match self {
            Shape::Circle => radius2 <= 0.25,
            Shape::Square => inside(SQUARE, SQUARE),
            Shape::Triangle => inside(0.5, 0.5) && 2.0 * x.abs() <= y + 0.5,
            Shape::Cross => inside(ARM, 0.5) || inside(0.5, ARM),
            Shape::Ring => (HOLE * HOLE..=0.25).contains(&radius2),
        }
    }

    /// Its area as a share of the unit box.
    pub fn area(self) -> f64 {
        use std::f64::consts::PI;
        match self {
            Shape::Circle => PI / 4.0,
            Shape::Square => 4.0 * SQUARE * SQUARE,
            Shape::Triangle => 0.5,
            Shape::Cross => 4.0 * ARM * (1.0 - ARM),
            Shape::Ring => PI * (0.25 - HOLE * HOLE),
        }
    }

    /// How far its centre of mass lies below the middle of the unit box.
    pub fn centroid(self) -> f64 {
        if self == Shape::Triangle { 1.0 / 6.0 } else { 0.0 }
    }
}

impl Colour {
    /// The unshaded colour.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Colour::Red => [206, 24, 38],
            Colour::Orange => [245, 120, 18],
            Colour::Yellow => [236, 196, 0],
            Colour::Green => [24, 136, 46],
            Colour::Cyan => [0, 172, 186],
            Colour::Blue => [30, 64, 214],
            Colour::Purple => [152, 44, 176],
            Colour::Black => [28, 28, 32],
        }
    }
}

impl Background {
    /// The unshaded colour.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Background::Yellow => [255, 247, 188],
            Background::Blue => [168, 206, 252],
            Background::Green => [184, 236, 180],
            Background::Pink => [255, 194, 208],
            Background::Grey => [206, 206, 206],
            Background::Purple => [220, 194, 250],
        }
    }
}

impl Size {
    /// The side of the object's box as a share of the picture's side, before jitter.
    pub fn diameter(self) -> f64 {
        match self {
            Size::Small => 0.265,
            Size::Large => 0.41,
        }
    }

    /// The size whose diameter is the nearer one.
    pub fn nearest(diameter: f64) -> Self {
        let middle = (Size::Small.diameter() + Size::Large.diameter()) / 2.0;
        if diameter < middle { Size::Small } else { Size::Large }
    }
}

impl Place {
    /// The middle of an object there, (x, y) as shares of the side, before jitter.
    pub fn centre(self) -> [f64; 2] {
        const NEAR: f64 = 0.27;
        const FAR: f64 = 1.0 - NEAR;
        match self {
            Place::TopLeft => [NEAR, NEAR],
            Place::TopRight => [FAR, NEAR],
            Place::BottomLeft => [NEAR, FAR],
            Place::BottomRight => [FAR, FAR],
            Place::Centre => [0.5, 0.5],
        }
    }

    /// The place whose centre is the nearest one.
    pub fn nearest([x, y]: [f64; 2]) -> Self {
        let distance2 = |place: &Place| {
            let [centre_x, centre_y] = place.centre();
            (x - centre_x).powi(2) + (y - centre_y).powi(2)
        };
        Place::ALL.iter().copied().min_by(|a, b| distance2(a).total_cmp(&distance2(b))).unwrap_or(Place::Centre)
    }
}

impl Relation {
    /// The unit step, (x, y) with y downwards, from the second object to the first.
    pub fn step(self) -> [f64; 2] {
        match self {
            Relation::Above => [0.0, -1.0],
            Relation::Below => [0.0, 1.0],
            Relation::LeftOf => [-1.0, 0.0],
            Relation::RightOf => [1.0, 0.0],
        }
    }

    /// The relation of an object at `first` to one at `second`: along the axis on which they are further apart.
    pub fn between(first: [f64; 2], second: [f64; 2]) -> Self {
        let (dx, dy) = (first[0] - second[0], first[1] - second[1]);
        match (dx.abs() > dy.abs(), dx > 0.0, dy > 0.0) {
            (true, true, _) => Relation::RightOf,
            (true, false, _) => Relation::LeftOf,
            (false, _, true) => Relation::Below,
            (false, _, false) => Relation::Above,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::colour;

    #[test]
    fn areas_and_centroids_are_those_of_the_outlines() {
        let n = 400;
        for &shape in Shape::ALL {
            let points = (0..n * n).map(|i| [(i % n) as f64, (i / n) as f64].map(|v| (v + 0.5) / n as f64 - 0.5));
            let inside: Vec<_> = points.filter(|&[x, y]| shape.contains(x, y)).collect();
            let area = inside.len() as f64 / (n * n) as f64;
            assert!((area - shape.area()).abs() < 2e-3, "{shape:?}: {area} vs {}", shape.area());
            let centroid = inside.iter().map(|p| p[1]).sum::<f64>() / inside.len() as f64;
            assert!((centroid - shape.centroid()).abs() < 2e-3, "{shape:?}: {centroid}");
        }
    }

    #[test]
    fn colours_are_well_apart() {
        let object: Vec<_> = Colour::ALL.iter().map(|c| colour::oklab(c.rgb())).collect();
        let ground: Vec<_> = Background::ALL.iter().map(|b| colour::oklab(b.rgb())).collect();
        let nearest = |from: &[[f64; 3]], to: &[[f64; 3]]| {
            let pairs = from.iter().flat_map(|a| to.iter().map(move |b| colour::distance(*a, *b)));
            pairs.filter(|&d| d > 0.0).fold(f64::MAX, f64::min)
        };
        assert!(nearest(&object, &object) > 0.15);
        assert!(nearest(&object, &ground) > 0.14);
        assert!(nearest(&ground, &ground) > 0.07);
    }

    #[test]
    fn nearest_values_are_inverse_to_the_tables() {
        for &place in Place::ALL {
            assert_eq!(Place::nearest(place.centre()), place);
        }
        for &size in Size::ALL {
            assert_eq!(Size::nearest(size.diameter()), size);
        }
        for &relation in Relation::ALL {
            assert_eq!(Relation::between(relation.step(), [0.0, 0.0]), relation);
        }
    }
}
