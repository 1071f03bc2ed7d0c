//! Pictures, alone and side by side.

use super::sheet::{Cell, sheet};
use super::show::{Rich, Show, link, shown};
use crate::data::{Picture, augment};
use crate::report::grid::{grid, png};
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// The least side at which a picture is shown, alone and in a grid: small ones are enlarged by a whole number. Eight in a row
/// fit beside a sidebar.
const ALONE: usize = 192;
const IN_GRID: usize = 64;
/// Pictures with captions of more letters need wider cells.
const SHORT: usize = 16;
const CAPTIONED: usize = 128;

/// A picture of 8-bit colours, perhaps with a caption: what a person holds, looks at and asks a [`Model`](super::Model) about. Its
/// bytes alone are a [`data::Picture`](Picture), which is what sources yield and what is cropped and resized; each is made of
/// the other (`Image::from`, [`Image::picture`]).
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub(super) picture: Picture,
    pub(super) caption: String,
}

impl Image {
    /// Reads a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Data`] if it is no picture.
    pub fn open(path: impl AsRef<Path>) -> Result<Image> {
        Image::read(path.as_ref())
    }

    fn read(path: &Path) -> Result<Image> {
        Ok(Picture::open(path)?.into())
    }

    /// Its bytes.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.picture.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.picture.height
    }

    /// What the picture shows; empty if nothing says so.
    pub fn caption(&self) -> &str {
        &self.caption
    }

    /// The same picture with another caption.
    pub fn captioned(mut self, caption: &str) -> Image {
        self.caption = caption.to_owned();
        self
    }

    /// The centre square, resized to `side` × `side` pixels, as a model sees it.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture without pixels.
    pub fn square(&self, side: usize) -> Result<Image> {
        let picture = augment::evaluation(&self.picture, side).map_err(|error| Error::data("image", error.detail))?;
        Ok(Image { picture, caption: self.caption.clone() })
    }

    /// Its colours at (row, column): red, green, blue; `None` outside.
    pub fn pixel(&self, row: usize, column: usize) -> Option<[u8; 3]> {
        let inside = row < self.height() && column < self.width();
        let at = 3 * (row * self.width() + column);
        inside.then(|| [0, 1, 2].map(|channel| self.picture.rgb[at + channel]))
    }

    /// Two pictures side by side.
    pub fn beside(&self, other: &Image) -> ImageGrid {
        ImageGrid::of(&[self.clone(), other.clone()])
    }

    fn cell(&self, least: usize) -> Result<Cell> {
        let scale = scale(&self.picture, least);
        let (width, height) = (self.width() * scale, self.height() * scale);
        let element = format!(
            "<image width=\"{width}\" height=\"{height}\" style=\"image-rendering:pixelated\" href=\"{}\"/>",
            link(&self.picture)?
        );
        Ok(Cell { element, width, height, label: self.caption.clone() })
    }
}

impl From<Picture> for Image {
    /// Without a caption.
    fn from(picture: Picture) -> Image {
        Image { picture, caption: String::new() }
    }
}

fn wordy(images: &[Image]) -> bool {
    images.iter().any(|image| image.caption.chars().count() > SHORT)
}

fn scale(picture: &Picture, least: usize) -> usize {
    (least / picture.width.max(picture.height).max(1)).max(1)
}

impl Display for Image {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let about = if self.caption.is_empty() { String::new() } else { format!(": {}", self.caption) };
        write!(f, "picture of {} × {} pixels{about}", self.width(), self.height())
    }
}

impl Show for Image {
    fn rich(&self) -> Result<Rich> {
        Ok(Rich::Png(png(&grid(std::slice::from_ref(&self.picture), 1, scale(&self.picture, ALONE)))?))
    }
}

/// [`Image`]s in rows, each with its caption below.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageGrid {
    pub(super) images: Vec<Image>,
    columns: usize,
}

impl ImageGrid {
    /// Eight in a row, or with long captions four.
    pub fn of(images: &[Image]) -> ImageGrid {
        let columns = if wordy(images) { 4 } else { 8 };
        ImageGrid { images: images.to_vec(), columns }
    }

    /// The same pictures, `columns` in a row.
    pub fn columns(mut self, columns: usize) -> ImageGrid {
        self.columns = columns;
        self
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Picture `index`.
    ///
    /// # Errors
    /// [`Error::Usage`] past the last.
    pub fn get(&self, index: usize) -> Result<Image> {
        let none = || Error::Usage(format!("picture {index}: there are {}, counted from 0", self.len()));
        self.images.get(index).cloned().ok_or_else(none)
    }

    /// The first `count` of them.
    pub fn first(&self, count: usize) -> ImageGrid {
        ImageGrid { images: self.images.iter().take(count).cloned().collect(), columns: self.columns }
    }

    /// These, then those of `other`.
    pub fn and(&self, other: &ImageGrid) -> ImageGrid {
        ImageGrid { images: [&self.images[..], &other.images].concat(), columns: self.columns }
    }

    /// The captions, in order.
    pub fn captions(&self) -> Vec<String> {
        self.images.iter().map(|image| image.caption.clone()).collect()
    }
}

impl Display for ImageGrid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let captions: Vec<&str> = self.images.iter().map(Image::caption).filter(|text| !text.is_empty()).collect();
        write!(f, "{} pictures", self.len())?;
        if captions.is_empty() { Ok(()) } else { write!(f, ": {}", captions.join("; ")) }
    }
}

impl Show for ImageGrid {
    fn rich(&self) -> Result<Rich> {
        let least = if wordy(&self.images) { CAPTIONED } else { IN_GRID };
        let cells: Vec<Cell> = self.images.iter().map(|image| image.cell(least)).collect::<Result<_>>()?;
        Ok(Rich::Svg(sheet(&cells, self.columns, &self.to_string())))
    }
}

shown!(Image, ImageGrid);
