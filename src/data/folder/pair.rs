//! A picture and the files of its captions, or what is there of them.

use crate::data::extensions::Role;
use crate::data::{PictureError, captions, read};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files of one stem.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub picture: Option<PathBuf>,
    /// A picture in a format that is not read.
    pub unread: Option<PathBuf>,
    pub captions: BTreeSet<(Role, PathBuf)>,
}

impl Pair {
    pub(super) fn picture(&self) -> std::result::Result<&Path, PictureError> {
        match (&self.picture, &self.unread) {
            (Some(picture), _) => Ok(picture),
            (None, Some(other)) => {
                Err(PictureError::new("format", format!("expected PNG, JPEG or WebP, got {}", other.display())))
            }
            (None, None) => Err(PictureError::new("no-picture", "expected a picture beside the captions")),
        }
    }

    /// All the files that count.
    pub(super) fn files(&self) -> impl Iterator<Item = (Role, &Path)> {
        let pictures = [(Role::Picture, &self.picture), (Role::Unread, &self.unread)];
        let pictures = pictures.into_iter().filter_map(|(role, path)| Some((role, path.as_deref()?)));
        pictures.chain(self.captions.iter().map(|(role, path)| (*role, path.as_path())))
    }

    /// The captions of a pair that has a picture.
    pub(super) fn captions(&self) -> std::result::Result<Vec<String>, PictureError> {
        self.picture()?;
        let mut lines = Vec::new();
        for (role, path) in &self.captions {
            let bytes = read::read(path, *role)?;
            match role {
                Role::Json => captions::from_json(&bytes, &mut lines),
                _ => captions::from_text(&bytes, &mut lines),
            }
            .map_err(|error| PictureError::new(error.reason, format!("{}: {}", path.display(), error.detail)))?;
        }
        match (lines.is_empty(), self.captions.first()) {
            (false, _) => Ok(lines),
            (true, None) => {
                Err(PictureError::new("no-caption", "expected a file of captions with the same stem (txt or json)"))
            }
            (true, Some((_, path))) => {
                Err(PictureError::new("no-caption", format!("{} holds no caption", path.display())))
            }
        }
    }
}
