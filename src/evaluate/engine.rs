//! What a library that runs networks must do for [`network`](super::network), which knows none of them.

/// What computes a network.
pub trait Engine {
    /// Whether it takes channels before rows and columns, as PyTorch has them.
    fn channels_first(&self) -> bool;
    /// The side of the pictures that it takes; `None`: any.
    fn side(&self) -> Option<usize>;
    /// Each output, a row per picture, maps averaged, of `values` of `shape`: (B, 3, side, side) or (B, side, side, 3). An error
    /// says what is wrong with the network.
    fn run(&self, shape: [usize; 4], values: Vec<f32>) -> std::result::Result<Vec<Vec<f64>>, String>;
}
