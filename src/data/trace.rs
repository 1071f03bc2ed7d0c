//! What is told of a sample so that another one can be told from it.

/// What a fingerprint asks of a source for one of its samples.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Trace {
    /// A fact with a name. Each says how long it is, so that no two lists of facts look the same.
    pub fn fact(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }

    /// A file by its role and its size; `None` for one that cannot be looked at.
    pub fn file(&mut self, role: &str, bytes: Option<u64>) {
        self.bytes += bytes.unwrap_or(0);
        self.fact(role, &bytes.map_or(vec![], |bytes| bytes.to_le_bytes().to_vec()));
    }

    /// The hash of all that was told, and the bytes of the files.
    pub(super) fn finish(self) -> (blake3::Hash, u64) {
        (self.hasher.finalize(), self.bytes)
    }
}
