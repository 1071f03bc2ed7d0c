//! What came of groups of runs, and how far each is from the first.

use super::evaluated;
use super::groups::Read;
use crate::evaluate::difference::{deviation, independent, mean, paired, paired_shares, welch};
use crate::evaluate::each::{self, Each};
use crate::evaluate::estimate::Estimate;
use crate::evaluate::results::{Better, ResultRow, SHARE};
use crate::harness::catalog::Entry;
use crate::harness::run_dir::read_sealed;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;

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

/// What an interval is over: what was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// The same seeds in both, one by one.
    SameSeeds,
    /// Seeds of both, which are others.
    Seeds,
    /// The same pictures or captions in two runs of one seed each, one by one.
    Pairs,
    /// Pictures or captions of two runs of one seed each, which are others or are not known.
    Each,
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

/// The rows of a run by path, in the order measured.
type Measured = Vec<ResultRow>;

/// Every figure of every group.
pub(super) fn rows(groups: &[Read], notes: &mut Vec<String>) -> Vec<Row> {
    let rows_of = |entry: &Entry| -> (Measured, Option<Error>) {
        let mut rows = entry.results().map(|results| results.rows()).unwrap_or_default();
        let failed = evaluated::rows(&entry.path).map(|more| rows.extend(more)).err();
        (rows, failed)
    };
    let read: Vec<Vec<(Measured, Option<Error>)>> =
        groups.par_iter().map(|read| read.entries.iter().map(rows_of).collect()).collect();
    let mut measured: Vec<Vec<Measured>> = Vec::new();
    for runs in read {
        let (rows, failed): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        notes.extend(failed.into_iter().flatten().map(|error| format!("evaluation left out: {error}")));
        measured.push(rows);
    }
    // The paths in the order of the first run that has them, with where each run has it.
    let (mut known, mut places): (Vec<&ResultRow>, HashMap<&str, usize>) = (Vec::new(), HashMap::new());
    for row in measured.iter().flatten().flatten() {
        places.entry(&row.path).or_insert_with(|| {
            known.push(row);
            known.len() - 1
        });
    }
    let by_place = |rows: &Measured| -> Vec<Option<Estimate>> {
        let mut placed = vec![None; known.len()];
        rows.iter().for_each(|row| placed[places[row.path.as_str()]] = Some(row.estimate));
        placed
    };
    let placed: Vec<Vec<Vec<Option<Estimate>>>> =
        measured.par_iter().map(|runs| runs.iter().map(by_place).collect()).collect();
    let kept: Vec<Result<Option<Kept>>> = groups.par_iter().map(|read| Kept::of(read, &groups[0])).collect();
    let kept: Vec<Option<Kept>> = kept
        .into_iter()
        .map(|kept| {
            kept.unwrap_or_else(|error| {
                notes.push(format!("not compared one by one: {error}"));
                None
            })
        })
        .collect();
    let row = |(at, row): (usize, &&ResultRow)| {
        let seeds_of = |group: usize| -> Vec<f64> {
            let values = placed[group].iter().filter_map(|run| run[at]).map(|estimate| estimate.value);
            values.filter(|value| value.is_finite()).collect()
        };
        let first = seeds_of(0);
        let figure = |group: usize| -> Option<Figure> {
            let seeds = seeds_of(group);
            let (estimate, spread) = match &seeds[..] {
                [] => return None,
                [_] => {
                    let own = placed[group].iter().find_map(|run| run[at])?;
                    (kept[group].as_ref().map_or(own, |kept| with_interval(own, &kept.own, row)), None)
                }
                several => (mean(several), Some(deviation(several))),
            };
            let compared = group > 0 && row.better != Better::Neither && !first.is_empty();
            let difference = compared.then(|| {
                let (own, theirs) = (&groups[group].group.seeds, &groups[0].group.seeds);
                let all = own == theirs && seeds.len() == own.len() && first.len() == own.len();
                let (estimate, over) = if first.len() > 1 && seeds.len() > 1 {
                    match all {
                        true => (
                            paired(&first.iter().copied().zip(seeds.iter().copied()).collect::<Vec<_>>()),
                            Over::SameSeeds,
                        ),
                        false => (welch(&first, &seeds), Over::Seeds),
                    }
                } else {
                    let (theirs, ours) = common(&groups[0].group.seeds, &groups[group].group.seeds);
                    match (placed[0][theirs][at], placed[group][ours][at]) {
                        (Some(theirs), Some(ours)) => one_by_one(theirs, ours, row, kept[group].as_ref()),
                        _ => ((estimate.value - mean(&first).value).into(), Over::Each),
                    }
                };
                Difference { verdict: verdict(&estimate, row.better), estimate, over }
            });
            Some(Figure { estimate, spread, seeds, difference })
        };
        let figures: Vec<Option<Figure>> = (0..groups.len()).map(figure).collect();
        let ResultRow { path, title, unit, better, .. } = (*row).clone();
        Row { detail: is_detail(&path), path, title, unit, better, figures }
    };
    known.par_iter().enumerate().map(row).collect()
}

/// Parts of figures, and the oracle's lenient reading.
fn is_detail(path: &str) -> bool {
    path.split('.')
        .any(|key| ["lenient", "by_attribute", "by_objects", "by_kind", "after_reconstruction"].contains(&key))
}

/// What two runs kept of each picture and caption, of which one is to stand for a group.
struct Kept {
    theirs: Each,
    own: Each,
}

impl Kept {
    /// Of the two runs that are held against each other where one of both groups has a single seed; `None` where no two are.
    fn of(read: &Read, first: &Read) -> Result<Option<Kept>> {
        if read.entries.len() > 1 && first.entries.len() > 1 {
            return Ok(None);
        }
        let (theirs, ours) = common(&first.group.seeds, &read.group.seeds);
        // Of a run that kept none there is nothing to pair.
        let each = |entry: &Entry| -> Result<Each> {
            let Some(bytes) = read_sealed(&entry.path, each::FILE)? else { return Ok(Each::default()) };
            serde_json::from_slice(&bytes).map_err(|error| Error::data(entry.path.join(each::FILE), error.to_string()))
        };
        Ok(Some(Kept { theirs: each(&first.entries[theirs])?, own: each(&read.entries[ours])? }))
    }
}

/// The places of the first seed that two groups have in common; of the first of each where there is none.
fn common(theirs: &[u64], ours: &[u64]) -> (usize, usize) {
    let place =
        |seed: &u64| Some((theirs.iter().position(|their| their == seed)?, ours.iter().position(|our| our == seed)?));
    theirs.iter().find_map(place).unwrap_or((0, 0))
}

/// A mean of a run, with the interval that the values behind it give where it came without.
fn with_interval(own: Estimate, each: &Each, row: &ResultRow) -> Estimate {
    match each.values(&row.path) {
        Some(values) if own.interval.is_none() && values.len() > 1 => {
            let mean = Estimate::mean(&values);
            Estimate { value: own.value, ..mean }
        }
        _ => own,
    }
}

/// The difference of two runs.
fn one_by_one(theirs: Estimate, ours: Estimate, row: &ResultRow, kept: Option<&Kept>) -> (Estimate, Over) {
    let Some(Kept { theirs: their_each, own }) = kept else { return (independent(&theirs, &ours), Over::Each) };
    if let Some(pairs) = their_each.pairs(own, &row.path) {
        let is_hit = |value: f64| value == 0.0 || value == 1.0;
        let hits = row.unit == SHARE && pairs.iter().all(|&(a, b)| is_hit(a) && is_hit(b));
        return (if hits { paired_shares(&pairs) } else { paired(&pairs) }, Over::Pairs);
    }
    (independent(&with_interval(theirs, their_each, row), &with_interval(ours, own, row)), Over::Each)
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

    #[test]
    fn runs_of_one_seed_are_held_against_each_other() {
        assert_eq!(common(&[0, 1, 2], &[7, 2]), (2, 1));
        assert_eq!(common(&[0], &[1]), (0, 0));
    }
}
