//! The bytes of one pickle, read through a window so that a file is never held whole.

use super::source::Source;
use crate::error::Result;

/// Bytes of one text.
const MAX_TEXT: u64 = 1 << 20;
/// Bytes of a global's module, and of its name.
const MAX_LINE: usize = 256;
/// How much is read at once.
const WINDOW: u64 = 1 << 16;

/// The bytes of the pickle, through a window.
pub struct Input<'a> {
    /// The file.
    pub source: &'a Source,
    start: u64,
    next: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Input<'a> {
    /// From `start` of `source` to before `end`.
    pub fn new(source: &'a Source, start: u64, end: u64) -> Self {
        Input { source, start, next: start, end, window: Vec::new(), window_start: start }
    }

    /// Of the next byte, in the pickle.
    pub fn at(&self) -> u64 {
        self.next - self.start
    }

    /// Of the next byte, in the file.
    pub fn next(&self) -> u64 {
        self.next
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        let len = out.len() as u64;
        if self.end.saturating_sub(self.next) < len {
            let at = self.at();
            return Err(self.source.bad(format!("pickle at byte {at}: truncated: expected {len} more bytes")));
        }
        if len >= WINDOW {
            self.source.read(self.next, out)?;
        } else {
            let window_end = self.window_start + self.window.len() as u64;
            if self.next < self.window_start || self.next + len > window_end {
                self.window = self.source.bytes(self.next, WINDOW.min(self.end - self.next))?;
                self.window_start = self.next;
            }
            let from = (self.next - self.window_start) as usize;
            out.copy_from_slice(&self.window[from..from + out.len()]);
        }
        self.next += len;
        Ok(())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next `len` bytes: as many as there are, and no more than a text may have.
    pub fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let left = self.end.saturating_sub(self.next);
        if len > left.min(MAX_TEXT) {
            let at = self.at();
            let what = format!("pickle at byte {at}: expected a text of at most {}, got {len}", left.min(MAX_TEXT));
            return Err(self.source.bad(what));
        }
        let mut out = vec![0; len as usize];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// The bytes up to the end of the line.
    pub fn line(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(out),
                _ if out.len() == MAX_LINE => {
                    let at = self.at();
                    let what = format!("pickle at byte {at}: expected a global's name of at most {MAX_LINE} bytes");
                    return Err(self.source.bad(what));
                }
                byte => out.push(byte),
            }
        }
    }
}
