//! Axes of the charts: from the values to a range, round ticks and their labels. A *place* is where a value lies on its
//! axis: the value itself on a linear one, its decimal logarithm on a logarithmic one.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally far apart.
    Linear,
    /// Equal ratios are equally far apart. An axis with a value that is not positive is drawn linear instead.
    Log,
}

/// What one axis shows.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The quantity with its unit: "loss (nats per dimension)".
    pub title: String,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// The only ticks wanted; where it is empty, round numbers are chosen.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(title: impl Into<String>) -> Self {
        Axis { title: title.into(), scale: Scale::Linear, ticks: Vec::new() }
    }

    /// A logarithmic axis.
    pub fn log(title: impl Into<String>) -> Self {
        Axis { title: title.into(), scale: Scale::Log, ticks: Vec::new() }
    }

    /// The same axis with ticks at exactly these values.
    pub fn with_ticks(self, ticks: Vec<f64>) -> Self {
        Axis { ticks, ..self }
    }
}

/// Larger magnitudes are treated as gaps: no axis could show them beside anything else.
const LARGEST: f64 = 1e100;

/// True for a value that can be drawn.
pub(super) fn drawable(value: f64) -> bool {
    value.is_finite() && value.abs() < LARGEST
}

/// An axis fitted to values; a coordinate of plotters.
#[derive(Debug)]
pub(super) struct Fitted {
    /// The places of the two ends.
    low: f64,
    high: f64,
    /// Places of the ticks, with their labels.
    ticks: Vec<(f64, String)>,
    /// The largest magnitude beyond the range, where a few outliers were cut off.
    pub cut: Option<f64>,
    log: bool,
}

impl Fitted {
    /// Fits `axis` to the drawable ones of `values`; `None` where there is none. With `cut_outliers`, the range of a
    /// linear axis leaves out a few values that would flatten all others (the loss of the first steps).
    pub fn new(axis: &Axis, values: &[f64], cut_outliers: bool) -> Option<Self> {
        let mut values: Vec<f64> = values.iter().copied().filter(|value| drawable(*value)).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let log = axis.scale == Scale::Log && least > 0.0;
        let (mut low, mut high) = if log { (least.log10(), most.log10()) } else { (least, most) };
        let mut cut = None;
        if cut_outliers && !log && values.len() >= 40 {
            let rank = values.len() / 50;
            let (bottom, top) = (values[rank], values[values.len() - 1 - rank]);
            let spread = top - bottom;
            if spread > 0.0 && high > top + 3.0 * spread {
                (high, cut) = (top + 0.5 * spread, Some(most));
            }
            if spread > 0.0 && low < bottom - 3.0 * spread {
                low = bottom - 0.5 * spread;
                cut = Some(if cut.is_some_and(|above: f64| above.abs() > least.abs()) { most } else { least });
            }
        }
        if high - low <= low.abs().max(high.abs()) * 1e-9 {
            let room = if log { 0.3 } else { (low.abs() * 0.1).max(f64::MIN_POSITIVE) };
            let room = if low == 0.0 && !log { 1.0 } else { room };
            (low, high) = (low - room, high + room);
        }
        let ticks = if !axis.ticks.is_empty() {
            let places = axis.ticks.iter().filter(|tick| !log || **tick > 0.0);
            places.map(|&tick| (if log { tick.log10() } else { tick }, number(tick))).collect()
        } else if log {
            log_ticks(low, high)
        } else {
            linear_ticks(low, high)
        };
        Some(Fitted { low, high, ticks, cut, log })
    }

    /// Widens the range by `share` of it on both sides, so that no line runs along the frame.
    pub fn padded(mut self, share: f64) -> Self {
        let room = (self.high - self.low) * share;
        (self.low, self.high) = (self.low - room, self.high + room);
        self
    }

    /// A linear axis from `low` to `high`, which may be smaller, with ticks at exactly these values.
    pub fn exact(low: f64, high: f64, ticks: &[f64]) -> Self {
        Fitted { low, high, ticks: ticks.iter().map(|&tick| (tick, number(tick))).collect(), cut: None, log: false }
    }

    fn value(&self, place: f64) -> f64 {
        if self.log { 10f64.powf(place) } else { place }
    }

    fn place(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }
}

impl Ranged for Fitted {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    /// A value outside the range lies at its edge.
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = ((self.place(*value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let ticks = if hint.weight().allow_light_points() { &[][..] } else { &self.ticks };
        ticks.iter().map(|tick| self.value(tick.0)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.value(self.low)..self.value(self.high)
    }
}

impl ValueFormatter<f64> for Fitted {
    /// The label of the tick nearest to `value`.
    fn format_ext(&self, value: &f64) -> String {
        let distance = |tick: &&(f64, String)| (tick.0 - self.place(*value)).abs();
        let nearest = self.ticks.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.map(|tick| tick.1.clone()).unwrap_or_default()
    }
}

/// Multiples of 1, 2 or 5 times a power of ten, about five of them.
fn linear_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let raw = (high - low) / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|k| k * power).find(|step| *step >= raw).unwrap_or(raw);
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    // Counting in whole steps: adding steps up would stall where a step vanishes beside the value.
    let count = (last - first).clamp(0.0, 12.0) as usize;
    (0..=count).map(|index| (first + index as f64) * step).map(|tick| (tick, tick_label(tick, step))).collect()
}

/// Powers of ten; with 2 and 5 between where they are few; the linear ticks' logarithms within a narrow range.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let powers = (low.floor() as i32)..=(high.ceil() as i32);
    let within = |factors: &[f64], every: i32| -> Vec<(f64, String)> {
        let powers = powers.clone().filter(|power| power.rem_euclid(every) == 0);
        let values = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
        values.map(|value| (value.log10(), number(value))).filter(|tick| (low..=high).contains(&tick.0)).collect()
    };
    let decades = high - low;
    if decades > 2.5 {
        return within(&[1.0], (decades / 6.0).ceil() as i32);
    }
    let ticks = within(&[1.0, 2.0, 5.0], 1);
    if ticks.len() >= 3 {
        return ticks;
    }
    let linear = linear_ticks(10f64.powf(low), 10f64.powf(high));
    linear.into_iter().filter(|tick| tick.0 > 0.0).map(|(tick, label)| (tick.log10(), label)).collect()
}

/// A tick's label with as many decimals as its step has.
fn tick_label(tick: f64, step: f64) -> String {
    if tick.abs() < step * 1e-6 {
        return "0".into();
    }
    let decimals = (-(step * 1.000_001).log10().floor()).clamp(0.0, 9.0) as usize;
    match tick.abs() {
        large if large >= 1e9 => number(tick),
        large if large >= 1e6 && step >= 1e4 => minus(format!("{}M", trimmed(format!("{:.2}", tick / 1e6)))),
        large if large >= 1e4 && step >= 10.0 => minus(format!("{}k", trimmed(format!("{:.2}", tick / 1e3)))),
        _ if step < 1e-4 => number(tick),
        _ => minus(format!("{tick:.decimals$}")),
    }
}

/// A number for people: four significant digits, powers of ten where it is very large or very small.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        minus(format!("{}e{power}", trimmed(digits.into())))
    } else if value.fract() == 0.0 {
        minus(format!("{value}"))
    } else {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        minus(trimmed(format!("{value:.decimals$}")))
    }
}

/// Without the zeros that end a decimal fraction.
fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// With the typographic minus, as wide as a digit.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(axis: Axis, values: &[f64]) -> Vec<String> {
        let fitted = Fitted::new(&axis, values, false).unwrap();
        fitted.ticks.into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(Axis::linear("x"), &[0.0, 2000.0]), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(Axis::linear("x"), &[-0.31, 0.12]), ["−0.3", "−0.2", "−0.1", "0", "0.1"]);
        assert_eq!(labels(Axis::linear("x"), &[0.0, 50_000.0]), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(
            labels(Axis::log("x"), &[0.0004, 2.0]),
            ["1e−3", "0.01", "0.1", "1"].map(|t| t.replace("1e−3", "0.001"))
        );
        assert_eq!(labels(Axis::log("x"), &[0.7, 6.0]), ["1", "2", "5"]);
        assert_eq!(labels(Axis::log("n").with_ticks(vec![1.0, 2.0, 8.0]), &[1.0, 8.0]), ["1", "2", "8"]);
    }

    #[test]
    fn an_axis_with_a_zero_is_linear() {
        assert_eq!(labels(Axis::log("x"), &[0.0, 1.0]), labels(Axis::linear("x"), &[0.0, 1.0]));
    }

    #[test]
    fn a_few_outliers_are_cut_and_told() {
        let mut values: Vec<f64> = (0..100).map(|step| 1.0 + f64::from(step) / 100.0).collect();
        assert_eq!(Fitted::new(&Axis::linear("y"), &values, true).unwrap().cut, None);
        values[0] = 900.0;
        let fitted = Fitted::new(&Axis::linear("y"), &values, true).unwrap();
        assert_eq!(fitted.cut, Some(900.0));
        assert!(fitted.high < 3.0 && fitted.map(&900.0, (0, 100)) == 100);
    }

    #[test]
    fn numbers_read_well() {
        let pairs = [(0.5321987, "0.5322"), (-12.0, "−12"), (1e-4, "1e−4"), (27.149, "27.15"), (1.5e7, "1.5e7")];
        for (value, text) in pairs {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::NAN), "–");
    }

    proptest! {
        #[test]
        fn every_range_has_a_few_ticks_inside(a in -1e9..1e9f64, exponent in -12..12i32, b in -1.0..1.0f64, log: bool) {
            let axis = if log { Axis::log("x") } else { Axis::linear("x") };
            let fitted = Fitted::new(&axis, &[a, a + b * 10f64.powi(exponent)], false).unwrap();
            prop_assert!(fitted.low < fitted.high);
            prop_assert!((1..=13).contains(&fitted.ticks.len()), "{fitted:?}");
            let room = (fitted.high - fitted.low) * 1e-6;
            for (place, _) in &fitted.ticks {
                prop_assert!((fitted.low - room..=fitted.high + room).contains(place), "{fitted:?}");
            }
        }
    }
}
