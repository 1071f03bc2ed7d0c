//! Tables.

use super::show::{Rich, Show, shown};
use crate::Result;
use crate::harness::table;
use crate::report::html::escape;
use std::fmt::{self, Display, Formatter};

/// Rows of text under named columns.
#[derive(Clone, PartialEq, Eq)]
pub struct Table(pub(super) table::Table);

impl Table {
    pub(super) fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Table {
        Table(table::Table::new(head))
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.row(cells);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Table {
    /// As a browser shows it.
    pub(super) fn html(&self) -> String {
        let [head, rows @ ..] = self.0.rows() else { return String::new() };
        let row = |cells: &Vec<String>, tag: &str| match &cells[..] {
            [across] if head.len() > 1 => {
                format!(
                    "<tr><{tag} colspan=\"{}\" style=\"text-align:left\">{}</{tag}></tr>\n",
                    head.len(),
                    escape(across)
                )
            }
            cells => {
                let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
                format!("<tr>{cells}</tr>\n")
            }
        };
        let body: String = rows.iter().map(|cells| row(cells, "td")).collect();
        format!("<table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table>", row(head, "th").trim_end())
    }
}

impl Show for Table {
    fn rich(&self) -> Result<Rich> {
        Ok(Rich::Html(self.html()))
    }
}

shown!(Table);
