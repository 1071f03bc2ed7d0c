//! From captions to pictures: sampling image tokens, forcing some of them, and reranking the pictures with CLIP.

mod prime;
mod rerank;
mod sampler;

pub use prime::{forced_rows, prime_rows};
pub use rerank::{cosines, probabilities, rank};
pub use sampler::{Options, Prompt, draw, held_at_once, sample};
