//! Lists, sets, dictionaries and objects, filled after they are made.

use super::{MAX_OPCODES, Machine};
use crate::error::Result;
use crate::import::pickle::{Id, Value};

impl Machine<'_> {
    pub(super) fn extend(&mut self, opcode: &str, more: Vec<Id>) -> Result<()> {
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

    pub(super) fn set_items(&mut self, items: Vec<Id>) -> Result<()> {
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

    /// BUILD: attributes for an object; what it would set on anything else is not kept.
    pub(super) fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let object = self.top()?;
        match self.value(object) {
            Value::Object(object) => object.state = Some(state),
            Value::Dict(_) | Value::Tensor(_) | Value::Set(_) | Value::Opaque(_) => {}
            _ => return Err(self.bad("BUILD: expected an object")),
        }
        Ok(())
    }

    /// Small pickles must not copy large values without end.
    pub(super) fn copy(&mut self, items: usize) -> Result<()> {
        self.copied += items;
        match self.copied < MAX_OPCODES {
            true => Ok(()),
            false => Err(self.bad(format!("expected at most {MAX_OPCODES} items of sets and dictionaries"))),
        }
    }
}
