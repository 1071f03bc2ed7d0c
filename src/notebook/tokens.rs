//! The codes of a picture.

use super::sheet::{Cell, sheet};
use super::show::{Rich, Show, shown};
use crate::{Error, Result};
use std::fmt::{self, Display, Formatter, Write};

/// A picture's codes: a grid of numbers below the codebook's size, in raster order.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) codes: Vec<u32>,
    /// How many codes there are.
    pub(super) vocabulary: usize,
}

/// The side of a code's field.
const FIELD: usize = 34;

impl Tokens {
    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All of them in raster order.
    pub fn codes(&self) -> Vec<u32> {
        self.codes.clone()
    }

    /// How many different ones there are.
    pub fn distinct(&self) -> usize {
        let mut codes = self.codes();
        codes.sort_unstable();
        codes.dedup();
        codes.len()
    }

    /// The same grid with another code at (row, column).
    ///
    /// # Errors
    /// [`Error::Usage`] outside the grid, or for a code that there is not.
    pub fn with(&self, row: usize, column: usize, code: u32) -> Result<Tokens> {
        if row >= self.height || column >= self.width || code as usize >= self.vocabulary {
            let Tokens { height, width, vocabulary, .. } = self;
            let most = vocabulary - 1;
            return Err(Error::Usage(format!(
                "code {code} at ({row}, {column}): expected a place in {height} × {width} and a code up to {most}"
            )));
        }
        let mut tokens = self.clone();
        tokens.codes[row * self.width + column] = code;
        Ok(tokens)
    }

    /// The first `rows` rows of this grid, the others of `below`.
    ///
    /// # Errors
    /// [`Error::Usage`] for grids of two sizes.
    pub fn above(&self, below: &Tokens, rows: usize) -> Result<Tokens> {
        if (self.height, self.width, self.vocabulary) != (below.height, below.width, below.vocabulary) {
            return Err(Error::Usage("expected two grids of one size and one codebook".into()));
        }
        let top = rows.min(self.height) * self.width;
        Ok(Tokens { codes: [&self.codes[..top], &below.codes[top..]].concat(), ..*self })
    }
}

impl Display for Tokens {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.vocabulary.saturating_sub(1).to_string().len();
        for row in self.codes.chunks(self.width.max(1)) {
            let codes: Vec<String> = row.iter().map(|code| format!("{code:>digits$}")).collect();
            writeln!(f, "{}", codes.join(" "))?;
        }
        Ok(())
    }
}

impl Show for Tokens {
    /// A field a code: one hue for one code, whichever grid it is in.
    fn rich(&self) -> Result<Rich> {
        let (width, height) = (self.width * FIELD, self.height * FIELD);
        let mut element =
            format!("<svg width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">");
        for (index, code) in self.codes.iter().enumerate() {
            let (x, y) = (index % self.width * FIELD, index / self.width * FIELD);
            // The golden angle keeps the hues of neighbouring numbers apart.
            let hue = (f64::from(*code) * 137.508) % 360.0;
            let (middle, line) = (x + FIELD / 2, y + FIELD / 2 + 4);
            let _ = write!(
                element,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{FIELD}\" height=\"{FIELD}\" fill=\"hsl({hue:.0},55%,78%)\"/>\
                 <text x=\"{middle}\" y=\"{line}\" text-anchor=\"middle\" fill=\"#222\">{code}</text>"
            );
        }
        let cell = Cell { element: element + "</svg>", width, height, label: String::new() };
        Ok(Rich::Svg(sheet(&[cell], 1, &format!("{} × {} codes", self.height, self.width))))
    }
}

shown!(Tokens);

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(codes: [u32; 4]) -> Tokens {
        Tokens { height: 2, width: 2, codes: codes.to_vec(), vocabulary: 16 }
    }

    #[test]
    fn codes_are_changed_only_within_the_grid_and_the_codebook() {
        assert_eq!(tokens([1, 2, 3, 4]).with(1, 0, 15).unwrap().codes, [1, 2, 15, 4]);
        for (row, column, code) in [(2, 0, 1), (0, 2, 1), (0, 0, 16)] {
            assert!(tokens([1, 2, 3, 4]).with(row, column, code).is_err());
        }
        assert_eq!(tokens([1, 2, 3, 4]).above(&tokens([5, 6, 7, 8]), 1).unwrap().codes, [1, 2, 7, 8]);
        assert_eq!(
            (tokens([3, 3, 9, 3]).distinct(), tokens([3, 3, 10, 3]).to_string().as_str()),
            (2, " 3  3\n10  3\n")
        );
    }
}
