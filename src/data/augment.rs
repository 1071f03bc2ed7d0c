//! Cropping and resizing as in the paper's listings 1 (first stage) and 2 (transformer), appendices A.1 and B.1.
//!
//! The listings are written for 256 pixels; their constants 288 = 9/8·256 and 384 = 3/2·256 scale with the target here.
//! Nothing is upscaled, and a picture that already has the target's size passes through unchanged. Legend: s short side.

use super::{Picture, PictureError};
use crate::random::Rng;
use image::imageops::FilterType;
use image::{ImageBuffer, Rgb};

/// What a [`PictureError`] or a picture comes out of.
type Result = std::result::Result<Picture, PictureError>;

/// Which square of a picture is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crop {
    /// [`first_stage`].
    FirstStage {
        /// Up to the whole picture.
        whole: bool,
    },
    /// [`transformer`].
    Transformer,
    /// [`evaluation`].
    Evaluation,
}

/// Which pictures are mirrored, each time with probability 1/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// None.
    Never,
    /// Those whose caption says neither left nor right: beyond the paper, which mirrors no pairs.
    WithoutSides,
    /// All, as in listing 1.
    Any,
}

/// How a picture becomes a square of the target's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Which square.
    pub crop: Crop,
    /// Whether it is mirrored.
    pub flip: Flip,
}

impl View {
    /// The middle, as it is.
    pub const EVALUATION: View = View { crop: Crop::Evaluation, flip: Flip::Never };

    /// `picture`, `target` pixels wide and high, that goes with `caption`.
    ///
    /// # Errors
    /// "too-small" if its short side is below `target`, "aspect" if one side is more than twice the other.
    pub fn apply(self, picture: &Picture, caption: &str, target: usize, rng: &mut Rng) -> Result {
        let mut view = match self.crop {
            Crop::FirstStage { whole } => first_stage(picture, target, whole, rng)?,
            Crop::Transformer => transformer(picture, target, rng)?,
            Crop::Evaluation => evaluation(picture, target)?,
        };
        let flips = match self.flip {
            Flip::Never => false,
            Flip::WithoutSides => !names_a_side(caption),
            Flip::Any => true,
        };
        if flips && rng.chance(0.5) {
            mirror(&mut view);
        }
        Ok(view)
    }

    /// Whether a picture is mirrored for one caption where it is not for another.
    pub fn is_sided(self, caption: &str) -> bool {
        self.flip == Flip::WithoutSides && names_a_side(caption)
    }

    /// Whether a picture looks the same every time.
    pub fn is_fixed(self) -> bool {
        self == View::EVALUATION
    }
}

/// Listing 1: a random s×s crop, resized to t ~ U{min(s, 9/8·target) … min(s, 3/2·target)}, a random crop of the
/// target's size. With `whole`, beyond the listing, t is drawn from `target` on: the stages after this one see pictures whole, or
/// nearly so, and where pictures are few a first stage that never did codes them badly.
pub fn first_stage(picture: &Picture, target: usize, whole: bool, rng: &mut Rng) -> Result {
    let short = check(picture, target)?;
    if is_target(picture, target) {
        return Ok(picture.clone());
    }
    let [left, top] = [picture.width, picture.height].map(|side| rng.between(0, side - short));
    let least = if whole { target } else { scaled(target, 9, 8) };
    let size = rng.between(short.min(least), short.min(scaled(target, 3, 2)));
    Ok(random_crop(&area_resize(&crop(picture, left, top, short), size), target, rng))
}

/// Listing 2: an s×s crop near the middle, offset ~ U[3/8·(side − s), max(that + 1, 5/8·(side − s))), resized to
/// t ~ U{target … min(s, 9/8·target)}, a random crop of the target's size.
pub fn transformer(picture: &Picture, target: usize, rng: &mut Rng) -> Result {
    let short = check(picture, target)?;
    if is_target(picture, target) {
        return Ok(picture.clone());
    }
    let [left, top] = [picture.width, picture.height].map(|side| {
        let (low, high) = near_middle(side - short);
        low + rng.below(high - low)
    });
    let size = rng.between(target, short.min(scaled(target, 9, 8)));
    Ok(random_crop(&area_resize(&crop(picture, left, top, short), size), target, rng))
}

/// Lanczos resizing of the short side to `target`, then the middle.
pub fn evaluation(picture: &Picture, target: usize) -> Result {
    let short = check(picture, target)?;
    let [width, height] =
        [picture.width, picture.height].map(|side| (side as f64 * target as f64 / short as f64).round() as usize);
    let resized = if short == target { picture.clone() } else { lanczos(picture, width, height)? };
    Ok(crop(&resized, (width - target) / 2, (height - target) / 2, target))
}

/// The offsets [low, high) that a crop near the middle may have, `slack` being what is left over.
fn near_middle(slack: usize) -> (usize, usize) {
    let low = 3 * slack / 8;
    (low, (low + 1).max(5 * slack / 8))
}

/// `target` · `numerator` / `denominator`, rounded to the nearest.
fn scaled(target: usize, numerator: usize, denominator: usize) -> usize {
    (target * numerator + denominator / 2) / denominator
}

/// The short side of a picture that can be used.
fn check(picture: &Picture, target: usize) -> std::result::Result<usize, PictureError> {
    usable((picture.width, picture.height), target)
}

/// The short side of a picture of such a width and height, if it can be used at a side of `target`.
///
/// # Errors
/// Those of [`View::apply`].
pub(crate) fn usable((width, height): (usize, usize), target: usize) -> std::result::Result<usize, PictureError> {
    let (short, long) = (width.min(height), width.max(height));
    if target == 0 || short < target {
        let expected = format!("a short side of at least {target}");
        return Err(PictureError::new("too-small", format!("{width}x{height} pixels; expected {expected}")));
    }
    if long > 2 * short {
        return Err(PictureError::new(
            "aspect",
            format!("{width}x{height} pixels; expected an aspect ratio within 1/2 to 2"),
        ));
    }
    Ok(short)
}

fn is_target(picture: &Picture, target: usize) -> bool {
    (picture.width, picture.height) == (target, target)
}

/// The square of `side` pixels whose top left pixel is (left, top).
fn crop(picture: &Picture, left: usize, top: usize, side: usize) -> Picture {
    let row = |y: usize| 3 * (y * picture.width + left);
    let rgb = (top..top + side).flat_map(|y| &picture.rgb[row(y)..row(y) + 3 * side]).copied().collect();
    Picture { width: side, height: side, rgb }
}

fn random_crop(picture: &Picture, target: usize, rng: &mut Rng) -> Picture {
    let [left, top] = [picture.width, picture.height].map(|side| rng.between(0, side - target));
    crop(picture, left, top, target)
}

/// Whether one of the words left and right is in `caption`.
fn names_a_side(caption: &str) -> bool {
    let mut words = caption.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case("left") || word.eq_ignore_ascii_case("right"))
}

/// Left and right exchanged.
fn mirror(picture: &mut Picture) {
    for row in picture.rgb.chunks_exact_mut(3 * picture.width) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

fn lanczos(picture: &Picture, width: usize, height: usize) -> Result {
    let wrong = || PictureError::new("decode", format!("{} bytes for {width}x{height} pixels", picture.rgb.len()));
    let (from_width, from_height) = (picture.width as u32, picture.height as u32);
    let view: ImageBuffer<Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(from_width, from_height, picture.rgb.as_slice()).ok_or_else(wrong)?;
    let resized = image::imageops::resize(&view, width as u32, height as u32, FilterType::Lanczos3);
    Ok(Picture { width, height, rgb: resized.into_raw() })
}

/// A square picture shrunk to `size`×`size` by area: each output pixel is the mean of the input that it covers, partly
/// covered pixels counting by their share, rounded half to even and clipped to 0..255 as in the listings.
///
/// The listings' `align_corners` would shift the samples by less than a pixel; here the whole picture is covered exactly.
pub fn area_resize(picture: &Picture, size: usize) -> Picture {
    if picture.width == size && picture.height == size {
        return picture.clone();
    }
    let columns = coverage(picture.width, size);
    let rows = coverage(picture.height, size);
    // Width first, to [height][size][3], then height.
    let narrow: Vec<f32> = (0..picture.height)
        .flat_map(|y| columns.iter().map(move |column| (y, column)))
        .flat_map(|(y, (first, weights))| {
            let start = 3 * (y * picture.width + first);
            let pixels = picture.rgb[start..].as_chunks::<3>().0;
            let mut sum = [0.0; 3];
            for (pixel, weight) in pixels.iter().zip(weights) {
                for (sum, &byte) in sum.iter_mut().zip(pixel) {
                    *sum += weight * f32::from(byte);
                }
            }
            sum
        })
        .collect();
    let mut rgb = Vec::with_capacity(3 * size * size);
    for (first, weights) in &rows {
        let mut sum = vec![0.0; 3 * size];
        for (line, weight) in narrow[3 * size * first..].chunks_exact(3 * size).zip(weights) {
            for (sum, value) in sum.iter_mut().zip(line) {
                *sum += weight * value;
            }
        }
        rgb.extend(sum.iter().map(|value| value.clamp(0.0, 255.0).round_ties_even() as u8));
    }
    Picture { width: size, height: size, rgb }
}

/// For each of `to` equal parts of `from` pixels: the first pixel that it touches and the shares of the pixels from there
/// on, which sum to one.
fn coverage(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    // Lengths in units of 1/to pixels are whole numbers, so the shares are exact.
    let part = |index: usize| {
        let (start, end) = (index * from, (index + 1) * from);
        let first = start / to;
        let shares = (first..end.div_ceil(to)).map(|pixel| {
            let overlap = end.min((pixel + 1) * to) - start.max(pixel * to);
            (overlap as f64 / from as f64) as f32
        });
        (first, shares.collect())
    };
    (0..to).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};

    /// Red is the column, green the row: a crop can be read off its first pixel.
    fn coordinates(width: usize, height: usize) -> Picture {
        let rgb = (0..width * height).flat_map(|i| [(i % width) as u8, (i / width) as u8, 77]).collect();
        Picture { width, height, rgb }
    }

    fn rng(i: u64) -> Rng {
        Rng::new(1, "augment", i, 0)
    }

    #[test]
    fn the_target_size_passes_through_and_flips_if_asked() {
        let picture = coordinates(16, 16);
        assert_eq!(transformer(&picture, 16, &mut rng(0)).unwrap(), picture);
        assert_eq!(evaluation(&picture, 16).unwrap(), picture);
        assert_eq!(first_stage(&picture, 16, true, &mut rng(0)).unwrap(), picture);
        let flips = |crop, flip, caption| {
            let views = (0..200).map(|i| View { crop, flip }.apply(&picture, caption, 16, &mut rng(i)).unwrap());
            let flipped = views.filter(|view| {
                assert!(*view == picture || (view.rgb[0] == 15 && view.rgb[1] == 0 && view.rgb[45] == 0));
                *view != picture
            });
            flipped.count()
        };
        for crop in [Crop::FirstStage { whole: false }, Crop::Transformer, Crop::Evaluation] {
            assert_eq!(flips(crop, Flip::Never, "a cat"), 0);
            assert!((70..130).contains(&flips(crop, Flip::Any, "a cat on the left")));
            assert!((70..130).contains(&flips(crop, Flip::WithoutSides, "a bright, leftover cat")));
            assert_eq!(flips(crop, Flip::WithoutSides, "Left: a cat"), 0);
            assert_eq!(flips(crop, Flip::WithoutSides, "a cat to the right"), 0);
        }
    }

    #[test]
    fn small_and_long_pictures_are_refused() {
        for crop in [Crop::FirstStage { whole: false }, Crop::Transformer, Crop::Evaluation] {
            let view = View { crop, flip: Flip::Any };
            let reason = |w, h| view.apply(&coordinates(w, h), "", 16, &mut rng(0)).map_err(|error| error.reason);
            assert_eq!(reason(1, 1).unwrap_err(), "too-small");
            assert_eq!(reason(15, 20).unwrap_err(), "too-small");
            assert_eq!(reason(33, 16).unwrap_err(), "aspect");
            assert_eq!(reason(16, 33).unwrap_err(), "aspect");
            let whole = reason(16, 32).unwrap();
            assert_eq!((whole.width, whole.height), (16, 16));
        }
    }

    #[test]
    fn crops_cover_the_ranges_of_the_listings() {
        // At 16×24 with target 16 nothing is resized: the crop's row is the offset alone.
        let picture = coordinates(16, 24);
        let offsets = |crop| {
            let view = View { crop, flip: Flip::Never };
            let row = |i| view.apply(&picture, "", 16, &mut rng(i)).unwrap().rgb[1];
            (0..300).map(row).collect::<std::collections::BTreeSet<u8>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(offsets(Crop::FirstStage { whole: false }), (0..=8).collect::<Vec<u8>>());
        // 3·8/8 = 3 to 5·8/8 = 5, the end excluded.
        assert_eq!(offsets(Crop::Transformer), [3, 4]);
        assert_eq!(offsets(Crop::Evaluation), [4]);
    }

    #[test]
    fn a_crop_near_the_middle_always_has_an_offset() {
        assert_eq!([0, 1, 2, 7, 8, 16].map(near_middle), [(0, 1), (0, 1), (0, 1), (2, 4), (3, 5), (6, 10)]);
    }

    #[test]
    fn resized_sizes_are_those_of_the_listings() {
        // The green channel counts rows, so the first view's last row minus its first tells the scale.
        let picture = coordinates(128, 128);
        let scales = |crop| {
            let view = View { crop, flip: Flip::Never };
            let scale = |i| {
                let rgb = view.apply(&picture, "", 32, &mut rng(i)).unwrap().rgb;
                31.0 * 128.0 / f64::from(rgb[3 * 32 * 31 + 1] - rgb[1])
            };
            (0..400).map(scale).fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(s), high.max(s)))
        };
        let (low, high) = scales(Crop::FirstStage { whole: false });
        assert!((low - 36.0).abs() < 0.6 && (high - 48.0).abs() < 0.9, "{low} {high}");
        let (low, high) = scales(Crop::FirstStage { whole: true });
        assert!((low - 32.0).abs() < 0.6 && (high - 48.0).abs() < 0.9, "{low} {high}");
        let (low, high) = scales(Crop::Transformer);
        assert!((low - 32.0).abs() < 0.6 && (high - 36.0).abs() < 0.6, "{low} {high}");
    }

    #[test]
    fn area_resize_takes_means() {
        let value = |rgb: &[u8]| rgb.chunks(3).map(|p| p[0]).collect::<Vec<_>>();
        let grey = |side, values: &[u8]| Picture {
            width: side,
            height: side,
            rgb: values.iter().flat_map(|&v| [v; 3]).collect(),
        };
        let even = grey(4, &[0, 4, 8, 8, 4, 8, 8, 8, 1, 1, 255, 255, 1, 1, 255, 255]);
        assert_eq!(value(&area_resize(&even, 2).rgb), [4, 8, 1, 255]);
        // 3 → 2: each output covers one and a half pixels: (2·a + b)/3 and (b + 2·c)/3.
        let third = grey(3, &[0, 90, 180, 0, 90, 180, 0, 90, 180]);
        assert_eq!(value(&area_resize(&third, 2).rgb), [30, 150, 30, 150]);
    }

    #[test]
    fn evaluation_shrinks_and_takes_the_middle() {
        let view = evaluation(&coordinates(128, 192), 32).unwrap();
        assert_eq!((view.width, view.height), (32, 32));
        let middle = 3 * (16 * 32 + 16);
        assert!(view.rgb[middle].abs_diff(66) <= 1 && view.rgb[middle + 1].abs_diff(98) <= 1, "{:?}", view.rgb[middle]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_one_and_tile(to in 1usize..60, more in 0usize..200) {
            let from = to + more;
            let mut covered = vec![0.0; from];
            for (first, shares) in coverage(from, to) {
                prop_assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                for (i, share) in shares.iter().enumerate() {
                    covered[first + i] += share;
                }
            }
            prop_assert!(covered.iter().all(|share| (share * from as f32 / to as f32 - 1.0).abs() < 1e-4));
        }

        #[test]
        fn constants_stay_constant(byte: u8, to in 1usize..20, more in 0usize..30) {
            let side = to + more;
            let resized = area_resize(&Picture { width: side, height: side, rgb: vec![byte; 3 * side * side] }, to);
            prop_assert!(resized.rgb.len() == 3 * to * to && resized.rgb.iter().all(|&b| b == byte));
        }
    }
}
