//! Bytes of files that others made: regular files only, and no more of them than such a file may hold.

use super::PictureError;
use super::extensions::Role;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file of each kind, in bytes.
pub(super) fn most(role: Role) -> u64 {
    match role {
        Role::Picture | Role::Unread => 64 << 20,
        Role::Text => 1 << 20,
        Role::Json => 8 << 20,
    }
}

/// The bytes of a file, or of the file that it is a link to. A device or a pipe is not opened: it may have no end, or never a
/// beginning.
pub(super) fn read(path: &Path, role: Role) -> Result<Vec<u8>, PictureError> {
    let bytes = read_itself(path, role)?;
    match written_link(path, &bytes).filter(|target| target.is_file()) {
        Some(target) => read_itself(&target, role),
        None => Ok(bytes),
    }
}

/// Where a link leads that lies there as a small file with its target in it: what git, and some archives, make of a link where
/// they may not make links. Only targets that begin with `./` or `../` and exist are taken for one.
pub(super) fn written_link(path: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST_LINK)?.trim_end();
    let relative = text.starts_with("./") || text.starts_with("../");
    let target = path.parent()?.join(text);
    (relative && !text.contains('\n') && target.exists()).then_some(target)
}

/// The longest path that a link may hold.
pub(super) const LONGEST_LINK: usize = 4096;

fn read_itself(path: &Path, role: Role) -> Result<Vec<u8>, PictureError> {
    let unreadable = |error| PictureError::new("unreadable", format!("cannot read {}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(PictureError::new("not-a-file", format!("{} is a folder, a device or a pipe", path.display())));
    }
    let most = most(role);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > most { Err(too_large(role, &format!("more than {most} bytes"))) } else { Ok(bytes) }
}

/// A file, or a member of a shard, that is larger than its kind may be.
pub(super) fn too_large(role: Role, got: &str) -> PictureError {
    let (reason, most) = (if role == Role::Picture { "too-large" } else { "captions-too-large" }, most(role) >> 20);
    PictureError::new(reason, format!("{got}; expected at most {most} MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sensible_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.txt"), "a cat").unwrap();
        assert_eq!(read(&at("a.txt"), Role::Text).unwrap(), b"a cat");
        assert_eq!(read(&at("none.txt"), Role::Text).unwrap_err().reason, "unreadable");
        std::os::unix::fs::symlink("/dev/zero", at("zero.txt")).unwrap();
        assert_eq!(read(&at("zero.txt"), Role::Text).unwrap_err().reason, "not-a-file");
        std::fs::write(at("link.txt"), "./a.txt\n").unwrap();
        assert_eq!(read(&at("link.txt"), Role::Text).unwrap(), b"a cat");
        for text in ["./none.txt", "a.txt", "./a.txt\n./a.txt", "../"] {
            std::fs::write(at("text.txt"), text).unwrap();
            assert_eq!(read(&at("text.txt"), Role::Text).unwrap(), text.as_bytes(), "{text}");
        }
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo.txt")).status();
        if fifo.is_ok_and(|status| status.success()) {
            assert_eq!(read(&at("fifo.txt"), Role::Text).unwrap_err().reason, "not-a-file");
        }
        let sparse = File::create(at("large.txt")).unwrap();
        sparse.set_len(most(Role::Text)).unwrap();
        assert!(read(&at("large.txt"), Role::Text).is_ok());
        sparse.set_len(most(Role::Text) + 1).unwrap();
        assert_eq!(read(&at("large.txt"), Role::Text).unwrap_err().reason, "captions-too-large");
        assert_eq!(read(&at("large.txt"), Role::Json).unwrap().len() as u64, most(Role::Text) + 1);
    }
}
