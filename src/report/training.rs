//! The training: what each stage took and how fast it was, which checkpoint was kept, the curves, and what the stages made of a
//! few pairs as they went on.

use std::fmt::Write;

use super::axis::number;
use super::charts;
use super::html::{duration, escape, notice};
use super::panels;
use super::run::{Run, Stage};

/// At most so many stages, and charts of each, are shown.
const STAGES: usize = 12;
const CHARTS: usize = 32;

/// How fast a stage was, its validations included.
pub(super) struct Pace {
    pub steps: f64,
    pub pictures: Option<f64>,
    pub tokens: Option<f64>,
}

/// Steps, pictures and tokens a second, from the time in `run.json` and the batch in the spec.
pub(super) fn pace(run: &Run, stage: &Stage) -> Option<Pace> {
    let steps = stage.step as f64 / run.seconds(&stage.name)?;
    let section = match stage.name.as_str() {
        name @ ("transformer" | "clip") => name,
        _ => "first_stage",
    };
    let pictures = run.spec_number(section, "batch").map(|batch| batch as f64 * steps);
    let tokens = run.masks.as_ref().filter(|_| section == "transformer").zip(pictures);
    let tokens = tokens.map(|(masks, pictures)| (masks.text + masks.grid.saturating_pow(2)) as f64 * pictures);
    Some(Pace { steps, pictures, tokens })
}

/// Which weights a stage has: those of the checkpoint that it kept, and of which run where it was not trained here.
fn weights(run: &Run, stage: &str) -> String {
    let kept = kept(run, stage).unwrap_or_else(|| "the last".into());
    run.from(stage).map_or(kept.clone(), |from| format!("{kept}, from {from}"))
}

/// The checkpoint that a stage kept, in words.
pub(super) fn kept(run: &Run, stage: &str) -> Option<String> {
    let kept = run.kept(stage)?;
    let of = kept.of.map_or(String::new(), |of| format!(" of {of}"));
    let figure = kept.metric.map(|metric| {
        let value = kept.value.map_or(String::new(), |value| format!(" {}", number(value)));
        format!(" ({}{value})", panels::quantity(stage, &metric))
    });
    Some(format!("step {}{of}{}", kept.step, figure.unwrap_or_default()))
}

/// A rate for people.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 100.0 { format!("{per_second:.0}") } else { number((per_second * 100.0).round() / 100.0) }
}

/// The seconds of the stages and of the measurements, what is left of the total, and the total.
pub(super) fn times(run: &Run) -> Vec<(String, f64)> {
    let timings = run.facts.get("timings").and_then(|timings| timings.as_object()).into_iter().flatten();
    let known: Vec<(&String, f64)> = timings
        .filter(|(name, _)| *name != "total" && run.from(name).is_none())
        .filter_map(|(name, seconds)| Some((name, seconds.as_f64()?)))
        .collect();
    let mut times: Vec<(String, f64)> = known.iter().map(|(name, seconds)| (panels::title(name), *seconds)).collect();
    if let Some(total) = run.seconds("total") {
        let rest = total - known.iter().map(|time| time.1).sum::<f64>();
        if rest > 0.05 {
            times.push(("everything else".into(), rest));
        }
        times.push(("total, all sessions".into(), total));
    }
    times
}

/// The tables and the curves.
pub(super) fn section(run: &Run) -> String {
    let mut html = time_table(run);
    if run.stages.is_empty() {
        return html + &notice("No curves: metrics.jsonl is not there, or empty.");
    }
    html += &pace_table(run);
    for stage in run.stages.iter().take(STAGES) {
        let time = match (run.from(&stage.name), run.seconds(&stage.name)) {
            (Some(from), _) => format!(", from {}", escape(from)),
            (None, Some(seconds)) => format!(", {}", duration(seconds)),
            (None, None) => String::new(),
        };
        let title = escape(&panels::title(&stage.name));
        let _ = writeln!(html, "<h3>{title} <small>{} steps{}</small></h3>\n<div class=\"charts\">", stage.step, time);
        let charts = panels::marked(stage, run.kept(&stage.name).as_ref());
        html.extend(charts.iter().take(CHARTS).map(charts::line));
        html += "</div>\n";
        if charts.len() > CHARTS {
            html += &notice(&format!("{} more quantities are left out.", charts.len() - CHARTS));
        }
    }
    if run.stages.len() > STAGES {
        html += &notice(&format!("{} more stages are left out.", run.stages.len() - STAGES));
    }
    html
}

fn pace_table(run: &Run) -> String {
    let mut html = String::from("<div class=\"wide\"><table class=\"figures\">\n<thead><tr>");
    for column in ["stage", "steps", "steps/s", "pictures/s", "tokens/s", "checkpoint kept"] {
        let _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html += "</tr></thead>\n<tbody>\n";
    for stage in run.stages.iter().take(STAGES) {
        let pace = pace(run, stage);
        let of = |pick: fn(&Pace) -> Option<f64>| pace.as_ref().and_then(pick).map_or("–".into(), rate);
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&panels::title(&stage.name)),
            stage.step,
            of(|pace| Some(pace.steps)),
            of(|pace| pace.pictures),
            of(|pace| pace.tokens),
            escape(&weights(run, &stage.name)),
        );
    }
    for (title, file) in run.files() {
        let none = "<td>–</td>".repeat(4);
        let _ = writeln!(html, "<tr><th scope=\"row\">{title}</th>{none}<td>from {}</td></tr>", escape(&file));
    }
    html + "</tbody></table></div>\n"
}

fn time_table(run: &Run) -> String {
    let times = times(run);
    if times.is_empty() {
        return String::new();
    }
    let longest = times.iter().map(|time| time.1).fold(f64::MIN_POSITIVE, f64::max);
    let row = |(name, seconds): &(String, f64)| {
        let width = 100.0 * (seconds / longest).clamp(0.0, 1.0);
        let bar = format!("<span class=\"bar\" aria-hidden=\"true\"><i style=\"width:{width:.1}%\"></i></span>");
        (name.clone(), format!("{bar}{}", escape(&duration(*seconds))))
    };
    super::html::facts(&times.iter().map(row).collect::<Vec<_>>())
}
