//! The machine that reads pickles as data. It knows the opcodes that torch writes, and runs nothing: calling a global makes a
//! tensor's description, a dictionary, an object that is only a name with attributes, or, of a global that is not known, an
//! opaque value that is only its name.
//!
//! Here are its stack and its memory; beside it what each opcode does ([`opcodes`]), how lists and dictionaries are filled
//! ([`items`]), what calls make ([`calls`]) and where a tensor's numbers lie ([`storages`]).

mod calls;
mod items;
mod opcodes;
mod storages;

use super::input::Input;
use super::pickle::{Id, Pickle, Value};
use super::source::Source;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Opcodes of one pickle; those of published checkpoints have some ten thousand.
const MAX_OPCODES: usize = 1 << 20;

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
}
