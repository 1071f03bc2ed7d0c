//! The sources that a spec's `data:` names.

use super::load::Loaded;
use super::spec::{DataKind, DataSpec};
use crate::data::shapes::Split;
use crate::data::{Folder, Shapes, Source, View, WebDataset};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Training pairs and named validation sets.
pub struct Sources {
    /// To learn from.
    pub train: Box<dyn Source>,
    /// To measure on: (name, source).
    pub validation: Vec<(String, Box<dyn Source>)>,
    /// What errors call the training set.
    pub name: PathBuf,
}

impl Sources {
    /// Opens everything: a missing or broken file is found before anything starts.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file.
    pub fn open(loaded: &Loaded, side: usize) -> Result<Sources> {
        let data = &loaded.spec.data;
        let seed = loaded.spec.seed;
        if data.kind == DataKind::Shapes {
            if side != 32 && side != 64 && side != 16 {
                return Err(Error::Usage(format!(
                    "data.kind shapes draws pictures of side 16, 32 or 64, the preset's are {side}"
                )));
            }
            let shapes = |split, count| Box::new(Shapes { side, seed, split, count });
            return Ok(Sources {
                train: shapes(Split::Train, data.train_scenes),
                validation: vec![
                    ("validation".into(), shapes(Split::Validation, data.validation_scenes) as Box<dyn Source>),
                    ("held_out".into(), shapes(Split::HeldOut, data.validation_scenes)),
                ],
                name: PathBuf::from("shapes"),
            });
        }
        let root = std::env::var_os("DALLE_DATA").map_or_else(|| loaded.folder.clone(), PathBuf::from);
        let validation = data.validation.iter().map(|(name, paths)| Ok((name.clone(), open(data, &root, paths)?)));
        Ok(Sources {
            train: open(data, &root, &data.train)?,
            validation: validation.collect::<Result<_>>()?,
            name: data.train.first().map_or_else(|| root.clone(), |first| root.join(first)),
        })
    }
}

fn open(data: &DataSpec, root: &Path, paths: &[String]) -> Result<Box<dyn Source>> {
    Ok(match data.kind {
        DataKind::Folder => {
            let folders = paths.iter().map(|path| Ok(Box::new(Folder::open(root.join(path))?) as Box<dyn Source>));
            Box::new(Joined(folders.collect::<Result<_>>()?))
        }
        _ => {
            let mut shards = Vec::new();
            for path in paths {
                shards.extend(WebDataset::find(root.join(path))?);
            }
            Box::new(WebDataset::open(&shards)?)
        }
    })
}

/// Sources one after the other.
struct Joined(Vec<Box<dyn Source>>);

impl Source for Joined {
    fn len(&self) -> usize {
        self.0.iter().map(|source| source.len()).sum()
    }

    fn get(&self, mut index: usize) -> std::result::Result<crate::data::Sample, crate::data::BadSample> {
        for source in &self.0 {
            if index < source.len() {
                return source.get(index);
            }
            index -= source.len();
        }
        let detail = format!("index past the last sample by {index}");
        Err(crate::data::BadSample { key: String::new(), reason: "no-picture", detail })
    }
}

/// How the first stage, or the other two, see a training picture.
pub fn view(data: &DataSpec, first_stage: bool) -> View {
    match (data.augment, first_stage) {
        (false, true) if data.flip => View::FirstStage { flip: true },
        (false, _) => View::Evaluation,
        (true, true) => View::FirstStage { flip: data.flip },
        (true, false) => View::Transformer,
    }
}
