//! How the published models read a picture, to the pixel: CLIP's
//! ([clip.py](https://github.com/openai/CLIP/blob/d05afc436d78f1c48dc0dbf8e5980a9d471f35f6/clip/clip.py), `_transform`) and
//! that of DALL·E's notebook.
//!
//! Both resize with Pillow (13 here), whose 8-bit resampling has three habits that show in the last bit: weights are rounded to
//! 22 binary places, the first pass is rounded to 8 bits before the second, and alpha is premultiplied. A picture is resized
//! and cropped in the mode of its file and becomes RGB afterwards, its alpha dropped, not composited; an orientation that
//! the file asks for is ignored. (Of palettes Pillow would pick the nearest colour; here they count as RGB.)

use super::Picture;
use super::decode::{PictureError, open};
use crate::kernels::Real;
use std::f64::consts::PI;

/// Mean of the training pictures' channels in CLIP's preprocessing.
pub const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their standard deviation.
pub const STD: [f32; 3] = [0.268_629_55, 0.261_302_6, 0.275_777_1];

/// RGB values in [0, 1], channels last, as CLIP's picture tower takes them: (x − mean)/std of each channel.
pub fn normalised<E: Real>(pixels: &[f32]) -> Vec<E> {
    let value = |(i, &x): (usize, &f32)| E::of(f64::from((x - MEAN[i % 3]) / STD[i % 3]));
    pixels.iter().enumerate().map(value).collect()
}

/// A file's picture as CLIP sees it: the short side resized to `side` (bicubic), the middle square, RGB.
///
/// # Errors
/// Where it cannot be decoded.
pub fn clip(bytes: &[u8], side: usize) -> Result<Picture, PictureError> {
    Ok(Stored::decode(bytes)?.for_clip(side))
}

/// The same of a picture in memory.
///
/// # Errors
/// Where it has no pixels.
pub fn clip_of(picture: &Picture, side: usize) -> Result<Picture, PictureError> {
    let Picture { width, height, ref rgb } = *picture;
    if rgb.is_empty() {
        return Err(PictureError::new("decode", format!("{width}x{height} pixels")));
    }
    Ok(Stored { width, height, channels: 3, values: rgb.clone() }.for_clip(side))
}

/// A file's picture as DALL·E's notebook sees it: the short side resized to `side` (Lanczos), the middle square, RGB.
///
/// # Errors
/// Where it cannot be decoded, or is smaller than `side`.
pub fn dalle(bytes: &[u8], side: usize) -> Result<Picture, PictureError> {
    let stored = Stored::decode(bytes)?;
    let (width, height) = (stored.width, stored.height);
    let short = width.min(height);
    if short < side {
        return Err(PictureError::new(
            "too-small",
            format!("{width}x{height} pixels; expected at least {side} a side"),
        ));
    }
    let ratio = side as f64 / short as f64;
    let scaled = |long: usize| (ratio * long as f64).round_ties_even() as usize;
    Ok(stored.middle_of(scaled(width), scaled(height), side, Filter::Lanczos))
}

/// Pillow's interpolation filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// Keys' cubic with a = −1/2.
    Bicubic,
    /// sinc(x)·sinc(x/3)
    Lanczos,
}

impl Filter {
    /// Beyond this distance the filter is zero.
    fn support(self) -> f64 {
        match self {
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        match self {
            Filter::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Binary places of a weight: 8-bit values and a sign bit with headroom fill the rest of an i32.
const PLACES: u32 = 22;

/// The source pixels that make one of the target: the first, and the weight of each, `PLACES` binary places.
type Taps = (usize, Vec<i32>);

/// The taps of the middle `side` of `to` pixels that `from` are resized to.
fn middle_taps(from: usize, to: usize, side: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0); // anti-aliasing: the filter grows where the picture shrinks
    let support = filter.support() * stretch;
    let one = |target: usize| {
        let centre = (target as f64 + 0.5) * scale;
        let first = ((centre - support + 0.5) as usize).min(from); // a negative number becomes 0
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |x: usize| filter.at((x as f64 - centre + 0.5) * (1.0 / stretch));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: &f64| {
            let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << PLACES);
            (w + 0.5f64.copysign(w)) as i32 // away from zero, then truncated
        };
        (first, weights.iter().map(fixed).collect())
    };
    // Half a pixel goes to the even offset, as in Python's `round`.
    let offset = (to.saturating_sub(side) as f64 / 2.0).round_ties_even() as usize;
    (offset..offset + side).map(one).collect()
}

/// Which pass comes first matters, because its result is rounded. Pillow took the horizontal one until it learned, before
/// version 13, to take the vertical one where that removes more than twice as many rows as the other removes columns: found by
/// comparing outputs, at sizes from 2 to 900.
fn vertical_first(from: (usize, usize), to: (usize, usize)) -> bool {
    let removed = |from: usize, to: usize| from as i64 - to as i64;
    let (columns, rows) = (removed(from.0, to.0), removed(from.1, to.1));
    rows > 0 && rows > 2 * columns
}

/// A picture in the mode of its file: gray, gray and alpha, RGB or RGBA, 8 bits each.
#[derive(Debug, Clone)]
struct Stored {
    width: usize,
    height: usize,
    channels: usize,
    values: Vec<u8>,
}

impl Stored {
    fn decode(bytes: &[u8]) -> Result<Self, PictureError> {
        let (image, _) = open(bytes)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        if width == 0 || height == 0 {
            return Err(PictureError::new("decode", format!("{width}x{height} pixels")));
        }
        let (channels, values) = match (image.color().has_color(), image.color().has_alpha()) {
            (false, false) => (1, image.into_luma8().into_raw()),
            (false, true) => (2, image.into_luma_alpha8().into_raw()),
            (true, false) => (3, image.into_rgb8().into_raw()),
            (true, true) => (4, image.into_rgba8().into_raw()),
        };
        Ok(Stored { width, height, channels, values })
    }

    fn for_clip(self, side: usize) -> Picture {
        let (width, height) = (self.width, self.height);
        let short = width.min(height);
        // Integers: Python's int(side·long/short) for every picture that decodes.
        let scaled = |long: usize| side * long / short;
        self.middle_of(scaled(width), scaled(height), side, Filter::Bicubic)
    }

    fn has_alpha(&self) -> bool {
        self.channels.is_multiple_of(2)
    }

    /// Resized to `width` by `height`, of which only the middle square is computed, then RGB.
    fn middle_of(mut self, width: usize, height: usize, side: usize, filter: Filter) -> Picture {
        let resize = (width, height) != (self.width, self.height);
        if resize && self.has_alpha() {
            self.multiply();
        }
        let columns = middle_taps(self.width, width, side, filter);
        let rows = middle_taps(self.height, height, side, filter);
        let mut square = match vertical_first((self.width, self.height), (width, height)) {
            true => self.down(&rows).across(&columns),
            false => self.across(&columns).down(&rows),
        };
        if resize && square.has_alpha() {
            square.divide();
        }
        square.into_rgb()
    }

    /// The horizontal pass. (Where a side stays as it is, the taps pick its pixels.)
    fn across(&self, taps: &[Taps]) -> Self {
        let (width, channels) = (taps.len(), self.channels);
        let mut values = Vec::with_capacity(width * self.height * channels);
        for row in self.values.chunks_exact(self.width * channels) {
            for (first, weights) in taps {
                for channel in 0..channels {
                    values.push(weighted(weights, row[first * channels + channel..].iter().step_by(channels)));
                }
            }
        }
        Stored { width, values, ..*self }
    }

    /// The vertical pass.
    fn down(&self, taps: &[Taps]) -> Self {
        let (height, stride) = (taps.len(), self.width * self.channels);
        let mut values = Vec::with_capacity(height * stride);
        for (first, weights) in taps {
            for at in 0..stride {
                values.push(weighted(weights, self.values[first * stride + at..].iter().step_by(stride)));
            }
        }
        Stored { height, values, ..*self }
    }

    /// Colours times alpha, rounded.
    fn multiply(&mut self) {
        for pixel in self.values.chunks_exact_mut(self.channels) {
            if let Some((&mut alpha, colours)) = pixel.split_last_mut() {
                for colour in colours {
                    let product = u32::from(*colour) * u32::from(alpha) + 128;
                    *colour = (((product >> 8) + product) >> 8) as u8;
                }
            }
        }
    }

    /// Colours divided by alpha, truncated.
    fn divide(&mut self) {
        for pixel in self.values.chunks_exact_mut(self.channels) {
            if let Some((&mut alpha, colours)) = pixel.split_last_mut()
                && alpha != 0
            {
                colours.iter_mut().for_each(|c| *c = (255 * u32::from(*c) / u32::from(alpha)).min(255) as u8);
            }
        }
    }

    /// Gray three times over; alpha dropped.
    fn into_rgb(self) -> Picture {
        let pixel = |pixel: &[u8]| match *pixel {
            [r, g, b] | [r, g, b, _] => [r, g, b],
            _ => [pixel[0]; 3],
        };
        let rgb = self.values.chunks_exact(self.channels).flat_map(pixel).collect();
        Picture { width: self.width, height: self.height, rgb }
    }
}

fn weighted<'v>(weights: &[i32], values: impl Iterator<Item = &'v u8>) -> u8 {
    let sum: i32 = weights.iter().zip(values).map(|(&w, &v)| w * i32::from(v)).sum();
    ((sum + (1 << (PLACES - 1))) >> PLACES).clamp(0, 255) as u8
}
