//! The published models against their official implementations, number for number, and the readers of their files.

mod clip_bpe;
mod dalle_pytorch;
mod fixture;
mod import;
mod losses;
mod masks;
mod metrics;
mod openai_clip;
mod openai_dvae;
mod rudalle;
mod sizes;
mod vqgan_gumbel;
mod yttm;
