//! Named tensors to safetensors and back.

use crate::error::{Error, Result};
use crate::nn::Parameter;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::HashMap;

/// Parameters as the bytes of a safetensors file.
pub fn to_bytes(parameters: &[Parameter<f32>]) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> =
        parameters.iter().map(|p| p.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views: std::result::Result<Vec<_>, _> = parameters
        .iter()
        .zip(&bytes)
        .map(|(p, bytes)| TensorView::new(Dtype::F32, p.shape.clone(), bytes).map(|view| (p.name.clone(), view)))
        .collect();
    let write = |e: safetensors::SafeTensorError| Error::data("safetensors", e.to_string());
    safetensors::serialize(views.map_err(write)?, None).map_err(write)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_keeps_names_shapes_and_bits() {
        let parameters = vec![
            Parameter {
                name: "a.weight".into(),
                shape: vec![2, 3],
                values: vec![1.0, -2.5, f32::MIN_POSITIVE, 0.0, 4.0, 5.0],
            },
            Parameter { name: "b".into(), shape: vec![], values: vec![7.0] },
        ];
        let mut found = from_bytes(&to_bytes(&parameters).unwrap(), "test").unwrap();
        assert_eq!(take(&mut found, "a.weight", &[2, 3], "test").unwrap(), parameters[0].values);
        assert!(take(&mut found, "b", &[1], "test").unwrap_err().to_string().contains("expected shape [1], got []"));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let error = from_bytes(&[1, 2, 3], "x.safetensors").unwrap_err().to_string();
        assert!(error.starts_with("x.safetensors: not a safetensors file"), "{error}");
    }
}
