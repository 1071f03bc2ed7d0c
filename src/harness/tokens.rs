//! The file of `experiment encode`: a grid of codes as JSON, `{"height": rows, "width": columns, "codes": […]}`.

use crate::error::{Error, Result};
use crate::files;
use serde_json::{Value, json};
use std::path::Path;

/// The longest side of a grid.
const MOST_SIDE: u64 = 4096;

/// A picture as its codes, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// height·width of them; which there are, a model knows.
    pub codes: Vec<u32>,
}

impl TokenGrid {
    /// The grid in the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for what is no such grid.
    pub fn read(path: &Path) -> Result<TokenGrid> {
        TokenGrid::parse(&files::read(path, files::MOST_TEXT)?).map_err(|what| Error::data(path, what))
    }

    fn parse(bytes: &[u8]) -> std::result::Result<TokenGrid, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("expected the JSON of encode: {e}"))?;
        let side = |key: &str| {
            let number = value[key].as_u64().filter(|n| (1..=MOST_SIDE).contains(n)).map(|n| n as usize);
            number.ok_or_else(|| format!("{key}: expected a number from 1 to {MOST_SIDE}"))
        };
        let (height, width) = (side("height")?, side("width")?);
        let list = value["codes"].as_array().ok_or("codes: expected a list of numbers")?;
        let code = |value: &Value| value.as_u64().and_then(|code| u32::try_from(code).ok());
        let codes: Option<Vec<u32>> = list.iter().map(code).collect();
        let codes = codes.ok_or("codes: expected whole numbers below 2³²")?;
        if codes.len() != height * width {
            return Err(format!("codes: expected {height}×{width} of them, got {}", codes.len()));
        }
        Ok(TokenGrid { height, width, codes })
    }

    /// As the file holds it.
    pub fn to_json(&self) -> String {
        json!({"height": self.height, "width": self.width, "codes": self.codes}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let grid = TokenGrid { height: 2, width: 1, codes: vec![7, u32::MAX] };
        assert_eq!(TokenGrid::parse(grid.to_json().as_bytes()), Ok(grid));
    }

    #[test]
    fn broken_grids_are_named() {
        let said = |text: &str| TokenGrid::parse(text.as_bytes()).unwrap_err();
        assert!(said("{").starts_with("expected the JSON of encode: "));
        assert_eq!(said(r#"{"height": 0, "width": 1, "codes": []}"#), "height: expected a number from 1 to 4096");
        assert_eq!(said(r#"{"height": 1, "width": 4097, "codes": []}"#), "width: expected a number from 1 to 4096");
        assert_eq!(said(r#"{"height": 1, "width": 1}"#), "codes: expected a list of numbers");
        assert_eq!(said(r#"{"height": 1, "width": 2, "codes": [1]}"#), "codes: expected 1×2 of them, got 1");
        for code in ["-1", "4294967296", "0.5", "\"1\"", "null"] {
            let text = format!(r#"{{"height": 1, "width": 1, "codes": [{code}]}}"#);
            assert_eq!(said(&text), "codes: expected whole numbers below 2³²", "{code}");
        }
    }
}
