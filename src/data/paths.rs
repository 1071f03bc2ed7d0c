//! What a spec calls "files, folders or patterns": `*` and `?` in any part of a path, `{a,b}` and `{000..012}`.

use crate::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// So many paths are enough for one pattern.
const MOST: usize = 100_000;

/// The paths that `pattern` names below `root`, each once: those of a brace in its order, those of a `*` sorted. A path that
/// is there is itself, whatever its name holds. What names one path gives that path, there or not: opening it says more.
///
/// # Errors
/// [`Error::Data`] where nothing matches a `*` or `?`, or too much is named; [`Error::Io`] where a folder cannot be listed.
pub fn expand(root: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let literal = root.join(pattern);
    if literal.exists() {
        return Ok(vec![literal]);
    }
    let braced = braces(pattern).map_err(|what| Error::data(&literal, what))?;
    let mut found = Vec::new();
    for pattern in braced {
        for path in wildcards(root, &pattern)? {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Whether the pattern may name several paths.
pub fn is_pattern(pattern: &str) -> bool {
    pattern.contains(['*', '?', '{'])
}

/// Every text that the braces stand for, the first brace turning slowest.
fn braces(pattern: &str) -> std::result::Result<Vec<String>, String> {
    let Some((start, rest)) = pattern.split_once('{') else { return Ok(vec![pattern.to_owned()]) };
    let Some((inside, end)) = rest.split_once('}') else {
        return Err("a { without its }".to_owned());
    };
    let choices = match range(inside) {
        Some(choices) => choices?,
        None => inside.split(',').map(str::to_owned).collect(),
    };
    let ends = braces(end)?;
    if choices.len().saturating_mul(ends.len()) > MOST {
        return Err(format!("{{{inside}}} names too many paths: expected at most {MOST}"));
    }
    Ok(choices.iter().flat_map(|choice| ends.iter().map(move |end| format!("{start}{choice}{end}"))).collect())
}

/// The numbers of `000..012`, as wide as they are written.
fn range(inside: &str) -> Option<std::result::Result<Vec<String>, String>> {
    let (low, high) = inside.split_once("..")?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(low) || !digits(high) {
        return None;
    }
    let width = if low.starts_with('0') || high.starts_with('0') { low.len().max(high.len()) } else { 0 };
    let (Ok(low), Ok(high)) = (low.parse::<u64>(), high.parse::<u64>()) else {
        return Some(Err(format!("{{{inside}}}: the numbers are too large")));
    };
    if high < low || high - low >= MOST as u64 {
        return Some(Err(format!("{{{inside}}}: expected a rising range of at most {MOST} numbers")));
    }
    Some(Ok((low..=high).map(|number| format!("{number:0width$}")).collect()))
}

/// The paths that match `*` and `?`, part by part.
fn wildcards(root: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    if !pattern.contains(['*', '?']) || root.join(pattern).exists() {
        return Ok(vec![root.join(pattern)]);
    }
    let mut found = vec![root.to_owned()];
    for part in Path::new(pattern).components() {
        let name = part.as_os_str().to_string_lossy();
        if !matches!(part, Component::Normal(_)) || !name.contains(['*', '?']) {
            found = found.into_iter().map(|path| path.join(part)).collect();
            continue;
        }
        if name.contains("**") {
            let what = "`**` is not read: name a folder, its subfolders are read too";
            return Err(Error::data(root.join(pattern), what));
        }
        let mut next = Vec::new();
        for folder in found.iter().filter(|path| path.as_os_str().is_empty() || path.is_dir()) {
            next.extend(listed(folder, &name)?);
        }
        found = next;
    }
    found.retain(|path| path.exists());
    if found.is_empty() { Err(Error::data(root.join(pattern), "nothing matches this pattern")) } else { Ok(found) }
}

/// The entries of `folder` whose names match, sorted; hidden ones only where the pattern begins with a dot.
fn listed(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let at = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(at).map_err(Error::io("list", at))? {
        let file = entry.map_err(Error::io("list", at))?.file_name();
        let name = file.to_string_lossy();
        if matches(pattern, &name) && (pattern.starts_with('.') || !name.starts_with('.')) {
            found.push(folder.join(&file));
        }
    }
    found.sort();
    Ok(found)
}

/// True where `name` is `pattern` with something, or nothing, for each `*` and one character for each `?`. In the usual way:
/// on a mismatch the last `*` takes one character more.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};

    #[test]
    fn braces_are_numbers_or_words() {
        let words = |pattern: &str| braces(pattern).unwrap().join(" ");
        assert_eq!(words("s-{008..011}.tar"), "s-008.tar s-009.tar s-010.tar s-011.tar");
        assert_eq!(words("{8..10}"), "8 9 10");
        assert_eq!(words("{a,b}/{0..1}"), "a/0 a/1 b/0 b/1");
        assert_eq!(words("plain"), "plain");
        assert_eq!(words("{a..c}"), "a..c");
        for bad in ["{", "a{0..1", "{3..1}", "{0..100000}", "{0..99999999999999999999}", "{0..999}{0..999}"] {
            assert!(braces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_found_in_any_part() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b/pictures/x.tar", "a/pictures/y.tar", "a/other/z.tar", ".hidden/pictures/h.tar", "odd{1}/o.tar"]
        {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let paths = expand(root.path(), pattern).unwrap();
            paths.iter().map(|p| p.strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(found("*/pictures"), ["a/pictures", "b/pictures"]);
        assert_eq!(found("*/pictures/?.tar"), ["a/pictures/y.tar", "b/pictures/x.tar"]);
        assert_eq!(found("{b,a}/pictures"), ["b/pictures", "a/pictures"]);
        assert_eq!(found("{a,*}/pictures"), ["a/pictures", "b/pictures"]);
        assert_eq!(found("./a/*/z.tar"), ["a/other/z.tar"]);
        assert_eq!(found("odd{1}"), ["odd{1}"]);
        assert_eq!(found("absent"), ["absent"]);
        assert_eq!(found(".*/pictures"), [".hidden/pictures"]);
        for pattern in ["*/nothing", "c*", "**/x.tar", "{a"] {
            assert_eq!(expand(root.path(), pattern).unwrap_err().exit_code(), 4, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_backtracks_is_quick() {
        assert!(!matches(&"*a".repeat(50), &"a".repeat(40)));
        assert!(!matches(&format!("{}b", "*a".repeat(30)), &"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn a_star_stands_for_anything(start in "[ab]{0,3}", middle in "[abc]{0,4}", end in "[ab]{1,3}") {
            let star = format!("{start}*{end}");
            let query = format!("{}{}{}", start, "?".repeat(middle.len()), end);
            let name = format!("{}{}{}", start, middle, end);
            prop_assert!(matches(&star, &name) && matches(&query, &name));
            let longer = format!("{name}c");
            prop_assert!(!matches(&query, &longer) && !matches(&star, &longer));
        }
    }
}
