//! A small network in ONNX's format, written field by field: means of channels as features, and two classes of them.
#![allow(dead_code)] // each test binary uses another part

/// A field of bytes: its number, then the bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len()), bytes].concat()
}

/// A field of one number.
fn number(field: u8, value: usize) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn node(kind: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
    field(1, &[inputs, field(2, output.as_bytes()), field(4, kind.as_bytes())].concat())
}

/// What goes in or out: (name, sides), 0 for a side that is left open.
fn value(place: u8, name: &str, sides: &[usize]) -> Vec<u8> {
    let side = |&side: &usize| field(1, &if side == 0 { field(2, b"n") } else { number(1, side) });
    let shape: Vec<u8> = sides.iter().flat_map(side).collect();
    let tensor = [number(1, 1), field(2, &shape)].concat();
    field(place, &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat())
}

/// A network over pictures of (batch, 3, side, side), 0 leaving the side open. Its features are the means of the channels,
/// as maps of one pixel; class 0 scores the red mean times 4, class 1 the green times 4.
pub fn means(side: usize) -> Vec<u8> {
    let weights: Vec<u8> = [4.0f32, 0.0, 0.0, 4.0, 0.0, 0.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    let weights = [number(1, 3), number(1, 2), number(2, 1), field(8, b"w"), field(9, &weights)].concat();
    let graph = [
        node("GlobalAveragePool", &["x"], "means"),
        node("Flatten", &["means"], "flat"),
        node("MatMul", &["flat", "w"], "classes"),
        field(2, b"graph"),
        field(5, &weights),
        value(11, "x", &[0, 3, side, side]),
        value(12, "means", &[0, 3, 1, 1]),
        value(12, "classes", &[0, 2]),
    ];
    [number(1, 8), field(8, &number(2, 13)), field(7, &graph.concat())].concat()
}
