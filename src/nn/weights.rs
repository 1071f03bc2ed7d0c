//! Named tensors to safetensors and back.

use super::{Module, Parameter, filled};
use crate::error::{Error, Result};
use crate::ops::Backend;
use safetensors::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::collections::HashMap;

/// Tensors, as (name, shape, values), to the bytes of a safetensors file; beside these, one tensor is copied at a time.
pub fn to_bytes<'a>(tensors: impl IntoIterator<Item = (String, &'a [usize], &'a [f32])>) -> Result<Vec<u8>> {
    let views = tensors.into_iter().map(|(name, shape, values)| (name, Values { shape, values }));
    safetensors::serialize(views, None).map_err(|e| Error::data("safetensors", e.to_string()))
}

/// A tensor that becomes bytes when it is written.
struct Values<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        self.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// The tensors of a safetensors file by name; f32 only.
pub fn from_bytes(bytes: &[u8], source: &str) -> Result<HashMap<String, Parameter<f32>>> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|e| Error::data(source, format!("not a safetensors file: {e}")))?;
    let mut found = HashMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(Error::data(source, format!("tensor {name}: expected F32, got {:?}", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let parameter = Parameter { name: name.to_owned(), shape: view.shape().to_vec(), values };
        found.insert(name.to_owned(), parameter);
    }
    Ok(found)
}

/// Takes the tensor `name` of `shape` out of `found`.
///
/// # Errors
/// [`Error::Data`] where it is missing or has another shape.
pub fn take(
    found: &mut HashMap<String, Parameter<f32>>,
    name: &str,
    shape: &[usize],
    source: &str,
) -> Result<Vec<f32>> {
    let parameter = found.remove(name).ok_or_else(|| Error::data(source, format!("tensor {name} is missing")))?;
    if parameter.shape != shape {
        let what = format!("tensor {name}: expected shape {shape:?}, got {:?}", parameter.shape);
        return Err(Error::data(source, what));
    }
    Ok(parameter.values)
}

/// A model with the tensors of a safetensors file, by name.
///
/// # Errors
/// [`Error::Data`] where one is missing or has another shape.
pub fn model<M: Module<f32, D>, D: Backend<f32>>(device: &D, bytes: &[u8], source: &str) -> Result<M> {
    let mut found = from_bytes(bytes, source)?;
    filled(device, |parameter| take(&mut found, &parameter.name, &parameter.shape, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_keeps_names_shapes_and_bits() {
        let parameters = [
            Parameter {
                name: "a.weight".into(),
                shape: vec![2, 3],
                values: vec![1.0, -2.5, f32::MIN_POSITIVE, 0.0, 4.0, 5.0],
            },
            Parameter { name: "b".into(), shape: vec![], values: vec![7.0] },
        ];
        let tensors = parameters.iter().map(|p| (p.name.clone(), &p.shape[..], &p.values[..]));
        let mut found = from_bytes(&to_bytes(tensors).unwrap(), "test").unwrap();
        assert_eq!(take(&mut found, "a.weight", &[2, 3], "test").unwrap(), parameters[0].values);
        assert!(take(&mut found, "b", &[1], "test").unwrap_err().to_string().contains("expected shape [1], got []"));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let error = from_bytes(&[1, 2, 3], "x.safetensors").unwrap_err().to_string();
        assert!(error.starts_with("x.safetensors: not a safetensors file"), "{error}");
    }
}
