//! Runs held against each other: the tables of `experiment compare` as a value.

use super::show::{Rich, Show, shown};
use super::table::Table;
use crate::Result;
use crate::harness::compare;
use crate::report::comparison::told;
use crate::report::html::escape;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// In which keys runs differ, what came of them, and which differences are more than chance. Runs whose specs differ in the seed
/// alone are repeats of one experiment; everything is held against the first of them.
#[derive(Clone)]
pub struct Comparison(Arc<compare::Comparison>);

impl Comparison {
    /// The runs at `paths`, each a run or a folder of runs.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where there is no run, or none with results.
    pub fn of(paths: &[impl AsRef<Path>]) -> Result<Comparison> {
        Comparison::at(paths.iter().map(|path| path.as_ref().to_owned()).collect())
    }

    pub(super) fn at(paths: Vec<PathBuf>) -> Result<Comparison> {
        Ok(Comparison(Arc::new(compare::Comparison::of(&paths)?)))
    }

    /// How many groups of runs, each of one spec but for the seed.
    pub fn groups(&self) -> usize {
        self.0.groups.len()
    }

    /// How many differences leave out 0 with their 95 % intervals, and how many were looked at.
    pub fn beyond(&self) -> (usize, usize) {
        (self.0.beyond, self.0.looked_at)
    }

    /// Writes the same as one HTML file, with curves in one chart and the same captions' pictures side by side.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Data`](crate::Error::Data) where a run cannot be read any more.
    pub fn page(&self, path: impl AsRef<Path>) -> Result<()> {
        crate::files::write(path.as_ref(), self.0.html()?.as_bytes())
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Show for Comparison {
    fn rich(&self) -> Result<Rich> {
        let told = told(&self.0);
        let mut html = format!("{}\n{}\n", Table(told.groups).html(), Table(told.results).html());
        told.lines.iter().for_each(|line| html += &format!("<p>{}</p>\n", escape(line)));
        Ok(Rich::Html(html))
    }
}

shown!(Comparison);
