//! Feature maps of convolutional models that only infer, as [`vqgan`](super::vqgan): run-time sides, no tape, f32. Their shapes
//! come from a published configuration, not from a preset, and nothing here is compiled more than once.
//!
//! A layer takes its parameters by name from whoever loads it, so the same code reads a file and lists what it needs.

use crate::kernels::cpu::conv::{self, Conv as Same};
use crate::kernels::cpu::strided::{self, Strided};
use crate::kernels::cpu::{activation, pool};
use crate::ops::Activation;
use crate::{Error, Result};

/// Gives the values of a parameter: `find(name, shape)`, in row-major order.
pub type Find<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'a;

/// One parameter.
///
/// # Errors
/// What `find` says, or [`Error::Data`] where it gives another number of values.
pub fn take(find: &mut Find<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let values = find(name, shape)?;
    if values.len() != shape.iter().product::<usize>() {
        return Err(Error::data(name, format!("expected {shape:?} values, got {}", values.len())));
    }
    Ok(values)
}

/// Pictures or feature maps: (B, H, W, C), row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMap {
    /// B
    pub batch: usize,
    /// H
    pub height: usize,
    /// W
    pub width: usize,
    /// C
    pub channels: usize,
    /// The values.
    pub values: Vec<f32>,
}

impl FeatureMap {
    /// From values in row-major order.
    ///
    /// # Errors
    /// [`Error::Usage`] where their number is not B·H·W·C or one of these is 0.
    pub fn new([batch, height, width, channels]: [usize; 4], values: Vec<f32>) -> Result<Self> {
        let expected = [batch, height, width, channels].iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        if expected != Some(values.len()) || values.is_empty() {
            return Err(Error::Usage(format!(
                "a feature map of {batch}×{height}×{width}×{channels}: got {} values",
                values.len()
            )));
        }
        Ok(FeatureMap { batch, height, width, channels, values })
    }

    /// The rows of `table` (V, `channels`) at `ids`, as the pixels of a map.
    ///
    /// # Errors
    /// [`Error::Usage`] for an id that the table does not have, or another number of ids than B·H·W.
    pub fn of_ids(table: &[f32], channels: usize, ids: &[u32], [b, h, w]: [usize; 3]) -> Result<Self> {
        let rows = table.len() / channels;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
            return Err(Error::Usage(format!("code {id}: the codebook has {rows}")));
        }
        let row = |&id: &u32| &table[id as usize * channels..(id as usize + 1) * channels];
        FeatureMap::new([b, h, w, channels], ids.iter().flat_map(row).copied().collect())
    }

    /// f of every value.
    pub fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = f(*value));
        self
    }

    /// A nonlinearity of every value.
    pub fn activated(mut self, kind: Activation) -> Self {
        let mut out = vec![0.0; self.values.len()];
        activation::forward(kind, &self.values, &mut out);
        self.values = out;
        self
    }

    /// Sum with a map of the same sides.
    pub fn plus(mut self, other: &FeatureMap) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += b);
        self
    }

    /// Every pixel four times: (B, 2H, 2W, C).
    pub fn doubled(&self) -> Self {
        let (height, width) = (2 * self.height, 2 * self.width);
        let mut values = vec![0.0; 4 * self.values.len()];
        pool::nearest_forward((self.batch, height, width, self.channels), &self.values, &mut values);
        FeatureMap { height, width, values, ..*self }
    }

    fn with(&self, (height, width): (usize, usize), channels: usize, values: Vec<f32>) -> Self {
        FeatureMap { batch: self.batch, height, width, channels, values }
    }
}

/// A convolution with a square kernel.
#[derive(Debug, Clone)]
pub struct Conv {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
    kernel: usize,
}

impl Conv {
    /// Parameters: `name`.weight (O, I, K, K) and `name`.bias (O,), given I, O and K.
    pub fn load(find: &mut Find<'_>, name: &str, sizes: [usize; 3]) -> Result<Self> {
        let [inputs, outputs, kernel] = sizes;
        let shape = [outputs, inputs, kernel, kernel];
        Conv::read(find, name, shape, sizes)
    }

    /// A transposed convolution, whose weight is (I, O, K, K): for [`Conv::transposed`] alone.
    pub fn load_transposed(find: &mut Find<'_>, name: &str, sizes: [usize; 3]) -> Result<Self> {
        let [inputs, outputs, kernel] = sizes;
        Conv::read(find, name, [inputs, outputs, kernel, kernel], sizes)
    }

    fn read(find: &mut Find<'_>, name: &str, shape: [usize; 4], [inputs, outputs, kernel]: [usize; 3]) -> Result<Self> {
        let weight = take(find, &format!("{name}.weight"), &shape)?;
        let bias = take(find, &format!("{name}.bias"), &[outputs])?;
        Ok(Conv { weight, bias, inputs, outputs, kernel })
    }

    /// Same-padded, of x or of max(x, 0): (B, H, W, I) → (B, H, W, O). K odd.
    pub fn same(&self, x: &FeatureMap, relu: bool) -> FeatureMap {
        let FeatureMap { batch, height, width, .. } = *x;
        let sizes =
            Same { batch, height, width, inputs: self.inputs, outputs: self.outputs, kernel: self.kernel, relu };
        let mut values = vec![0.0; batch * height * width * self.outputs];
        conv::forward(sizes, &x.values, &self.weight, &self.bias, &mut values);
        x.with((height, width), self.outputs, values)
    }

    /// Every `stride`-th window, with so many rows and columns of zeros `before` (above, left) and `after` (below, right).
    pub fn strided(&self, x: &FeatureMap, stride: usize, (before, after): (usize, usize)) -> FeatureMap {
        let sizes = Strided { before, after, ..self.sizes(x, stride) };
        let (height, width) = sizes.sides();
        let mut values = vec![0.0; x.batch * height * width * self.outputs];
        strided::forward(sizes, &x.values, &self.weight, &self.bias, &mut values);
        x.with((height, width), self.outputs, values)
    }

    /// The transposed convolution.
    pub fn transposed(&self, x: &FeatureMap, stride: usize, padding: usize) -> FeatureMap {
        let (sizes, values) = strided::transposed(self.sizes(x, stride), padding, &x.values, &self.weight, &self.bias);
        x.with(sizes.sides(), self.outputs, values)
    }

    fn sizes(&self, x: &FeatureMap, stride: usize) -> Strided {
        let FeatureMap { batch, height, width, .. } = *x;
        let Conv { inputs, outputs, kernel, .. } = *self;
        Strided { batch, height, width, inputs, outputs, kernel, stride, before: 0, after: 0 }
    }
}
