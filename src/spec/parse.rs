//! YAML text to a tree that remembers where every value stood. An event parser feeds it, so depth and size are capped before
//! anything recurses; anchors, aliases and tags are refused, so a text cannot grow while it is read.

#[cfg(test)]
mod tests;

use super::problem::{Place, Problem};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use std::collections::HashMap;

/// Largest spec, bytes.
pub const MOST_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and mappings.
pub const MOST_DEPTH: usize = 64;
/// Most values in a spec.
pub const MOST_VALUES: usize = 20_000;

/// A value and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value starts and ends.
    pub place: Place,
    /// The value.
    pub data: Data,
}

/// A key of a mapping and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where the key stood.
    pub place: Place,
    /// The key.
    pub name: String,
}

/// The values of YAML's core schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number without a point or an exponent.
    Whole(i128),
    /// Any other number, infinities included.
    Real(f64),
    /// Anything else, and whatever is quoted.
    Text(String),
    /// `[a, b]` or lines with dashes.
    List(Vec<Node>),
    /// `key: value` in the order of the text; keys may repeat (each repetition is reported as a problem).
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Data::Map(entries) = &self.data else { return None };
        entries.iter().find(|(k, _)| k.name == key).map(|(_, value)| value)
    }

    /// The value at a dotted path.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| node.get(key))
    }

    /// The same value for serde, without its places.
    pub fn to_value(&self) -> serde_yaml::Value {
        use serde_yaml::Value;
        match &self.data {
            Data::Null => Value::Null,
            Data::Flag(flag) => Value::Bool(*flag),
            Data::Whole(whole) => match (u64::try_from(*whole), i64::try_from(*whole)) {
                (Ok(whole), _) => Value::Number(whole.into()),
                (_, Ok(whole)) => Value::Number(whole.into()),
                _ => Value::Number((*whole as f64).into()),
            },
            Data::Real(real) => Value::Number((*real).into()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Sequence(items.iter().map(Node::to_value).collect()),
            Data::Map(entries) => Value::Mapping(
                entries.iter().map(|(key, value)| (Value::String(key.name.clone()), value.to_value())).collect(),
            ),
        }
    }
}

/// Reads one document. `text` stands at byte `offset` of source number `source`; repeated keys go to `problems`, anything
/// that leaves no tree (a syntax error, a cap) comes back as the error.
pub fn parse(text: &str, source: usize, offset: usize, problems: &mut Vec<Problem>) -> Result<Node, Problem> {
    let whole = Place { source, start: offset, end: offset };
    if text.len() > MOST_BYTES {
        return Err(Problem::new(
            &whole,
            format!("a spec may hold {MOST_BYTES} bytes, this one holds {}", text.len()),
            "",
        ));
    }
    let bytes = text.char_indices().map(|(i, _)| offset + i).chain([offset + text.len()]).collect();
    let lines = text.match_indices('\n').map(|(at, _)| offset + at).collect();
    let mut reader =
        Reader { events: Parser::new_from_str(text), text, offset, bytes, lines, source, values: 0, problems };
    let mut root = None;
    loop {
        let (event, place) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if root.is_some() => {
                return Err(Problem::new(&place, "a spec is one document, a second one starts here", ""));
            }
            event => root = Some(reader.value(event, place, 1)?),
        }
    }
    root.ok_or_else(|| Problem::new(&whole, "the spec is empty", ""))
}

struct Reader<'a, 'p> {
    events: Parser<'a, StrInput<'a>>,
    text: &'a str,
    offset: usize,
    /// The byte at which each character starts: the parser counts characters.
    bytes: Vec<usize>,
    /// The byte at which each line ends.
    lines: Vec<usize>,
    source: usize,
    values: usize,
    problems: &'p mut Vec<Problem>,
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Problem> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, self.place(span))),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, self.place(Span::default()))),
        }
    }

    fn place(&self, span: Span) -> Place {
        let byte = |index: usize| self.bytes[index.min(self.bytes.len() - 1)];
        Place { source: self.source, start: byte(span.start.index()), end: byte(span.end.index()) }
    }

    fn value(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Problem> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(Problem::new(&place, format!("a spec may hold {MOST_VALUES} values, this one holds more"), ""));
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            Event::Alias(anchor) => (*anchor, false),
            _ => return Err(Problem::new(&place, "expected a value", "")),
        };
        if anchor > 0 || tag {
            let what = if tag { "tags" } else { "anchors and aliases" };
            return Err(Problem::new(&place, format!("{what} are not supported"), "write the plain value"));
        }
        if depth > MOST_DEPTH && !matches!(event, Event::Scalar(..)) {
            return Err(too_deep(&place));
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(Node { place, data: scalar(&text) }),
            Event::Scalar(text, ..) => Ok(Node { place, data: Data::Text(text.into_owned()) }),
            Event::SequenceStart(..) => self.list(place, depth),
            _ => self.mapping(place, depth),
        }
    }

    fn list(&mut self, mut place: Place, depth: usize) -> Result<Node, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    place.end = end.end;
                    return Ok(Node { place, data: Data::List(items) });
                }
                (event, start) => items.push(self.value(event, start, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, mut place: Place, depth: usize) -> Result<Node, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (name, key) = match self.next()? {
                (Event::MappingEnd, end) => {
                    place.end = end.end;
                    return Ok(Node { place, data: Data::Map(entries) });
                }
                (Event::Scalar(name, _, 0, None), key) => (name.into_owned(), key),
                (_, key) => return Err(Problem::new(&key, "a key must be a plain word", "")),
            };
            let line = 1 + self.lines.partition_point(|&end| end < key.start);
            if let Some(first) = lines.get(&name) {
                let message = format!("`{name}` is given twice; first on line {first}");
                self.problems.push(Problem::new(&key, message, "remove one of the two"));
            } else {
                lines.insert(name.clone(), line);
            }
            let (event, start) = self.next()?;
            let value = self.value(event, start, depth + 1)?;
            entries.push((Key { place: key, name }, value));
        }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let index = error.marker().index().min(self.bytes.len() - 1);
        let place = Place {
            source: self.source,
            start: self.bytes[index],
            end: self.bytes[(index + 1).min(self.bytes.len() - 1)],
        };
        // The scanner counts flow levels in a byte and stops before the events reach `MOST_DEPTH`.
        if error.info().contains("recursion limit") {
            return too_deep(&place);
        }
        let before = &self.text[..self.bytes[index] - self.offset];
        let indent = &self.text[before.rfind('\n').map_or(0, |i| i + 1)..];
        let tab = indent.chars().take_while(|c| c.is_whitespace() && *c != '\n').any(|c| c == '\t');
        let hint = if tab { "indent with spaces, not tabs" } else { "" };
        Problem::new(&place, format!("not YAML: {}", error.info()), hint)
    }
}

fn too_deep(place: &Place) -> Problem {
    Problem::new(place, format!("nested deeper than {MOST_DEPTH} levels"), "")
}

/// A plain scalar by YAML 1.2's core schema, as serde_yaml reads it too: digits that no f64 holds are text.
fn scalar(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Flag(true),
        "false" | "False" | "FALSE" => return Data::Flag(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Real(f64::NAN),
        _ => {}
    }
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (if text.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Data::Real(f64::from(sign) * f64::INFINITY);
    }
    let based = |prefix, radix| digits.strip_prefix(prefix).and_then(|d: &str| i128::from_str_radix(d, radix).ok());
    if digits.bytes().all(|b| b.is_ascii_digit())
        && let Ok(whole) = text.parse()
    {
        return Data::Whole(whole);
    }
    if let Some(whole) = based("0x", 16).or_else(|| based("0o", 8)).filter(|_| !digits[2..].starts_with(['+', '-'])) {
        return Data::Whole(i128::from(sign) * whole);
    }
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse() {
        Ok(real) if numeric && f64::is_finite(real) => Data::Real(real),
        _ => Data::Text(text.to_owned()),
    }
}
