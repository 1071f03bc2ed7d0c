//! Packages from npm, through its own client: `npm pack` puts a tarball into the cache folder, and it is read there,
//! never unpacked. Each package is pinned by version and by the sha256 of its tarball.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The client's program name.
pub(super) const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// A package of a fixed version.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// `name@version`.
    pub spec: &'static str,
    /// Of the tarball, in hexadecimal.
    pub sha256: &'static str,
}

impl Package {
    /// The file name that `npm pack` gives the tarball: `@scope/name@1.2.3` is `scope-name-1.2.3.tgz`.
    fn file_name(&self) -> String {
        format!("{}.tgz", self.spec.trim_start_matches('@').replace(['/', '@'], "-"))
    }

    /// The package's tarball in `cache`, fetched by the program `npm` unless it is there already with the right hash.
    ///
    /// # Errors
    /// [`Error::Io`] where npm does not start or the cache cannot be written, [`Error::Data`] where npm fails or its
    /// tarball has another hash.
    pub(super) fn fetch(&self, cache: &Path, npm: &str) -> Result<Tarball> {
        let path = cache.join(self.file_name());
        if path.exists() && sha256(&path)? == self.sha256 {
            return Ok(Tarball { path });
        }
        let incoming = cache.join(format!(".{}.{}.tmp", self.file_name(), std::process::id()));
        fs::create_dir_all(&incoming).map_err(Error::io("create", &incoming))?;
        let packed = self.pack(&incoming, npm, &path);
        let placed = packed.and_then(|packed| fs::rename(packed, &path).map_err(Error::io("write", &path)));
        // What is left of a failed download is worthless, and a folder that stays behind does no harm.
        let _ = fs::remove_dir_all(&incoming);
        placed.map(|()| Tarball { path })
    }

    /// Runs `npm pack` in `folder` and checks what it wrote there; `wanted` is where the tarball is to go, for messages.
    fn pack(&self, folder: &Path, npm: &str, wanted: &Path) -> Result<PathBuf> {
        let mut command = Command::new(npm);
        command.args(["pack", "--loglevel=error", self.spec]).current_dir(folder).stdin(Stdio::null());
        let output = command.output().map_err(|reason| {
            let advice = "npm is needed: install Node.js, or put the package's tarball at";
            Error::io("run", npm)(io::Error::new(reason.kind(), format!("{advice} {} ({reason})", wanted.display())))
        })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = message.lines().filter(|line| !line.trim().is_empty()).take(2).collect();
            let what = format!("`npm pack {}` failed ({}): {}", self.spec, output.status, lines.join("; "));
            return Err(Error::data(wanted, what));
        }
        let packed = folder.join(self.file_name());
        if !packed.is_file() {
            return Err(Error::data(wanted, format!("`npm pack {}` wrote no {}", self.spec, self.file_name())));
        }
        match sha256(&packed)? {
            found if found == self.sha256 => Ok(packed),
            found => {
                let what = format!("the tarball that npm gave for {}: sha256", self.spec);
                Err(Error::data(wanted, format!("{what} expected {}, got {found}", self.sha256)))
            }
        }
    }
}

/// A package's `.tgz` on disk.
#[derive(Debug, Clone)]
pub(super) struct Tarball {
    pub(super) path: PathBuf,
}

impl Tarball {
    /// The files whose path inside the tarball `wanted` accepts, each with that path, in the tarball's order.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened, [`Error::Data`] where it is not a whole gzipped tar.
    pub(super) fn files(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
        let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let broken = |reason: io::Error| Error::data(&self.path, format!("a broken tarball ({reason}): delete it"));
        let mut files = Vec::new();
        let mut archive = tar::Archive::new(GzDecoder::new(io::BufReader::new(file)));
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if wanted(&name) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(broken)?;
                files.push((name, bytes));
            }
        }
        Ok(files)
    }

    /// Two JSON files of the package.
    ///
    /// # Errors
    /// As [`Tarball::files`], and [`Error::Data`] where one is missing or has another form.
    pub(super) fn json<A: DeserializeOwned, B: DeserializeOwned>(&self, a: &str, b: &str) -> Result<(A, B)> {
        let files = self.files(|name| name == a || name == b)?;
        Ok((self.parse(&files, a)?, self.parse(&files, b)?))
    }

    fn parse<T: DeserializeOwned>(&self, files: &[(String, Vec<u8>)], name: &str) -> Result<T> {
        let file = files.iter().find(|(path, _)| path == name);
        let (_, bytes) = file.ok_or_else(|| Error::data(&self.path, format!("holds no {name}")))?;
        serde_json::from_slice(bytes).map_err(|reason| Error::data(&self.path, format!("{name}: {reason}")))
    }

    /// The tarball's sha256 in hexadecimal.
    pub(super) fn sha256(&self) -> Result<String> {
        sha256(&self.path)
    }
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: Package = Package {
        spec: "@a/b@1.0.0",
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // of "abc"
    };

    #[test]
    fn a_cached_tarball_needs_no_npm() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("a-b-1.0.0.tgz");
        fs::write(&path, "abc").unwrap();
        assert_eq!(ABC.fetch(cache.path(), "no-such-program").unwrap().path, path);
        fs::write(&path, "abd").unwrap();
        let error = ABC.fetch(cache.path(), "no-such-program").unwrap_err();
        assert!(error.to_string().contains("npm is needed: install Node.js"), "{error}");
        assert_eq!(error.exit_code(), 6);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[cfg(unix)]
    #[test]
    fn what_npm_gives_is_checked() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let run = |script: &str| {
            let npm = folder.path().join("npm");
            fs::write(&npm, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
            ABC.fetch(folder.path(), npm.to_str().unwrap())
        };
        let fails = run("echo 'npm error no such package' >&2; exit 1").unwrap_err();
        assert!(fails.to_string().contains("npm error no such package"), "{fails}");
        let other = run("printf abd > a-b-1.0.0.tgz").unwrap_err();
        assert!(other.to_string().contains("expected ba7816bf"), "{other}");
        assert_eq!(other.exit_code(), 4);
        assert!(!folder.path().join("a-b-1.0.0.tgz").exists());
        let tarball = run("[ \"$1 $3\" = 'pack @a/b@1.0.0' ] && printf abc > a-b-1.0.0.tgz").unwrap();
        assert_eq!(fs::read_to_string(&tarball.path).unwrap(), "abc");
        assert!(matches!(tarball.files(|_| true), Err(Error::Data { .. })), "\"abc\" is no tarball");
    }
}
