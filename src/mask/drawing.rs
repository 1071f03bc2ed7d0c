//! A mask as pixels, for reports and notebooks.

use super::{Layout, Pattern};

/// A pair that is not seen: red, green, blue.
pub const UNSEEN: [u8; 3] = [236, 236, 240];
/// A text slot that sees a text slot.
pub const TEXT_TO_TEXT: [u8; 3] = [86, 120, 180];
/// An image slot that sees a text slot.
pub const IMAGE_TO_TEXT: [u8; 3] = [140, 172, 214];
/// An image slot that sees an image slot.
pub const IMAGE_TO_IMAGE: [u8; 3] = [214, 94, 60];

impl Pattern {
    /// The mask drawn in the colours of this module, a pixel a pair: row-major `[sequence, sequence, 3]` bytes, queries from
    /// top to bottom, keys from left to right.
    pub fn drawing(self, layout: Layout) -> Vec<u8> {
        let sequence = layout.sequence();
        let colour = |(pair, seen): (usize, bool)| {
            let (query, key) = (pair / sequence, pair % sequence);
            match (seen, query < layout.text, key < layout.text) {
                (false, ..) => UNSEEN,
                (true, true, _) => TEXT_TO_TEXT,
                (true, false, true) => IMAGE_TO_TEXT,
                (true, false, false) => IMAGE_TO_IMAGE,
            }
        };
        self.dense(layout).into_iter().enumerate().flat_map(colour).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_queries_down_and_keys_across() {
        let rgb = Pattern::Row.drawing(Layout { text: 2, grid: 2 });
        assert_eq!(rgb.len(), 108);
        let pixel = |query: usize, key: usize| [0, 1, 2].map(|channel| rgb[(query * 6 + key) * 3 + channel]);
        assert_eq!(pixel(1, 0), TEXT_TO_TEXT);
        assert_eq!(pixel(0, 1), UNSEEN);
        assert_eq!(pixel(5, 1), IMAGE_TO_TEXT);
        assert_eq!(pixel(5, 3), IMAGE_TO_IMAGE);
        assert_eq!(pixel(5, 2), UNSEEN);
    }
}
