//! Gaussian blur, under which the paper compares distances too (Figure 9): what is left of a difference once fine detail,
//! which the first stage loses, counts no more.

use crate::data::Picture;
use image::imageops;

/// The radii of Figure 9, in pixels of pictures of side `SIDE`.
pub const RADII: [u32; 5] = [0, 1, 2, 4, 8];
/// The side of the paper's pictures.
const SIDE: f64 = 256.0;

/// A radius of [`RADII`] in pixels of pictures of `side`: the same share of the picture.
pub fn in_pixels(radius: u32, side: usize) -> f64 {
    f64::from(radius) * side as f64 / SIDE
}

/// `picture` under a Gaussian of standard deviation `radius`, in pixels; 0 leaves it as it is.
pub fn blurred(picture: &Picture, radius: f64) -> Picture {
    let Picture { width, height, ref rgb } = *picture;
    match image::RgbImage::from_raw(width as u32, height as u32, rgb.clone()) {
        Some(image) if radius > 0.0 => Picture { width, height, rgb: imageops::blur(&image, radius as f32).into_raw() },
        _ => picture.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_spreads_a_point_and_keeps_its_sum_and_a_flat_picture() {
        let mut rgb = vec![0; 33 * 33 * 3];
        (0..3).for_each(|channel| rgb[(16 * 33 + 16) * 3 + channel] = 255);
        let point = Picture { width: 33, height: 33, rgb };
        assert_eq!(blurred(&point, 0.0), point);
        let spread = blurred(&point, 2.0);
        // 255/(2π·2²) = 10.1 in the middle; a pixel two away has e^(−1/2) of it.
        let at = |x: usize| f64::from(spread.rgb[(16 * 33 + x) * 3]);
        assert!((at(16) - 10.1).abs() < 0.7 && (at(18) - 6.2).abs() < 0.7, "{} {}", at(16), at(18));
        let flat = Picture { width: 9, height: 7, rgb: vec![90; 9 * 7 * 3] };
        for side in [32, 256] {
            assert!(RADII.iter().all(|&radius| blurred(&flat, in_pixels(radius, side)) == flat));
        }
        assert_eq!((in_pixels(8, 256), in_pixels(8, 32)), (8.0, 1.0));
    }
}
