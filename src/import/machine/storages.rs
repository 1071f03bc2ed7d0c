//! Where a tensor's numbers lie: a storage, and a view of it.

use super::Machine;
use crate::error::Result;
use crate::import::globals::Global;
use crate::import::pickle::{Id, Storage, Value, View};
use safetensors::Dtype;

/// Axes of a tensor.
const MAX_RANK: usize = 16;

impl Machine<'_> {
    /// A view of a storage, with the storage's dtype or another.
    pub(super) fn tensor(&mut self, arguments: &[Id], dtype: Option<Dtype>) -> Result<()> {
        let storage = arguments.first().map(|id| &self.values[id.0 as usize]);
        if let Some(Value::Opaque(name)) = storage {
            return self.opaque(name.clone());
        }
        let view = View { dtype, ..self.view(arguments)? };
        self.push(Value::Tensor(Box::new(view)));
        Ok(())
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

    /// `("storage", class, key, device, count[, view])`, or `("module", class, file, source)` of pickled modules before 1.6.
    pub(super) fn persistent(&mut self) -> Result<()> {
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
