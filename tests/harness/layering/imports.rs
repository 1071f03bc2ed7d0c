//! What a source names: the paths in it that begin at `crate`, `super` or `self`, and whatever it `use`s.
//!
//! A reader of tokens, not of Rust: it knows comments, strings, groups `{…}`, `mod name {…}` and `#[cfg(test)]`, which is all
//! that imports need.

/// A path that a source names.
#[derive(Debug, PartialEq)]
pub struct Import {
    /// Counted from 1.
    pub line: usize,
    /// The modules written in the file itself around the path, from the outermost.
    pub within: Vec<String>,
    /// `crate`, `data`, `PictureError` of `crate::data::PictureError`.
    pub path: Vec<String>,
    /// What a `use` calls it: the last name, or the one after `as`. None of a path in an expression or a type.
    pub name: Option<String>,
}

/// The paths of `source`, in order. A glob gives the path before its `*`.
pub fn imports(source: &str) -> Vec<Import> {
    let tokens = tokens(source);
    let mut reader = Reader { tokens: &tokens, at: 0, within: Vec::new(), found: Vec::new() };
    let (mut depth, mut modules) = (0, Vec::new());
    while let Some(token) = reader.here() {
        match token {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if modules.last() == Some(&depth) {
                    modules.pop();
                    reader.within.pop();
                }
            }
            "mod" if reader.ahead(2) == Some("{") => {
                reader.within.extend(reader.ahead(1).map(str::to_owned));
                modules.push(depth);
                depth += 1;
                reader.at += 3;
                continue;
            }
            "use" => {
                reader.at += 1;
                reader.tree(Vec::new(), true);
                continue;
            }
            "crate" | "super" | "self" if reader.ahead(1) == Some("::") && reader.begins() => {
                reader.tree(Vec::new(), false);
                continue;
            }
            _ => {}
        }
        reader.at += 1;
    }
    reader.found
}

/// `source` with spaces for its comments and for what its strings and characters hold; lines stay where they are.
pub fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !code.ends_with(in_name));
        let hashes = raw.map_or(0, |raw| raw.len() - raw.trim_start_matches('#').len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if raw.is_some_and(|raw| raw[hashes..].starts_with('"')) {
            let (end, open) = (format!("\"{}", "#".repeat(hashes)), rest.find('"').unwrap_or_default() + 1);
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else if first == '"' {
            1 + literal(&rest[1..], '"')
        } else if first == '\'' && character(rest) {
            1 + literal(&rest[1..], '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

/// `code` with spaces for each item under `#[cfg(test)]`.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut left = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        left.push_str(&rest[..at]);
        let item = &rest[at..];
        let mut depth = 0;
        // The end of an item is a semicolon or a closing brace that nothing is open around.
        let end = item.char_indices().skip(MARK.len()).find(|&(_, c)| {
            depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
            depth == 0 && matches!(c, ';' | '}')
        });
        let end = end.map_or(item.len(), |(at, _)| at + 1);
        left.extend(item[..end].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &item[end..];
    }
    left + rest
}

/// Modules that `code` declares for tests alone: `#[cfg(test)] mod name;`.
pub fn test_modules(code: &str) -> Vec<String> {
    let declared = |after: &str| {
        let item = after.split(';').next()?;
        let name = item.split_once("mod ")?.1.trim();
        name.chars().all(in_name).then(|| name.to_owned())
    };
    code.split("#[cfg(test)]").skip(1).filter_map(declared).collect()
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a quote begins a character, not a lifetime.
fn character(rest: &str) -> bool {
    let mut after = rest.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        _ => after.next() == Some('\''),
    }
}

/// How long the rest of a literal is, its closing quote included.
fn literal(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().find(|&(_, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// Names, `::`, and every other sign by itself, each with its line.
fn tokens(source: &str) -> Vec<(usize, &str)> {
    let (mut tokens, mut line, mut rest) = (Vec::new(), 1, source);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if in_name(c) => rest.find(|c| !in_name(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push((line, &rest[..length]));
        }
        line += usize::from(first == '\n');
        rest = &rest[length..];
    }
    tokens
}

struct Reader<'s> {
    tokens: &'s [(usize, &'s str)],
    at: usize,
    within: Vec<String>,
    found: Vec<Import>,
}

impl<'s> Reader<'s> {
    fn here(&self) -> Option<&'s str> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<&'s str> {
        self.tokens.get(self.at + by).map(|&(_, token)| token)
    }

    /// Whether a path begins here: it is neither within one nor says for whom something is visible (`pub(in crate::x)`).
    fn begins(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| self.tokens[at].1);
        !matches!(before, Some("::" | "in"))
    }

    /// A path from here on, or each path of a group, all of them behind `path`.
    fn tree(&mut self, mut path: Vec<String>, used: bool) {
        let mut line = self.tokens.get(self.at).map_or(0, |&(line, _)| line);
        loop {
            match self.here() {
                Some("{") => {
                    self.at += 1;
                    while self.here().is_some_and(|token| token != "}") {
                        let before = self.at;
                        self.tree(path.clone(), used);
                        // What cannot be read is stepped over, and the comma between two entries with it.
                        self.at += usize::from(self.at == before || self.here() == Some(","));
                    }
                    self.at += 1;
                    return;
                }
                Some(name) if name.chars().all(in_name) => {
                    line = self.tokens[self.at].0;
                    // `self` in a group is the path before it.
                    if name != "self" || path.is_empty() {
                        path.push(name.to_owned());
                    }
                    self.at += 1;
                }
                Some("*") => {
                    self.at += 1;
                    break;
                }
                _ => break,
            }
            let goes_on = self.ahead(1).is_some_and(|next| matches!(next, "{" | "*") || next.chars().all(in_name));
            if self.here() != Some("::") || !goes_on {
                break;
            }
            self.at += 1;
        }
        let mut name = path.last().cloned().filter(|_| used);
        if used && self.here() == Some("as") {
            name = self.ahead(1).map(str::to_owned);
            self.at += 2;
        }
        if !path.is_empty() {
            self.found.push(Import { line, within: self.within.clone(), path, name });
        }
    }
}

#[test]
fn paths_are_found_in_groups_and_expressions() {
    let source = "use crate::{\n    Error,\n    data::{self, Folder, source::Source as S},\n    report::grid,\n};\n\
                  use super::kinds::*;\nlet x = $crate::shape::Group::<A>::of(super::super::made());\nuse std::fs;\n\
                  pub(in crate::data) mod inner {\n    use self::deeper::Thing;\n}\nself.x(crate::last);\npub(super) fn f() {}";
    let found = imports(source).into_iter().map(|Import { line, within, path, name }| {
        format!("{line} {}{} {}", within.join("::"), path.join("::"), name.unwrap_or("-".into()))
    });
    let expected = [
        "2 crate::Error Error",
        "3 crate::data data",
        "3 crate::data::Folder Folder",
        "3 crate::data::source::Source S",
        "4 crate::report::grid grid",
        "6 super::kinds kinds",
        "7 crate::shape::Group -",
        "7 super::super::made -",
        "8 std::fs fs",
        "10 innerself::deeper::Thing Thing",
        "12 crate::last -",
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn comments_strings_and_tests_are_no_code() {
    let source = "//! [`crate::a`]\nlet x = \"crate::b \\\" // \"; let y = '\"'; // crate::c\nfn f<'a>() { r#\"crate::d\"# }\n\
                  #[cfg(test)]\nuse super::{e, f};\n#[cfg(test)]\nmod tests {\n    use super::g;\n    fn f() {}\n}\n\
                  #[cfg(test)]\npub(crate) mod testing;\nuse super::h;";
    let kept = imports(&without_tests(&code(source)));
    assert_eq!(
        kept.iter().map(|import| (import.line, import.path.join("::"))).collect::<Vec<_>>(),
        [(13, "super::h".into())]
    );
    assert_eq!(test_modules(&code(source)), ["testing"]);
}
