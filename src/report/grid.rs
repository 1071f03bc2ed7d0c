//! Pictures side by side in one, and pictures as PNG files.

use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use crate::data::Picture;
use crate::{Error, Result};

/// White pixels between two cells.
pub const GAP: usize = 2;

/// Puts `pictures` into rows of `columns` cells, each pixel enlarged to `scale` × `scale`, on white. A cell is as large
/// as the largest picture; smaller ones lie at its upper left. Zero columns or a zero scale count as one.
pub fn grid(pictures: &[Picture], columns: usize, scale: usize) -> Picture {
    let (columns, scale) = (columns.clamp(1, pictures.len().max(1)), scale.max(1));
    let rows = pictures.len().div_ceil(columns);
    let cell_width = pictures.iter().map(|picture| picture.width).max().unwrap_or(0) * scale;
    let cell_height = pictures.iter().map(|picture| picture.height).max().unwrap_or(0) * scale;
    let side = |cells: usize, cell: usize| if cells == 0 { 0 } else { cells * cell + (cells - 1) * GAP };
    let (width, height) = if rows == 0 { (0, 0) } else { (side(columns, cell_width), side(rows, cell_height)) };
    let mut rgb = vec![255; 3 * width * height];
    for (index, picture) in pictures.iter().enumerate() {
        let (left, top) = (index % columns * (cell_width + GAP), index / columns * (cell_height + GAP));
        let height = if picture.width == 0 { 0 } else { picture.height };
        for (y, row) in picture.rgb.chunks_exact(3 * picture.width.max(1)).take(height).enumerate() {
            let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(scale)).collect();
            for line in 0..scale {
                let start = 3 * ((top + y * scale + line) * width + left);
                rgb[start..start + wide.len()].copy_from_slice(&wide);
            }
        }
    }
    Picture { width, height, rgb }
}

/// The picture as a PNG file's bytes.
///
/// # Errors
/// [`Error::Data`] for a picture without pixels or with too few bytes.
pub fn png(picture: &Picture) -> Result<Vec<u8>> {
    let Picture { width, height, rgb } = picture;
    let wrong = |why: String| Error::data("picture", format!("{width} × {height} with {} bytes: {why}", rgb.len()));
    if rgb.is_empty() || rgb.len() != 3 * width * height {
        return Err(wrong(format!("expected {} bytes, and more than none", 3 * width * height)));
    }
    encoded(rgb, *width, *height, image::ExtendedColorType::Rgb8).map_err(|error| wrong(error.to_string()))
}

/// Encodes `bytes`, whose length must be right for the size and colour type.
pub(super) fn encoded(
    bytes: &[u8],
    width: usize,
    height: usize,
    colour: image::ExtendedColorType,
) -> image::ImageResult<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(bytes, width as u32, height as u32, colour)?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize, height: usize, colour: [u8; 3]) -> Picture {
        Picture { width, height, rgb: colour.repeat(width * height) }
    }

    #[test]
    fn cells_are_enlarged_and_set_apart() {
        let (red, blue) = ([200, 0, 0], [0, 0, 200]);
        let whole = grid(&[plain(2, 1, red), plain(1, 1, blue), plain(1, 1, blue)], 2, 3);
        assert_eq!((whole.width, whole.height), (2 * 6 + GAP, 2 * 3 + GAP));
        let pixel = |x: usize, y: usize| &whole.rgb[3 * (y * whole.width + x)..][..3];
        assert_eq!(
            (pixel(5, 2), pixel(6, 2), pixel(8, 0), pixel(10, 2)),
            (&red[..], &[255; 3][..], &blue[..], &blue[..])
        );
        assert_eq!(
            (pixel(11, 0), pixel(0, 4), pixel(2, 5), pixel(8, 5)),
            (&[255; 3][..], &[255; 3][..], &blue[..], &[255; 3][..])
        );
    }

    #[test]
    fn a_png_holds_the_same_pixels() {
        let picture = Picture { width: 3, height: 2, rgb: (0..18).collect() };
        let back = image::load_from_memory(&png(&picture).unwrap()).unwrap().to_rgb8();
        assert_eq!((back.dimensions(), back.into_raw()), ((3, 2), picture.rgb));
    }

    #[test]
    fn pictures_without_pixels_are_refused() {
        assert_eq!(grid(&[], 4, 2).rgb.len(), 0);
        assert!(matches!(png(&grid(&[], 0, 0)), Err(Error::Data { .. })));
        assert!(png(&Picture { width: 2, height: 2, rgb: vec![0; 11] }).is_err());
        grid(&[Picture { width: 2, height: 2, rgb: vec![0; 7] }, plain(0, 0, [0; 3])], 0, 0);
    }
}
