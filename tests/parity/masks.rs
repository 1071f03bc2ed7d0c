//! The attention patterns against the golden masks: the paper's, ru-dalle's and dalle-pytorch's, for whatever (text, grid,
//! kernel) `masks/meta.json` lists, in whatever form a mask is stored: dense, packed bits, sums of rows and columns, ranges
//! of some rows, and always the number of pairs and the sha256 of the dense bytes.

use crate::fixture;
use dalle::mask::{Edge, Layout, Pattern};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A dense mask: row-major `[side, side]`, queries down.
struct Mask {
    side: usize,
    seen: Vec<bool>,
}

/// What the library says of a mask by the name that the fixtures give it; `None`: no such mask is known here.
fn mask(name: &str, layout: Layout, kernel: usize) -> Option<Mask> {
    let window = |edge| Pattern::Window { kernel, edge };
    let pattern = match name {
        "paper.row" | "rudalle.row" => Pattern::Row,
        "paper.col" | "paper.col_transposed" | "rudalle.col" => Pattern::Column,
        "paper.conv_flat" => Pattern::Conv { kernel },
        "paper.conv_torus_cols" => window(Edge::Cylinder),
        "paper.conv_clipped" | "rudalle.conv_v3" => window(Edge::Clip),
        "rudalle.conv_v2" => window(Edge::Torus),
        "dalle_pytorch.axial_row" => Pattern::AxialRow,
        "dalle_pytorch.axial_col" => Pattern::AxialColumn,
        "dalle_pytorch.conv_like" => Pattern::ConvLike { kernel },
        _ => return None,
    };
    let (side, seen) = (layout.sequence(), pattern.dense(layout));
    if name != "paper.col_transposed" {
        return Some(Mask { side, seen });
    }
    // Figure 11c: the same relation over the image enumerated column by column, which is the tiles' own order.
    let order = pattern.tiles(layout, side).order;
    let seen = order.iter().flat_map(|&query| order.iter().map(move |&key| (query, key)));
    let seen = seen.map(|(query, key)| pattern.sees(layout, query, key)).collect();
    Some(Mask { side, seen })
}

impl Mask {
    fn dense(&self) -> Vec<f64> {
        self.seen.iter().map(|&seen| f64::from(u8::from(seen))).collect()
    }

    /// Bit j % 8 (the lowest first) of byte j / 8 is key j.
    fn packed(&self) -> Vec<f64> {
        let byte = |keys: &[bool]| keys.iter().rev().fold(0u8, |byte, &seen| byte << 1 | u8::from(seen));
        self.seen.chunks(self.side).flat_map(|row| row.chunks(8).map(|keys| byte(keys).into())).collect()
    }

    fn row_sums(&self) -> Vec<f64> {
        self.seen.chunks(self.side).map(|row| row.iter().filter(|&&seen| seen).count() as f64).collect()
    }

    fn column_sums(&self) -> Vec<f64> {
        let seen = |key: usize| self.seen.iter().skip(key).step_by(self.side).filter(|&&seen| seen).count();
        (0..self.side).map(|key| seen(key) as f64).collect()
    }

    /// Half-open ranges of the keys that `query` sees.
    fn ranges(&self, query: usize) -> Vec<[usize; 2]> {
        let mut ranges: Vec<[usize; 2]> = Vec::new();
        for key in (0..self.side).filter(|key| self.seen[query * self.side + key]) {
            match ranges.last_mut() {
                Some(range) if range[1] == key => range[1] += 1,
                _ => ranges.push([key, key + 1]),
            }
        }
        ranges
    }

    fn sha256(&self) -> String {
        let bytes: Vec<u8> = self.seen.iter().map(|&seen| u8::from(seen)).collect();
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

/// One size of `masks/meta.json`, and what it is called in messages and file names.
struct Size {
    name: String,
    layout: Layout,
    kernel: usize,
}

impl Size {
    fn of(entry: &Value) -> Self {
        let layout = Layout { text: number(&entry["text"]), grid: number(&entry["grid"]) };
        let kernel = number(&entry["kernel"]);
        assert_eq!(number(&entry["N"]), layout.sequence());
        Size { name: format!("t{}_g{}_k{kernel}", layout.text, layout.grid), layout, kernel }
    }

    /// The mask of a stored tensor, which must be one that the library knows.
    fn mask(&self, name: &str) -> Mask {
        mask(name, self.layout, self.kernel).unwrap_or_else(|| panic!("{}: no test covers {name}", self.name))
    }

    /// Holds every tensor of a file against one form of its mask.
    fn check(&self, file: &str, form: fn(&Mask) -> Vec<f64>) {
        let stored = fixture::open(&format!("masks/{file}"));
        assert!(stored.names().next().is_some(), "{file} is empty");
        for name in stored.names() {
            assert!(form(&self.mask(name)) == stored.get(name).values, "{file}: {name} differs");
        }
    }

    fn check_rows(&self, file: &str) {
        let stored = fixture::json(&format!("masks/{file}"));
        for (name, rows) in stored["rows"].as_object().expect("rows") {
            let mask = self.mask(name);
            for (query, ranges) in rows.as_object().expect("rows by query") {
                let ranges: Vec<[usize; 2]> = serde_json::from_value(ranges.clone()).expect("ranges");
                assert_eq!(mask.ranges(query.parse().expect("a query")), ranges, "{file}: {name}, query {query}");
            }
        }
    }
}

#[test]
fn every_listed_mask_has_the_published_pairs() {
    let meta = fixture::json("masks/meta.json");
    let sizes = meta["sizes"].as_array().expect("sizes");
    assert!(!sizes.is_empty());
    for entry in sizes {
        let size = Size::of(entry);
        for (name, expected) in entry["masks"].as_object().expect("masks") {
            let mask = size.mask(name);
            let pairs = mask.seen.iter().filter(|&&seen| seen).count();
            assert_eq!(pairs, number(&expected["nnz"]), "{} {name}: pairs", size.name);
            assert_eq!(mask.sha256(), expected["sha256_u8_rowmajor"], "{} {name}: sha256", size.name);
        }
    }
}

#[test]
fn every_stored_form_is_that_of_the_pattern() {
    for entry in fixture::json("masks/meta.json")["sizes"].as_array().expect("sizes") {
        let size = Size::of(entry);
        let forms: [(&str, fn(&Mask) -> Vec<f64>); 4] = [
            (".safetensors", Mask::dense),
            ("_packed.safetensors", Mask::packed),
            ("_counts.safetensors", Mask::row_sums),
            ("_colcounts.safetensors", Mask::column_sums),
        ];
        let exists = |file: &str| fixture::root().join("masks").join(file).exists();
        let mut stored = 0;
        for (ending, form) in forms {
            let file = size.name.clone() + ending;
            if exists(&file) {
                size.check(&file, form);
                stored += 1;
            }
        }
        let rows = size.name.clone() + "_rows.json";
        if exists(&rows) {
            size.check_rows(&rows);
            stored += 1;
        }
        // The file that meta.json names, in whichever form, is among those read.
        let named = entry["file"].as_str().and_then(|file| file.split_whitespace().next()).expect("a file");
        assert!(stored > 0 && named.starts_with(&size.name) && exists(named), "{}: no test reads {named}", size.name);
    }
}
