//! Charts as SVG text, drawn by plotters. A chart follows the theme of the page around it: every colour is a CSS
//! variable (`--ink`, `--muted`, `--rule`, `--series-1` to `--series-6`) with a fallback, so that it also stands alone in a notebook.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Fitted, drawable, number};
use super::html::escape;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Points joined.
    Line,
    /// A bar from 0 at each point, of a width of 1 less a gap.
    Bars,
}

/// A named sequence of points.
#[derive(Debug, Clone)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// (x, y) in the order to be joined; a y that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub mark: Mark,
}

/// A line chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, in a few words.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
    /// A place on the horizontal axis to point out, with a word for it.
    pub mark: Option<(f64, String)>,
}

impl Chart {
    /// A chart without lines.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Chart { title: title.into(), x, y, series: Vec::new(), mark: None }
    }

    /// The same chart with a vertical line at `x`, called `name`.
    pub fn marked(self, x: f64, name: impl Into<String>) -> Self {
        Chart { mark: Some((x, name.into())), ..self }
    }

    /// The same chart with one more line.
    pub fn with(mut self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        self.series.push(Series { name: name.into(), points, mark: Mark::Line });
        self
    }

    /// The same chart with a bar for each of `heights`, the first at 0.
    pub fn with_bars(mut self, name: impl Into<String>, heights: &[f64]) -> Self {
        let points = heights.iter().enumerate().map(|(at, &height)| (at as f64, height)).collect();
        self.series.push(Series { name: name.into(), points, mark: Mark::Bars });
        self
    }
}

/// At most so many points of a series are drawn: more than two for each pixel of the width.
pub const MAX_POINTS: usize = 1200;
/// The size in CSS pixels at which the type is as large as the page's small print.
pub(super) const WIDTH: i32 = 400;
const HEIGHT: i32 = 240;
/// plotters rounds to whole units; drawing larger and scaling down keeps lines smooth.
pub(super) const FINE: i32 = 4;
/// Half the width of a bar.
const BAR: f64 = 0.42;
/// The height of a line of text.
pub(super) const LINE: i32 = 18;

/// Sentinels: colours that plotters writes and [`finished`] replaces by variables.
pub(super) const INK: RGBColor = RGBColor(1, 2, 0);
pub(super) const MUTED: RGBColor = RGBColor(1, 2, 1);
const RULE: RGBColor = RGBColor(1, 2, 2);
const FIRST_SERIES: u8 = 3;
/// Okabe and Ito's colours, which colour-blind readers tell apart, in an order of falling contrast to each other.
const SERIES: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a6761d", "#56b4e9"];

fn series_colour(index: usize) -> RGBColor {
    RGBColor(1, 2, FIRST_SERIES + (index % SERIES.len()) as u8)
}

pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a line chart as an `<svg>` element with title, axis titles, a legend with the last value of each line, and a
/// description for screen readers. Never fails: where there is nothing to draw, the picture says so.
pub fn line(chart: &Chart) -> String {
    let thinned: Vec<Series> = chart.series.iter().map(|series| thinned(series, MAX_POINTS)).collect();
    let bars = || thinned.iter().filter(|series| series.mark == Mark::Bars).flat_map(|series| &series.points);
    let all = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let points = thinned.iter().flat_map(|series| &series.points);
        points.filter(|point| drawable(point.0) && drawable(point.1)).map(pick).collect()
    };
    // Bars need room for their width, and their foot.
    let (mut xs, mut ys) = (all(|point| point.0), all(|point| point.1));
    xs.extend(bars().flat_map(|point| [point.0 - BAR, point.0 + BAR]));
    ys.extend(bars().take(1).map(|_| 0.0));
    let x = Fitted::new(&chart.x, &xs, false);
    let y = Fitted::new(&chart.y, &ys, bars().next().is_none());
    let (Some(x), Some(y)) = (x, y) else { return note(&chart.title, "no values yet") };
    let mut svg = String::new();
    match draw_lines(&mut svg, chart, &thinned, x.padded(0.01), y.padded(0.05)) {
        Ok(()) => finished(&svg, HEIGHT, &description(chart)),
        Err(error) => note(&chart.title, &format!("could not be drawn: {error}")),
    }
}

/// Joins min and max of buckets, so that at most `limit` points remain, none of the extremes is lost and the ends stay.
/// A bucket that holds nothing but gaps stays a gap.
pub fn thinned(series: &Series, limit: usize) -> Series {
    let points = &series.points;
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else { return series.clone() };
    if points.len() <= limit || limit < 4 {
        return series.clone();
    }
    let inner = &points[1..points.len() - 1];
    let mut kept = vec![first];
    for bucket in inner.chunks(inner.len().div_ceil((limit - 2) / 2)) {
        let finite = || (0..bucket.len()).filter(|index| drawable(bucket[*index].1));
        let low = finite().min_by(|a, b| bucket[*a].1.total_cmp(&bucket[*b].1));
        let high = finite().max_by(|a, b| bucket[*a].1.total_cmp(&bucket[*b].1));
        match (low, high) {
            (Some(low), Some(high)) if low == high => kept.push(bucket[low]),
            (Some(low), Some(high)) => kept.extend([bucket[low.min(high)], bucket[low.max(high)]]),
            _ => kept.push((bucket[0].0, f64::NAN)),
        }
    }
    kept.push(last);
    Series { points: kept, name: series.name.clone(), mark: series.mark }
}

fn draw_lines(svg: &mut String, chart: &Chart, series: &[Series], x: Fitted, y: Fitted) -> Drawn {
    let root = SVGBackend::with_string(svg, ((WIDTH * FINE) as u32, (HEIGHT * FINE) as u32)).into_drawing_area();
    let unit = match y.cut {
        Some(value) => format!("{} · cut off, up to {}", chart.y.title, number(value)),
        None => chart.y.title.clone(),
    };
    text(&root, &chart.title, 0, 9, 13.0, INK, HPos::Left)?;
    text(&root, &unit, 0, 9 + LINE, 11.5, MUTED, HPos::Left)?;
    let legend_rows = draw_legend(&root, chart, text_width(&unit) + 16)?;
    text(&root, &chart.x.title, WIDTH, HEIGHT - 7, 11.5, MUTED, HPos::Right)?;

    let label = ("sans-serif", font_size(11.0)).into_font().color(&MUTED);
    let mut area = ChartBuilder::on(&root)
        .margin_top((LINE * (2 + legend_rows) + 6) * FINE)
        .margin_right(10 * FINE)
        .margin_bottom(LINE * FINE)
        .set_label_area_size(LabelAreaPosition::Left, 42 * FINE)
        .set_label_area_size(LabelAreaPosition::Bottom, 20 * FINE)
        .build_cartesian_2d(x, y)?;
    area.configure_mesh()
        .disable_x_mesh()
        .bold_line_style(RULE.stroke_width(FINE as u32))
        .light_line_style(TRANSPARENT)
        .axis_style(MUTED.stroke_width(FINE as u32))
        .set_tick_mark_size(LabelAreaPosition::Bottom, 4 * FINE)
        .set_tick_mark_size(LabelAreaPosition::Left, 3 * FINE)
        .label_style(label)
        .draw()?;
    if let Some((at, name)) = &chart.mark {
        let (across, along) = (area.x_range(), area.y_range());
        if (across.start..=across.end).contains(at) {
            area.draw_series(DashedLineSeries::new(
                [(*at, along.start), (*at, along.end)],
                4 * FINE,
                4 * FINE,
                MUTED.stroke_width(FINE as u32),
            ))?;
            // Beside the line's top, on the side where there is room.
            let (x, top) = area.backend_coord(&(*at, along.end));
            let (x, side) =
                if x / FINE > WIDTH * 2 / 3 { (x / FINE - 4, HPos::Right) } else { (x / FINE + 4, HPos::Left) };
            text(&root, name, x, top / FINE + 7, 11.0, MUTED, side)?;
        }
    }
    for (index, series) in series.iter().enumerate() {
        let colour = series_colour(index);
        if series.mark == Mark::Bars {
            let drawn = series.points.iter().filter(|point| drawable(point.0) && drawable(point.1));
            let bar = |&(x, y): &(f64, f64)| Rectangle::new([(x - BAR, 0.0), (x + BAR, y)], colour.filled());
            area.draw_series(drawn.map(bar))?;
            continue;
        }
        let few = series.points.len() <= 12;
        for run in series.points.split(|point| !drawable(point.0) || !drawable(point.1)) {
            if few || run.len() == 1 {
                let dots = run.iter().map(|point| Circle::new(*point, 3 * FINE, colour.filled()));
                area.draw_series(dots)?;
            }
            if run.len() > 1 {
                area.draw_series(LineSeries::new(run.iter().copied(), colour.stroke_width(3 * FINE as u32 / 2)))?;
            }
        }
    }
    root.present()
}

type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Puts the legend at the right of the unit's line where it fits, on lines of its own below where it does not; returns
/// how many those are. Each entry is a key, the name and the last value.
fn draw_legend(root: &Root, chart: &Chart, taken: i32) -> Result<i32, DrawingAreaErrorKind<std::io::Error>> {
    let one = chart.series.len() == 1;
    let entries: Vec<String> = chart.series.iter().map(|series| legend_entry(series, one)).collect();
    let width = |entry: &String| 18 + text_width(entry) + 12;
    let total: i32 = entries.iter().map(width).sum();
    let beside = taken + total <= WIDTH;
    let (mut left, mut row) = if beside { (WIDTH - total + 12, 0) } else { (0, 1) };
    for (index, entry) in entries.iter().enumerate() {
        if left > 0 && left + width(entry) - 12 > WIDTH {
            (left, row) = (0, row + 1);
        }
        let y = 9 + LINE * (1 + row);
        let key = vec![(left * FINE, y * FINE), ((left + 12) * FINE, y * FINE)];
        root.draw(&PathElement::new(key, series_colour(index).stroke_width(5 * FINE as u32 / 2)))?;
        text(root, entry, left + 18, y, 11.5, INK, HPos::Left)?;
        left += width(entry);
    }
    Ok(row)
}

/// The name, unless the chart's title says it already, and the last value.
fn legend_entry(series: &Series, alone: bool) -> String {
    if series.mark == Mark::Bars {
        return series.name.clone();
    }
    let last = series.points.iter().rev().find(|point| drawable(point.1)).map_or("–".into(), |point| number(point.1));
    if alone { last } else { format!("{} {last}", series.name) }
}

/// A guess that suits sans-serif type of 11.5 pixels: SVG text has no size before it is shown.
pub(crate) fn text_width(text: &str) -> i32 {
    (text.chars().count() as f64 * 6.3).ceil() as i32
}

/// plotters writes a font size divided by 1.24.
pub(super) fn font_size(pixels: f64) -> f64 {
    pixels * 1.24 * f64::from(FINE)
}

/// Writes `content` at (x, y) in CSS pixels, centred on the line y.
pub(super) fn text(root: &Root, content: &str, x: i32, y: i32, size: f64, colour: RGBColor, side: HPos) -> Drawn {
    let weight = if size > 12.0 { FontStyle::Bold } else { FontStyle::Normal };
    let style = FontDesc::new(FontFamily::SansSerif, font_size(size), weight).color(&colour);
    root.draw_text(content, &style.pos(Pos::new(side, VPos::Center)), (x * FINE, y * FINE))
}

/// What a reader who does not see the chart is told.
pub fn description(chart: &Chart) -> String {
    let line = |series: &Series| match series.mark {
        Mark::Line => format!("{} ends at {}", series.name, legend_entry(series, true)),
        Mark::Bars => format!("{}: {} bars", series.name, series.points.len()),
    };
    let lines: Vec<String> = chart.series.iter().map(line).collect();
    let mark = chart.mark.as_ref().map_or(String::new(), |(x, name)| format!(" {name} at {}.", number(*x)));
    format!("{}: {} against {}. {}.{mark}", chart.title, chart.y.title, chart.x.title, lines.join("; "))
}

/// plotters' picture with the sentinels replaced, at its nominal size, and with a description.
pub(super) fn finished(svg: &str, height: i32, description: &str) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body).replace(" opacity=\"1\"", "").replace(" \"/>", "\"/>");
    let mut body = body
        .replace("\"#010200\"", "\"var(--ink, currentColor)\"")
        .replace("\"#010201\"", "\"var(--muted, currentColor)\"")
        .replace("\"#010202\"", "\"var(--rule, #8885)\"");
    for (index, colour) in SERIES.iter().enumerate() {
        let sentinel = format!("\"#0102{:02X}\"", usize::from(FIRST_SERIES) + index);
        body = body.replace(&sentinel, &format!("\"var(--series-{}, {colour})\"", index + 1));
    }
    format!("{}{body}", opening(height, description))
}

/// A picture that says why there is none.
pub(super) fn note(title: &str, why: &str) -> String {
    let words = format!("{title}: {why}");
    format!(
        "{}<text x=\"0\" y=\"{y}\" font-size=\"{size}\" fill=\"var(--muted, currentColor)\">{}</text></svg>\n",
        opening(2 * LINE, &words),
        escape(&words),
        y = LINE * FINE,
        size = 12 * FINE,
    )
}

fn opening(height: i32, description: &str) -> String {
    format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         role=\"img\" aria-label=\"{}\" stroke-linejoin=\"round\">\n",
        WIDTH * FINE,
        height * FINE,
        escape(description),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart::new("Loss", Axis::linear("step"), Axis::linear("nats")).with("train", points)
    }

    #[test]
    fn a_chart_carries_titles_legend_and_variables_only() {
        let svg = line(&chart(vec![(0.0, 3.0), (10.0, 1.5)]).with("validation", vec![(0.0, 2.0), (10.0, 1.25)]));
        for part in ["Loss", "step", "nats", "train 1.5", "validation 1.25"] {
            assert!(svg.contains(&format!(">\n{part}\n</text>")), "{part}: {svg}");
        }
        assert!(svg.contains("var(--series-2, #d55e00)") && svg.contains("aria-label=\"Loss: nats against step."));
        assert!(!svg.contains("#0102") && !svg.contains("#FFFFFF"), "{svg}");
    }

    #[test]
    fn bars_stand_on_zero() {
        let svg = line(&chart(vec![]).with_bars("share", &[2.0, 4.0, f64::NAN]));
        let bars: Vec<&str> = svg.lines().filter(|line| line.starts_with("<rect")).collect();
        let side = |bar: &str, name: &str| -> i32 {
            let (_, rest) = bar.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        assert_eq!(bars.len(), 2, "{svg}");
        let [low, high] = [bars[0], bars[1]].map(|bar| (side(bar, "y") + side(bar, "height"), side(bar, "height")));
        assert_eq!(low.0, high.0);
        assert!((f64::from(high.1) / f64::from(low.1) - 2.0).abs() < 0.02, "{low:?} {high:?}");
    }

    #[test]
    fn a_gap_splits_the_line() {
        let lines = |points| line(&chart(points)).matches("stroke-width=\"6\"").count();
        assert_eq!(lines((0..30).map(|i| (f64::from(i), 1.0)).collect()), 1);
        assert_eq!(lines((0..30).map(|i| (f64::from(i), if i == 9 { f64::NAN } else { 1.0 })).collect()), 2);
    }

    #[test]
    fn names_are_escaped_and_nothing_is_said_to_be_nothing() {
        let svg = line(&Chart::new("<b>", Axis::linear("<x>"), Axis::linear("<y>")).with("<script>", vec![(0.0, 1.0)]));
        assert!(!svg.contains("<b>") && !svg.contains("<script>") && !svg.contains("<x>"), "{svg}");
        assert!(line(&chart(vec![(0.0, f64::NAN)])).contains("no values yet"));
    }

    #[test]
    fn a_mark_stands_where_it_is_said_to() {
        let drawn = |at: f64| line(&chart(vec![(0.0, 3.0), (10.0, 1.5)]).marked(at, "kept"));
        let words = |svg: &str| svg.matches(">\nkept\n</text>").count();
        assert!(words(&drawn(2.0)) == 1 && drawn(2.0).contains("kept at 2.\""));
        // Outside of what is drawn it would stand at a wrong place.
        assert_eq!(words(&drawn(50.0)), 0);
    }

    proptest! {
        #[test]
        fn thinning_keeps_ends_and_extremes(values in prop::collection::vec(-1e3..1e3f64, 2..900), limit in 10..200usize) {
            let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
            let kept = thinned(&Series { name: String::new(), points: points.clone(), mark: Mark::Line }, limit).points;
            prop_assert!(kept.len() <= limit);
            prop_assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
            prop_assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let extreme = |points: &[(f64, f64)], sign: f64| points.iter().map(|p| sign * p.1).fold(f64::MIN, f64::max);
            prop_assert_eq!(extreme(&kept, 1.0), extreme(&points, 1.0));
            prop_assert_eq!(extreme(&kept, -1.0), extreme(&points, -1.0));
        }

        #[test]
        fn any_numbers_can_be_drawn(points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..40)) {
            let svg = line(&chart(points));
            prop_assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        }
    }
}
