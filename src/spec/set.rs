//! `--set key.path=value`: one value put into the tree before it is checked, so that a wrong one is reported like a wrong line
//! of the file, with a caret into the argument. Values are typed as in YAML: `3`, `true`, `[row, col]`.

use super::parse::{self, Data, Key, Node};
use super::problem::{Place, Problem};

/// Puts the argument `text` (source number `source`) into `root`.
pub fn apply(root: &mut Node, text: &str, source: usize, problems: &mut Vec<Problem>) {
    if let Err(problem) = value(text, source, problems).and_then(|(path, value)| put(root, &path, value)) {
        problems.push(problem);
    }
}

/// The argument's path, each key with its place, and its value.
fn value(text: &str, source: usize, problems: &mut Vec<Problem>) -> Result<(Vec<Key>, Node), Problem> {
    let whole = Place { source, start: 0, end: text.len() };
    let Some((path, value)) = text.split_once('=') else {
        return Err(Problem::new(&whole, "`--set` takes key.path=value", "there is no `=`"));
    };
    let mut keys = Vec::new();
    let mut start = 0;
    for name in path.split('.') {
        let place = Place { source, start, end: start + name.len() };
        if name.trim() != name || name.is_empty() {
            return Err(Problem::new(&place, "`--set` takes key.path=value", "a key is missing or has blanks"));
        }
        start = place.end + 1;
        keys.push(Key { place, name: name.to_owned() });
    }
    if value.trim().is_empty() {
        return Err(Problem::new(&whole, format!("`{path}` is set to nothing"), "give it a value after the `=`"));
    }
    Ok((keys, parse::parse(value, source, start, problems)?))
}

fn put(root: &mut Node, path: &[Key], value: Node) -> Result<(), Problem> {
    let mut node = root;
    for (depth, key) in path.iter().enumerate() {
        // A section that is there but empty, or that the lines below make, becomes a mapping.
        if node.data == Data::Null {
            node.data = Data::Map(Vec::new());
        }
        let Data::Map(entries) = &mut node.data else {
            let above = path[..depth].iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(".");
            let message = format!("`{above}` holds no keys, so `{}` cannot be set in it", key.name);
            return Err(Problem::new(&key.place, message, "set the whole value instead"));
        };
        let at = entries.iter().position(|(k, _)| k.name == key.name).unwrap_or_else(|| {
            entries.push((key.clone(), Node { place: key.place.clone(), data: Data::Null }));
            entries.len() - 1
        });
        node = &mut entries[at].1;
    }
    *node = value;
    Ok(())
}
