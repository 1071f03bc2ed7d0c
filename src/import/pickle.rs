//! What a pickle holds: values that name each other by index, so that shared and cyclic ones cost nothing and dropping a deep
//! one needs no stack.

use super::globals::Global;
use safetensors::Dtype;

/// A value's place in its pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub(super) u32);

/// What a pickle may hold.
#[derive(Debug)]
pub enum Value {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(Box<str>),
    /// A byte string: read, never used.
    Bytes,
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A set.
    Set(Vec<Id>),
    /// A dictionary, in the order of its entries.
    Dict(Vec<(Id, Id)>),
    /// A global.
    Global(Global),
    /// What calling a global would have made that nobody knows, or that has no dtype here: its name.
    Opaque(Box<str>),
    /// An instance of an inert class.
    Object(Box<Object>),
    /// A storage, in another part of the file.
    Storage(Box<Storage>),
    /// A view of a storage.
    Tensor(Box<View>),
}

/// A name and attributes.
#[derive(Debug)]
pub struct Object {
    /// A [`Global::Inert`].
    pub class: Id,
    /// What BUILD gave it.
    pub state: Option<Id>,
}

/// The values that tensors are views of.
#[derive(Debug)]
pub struct Storage {
    /// Its name in the file.
    pub key: Box<str>,
    /// Of each value; `None` where they are bytes.
    pub dtype: Option<Dtype>,
    /// How many values.
    pub count: u64,
}

impl Storage {
    /// Its size in bytes, if there is such a number.
    pub fn size(&self) -> Option<u64> {
        self.count.checked_mul(self.dtype.map_or(1, |dtype| dtype.bitsize() as u64 / 8))
    }
}

/// A tensor, all in values of its storage.
#[derive(Debug)]
pub struct View {
    /// A [`Value::Storage`].
    pub storage: Id,
    /// Of each value, where the storage does not say.
    pub dtype: Option<Dtype>,
    /// Of the first value.
    pub offset: u64,
    /// The sides.
    pub shape: Vec<usize>,
    /// The step along each axis.
    pub strides: Vec<usize>,
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
    /// Where it ends in its file.
    pub end: u64,
}

impl Pickle {
    /// The value that the pickle is.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value at `id`.
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// The text at `id`, if it is one.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The class of an object.
    pub fn class(&self, object: &Object) -> &str {
        match self.get(object.class) {
            Value::Global(Global::Inert(name)) => name,
            _ => "",
        }
    }

    /// The storage at `id`, if it is one.
    pub fn storage(&self, id: Id) -> Option<&Storage> {
        match self.get(id) {
            Value::Storage(storage) => Some(storage),
            _ => None,
        }
    }

    /// All storages that it names.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }
}
