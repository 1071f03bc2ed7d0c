//! Pictures and charts on one sheet of paper: an SVG that needs nothing around it. It brings its own paper, so that it reads
//! on a light and on a dark page; where the viewer tells that the reader prefers dark, the paper is dark too.

use crate::report::charts::text_width;
use crate::report::html::escape;
use std::fmt::Write;

/// The paper's colours on light, and what they become on dark.
const PAPER: [&str; 2] = ["#ffffff", "#1b1e25"];
const INK: [&str; 2] = ["#1c2330", "#e7e9ee"];
const MUTED: [&str; 2] = ["#5a6372", "#a2aab8"];
const RULE: [&str; 2] = ["#dfe3e8", "#3a404c"];
/// The report's series colours that are too dark for dark paper, and lighter ones.
const SERIES: [[&str; 2]; 4] =
    [["#0072b2", "#56a8e0"], ["#d55e00", "#f08a3c"], ["#009e73", "#2fc49a"], ["#a6761d", "#d0a04a"]];

/// Room around everything and between two cells.
const GAP: usize = 14;
/// The height of a line of a label.
const LINE: usize = 15;
/// Lines of a label.
const LINES: usize = 3;

/// One cell: an `<svg>` or `<image>` element's text without position, its size in pixels, and the label below.
pub(super) struct Cell {
    pub element: String,
    pub width: usize,
    pub height: usize,
    pub label: String,
}

impl Cell {
    /// A chart or mask as the report draws it.
    pub fn chart(svg: &str) -> Cell {
        let side = |name: &str| -> usize {
            let value = svg.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
            value.and_then(|(value, _)| value.parse().ok()).unwrap_or(0)
        };
        Cell { element: coloured(svg), width: side("width"), height: side("height"), label: String::new() }
    }

    /// The same, `width` pixels wide.
    pub fn scaled(self, width: usize) -> Cell {
        let height = self.height * width / self.width.max(1);
        let side = |name: &str, side: usize| format!(" {name}=\"{side}\"");
        let element = self.element.replacen(&side("width", self.width), &side("width", width), 1);
        let element = element.replacen(&side("height", self.height), &side("height", height), 1);
        Cell { element, width, height, label: self.label }
    }

    /// The lines of the label that fit the cell's width; too long a text ends with an ellipsis.
    fn lines(&self) -> Vec<String> {
        let fits = |line: &str| text_width(line) <= self.width as i32 + GAP as i32 / 2;
        let mut lines: Vec<String> = Vec::new();
        for word in self.label.split_whitespace() {
            let full = lines.len() == LINES;
            match lines.last_mut() {
                Some(line) if fits(&format!("{line} {word}")) => *line = format!("{line} {word}"),
                Some(last) if full => {
                    last.push('…');
                    break;
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }
}

/// All cells in rows of `columns`. `description` is for readers who do not see it.
pub(super) fn sheet(cells: &[Cell], columns: usize, description: &str) -> String {
    let columns = columns.clamp(1, cells.len().max(1));
    let width = cells.iter().map(|cell| cell.width).max().unwrap_or(0);
    let labels: Vec<Vec<String>> = cells.iter().map(Cell::lines).collect();
    let (mut body, mut top) = (String::new(), GAP);
    for (row, labels) in cells.chunks(columns).zip(labels.chunks(columns)) {
        let height = row.iter().map(|cell| cell.height).max().unwrap_or(0);
        for (column, (cell, lines)) in row.iter().zip(labels).enumerate() {
            let left = GAP + column * (width + GAP);
            let (name, rest) = cell.element.split_once(' ').unwrap_or((&cell.element, ""));
            let _ = writeln!(body, "{name} x=\"{left}\" y=\"{top}\" {rest}");
            for (line, text) in lines.iter().enumerate() {
                let y = top + cell.height + 1 + LINE * (line + 1) - 3;
                let _ = writeln!(
                    body,
                    "<text x=\"{left}\" y=\"{y}\" font-family=\"sans-serif\" font-size=\"11.5\" fill=\"{}\">{}</text>",
                    INK[0],
                    escape(text)
                );
            }
        }
        let lines = labels.iter().map(Vec::len).max().unwrap_or(0);
        top += height + LINE * lines + GAP;
    }
    let width = GAP + columns * (width + GAP);
    format!(
        "<svg class=\"dalle\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{top}\" \
         viewBox=\"0 0 {width} {top}\" role=\"img\" aria-label=\"{}\">\n{}<rect width=\"{width}\" height=\"{top}\" rx=\"6\" \
         fill=\"{}\"/>\n{body}</svg>",
        escape(description),
        dark(),
        PAPER[0],
    )
}

/// A picture of the report in fixed colours: where nothing defines its variables, they must not be relied on.
fn coloured(svg: &str) -> String {
    let mut parts = svg.split("var(--");
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (variable, rest) = part.split_once(')').unwrap_or((part, ""));
        let (name, fallback) = variable.split_once(',').unwrap_or((variable, "currentColor"));
        out += match name {
            "ink" => INK[0],
            "muted" => MUTED[0],
            "rule" => RULE[0],
            _ => fallback.trim(),
        };
        out += rest;
    }
    out
}

/// The style for readers who prefer dark.
fn dark() -> String {
    let mut rules = String::new();
    for [light, dark] in [PAPER, INK, MUTED, RULE].into_iter().chain(SERIES) {
        for attribute in ["fill", "stroke"] {
            let _ = write!(rules, ".dalle [{attribute}=\"{light}\"]{{{attribute}:{dark}}}");
        }
    }
    format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::axis::Axis;
    use crate::report::charts::{self, line};

    fn cell(label: &str) -> Cell {
        Cell { element: "<image width=\"64\" height=\"64\"/>".into(), width: 64, height: 64, label: label.into() }
    }

    #[test]
    fn a_chart_of_the_report_stands_alone() {
        let chart = charts::Chart::new("Loss", Axis::linear("step"), Axis::linear("nats"));
        let svg = sheet(&[Cell::chart(&line(&chart.with("train", vec![(0.0, 1.0), (1.0, 0.5)])))], 1, "a loss");
        assert!(!svg.contains("var(") && !svg.contains("currentColor") && svg.contains(INK[0]));
        assert!(svg.contains("width=\"428\" height=\"268\"") && svg.contains("<svg x=\"14\" y=\"14\" class"), "{svg}");
        assert!(svg.contains("aria-label=\"a loss\"") && svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn a_scaled_cell_keeps_its_proportions() {
        let half = cell("").scaled(32);
        assert_eq!((half.width, half.height, half.element.as_str()), (32, 32, "<image width=\"32\" height=\"32\"/>"));
    }

    #[test]
    fn labels_are_wrapped_cut_and_escaped() {
        assert_eq!(cell("a big red star").lines(), ["a big red", "star"]);
        let long = cell("one two three four five six seven eight nine ten").lines();
        assert!(long.len() == LINES && long[2].ends_with('…'), "{long:?}");
        assert!(sheet(&[cell("<b>")], 3, "").contains("&lt;b&gt;"));
        assert!(sheet(&[], 0, "").starts_with("<svg"));
    }

    #[test]
    fn cells_are_placed_row_by_row() {
        let svg = sheet(&[cell("a"), cell("b"), cell("c")], 2, "");
        let places = ["<image x=\"14\" y=\"14\"", "<image x=\"92\" y=\"14\"", "<image x=\"14\" y=\"107\""];
        assert!(places.iter().all(|place| svg.contains(place)), "{svg}");
    }
}
