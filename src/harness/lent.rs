//! Stages that are not trained here: another run's, or an imported file's. They are brought into the run's folder when they are first
//! needed, as links where the system allows it, so that the run stands alone from then on.

use super::lenders::{CLIP, FIRST_STAGE};
use super::models::{Architecture, Family};
use super::open::{first_stage_of, kept_weights, missing};
use super::run_dir::{self, RunDir, TOKENIZER};
use super::shared::{STAGES, Stage, adopt};
use crate::checkpoint::Older;
use crate::error::{Error, Result};
use crate::files;
use crate::inference::published::{clip, first_stage};
use crate::inference::{ImageTokenizer, Reranker, TokenModel};
use crate::spec::{Keep, Spec, is_file};
use crate::text::Bpe;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a spec takes from others.
pub struct Lent<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// What its paths are relative to.
    pub folder: &'a Path,
    /// Whose models they are.
    pub family: &'a dyn Family,
    /// Their sizes.
    pub architecture: &'a Architecture,
}

impl Lent<'_> {
    /// The first stage, where it is not trained here.
    ///
    /// # Errors
    /// [`Error::Data`] where the lender has none that is trained to its end, or one of other sizes.
    pub fn first_stage(&self, run: &mut RunDir) -> Result<Option<Box<dyn ImageTokenizer>>> {
        let spec = &self.spec.first_stage;
        let Some(from) = &spec.from else { return Ok(None) };
        if spec.is_published() {
            let open = |file: &Path| first_stage::of_size(file, self.architecture.geometry);
            return Ok(Some(Box::new(self.bring_file(run, from, FIRST_STAGE, open)?)));
        }
        let weights = self.bring(run, from, (Stage::First, spec.kind.name(), spec.keep))?;
        self.family.first_stage(self.spec, &weights).map(Some)
    }

    /// The transformer, where it is not trained here.
    ///
    /// # Errors
    /// Those of [`Lent::first_stage`]; [`Error::Data`] where it has learned the codes of another first stage.
    pub fn transformer(&self, run: &mut RunDir) -> Result<Option<Box<dyn TokenModel>>> {
        let spec = &self.spec.transformer;
        let Some(from) = &spec.from else { return Ok(None) };
        let lender = run_dir::find(self.folder.join(from))?;
        if run.run()[STAGES]["transformer"]["lent"].is_null() {
            let theirs = first_stage_of(&lender, &run_dir::read_run(&lender)?)?;
            let ours = first_stage_of(run.path(), run.run())?;
            if theirs != ours {
                let what = format!(
                    "transformer.from: its transformer has learned the codes of another first stage, of blake3 {theirs}, not {ours}; \
                     take both from one run"
                );
                return Err(Error::data(&lender, what));
            }
        }
        let weights = self.bring(run, from, (Stage::Transformer, "transformer", spec.keep))?;
        self.family.transformer(self.spec, &weights).map(Some)
    }

    /// The CLIP with the way that it reads, where it is not trained here.
    ///
    /// # Errors
    /// Those of [`Lent::first_stage`].
    pub fn reranker(&self, run: &mut RunDir, bpe: &Rc<Bpe>) -> Result<Option<Reranker>> {
        let spec = &self.spec.clip;
        let Some(from) = &spec.from else { return Ok(None) };
        if spec.is_published() {
            if !run.path().join(CLIP).exists() {
                let merges = clip::beside(&self.folder.join(from))?;
                let name = merges.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                link(&merges, &run.path().join(name))?;
            }
            return self.bring_file(run, from, CLIP, |file| clip::open(file, None)).map(Some);
        }
        let weights = self.bring(run, from, (Stage::Clip, "clip", spec.keep))?;
        let model = self.family.clip(&weights)?;
        Ok(Some(Reranker::trained(model.into(), bpe.clone(), self.architecture.clip_text)))
    }

    /// The weights of a stage of another run, which is brought into `run` if it is not there.
    fn bring(&self, run: &mut RunDir, from: &str, (stage, name, keep): (Stage, &str, Keep)) -> Result<Vec<u8>> {
        if run.run()[STAGES][name]["lent"].is_null() {
            let lender = run_dir::find(self.folder.join(from))?;
            let facts = run_dir::read_run(&lender)?;
            if facts["kept"][name]["step"].is_null() {
                let what = format!("expected a run whose stage {name} is trained to its end: this one's is not");
                return Err(Error::data(&lender, what));
            }
            let weights = weights_of((&lender, &facts), (name, keep))?;
            let taken = json!({"lent": from, "whole": true, "blake3": blake3::hash(&weights).to_hex().as_str()});
            adopt(run, &lender, (stage, name), taken)?;
        }
        weights_of((run.path(), run.run()), (name, keep))
    }

    /// The model of a file, which is brought into `run` if it is not there.
    fn bring_file<M>(&self, run: &mut RunDir, from: &str, name: &str, open: impl Fn(&Path) -> Result<M>) -> Result<M> {
        let (from, to) = (self.folder.join(from), run.path().join(name));
        if to.exists() {
            run.seal(name)?;
            return open(&to);
        }
        // Where it is no such model, the error names the file that the spec names.
        let model = open(&from)?;
        link(&from, &to)?;
        run.seal(name)?;
        Ok(model)
    }
}

/// Gives the file `from` another name, or copies it where it cannot have one.
fn link(from: &Path, to: &Path) -> Result<()> {
    let made = to.with_extension("tmp");
    let _ = fs::remove_file(&made); // what a crash left
    if fs::hard_link(from, &made).is_err() {
        fs::copy(from, &made).map_err(Error::io("copy", from))?;
    }
    fs::rename(&made, to).map_err(Error::io("move", &made))
}

/// The tokenizer that lent stages read captions by, as its file holds it; `None` where none is lent.
///
/// # Errors
/// [`Error::Data`] where it was changed; [`Error::Usage`] for stages of two tokenizers.
pub fn tokenizer(spec: &Spec, folder: &Path) -> Result<Option<Vec<u8>>> {
    let mut found: Option<(PathBuf, Vec<u8>)> = None;
    for from in [&spec.transformer.from, &spec.clip.from].into_iter().flatten() {
        if is_file(Some(from)) {
            continue; // it has a tokenizer of its own
        }
        let lender = run_dir::find(folder.join(from))?;
        run_dir::tokenizer_unchanged(&lender)?;
        let bytes = files::read(lender.join(TOKENIZER), files::MOST_TEXT)?;
        match &found {
            Some((first, known)) if *known != bytes => {
                return Err(Error::Usage(format!(
                    "transformer.from and clip.from: {} and {} have two tokenizers, a run has one",
                    first.display(),
                    lender.display()
                )));
            }
            _ => found = Some((lender, bytes)),
        }
    }
    Ok(found.map(|(_, bytes)| bytes))
}

fn weights_of((run, facts): (&Path, &Value), (name, keep): (&str, Keep)) -> Result<Vec<u8>> {
    let found = kept_weights((run, facts), (name, keep), &mut Older::Refused)?;
    found.map(|(_, weights)| weights).ok_or_else(|| missing(run, name))
}
