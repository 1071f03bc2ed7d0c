//! What `experiment eval` found: a table per validation set, the distance under blurs, and for MS-COCO captions the published
//! figures beside it.

use super::axis::{Axis, number};
use super::charts::{self, Chart};
use super::figures::{detail, words};
use super::html::{escape, notice};
use super::results::of_sets;
use crate::evaluate::results::{Evaluation, UnderBlur};
use std::fmt::Write;

/// The metric of the published figures.
const FID: &str = "FID";
/// FID at blur radii 0, 1, 2, 4, 8 and the inception score without blur on MS-COCO, as printed in table 1 of CogView
/// (arXiv 2105.13290); DALL·E's own paper has them as curves (Figure 9).
const COCO: [(&str, [f64; 5], f64); 5] = [
    ("AttnGAN", [35.2, 44.0, 72.0, 108.0, 100.0], 23.3),
    ("DM-GAN", [26.5, 39.0, 73.0, 119.0, 112.3], 32.2),
    ("DF-GAN", [26.5, 33.8, 55.9, 91.0, 97.0], 18.7),
    ("DALL·E", [27.5, 28.0, 45.5, 83.5, 85.0], 17.9),
    ("CogView", [27.1, 19.4, 13.9, 19.4, 23.6], 18.2),
];

/// The section.
pub(super) fn section(evaluation: &Evaluation) -> String {
    let mut html = format!(
        "<p>Each caption's picture is the best of {} by the run's CLIP. Similarity (100·cosine) and retrieval are by {}.</p>\n",
        evaluation.candidates,
        escape(&evaluation.judge),
    );
    for (name, set) in evaluation.sets.iter() {
        if let Some(network) = set.network.as_ref().filter(|network| !network.by_radius.is_empty()) {
            let _ = writeln!(html, "<h3>{}</h3>", escape(&words(name)));
            let metric = network.metric.as_str();
            // Another network's distances are on another scale: beside them the published figures would mislead.
            html += &by_radius(metric, &network.by_radius, evaluation.coco && metric == FID);
            if evaluation.coco && metric != FID {
                html += &notice(&format!("The published figures are left out: they are {FID}, this is {metric}."));
            }
        }
    }
    if !evaluation.sets.is_empty() {
        html += &of_sets(evaluation.sets.iter().map(|(name, set)| (name, set.rows())).collect());
    }
    html
}

fn by_radius(metric: &str, rows: &[UnderBlur], coco: bool) -> String {
    let radii = || rows.iter().map(|row| f64::from(row.radius));
    let points = |value: fn(&UnderBlur) -> f64| radii().zip(rows.iter().map(value)).collect();
    let axis = || Axis::linear("blur radius, pixels of 256 × 256").with_ticks(radii().collect());
    let mut distance = Chart::new(format!("{metric} under blur"), axis(), Axis::linear(metric))
        .with("this run", points(|row| row.distance.value));
    if coco {
        for (name, published, _) in COCO {
            distance = distance.with(name, radii().zip(published).collect());
        }
    }
    let score = Chart::new("Inception score under blur", axis(), Axis::linear("score"))
        .with("this run", points(|row| row.inception_score.value));
    let mut html = format!("<div class=\"charts\">\n{}{}</div>\n", charts::line(&distance), charts::line(&score));
    html += "<div class=\"wide\"><table class=\"accuracy\">\n<thead><tr><th scope=\"col\">model</th>";
    for row in rows {
        let _ = write!(html, "<th scope=\"col\">{}, radius {}</th>", escape(metric), row.radius);
    }
    html += "<th scope=\"col\">inception score</th></tr></thead>\n<tbody>\n<tr><th scope=\"row\">this run</th>";
    for cell in rows.iter().map(|row| &row.distance).chain(rows.first().map(|row| &row.inception_score)) {
        let detail = escape(&detail(cell, number));
        let _ = write!(
            html,
            "<td><span class=\"value\">{}</span><span class=\"detail\">{detail}</span></td>",
            number(cell.value)
        );
    }
    html += "</tr>\n";
    if coco {
        for (name, distances, score) in COCO {
            let cells: String =
                distances.iter().chain([&score]).map(|value| format!("<td>{}</td>", number(*value))).collect();
            let _ = writeln!(html, "<tr><th scope=\"row\">{name}</th>{cells}</tr>");
        }
    }
    html += "</tbody></table></div>\n";
    if coco {
        html += "<p>Published figures: FID over 30,000 captions of MS-COCO's validation set, radii in pixels of 256 × 256 pictures \
                 (arXiv 2105.13290, table 1).</p>\n";
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn evaluated(coco: bool, metric: &str) -> String {
        let estimate = |value: f64| json!({"value": value, "low": value - 1.0, "high": value + 1.0, "n": 40});
        let row = |radius: u32| json!({"radius": radius, "distance": estimate(f64::from(radius) + 50.5), "inception_score": estimate(3.25)});
        let rows = [0, 1, 2, 4, 8].map(row);
        let network = json!({"metric": metric, "by_radius": rows});
        let set = json!({"psnr": 21.5, "samples": {"similarity": estimate(0.75)}, "network": network});
        let evaluation = json!({"judge": "a & b", "candidates": 8, "coco": coco, "sets": {"validation": set}});
        section(&serde_json::from_value(evaluation).unwrap())
    }

    #[test]
    fn published_figures_stand_beside_coco_and_beside_nothing_else() {
        let (with, without) = (evaluated(true, "FID"), evaluated(false, "FID"));
        for text in ["FID, radius 4", "58.5", "a &amp; b", "samples · CLIP similarity", "100·cosine", "21.5"] {
            assert!(with.contains(text) && without.contains(text), "{text}");
        }
        for text in ["CogView", "83.5", "17.9"] {
            assert!(with.contains(text) && !without.contains(text), "{text}");
        }
        let other = evaluated(true, "FID-like (<lite>)");
        assert!(other.contains("FID-like (&lt;lite&gt;), radius 4") && !other.contains("CogView"));
        assert!(other.contains("left out"), "{other}");
    }

    #[test]
    fn without_a_network_there_is_no_table() {
        let html = section(&serde_json::from_value(json!({"sets": {"validation": {"psnr": 21.5}}})).unwrap());
        assert!(html.contains("21.5") && !html.contains("radius"));
    }
}
