//! What came of groups of runs, and how far each is from the first.

use super::groups::Read;
use super::measured::Measured;
use super::two::{First, Kept, Over, common, one_by_one};
use crate::evaluate::difference::{deviation, mean, paired, welch};
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Better, ResultRow};
use crate::harness::catalog::Entry;
use rayon::prelude::*;
use serde::Serialize;

/// A figure of every group.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Where it stands in the results.
    pub path: String,
    /// What it is called.
    pub title: String,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Whether it is a part of another figure, or another reading of it: those are not counted.
    pub detail: bool,
    /// By group; none where it was not measured.
    pub figures: Vec<Option<Figure>>,
}

/// What a group came to.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Of several seeds their mean with Student's interval over them, `n` the seeds; of one, the run's own.
    pub estimate: Estimate,
    /// The sample deviation of the seeds; none of one seed.
    pub spread: Option<f64>,
    /// The figure of each seed that has one.
    pub seeds: Vec<f64>,
    /// How far it is from the first group's; none of the first, and of figures of which neither more nor less is better.
    pub difference: Option<Difference>,
}

/// How far a figure is from the first group's.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The figure less the first group's.
    pub estimate: Estimate,
    /// What the interval is over.
    pub over: Over,
    /// None where there is no interval.
    pub verdict: Option<Verdict>,
}

/// What a difference comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Beyond its interval, to the good.
    Better,
    /// Beyond its interval, to the bad.
    Worse,
    /// Its interval holds 0.
    Within,
}

impl Row {
    /// Whether every run of every group came to the same: what differs has no part in it.
    pub fn is_same(&self) -> bool {
        let seeds = |figure: &Option<Figure>| figure.as_ref().map(|figure| figure.seeds.clone());
        self.figures.iter().all(|figure| seeds(figure) == seeds(&self.figures[0]))
    }
}

impl Difference {
    /// Whether its interval leaves out 0.
    pub fn is_beyond(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Better | Verdict::Worse))
    }
}

/// Every figure of every group.
pub(super) fn rows(groups: &[Read], notes: &mut Vec<String>) -> Vec<Row> {
    let entries: Vec<&[Entry]> = groups.iter().map(|read| &read.entries[..]).collect();
    let measured = Measured::of(&entries, notes);
    let first = First::new(&groups[0]);
    let kept: Vec<Result<Option<Kept>, String>> = groups.par_iter().map(|read| Kept::of(read, &first)).collect();
    let mut told = |kept: Result<Option<Kept>, String>| {
        kept.unwrap_or_else(|error| {
            let note = format!("not compared one by one: {error}");
            if !notes.contains(&note) {
                notes.push(note);
            }
            None
        })
    };
    let kept = kept.into_iter().map(&mut told).collect();
    let all = All { groups, measured, kept };
    (0..all.measured.known.len()).into_par_iter().map(|place| all.row(place)).collect()
}

/// All that figures are made of.
struct All<'a> {
    groups: &'a [Read],
    measured: Measured,
    kept: Vec<Option<Kept>>,
}

impl All<'_> {
    fn row(&self, place: usize) -> Row {
        let row = &self.measured.known[place];
        let first = self.seeds(0, place);
        let figures = (0..self.groups.len()).map(|group| self.figure(group, place, &first)).collect();
        let ResultRow { path, title, unit, better, .. } = row.clone();
        Row { detail: is_detail(&path), path, title, unit, better, figures }
    }

    /// The figure of each seed of a group that has one.
    fn seeds(&self, group: usize, place: usize) -> Vec<f64> {
        let runs = 0..self.groups[group].entries.len();
        let values = runs.filter_map(|run| Some(self.measured.at(group, run, place)?.value));
        values.filter(|value| value.is_finite()).collect()
    }

    fn figure(&self, group: usize, place: usize, first: &[f64]) -> Option<Figure> {
        let (row, seeds) = (&self.measured.known[place], self.seeds(group, place));
        let (estimate, spread) = match &seeds[..] {
            [] => return None,
            [_] => {
                let own = (0..self.groups[group].entries.len()).find_map(|run| self.measured.at(group, run, place))?;
                (self.kept[group].as_ref().map_or(own, |kept| kept.with_interval(own, row)), None)
            }
            several => (mean(several), Some(deviation(several))),
        };
        let compared = group > 0 && row.better != Better::Neither && !first.is_empty();
        let difference = compared.then(|| {
            let (estimate, over) = self.away(group, place, (first, &seeds));
            Difference { verdict: verdict(&estimate, row.better), estimate, over }
        });
        Some(Figure { estimate, spread, seeds, difference })
    }

    /// How far a group is from the first.
    fn away(&self, group: usize, place: usize, (first, seeds): (&[f64], &[f64])) -> (Estimate, Over) {
        let (theirs, ours) = (&self.groups[0].group.seeds, &self.groups[group].group.seeds);
        if first.len() > 1 && seeds.len() > 1 {
            let all = ours == theirs && seeds.len() == ours.len() && first.len() == ours.len();
            let pairs = || first.iter().copied().zip(seeds.iter().copied()).collect::<Vec<_>>();
            return if all { (paired(&pairs()), Over::SameSeeds) } else { (welch(first, seeds), Over::Seeds) };
        }
        let (their, our) = common(theirs, ours);
        match (self.measured.at(0, their, place), self.measured.at(group, our, place)) {
            (Some(theirs), Some(ours)) => {
                one_by_one(theirs, ours, &self.measured.known[place], self.kept[group].as_ref())
            }
            _ => ((mean(seeds).value - mean(first).value).into(), Over::Each),
        }
    }
}

/// Parts of figures, and the oracle's lenient reading.
fn is_detail(path: &str) -> bool {
    path.split('.')
        .any(|key| ["lenient", "by_attribute", "by_objects", "by_kind", "after_reconstruction"].contains(&key))
}

fn verdict(difference: &Estimate, better: Better) -> Option<Verdict> {
    let [low, high] = difference.interval?;
    Some(match (low > 0.0, high < 0.0) {
        (false, false) => Verdict::Within,
        (more, _) if more == (better == Better::Higher) => Verdict::Better,
        _ => Verdict::Worse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_good_or_bad_by_its_direction() {
        let beyond = |low: f64, high: f64| Estimate { value: (low + high) / 2.0, interval: Some([low, high]), n: None };
        for (difference, better, expected) in [
            (beyond(0.1, 0.3), Better::Higher, Some(Verdict::Better)),
            (beyond(0.1, 0.3), Better::Lower, Some(Verdict::Worse)),
            (beyond(-0.3, -0.1), Better::Lower, Some(Verdict::Better)),
            (beyond(-0.3, -0.1), Better::Higher, Some(Verdict::Worse)),
            (beyond(-0.1, 0.3), Better::Higher, Some(Verdict::Within)),
            (0.5.into(), Better::Higher, None),
        ] {
            assert_eq!(verdict(&difference, better), expected, "{difference:?}");
        }
    }
}
