//! Messages of Protocol Buffers, written by hand (a compiler of schemas would be the larger part of what is used of them), and the
//! frames of TFRecord, in which TensorBoard reads them.

/// One frame: the length of `record`, its checksum, the record, its checksum.
pub(super) fn framed(record: &[u8], out: &mut Vec<u8>) {
    let length = (record.len() as u64).to_le_bytes();
    for part in [&length[..], &masked(&length).to_le_bytes(), record, &masked(record).to_le_bytes()] {
        out.extend_from_slice(part);
    }
}

/// A number, seven bits a byte.
fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A field that is a whole number.
pub(super) fn int(field: u64, n: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(n, out);
}

/// A field that is a number.
pub(super) fn double(field: u64, x: f64, out: &mut Vec<u8>) {
    varint(field << 3 | 1, out);
    out.extend_from_slice(&x.to_le_bytes());
}

/// A field that is bytes or text.
pub(super) fn bytes(field: u64, content: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// A field that is a message.
pub(super) fn message(field: u64, out: &mut Vec<u8>, parts: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    parts(&mut content);
    bytes(field, &content, out);
}

/// A field that is a number of single precision.
pub(super) fn float(field: u64, x: f32, out: &mut Vec<u8>) {
    varint(field << 3 | 5, out);
    out.extend_from_slice(&x.to_le_bytes());
}

/// CRC-32C (Castagnoli), rotated and shifted as TFRecord wants it: a checksum of data that hold checksums would say little.
fn masked(content: &[u8]) -> u32 {
    let sum = !content.iter().fold(!0, |sum: u32, byte| TABLE[((sum ^ u32::from(*byte)) & 255) as usize] ^ (sum >> 8));
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What each byte does to the checksum.
const TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78; // reversed
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};
