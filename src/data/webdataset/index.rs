//! One pass over a shard's headers: which keys there are, which members count, and what is left out.

use super::entry::{Entry, Member};
use crate::data::extensions::{Extensions, Role};
use crate::data::{PictureError, Tally};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// Tar's unit: headers take one block, contents are padded to whole ones.
pub(super) const BLOCK: u64 = 512;

/// First bytes of files in which no sample can be found without unpacking all that is before it, and what unpacks them.
pub(super) const PACKED: [(&[u8], &str, &str); 5] = [
    (&[0x1f, 0x8b], "gzip", "gunzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "unzstd"),
    (b"\xfd7zXZ", "xz", "unxz"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"PK\x03\x04", "zip", "unzip, then tar"),
];

/// The samples found so far.
pub(super) struct Index<'a> {
    extensions: &'a Extensions,
    pub entries: Vec<Entry>,
    pub left_out: Tally,
    /// Extensions of the members that are nothing of ours.
    pub others: BTreeMap<String, usize>,
}

impl<'a> Index<'a> {
    pub(super) fn new(extensions: &'a Extensions) -> Self {
        Index { extensions, entries: Vec::new(), left_out: Tally::default(), others: BTreeMap::new() }
    }

    /// Appends the samples of one shard.
    pub(super) fn shard(&mut self, shard: usize, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let facts = file.metadata().map_err(Error::io("read", path))?;
        if !facts.is_file() {
            return Err(Error::data(path, "expected a tar file, got a folder, a device or a pipe"));
        }
        let mut start = [0; BLOCK as usize];
        let read = file.read_at(&mut start, 0).map_err(Error::io("read", path))?;
        // A tar file begins with a name, which may begin like anything; its magic comes later.
        let packed = PACKED.iter().find(|(magic, ..)| start[..read].starts_with(magic) && &start[257..262] != b"ustar");
        if let Some((_, name, program)) = packed {
            let what =
                format!("at byte 0 of the shard: expected a tar file, got {name}; unpack it first, with {program}");
            return Err(Error::data(path, what));
        }
        let mut archive = tar::Archive::new(&file);
        let mut known: HashMap<String, usize> = HashMap::new();
        // Members whose extension holds a dot, by key and then by all but their last extension.
        let mut dotted: BTreeMap<String, BTreeMap<String, Vec<Role>>> = BTreeMap::new();
        let mut end = 0;
        let broken = |offset: u64, expected: &str, got: &str| {
            Error::data(path, format!("at byte {offset} of the shard: expected {expected}, got {got}"))
        };
        for entry in archive.entries_with_seek().map_err(Error::io("read", path))? {
            let entry = entry.map_err(|error| broken(end, "a tar header", &error.to_string()))?;
            let (offset, len) = (entry.raw_file_position(), entry.size());
            let stored_end = offset.saturating_add(len);
            if stored_end > facts.len() {
                let expected = format!("{len} bytes of {}", entry.path_bytes().escape_ascii());
                return Err(broken(
                    offset,
                    &expected,
                    &format!("{} before the end", facts.len().saturating_sub(offset)),
                ));
            }
            end = stored_end.next_multiple_of(BLOCK);
            let name: String = String::from_utf8_lossy(&entry.path_bytes()).nfc().collect();
            let Some((key, extension)) = split(&name) else { continue };
            let extension = extension.to_lowercase();
            let kind = entry.header().entry_type();
            let Some(role) = self.extensions.role(&extension) else {
                if let Some((stem, role)) = self.extensions.split(file_name(&name))
                    && kind.is_file()
                {
                    dotted.entry(key.to_owned()).or_default().entry(stem.to_owned()).or_default().push(role);
                } else if kind.is_file() {
                    *self.others.entry(extension).or_default() += 1;
                }
                continue;
            };
            if !kind.is_file() {
                if !kind.is_dir() {
                    self.leave_out("link", &name, "a member that is a link, or no file: its contents are not here");
                }
                continue;
            }
            let at = *known.entry(key.to_owned()).or_insert_with(|| {
                self.entries.push(Entry { shard, key: key.to_owned(), members: Vec::new() });
                self.entries.len() - 1
            });
            let member = Member { extension, role, offset, len };
            let members = &mut self.entries[at].members;
            match members.iter().position(|known| known.extension == member.extension) {
                Some(earlier) => {
                    members[earlier] = member;
                    self.leave_out("replaced", &name, "a later member of the same name counts");
                }
                None if role == Role::Picture && members.iter().any(|known| known.role == role) => {
                    self.leave_out("second-picture", &name, "another picture has the same key");
                }
                None => members.push(member),
            }
        }
        for (key, stems) in dotted {
            let plain = known.contains_key(&key);
            for (stem, roles) in stems {
                // Beside a whole sample `a.seg.png` is one more member of `a`; a picture with captions is a sample that lost
                // its key.
                let caption = roles.iter().any(|role| matches!(role, Role::Text | Role::Json));
                if !plain || (caption && roles.contains(&Role::Picture)) {
                    let folder = &key[..key.len() - file_name(&key).len()];
                    self.entries.push(Entry { shard, key: format!("{folder}{stem}"), members: Vec::new() });
                }
            }
        }
        // A tar file ends in blocks of zeros; one that was cut between two members has none.
        let mut block = [1; BLOCK as usize];
        match file.read_exact_at(&mut block, end) {
            Ok(()) if block == [0; BLOCK as usize] => Ok(()),
            _ => Err(broken(end, "the blocks of zeros that end a tar file", "the end of the file")),
        }
    }

    fn leave_out(&mut self, reason: &'static str, name: &str, detail: &str) {
        self.left_out.add(&PictureError::new(reason, detail).of(name));
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The key and the extension of a member's name; `None` for hidden files and names without a dot.
fn split(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.len() - file_name(name).len();
    let dot = file + name[file..].find('.').filter(|&dot| dot > 0)?;
    Some((&name[..dot], &name[dot + 1..]))
}
