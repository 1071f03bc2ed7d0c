//! safetensors files: their header read and checked without their data, and written with data that streams after it.

use super::source::Source;
use super::tensor::Stored;
use crate::error::{Error, Result};
use crate::files;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashMap;
use std::path::Path;

/// Bytes of a header: that of a model with thousands of tensors is under one megabyte.
const MAX_HEADER: u64 = 4 << 20;

/// The tensors of a safetensors file in the order of their data, and its metadata.
///
/// # Errors
/// [`Error::Data`] where the header is broken, or the data is not exactly what it says.
pub fn read(source: &Source) -> Result<(Vec<Stored>, HashMap<String, String>)> {
    let mut len = [0; 8];
    source.read(0, &mut len)?;
    let len = u64::from_le_bytes(len);
    if len > MAX_HEADER {
        return Err(
            source.bad(format!("not a safetensors file: expected a header of at most {MAX_HEADER} bytes, got {len}"))
        );
    }
    let header = source.bytes(8, len)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| source.bad(format!("not a safetensors file: {e}")))?;
    let (base, size) = (8 + len, header.data_len() as u64);
    if base.checked_add(size) != Some(source.size()) {
        return Err(source.bad(format!("expected {size} bytes of tensors, got {}", source.size() - base)));
    }
    let tensor = |name: String| {
        let info = header.info(&name)?;
        Some(Stored::dense(name, info.dtype, info.shape.clone(), base + info.data_offsets.0 as u64))
    };
    let tensors = header.offset_keys().into_iter().filter_map(tensor).collect();
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// Writes `tensors`, each from its source under the name beside it, to a safetensors file. They are ordered by the size of
/// their values, so that all are aligned, then by name. The file appears under its name when it is whole.
///
/// # Errors
/// What reading a tensor says, or [`Error::Io`] if writing fails.
pub fn write(
    path: &Path,
    mut tensors: Vec<(String, &Source, &Stored)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    tensors.sort_by(|(a_name, _, a), (b_name, _, b)| b.dtype.cmp(&a.dtype).then(a_name.cmp(b_name)));
    let mut end = 0;
    let entry = |(name, _, tensor): &(String, &Source, &Stored)| {
        let start = end;
        end += tensor.size() as usize;
        (name.clone(), TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (start, end) })
    };
    let entries = tensors.iter().map(entry).collect();
    let broken = |what: String| Error::data(path, format!("cannot be written: {what}"));
    let header = Metadata::new(Some(metadata), entries).map_err(|e| broken(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| broken(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');

    files::stream(path, |put| {
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        tensors.iter().try_for_each(|(_, source, tensor)| tensor.copy(source, put))
    })
}
