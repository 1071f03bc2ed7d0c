//! Published weights: PyTorch's files, read without running anything in them, and safetensors.
//!
//! [`Weights::open`] lists a file's tensors; [`Weights::parameter`] gives one to a model; [`import`] writes a published
//! checkpoint as one safetensors file with the names and dtypes that it was published with, tensor by tensor. Nothing holds more
//! of a file than one tensor.
//!
//! | module | what it is for |
//! |---|---|
//! | `source` | ranges of a file |
//! | `machine`, `input`, `globals`, `pickle` | pickles: the machine that runs nothing, what they may name, what they hold |
//! | `torch_zip`, `torch_legacy` | the two layouts of PyTorch's files |
//! | `state` | the names of a pickled module's tensors |
//! | `tensor` | a view of a storage, read in order |
//! | `header`, `index` | safetensors files, and checkpoints in shards |
//! | `kinds`, `needs` | the published checkpoints: how they are imported, what they must hold, their configuration |

mod globals;
mod header;
mod index;
mod input;
mod kinds;
mod machine;
mod needs;
mod pickle;
mod source;
mod state;
mod tensor;
mod torch_legacy;
mod torch_zip;

pub use kinds::{Imported, Kind, import};
pub use tensor::Stored;

use crate::error::Result;
use crate::nn::Declared;
use pickle::{Pickle, Value};
use serde_json::Value as Json;
use source::Source;
use state::State;
use std::collections::HashMap;
use std::path::Path;

/// What all tensors of a file may take to read, in multiples of its size: views may share a storage, but not without end.
const MAX_SHARING: u64 = 16;
/// And in bytes, for small files.
const SMALL: u64 = 1 << 20;

/// The tensors of a file, still in it.
#[derive(Debug)]
pub struct Weights {
    source: Source,
    tensors: Vec<Stored>,
    index: HashMap<String, usize>,
    /// Numbers, switches and words that a pickled module has, by dotted path; the metadata of a safetensors file.
    pub attributes: Vec<(String, Json)>,
    /// The class of a pickled module: "module name".
    pub class: Option<String>,
    /// By dotted path, the globals that would have made values which are not read, because nothing in a file is run.
    pub opaque: Vec<(String, String)>,
    /// How the file is laid out, in words.
    pub layout: &'static str,
}

impl Weights {
    /// Lists the tensors of a safetensors file, or of one that `torch.save` or `torch.jit.save` wrote.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where it is none of these, truncated, or asks for something that is not allowed;
    /// [`Error::Io`](crate::Error::Io) if it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
        Weights::of(Source::open(path.as_ref())?)
    }

    /// The same of bytes in memory, called `name` in errors.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Weights> {
        Weights::of(Source::of_bytes(name, bytes))
    }

    fn of(source: Source) -> Result<Weights> {
        let start = source.bytes(0, source.size().min(torch_legacy::MAGIC.len() as u64))?;
        if start.starts_with(&torch_zip::MAGIC) {
            let archive = torch_zip::Archive::open(&source)?;
            let (start, len) = archive.find("data.pkl")?.ok_or_else(|| source.bad("zip: expected data.pkl"))?;
            let pickle = machine::read(&source, start, start + len)?;
            let mut storages = HashMap::new();
            for storage in pickle.storages() {
                let missing = || source.bad(format!("zip: storage data/{} is missing", storage.key));
                let range = archive.find(&format!("data/{}", storage.key))?.ok_or_else(missing)?;
                storages.insert(storage.key.to_string(), range);
            }
            Weights::of_pickle(source, &pickle, &storages, "torch zip")
        } else if start == torch_legacy::MAGIC {
            let (pickle, storages) = torch_legacy::read(&source)?;
            Weights::of_pickle(source, &pickle, &storages, "torch legacy")
        } else if start.get(8) == Some(&b'{') {
            let (tensors, metadata) = header::read(&source)?;
            let mut attributes: Vec<_> = metadata.into_iter().map(|(key, text)| (key, Json::String(text))).collect();
            attributes.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(Weights::new(source, tensors, State { attributes, ..State::default() }, "safetensors"))
        } else {
            Err(source.bad("expected a safetensors file, or one of torch.save or torch.jit.save"))
        }
    }

    fn of_pickle(
        source: Source,
        pickle: &Pickle,
        storages: &HashMap<String, (u64, u64)>,
        layout: &'static str,
    ) -> Result<Weights> {
        let mut state = state::walk(pickle, &|what| source.bad(what))?;
        if let (true, Some((_, name))) = (state.tensors.is_empty(), state.opaque.first()) {
            return Err(source.bad(format!("expected tensors, got a call of {name:?}: nothing in a file is run")));
        }
        let named = std::mem::take(&mut state.tensors);
        let mut tensors = Vec::with_capacity(named.len());
        let most = source.size().saturating_mul(MAX_SHARING).max(SMALL);
        let mut cost = 0u64;
        for (name, id) in named {
            let Value::Tensor(view) = pickle.get(id) else { continue };
            let Some(storage) = pickle.storage(view.storage) else { continue };
            let missing = || source.bad(format!("tensor {name}: storage {:?} is not in the file", storage.key));
            let (start, len) = *storages.get(&*storage.key).ok_or_else(missing)?;
            let each = storage.dtype.map_or(1, |dtype| dtype.bitsize() as u64 / 8);
            if len / each < storage.count {
                let what = format!("storage {:?}: expected {} values, got {}", storage.key, storage.count, len / each);
                return Err(source.bad(what));
            }
            let Some(dtype) = view.dtype.or(storage.dtype) else {
                return Err(source.bad(format!("tensor {name}: expected a dtype, its storage has bytes")));
            };
            let range = (start, storage.count * each / (dtype.bitsize() as u64 / 8));
            let tensor = Stored::view(name, dtype, range, view.offset, &view.shape, &view.strides);
            let tensor = tensor.map_err(|what| source.bad(what))?;
            cost = cost.saturating_add(tensor.cost());
            if cost > most {
                let what = format!("its tensors share storages too often: {cost} bytes or more in {}", source.size());
                return Err(source.bad(what));
            }
            tensors.push(tensor);
        }
        Ok(Weights::new(source, tensors, state, layout))
    }

    fn new(source: Source, tensors: Vec<Stored>, state: State, layout: &'static str) -> Weights {
        let index = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        let State { attributes, class, opaque, .. } = state;
        Weights { source, tensors, index, attributes, class, opaque, layout }
    }

    /// Why there is no tensor `name`.
    fn missing(&self, name: &str) -> String {
        match self.opaque.iter().find(|(path, _)| path == name) {
            Some((_, global)) => format!("tensor {name} cannot be read: it is made by {global:?}"),
            None => format!("tensor {name} is missing"),
        }
    }

    /// The tensors, in the file's order.
    pub fn tensors(&self) -> &[Stored] {
        &self.tensors
    }

    /// The tensor `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&Stored> {
        self.index.get(name).map(|&at| &self.tensors[at])
    }

    /// A number, switch or word that the file's module has.
    pub fn attribute(&self, path: &str) -> Option<&Json> {
        self.attributes.iter().find(|(found, _)| found == path).map(|(_, value)| value)
    }

    /// A tensor that only a call would make: one of torch's own.
    fn unread(&self) -> Option<&(String, String)> {
        self.opaque.iter().find(|(_, global)| global.starts_with("torch._") || global.starts_with("torch "))
    }

    /// What `experiment import` wrote the file as, if it did.
    pub fn kind(&self) -> Option<Kind> {
        self.attribute("kind").and_then(Json::as_str).and_then(|name| Kind::named(name).ok())
    }

    /// The configuration that it wrote with it.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where there is none.
    pub fn config(&self) -> Result<Json> {
        let text = self.attribute("config").and_then(Json::as_str);
        let config = text.and_then(|text| serde_json::from_str(text).ok());
        config.ok_or_else(|| self.source.bad("expected the configuration that experiment import writes"))
    }

    /// Whether every parameter of a model, by name and shape, is there: before the model takes its memory.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) naming the first that is missing or has another shape.
    pub fn fits(&self, parameters: &[Declared]) -> Result<()> {
        parameters.iter().try_for_each(|parameter| self.expect(&parameter.name, &parameter.shape).map(drop))
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<&Stored> {
        let tensor = self.find(name).ok_or_else(|| self.source.bad(self.missing(name)))?;
        if tensor.shape != shape {
            let what = format!("tensor {name}: expected shape {shape:?}, got {:?}", tensor.shape);
            return Err(self.source.bad(what));
        }
        Ok(tensor)
    }

    /// The bytes of a tensor in row-major order, little-endian.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if there is no such tensor, [`Error::Io`](crate::Error::Io) if reading fails.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.find(name).ok_or_else(|| self.source.bad(self.missing(name)))?;
        let mut bytes = Vec::with_capacity(tensor.size() as usize); // no more than its storage has
        tensor.copy(&self.source, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The values of the tensor `name` of `shape`, as a model's parameter: f16 and bf16 become f32.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where it is missing, has another shape, or is no floating-point tensor.
    pub fn parameter(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.expect(name, shape)?;
        let bytes = self.bytes(name)?;
        let wrong = || self.source.bad(format!("tensor {name}: expected floating point, got {}", tensor.dtype));
        tensor::widen(tensor.dtype, &bytes).ok_or_else(wrong)
    }
}
