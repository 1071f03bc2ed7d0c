//! What `random` draws a value of.

use crate::random::Rng;
use crate::spec::parse::{Data, Key, Node};
use crate::spec::problem::{Place, Problem};

/// What `random` draws a value of.
pub(super) enum Range<'n> {
    Of(&'n [Node]),
    /// Both ends included where the numbers are whole.
    Between {
        from: f64,
        to: f64,
        whole: bool,
        log: bool,
    },
}

impl Range<'_> {
    pub(super) fn draw(&self, place: &Place, rng: &mut Rng) -> Node {
        match *self {
            Range::Of(values) => values[rng.below(values.len())].clone(),
            Range::Between { from, to, whole, log } => {
                let share = rng.uniform();
                let (from, to) = if whole { (from, to + 1.0) } else { (from, to) };
                let value =
                    if log { (from.ln() + share * (to.ln() - from.ln())).exp() } else { from + share * (to - from) };
                let data =
                    if whole { Data::Whole((value.floor() as i128).min(to as i128 - 1)) } else { Data::Real(value) };
                Node { place: place.clone(), data }
            }
        }
    }
}

/// The range that `key` is given.
pub(super) fn range<'n>(key: &Key, node: &'n Node) -> Result<Range<'n>, Problem> {
    let hint = "a list of values, {range: [a, b]} or {log: [a, b]}";
    let entries = match &node.data {
        Data::List(values) if !values.is_empty() => return Ok(Range::Of(values)),
        Data::Map(entries) if entries.len() == 1 => entries,
        _ => return Err(Problem::new(&node.place, format!("`{}` must have a range", key.name), hint)),
    };
    let (kind, value) = &entries[0];
    let log = match kind.name.as_str() {
        "log" => true,
        "range" => false,
        _ => return Err(Problem::new(&node.place, format!("`{}` must have a range", key.name), hint)),
    };
    let Some((from, to, whole)) = ends(value) else {
        return Err(Problem::new(&node.place, format!("`{}` must have a range of two numbers", key.name), hint));
    };
    match log {
        true if from <= 0.0 || from >= to => {
            Err(Problem::new(&value.place, "a `log` range goes from a number above 0 to a larger one", ""))
        }
        false if from >= to => Err(Problem::new(&value.place, "a range goes from a number to a larger one", "")),
        _ => Ok(Range::Between { from, to, whole, log }),
    }
}

/// Two numbers, and whether both are whole.
fn ends(node: &Node) -> Option<(f64, f64, bool)> {
    let Data::List(items) = &node.data else { return None };
    let number = |node: &Node| match node.data {
        Data::Whole(whole) => Some((whole as f64, true)),
        Data::Real(real) => Some((real, false)),
        _ => None,
    };
    let [from, to] = &items[..] else { return None };
    let ((from, first), (to, second)) = (number(from)?, number(to)?);
    Some((from, to, first && second))
}
