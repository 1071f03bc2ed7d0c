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

/// Where the argument says something of the key at `path`, be it as a part of a mapping, or of what that key holds.
pub fn says(text: &str, source: usize, path: &str) -> Option<Place> {
    let mut alone = Node { place: Place { source, start: 0, end: 0 }, data: Data::Null };
    apply(&mut alone, text, source, &mut Vec::new());
    alone.at(path).map(|node| node.place.clone())
}

/// The argument's path, each key with its place, and its value.
fn value(text: &str, source: usize, problems: &mut Vec<Problem>) -> Result<(Vec<Key>, Node), Problem> {
    let whole = Place { source, start: 0, end: text.len() };
    let Some((path, value)) = text.split_once('=') else {
        return Err(Problem::new(&whole, "`--set` takes key.path=value", "there is no `=`"));
    };
    let keys = keys(path, source, 0)
        .map_err(|place| Problem::new(&place, "`--set` takes key.path=value", "a key is missing or has blanks"))?;
    if value.trim().is_empty() {
        return Err(Problem::new(&whole, format!("`{path}` is set to nothing"), "give it a value after the `=`"));
    }
    Ok((keys, parse::parse(value, source, path.len() + 1, problems)?))
}

/// The keys of a dotted path that stands at byte `start` of source number `source`; where one is missing or has blanks.
pub(super) fn keys(path: &str, source: usize, mut start: usize) -> Result<Vec<Key>, Place> {
    let key = |name: &str| {
        let place = Place { source, start, end: start + name.len() };
        start = place.end + 1;
        if name.trim() != name || name.is_empty() { Err(place) } else { Ok(Key { place, name: name.to_owned() }) }
    };
    path.split('.').map(key).collect()
}

/// Puts `value` at `path`, with whatever lies above it.
pub(super) fn put(root: &mut Node, path: &[Key], value: Node) -> Result<(), Problem> {
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
