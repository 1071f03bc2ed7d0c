//! The samples that the report shows.

use super::{Context, DrawnSet, Evaluator, write_json};
use crate::error::Result;
use crate::evaluate::each::Each;
use crate::evaluate::oracle::Rule;
use crate::evaluate::results::Results;
use crate::harness::run_dir::file_part;
use crate::spec::Spec;
use serde_json::{Value, json};

/// The first captions of each set with all their candidates, and a real picture of each caption where there is one.
pub(super) struct SampleSheet;

impl Evaluator for SampleSheet {
    fn run(&self, context: &Context<'_>, _: &mut Results, _: &mut Each) -> Result<()> {
        let sets = context.drawn()?;
        let each = context.spec.sample.shown.div_ceil(sets.len().max(1));
        let mut listed = Vec::new();
        for set in sets {
            for caption in 0..each.min(set.captions.len()) {
                listed.push(write(context, set, caption)?);
            }
        }
        write_json(context.run, "images/samples.json", &Value::Array(listed))
    }

    fn will_hold(&self, _: &Spec, _: &mut Results) {}
}

/// Writes the pictures of a caption and gives what is listed of them.
fn write(context: &Context<'_>, set: &DrawnSet, caption: usize) -> Result<Value> {
    let (name, drawn) = (file_part(&set.name), &set.drawn[caption]);
    let right =
        set.judged.as_ref().map(|judged| [Rule::Strict, Rule::Lenient].map(|rule| judged.right_of(caption, rule)));
    let mut candidates = Vec::new();
    for (at, picture) in drawn.pictures.iter().enumerate() {
        let file = format!("images/sample-{name}-{caption}-{at}.png");
        picture.save_png(context.run.join(&file))?;
        let [correct, lenient] = [0, 1].map(|rule| right.as_ref().map(|right| right[rule][at]));
        candidates.push(json!({
            "file": file, "candidate": drawn.first + at, "similarity": drawn.similarities().nth(at), "correct": correct,
            "lenient": lenient,
        }));
    }
    let mut entry = json!({"caption": set.captions[caption], "split": set.name, "candidates": candidates});
    if let Some(picture) = &set.real[caption] {
        let file = format!("images/real-{name}-{caption}.png");
        picture.save_png(context.run.join(&file))?;
        entry["real"] = json!(file);
    }
    Ok(entry)
}
