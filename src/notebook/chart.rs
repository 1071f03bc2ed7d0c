//! Charts.

use super::sheet::{Cell, sheet};
use super::show::{Rich, Show, shown};
use crate::Result;
use crate::report::axis::{Axis, Scale};
use crate::report::charts;
use std::fmt::{self, Display, Formatter};

/// A chart of lines or bars.
#[derive(Clone)]
pub struct Chart(pub(super) charts::Chart);

/// Points of a [`Chart::curve`].
const POINTS: usize = 240;

impl Chart {
    /// A chart without lines; `x` and `y` name the axes with their units.
    pub fn new(title: &str, x: &str, y: &str) -> Chart {
        Chart(charts::Chart::new(title, Axis::linear(x), Axis::linear(y)))
    }

    /// The same chart with a line through `points`; a y that is not finite leaves a gap.
    pub fn line(self, name: &str, points: &[(f64, f64)]) -> Chart {
        Chart(self.0.with(name, points.to_vec()))
    }

    /// The same chart with the graph of `f` from `from` to `to`.
    pub fn curve(self, name: &str, from: f64, to: f64, f: &dyn Fn(f64) -> f64) -> Chart {
        let at = |i: usize| from + (to - from) * (i as f64 + 0.5) / POINTS as f64;
        let points: Vec<(f64, f64)> = (0..POINTS).map(|i| (at(i), f(at(i)))).collect();
        self.line(name, &points)
    }

    /// The same chart with a bar for each of `heights`, the first at 0.
    pub fn bars(self, name: &str, heights: &[f64]) -> Chart {
        Chart(self.0.with_bars(name, heights))
    }

    /// The same chart with a logarithmic y axis.
    pub fn log_y(mut self) -> Chart {
        self.0.y.scale = Scale::Log;
        self
    }

    /// The same chart with a logarithmic x axis, with a tick at each of `ticks`.
    pub fn log_x(mut self, ticks: &[f64]) -> Chart {
        self.0.x.scale = Scale::Log;
        self.0.x.ticks = ticks.to_vec();
        self
    }

    /// Two charts side by side.
    pub fn beside(self, other: Chart) -> ChartGrid {
        ChartGrid(vec![self, other])
    }

    fn cell(&self) -> Cell {
        Cell::chart(&charts::line(&self.0))
    }
}

impl Display for Chart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&charts::description(&self.0))
    }
}

impl Show for Chart {
    fn rich(&self) -> Result<Rich> {
        Ok(Rich::Svg(sheet(&[self.cell()], 1, &self.to_string())))
    }
}

/// The width of a chart that has another beside it: both fit beside a sidebar.
const PAIRED: usize = 380;

/// Charts, two in a row.
#[derive(Clone)]
pub struct ChartGrid(pub(super) Vec<Chart>);

impl ChartGrid {
    /// The same grid with one more chart.
    pub fn beside(mut self, chart: Chart) -> ChartGrid {
        self.0.push(chart);
        self
    }
}

impl Display for ChartGrid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|chart| writeln!(f, "{chart}"))
    }
}

impl Show for ChartGrid {
    fn rich(&self) -> Result<Rich> {
        let cells: Vec<Cell> = self.0.iter().map(|chart| chart.cell().scaled(PAIRED)).collect();
        Ok(Rich::Svg(sheet(&cells, 2, &self.to_string())))
    }
}

shown!(Chart, ChartGrid);
