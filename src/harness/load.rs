//! A file and `--set` arguments to a checked [`Spec`]: read with a cap, parsed to a tree with places, overridden, held against
//! the schema, read by serde, and last held against what its results will hold.

pub use super::loaded::{Loaded, reopen};

use super::expected::problems;
use super::lenders::Lenders;
use super::loaded::{Checked, at, checked, folder_of, settled};
use crate::Result;
use crate::spec::Spec;
use std::path::Path;

/// Reads and checks the spec at `path`; `sets` are `key.path=value`, `presets` the names of the preset table.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) without such a file; [`Error::Spec`](crate::Error::Spec) with every problem of the file
/// and of the arguments.
pub fn load(path: impl AsRef<Path>, sets: &[String], presets: &[&str]) -> Result<Loaded> {
    let path = path.as_ref();
    let lenders = Lenders::new(folder_of(path), presets);
    at(path, sets, presets, problems, &|root, given| lenders.settle(root, given))
}

/// Checks the text of a spec whose lenders, if it has any, are known; `name` stands for the file in messages.
///
/// # Errors
/// [`Error::Spec`](crate::Error::Spec) with every problem of the text and of the arguments.
pub fn check(name: &str, text: &str, sets: &[String], presets: &[&str]) -> Result<Spec> {
    checked((name, Path::new(name)), text, sets, presets, problems, &settled).map(|checked| checked.spec)
}

impl Loaded {
    /// A spec that stands in `text`, with data beside `folder`; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`Error::Spec`](crate::Error::Spec) with every problem of the text and of the arguments.
    pub fn parse(name: &str, text: &str, folder: &Path, sets: &[String], presets: &[&str]) -> Result<Loaded> {
        let lenders = Lenders::new(folder, presets);
        let settle = |root: &_, given| lenders.settle(root, given);
        let Checked { spec, given, origins, said } =
            checked((name, &folder.join(name)), text, sets, presets, problems, &settle)?;
        Ok(Loaded { spec, text: text.to_owned(), folder: folder.to_owned(), file: None, given, origins, said })
    }
}
