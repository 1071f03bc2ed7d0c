//! Which preset fits some data, by the size and the number of the pictures, the length of the captions, and the time it would take.

use super::look::Look;
use crate::data::augment;
use crate::harness::load;
use crate::harness::models;
use crate::harness::plan::{Machine, Plan, duration, plan_on};
use crate::models::presets;
use crate::shape::{Preset, TransformerShape};
use crate::spec::{DataKind, Spec, defaults};
use crate::text::{Bpe, Cut, TextVocab};
use crate::{Error, Result, with_preset};
use dfdx::shapes::ConstDim;
use std::path::Path;

/// Presets by size, each with the number of pictures below which a smaller one is chosen. Only the first two were trained on real
/// pictures; the others follow their parameters.
const WANTS: [(&str, usize); 4] = [("mini", 2), ("emoji", 2_500), ("bench-s", 20_000), ("bench-l", 500_000)];
/// The smallest, for pictures that are too small for the others.
const SMALLEST: &str = "tiny";
/// At least this share of the pictures must be large enough.
const LARGE: f64 = 0.9;
/// Longer than this, in seconds, is more than a first run should take.
const LONGEST: f64 = 86_400.0;
/// Pairs that are held out, at most.
const HELD: f64 = 1024.0;

/// A preset that was chosen, and what spoke against larger ones.
#[derive(Debug)]
pub(super) struct Choice {
    pub preset: &'static str,
    pub side: usize,
    pub plan: Plan,
    /// Captions against the transformer's text slots.
    pub cut: Cut,
    /// The share of the pictures that is large enough and not too long.
    pub usable: f64,
    /// Of the samples, the share that is held out.
    pub held_out: f64,
    /// Each preset that was looked at, with its side, time and what speaks against it.
    pub others: Vec<(&'static str, usize, Option<f64>, Option<String>)>,
}

impl Choice {
    pub fn of(look: &Look, path: &Path, machine: Machine) -> Result<Choice> {
        let held_out = if look.samples as f64 > 10.0 * HELD { two_digits(HELD / look.samples as f64) } else { 0.1 };
        let (mut chosen, mut others) = (None, Vec::new());
        for (preset, wants) in [(SMALLEST, 2)].into_iter().chain(WANTS) {
            let side = defaults::side(preset).unwrap_or_default();
            let fits = look.sides.iter().filter(|&&sides| augment::usable(sides, side).is_ok()).count();
            let usable = fits as f64 / look.sides.len() as f64;
            let spec = spec(look, preset, held_out)?;
            let plan = plan_on(&spec, machine)?;
            let memory = machine.available_bytes.filter(|&available| plan.peak() > available);
            let why_not = if usable < LARGE && (preset != SMALLEST || fits == 0) {
                Some(format!("{} % of the pictures are large enough", (100.0 * usable).floor()))
            } else if look.samples < wants {
                Some(format!("wants {wants} pictures"))
            } else if memory.is_some() {
                Some("wants more memory than there is".to_owned())
            } else {
                plan.seconds().filter(|&seconds| seconds > LONGEST).map(|_| "takes more than a day here".to_owned())
            };
            if preset != SMALLEST {
                others.push((preset, side, plan.seconds(), why_not.clone()));
            }
            if why_not.is_none() {
                let cut = cut(look, &spec)?;
                chosen = Some(Choice { preset, side, plan, cut, usable, held_out, others: Vec::new() });
            }
        }
        let side = defaults::side(SMALLEST).unwrap_or_default();
        let [(w, wide), (h, high)] = look.extremes();
        let what = format!(
            "no picture can be used: {w} to {wide} pixels wide, {h} to {high} high; expected a short side of at least {side}, and \
             at most twice as long as wide"
        );
        chosen.map(|choice| Choice { others, ..choice }).ok_or_else(|| Error::data(path, what))
    }

    /// "9 min here", or why there is no such figure.
    pub fn time(&self) -> String {
        time(self.plan.seconds())
    }

    /// Samples that are held out.
    pub fn held(&self, look: &Look) -> usize {
        ((look.samples as f64 * self.held_out).round() as usize).clamp(1, look.samples - 1)
    }
}

/// Seconds for a reader of the spec.
pub(super) fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(
        || "for a time that was not measured".to_owned(),
        |seconds| format!("about {} here", duration(seconds)),
    )
}

/// The spec of a preset for so many pictures: where there are many, the later stages see each at least once.
fn spec(look: &Look, preset: &str, held_out: f64) -> Result<Spec> {
    let kind = if look.kind == DataKind::Webdataset { "webdataset" } else { "folder" };
    let plain = format!("name: start\npreset: {preset}\ndata: {{kind: {kind}, train: [x]}}\n");
    let pictures = (look.samples as f64 * (1.0 - held_out)).round() as usize;
    let loaded = load::Loaded::parse("start", &plain, Path::new("."), &[], presets::NAMES)?;
    let spec = loaded.with_pictures(pictures)?.spec;
    let seen = |steps: u64, batch: usize| steps.max((pictures as u64).div_ceil(batch as u64));
    let steps = [
        spec.first_stage.steps,
        seen(spec.transformer.steps, spec.transformer.batch),
        seen(spec.clip.steps, spec.clip.batch),
    ];
    let sets = ["first_stage", "transformer", "clip"].into_iter().zip(steps);
    let sets: Vec<String> = sets.map(|(stage, steps)| format!("{stage}.steps={steps}")).collect();
    load::check("start", &plain, &sets, presets::NAMES)
}

/// The captions against the text slots of a preset, by a tokenizer that learned from them.
fn cut(look: &Look, spec: &Spec) -> Result<Cut> {
    let text = with_preset!(spec.preset.as_str(), P => {
        TextVocab { bpe: P::BPE, slots: <<P as Preset>::Transformer as TransformerShape>::Text::SIZE }
    });
    let text = text.ok_or_else(|| models::unknown(&spec.preset))?;
    let bpe = Bpe::train(look.captions.iter().cloned(), text.bpe)?;
    Ok(Cut::of(text.room(), look.captions.iter().map(|caption| bpe.encode(caption).len())))
}

fn two_digits(share: f64) -> f64 {
    format!("{share:.1e}").parse().unwrap_or(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Tally;

    const MACHINE: Machine =
        Machine { threads: 2, flops_per_second: Some(100e9), available_bytes: Some(17_179_869_184.0) };

    fn choice(samples: usize, side: usize, machine: Machine) -> Result<Choice> {
        let look = Look {
            kind: DataKind::Folder,
            samples,
            looked: samples.min(512),
            sides: vec![(side, side + 1); 10],
            captions: vec!["a cat on a mat".into(); 10],
            broken: Tally::default(),
            left_out: Tally::default(),
        };
        Choice::of(&look, Path::new("pictures"), machine)
    }

    #[test]
    fn size_and_number_choose() {
        let of = |samples, side| choice(samples, side, MACHINE).unwrap().preset;
        assert_eq!([of(60, 16), of(60, 32), of(2_499, 500), of(2_500, 500)], ["tiny", "mini", "mini", "emoji"]);
        assert_eq!(of(25_000, 63), "emoji");
        let error = choice(60, 15, MACHINE).unwrap_err();
        assert!(error.to_string().contains("expected a short side of at least 16"), "{error}");
    }

    #[test]
    fn what_takes_too_long_is_not_chosen() {
        let fast = Machine { flops_per_second: Some(1e15), available_bytes: Some(1e13), ..MACHINE };
        let preset = |machine| choice(1_000_000, 300, machine).unwrap().preset;
        assert_eq!(preset(fast), "bench-l");
        assert_ne!(preset(MACHINE), "bench-l");
        let unknown = Machine { flops_per_second: None, available_bytes: None, ..MACHINE };
        assert_eq!(choice(60, 32, unknown).unwrap().time(), "for a time that was not measured");
    }

    #[test]
    fn large_sets_hold_out_a_smaller_share_and_are_seen_whole() {
        let (few, many) = (choice(60, 32, MACHINE).unwrap(), choice(100_000, 32, MACHINE).unwrap());
        assert_eq!([few.held_out, many.held_out], [0.1, 0.01]);
        let steps = |choice: &Choice| choice.plan.stages.iter().map(|stage| stage.steps).collect::<Vec<_>>();
        assert!(steps(&few)[1] < 2000);
        let batch = many.plan.stages[1].batch as u64;
        assert!(steps(&many)[1] * batch >= 99_000, "{:?}", steps(&many));
    }
}
