//! Networks of ONNX files, run by rten.

mod frame;

use super::engine::Engine;
use crate::error::{Error, Result, without_panic};
use rten::{Dimension, Model, NodeId, Value};
use rten_tensor::Layout;
use std::path::Path;

/// A network of a file.
pub struct Onnx {
    model: Model,
    input: NodeId,
    channels_first: bool,
    side: Option<usize>,
}

impl Onnx {
    /// Opens the file at `path`: one input and one or two outputs.
    ///
    /// # Errors
    /// [`Error::Data`] where it is no such file.
    pub fn open(path: &Path) -> Result<Onnx> {
        const MOST: u64 = 4 << 30;
        let bytes = crate::files::read(path, MOST)?;
        let bad = |what: String| Error::data(path, what);
        let no_network = |what: String| bad(format!("expected an ONNX network: {what}"));
        frame::check(&bytes).map_err(|what| no_network(what.to_string()))?;
        let loaded = without_panic(|| Model::load(bytes)).map_err(no_network)?;
        let model = loaded.map_err(|error| no_network(error.to_string()))?;
        let &[input] = model.input_ids() else {
            return Err(bad(format!("expected a network with one input, got {}", model.input_ids().len())));
        };
        if !(1..=2).contains(&model.output_ids().len()) {
            return Err(bad(format!("expected one or two outputs, got {}", model.output_ids().len())));
        }
        let shape: Vec<Option<usize>> = model
            .input_shape(0)
            .unwrap_or_default()
            .iter()
            .map(|side| match side {
                Dimension::Fixed(side) => Some(*side),
                Dimension::Symbolic(_) => None,
            })
            .collect();
        let (channels_first, side) = match shape[..] {
            [_, Some(3), side, _] => (true, side),
            [_, side, _, Some(3)] => (false, side),
            _ => return Err(bad(format!("expected an input of 3 channels and 4 axes, got {shape:?}"))),
        };
        Ok(Onnx { model, input, channels_first, side })
    }
}

impl Engine for Onnx {
    fn channels_first(&self) -> bool {
        self.channels_first
    }

    fn side(&self) -> Option<usize> {
        self.side
    }

    fn run(&self, shape: [usize; 4], values: Vec<f32>) -> std::result::Result<Vec<Vec<f64>>, String> {
        let size = shape[0];
        let input = Value::from_shape(&shape, values).map_err(|e| e.to_string())?;
        let outputs =
            without_panic(|| self.model.run(vec![(self.input, input.into())], self.model.output_ids(), None))?;
        let rows = |output: Value| -> std::result::Result<Vec<f64>, String> {
            let shape = output.shape().to_vec();
            let tensor = output.into_tensor::<f32>().ok_or("expected floating-point outputs")?;
            let values = tensor.into_data();
            match shape[..] {
                [rows, _] if rows == size => Ok(values.iter().map(|&v| f64::from(v)).collect()),
                [rows, _, height, width] if rows == size && height * width > 0 => {
                    let mean = |map: &[f32]| map.iter().map(|&v| f64::from(v)).sum::<f64>() / map.len() as f64;
                    Ok(values.chunks(height * width).map(mean).collect())
                }
                _ => Err(format!("expected outputs of {size} rows, got {shape:?}")),
            }
        };
        outputs.map_err(|e| e.to_string())?.into_iter().map(rows).collect()
    }
}
