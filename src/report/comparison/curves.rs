//! The curves of several groups in one chart.

use super::super::charts::{self, Chart};
use super::super::html::{escape, notice};
use super::super::panels;
use super::super::run::{Run, Stage};
use super::SIDE_BY_SIDE;
use crate::Result;
use crate::harness::compare::Comparison;
use std::collections::BTreeMap;
use std::fmt::Write;

/// At most so many charts of a stage.
const CHARTS: usize = 24;

/// The stages of each of the first groups: of several seeds the mean at the steps that all have.
pub(super) fn stages(comparison: &Comparison) -> Result<Vec<Vec<Stage>>> {
    let of = |runs: &[std::path::PathBuf]| -> Result<Vec<Stage>> {
        let read = runs.iter().map(|run| Ok(Run::read(run)?.stages)).collect::<Result<Vec<_>>>()?;
        Ok(mean(&read))
    };
    comparison.groups.iter().take(SIDE_BY_SIDE).map(|group| of(&group.runs)).collect()
}

/// The mean curves of several runs.
fn mean(runs: &[Vec<Stage>]) -> Vec<Stage> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let stage = |stage: &Stage| {
        let same: Vec<&Stage> =
            others.iter().filter_map(|run| run.iter().find(|other| other.name == stage.name)).collect();
        let curve = |(key, values): &(String, BTreeMap<u64, f64>)| {
            let theirs: Vec<_> = same.iter().filter_map(|other| other.curves.iter().find(|of| of.0 == *key)).collect();
            let at = |(step, value): (&u64, &f64)| {
                let all: Option<Vec<f64>> = theirs.iter().map(|of| of.1.get(step).copied()).collect();
                let all = all.filter(|all| all.len() == others.len())?;
                Some((*step, (value + all.iter().sum::<f64>()) / (all.len() + 1) as f64))
            };
            (key.clone(), values.iter().filter_map(at).collect::<BTreeMap<u64, f64>>())
        };
        let curves = stage.curves.iter().map(curve).filter(|curve| !curve.1.is_empty()).collect();
        Stage { name: stage.name.clone(), curves, step: stage.step }
    };
    first.iter().map(stage).filter(|stage| !stage.curves.is_empty()).collect()
}

/// A chart for each quantity of each stage.
pub(super) fn section(comparison: &Comparison, names: &[&str]) -> Result<String> {
    let groups = stages(comparison)?;
    let mut known: Vec<&str> = Vec::new();
    for stage in groups.iter().flatten().filter(|stage| !stage.name.is_empty()) {
        if !known.contains(&stage.name.as_str()) {
            known.push(&stage.name);
        }
    }
    if known.is_empty() {
        return Ok(notice("No curves: none of the runs has a metrics.jsonl."));
    }
    let mut html = String::new();
    if comparison.groups.iter().any(|group| group.runs.len() > 1) {
        html += "<p>Of several seeds the mean, at the steps that all of them have.</p>\n";
    }
    for name in known {
        let own: Vec<(&str, &Stage)> = names
            .iter()
            .zip(&groups)
            .filter_map(|(group, stages)| Some((*group, stages.iter().find(|stage| stage.name == name)?)))
            .collect();
        let charts = overlays(&own);
        let drawn: String = charts.iter().take(CHARTS).map(charts::line).collect();
        let drawn = format!("<div class=\"charts\">\n{drawn}</div>\n");
        let _ = writeln!(html, "<h3>{}</h3>", escape(&panels::title(name)));
        html += &match own.len() > 1 && own.iter().all(|(_, stage)| stage.curves == own[0].1.curves) {
            true => format!("<details><summary>The same curves in every group</summary>\n{drawn}</details>\n"),
            false => drawn,
        };
        if charts.len() > CHARTS {
            html += &notice(&format!("{} more quantities are left out.", charts.len() - CHARTS));
        }
    }
    Ok(html)
}

/// The curves of one stage, a chart for each quantity that moves, a line for each group.
fn overlays(own: &[(&str, &Stage)]) -> Vec<Chart> {
    let mut keys: Vec<&str> = Vec::new();
    for key in own.iter().flat_map(|(_, stage)| &stage.curves).map(|curve| curve.0.as_str()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let overlay = |key: &&str| {
        let mut all: Option<Chart> = None;
        for (group, stage) in own {
            let Some(mut chart) = panels::only(stage, key) else { continue };
            chart.series.iter_mut().for_each(|series| series.name = (*group).to_owned());
            match &mut all {
                Some(all) => all.series.append(&mut chart.series),
                None => all = Some(chart),
            }
        }
        all
    };
    keys.iter().filter_map(overlay).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_the_steps_that_all_seeds_have() {
        let run = |values: &[(u64, f64)]| {
            vec![Stage {
                name: "clip".into(),
                curves: vec![("loss".into(), values.iter().copied().collect())],
                step: 3,
            }]
        };
        let mean = mean(&[run(&[(1, 1.0), (2, 2.0), (3, 9.0)]), run(&[(1, 3.0), (2, 4.0)])]);
        assert_eq!(mean[0].curves[0].1, BTreeMap::from([(1, 2.0), (2, 3.0)]));
    }
}
