//! Arithmetic: the CUDA kernels' launches and index maths, on the CPU and from the same source (a header stands in for CUDA); and
//! in `ops` every differentiable operation.

mod activation;
mod adamw;
mod attention;
mod conv;
mod copying;
mod cross_entropy;
mod few_rows;
#[path = "../../src/kernels/cuda/grids.rs"]
#[allow(dead_code)] // as many as there are kernels
mod grids;
mod gumbel;
mod harness;
mod norm;
mod ops;
mod sampler;
#[path = "../../src/kernels/cuda/tile_lists.rs"]
mod tile_lists;
