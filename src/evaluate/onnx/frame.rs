//! The frame of an ONNX file: fields of messages in messages (protobuf). It is checked before the library that reads such
//! files sees it, which trusts them: rten 0.24 loops without end on a number of more than ten bytes, allocates whatever a
//! length claims, and follows messages as deep as they nest.

/// Deeper than any network nests its branches and loops.
const DEEPEST: usize = 64;
/// Bytes of a number of 64 bits, seven each.
const LONGEST: usize = 10;

/// The messages that are looked into.
#[derive(Clone, Copy)]
enum NetworkKind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    Sequence,
    /// One that holds no others.
    Leaf,
    /// Numbers one after the other, without fields.
    Numbers,
}

impl NetworkKind {
    /// What field `number` holds, by onnx.proto; `None` for bytes.
    fn inside(self, number: u64) -> Option<NetworkKind> {
        Some(match (self, number) {
            (NetworkKind::Model, 7) | (NetworkKind::Attribute, 6) => NetworkKind::Graph,
            (NetworkKind::Model, 8 | 14) | (NetworkKind::Tensor, 13) | (NetworkKind::Shape, 1) => NetworkKind::Leaf,
            (NetworkKind::Graph, 1) => NetworkKind::Node,
            (NetworkKind::Graph, 5) | (NetworkKind::Attribute, 5) => NetworkKind::Tensor,
            (NetworkKind::Graph, 11..=13) => NetworkKind::Value,
            (NetworkKind::Node, 5) => NetworkKind::Attribute,
            (NetworkKind::Tensor, 5 | 7) => NetworkKind::Numbers,
            (NetworkKind::Value, 2) | (NetworkKind::Sequence, 1) => NetworkKind::Type,
            (NetworkKind::Type, 1) => NetworkKind::TensorType,
            (NetworkKind::Type, 4) => NetworkKind::Sequence,
            (NetworkKind::TensorType, 2) => NetworkKind::Shape,
            _ => return None,
        })
    }
}

/// Whether every number and length of the file is whole and within its message; else what is wrong, and where.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    Frame { bytes, at: 0 }.message(bytes.len(), NetworkKind::Model, 0)
}

struct Frame<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Frame<'_> {
    fn message(&mut self, end: usize, kind: NetworkKind, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("at byte {}: messages nest deeper than {DEEPEST}", self.at));
        }
        while self.at < end {
            let start = self.at;
            let tag = self.number(end)?;
            if matches!(kind, NetworkKind::Numbers) {
                continue;
            }
            match tag & 7 {
                0 => drop(self.number(end)?),
                1 => drop(self.skip(8, end)?),
                2 => {
                    let len = self.number(end)?;
                    let inner = self.skip(len, end)?;
                    if let Some(kind) = kind.inside(tag >> 3) {
                        let after = self.at;
                        self.at = inner;
                        self.message(after, kind, depth + 1)?;
                    }
                }
                5 => drop(self.skip(4, end)?),
                other => return Err(format!("at byte {start}: no field of ONNX has wire type {other}")),
            }
        }
        Ok(())
    }

    /// A number: seven bits a byte, the last below 128.
    fn number(&mut self, end: usize) -> Result<u64, String> {
        let bytes = &self.bytes[self.at..end.min(self.at + LONGEST)];
        let last = bytes.iter().position(|byte| *byte < 0x80);
        let last = last.ok_or_else(|| format!("at byte {}: a number without end", self.at))?;
        self.at += last + 1;
        Ok(bytes[..=last].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
    }

    /// Passes over `len` bytes; gives where they begin.
    fn skip(&mut self, len: u64, end: usize) -> Result<usize, String> {
        let start = self.at;
        if len > (end - start) as u64 {
            return Err(format!("at byte {start}: expected {len} bytes, its message ends after {}", end - start));
        }
        self.at += len as usize;
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn whole_fields_pass_and_bytes_are_not_looked_into() {
        let attribute = [field(1, b"\xff\xff\xff"), vec![3 << 3, 0x80, 0x01], vec![2 << 3 | 5, 0, 0, 0, 0]].concat();
        let graph = [field(1, &field(5, &attribute)), field(2, b"name"), field(5, &field(9, &[0xff; 20]))].concat();
        assert_eq!(check(&[field(7, &graph), vec![1 << 3, 8]].concat()), Ok(()));
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn what_the_library_trusts_is_refused_where_it_stands() {
        let refused = |bytes: &[u8], what: &str| {
            let told = check(bytes).unwrap_err();
            assert!(told.contains(what), "{told}");
        };
        refused(&[0xf5; 46], "at byte 0: a number without end");
        refused(&field(7, &field(5, &field(7, &[0x80; 12]))), "at byte 6: a number without end");
        refused(&[7 << 3 | 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20], "expected 1099511627776 bytes");
        refused(&field(7, &[5 << 3 | 2, 9]), "at byte 4: expected 9 bytes, its message ends after 0");
        refused(&[7 << 3 | 3], "wire type 3");
        refused(&[0x80], "without end");
    }

    #[test]
    fn no_depth_exhausts_the_stack() {
        // A graph in an attribute of a node, again and again; lengths of two bytes.
        let mut graph = Vec::new();
        for _ in 0..200 {
            for number in [6, 5, 1] {
                let len = graph.len();
                graph.splice(0..0, [number << 3 | 2, len as u8 | 0x80, (len >> 7) as u8]);
            }
        }
        let len = graph.len();
        graph.splice(0..0, [7 << 3 | 2, len as u8 | 0x80, (len >> 7) as u8]);
        assert!(check(&graph).unwrap_err().contains("nest deeper"));
    }
}
