//! Files that are cut, changed or make no sense: always an error of one line.

use super::PKL;
use super::crafted::{all, archive, refused, tensor, zip};
use crate::fixture;

#[test]
fn a_broken_archive_is_refused() {
    let good = archive(&tensor(4, 0, &[4], &[1]));
    refused(zip(&[("any/data.pkl", &tensor(4, 0, &[4], &[1]))]), "storage data/0 is missing");
    refused(zip(&[("any/other", b"x")]), "found none");
    refused(zip(&[("a/data.pkl", b"N."), ("b/data.pkl", b"N.")]), "found several");
    refused(zip(&[("a/data.pkl", b"N."), ("a/data.pkl", b"N.")]), "one name");
    refused(zip(&[("a/data.pkl", b"N."), ("a/byteorder", b"big")]), "byteorder little, got \"big\"");
    refused(zip(&[("a/data.pkl", b"N."), ("a/byteorder", b"")]), "byteorder little, got \"\"");
    // Fields of the last record: the start of the list, and its size.
    let change = |from_end: usize, value: u32| {
        let mut bytes = good.clone();
        let at = bytes.len() - from_end;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    refused(change(6, 0), "list of entries is broken");
    refused(change(6, 1 << 30), "truncated");
    refused(change(6, u32::MAX), "64-bit record");
    refused(change(10, 1 << 30), "expected a list of at most");
    // Fields of the list's first entry.
    let list = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let change = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[list + at..list + at + value.len()].copy_from_slice(value);
        bytes
    };
    refused(change(8, &[1]), "stored");
    refused(change(10, &[8]), "stored");
    refused(change(20, &[1, 0, 0, 1, 1, 0, 0, 1]), "the file ends at");
    refused(change(20, &[0xff; 8]), "list of entries is broken");
    refused(change(42, &7u32.to_le_bytes()), "expected the header of any/data.pkl at byte 7");
    refused(change(42, &(1u32 << 31).to_le_bytes()), "truncated");
}

/// Cut off at every byte of the small files, and at many of the large.
#[test]
fn every_truncation_is_an_error() {
    let files = [
        format!("{PKL}/odd_tensors.pt"),
        format!("{PKL}/encoder_legacy_nonzip.pkl"),
        format!("{PKL}/encoder_old_layout_cuda_tag.pkl"),
        "openai_clip/jit/vit_j_fp16.pt".into(),
        "openai_dvae/encoder_p.safetensors".into(),
    ];
    for file in files {
        let whole = fixture::bytes(&file);
        assert!(all(whole.clone()).is_ok(), "{file}");
        let step = (whole.len() / 600).max(1) | 1;
        for end in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            assert!(all(whole[..end].to_vec()).is_err(), "{file} cut at {end} of {}", whole.len());
        }
    }
}

/// No byte that changes makes anything but an error or other tensors.
#[test]
fn changed_bytes_never_panic() {
    let files = ["odd_tensors.pt", "encoder_legacy_nonzip.pkl", "encoder_old_layout_cuda_tag.pkl"];
    for (index, file) in files.into_iter().enumerate() {
        let whole = fixture::bytes(&format!("{PKL}/{file}"));
        let mut rng = dalle::random::Rng::new(0, "changed bytes", index as u64, 0);
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..rng.between(1, 4) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.below(256) as u8;
            }
            let _ = all(bytes);
        }
        // And in the pickle alone, where changes tell.
        let start = whole.windows(2).position(|bytes| bytes == b"\x80\x02").unwrap();
        for at in start..whole.len().min(start + 500) {
            for value in [0xff, b'(', b'.'] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = all(bytes);
            }
        }
    }
}

#[test]
fn broken_safetensors_are_refused() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let entry =
        |shape: &str, end: u64| format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    assert_eq!(all(file(&entry("[2,2]", 16), 16)), Ok(16));
    refused(file(&entry("[2,2]", 16), 15), "expected 16 bytes of tensors, got 15");
    refused(file(&entry("[2,2]", 12), 12), "not a safetensors file");
    refused(file(&entry("[4611686018427387904,4]", 16), 16), "not a safetensors file");
    // Tensors that together end where a sum of sizes wraps around.
    let part = |part: u64| {
        let (start, end) = (part << 60, if part < 15 { (part + 1) << 60 } else { u64::MAX });
        format!(r#""x{part}":{{"dtype":"U8","shape":[{}],"data_offsets":[{start},{end}]}}"#, end - start)
    };
    let parts: Vec<String> = (0..16).map(part).collect();
    refused(file(&format!("{{{}}}", parts.join(",")), 7), "bytes of tensors, got 7");
    refused(file("{\"x\":", 0), "not a safetensors file");
    refused([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "expected a header of at most");
    refused(b"\x02\0\0\0\0\0\0\0{".to_vec(), "truncated");
    refused(b"neither".to_vec(), "expected a safetensors file");
    refused(Vec::new(), "expected a safetensors file");
}
