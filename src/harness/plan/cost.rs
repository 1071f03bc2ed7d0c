//! What each operation costs, for one example of a batch: floating-point operations, and what the tape keeps of it until the
//! backward pass. A formula per operation of [`crate::ops`], read off what its closure holds.
//!
//! A product of (m, k) and (k, n) is 2·m·n·k operations. Backward it is two such products, one for each operand; the
//! gradient of a picture is nobody's, so a first layer has but one. Pointwise work is left out.

use crate::ops::Input;
use serde::Serialize;

/// Floating-point operations by the kernel that runs them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Flops {
    /// Convolutions, 1×1 ones included.
    pub convolution: f64,
    /// MatmulPrecision with weights.
    pub linear: f64,
    /// Scores and weighted sums of attention over the tiles that the pattern visits.
    pub attention: f64,
    /// The same over all pairs of positions, masked or not; not part of the total.
    pub dense_attention: f64,
}

impl Flops {
    /// All that is run.
    pub fn total(self) -> f64 {
        self.convolution + self.linear + self.attention
    }

    /// The total if attention were dense.
    pub fn dense_total(self) -> f64 {
        self.total() - self.attention + self.dense_attention
    }
}

impl std::ops::Mul<f64> for Flops {
    type Output = Flops;

    fn mul(self, times: f64) -> Flops {
        Flops {
            convolution: self.convolution * times,
            linear: self.linear * times,
            attention: self.attention * times,
            dense_attention: self.dense_attention * times,
        }
    }
}

impl std::ops::Add for Flops {
    type Output = Flops;

    fn add(self, other: Flops) -> Flops {
        Flops {
            convolution: self.convolution + other.convolution,
            linear: self.linear + other.linear,
            attention: self.attention + other.attention,
            dense_attention: self.dense_attention + other.dense_attention,
        }
    }
}

impl std::iter::Sum for Flops {
    fn sum<I: Iterator<Item = Flops>>(flops: I) -> Flops {
        flops.fold(Flops::default(), std::ops::Add::add)
    }
}

/// The cost of a chain of operations. Sizes are in values of four bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Parameters of the operations so far: must equal those of the model that is walked.
    pub parameters: usize,
    /// One forward pass of one example.
    pub forward: Flops,
    /// Forward and backward.
    pub training: Flops,
    /// Values that the tape keeps for one example.
    pub kept: f64,
    /// The most values for one example that are there at once, kept and in flight, at any of the operations so far.
    pub most: f64,
    /// Values of the residual stream, which lies beside each operation of a block.
    pub stream: Option<usize>,
}

impl Cost {
    /// A same-padded convolution of `pixels` positions; keeps its input.
    pub fn convolution(&mut self, pixels: usize, sides: (usize, usize), kernel: usize, input: Input) {
        self.keep(pixels * sides.0);
        self.convolution_of_kept(pixels, sides, kernel, input);
    }

    /// A convolution of what another operation keeps already.
    pub fn convolution_of_kept(
        &mut self,
        pixels: usize,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        input: Input,
    ) {
        let weights = inputs * outputs * kernel * kernel;
        let forward = 2.0 * pixels as f64 * weights as f64;
        let passes = if input == Input::Picture { 2.0 } else { 3.0 };
        self.forward.convolution += forward;
        self.training.convolution += passes * forward;
        self.parameters += weights + outputs;
        self.flight(pixels * inputs, pixels * outputs);
    }

    /// A linear map of `rows` rows; keeps its input.
    pub fn linear(&mut self, rows: usize, (inputs, outputs): (usize, usize), bias: bool) {
        let forward = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        self.forward.linear += forward;
        self.training.linear += 3.0 * forward;
        self.parameters += inputs * outputs + if bias { outputs } else { 0 };
        self.keep(rows * inputs);
        self.flight(rows * inputs, rows * outputs);
    }

    /// Attention over `sequence` positions of `width` channels, `pairs` of which are multiplied; keeps queries, keys,
    /// values and a logsumexp per head and query (the result too, as what follows does). The backward pass's second computation of the scores is not
    /// counted.
    pub fn attention(&mut self, sequence: usize, width: usize, heads: usize, pairs: usize) {
        let of = |pairs: usize| 4.0 * pairs as f64 * width as f64;
        let forward = Flops { attention: of(pairs), dense_attention: of(sequence * sequence), ..Flops::default() };
        self.forward = self.forward + forward;
        self.training = self.training + forward * 3.0;
        self.keep(sequence * (3 * width + heads));
        self.flight(3 * sequence * width, sequence * width);
    }

    /// A layer norm; keeps its input and two numbers a row.
    pub fn norm(&mut self, rows: usize, channels: usize) {
        self.parameters += 2 * channels;
        self.keep(rows * (channels + 2));
        self.flight(rows * channels, rows * channels);
    }

    /// A table of embeddings, looked up for `rows` rows: keeps an index each.
    pub fn table(&mut self, entries: usize, channels: usize, rows: usize) {
        self.parameters += entries * channels;
        self.keep(rows);
        self.flight(rows * channels, rows * channels);
    }

    /// A block all of whose values are kept.
    pub fn block(&mut self, block: Cost) {
        self.parameters += block.parameters;
        self.forward = self.forward + block.forward;
        self.training = self.training + block.training;
        self.most = self.most.max(self.kept + block.most);
        self.kept += block.kept;
    }

    /// A block that keeps its `input` values, and runs forward once more.
    pub fn recomputed(&mut self, input: usize, block: Cost) {
        let training = block.training + block.forward;
        self.block(Cost { training, kept: input as f64, ..block });
    }

    /// A pointwise function, or a loss, that keeps its `values` inputs.
    pub fn pointwise(&mut self, values: usize) {
        self.keep(values);
        self.flight(values, values);
    }

    /// `values` more are kept: indices, targets, draws.
    pub fn keep(&mut self, values: usize) {
        self.kept += values as f64;
    }

    /// Tensors beside the tape on the way back: the gradients of an operation's input, of its output, and of what goes around
    /// it: the residual stream, or where there is none as much as the input. On the way there it is less: the tape shares the
    /// input.
    fn flight(&mut self, inputs: usize, outputs: usize) {
        let in_flight = inputs + outputs + self.stream.unwrap_or(inputs);
        self.most = self.most.max(self.kept + in_flight as f64);
    }
}
