//! What each picture and each caption measured, behind the means that results hold. Two runs that measured the same ones are
//! compared one by one: what they have in common, hard captions and easy ones, then cancels.

use super::results::Named;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The file of a run that holds it.
pub const FILE: &str = "each.json";

/// Values by figure, under the figures' paths into the results.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Each {
    /// What was measured, by set: the captions, or fingerprints of the pictures with their captions.
    of: Named<Vec<String>>,
    figures: Named<Values>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Values {
    set: String,
    /// One for each of the set; none where it is no number.
    values: Vec<Option<f64>>,
}

impl Each {
    /// Says what the set `set` is of, in the order of the values to come.
    pub fn set(&mut self, set: &str, of: Vec<String>) {
        self.of.insert(set, of);
    }

    /// The values of the figure at `path`, one for each of `set`.
    pub fn add(&mut self, path: impl Into<String>, set: &str, values: impl IntoIterator<Item = f64>) {
        let values = values.into_iter().map(|value| Some(value).filter(|value| value.is_finite())).collect();
        self.figures.insert(path, Values { set: set.to_owned(), values });
    }

    /// The values of the figure at `path`; `None` where one of them is no number.
    pub fn values(&self, path: &str) -> Option<Vec<f64>> {
        self.figures.get(path)?.values.iter().copied().collect()
    }

    /// The values of the figure at `path` in both, of the same pictures or captions; the second of two equal captions goes with
    /// the other's second. `None` where they have fewer than two in common, or one is no number.
    pub fn pairs(&self, other: &Each, path: &str) -> Option<Vec<(f64, f64)>> {
        if self.of_figure(path)? == other.of_figure(path)? {
            // Of the same in the same order each goes with its own, as it would by name.
            let pairs = self.values(path)?.into_iter().zip(other.values(path)?);
            return Some(pairs.collect()).filter(|pairs: &Vec<_>| pairs.len() > 1);
        }
        let mut theirs: HashMap<(&str, usize), Option<f64>> = other.numbered(path)?.collect();
        let pairs = self.numbered(path)?.filter_map(|(of, ours)| Some((ours, theirs.remove(&of)?)));
        let pairs: Option<Vec<(f64, f64)>> = pairs.map(|(ours, theirs)| ours.zip(theirs)).collect();
        pairs.filter(|pairs| pairs.len() > 1)
    }

    /// What the values of a figure are of; none where there are not as many of both.
    fn of_figure(&self, path: &str) -> Option<&Vec<String>> {
        let figure = self.figures.get(path)?;
        self.of.get(&figure.set).filter(|of| of.len() == figure.values.len())
    }

    /// What the values of a figure are of, with how often that came before.
    fn numbered(&self, path: &str) -> Option<impl Iterator<Item = ((&str, usize), Option<f64>)>> {
        let (figure, of) = (self.figures.get(path)?, self.of_figure(path)?);
        let mut seen: HashMap<&str, usize> = HashMap::new();
        Some(of.iter().zip(&figure.values).map(move |(of, value)| {
            let times = seen.entry(of).or_default();
            *times += 1;
            ((of.as_str(), *times), *value)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(of: &[&str], values: &[f64]) -> Each {
        let mut each = Each::default();
        each.set("seen", of.iter().map(ToString::to_string).collect());
        each.add("x.y", "seen", values.iter().copied());
        each
    }

    #[test]
    fn what_is_the_same_in_both_is_paired() {
        let (a, b) = (each(&["a", "b", "a"], &[1.0, 2.0, 3.0]), each(&["c", "a", "a"], &[7.0, 8.0, 9.0]));
        assert_eq!(a.pairs(&b, "x.y"), Some(vec![(1.0, 8.0), (3.0, 9.0)]));
        assert_eq!(a.pairs(&each(&["c", "b"], &[1.0, 2.0]), "x.y"), None, "one pair has no spread");
        assert_eq!(a.pairs(&b, "other"), None);
        assert_eq!(a.pairs(&each(&["a", "b"], &[1.0, f64::NAN]), "x.y"), None);
        // A file that was cut short says nothing.
        assert_eq!(a.pairs(&each(&["a", "b"], &[1.0]), "x.y"), None);
        // The same in the same order, some of it twice.
        assert_eq!(
            a.pairs(&each(&["a", "b", "a"], &[4.0, 5.0, 6.0]), "x.y"),
            Some(vec![(1.0, 4.0), (2.0, 5.0), (3.0, 6.0)])
        );
        let half = each(&["a", "b", "a"], &[4.0, f64::NAN, 6.0]);
        assert_eq!((a.pairs(&half, "x.y"), half.pairs(&a, "x.y")), (None, None));
        assert_eq!(each(&["a"], &[1.0]).pairs(&each(&["a"], &[2.0]), "x.y"), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let each = each(&["a", "b"], &[0.1, f64::INFINITY]);
        assert_eq!(serde_json::from_str::<Each>(&serde_json::to_string(&each).unwrap()).unwrap(), each);
        assert_eq!(each.values("x.y"), None);
    }
}
