//! Cells in aligned columns, for people.

use std::fmt::{Display, Formatter, Result};

/// The columns of a terminal that tables should fit.
pub const WIDTH: usize = 100;

/// Rows of cells, the head first; the first column is flush left, the others flush right. A row of one cell is a line across all columns,
/// and makes none of them wider.
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

    /// The length of its longest line.
    pub fn width(&self) -> usize {
        self.to_string().lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    /// The head, then the rows.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.0
    }
}

/// Words in lines of at most `longest` letters; a word that is longer is cut.
pub fn wrapped<'w>(words: impl IntoIterator<Item = &'w str>, longest: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let word = cut(word, longest);
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= longest) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word),
        }
    }
    lines
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
        let cells = || self.0.iter().filter(|row| row.len() > 1);
        let width = |column: usize| cells().filter_map(|row| row.get(column)).map(|cell| length(cell)).max();
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
        assert_eq!(table.width(), 8);
    }

    #[test]
    fn a_line_across_widens_no_column() {
        let mut table = Table::new(["", "n"]);
        table.row(["all of them, in words".to_owned()]);
        table.row(["  A".to_owned(), "10".to_owned()]);
        assert_eq!(table.to_string(), "      n\nall of them, in words\n  A  10\n");
        assert_eq!(table.width(), 21);
    }

    #[test]
    fn words_fill_lines() {
        assert_eq!(wrapped(["a=1", "b=2", "ccc=345678"], 7), ["a=1 b=2", "ccc=34…"]);
        assert_eq!(wrapped([], 7), Vec::<String>::new());
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!([cut("τaub", 4), cut("τaube", 4), cut("", 0)], ["τaub", "τau…", ""]);
    }
}
