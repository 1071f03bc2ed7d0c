//! Bytes to pictures and back. Sizes are checked on the header, before anything is decoded.

use super::{BadSample, Picture};
use crate::error::without_panic;
use crate::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// Why a picture cannot be used: a [`BadSample`] that does not know its name yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureError {
    /// One of the words of [`BadSample::reason`].
    pub reason: &'static str,
    /// What exactly was wrong.
    pub detail: String,
}

impl PictureError {
    /// An error with its reason and detail.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        PictureError { reason, detail: detail.into() }
    }

    /// The error of the sample `key`.
    pub fn of(self, key: &str) -> BadSample {
        BadSample { key: key.to_owned(), reason: self.reason, detail: self.detail }
    }
}

/// Largest width and height in pixels.
const MAX_SIDE: u32 = 8192;
/// Largest number of pixels.
const MAX_PIXELS: u64 = 64 << 20;
/// What the decoder may allocate: 64 Mpx of 16-bit RGBA.
const MAX_BYTES: u64 = 512 << 20;

/// Decodes PNG, JPEG or WebP, told apart by their first bytes, to 8-bit RGB: turned as the file asks, alpha composited
/// on white, the first frame of an animation.
pub fn decode(bytes: &[u8]) -> std::result::Result<Picture, PictureError> {
    let (mut image, orientation) = open(bytes)?;
    image.apply_orientation(orientation);
    Ok(Picture { width: image.width() as usize, height: image.height() as usize, rgb: opaque(image) })
}

/// A file's picture as it is stored, and how it asks to be turned.
pub(super) fn open(bytes: &[u8]) -> std::result::Result<(DynamicImage, Orientation), PictureError> {
    let wrong = |error: ImageError| match error {
        ImageError::Limits(_) => PictureError::new("too-large", error.to_string()),
        _ => PictureError::new("decode", error.to_string()),
    };
    whole(bytes)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    let decoded = without_panic(|| {
        let guessed = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
        let mut reader = guessed.map_err(|error| PictureError::new("decode", error.to_string()))?;
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(wrong)?;
        let (width, height) = decoder.dimensions();
        if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            let expected = format!("at most {MAX_SIDE} pixels a side and {} Mpx", MAX_PIXELS >> 20);
            return Err(PictureError::new("too-large", format!("{width}x{height} pixels; expected {expected}")));
        }
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok((DynamicImage::from_decoder(decoder).map_err(wrong)?, orientation))
    });
    decoded.unwrap_or_else(|said| Err(PictureError::new("decode", format!("the decoder gave up: {said}"))))
}

/// Refuses a JPEG or WebP that was cut short: their decoders fill what is missing with gray. (PNG's does not.)
fn whole(bytes: &[u8]) -> std::result::Result<(), PictureError> {
    let cut = |expected: &str| {
        Err(PictureError::new(
            "decode",
            format!("expected {expected}, got the end of the file after {} bytes", bytes.len()),
        ))
    };
    match bytes {
        [0xff, 0xd8, ..] if !jpeg_ends(bytes) => cut("a JPEG's end-of-image marker"),
        [b'R', b'I', b'F', b'F', a, b, c, d, b'W', b'E', b'B', b'P', ..]
            if (bytes.len() as u64) < 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])) =>
        {
            cut("as many bytes as a WebP's header says")
        }
        _ => Ok(()),
    }
}

/// Whether a JPEG's end-of-image marker is reached, segment by segment: a thumbnail inside one has an end of its own.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // In coded data 0xff stands before 0 (a plain byte), a restart or another 0xff (a fill byte); else it is a marker.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)) else {
            return false;
        };
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xd9) => return true,
            Some(0xff) => {}
            Some(0 | 1 | 0xd0..=0xd8) => at += 1,
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
}

/// 8-bit RGB on white.
fn opaque(image: DynamicImage) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u16::from(value), u16::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    image.into_rgba8().pixels().flat_map(|pixel| [0, 1, 2].map(|channel| on_white(pixel[channel], pixel[3]))).collect()
}

impl Picture {
    /// The 8-bit picture of values in [0, 1].
    pub fn of_values(values: &[f32], width: usize, height: usize) -> Picture {
        let rgb = values.iter().map(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect();
        Picture { width, height, rgb }
    }

    /// Values in [0, 1], as the models read them: rows of pixels, channels last.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.rgb.iter().map(|&v| f32::from(v) / 255.0)
    }

    /// Reads a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Data`] if it cannot be decoded.
    pub fn open(path: impl AsRef<Path>) -> Result<Picture> {
        let path = path.as_ref();
        let bytes = crate::files::read(path, crate::files::MOST_PICTURE)?;
        decode(&bytes)
            .map_err(|error| Error::data(path, format!("expected a picture; {}: {}", error.reason, error.detail)))
    }

    /// Writes a PNG file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, [`Error::Data`] if the picture has no pixels.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        crate::files::write(path, &self.png().map_err(|error| Error::data(path, error.detail))?)
    }

    /// The bytes of a PNG file; a picture without pixels, or with the wrong number of bytes, has none.
    pub fn png(&self) -> std::result::Result<Vec<u8>, PictureError> {
        let (width, height) = (self.width as u32, self.height as u32);
        if self.rgb.is_empty() || self.rgb.len() != 3 * self.width * self.height {
            return Err(PictureError::new(
                "decode",
                format!("{width}x{height} pixels in {} bytes of RGB", self.rgb.len()),
            ));
        }
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        match encoder.write_image(&self.rgb, width, height, ExtendedColorType::Rgb8) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(PictureError::new("decode", error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;

    fn png(bytes: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut png = Vec::new();
        PngEncoder::new(&mut png).write_image(bytes, width, height, colour).unwrap();
        png
    }

    /// A PNG of 1×1 whose header claims another size, with the checksum to match.
    fn claiming(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = png(&[0; 3], 1, 1, ExtendedColorType::Rgb8);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    }

    #[test]
    fn every_colour_type_becomes_rgb_on_white() {
        let rgb = |bytes: &[u8], colour| decode(&png(bytes, 1, 1, colour)).unwrap().rgb;
        assert_eq!(rgb(&[1, 2, 3], ExtendedColorType::Rgb8), [1, 2, 3]);
        assert_eq!(rgb(&[7], ExtendedColorType::L8), [7, 7, 7]);
        assert_eq!(rgb(&0xABCDu16.to_ne_bytes(), ExtendedColorType::L16), [0xAB; 3]);
        assert_eq!(rgb(&[200, 0, 0, 0], ExtendedColorType::Rgba8), [255, 255, 255]);
        assert_eq!(rgb(&[0, 100, 255, 51], ExtendedColorType::Rgba8), [204, 224, 255]);
        assert_eq!(rgb(&[0, 128], ExtendedColorType::La8), [127, 127, 127]);
    }

    #[test]
    fn garbage_and_truncation_are_flaws() {
        let whole = png(&[9; 32 * 32 * 3], 32, 32, ExtendedColorType::Rgb8);
        assert!(decode(&whole).is_ok());
        for bytes in [&b""[..], b"not a picture", &whole[..8], &whole[..40], &whole[..whole.len() / 2]] {
            assert_eq!(decode(bytes).unwrap_err().reason, "decode", "{} bytes", bytes.len());
        }
    }

    #[test]
    fn a_jpeg_or_webp_that_is_cut_anywhere_is_a_flaw() {
        let pixels: Vec<u8> = (0..48 * 48 * 3).map(|i: usize| (i * i / 7) as u8).collect();
        let mut jpeg = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
        encoder.write_image(&pixels, 48, 48, ExtendedColorType::Rgb8).unwrap();
        let mut webp = Vec::new();
        let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp);
        encoder.write_image(&pixels, 48, 48, ExtendedColorType::Rgb8).unwrap();
        // A segment that holds a whole JPEG, as thumbnails are, does not end the one around it.
        let mut nested = [&jpeg[..2], &[0xff, 0xe1], &((jpeg.len() + 2) as u16).to_be_bytes(), &jpeg].concat();
        nested.extend(&jpeg[2..]);
        // What follows the end is nobody's.
        let trailed = [&jpeg[..], b"trailer"].concat();
        for (whole, least) in
            [(&jpeg, jpeg.len()), (&webp, webp.len()), (&nested, nested.len()), (&trailed, jpeg.len())]
        {
            assert!(decode(whole).is_ok());
            for cut in (0..least).step_by(37).chain([least - 1]) {
                assert_eq!(decode(&whole[..cut]).unwrap_err().reason, "decode", "{cut} of {}", whole.len());
            }
        }
    }

    #[test]
    fn a_huge_picture_is_refused_on_its_header() {
        let started = std::time::Instant::now();
        for (width, height) in [(30_000, 30_000), (1, 8193), (8193, 1), (8192, 8193), (i32::MAX as u32, 1)] {
            assert_eq!(decode(&claiming(width, height)).unwrap_err().reason, "too-large", "{width}x{height}");
        }
        assert!(started.elapsed().as_secs_f64() < 1.0);
    }

    #[test]
    fn png_files_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        let picture = Picture { width: 3, height: 2, rgb: (0..18).collect() };
        picture.save_png(&path).unwrap();
        assert_eq!(Picture::open(&path).unwrap(), picture);
        assert_eq!(Picture::open(folder.path().join("no")).unwrap_err().exit_code(), 4);
        std::fs::write(&path, b"no").unwrap();
        assert_eq!(Picture::open(&path).unwrap_err().exit_code(), 4);
        assert!(Picture { width: 0, height: 0, rgb: vec![] }.save_png(&path).is_err());
    }
}
