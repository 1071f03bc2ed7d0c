//! From pixels to attributes: what a picture of the `shapes` set shows.
//!
//! The background is the palette entry nearest to the frame's median. What differs from it enough, absolutely and beside
//! its neighbourhood, is cut into connected components. A component's colour is the one of which its strongest pixels are
//! most likely a mixture with the background; how much of that colour each pixel shows gives the area; the shape is the
//! one whose rendering of that area, sharp or blurred, overlaps best. Blur keeps areas, so reconstructions can be read too.
//! Something always overlaps best: what is [`certain`](Seen::certain) overlaps by more than anything else does.
//! Every threshold comes from the geometry and the palette of the renderings; none was fitted to samples of a model.

use crate::data::shapes::{Attribute, Background, Colour, Scene, Shape, coverage};
use crate::data::{Picture, colour};
use std::sync::LazyLock;

/// One object as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The shape of the largest overlap.
    pub shape: Shape,
    /// The nearest colour of the palette.
    pub colour: Colour,
    /// The middle of its box, (x, y) as shares of the sides.
    pub centre: [f64; 2],
    /// The side of its box as a share of the picture's short side.
    pub diameter: f64,
    /// How well the shape fits: the overlap over the union, in [0, 1].
    pub overlap: f64,
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The nearest background of the palette.
    pub background: Background,
    /// The objects, the largest first.
    pub objects: Vec<Seen>,
}

/// What differs less than this from the background, in OKLab, belongs to it: half the smallest distance of a colour to a
/// background (0.144), well above the shading of a background (0.02).
const CONTRAST: f64 = 0.07;
/// A pixel of less than this share of the strongest contrast nearby is outside: the middle of an edge.
const EDGE: f64 = 0.5;
/// The least area of an object, as a share of the picture's: a third of the smallest, a small triangle.
const LEAST_AREA: f64 = 0.011;

impl Seen {
    /// The shape, where it is beyond doubt.
    pub fn certain(&self) -> Option<Shape> {
        (self.overlap >= floor(self.shape)).then_some(self.shape)
    }
}

/// What overlaps less is not `shape` beyond doubt. Renderings, sharp, blurred twice and with noise, overlap by more (99 in 100);
/// domes, diamonds, teardrops and formless blobs, sharp and blurred, by less. A test measures both again. Outlines that are
/// long for their area lose more to blur and noise.
fn floor(shape: Shape) -> f64 {
    match shape {
        Shape::Circle | Shape::Square => 0.92,
        Shape::Triangle | Shape::Cross | Shape::Ring => 0.9,
    }
}

/// Reads a picture of any size from 16 pixels on.
pub fn read(picture: &Picture) -> Reading {
    let field = Field::new(picture);
    let ground = field.frame();
    let background = nearest(colour::oklab(ground), &GROUNDS, Background::ALL);
    let mut objects: Vec<(f64, Seen)> =
        field.components(ground).iter().map(|part| field.object(part, ground)).collect();
    objects.sort_by(|a, b| b.0.total_cmp(&a.0));
    Reading { background, objects: objects.into_iter().map(|(_, seen)| seen).collect() }
}

/// What the frame of an empty scene looks like, for each background.
static GROUNDS: LazyLock<Vec<[f64; 3]>> = LazyLock::new(|| {
    let empty = |&background: &Background| Scene { background, objects: vec![], relation: None }.render(32);
    Background::ALL.iter().map(|background| colour::oklab(Field::new(&empty(background)).frame())).collect()
});

/// The value whose colour is nearest to `lab`.
fn nearest<A: Attribute>(lab: [f64; 3], palette: &[[f64; 3]], values: &[A]) -> A {
    let distances = palette.iter().map(|entry| colour::distance(*entry, lab));
    let best = distances.zip(values).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(values[0], |(_, value)| *value)
}

/// The colour of the palette of which `rgb` is most likely a mixture with the background: blur never lets a thin part
/// reach its own colour.
fn unmix(rgb: [u8; 3], ground: [u8; 3]) -> Colour {
    const SHARES: [f64; 3] = [1.0, 0.8, 0.6];
    let lab = colour::oklab(rgb);
    let distance = |colour: &Colour| {
        let mixed = |share: f64| {
            let mix = |channel: usize| {
                let (ground, object) = (f64::from(ground[channel]), f64::from(colour.rgb()[channel]));
                (ground + share * (object - ground)).round() as u8
            };
            colour::distance(colour::oklab([0, 1, 2].map(mix)), lab)
        };
        SHARES.map(mixed).into_iter().fold(f64::MAX, f64::min)
    };
    let distances = Colour::ALL.iter().map(|colour| (distance(colour), *colour));
    distances.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(Colour::ALL[0], |(_, colour)| colour)
}

/// A picture and its scale.
struct Field<'a> {
    width: usize,
    height: usize,
    pixels: &'a [[u8; 3]],
    /// Two pixels at 32, in proportion elsewhere: the width of the frame, the reach of a neighbourhood.
    reach: usize,
}

/// The pixels of a component, and those around it that are nearer to it than to any other.
struct Component {
    core: Vec<usize>,
    around: Vec<usize>,
}

impl<'a> Field<'a> {
    fn new(picture: &'a Picture) -> Self {
        let reach = (picture.width.min(picture.height) / 16).max(1);
        Field { width: picture.width, height: picture.height, pixels: picture.rgb.as_chunks().0, reach }
    }

    fn short_side(&self) -> f64 {
        self.width.min(self.height) as f64
    }

    /// The median colour of the frame.
    fn frame(&self) -> [u8; 3] {
        let inside = |at: usize, side: usize| at >= self.reach && at + self.reach < side;
        let frame = (0..self.pixels.len())
            .filter(|&pixel| !inside(pixel % self.width, self.width) || !inside(pixel / self.width, self.height));
        self.median(frame)
    }

    /// The median of each channel.
    fn median(&self, pixels: impl Iterator<Item = usize>) -> [u8; 3] {
        let pixels: Vec<[u8; 3]> = pixels.map(|pixel| self.pixels[pixel]).collect();
        [0, 1, 2].map(|channel| {
            let mut values: Vec<u8> = pixels.iter().map(|pixel| pixel[channel]).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        })
    }

    /// The pixels at most `reach` away from `pixel` in both directions, itself included.
    fn neighbourhood(&self, pixel: usize, reach: usize) -> impl Iterator<Item = usize> {
        let (column, row) = (pixel % self.width, pixel / self.width);
        let columns = column.saturating_sub(reach)..(column + reach + 1).min(self.width);
        let rows = row.saturating_sub(reach)..(row + reach + 1).min(self.height);
        rows.flat_map(move |row| columns.clone().map(move |column| row * self.width + column))
    }

    /// The four neighbours of `pixel` that lie in the picture.
    fn neighbours(&self, pixel: usize) -> impl Iterator<Item = usize> {
        let near = self.neighbourhood(pixel, 1);
        near.filter(move |&other| {
            other != pixel && (other % self.width == pixel % self.width || other / self.width == pixel / self.width)
        })
    }

    /// The components that differ from the background.
    fn components(&self, ground: [u8; 3]) -> Vec<Component> {
        let ground = colour::oklab(ground);
        let contrast: Vec<f64> = self.pixels.iter().map(|&rgb| colour::distance(colour::oklab(rgb), ground)).collect();
        let stands_out = |pixel: usize| {
            let strongest = self.neighbourhood(pixel, self.reach).map(|other| contrast[other]).fold(0.0, f64::max);
            contrast[pixel] > CONTRAST.max(EDGE * strongest)
        };
        let mut free: Vec<bool> = (0..self.pixels.len()).map(stands_out).collect();
        let mut cores = Vec::new();
        for start in 0..free.len() {
            if std::mem::take(&mut free[start]) {
                let mut core = vec![start];
                let mut next = 0;
                while let Some(&pixel) = core.get(next) {
                    core.extend(self.neighbours(pixel).filter(|&other| std::mem::take(&mut free[other])));
                    next += 1;
                }
                cores.push(core);
            }
        }
        cores.retain(|core| core.len() as f64 > LEAST_AREA * self.short_side().powi(2));
        for core in &mut cores {
            core.sort_by(|&a, &b| contrast[b].total_cmp(&contrast[a]));
        }
        self.grow(cores)
    }

    /// Gives every pixel near a component to the nearest one.
    fn grow(&self, cores: Vec<Vec<usize>>) -> Vec<Component> {
        let mut owned = vec![false; self.pixels.len()];
        for &pixel in cores.iter().flatten() {
            owned[pixel] = true;
        }
        let mut components: Vec<_> = cores.into_iter().map(|core| Component { around: core.clone(), core }).collect();
        let mut fronts: Vec<Vec<usize>> = components.iter().map(|component| component.core.clone()).collect();
        for _ in 0..self.reach {
            for (component, front) in components.iter_mut().zip(&mut fronts) {
                let near = front.iter().flat_map(|&pixel| self.neighbourhood(pixel, 1));
                *front = near.filter(|&pixel| !std::mem::replace(&mut owned[pixel], true)).collect();
                component.around.extend(front.iter());
            }
        }
        components
    }

    /// The area of a component in pixels, and what it is.
    fn object(&self, component: &Component, ground: [u8; 3]) -> (f64, Seen) {
        // The strongest third: thin parts of a blurred object never reach its colour.
        let strongest = component.core.len().div_ceil(3);
        let rgb = self.median(component.core[..strongest].iter().copied());
        let colour = unmix(rgb, ground);
        let cover = self.cover(&component.around, ground, colour.rgb());
        let area = cover.iter().sum::<f64>();
        let (shape, centre, diameter, overlap) = self.fit(&cover, area);
        let seen = Seen {
            shape,
            colour,
            centre: [centre[0] / self.width as f64, centre[1] / self.height as f64],
            diameter: diameter / self.short_side(),
            overlap,
        };
        (area, seen)
    }

    /// How much of each pixel shows the object, in [0, 1]: where its colour lies between `ground` and `object`. In sRGB
    /// values, because that is how renderings mix.
    fn cover(&self, pixels: &[usize], ground: [u8; 3], object: [u8; 3]) -> Vec<f64> {
        let difference = |rgb: [u8; 3]| [0, 1, 2].map(|channel| f64::from(rgb[channel]) - f64::from(ground[channel]));
        let dot = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let whole = difference(object);
        let mut cover = vec![0.0; self.pixels.len()];
        for &pixel in pixels {
            let share = dot(difference(self.pixels[pixel]), whole) / dot(whole, whole).max(1.0);
            cover[pixel] = share.clamp(0.0, 1.0);
        }
        cover
    }

    /// The shape, middle and diameter in pixels whose rendering, sharp, blurred or blurred twice, overlaps `cover` best, and by how
    /// much.
    /// Each shape is tried with the area and the centre of mass of `cover`.
    fn fit(&self, cover: &[f64], area: f64) -> (Shape, [f64; 2], f64, f64) {
        let mean = |at: &dyn Fn(usize) -> usize| {
            let moment = cover.iter().enumerate().map(|(pixel, share)| share * (at(pixel) as f64 + 0.5)).sum::<f64>();
            moment / area.max(1e-9)
        };
        let [x, y] = [mean(&|pixel| pixel % self.width), mean(&|pixel| pixel / self.width)];
        let mut best = (Shape::ALL[0], [x, y], 1.0, -1.0);
        for &shape in Shape::ALL {
            let diameter = (area / shape.area()).sqrt().max(1.0);
            let centre = [x, y - shape.centroid() * diameter];
            let pixels = (0..cover.len()).map(|pixel| (pixel % self.width, pixel / self.width));
            let sharp: Vec<f64> = pixels.map(|(column, row)| coverage(shape, centre, diameter, column, row)).collect();
            let soft = self.blur(&sharp);
            for rendered in [self.blur(&soft), soft, sharp] {
                let overlap = overlap(cover, &rendered);
                if overlap > best.3 {
                    best = (shape, centre, diameter, overlap);
                }
            }
        }
        best
    }

    /// The mean over a box of three pixels at 32, in proportion elsewhere.
    fn blur(&self, cover: &[f64]) -> Vec<f64> {
        let mean = |pixel| {
            let (sum, count) =
                self.neighbourhood(pixel, self.reach / 2).fold((0.0, 0.0), |(sum, n), p| (sum + cover[p], n + 1.0));
            sum / count
        };
        (0..cover.len()).map(mean).collect()
    }
}

/// What two covers share over what either has.
fn overlap(a: &[f64], b: &[f64]) -> f64 {
    let (common, either) =
        a.iter().zip(b).fold((0.0, 0.0), |(common, either), (a, b)| (common + a.min(*b), either + a.max(*b)));
    common / either.max(1e-9)
}
