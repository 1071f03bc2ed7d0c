//! A file read in ranges, or bytes that stand for one: nothing is read, and nothing allocated, past its end.

use crate::error::{Error, Result};
use crate::files;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where weights are read from.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    content: Content,
    size: u64,
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
        let (file, size) = files::open(path)?;
        Ok(Source { path: path.to_owned(), content: Content::File(file), size })
    }

    /// `bytes`, called `name` in errors.
    pub fn of_bytes(name: &str, bytes: Vec<u8>) -> Source {
        Source { path: name.into(), size: bytes.len() as u64, content: Content::Bytes(bytes) }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Something is wrong with what it holds. Names from the file may be in `what`: it stays one line.
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
            Some(end) if end <= self.size => Ok(()),
            _ => Err(self.bad(format!("truncated: expected {len} bytes at {start}, the file ends at {}", self.size))),
        }
    }
}
