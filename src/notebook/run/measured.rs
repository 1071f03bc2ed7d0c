//! What a run measured, while it trained and after: charts, tables and pictures, of one run and of several side by side.

use super::Run;
use crate::data::Picture;
use crate::notebook::chart::{Chart, ChartGrid};
use crate::notebook::image::{Image, ImageGrid};
use crate::notebook::table::Table;
use crate::report::run::Stage;
use crate::report::{charts, panels, results};
use crate::{Error, Result};

impl Run {
    /// The chart of one quantity of a stage (`dvae`, `transformer`, `clip`), with what it is compared to: the key as in
    /// `metrics.jsonl`, such as `loss`, `temperature`, `grad_norm`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a stage or a quantity that there is not, or not yet.
    pub fn chart(&self, stage: &str, quantity: &str) -> Result<Chart> {
        self.drawn(stage, quantity, panels::chart)
    }

    fn drawn(&self, stage: &str, quantity: &str, draw: fn(&Stage, &str) -> Option<charts::Chart>) -> Result<Chart> {
        let read = self.read()?;
        let stage = found(&read.stages, stage)?;
        let drawn = draw(stage, quantity).ok_or_else(|| {
            let known: Vec<&str> = stage.curves.iter().map(|curve| curve.0.as_str()).collect();
            Error::Usage(format!("quantity {quantity:?}: stage {} has {}", stage.name, known.join(", ")))
        })?;
        Ok(Chart(drawn))
    }

    /// All charts of a stage.
    ///
    /// # Errors
    /// [`Error::Usage`] for a stage that there is not, or not yet.
    pub fn charts(&self, stage: &str) -> Result<ChartGrid> {
        let read = self.read()?;
        Ok(ChartGrid(panels::charts(found(&read.stages, stage)?).into_iter().map(Chart).collect()))
    }

    /// What reranking gained: the best of N candidates by CLIP.
    ///
    /// # Errors
    /// [`Error::Usage`] before the run is measured.
    pub fn rerank_curve(&self) -> Result<ChartGrid> {
        let read = self.read()?;
        let curve = read.results.and_then(|results| results.rerank_curve);
        let curve = curve.ok_or_else(|| Error::Usage("no reranking curve yet: is the run finished?".into()))?;
        Ok(ChartGrid(results::rerank_charts(&curve).into_iter().map(Chart).collect()))
    }

    /// Everything that was measured after training.
    ///
    /// # Errors
    /// Those of reading `run.json`.
    pub fn results(&self) -> Result<Table> {
        let mut table = Table::new(["measurement", "value", "95 % interval"]);
        results::measurements(&self.read()?)
            .into_iter()
            .for_each(|(path, value, detail)| table.row([path, value, detail]));
        Ok(table)
    }

    /// One measurement by its path in `run.json`'s results: `elbo_validation.psnr`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such number.
    pub fn result(&self, path: &str) -> Result<f64> {
        let read = self.read()?;
        let mut value = read.facts.get("results");
        for key in path.split('.') {
            value = value.and_then(|value| value.get(key));
        }
        let number = value.and_then(|value| value.as_f64().or_else(|| value.get("value")?.as_f64()));
        number.ok_or_else(|| Error::Usage(format!("{path}: no such number among the results")))
    }

    /// The pictures that the run drew of its captions, the best by CLIP first in each row.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture that is lost.
    pub fn samples(&self) -> Result<ImageGrid> {
        let read = self.read()?;
        let mut images = Vec::new();
        let mut columns = 1;
        for sampled in &read.samples {
            let mut candidates: Vec<_> = sampled.candidates.iter().collect();
            candidates.sort_by(|a, b| b.similarity.unwrap_or(f64::MIN).total_cmp(&a.similarity.unwrap_or(f64::MIN)));
            columns = columns.max(candidates.len());
            for (place, candidate) in candidates.into_iter().enumerate() {
                let caption = if place == 0 { sampled.caption.clone() } else { String::new() };
                let file = self.path.join(&candidate.file);
                // Not a file elsewhere, which a run that came from others might name.
                read.listed(&candidate.file).map_err(|why| Error::data(&file, why))?;
                images.push(Image { picture: Picture::open(file)?, caption });
            }
        }
        Ok(ImageGrid::of(&images).columns(columns))
    }

    /// One quantity of several runs in one chart; `names` are the runs' in the legend.
    ///
    /// # Errors
    /// Those of [`Run::chart`]; [`Error::Usage`] where there are more or fewer names than runs.
    pub fn overlay(runs: &[Run], names: &[&str], stage: &str, quantity: &str) -> Result<Chart> {
        if runs.len() != names.len() || runs.is_empty() {
            return Err(Error::Usage(format!("{} runs with {} names: expected one each", runs.len(), names.len())));
        }
        let mut all: Option<charts::Chart> = None;
        for (run, name) in runs.iter().zip(names) {
            let Chart(mut chart) = run.drawn(stage, quantity, panels::only)?;
            chart.series.iter_mut().for_each(|series| series.name = (*name).to_owned());
            match &mut all {
                Some(all) => all.series.append(&mut chart.series),
                None => all = Some(chart),
            }
        }
        all.map(Chart).ok_or_else(|| Error::Usage("no runs".into()))
    }
}

fn found<'a>(stages: &'a [Stage], name: &str) -> Result<&'a Stage> {
    let known = || stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
    let none = || {
        Error::Usage(format!(
            "stage {name:?}: the run has {}",
            if stages.is_empty() { "none yet".into() } else { known() }
        ))
    };
    stages.iter().find(|stage| stage.name == name).ok_or_else(none)
}
