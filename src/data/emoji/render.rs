//! One picture as an 8-bit RGB square on white. Icons are drawn four times as large and then reduced (Lanczos 3), so
//! that thin lines survive.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage, RgbaImage, imageops};
use resvg::{tiny_skia, usvg};

use super::art::Art;
use crate::error::without_panic;

/// An SVG is drawn with sides so many times the picture's.
const OVERSAMPLING: u32 = 4;
/// A picture whose brightness spans less than this, of 255, shows nothing.
const MIN_CONTRAST: u8 = 8;

/// `art` drawn on white and reduced to `size` × `size` pixels; `None` where nothing is to be seen.
///
/// # Errors
/// Why it cannot be drawn, in words.
pub(super) fn render(art: Art<'_>, size: u32) -> Result<Option<RgbImage>, String> {
    let drawn = match art {
        Art::Svg { body, view_box } => draw(body, view_box, OVERSAMPLING * size)?,
        Art::WebP(bytes) => {
            let image = image::load_from_memory_with_format(bytes, ImageFormat::WebP);
            image.map_err(|reason| reason.to_string())?.to_rgba8()
        }
    };
    let square = on_white(&drawn);
    let picture = match square.width() {
        side if side == size => square,
        _ => imageops::resize(&square, size, size, imageops::FilterType::Lanczos3),
    };
    Ok(is_visible(&picture).then_some(picture))
}

/// An icon as a square of `side` pixels; one that is not square is centred.
fn draw(body: &str, [left, top, width, height]: [f64; 4], side: u32) -> Result<RgbaImage, String> {
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
         viewBox=\"{left} {top} {width} {height}\" width=\"{side}\" height=\"{side}\">{body}</svg>"
    );
    without_panic(|| {
        let tree = usvg::Tree::from_str(&svg, &usvg::Options::default()).map_err(|reason| reason.to_string())?;
        let mut pixmap = tiny_skia::Pixmap::new(side, side).ok_or("no such size")?;
        resvg::render(&tree, tiny_skia::Transform::identity(), &mut pixmap.as_mut());
        RgbaImage::from_raw(side, side, pixmap.take_demultiplied()).ok_or_else(|| "no such size".to_owned())
    })?
}

/// `image` in the middle of a white square, as large as its longer side.
fn on_white(image: &RgbaImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let side = width.max(height);
    let mut square = RgbImage::from_pixel(side, side, Rgb([255; 3]));
    for (x, y, pixel) in image.enumerate_pixels() {
        let [rgb @ .., alpha] = pixel.0.map(u32::from);
        let over_white = |value: u32| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        square.put_pixel(x + (side - width) / 2, y + (side - height) / 2, Rgb(rgb.map(over_white)));
    }
    square
}

/// False for a picture that is all one brightness, or nearly.
fn is_visible(picture: &RgbImage) -> bool {
    // The weights of ITU-R 601 in 16 bits, rounded.
    let brightness = |Rgb([r, g, b]): &Rgb<u8>| {
        (19_595 * u32::from(*r) + 38_470 * u32::from(*g) + 7_471 * u32::from(*b) + 0x8000) >> 16
    };
    let levels = || picture.pixels().map(brightness);
    levels().max().unwrap_or(0) - levels().min().unwrap_or(0) >= u32::from(MIN_CONTRAST)
}

/// `picture` as a PNG file, as small as it gets.
///
/// # Errors
/// The encoder's reason, in words.
pub(super) fn png(picture: &RgbImage) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(|reason| reason.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(body: &str, view_box: [f64; 4]) -> Result<Option<RgbImage>, String> {
        render(Art::Svg { body, view_box }, 16)
    }

    #[test]
    fn shapes_stand_on_white() {
        let body = r##"<path fill="#ff0000" d="M2 0h4v4H2z"/>"##;
        let picture = svg(body, [0.0, 0.0, 8.0, 4.0]).unwrap().unwrap();
        // Twice as wide as high: white above and below; red in the middle half of the rest.
        for (x, y, colour) in
            [(8, 8, [255, 0, 0]), (0, 8, [255; 3]), (15, 8, [255; 3]), (8, 0, [255; 3]), (8, 15, [255; 3])]
        {
            assert_eq!(picture.get_pixel(x, y).0, colour, "{x}, {y}");
        }
    }

    #[test]
    fn transparency_mixes_with_white() {
        let mut image = RgbaImage::new(1, 3);
        image.put_pixel(0, 1, image::Rgba([0, 100, 255, 128]));
        let square = on_white(&image);
        assert_eq!(square.dimensions(), (3, 3));
        assert_eq!(square.get_pixel(1, 1).0, [127, 177, 255]);
        assert_eq!(square.get_pixel(1, 0).0, [255; 3]);
        assert_eq!(square.get_pixel(0, 1).0, [255; 3]);
    }

    #[test]
    fn what_shows_nothing_is_dropped() {
        let square = |fill: &str| svg(&format!("<path fill='{fill}' d='M1 1h2v2H1z'/>"), [0.0, 0.0, 4.0, 4.0]).unwrap();
        assert!(square("#fff").is_none());
        assert!(square("#fafafa").is_none());
        assert!(square("#f0f0f0").is_some());
        assert!(svg("<path", [0.0, 0.0, 4.0, 4.0]).is_err());
        assert!(render(Art::WebP(b"no webp"), 16).is_err());
    }

    #[test]
    fn a_png_is_lossless() {
        let picture = RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 16, y as u8 * 16, (x * y) as u8]));
        assert_eq!(image::load_from_memory(&png(&picture).unwrap()).unwrap().to_rgb8(), picture);
    }
}
