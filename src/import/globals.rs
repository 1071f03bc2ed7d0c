//! The allow-list: every global that a pickle may name, and what it means here. None of them is ever called.

use safetensors::Dtype;

/// What a global means to the reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Global {
    /// `collections OrderedDict`.
    Dict,
    /// `set` and `frozenset`.
    Set,
    /// `torch Size`, and TorchScript's typed lists: the argument itself.
    Same,
    /// `torch._utils _rebuild_tensor` and `_rebuild_tensor_v2`: a view of a storage.
    Tensor,
    /// `torch._utils _rebuild_parameter`: its tensor.
    Parameter,
    /// The storage class of a dtype.
    Storage(Dtype),
    /// `copyreg _reconstructor`: an object of the class it is given.
    Reconstructor,
    /// A class whose objects are kept as a name, arguments and attributes.
    Inert(Box<str>),
}

/// Modules all of whose names are inert: layers, TorchScript's compiled classes, and what trainers leave in checkpoints.
const INERT_MODULES: [&str; 3] = ["torch.nn.modules.", "__torch__.", "pytorch_lightning.callbacks."];

/// The global `module name`; `None` if it is not allowed.
pub fn allowed(module: &str, name: &str) -> Option<Global> {
    let inert = || Some(Global::Inert(format!("{module} {name}").into()));
    match (module, name) {
        ("collections", "OrderedDict") => Some(Global::Dict),
        ("__builtin__" | "builtins", "set" | "frozenset") => Some(Global::Set),
        ("torch", "Size") => Some(Global::Same),
        ("torch.jit._pickle", "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist") => {
            Some(Global::Same)
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::Tensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::Parameter),
        ("copyreg" | "copy_reg", "_reconstructor") => Some(Global::Reconstructor),
        ("dall_e.encoder", "Encoder" | "EncoderBlock") => inert(),
        ("dall_e.decoder", "Decoder" | "DecoderBlock") => inert(),
        ("dall_e.utils", "Conv2d") => inert(),
        ("__torch__", _) => inert(),
        ("__builtin__" | "builtins", "object") => inert(),
        ("_codecs", "encode") | ("numpy", "dtype") => inert(),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => inert(),
        ("torch", "device" | "float64" | "float32" | "float16" | "bfloat16" | "int64" | "int32" | "uint8" | "bool") => {
            inert()
        }
        ("torch", _) => storage(name).map(Global::Storage),
        _ if INERT_MODULES.iter().any(|prefix| module.starts_with(prefix)) => inert(),
        _ => None,
    }
}

fn storage(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}
