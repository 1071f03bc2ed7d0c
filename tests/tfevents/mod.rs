//! TensorBoard's event files read back: frames, messages, and what a reader keeps of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// CRC-32C bit by bit, masked.
fn masked(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    let sum = !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit));
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The records of a file, up to a torn one. Panics where a checksum is wrong.
pub fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((head, rest)) = file.split_at_checked(12) {
        let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
        assert_eq!(masked(&head[..8]).to_le_bytes(), head[8..]);
        let Some((body, rest)) = rest.split_at_checked(length + 4) else { break };
        assert_eq!(masked(&body[..length]).to_le_bytes(), body[length..]);
        records.push(&body[..length]);
        file = rest;
    }
    records
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (head, rest) = bytes.split_at(bytes.iter().position(|byte| byte & 128 == 0).unwrap() + 1);
    *bytes = rest;
    head.iter().rev().fold(0, |n, byte| n << 7 | u64::from(byte & 127))
}

/// The content of the first field `number` of a message; a varint as 8 bytes.
pub fn field(mut message: &[u8], number: u64) -> Option<Vec<u8>> {
    while !message.is_empty() {
        let key = varint(&mut message);
        let (content, rest) = match key & 7 {
            0 => (varint(&mut message).to_le_bytes().to_vec(), message),
            kind => {
                let length = if kind == 1 {
                    8
                } else if kind == 5 {
                    4
                } else {
                    varint(&mut message) as usize
                };
                (message[..length].to_vec(), &message[length..])
            }
        };
        if key >> 3 == number {
            return Some(content);
        }
        message = rest;
    }
    None
}

/// What a reader of the folder knows in the end, by tag: steps with their scalars, or the lengths of their pictures.
pub fn read(folder: &Path) -> BTreeMap<String, Vec<(u64, f64)>> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().contains("tfevents"));
    files.sort();
    let mut tags: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for file in files {
        for event in records(&fs::read(file).unwrap()) {
            let step = u64::from_le_bytes(field(event, 2).unwrap().try_into().unwrap());
            if field(event, 7).is_some() {
                tags.values_mut().for_each(|points| points.retain(|(at, _)| *at < step)); // START
            }
            let Some(value) = field(event, 5).and_then(|summary| field(&summary, 1)) else { continue };
            let number = field(&value, 2).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())));
            let picture = field(&value, 4).map(|image| field(&image, 4).unwrap().len() as f64);
            let tag = String::from_utf8(field(&value, 1).unwrap()).unwrap();
            tags.entry(tag).or_default().push((step, number.or(picture).unwrap_or(f64::NAN)));
        }
    }
    tags
}
