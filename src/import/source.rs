//! A file read in ranges, or bytes that stand for one: nothing is read, and nothing allocated, past its end.

use crate::error::{Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where weights are read from.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    content: Content,
    len: u64,
}

#[derive(Debug)]
enum Content {
    File(File),
    Bytes(Vec<u8>),
}

impl Source {
    /// The file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Data`] if it is not a file.
    pub fn open(path: &Path) -> Result<Source> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let about = file.metadata().map_err(Error::io("open", path))?;
        if !about.is_file() {
            return Err(Error::data(path, "expected a file of weights"));
        }
        Ok(Source { path: path.to_owned(), content: Content::File(file), len: about.len() })
    }

    /// `bytes`, called `name` in errors.
    pub fn of_bytes(name: &str, bytes: Vec<u8>) -> Source {
        Source { path: name.into(), len: bytes.len() as u64, content: Content::Bytes(bytes) }
    }

    /// Its path or name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Something is wrong with what it holds.
    pub fn bad(&self, what: impl Into<String>) -> Error {
        Error::data(&self.path, what)
    }

    /// Fills `out` with the bytes from `start` on.
    ///
    /// # Errors
    /// [`Error::Data`] where they reach past the end, [`Error::Io`] if reading fails.
    pub fn read(&self, start: u64, out: &mut [u8]) -> Result<()> {
        self.check(start, out.len() as u64)?;
        match &self.content {
            Content::File(file) => file.read_exact_at(out, start).map_err(Error::io("read", &self.path)),
            Content::Bytes(bytes) => {
                out.copy_from_slice(&bytes[start as usize..start as usize + out.len()]);
                Ok(())
            }
        }
    }

    /// The `len` bytes from `start` on; the range is checked before anything is allocated.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn bytes(&self, start: u64, len: u64) -> Result<Vec<u8>> {
        self.check(start, len)?;
        let mut out = vec![0; len as usize];
        self.read(start, &mut out)?;
        Ok(out)
    }

    fn check(&self, start: u64, len: u64) -> Result<()> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.bad(format!("truncated: expected {len} bytes at {start}, the file ends at {}", self.len))),
        }
    }
}
