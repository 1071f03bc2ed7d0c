//! What each opcode does. Those of a constant are read here whole.

use super::Machine;
use crate::error::Result;
use crate::import::globals::meaning;
use crate::import::input::Input;
use crate::import::pickle::{Id, Value};

impl Machine<'_> {
    /// Runs one opcode.
    pub(super) fn step(&mut self, opcode: u8) -> Result<()> {
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

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        const MOST: usize = 512;
        if module.len() + name.len() > MOST {
            return Err(self.bad(format!("expected a global's name of at most {MOST} bytes")));
        }
        self.push(Value::Global(meaning(module, name)));
        Ok(())
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
