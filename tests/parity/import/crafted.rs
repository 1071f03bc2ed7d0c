//! Files made byte by byte.

use dalle::Error;
use dalle::import::Weights;

/// Reads all of a file: the one-line error, where there is one.
pub(super) fn all(bytes: Vec<u8>) -> Result<usize, String> {
    let read = || -> dalle::Result<usize> {
        let weights = Weights::from_bytes("broken", bytes)?;
        weights.tensors().iter().map(|tensor| Ok(weights.bytes(&tensor.name)?.len())).sum()
    };
    read().map_err(|error: Error| {
        assert!(matches!(error, Error::Data { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("broken: ") && !text.contains('\n'), "{text}");
        text
    })
}

#[track_caller]
pub(super) fn refused(bytes: Vec<u8>, expected: &str) {
    let error = all(bytes).unwrap_err();
    assert!(error.contains(expected), "expected {expected:?} in {error:?}");
}

/// A zip archive of stored entries.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_of(entries, false)
}

/// The same, its sizes and offsets in the 64-bit fields that files past 4 GiB need.
pub(super) fn zip_of(entries: &[(&str, &[u8])], wide: bool) -> Vec<u8> {
    let narrow = |value: usize| if wide { u32::MAX } else { value as u32 }.to_le_bytes();
    let (mut file, mut list) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let extra: Vec<u8> = match wide {
            true => [&[9, 9, 1, 0, 7, 1, 0, 24, 0][..], &wide_fields(&[data.len(), data.len(), file.len()])].concat(),
            false => Vec::new(),
        };
        let fields = |extra: usize| {
            let mut fields = vec![0; 12]; // flags, method, time, date, checksum
            fields.extend(narrow(data.len()));
            fields.extend(narrow(data.len()));
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend((extra as u16).to_le_bytes());
            fields
        };
        list.extend(b"PK\x01\x02\x14\0\x14\0");
        list.extend(fields(extra.len()));
        list.extend([0; 10]);
        list.extend(narrow(file.len()));
        list.extend(name.as_bytes());
        list.extend(extra);
        file.extend(b"PK\x03\x04\x14\0");
        file.extend(fields(0));
        file.extend(name.as_bytes());
        file.extend(*data);
    }
    let start = file.len();
    file.extend(&list);
    if wide {
        let record = file.len();
        file.extend([&b"PK\x06\x06"[..], &[0; 36], &wide_fields(&[list.len(), start])].concat());
        file.extend([&b"PK\x06\x07"[..], &[0; 4], &wide_fields(&[record]), &[1, 0, 0, 0]].concat());
    }
    file.extend([&b"PK\x05\x06"[..], &[0; 8], &narrow(list.len()), &narrow(start), &[0; 2]].concat());
    file
}

pub(super) fn wide_fields(values: &[usize]) -> Vec<u8> {
    values.iter().flat_map(|&value| (value as u64).to_le_bytes()).collect()
}

/// An archive of `pickle` with sixteen bytes as storage 0.
pub(super) fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("any/data.pkl", pickle), ("any/data/0", &[0; 16])])
}

pub(super) fn long(value: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &value.to_le_bytes()].concat()
}

/// A tensor of storage 0, said to have `count` values.
pub(super) fn tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let tuple =
        |sides: &[i64]| [&b"("[..], &sides.iter().flat_map(|&side| long(side)).collect::<Vec<_>>(), b"t"].concat();
    [
        &b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"[..],
        &long(count),
        b"tQ",
        &long(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89Nt",
        b"R.",
    ]
    .concat()
}

#[test]
fn the_helpers_of_these_tests_write_files_that_can_be_read() {
    assert_eq!(all(archive(&tensor(4, 0, &[2, 2], &[2, 1]))), Ok(16));
    assert_eq!(all(archive(&tensor(4, 1, &[2], &[2]))), Ok(8));
    assert_eq!(all(archive(&tensor(4, 0, &[], &[]))), Ok(4));
    let wide = zip_of(&[("any/data.pkl", &tensor(4, 0, &[4], &[1])), ("any/data/0", &[7; 16])], true);
    assert_eq!(Weights::from_bytes("wide", wide).unwrap().bytes("tensor").unwrap(), [7; 16]);
}

/// A pickle of a dictionary: names to the pickles of values, each without protocol and end.
pub(super) fn dict(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}".to_vec();
    for (name, value) in entries {
        pickle.push(b'X');
        pickle.extend((name.len() as u32).to_le_bytes());
        pickle.extend(name.as_bytes());
        pickle.extend(*value);
        pickle.push(b's');
    }
    pickle.push(b'.');
    pickle
}

/// [`tensor`] of four values as a part of another pickle.
pub(super) fn part() -> Vec<u8> {
    let whole = tensor(4, 0, &[4], &[1]);
    whole[2..whole.len() - 1].to_vec()
}
