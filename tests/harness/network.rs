//! Networks that a user measures with.

use super::onnx;
use dalle::data::Picture;
use dalle::evaluate::network::{Network, Reading};
use std::path::PathBuf;
use tempfile::TempDir;

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("means.onnx");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn flat(side: usize, rgb: [u8; 3]) -> Picture {
    Picture { width: side, height: side, rgb: rgb.repeat(side * side) }
}

#[test]
fn features_and_probabilities_are_the_networks() {
    let (_folder, path) = file(&onnx::means(8));
    let network = Network::open(&path, Reading { mean: [0.0; 3], std: [1.0, 1.0, 0.5], side: None }).unwrap();
    // More than go through at once, of sides that are resized.
    let pictures: Vec<Picture> = (0..20).map(|i| flat(5 + i, [255, 51 * (i as u8 % 3), 102])).collect();
    let seen = network.see(&pictures).unwrap();
    assert_eq!((seen.width, seen.classes, seen.features.len()), (3, 2, 60));
    for (i, (features, p)) in seen.features.chunks(3).zip(seen.probabilities.chunks(2)).enumerate() {
        let green = 0.2 * (i % 3) as f64;
        let expected = [1.0, green, 0.8];
        assert!(features.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{features:?}");
        assert!((p[0] - 1.0 / (1.0 + (4.0 * (green - 1.0)).exp())).abs() < 1e-5 && (p[0] + p[1] - 1.0).abs() < 1e-9);
    }
    assert_eq!(network.metric(&seen), "FID-like (means)");
}

#[test]
fn pictures_are_read_from_minus_one_to_one_unless_told_otherwise() {
    let (_folder, path) = file(&onnx::means(0));
    let network = Network::open(&path, Reading { side: Some(4), ..Reading::default() }).unwrap();
    let seen = network.see(&[flat(4, [0, 255, 0])]).unwrap();
    assert!(seen.features.iter().zip([-1.0, 1.0, -1.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", seen.features);
}

#[test]
fn what_is_no_such_network_is_refused() {
    let open = |bytes: &[u8], side| {
        let (_folder, path) = file(bytes);
        let error = Network::open(&path, Reading { side, ..Reading::default() }).err().unwrap();
        (error.exit_code(), error.to_string())
    };
    let whole = onnx::means(8);
    for (bytes, side, code, what) in [
        (&b"no network"[..], None, 4, "expected an ONNX network"),
        (&whole[..whole.len() / 2], None, 4, ""),
        (&whole, Some(9), 2, "takes 8"),
        (&onnx::means(0), None, 2, "say which"),
    ] {
        let (exit, text) = open(bytes, side);
        assert!(exit == code && text.contains(what) && !text.contains('\n'), "{exit} {text}");
    }
}
