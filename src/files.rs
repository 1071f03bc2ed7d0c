//! Files that are read whole with a cap, and outputs that are written so that a crash at any moment leaves the old file or
//! the new one, never a part of it, and that replace nothing but files: what is a pipe or a device is written into, and
//! a link stays one.

use crate::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

/// The largest text that is read whole: a tokenizer, merges, a configuration, tokens of a picture.
pub const MOST_TEXT: u64 = 64 << 20;

/// The largest picture file that is read.
pub const MOST_PICTURE: u64 = 256 << 20;

/// Opens a regular file, or a link to one. A pipe would be waited for without end, a device read without end.
///
/// # Errors
/// [`Error::Io`] where there is none or it cannot be opened; [`Error::Data`] for anything else of that name.
pub fn open(path: impl AsRef<Path>) -> Result<(File, u64)> {
    let path = path.as_ref();
    // Before it is opened: opening a pipe waits for its writer.
    expect_file(path, fs::metadata(path).map_err(Error::io("read", path))?)?;
    let file = File::open(path).map_err(Error::io("read", path))?;
    let size = expect_file(path, file.metadata().map_err(Error::io("read", path))?)?;
    Ok((file, size))
}

fn expect_file(path: &Path, about: fs::Metadata) -> Result<u64> {
    match about.is_file() {
        true => Ok(about.len()),
        false => Err(Error::data(path, format!("expected a regular file, got {}", kind(&about)))),
    }
}

/// The bytes of a regular file of at most `most`.
///
/// # Errors
/// Those of [`open`]; [`Error::Data`] where it is larger, [`Error::Io`] if it cannot be read.
pub fn read(path: impl AsRef<Path>, most: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let (file, size) = open(path)?;
    let mut bytes = Vec::with_capacity(size.min(most) as usize);
    // It may grow while it is read.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > most {
        return Err(Error::data(path, format!("expected at most {most} bytes, got {} or more", size.max(most + 1))));
    }
    Ok(bytes)
}

/// Writes `bytes` to `path` as [`stream`] does, and waits until the disk has them.
///
/// # Errors
/// Those of [`stream`].
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    put(path, &mut |out| out.write_all(bytes), true).map_err(Error::io("write", path))
}

/// [`write_atomic`] that does not wait for the disk: a picture, which is made again if the power fails.
///
/// # Errors
/// Those of [`stream`].
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    put(path, &mut |out| out.write_all(bytes), false).map_err(Error::io("write", path))
}

/// Locks `file`. Where somebody else holds it, `busy` is called, and their end is waited for. Some network file systems know no locks:
/// then nothing is held.
///
/// # Errors
/// The system's.
pub fn lock_in_turn(file: &File, busy: impl FnOnce()) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            busy();
            file.lock()
        }
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes to `path` what `give` gives. A file is replaced whole: a temporary beside it, then a rename; where the name is a
/// link, the file that it points to. A pipe or a device gets the bytes.
///
/// # Errors
/// Those of `give`; [`Error::Io`] with the path and the system's reason (a full disk, a read-only folder). The old file is
/// intact then.
pub fn stream(path: &Path, mut give: impl FnMut(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>) -> Result<()> {
    let mut failed = None;
    let mut fill = |out: &mut dyn Write| {
        let filled = give(&mut |bytes| out.write_all(bytes).map_err(Error::io("write", path)));
        filled.map_err(|error| {
            failed = Some(error);
            io::Error::other("not written")
        })
    };
    let written = put(path, &mut fill, false);
    match failed {
        Some(error) => Err(error),
        None => written.map_err(Error::io("write", path)),
    }
}

/// [`write_atomic`] with the system's bare error.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, &mut |out| out.write_all(bytes), true)
}

/// What gives an output its bytes.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// [`stream`] with the system's errors.
pub(crate) fn put(path: &Path, fill: Fill<'_>, durable: bool) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(about) if is_descriptor(path) || !about.is_file() => into(OpenOptions::new().append(true).open(path)?, fill),
        Ok(_) if path.is_symlink() => put_file(&fs::canonicalize(path)?, fill, durable),
        // A link to nothing yet: only opening it knows where that is.
        Err(_) if path.is_symlink() => into(File::create(path)?, fill),
        _ => put_file(path, fill, durable),
    }
}

/// Whether `path` is one of this process's open files, such as /dev/stdout: whatever it is goes on where it is.
fn is_descriptor(path: &Path) -> bool {
    let opened = |path: &Path| path.starts_with("/proc") || path.starts_with("/dev/fd");
    opened(path) || fs::read_link(path).is_ok_and(|to| opened(&to))
}

fn into(file: File, fill: Fill<'_>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    fill(&mut out)?;
    out.flush()
}

fn put_file(path: &Path, fill: Fill<'_>, durable: bool) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("expected the name of a file"))?;
    let mut temporary = name.to_owned();
    temporary.push(".tmp");
    let temporary = path.with_file_name(temporary);
    // What a crash left may go; what is somebody's pipe, link or folder may not.
    if let Some(other) = fs::symlink_metadata(&temporary).ok().filter(|about| !about.is_file()) {
        let what = format!("{} is in the way, {}", temporary.display(), kind(&other));
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let written = filled(&temporary, fill)
        .and_then(|file| if durable { file.sync_all() } else { Ok(()) })
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| if durable { sync_folder(parent(path)) } else { Ok(()) });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn filled(path: &Path, fill: Fill<'_>) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
    fill(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Writes a file and waits until the disk has it.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the disk has the folder's names: without it a rename may be lost with the power.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// What something is that is no regular file, in words.
fn kind(about: &fs::Metadata) -> &'static str {
    match about {
        about if about.is_dir() => "a folder",
        about if about.is_symlink() => "a link",
        _ => "a pipe, a device or a socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_atomic(&path, b"a longer text").unwrap();
        write_atomic(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_path_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_atomic(&path, b"old").unwrap();
        // A folder in the temporary's place stands for any failure to write.
        fs::create_dir(folder.path().join("run.json.tmp")).unwrap();
        let error = write_atomic(&path, b"new").unwrap_err();
        assert_eq!(error.exit_code(), 6);
        let text = error.to_string();
        assert!(text.starts_with("cannot write ") && text.contains("run.json") && text.lines().count() == 1, "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn what_fails_half_way_leaves_the_old_file_and_says_its_own_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write_atomic(&path, b"old").unwrap();
        let error = stream(&path, |put| {
            put(b"new")?;
            Err(Error::Usage("half".into()))
        });
        assert_eq!(error.unwrap_err().to_string(), "half");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_one_clear_line() {
        for error in [
            write_synced(Path::new("/dev/full"), b"x").map_err(Error::io("write", "/dev/full")).unwrap_err(),
            write_atomic("/dev/full", b"x").unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "cannot write /dev/full: No space left on device (os error 28)");
            assert_eq!(error.exit_code(), 6);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_what_they_point_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        fs::write(at("below/real"), "old").unwrap();
        for (link, target) in [("link", "below/real"), ("again", "link"), ("ahead", "below/fresh")] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
            write_atomic(at(link), link.as_bytes()).unwrap();
            assert!(at(link).is_symlink(), "{link}");
            assert_eq!(fs::read_to_string(at(link)).unwrap(), link);
        }
        assert_eq!(fs::read_to_string(at("below/real")).unwrap(), "again");
        assert_eq!(fs::read_to_string(at("below/fresh")).unwrap(), "ahead");
        // A link in the temporary's place belongs to somebody.
        std::os::unix::fs::symlink("below/real", at("mine.tmp")).unwrap();
        let error = write_atomic(at("mine"), b"x").unwrap_err().to_string();
        assert!(error.contains("mine.tmp is in the way, a link"), "{error}");
        assert_eq!(fs::read_to_string(at("below/real")).unwrap(), "again");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_are_written_into_and_never_read_from() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = read(&pipe, 10).unwrap_err(); // at once: nobody writes
        assert_eq!((error.exit_code(), error.to_string().contains("a pipe")), (4, true), "{error}");
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read(pipe).unwrap())
        };
        write_atomic(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        use std::os::unix::fs::FileTypeExt;
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn reading_is_capped_and_takes_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let error = read(&path, 4).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("at most 4 bytes, got 5")), (4, true), "{error}");
        assert!(read(folder.path(), 4).unwrap_err().to_string().contains("got a folder"));
        assert_eq!(read(folder.path().join("none"), 4).unwrap_err().exit_code(), 4);
        if cfg!(target_os = "linux") {
            assert_eq!(read("/dev/zero", 4).unwrap_err().exit_code(), 4);
        }
    }
}
