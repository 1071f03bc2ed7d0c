//! OpenAI's and Hugging Face's CLIPs: one boundary where a file's sizes become one of the published types.

use super::unexpected;
use crate::error::{Error, Result};
use crate::import::{Kind, Weights};
use crate::inference::{Embedder, FrozenClip, Reranker};
use crate::models::clip::presets::{Rn50, VitB16, VitB32, VitL14};
use crate::models::clip::resnet::{self, ResNet};
use crate::models::clip::{Clip, ClipSizes, hf};
use crate::nn::{self, Module};
use crate::shape::ClipShape;
use crate::text::ClipBpe;
use dfdx::prelude::Cpu;
use std::path::{Path, PathBuf};

/// The merges as OpenAI publishes them, and as Hugging Face does.
const MERGES: [&str; 2] = ["bpe_simple_vocab_16e6.txt.gz", "merges.txt"];

/// The parameter of a name and shape, by OpenAI's names ([`hf::read`] brings others to them).
type Find<'f> = &'f mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>>;

/// The CLIP that `experiment import` wrote to `path`, with the merges of its tokenizer; left out, they lie beside it under their
/// published name.
///
/// # Errors
/// [`Error::Data`] where a file is missing or holds something else.
pub fn open(path: &Path, merges: Option<&Path>) -> Result<Reranker> {
    let clip = embedder(path)?;
    let merges = merges.map_or_else(|| beside(path), |merges| Ok(merges.to_owned()))?;
    let bpe = ClipBpe::load(&merges)?;
    let (most, size) = (clip.vocabulary(), bpe.vocab_size());
    if size > most {
        let what = format!("expected at most {most} tokens for {}, got {size}", path.display());
        return Err(Error::data(&merges, what));
    }
    Ok(Reranker::published(clip.into(), bpe))
}

/// The model of an imported file.
fn embedder(path: &Path) -> Result<Box<dyn Embedder>> {
    let weights = Weights::open(path)?;
    let shape = |name: &str| weights.find(name).map(|tensor| tensor.shape.clone());
    let mut find = |name: &str, shape: &[usize]| weights.parameter(name, shape);
    match weights.kind() {
        Some(Kind::OpenaiClip) if shape("visual.proj").is_some() => {
            vision_transformer(ClipSizes::read(&shape)?, None, &mut find)
        }
        Some(Kind::OpenaiClip) => resnet(resnet::ResNetSizes::of(&shape)?, &mut find),
        Some(Kind::HfClip) => {
            let config = hf::Config::parse(weights.config()?.to_string().as_bytes(), path)?;
            let mut find = |name: &str, shape: &[usize]| hf::read(name, shape, &mut find);
            vision_transformer(config.sizes, config.end, &mut find)
        }
        other => Err(unexpected(path, &[Kind::OpenaiClip, Kind::HfClip], other)),
    }
}

/// A vision transformer of one of the published sizes; `end` as in [`hf::Config`], `None` for OpenAI's own files.
fn vision_transformer(sizes: ClipSizes, end: Option<u32>, find: Find<'_>) -> Result<Box<dyn Embedder>> {
    match sizes {
        _ if sizes == ClipSizes::of::<VitB32>() => frozen::<VitB32>(end, find),
        _ if sizes == ClipSizes::of::<VitB16>() => frozen::<VitB16>(end, find),
        _ if sizes == ClipSizes::of::<VitL14>() => frozen::<VitL14>(end, find),
        _ => Err(Error::data("CLIP", format!("expected the sizes of ViT-B/32, ViT-B/16 or ViT-L/14, got {sizes:?}"))),
    }
}

fn frozen<S: ClipShape>(end: Option<u32>, find: Find<'_>) -> Result<Box<dyn Embedder>> {
    let Clip { visual, text }: Clip<S, f32, Cpu> = filled(find)?;
    Ok(Box::new(FrozenClip::of_towers(visual, text, end, Cpu::default())))
}

fn resnet(sizes: resnet::ResNetSizes, find: Find<'_>) -> Result<Box<dyn Embedder>> {
    if sizes != resnet::ResNetSizes::RN50 {
        return Err(Error::data("CLIP", format!("expected the sizes of RN50, got {sizes:?}")));
    }
    let visual = ResNet::load(sizes, &Cpu::default(), &mut *find)?;
    Ok(Box::new(FrozenClip::<_, Rn50, _>::of_towers(visual, filled(find)?, None, Cpu::default())))
}

fn filled<M: Module<f32, Cpu>>(find: Find<'_>) -> Result<M> {
    nn::filled(&Cpu::default(), |parameter| find(&parameter.name, &parameter.shape))
}

/// The merges that lie beside an imported CLIP under their published name.
///
/// # Errors
/// [`Error::Data`] where there are none.
pub fn beside(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let found = MERGES.iter().map(|name| folder.join(name)).find(|merges| merges.is_file());
    found.ok_or_else(|| {
        let what = format!("expected CLIP's merges beside it, {}; or name the file with --merges", MERGES.join(" or "));
        Error::data(path, what)
    })
}
