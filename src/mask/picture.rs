//! A mask as a picture, for reports and notebooks.

use super::{Layout, Pattern};

/// Pixels, one for each pair: queries from top to bottom, keys from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row-major `[height, width, 3]`, red, green, blue.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// A pair that is not seen.
    pub const UNSEEN: [u8; 3] = [236, 236, 240];
    /// A text slot that sees a text slot.
    pub const TEXT_TO_TEXT: [u8; 3] = [86, 120, 180];
    /// An image slot that sees a text slot.
    pub const IMAGE_TO_TEXT: [u8; 3] = [140, 172, 214];
    /// An image slot that sees an image slot.
    pub const IMAGE_TO_IMAGE: [u8; 3] = [214, 94, 60];
}

impl Pattern {
    /// The mask drawn in the colours of [`Picture`]; `sequence`×`sequence` pixels.
    pub fn picture(self, layout: Layout) -> Picture {
        let sequence = layout.sequence();
        let colour = |(pair, seen): (usize, bool)| {
            let (query, key) = (pair / sequence, pair % sequence);
            match (seen, query < layout.text, key < layout.text) {
                (false, ..) => Picture::UNSEEN,
                (true, true, _) => Picture::TEXT_TO_TEXT,
                (true, false, true) => Picture::IMAGE_TO_TEXT,
                (true, false, false) => Picture::IMAGE_TO_IMAGE,
            }
        };
        let rgb = self.dense(layout).into_iter().enumerate().flat_map(colour).collect();
        Picture { width: sequence, height: sequence, rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_queries_down_and_keys_across() {
        let picture = Pattern::Row.picture(Layout { text: 2, grid: 2 });
        assert_eq!((picture.width, picture.height, picture.rgb.len()), (6, 6, 108));
        let pixel = |query: usize, key: usize| [0, 1, 2].map(|channel| picture.rgb[(query * 6 + key) * 3 + channel]);
        assert_eq!(pixel(1, 0), Picture::TEXT_TO_TEXT);
        assert_eq!(pixel(0, 1), Picture::UNSEEN);
        assert_eq!(pixel(5, 1), Picture::IMAGE_TO_TEXT);
        assert_eq!(pixel(5, 3), Picture::IMAGE_TO_IMAGE);
        assert_eq!(pixel(5, 2), Picture::UNSEEN);
    }
}
