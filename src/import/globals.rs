//! What the globals that a pickle may name mean here. None of them is ever called, known or not.

use safetensors::Dtype;

/// What a global means to the reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Global {
    /// `collections OrderedDict` and `defaultdict`.
    Dict,
    /// `set` and `frozenset`.
    Set,
    /// `torch Size`, and TorchScript's typed lists: the argument itself.
    Same,
    /// `torch._utils _rebuild_tensor` and `_rebuild_tensor_v2`: a view of a storage.
    Tensor,
    /// `torch._utils _rebuild_tensor_v3`: the same, with a dtype of its own.
    TensorOf,
    /// `torch._utils _rebuild_parameter`, with or without state: its tensor.
    Parameter,
    /// `torch._utils _rebuild_from_type_v2`: what it is told to rebuild, as a class of its own.
    FromType,
    /// The storage class of a dtype; `None` counts in bytes.
    Storage(Option<Dtype>),
    /// `copyreg _reconstructor`: an object of the class it is given.
    Reconstructor,
    /// A class whose objects are kept as a name, arguments and attributes.
    Inert(Box<str>),
    /// Anything else: nobody knows what calling it would give.
    Unknown(Box<str>),
}

/// Modules all of whose names are inert: layers, TorchScript's compiled classes, and what trainers leave in checkpoints.
const INERT_MODULES: [&str; 3] = ["torch.nn.modules.", "__torch__.", "pytorch_lightning.callbacks."];

/// The global `module name`.
pub fn meaning(module: &str, name: &str) -> Global {
    known(module, name).unwrap_or_else(|| Global::Unknown(format!("{module} {name}").into()))
}

fn known(module: &str, name: &str) -> Option<Global> {
    let inert = || Some(Global::Inert(format!("{module} {name}").into()));
    match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") => Some(Global::Dict),
        ("__builtin__" | "builtins", "set" | "frozenset") => Some(Global::Set),
        ("torch", "Size") => Some(Global::Same),
        ("torch.jit._pickle", "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist") => {
            Some(Global::Same)
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::Tensor),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Global::TensorOf),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Some(Global::Parameter),
        ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => Some(Global::FromType),
        ("torch.storage" | "torch", "UntypedStorage") => Some(Global::Storage(None)),
        ("copyreg" | "copy_reg", "_reconstructor") => Some(Global::Reconstructor),
        ("dall_e.encoder", "Encoder" | "EncoderBlock") => inert(),
        ("dall_e.decoder", "Decoder" | "DecoderBlock") => inert(),
        ("dall_e.utils", "Conv2d") => inert(),
        ("__torch__", _) => inert(),
        ("__builtin__" | "builtins", "object") => inert(),
        ("_codecs", "encode") | ("numpy", "dtype") => inert(),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => inert(),
        ("torch", "device") => inert(),
        ("torch", _) if dtype(name).is_some() => inert(),
        ("torch", _) => storage(name).map(|dtype| Global::Storage(Some(dtype))),
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
        "ComplexFloatStorage" => Dtype::C64,
        _ => return None,
    })
}

/// The dtype that torch calls so.
fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "float8_e8m0fnu" => Dtype::F8_E8M0,
        "float8_e4m3fnuz" => Dtype::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => Dtype::F8_E5M2FNUZ,
        "complex64" => Dtype::C64,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        _ => return None,
    })
}

impl Global {
    /// The dtype that it is: `torch float32`.
    pub fn dtype(&self) -> Option<Dtype> {
        match self {
            Global::Inert(name) => dtype(name.strip_prefix("torch ")?),
            _ => None,
        }
    }
}
