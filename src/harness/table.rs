//! Cells in aligned columns, for people.

use std::fmt::{Display, Formatter, Result};

/// Rows of cells, the head first; the first column is flush left, the others flush right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table without rows.
    pub fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Self {
        Table(vec![head.into_iter().map(Into::into).collect()])
    }

    /// Appends a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// The head, then the rows.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.0
    }
}

/// A text of at most `longest` letters; one that was cut ends with "…".
pub fn cut(text: &str, longest: usize) -> String {
    match text.chars().count() > longest {
        true => text.chars().take(longest.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let length = |text: &str| text.chars().count();
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.0.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.0 {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_flush_left_and_numbers_flush_right() {
        let mut table = Table::new(["name", "n"]);
        table.row(["τ".to_owned(), "10".to_owned()]);
        assert_eq!(table.to_string(), "name   n\nτ     10\n");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!([cut("τaub", 4), cut("τaube", 4), cut("", 0)], ["τaub", "τau…", ""]);
    }
}
