//! Names for the tensors of a pickle: those of the module's state dict, whether the file holds the dict, dicts and lists of
//! such, the module itself (eager or TorchScript), or all of these in each other.

use super::globals::Global;
use super::pickle::{Id, Object, Pickle, Value};
use crate::error::{Error, Result};
use serde_json::{Value as Json, json};
use std::collections::HashSet;

/// Modules, dictionaries and lists inside each other.
const MAX_DEPTH: usize = 64;
/// Tensors of a file.
const MAX_TENSORS: usize = 1 << 16;
/// Values and entries met on the way: shared ones count each time.
const MAX_STEPS: usize = 1 << 20;
/// Bytes of a name.
const MAX_NAME: usize = 256;
/// Bytes of a word among the attributes.
const MAX_WORD: usize = 256;

/// What a pickle holds.
#[derive(Debug, Default)]
pub struct State {
    /// Names, and the views in the pickle.
    pub tensors: Vec<(String, Id)>,
    /// Numbers, switches and words of the modules by dotted path.
    pub attributes: Vec<(String, Json)>,
    /// The class of the outermost module.
    pub class: Option<String>,
    /// By dotted path, the globals that would have made values which are not read.
    pub opaque: Vec<(String, String)>,
}

/// Walks `pickle` from its root.
///
/// # Errors
/// What is too deep, too large, or named twice.
pub fn walk(pickle: &Pickle, bad: &dyn Fn(String) -> Error) -> Result<State> {
    let mut walk = Walk { pickle, bad, state: State::default(), names: HashSet::new(), steps: 0 };
    walk.visit("", pickle.root(), 0)?;
    Ok(walk.state)
}

struct Walk<'a> {
    pickle: &'a Pickle,
    bad: &'a dyn Fn(String) -> Error,
    state: State,
    names: HashSet<String>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, path: &str, id: Id, depth: usize) -> Result<()> {
        self.step(1)?;
        if depth > MAX_DEPTH {
            return Err((self.bad)(format!("{path:.80}: expected at most {MAX_DEPTH} levels")));
        }
        match self.pickle.get(id) {
            Value::Tensor(_) => self.tensor(path, id),
            Value::Object(object) => self.object(path, object, depth),
            Value::Opaque(name) | Value::Global(Global::Unknown(name)) => {
                if self.state.opaque.len() < MAX_TENSORS {
                    self.state.opaque.push((path.to_owned(), name.to_string()));
                }
                Ok(())
            }
            Value::Dict(entries) => {
                self.step(entries.len())?;
                for &(key, value) in entries {
                    let key = match self.pickle.get(key) {
                        Value::Text(text) => text.to_string(),
                        Value::Int(number) => number.to_string(),
                        _ => continue, // a class as key: what a trainer keeps of its callbacks
                    };
                    self.visit(&self.join(path, &key)?, value, depth + 1)?;
                }
                Ok(())
            }
            Value::Tuple(items) | Value::List(items) => {
                for (index, &item) in items.iter().enumerate() {
                    self.visit(&self.join(path, &index.to_string())?, item, depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, values: usize) -> Result<()> {
        self.steps += values;
        match self.steps <= MAX_STEPS {
            true => Ok(()),
            false => Err((self.bad)(format!("expected at most {MAX_STEPS} values in modules, dictionaries and lists"))),
        }
    }

    fn tensor(&mut self, path: &str, id: Id) -> Result<()> {
        let name = if path.is_empty() { "tensor" } else { path };
        if name == "__metadata__" || !self.names.insert(name.to_owned()) {
            return Err((self.bad)(format!("tensor {name}: the name is taken")));
        }
        if self.names.len() > MAX_TENSORS {
            return Err((self.bad)(format!("expected at most {MAX_TENSORS} tensors")));
        }
        self.state.tensors.push((name.to_owned(), id));
        Ok(())
    }

    /// A module: of its attributes, parameters, buffers that its state dict has, and modules. TorchScript's have all three
    /// side by side.
    fn object(&mut self, path: &str, object: &Object, depth: usize) -> Result<()> {
        if path.is_empty() {
            self.state.class = Some(self.pickle.class(object).to_owned());
        }
        let Some(Value::Dict(attributes)) = object.state.map(|state| self.pickle.get(state)) else { return Ok(()) };
        self.step(attributes.len())?;
        let named = |id: Id| self.pickle.text(id).unwrap_or_default();
        let find = |name: &str| attributes.iter().find(|(key, _)| named(*key) == name).map(|(_, value)| *value);
        let transient: &[Id] = match find("_non_persistent_buffers_set").map(|id| self.pickle.get(id)) {
            Some(Value::Set(names)) => names,
            _ => &[],
        };
        self.step(transient.len())?;
        let transient: HashSet<&str> = transient.iter().map(|&id| named(id)).collect();
        let parts = ["_parameters", "_buffers", "_modules"];
        for part in parts {
            let Some(Value::Dict(entries)) = find(part).map(|id| self.pickle.get(id)) else { continue };
            for &(key, value) in entries {
                if part != "_buffers" || !transient.contains(named(key)) {
                    self.visit(&self.join(path, named(key))?, value, depth + 1)?;
                }
            }
        }
        for &(key, value) in attributes {
            let name = named(key);
            if name.starts_with('_') || name == "training" {
                continue;
            }
            let scalar = match self.pickle.get(value) {
                Value::Bool(value) => json!(value),
                Value::Int(value) => json!(value),
                Value::Float(value) => json!(value),
                Value::Text(value) if value.len() <= MAX_WORD => json!(value),
                Value::Tensor(_) | Value::Object(_) | Value::List(_)
                    if self.pickle.class(object).starts_with("__torch__") =>
                {
                    self.visit(&self.join(path, name)?, value, depth + 1)?;
                    continue;
                }
                _ => continue,
            };
            if self.state.attributes.len() < MAX_TENSORS {
                let path = self.join(path, name)?;
                self.state.attributes.push((path, scalar));
            }
        }
        Ok(())
    }

    fn join(&self, path: &str, name: &str) -> Result<String> {
        let joined = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if joined.len() > MAX_NAME {
            return Err((self.bad)(format!("{joined:.80}…: expected a name of at most {MAX_NAME} bytes")));
        }
        Ok(joined)
    }
}
