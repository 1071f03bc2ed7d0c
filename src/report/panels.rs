//! Which metrics share a chart, with their units. A key that no panel names gets a chart of its own.

use std::collections::BTreeMap;

use super::axis::Axis;
use super::charts::Chart;
use super::figures::words;
use super::run::{Kept, Stage};

/// A chart to come: keys of `metrics.jsonl` with their names in the legend.
struct Panel {
    title: &'static str,
    unit: &'static str,
    log: bool,
    lines: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    log: bool,
    lines: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, unit, log, lines }
}

/// The first stage: losses are divided by pixels × channels.
const FIRST_STAGE: &[Panel] = &[
    panel("Loss", "nats per value", false, &[("loss", "loss")]),
    panel(
        "Picture given its codes: −ln p(x|z)",
        "nats per value",
        false,
        &[("nll", "train"), ("val_nll", "validation")],
    ),
    panel(
        "ELBO",
        "nats per value",
        false,
        &[("elbo", "train, relaxed"), ("relaxed_elbo", "validation, relaxed"), ("hard_elbo", "validation, hard")],
    ),
    panel("KL to the uniform prior", "nats per position", false, &[("kl", "train"), ("val_kl", "validation")]),
    panel("Codes in use", "codes", false, &[("batch_usage", "in a batch"), ("usage", "validation")]),
    panel("Codebook perplexity", "codes", false, &[("batch_perplexity", "in a batch"), ("perplexity", "validation")]),
    panel("Reconstruction of validation pictures", "PSNR (dB)", false, &[("psnr", "PSNR")]),
    panel("Relaxation temperature", "τ (log)", true, &[("temperature", "τ")]),
    panel("KL weight", "β", false, &[("kl_weight", "β")]),
];

const TRANSFORMER: &[Panel] = &[
    panel("Loss", "nats per token, text and image weighted", false, &[("loss", "train")]),
    panel("Text loss", "nats per token", false, &[("text_loss", "train"), ("val_text_loss", "validation")]),
    panel("Image loss", "nats per token", false, &[("image_loss", "train"), ("val_image_loss", "validation")]),
];

const CLIP: &[Panel] = &[
    panel("Contrastive loss", "nats", false, &[("loss", "train"), ("val_loss", "validation")]),
    panel("Matching accuracy", "share of the batch", false, &[("accuracy", "train"), ("val_accuracy", "validation")]),
];

/// What every stage may log.
const COMMON: &[Panel] = &[
    panel("Learning rate", "per step", false, &[("lr", "learning rate")]),
    panel("Gradient norm", "before clipping (log)", true, &[("grad_norm", "norm")]),
];

/// The charts of a stage, known panels first.
pub(crate) fn charts(stage: &Stage) -> Vec<Chart> {
    let known = panels(stage).filter_map(|panel| panel.chart(stage));
    let others = stage.curves.iter().filter(|curve| line(stage, &curve.0).is_none());
    known.chain(others.map(|(key, values)| alone(key, values))).collect()
}

/// The charts of a stage with the step whose checkpoint was kept pointed out.
pub(crate) fn marked(stage: &Stage, kept: Option<&Kept>) -> Vec<Chart> {
    let mark = |chart: Chart| match kept {
        Some(kept) => chart.marked(kept.step as f64, "kept"),
        None => chart,
    };
    charts(stage).into_iter().map(mark).collect()
}

/// The chart that shows `key`, with what it is compared to.
pub(crate) fn chart(stage: &Stage, key: &str) -> Option<Chart> {
    let values = &stage.curves.iter().find(|curve| curve.0 == key)?.1;
    line(stage, key).map_or_else(|| Some(alone(key, values)), |(panel, _)| panel.chart(stage))
}

/// The chart of `key` alone.
pub(crate) fn only(stage: &Stage, key: &str) -> Option<Chart> {
    let mut chart = chart(stage, key)?;
    if let Some((panel, name)) = line(stage, key) {
        chart.series.retain(|series| series.name == name);
        chart.title = if panel.lines.len() > 1 { format!("{}: {name}", panel.title) } else { panel.title.into() };
    }
    Some(chart)
}

fn panels(stage: &Stage) -> impl Iterator<Item = &'static Panel> + use<> {
    let own = match stage.name.as_str() {
        "transformer" => TRANSFORMER,
        "clip" => CLIP,
        _ => FIRST_STAGE,
    };
    own.iter().chain(COMMON)
}

/// The panel that shows `key`, and what it calls it.
fn line(stage: &Stage, key: &str) -> Option<(&'static Panel, &'static str)> {
    panels(stage).find_map(|panel| Some((panel, panel.lines.iter().find(|line| line.0 == key)?.1)))
}

impl Panel {
    /// The curves of the stage that belong here; `None` where it has none.
    fn chart(&self, stage: &Stage) -> Option<Chart> {
        let y = if self.log { Axis::log(self.unit) } else { Axis::linear(self.unit) };
        let mut chart = Chart::new(self.title, Axis::linear("step"), y);
        for (key, name) in self.lines {
            if let Some(curve) = stage.curves.iter().find(|curve| curve.0 == *key) {
                chart = chart.with(*name, points(&curve.1));
            }
        }
        // Alone in its panel, a line still has to say which of the panel's quantities it is.
        if let ([only], [_, _, ..]) = (&chart.series[..], self.lines) {
            chart.title = format!("{}: {}", chart.title, only.name);
        }
        (!chart.series.is_empty()).then_some(chart)
    }
}

/// A quantity without a panel.
fn alone(key: &str, values: &BTreeMap<u64, f64>) -> Chart {
    let title: String = words(key).chars().take(40).collect();
    Chart::new(title, Axis::linear("step"), Axis::linear("value")).with("value", points(values))
}

fn points(curve: &BTreeMap<u64, f64>) -> Vec<(f64, f64)> {
    curve.iter().map(|(step, value)| (*step as f64, *value)).collect()
}

/// A quantity of a stage in words: "image loss, validation".
pub(crate) fn quantity(stage: &str, key: &str) -> String {
    let stage = Stage { name: stage.to_owned(), ..Stage::default() };
    match line(&stage, key) {
        Some((panel, name)) if panel.lines.len() > 1 => format!("{}, {name}", panel.title.to_lowercase()),
        Some((panel, _)) => panel.title.to_lowercase(),
        None => words(key),
    }
}

/// A stage's name for people.
pub(crate) fn title(stage: &str) -> String {
    match stage {
        "dvae" => "Discrete VAE".into(),
        "vqvae" => "VQ-VAE".into(),
        "transformer" => "Transformer".into(),
        "clip" => "CLIP".into(),
        "first_stage" => "First stage".into(),
        other => words(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, keys: &[&str]) -> Stage {
        let curves = keys.iter().map(|key| (key.to_string(), BTreeMap::from([(0, 1.0), (1, 2.0)]))).collect();
        Stage { name: name.into(), curves, step: 1 }
    }

    #[test]
    fn every_key_is_drawn_exactly_once() {
        let keys = ["loss", "nll", "elbo", "hard_elbo", "lr", "grad_norm", "temperature", "something_new", "val_loss"];
        for name in ["dvae", "transformer", "clip", "new_stage"] {
            let charts = charts(&stage(name, &keys));
            assert_eq!(charts.iter().map(|chart| chart.series.len()).sum::<usize>(), keys.len(), "{name}");
            assert!(charts.iter().any(|chart| chart.title == "something new"));
        }
    }

    #[test]
    fn training_and_validation_share_a_chart() {
        let charts = charts(&stage("transformer", &["image_loss", "val_image_loss"]));
        assert_eq!((charts.len(), charts[0].series[1].name.as_str()), (1, "validation"));
    }
}
