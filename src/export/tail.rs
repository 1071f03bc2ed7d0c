//! A file of lines read while another process writes it: each call gives the lines that were finished since the last one. A run's
//! metrics grow by whole lines, and are replaced by a rename where a run is set back to a checkpoint.

use crate::{Error, Result};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// A file of lines, and how far it was read.
pub struct Tail {
    path: PathBuf,
    /// Kept open: nothing else can get its number meanwhile.
    file: Option<File>,
    /// Bytes that were read: whole lines.
    cursor: u64,
}

/// What a call found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The file is another than before: its lines are given from the first on.
    pub anew: bool,
    /// Whole lines, each with its end.
    pub lines: Vec<u8>,
}

impl Tail {
    /// The file at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Tail {
        Tail { path: path.into(), file: None, cursor: 0 }
    }

    /// The lines since the last call. A last one without its end waits for the rest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(&mut self) -> Result<News> {
        let failed = |error| Error::io("read", &self.path)(error);
        let there = match std::fs::metadata(&self.path) {
            // Between two runs of whoever writes it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(News::default()),
            there => there.map_err(failed)?,
        };
        let known = match &self.file {
            Some(file) => same(&file.metadata().map_err(failed)?, &there) && there.len() >= self.cursor,
            None => false,
        };
        let anew = !known && self.file.is_some();
        if !known {
            (self.file, self.cursor) = (Some(File::open(&self.path).map_err(failed)?), 0);
        }
        let mut lines = Vec::new();
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(self.cursor)).and_then(|_| file.read_to_end(&mut lines)).map_err(failed)?;
        }
        lines.truncate(lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1));
        self.cursor += lines.len() as u64;
        Ok(News { anew, lines })
    }
}

/// Whether both are one file.
#[cfg(unix)]
fn same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere only a file that became shorter is seen to be another one.
#[cfg(not(unix))]
fn same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    #[test]
    fn lines_come_once_and_whole_and_anew_where_the_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut tail = Tail::new(&path);
        let mut next = || {
            let News { anew, lines } = tail.read().unwrap();
            (anew, String::from_utf8(lines).unwrap())
        };
        let add = |text: &str| {
            OpenOptions::new().create(true).append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let news = |anew: bool, lines: &str| (anew, lines.to_owned());
        assert_eq!(next(), news(false, ""));
        add("a\nb");
        assert_eq!(next(), news(false, "a\n"));
        assert_eq!(next(), news(false, ""));
        add("b\nc\n");
        assert_eq!(next(), news(false, "bb\nc\n"));
        // Replaced, by as many bytes and more.
        fs::write(path.with_extension("tmp"), "a\nbb\nd\ne\n").unwrap();
        fs::rename(path.with_extension("tmp"), &path).unwrap();
        assert_eq!(next(), news(true, "a\nbb\nd\ne\n"));
        add("f\n");
        assert_eq!(next(), news(false, "f\n"));
        // Cut in place.
        fs::write(&path, "a\n").unwrap();
        assert_eq!(next(), news(true, "a\n"));
        fs::remove_file(&path).unwrap();
        assert_eq!(next(), news(false, ""));
    }
}
