//! Changes to a file: bytes anywhere, words and numbers of a text so that it stays well-formed, and the checksums put right after.

use bolero::TypeGenerator;
use std::ops::Range;

/// A file of the corpus with changes.
#[derive(Debug, TypeGenerator)]
pub struct Broken {
    pub of: u8,
    #[generator(bolero::produce::<Vec<Edit>>().with().len(0..6usize))]
    pub edits: Vec<Edit>,
}

/// At `at`/65536 of the length.
#[derive(Debug, Clone, TypeGenerator)]
pub enum Edit {
    Set {
        at: u16,
        byte: u8,
    },
    Flip {
        at: u16,
        bit: u8,
    },
    Insert {
        at: u16,
        byte: u8,
        times: u8,
    },
    Delete {
        at: u16,
        count: u8,
    },
    Copy {
        at: u16,
        from: u16,
        count: u8,
    },
    /// A number where a length may stand.
    Number {
        at: u16,
        value: u64,
        bytes: u8,
    },
    Largest {
        at: u16,
        bytes: u8,
    },
    Cut {
        at: u16,
    },
    /// Another number in place of the next one that is written in digits.
    Digits {
        at: u16,
        value: u64,
        shift: u8,
    },
    /// Another word of the file in place of the next one.
    Word {
        at: u16,
        from: u16,
    },
}

impl Edit {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: u16| usize::from(at) * len / 65536;
        let range = |at: u16, count: u8| place(at)..(place(at) + usize::from(count)).min(len);
        match *self {
            Edit::Set { at, byte } if len > 0 => bytes[place(at)] = byte,
            Edit::Flip { at, bit } if len > 0 => bytes[place(at)] ^= 1 << (bit % 8),
            Edit::Insert { at, byte, times } => {
                drop(bytes.splice(place(at)..place(at), vec![byte; usize::from(times)]));
            }
            Edit::Delete { at, count } => drop(bytes.drain(range(at, count))),
            Edit::Copy { at, from, count } => {
                let piece = bytes[range(from, count)].to_vec();
                drop(bytes.splice(place(at)..place(at), piece));
            }
            Edit::Number { at, value, bytes: size } => write(bytes, range(at, 1 + size % 8), value),
            Edit::Largest { at, bytes: size } => write(bytes, range(at, 1 + size % 8), u64::MAX >> (size & 1)),
            Edit::Cut { at } => bytes.truncate(place(at)),
            Edit::Digits { at, value, shift } => {
                let number = (value >> (shift % 64)).to_string();
                drop(bytes.splice(next(bytes, place(at), u8::is_ascii_digit), number.into_bytes()));
            }
            Edit::Word { at, from } => {
                let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
                let word = bytes[next(bytes, place(from), in_word)].to_vec();
                drop(bytes.splice(next(bytes, place(at), in_word), word));
            }
            _ => {}
        }
    }
}

fn write(bytes: &mut [u8], range: Range<usize>, value: u64) {
    bytes[range].iter_mut().zip(value.to_le_bytes()).for_each(|(byte, new)| *byte = new);
}

/// The first run from `at` on of bytes that are `like` it; empty at the end where there is none.
fn next(bytes: &[u8], at: usize, like: impl Fn(&u8) -> bool) -> Range<usize> {
    let start = bytes[at..].iter().position(&like).map_or(bytes.len(), |found| at + found);
    let count = bytes[start..].iter().position(|byte| !like(byte)).unwrap_or(bytes.len() - start);
    start..start + count
}

/// Nothing to put right.
pub fn as_it_is(_: &mut [u8]) {}

/// The sums of a PNG's chunks, as far as chunks can be told.
pub fn png_sums(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(len) = bytes.get(at..at + 4) {
        let len = u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let end = at + 8 + len;
        if end + 4 > bytes.len() {
            return;
        }
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
}

/// The sums of a tar file's headers, as far as headers can be told.
pub fn tar_sums(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 512) {
        if header.iter().any(|&byte| byte != 0) {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        let digits = header[124..135].iter().take_while(|byte| (b'0'..b'8').contains(byte));
        let size = digits.fold(0, |size: usize, digit| size * 8 + usize::from(digit - b'0'));
        at += 512 + size.next_multiple_of(512);
    }
}
