//! The machine that reads pickles as data. It knows the opcodes that torch writes, and runs nothing: calling a global makes a
//! tensor's description, a dictionary, an object that is only a name with attributes, or, of a global that is not known, an
//! opaque value that is only its name.

use super::globals::{Global, meaning};
use super::input::Input;
use super::pickle::{Id, Object, Pickle, Storage, Value, View};
use super::source::Source;
use crate::error::{Error, Result};
use safetensors::Dtype;
use std::collections::HashMap;

/// Opcodes of one pickle; those of published checkpoints have some ten thousand.
const MAX_OPCODES: usize = 1 << 20;
/// Axes of a tensor.
const MAX_RANK: usize = 16;

/// Reads the pickle that begins at `start` of `source` and ends before `end`.
///
/// # Errors
/// [`Error::Data`] that names the opcode or global, and its offset in the pickle.
pub fn read(source: &Source, start: u64, end: u64) -> Result<Pickle> {
    let input = Input::new(source, start, end);
    let mut machine =
        Machine { input, values: vec![], stack: vec![], marks: vec![], memo: HashMap::new(), copied: 0, at: 0 };
    for _ in 0..MAX_OPCODES {
        machine.at = machine.input.at();
        let opcode = machine.input.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle { values: machine.values, root, end: machine.input.next() });
        }
        machine.step(opcode)?;
    }
    Err(machine.bad(format!("expected at most {MAX_OPCODES} opcodes")))
}

struct Machine<'a> {
    input: Input<'a>,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items that went into sets and dictionaries from others.
    copied: usize,
    /// Of the opcode that runs, in the pickle.
    at: u64,
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => drop(self.input.byte()?),          // PROTO
            0x95 => drop(self.input.array::<8>()?),    // FRAME
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'0' => drop(self.pop()?),                 // POP
            b'1' => drop(self.marked()?),              // POP_MARK
            b'2' => {
                // DUP
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::None),        // NONE
            0x88 => self.push(Value::Bool(true)),  // NEWTRUE
            0x89 => self.push(Value::Bool(false)), // NEWFALSE
            b'J' => self.int(|input| Ok(i32::from_le_bytes(input.array()?).into()))?, // BININT
            b'K' => self.int(|input| Ok(input.byte()?.into()))?, // BININT1
            b'M' => self.int(|input| Ok(u16::from_le_bytes(input.array()?).into()))?, // BININT2
            0x8a => self.long()?,                  // LONG1
            b'G' => {
                // BINFLOAT
                let bytes = self.input.array()?;
                self.push(Value::Float(f64::from_be_bytes(bytes)));
            }
            b'X' | b'T' => self.text(|input| Ok(input.u32()?.into()))?, // BINUNICODE, BINSTRING
            0x8c | b'U' => self.text(|input| Ok(input.byte()?.into()))?, // SHORT_BINUNICODE, SHORT_BINSTRING
            0x8d => self.text(|input| Ok(u64::from_le_bytes(input.array()?)))?, // BINUNICODE8
            b'B' => self.skip(|input| Ok(input.u32()?.into()))?,        // BINBYTES
            b'C' => self.skip(|input| Ok(input.byte()?.into()))?,       // SHORT_BINBYTES
            // BINBYTES8, BYTEARRAY8
            0x8e | 0x96 => self.skip(|input| Ok(u64::from_le_bytes(input.array()?)))?,
            b')' => self.push(Value::Tuple(Vec::new())), // EMPTY_TUPLE
            b't' => {
                // TUPLE
                let items = self.marked()?;
                self.push(Value::Tuple(items));
            }
            0x85..=0x87 => {
                // TUPLE1 to TUPLE3
                let count = usize::from(opcode) - 0x84;
                let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                self.push(Value::Tuple(items));
            }
            b']' => self.push(Value::List(Vec::new())), // EMPTY_LIST
            b'l' => {
                // LIST
                let items = self.marked()?;
                self.push(Value::List(items));
            }
            b'a' => {
                // APPEND
                let item = self.pop()?;
                self.extend("APPEND", vec![item])?;
            }
            b'e' => {
                // APPENDS
                let items = self.marked()?;
                self.extend("APPENDS", items)?;
            }
            0x8f => self.push(Value::Set(Vec::new())), // EMPTY_SET
            0x90 => {
                // ADDITEMS
                let items = self.marked()?;
                self.extend("ADDITEMS", items)?;
            }
            0x91 => {
                // FROZENSET
                let items = self.marked()?;
                self.push(Value::Set(items));
            }
            b'}' => self.push(Value::Dict(Vec::new())), // EMPTY_DICT
            b'd' => {
                // DICT
                let items = self.marked()?;
                self.push(Value::Dict(Vec::new()));
                self.set_items(items)?;
            }
            b's' => {
                // SETITEM
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                // SETITEMS
                let items = self.marked()?;
                self.set_items(items)?;
            }
            b'c' => {
                // GLOBAL
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(&String::from_utf8_lossy(&module), &String::from_utf8_lossy(&name))?;
            }
            0x93 => {
                // STACK_GLOBAL
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id.0 as usize] {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err(self.bad("STACK_GLOBAL: expected the texts of a global")),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.global(&module, &name)?;
            }
            0x81 | b'R' => {
                // NEWOBJ, REDUCE
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            0x92 => {
                // NEWOBJ_EX: the keywords are not kept
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            b'b' => self.build()?, // BUILD
            b'q' => {
                // BINPUT
                let index = self.input.byte()?.into();
                self.remember(index)?;
            }
            b'r' => {
                // LONG_BINPUT
                let index = self.input.u32()?;
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?, // MEMOIZE
            b'h' => {
                // BINGET
                let index = self.input.byte()?.into();
                self.recall(index)?;
            }
            b'j' => {
                // LONG_BINGET
                let index = self.input.u32()?;
                self.recall(index)?;
            }
            b'Q' => self.persistent()?, // BINPERSID
            _ => return Err(self.bad(format!("opcode {} is not allowed", named(opcode)))),
        }
        Ok(())
    }

    fn bad(&self, what: impl std::fmt::Display) -> Error {
        self.input.source.bad(format!("pickle at byte {}: {what}", self.at))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Id(self.values.len() as u32)); // there are fewer values than opcodes
        self.values.push(value);
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| self.bad("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn marked(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.bad("there is no mark on the stack"))?;
        Ok(self.stack.split_off(mark))
    }

    fn value(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    fn items(&self, id: Id) -> Option<&[Id]> {
        match &self.values[id.0 as usize] {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    fn int(&mut self, read: impl FnOnce(&mut Input<'_>) -> Result<i64>) -> Result<()> {
        let value = read(&mut self.input)?;
        self.push(Value::Int(value));
        Ok(())
    }

    /// LONG1: little-endian two's complement of any length.
    fn long(&mut self) -> Result<()> {
        let len = self.input.byte()?;
        let bytes = self.input.bytes(len.into())?;
        if bytes.len() > 8 {
            return Err(self.bad(format!("expected an integer of at most 8 bytes, got {len}")));
        }
        let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut whole = [sign; 8];
        whole[..bytes.len()].copy_from_slice(&bytes);
        self.push(Value::Int(i64::from_le_bytes(whole)));
        Ok(())
    }

    fn text(&mut self, len: impl FnOnce(&mut Input<'_>) -> Result<u64>) -> Result<()> {
        let len = len(&mut self.input)?;
        let bytes = self.input.bytes(len)?;
        let text = String::from_utf8(bytes).map_err(|_| self.bad("expected UTF-8"))?;
        self.push(Value::Text(text.into()));
        Ok(())
    }

    fn skip(&mut self, len: impl FnOnce(&mut Input<'_>) -> Result<u64>) -> Result<()> {
        let len = len(&mut self.input)?;
        self.input.bytes(len)?;
        self.push(Value::Bytes);
        Ok(())
    }

    fn extend(&mut self, opcode: &str, more: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match self.value(list) {
            Value::List(items) | Value::Set(items) => {
                items.extend(more);
                Ok(())
            }
            Value::Opaque(_) => Ok(()), // a list of a class of its own
            _ => Err(self.bad(format!("{opcode}: expected a list or a set"))),
        }
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<()> {
        let dict = self.top()?;
        let entries = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match self.value(dict) {
            Value::Dict(found) if items.len().is_multiple_of(2) => {
                found.extend(entries);
                Ok(())
            }
            Value::Opaque(_) => Ok(()), // a dictionary of a class of its own
            _ => Err(self.bad("SETITEMS: expected a dictionary, keys and values")),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        const MOST: usize = 512;
        if module.len() + name.len() > MOST {
            return Err(self.bad(format!("expected a global's name of at most {MOST} bytes")));
        }
        self.push(Value::Global(meaning(module, name)));
        Ok(())
    }

    /// What REDUCE and NEWOBJ would call, as data.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let global = match &self.values[callable.0 as usize] {
            Value::Global(global) => global,
            Value::Opaque(name) => return self.opaque(name.clone()),
            _ => return Err(self.bad("expected a global to call")),
        };
        let arguments = &*self.items(arguments).ok_or_else(|| self.bad("expected a tuple of arguments"))?.to_vec();
        let first = arguments.first().copied();
        match global {
            Global::Dict => {
                // Protocols before OrderedDict's own one give the entries as a list of pairs.
                let pairs = first.and_then(|id| self.items(id)).unwrap_or_default();
                let pair = |&pair: &Id| self.items(pair).unwrap_or_default().iter().copied().take(2);
                let entries: Vec<Id> = pairs.iter().take(MAX_OPCODES - self.copied).flat_map(pair).collect();
                self.copy(entries.len())?;
                self.push(Value::Dict(Vec::new()));
                self.set_items(entries)
            }
            Global::Set => {
                let items = first.and_then(|id| self.items(id)).unwrap_or_default();
                let items = items[..items.len().min(MAX_OPCODES - self.copied)].to_vec();
                self.copy(items.len())?;
                self.push(Value::Set(items));
                Ok(())
            }
            Global::Same | Global::Parameter => {
                let only = first.ok_or_else(|| self.bad("expected an argument"))?;
                self.stack.push(only);
                Ok(())
            }
            Global::Tensor => self.tensor(arguments, None),
            Global::TensorOf => {
                // (storage, offset, shape, strides, requires_grad, backward_hooks, dtype, …)
                let dtype = arguments.get(6).map(|id| &self.values[id.0 as usize]);
                match dtype {
                    Some(Value::Global(Global::Unknown(name))) => self.opaque(name.clone()),
                    Some(Value::Global(global)) if global.dtype().is_some() => self.tensor(arguments, global.dtype()),
                    _ => Err(self.bad("_rebuild_tensor_v3: expected a dtype")),
                }
            }
            Global::FromType => {
                // (function, type, arguments, state); the function is one that rebuilds tensors, and no other of this kind.
                let [function, _, inner, ..] = *arguments else {
                    return Err(self.bad("_rebuild_from_type: expected a function, a type and arguments"));
                };
                match &self.values[function.0 as usize] {
                    Value::Global(Global::FromType) => Err(self.bad("_rebuild_from_type: expected another function")),
                    _ => self.call(function, inner),
                }
            }
            Global::Reconstructor => match first.map(|id| (id, &self.values[id.0 as usize])) {
                Some((class, Value::Global(Global::Inert(_)))) => {
                    self.push(Value::Object(Box::new(Object { class, state: None })));
                    Ok(())
                }
                Some((_, Value::Global(Global::Unknown(name)))) => self.opaque(name.clone()),
                _ => Err(self.bad("_reconstructor: expected a class")),
            },
            Global::Inert(_) => {
                self.push(Value::Object(Box::new(Object { class: callable, state: None })));
                Ok(())
            }
            Global::Unknown(name) => self.opaque(name.clone()),
            Global::Storage(_) => Err(self.bad("a storage cannot be called")),
        }
    }

    fn opaque(&mut self, name: Box<str>) -> Result<()> {
        self.push(Value::Opaque(name));
        Ok(())
    }

    /// A view of a storage, with the storage's dtype or another.
    fn tensor(&mut self, arguments: &[Id], dtype: Option<Dtype>) -> Result<()> {
        let storage = arguments.first().map(|id| &self.values[id.0 as usize]);
        if let Some(Value::Opaque(name)) = storage {
            return self.opaque(name.clone());
        }
        let view = View { dtype, ..self.view(arguments)? };
        self.push(Value::Tensor(Box::new(view)));
        Ok(())
    }

    /// Small pickles must not copy large values without end.
    fn copy(&mut self, items: usize) -> Result<()> {
        self.copied += items;
        match self.copied < MAX_OPCODES {
            true => Ok(()),
            false => Err(self.bad(format!("expected at most {MAX_OPCODES} items of sets and dictionaries"))),
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, …)`.
    fn view(&self, arguments: &[Id]) -> Result<View> {
        let bad = || self.bad("_rebuild_tensor: expected a storage, an offset, a shape and strides");
        let [storage, offset, shape, strides, ..] = *arguments else { return Err(bad()) };
        let number = |id: Id| match self.values[id.0 as usize] {
            Value::Int(number) => u64::try_from(number).map_err(|_| bad()),
            _ => Err(bad()),
        };
        let sides = |id: Id| {
            let items = self.items(id).filter(|items| items.len() <= MAX_RANK).ok_or_else(bad)?;
            items.iter().map(|&id| Ok(number(id)? as usize)).collect::<Result<Vec<_>>>()
        };
        let (shape, strides) = (sides(shape)?, sides(strides)?);
        if shape.len() != strides.len() || !matches!(self.values[storage.0 as usize], Value::Storage(_)) {
            return Err(bad());
        }
        Ok(View { storage, dtype: None, offset: number(offset)?, shape, strides })
    }

    /// BUILD: attributes for an object; what it would set on anything else is not kept.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let object = self.top()?;
        match self.value(object) {
            Value::Object(object) => object.state = Some(state),
            Value::Dict(_) | Value::Tensor(_) | Value::Set(_) | Value::Opaque(_) => {}
            _ => return Err(self.bad("BUILD: expected an object")),
        }
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        let id = *self.memo.get(&index).ok_or_else(|| self.bad(format!("nothing is remembered as {index}")))?;
        self.stack.push(id);
        Ok(())
    }

    /// `("storage", class, key, device, count[, view])`, or `("module", class, file, source)` of pickled modules before 1.6.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let bad = || self.bad("expected a storage's class, key, device and count");
        let items = self.items(id).ok_or_else(bad)?;
        let value = |index: usize| items.get(index).map(|id| &self.values[id.0 as usize]);
        match (value(0), value(1), value(2), value(4)) {
            (Some(Value::Text(kind)), Some(Value::Global(Global::Inert(_) | Global::Unknown(_))), ..)
                if &**kind == "module" =>
            {
                let class = items[1];
                self.stack.push(class);
                Ok(())
            }
            (Some(Value::Text(kind)), Some(Value::Global(Global::Unknown(name))), ..) if &**kind == "storage" => {
                self.opaque(name.clone())
            }
            (
                Some(Value::Text(kind)),
                Some(Value::Global(Global::Storage(dtype))),
                Some(Value::Text(key)),
                Some(&Value::Int(count)),
            ) if &**kind == "storage" => {
                if value(5).is_some_and(|view| !matches!(view, Value::None)) {
                    return Err(self.bad("a storage that is a view of another is not supported"));
                }
                let count = u64::try_from(count).map_err(|_| bad())?;
                let storage = Storage { key: key.clone(), dtype: *dtype, count };
                self.push(Value::Storage(Box::new(storage)));
                Ok(())
            }
            _ => Err(bad()),
        }
    }
}

/// An opcode that is not allowed, with its name.
fn named(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'p' => "PUT",
        b'g' => "GET",
        0x8b => "LONG4",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return format!("0x{opcode:02x}"),
    };
    format!("0x{opcode:02x} ({name})")
}
