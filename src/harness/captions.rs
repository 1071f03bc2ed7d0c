//! Captions before and while training: the tokenizer that learns from them, and how many are longer than a model reads.

use super::lent;
use super::loaded::Loaded;
use super::models::Architecture;
use super::notice;
use super::run_dir::{RunDir, TOKENIZER};
use super::sources::Sources;
use crate::data::Tally;
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::text::{Bpe, Cut};
use rayon::prelude::*;
use serde_json::json;

/// The tokenizer learns from the captions of at most so many samples: more would change no vocabulary.
const MOST: usize = 100_000;
/// Captions whose length is looked at before a run.
const LOOK: usize = 4096;

/// The run's tokenizer: that of the runs which lend it stages, else trained on the captions of the training set; read back on resume.
///
/// # Errors
/// [`Error::Data`] where no sample has a caption, and what the tokenizer says.
pub fn tokenizer(
    loaded: &Loaded,
    run: &mut RunDir,
    sources: &Sources,
    models: &Architecture,
    speaks: bool,
) -> Result<Bpe> {
    let spec = &loaded.spec;
    let path = run.path().join(TOKENIZER);
    if path.exists() {
        run.seal(TOKENIZER)?;
        return Bpe::load(path);
    }
    let lent = lent::tokenizer(spec, &loaded.folder)?;
    let len = sources.train.len();
    let mut indices: Vec<usize> = (0..len).collect();
    if len > MOST {
        indices = Rng::new(spec.seed, "text/tokenizer", 0, 0).permutation(len);
        indices.truncate(MOST);
        if speaks && lent.is_none() {
            notice::line(format_args!("the tokenizer learns from {MOST} of {len} samples, drawn at random"));
        }
    }
    let samples = indices.len();
    let read: Vec<_> = indices.into_par_iter().map(|index| sources.train.captions(index)).collect();
    let (mut captions, mut broken) = (Vec::new(), Tally::default());
    for read in read {
        match read {
            Ok(own) => captions.extend(own),
            Err(bad) => broken.add(&bad),
        }
    }
    if captions.is_empty() {
        let what = format!("no caption in {samples} samples ({}); first: {}", broken.summary(), broken.first());
        return Err(Error::data(&sources.name, what));
    }
    let bpe = match lent {
        Some(bytes) => {
            run.write_sealed(TOKENIZER, &bytes)?;
            run.update(|facts| facts["tokenizer"] = json!("lent"))?;
            Bpe::load(&path)?
        }
        None => {
            let vocabulary = if spec.text.vocabulary == 0 { models.text.bpe } else { spec.text.vocabulary };
            let bpe = Bpe::train(captions.iter().cloned(), vocabulary)?;
            run.write_sealed(TOKENIZER, bpe.json()?.as_bytes())?;
            let learned = json!({"samples": samples, "of": len, "captions": captions.len()});
            run.update(|facts| facts["tokenizer"] = learned)?;
            bpe
        }
    };

    let step = captions.len().div_ceil(LOOK);
    let some: Vec<&String> = captions.iter().step_by(step).collect();
    let lengths: Vec<usize> = some.par_iter().map(|caption| bpe.encode(caption).len()).collect();
    for (stage, room) in [("transformer", models.text.room()), ("clip", models.clip_text.room())] {
        let cut = Cut::of(room, lengths.iter().copied());
        run.update(|facts| facts["captions"][stage]["looked_at"] = cut.to_json())?;
        if cut.any() {
            run.warn(stage, "captions-cut", &format!("{cut}; {ADVICE}"))?;
        }
    }
    Ok(bpe)
}

const ADVICE: &str = "shorten them, enlarge text.vocabulary, or take a preset with more text";

/// Keeps the captions that a stage was trained on, as they were drawn: with `text.dropout` they are longer.
///
/// # Errors
/// [`Error::Io`].
pub fn record(cut: Cut, run: &mut RunDir, stage: &str) -> Result<()> {
    if cut.captions() == 0 {
        return Ok(()); // a stage that was finished before
    }
    run.update(|facts| facts["captions"][stage]["trained_on"] = cut.to_json())?;
    // Those that are too long as they are were said before the stage began.
    let said = |warning: &serde_json::Value| warning["stage"] == stage && warning["kind"] == "captions-cut";
    if !cut.any() || run.run()["warnings"].as_array().is_some_and(|known| known.iter().any(said)) {
        return Ok(());
    }
    let share = 100.0 * cut.share();
    let advice = "lower text.dropout, which breaks words into more tokens, or take a preset with more text";
    run.warn(stage, "captions-cut", &format!("{cut} as drawn while training ({share:.1} %); {advice}"))
}
