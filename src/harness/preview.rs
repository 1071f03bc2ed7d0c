//! What a stage makes of a few validation pairs while it trains: at some of its validations one small sheet of pictures, listed
//! beside them for the report to show in a row. When they are drawn, and with which noise, is a function of the step alone: a
//! resumed run writes the same files, and no random stream of the training is touched.
//!
//! ```text
//! images/progress/<stage>.json  <stage>-real.png  <stage>-<step>.png
//! ```

use super::measure::options;
use super::notice;
use super::run_dir::write_atomic;
use crate::data::{Example, Picture};
use crate::error::{Error, Result};
use crate::inference::{self, ImageTokenizer, Prompt, TokenModel, seed_of};
use crate::spec::SampleSpec;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Pairs that are shown, and pictures that are drawn for each caption.
const PAIRS: usize = 4;
const CANDIDATES: usize = 2;
/// At most so many sheets of a stage: drawing them must cost next to nothing.
const SHEETS: u64 = 10;
/// Larger pictures are shrunk to this side.
const SIDE: usize = 64;

/// The sheets of one stage.
pub(super) struct Preview {
    folder: PathBuf,
    stage: &'static str,
    steps: u64,
    every: u64,
    captions: Vec<String>,
}

impl Preview {
    /// The previews of `stage`, which trains for `steps` and validates every so many, on the first of the `held` pairs. Writes
    /// the sheet of the real pictures.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(run: &Path, stage: &'static str, (steps, validate): (u64, u64), held: &[Example]) -> Result<Preview> {
        let folder = run.join("images").join("progress");
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let validations = steps / validate.max(1);
        let every = validate.max(1) * validations.div_ceil(SHEETS - 2).max(1);
        let held = &held[..held.len().min(PAIRS)];
        let captions = held.iter().map(|example| example.caption.clone()).collect();
        let preview = Preview { folder, stage, steps, every, captions };
        let real: Vec<Picture> = held.iter().map(|example| example.picture.clone()).collect();
        preview.save("real", &real)?;
        Ok(preview)
    }

    /// Whether a sheet belongs to `step`: the first, the last and some validations between.
    fn due(&self, step: u64) -> bool {
        !self.captions.is_empty() && (step == 1 || step == self.steps || step.is_multiple_of(self.every))
    }

    /// What the first stage makes of the `held` pictures after `step`.
    ///
    /// # Errors
    /// What the model says; [`Error::Io`].
    pub fn reconstructions(&self, step: u64, first: &dyn ImageTokenizer, held: &[f32]) -> Result<()> {
        if !self.due(step) {
            return Ok(());
        }
        let (side, count) = (first.geometry().side, self.captions.len());
        let values = 3 * side * side;
        let found = first.reconstruct(count, &held[..count * values])?;
        self.sheet(step, found.pixels.chunks(values).map(|values| Picture::of_values(values, side, side)).collect())
    }

    /// What the transformer draws for the captions after `step`; `text` is their slots, `empty` those of no caption.
    ///
    /// # Errors
    /// What the models say; [`Error::Io`].
    pub fn samples(
        &self,
        step: u64,
        (transformer, first): (&dyn TokenModel, &dyn ImageTokenizer),
        (text, empty): (&[u32], &[u32]),
        (seed, spec): (u64, &SampleSpec),
    ) -> Result<()> {
        if !self.due(step) {
            return Ok(());
        }
        let prompt = |(at, text): (usize, &[u32])| {
            let seed = |candidate| seed_of(seed, &self.captions[at], candidate);
            Prompt { text: text.to_vec(), seeds: (0..CANDIDATES).map(seed).collect(), forced: Vec::new() }
        };
        let asked: Vec<Prompt> = text.chunks(empty.len()).take(self.captions.len()).enumerate().map(prompt).collect();
        let codes = inference::sample(transformer, &asked, empty, &options(spec))?;
        let side = first.geometry().side;
        let decoded = first.decode(&codes.concat())?;
        self.sheet(step, decoded.chunks(3 * side * side).map(|values| Picture::of_values(values, side, side)).collect())
    }

    fn sheet(&self, step: u64, pictures: Vec<Picture>) -> Result<()> {
        self.save(&step.to_string(), &pictures)?;
        // The list is read off the folder, so that it is right after any crash; a sheet that was lost since stays in it.
        let listed = self.listed();
        let is_there = |at: &u64| self.folder.join(self.file(&at.to_string())).is_file();
        for lost in listed.iter().filter(|at| **at < step && !is_there(at)) {
            let file = self.file(&lost.to_string());
            notice::line(format_args!("warning: images/progress/{file} is gone: the report is without it"));
        }
        let there = (1..=step).filter(|at| self.due(*at) && (listed.contains(at) || is_there(at)));
        let sheet = |file: String| format!("images/progress/{file}");
        let steps: Vec<_> = there.map(|at| json!({"step": at, "file": sheet(self.file(&at.to_string()))})).collect();
        let list = json!({"captions": self.captions, "real": sheet(self.file("real")), "steps": steps});
        write_atomic(self.folder.join(format!("{}.json", self.stage)), list.to_string().as_bytes())
    }

    /// The steps of the list.
    fn listed(&self) -> Vec<u64> {
        let list = std::fs::read(self.folder.join(format!("{}.json", self.stage)));
        let list: Value = list.ok().and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
        list["steps"].as_array().into_iter().flatten().filter_map(|entry| entry["step"].as_u64()).collect()
    }

    fn file(&self, what: &str) -> String {
        format!("{}-{what}.png", self.stage)
    }

    /// Writes a sheet of a row for each caption.
    fn save(&self, what: &str, pictures: &[Picture]) -> Result<()> {
        if pictures.is_empty() {
            return Ok(());
        }
        sheet(pictures, pictures.len() / self.captions.len().max(1)).save_png(self.folder.join(self.file(what)))
    }
}

/// Pictures of one size without gaps, `columns` in a row, each shrunk where it is large.
fn sheet(pictures: &[Picture], columns: usize) -> Picture {
    let small: Vec<Picture> = pictures.iter().map(shrunk).collect();
    let (columns, side) = (columns.max(1), small.first().map_or(0, |picture| picture.width));
    let mut rgb = Vec::new();
    for row in small.chunks(columns) {
        for y in 0..side {
            rgb.extend(row.iter().flat_map(|picture| &picture.rgb[3 * side * y..3 * side * (y + 1)]));
        }
    }
    Picture { width: columns * side, height: small.len().div_ceil(columns) * side, rgb }
}

/// A square picture at most [`SIDE`] wide: means of blocks.
fn shrunk(picture: &Picture) -> Picture {
    let by = picture.width.div_ceil(SIDE).max(1);
    let side = picture.width / by;
    let mean = |x: usize, y: usize, channel: usize| {
        let pixel = |at: usize| 3 * ((y * by + at / by) * picture.width + x * by + at % by) + channel;
        let sum: usize = (0..by * by).map(|at| usize::from(picture.rgb[pixel(at)])).sum();
        ((sum + by * by / 2) / (by * by)) as u8
    };
    let pixel = |at: usize| [0, 1, 2].map(|channel| mean(at % side, at / side, channel));
    Picture { width: side, height: side, rgb: (0..side * side).flat_map(pixel).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::{Claim, Scene};
    use crate::evaluate::oracle::judge;
    use crate::random::Rng;

    fn preview(folder: &Path, steps: u64, validate: u64) -> Preview {
        let grey = |level: u8| Picture { width: 4, height: 4, rgb: vec![level; 48] };
        let held = [10, 20, 30, 40, 50].map(|level| Example {
            index: usize::from(level),
            key: level.to_string(),
            picture: grey(level),
            caption: format!("grey {level}"),
            look: None,
        });
        Preview::new(folder, "dvae", (steps, validate), &held).unwrap()
    }

    #[test]
    fn few_sheets_are_due_the_first_and_the_last_among_them() {
        let folder = tempfile::tempdir().unwrap();
        for (steps, validate) in [(1, 100), (60, 30), (3000, 200), (10_000, 7), (5, 0), (100_000, 1)] {
            let preview = preview(folder.path(), steps, validate);
            let due: Vec<u64> = (1..=steps).filter(|&step| preview.due(step)).collect();
            assert_eq!((due.first(), due.last()), (Some(&1), Some(&steps)));
            assert!(due.len() <= SHEETS as usize, "{steps} {validate}: {due:?}");
            let validated = |step: u64| step == 1 || step == steps || step.is_multiple_of(validate.max(1));
            assert!(due.iter().all(|&step| validated(step)), "{due:?}");
        }
    }

    #[test]
    fn the_list_names_the_sheets_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let preview = preview(folder.path(), 60, 30);
        let grey = |level: u8| Picture { width: 4, height: 4, rgb: vec![level; 48] };
        for step in [1, 30, 60, 30] {
            preview.sheet(step, (0..8).map(|at| grey(at * 8)).collect()).unwrap();
        }
        let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&read("images/progress/dvae.json")).unwrap();
        // The last call was for step 30: a run that was set back there knows nothing of what follows.
        let steps: Vec<u64> = list["steps"].as_array().unwrap().iter().map(|s| s["step"].as_u64().unwrap()).collect();
        assert_eq!((steps, list["captions"][3].as_str()), (vec![1, 30], Some("grey 40")));
        let sheet = Picture::open(folder.path().join(list["steps"][1]["file"].as_str().unwrap())).unwrap();
        let real = Picture::open(folder.path().join(list["real"].as_str().unwrap())).unwrap();
        assert_eq!((sheet.width, sheet.height, real.width, real.height), (8, 16, 4, 16));
        // Rows are captions: the third picture begins the second row.
        assert_eq!((sheet.rgb[3 * 4], sheet.rgb[3 * 8 * 4], real.rgb[3 * 4 * 4]), (8, 16, 20));
        // One that is lost stays in the list, as it was.
        std::fs::remove_file(folder.path().join("images/progress/dvae-1.png")).unwrap();
        preview.sheet(30, (0..8).map(|at| grey(at * 8)).collect()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&read("images/progress/dvae.json")).unwrap(), list);
    }

    #[test]
    fn large_pictures_are_shrunk_to_means() {
        let large =
            Picture { width: 128, height: 128, rgb: (0..3 * 128 * 128).map(|at| (at / 3 % 2 * 100) as u8).collect() };
        let small = shrunk(&large);
        assert_eq!((small.width, small.height, small.rgb.len()), (64, 64, 3 * 64 * 64));
        assert!(small.rgb.iter().all(|&value| value == 50));
    }

    #[test]
    fn a_claim_is_shown_by_the_scene_made_of_it() {
        for i in 0..300 {
            let mut rng = Rng::new(11, "claim", i, 0);
            let claim =
                Claim::parse(&Scene::draw(&crate::data::shapes::kinds(false, 0), &mut rng).caption(&mut rng)).unwrap();
            assert!(judge(&Scene::of(&claim).unwrap().render(32), &claim).all(), "{claim:?}");
        }
        assert_eq!(Scene::of(&Claim { background: None, objects: Vec::new(), relation: None }), None);
    }
}
