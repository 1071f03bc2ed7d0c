//! What REDUCE and NEWOBJ would call, made as data: nothing runs.

use super::{MAX_OPCODES, Machine};
use crate::error::Result;
use crate::import::globals::Global;
use crate::import::pickle::{Id, Object, Value};

impl Machine<'_> {
    /// What REDUCE and NEWOBJ would call, as data.
    pub(super) fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
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

    pub(super) fn opaque(&mut self, name: Box<str>) -> Result<()> {
        self.push(Value::Opaque(name));
        Ok(())
    }
}
