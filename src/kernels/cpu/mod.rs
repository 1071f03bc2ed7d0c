//! The CPU's kernels, plain first: rayon over a static split of the rows, loops that the compiler vectorises.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod conv;
pub mod cross_entropy;
pub mod embed;
pub mod gumbel;
pub mod laplace;
pub mod linear;
pub mod matmul;
pub mod norm;
pub mod pool;
pub mod softmax;
