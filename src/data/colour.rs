//! OKLab: a colour space in which equal distances look about equally large.
//!
//! Source: B. Ottosson, "A perceptual color space for image processing" (2020), whose two matrices these are.

/// The OKLab coordinates (lightness in [0, 1], green–red, blue–yellow) of an 8-bit sRGB colour.
pub fn oklab(rgb: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|byte| {
        let value = f64::from(byte) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).cbrt();
    let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).cbrt();
    let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).cbrt();
    [
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    ]
}

/// The Euclidean distance of two OKLab colours; about 0.02 is just noticeable.
pub fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        // From the source's own table, rounded to three places: white, and the reddest sRGB colour.
        assert!(distance(oklab([255, 255, 255]), [1.0, 0.0, 0.0]) < 1e-3);
        assert!(distance(oklab([255, 0, 0]), [0.628, 0.225, 0.126]) < 1e-3);
        assert_eq!(oklab([0, 0, 0]), [0.0; 3]);
    }
}
