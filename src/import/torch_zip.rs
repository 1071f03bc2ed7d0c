//! The zip archives of `torch.save` since 1.6 and of TorchScript: a folder of any name with `data.pkl` and, under `data/`, the
//! storages. Only what torch itself writes is read: stored entries, with or without the 64-bit fields. Entries that are not
//! asked for (compiled code, versions, padding) may be anything.
//!
//! Checksums are not verified, as torch does not: it can be told to write none.

use super::source::Source;
use crate::error::Result;
use std::collections::HashMap;

/// Bytes of the list of entries.
const MAX_DIRECTORY: u64 = 16 << 20;
/// What a zip file begins with.
pub const MAGIC: [u8; 4] = *b"PK\x03\x04";

/// The entries of an archive.
pub struct Archive<'a> {
    source: &'a Source,
    entries: HashMap<String, Entry>,
    root: String,
}

#[derive(Clone, Copy)]
struct Entry {
    stored: bool,
    size: u64,
    header: u64,
}

impl<'a> Archive<'a> {
    /// Reads the list of entries at the file's end.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where it is not a whole zip file with one `data.pkl`, or says it is big-endian.
    pub fn open(source: &'a Source) -> Result<Self> {
        let (start, size) = directory(source)?;
        if size > MAX_DIRECTORY {
            return Err(source.bad(format!("zip: expected a list of at most {MAX_DIRECTORY} bytes, got {size}")));
        }
        let entries = entries(source, &source.bytes(start, size)?)?;
        let roots = entries.keys().filter_map(|name| name.strip_suffix("/data.pkl")).filter(|root| !root.contains('/'));
        let mut roots: Vec<String> = roots.map(str::to_owned).collect();
        let archive = match (roots.pop(), roots.is_empty()) {
            (Some(root), true) => Archive { source, entries, root },
            (None, _) => return Err(source.bad("zip: expected torch's data.pkl in it, found none")),
            _ => return Err(source.bad("zip: expected one data.pkl, found several")),
        };
        if let Some((start, len)) = archive.find("byteorder")? {
            let order = source.bytes(start, len.min(16))?;
            if order != b"little" {
                let order = String::from_utf8_lossy(&order);
                return Err(source.bad(format!("expected byteorder little, got {order:?}")));
            }
        }
        Ok(archive)
    }

    /// Start and size of the entry `name` of the root folder.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where it is compressed, or lies outside the file.
    pub fn find(&self, name: &str) -> Result<Option<(u64, u64)>> {
        let path = format!("{}/{name}", self.root);
        let Some(entry) = self.entries.get(&path) else { return Ok(None) };
        if !entry.stored {
            return Err(self.source.bad(format!("zip: expected {path} to be stored, it is compressed or encrypted")));
        }
        let header = self.source.bytes(entry.header, 30)?;
        if header[..4] != MAGIC {
            return Err(self.source.bad(format!("zip: expected the header of {path} at byte {}", entry.header)));
        }
        let start = entry.header + 30 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        if start.checked_add(entry.size).is_none_or(|end| end > self.source.size()) {
            let (size, len) = (entry.size, self.source.size());
            return Err(self.source.bad(format!("zip: {path} has {size} bytes at {start}, the file ends at {len}")));
        }
        Ok(Some((start, entry.size)))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Start and size of the list of entries, from the record at the file's end: before it is a comment of at most 65,535 bytes.
fn directory(source: &Source) -> Result<(u64, u64)> {
    let tail_start = source.size().saturating_sub(22 + 0xffff);
    let tail = source.bytes(tail_start, source.size() - tail_start)?;
    let ends = (0..tail.len().saturating_sub(21)).rev().find(|&at| {
        tail[at..].starts_with(b"PK\x05\x06") && at + 22 + usize::from(u16_at(&tail, at + 20)) == tail.len()
    });
    let at = ends.ok_or_else(|| source.bad("zip: truncated: expected the record that ends it"))?;
    let (size, start) = (u32_at(&tail, at + 12), u32_at(&tail, at + 16));
    if size != u32::MAX && start != u32::MAX {
        return Ok((start.into(), size.into()));
    }
    let bad = || source.bad("zip: expected the 64-bit record that ends it");
    let locator =
        at.checked_sub(20).map(|at| &tail[at..at + 20]).filter(|l| l.starts_with(b"PK\x06\x07")).ok_or_else(bad)?;
    let record = source.bytes(u64_at(locator, 8), 56)?;
    if !record.starts_with(b"PK\x06\x06") {
        return Err(bad());
    }
    Ok((u64_at(&record, 48), u64_at(&record, 40)))
}

fn entries(source: &Source, list: &[u8]) -> Result<HashMap<String, Entry>> {
    let mut found = HashMap::new();
    let mut at = 0;
    while at < list.len() {
        let bad = || source.bad(format!("zip: the list of entries is broken at its byte {at}"));
        let fixed = list.get(at..at + 46).filter(|fixed| fixed.starts_with(b"PK\x01\x02")).ok_or_else(bad)?;
        let [name_len, extra_len, comment_len] = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
        let name = list.get(at + 46..at + 46 + name_len).ok_or_else(bad)?;
        let extra = list.get(at + 46 + name_len..at + 46 + name_len + extra_len).ok_or_else(bad)?;
        let (encrypted, method) = (u16_at(fixed, 8) & 1 == 1, u16_at(fixed, 10));
        // Each field that does not fit in 32 bits is in the extra field, in this order.
        let mut wide = wide_fields(extra);
        let mut field = |at: usize| match u32_at(fixed, at) {
            u32::MAX => wide.next().ok_or_else(bad),
            fits => Ok(fits.into()),
        };
        let (size, packed, header) = (field(24)?, field(20)?, field(42)?);
        let stored = !encrypted && method == 0 && packed == size;
        let name = String::from_utf8_lossy(name).into_owned();
        if found.insert(name, Entry { stored, size, header }).is_some() {
            return Err(source.bad("zip: two entries have one name"));
        }
        at += 46 + name_len + extra_len + comment_len;
    }
    Ok(found)
}

/// The 64-bit fields of an entry's extra fields.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut fields: &[u8] = &[];
    while extra.len() >= 4 && fields.is_empty() {
        let (kind, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(field) = extra.get(4..4 + len) else { break };
        if kind == 1 {
            fields = field;
        }
        extra = &extra[4 + len..];
    }
    fields.chunks_exact(8).map(|field| u64_at(field, 0))
}
