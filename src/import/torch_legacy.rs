//! The stream that torch wrote before 1.6: four pickles (magic number, protocol, the machine, the object), one more with the
//! keys of the storages, then each storage as a count and its bytes.

use super::machine;
use super::pickle::{Pickle, Value};
use super::source::Source;
use crate::error::Result;
use std::collections::HashMap;

/// The pickle of the magic number that such a file begins with.
pub const MAGIC: [u8; 15] = *b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The object, and the first byte and the length in bytes of each storage by its key.
///
/// # Errors
/// [`crate::Error::Data`] where a pickle is broken or refused, or a storage is unknown or cut off.
pub fn read(source: &Source) -> Result<(Pickle, HashMap<String, (u64, u64)>)> {
    let end = source.size();
    let object_start = preamble(source)?;
    let object = machine::read(source, object_start, end)?;
    let keys = machine::read(source, object.end, end)?;
    let Value::List(list) = keys.get(keys.root()) else {
        return Err(source.bad(format!("expected the list of storage keys after byte {}", object.end)));
    };
    let known: HashMap<&str, _> = object.storages().map(|storage| (&*storage.key, storage)).collect();
    let mut found = HashMap::new();
    let mut at = keys.end;
    for &key in list {
        let key = keys.text(key).ok_or_else(|| source.bad("expected texts as storage keys"))?;
        let storage = known.get(key).ok_or_else(|| source.bad(format!("storage {key:?} is not in the object")))?;
        let mut count = [0; 8];
        source.read(at, &mut count)?;
        let count = u64::from_le_bytes(count);
        if count != storage.count {
            let expected = storage.count;
            return Err(source.bad(format!("storage {key:?} at byte {at}: expected {expected} values, got {count}")));
        }
        at += 8;
        let end = storage.size().and_then(|size| at.checked_add(size));
        let end = end.filter(|&end| end <= source.size()).ok_or_else(|| {
            source.bad(format!(
                "truncated: storage {key:?} has {count} values at byte {at}, the file ends at {}",
                source.size()
            ))
        })?;
        found.insert(key.to_owned(), (at, end - at));
        at = end;
    }
    Ok((object, found))
}

/// Checks the protocol and the machine that wrote the file: where the object begins.
fn preamble(source: &Source) -> Result<u64> {
    let protocol = machine::read(source, MAGIC.len() as u64, source.size())?;
    if !matches!(protocol.get(protocol.root()), Value::Int(1001)) {
        return Err(source.bad("expected protocol 1001 of torch's old format"));
    }
    let start = protocol.end;
    drop(protocol);
    let machine = machine::read(source, start, source.size())?;
    if let Value::Dict(entries) = machine.get(machine.root()) {
        let little = entries.iter().find(|(key, _)| machine.text(*key) == Some("little_endian"));
        if little.is_some_and(|(_, value)| matches!(machine.get(*value), Value::Bool(false))) {
            return Err(source.bad("expected a little-endian file, this one is big-endian"));
        }
    }
    Ok(machine.end)
}
