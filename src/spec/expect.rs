//! The spec's `expect:` lines: what a run must reach, as `dotted.path.in.results (<|<=|>|>=) number`. A line that fails makes
//! the run exit 3, so a spec is a claim that can be checked.

use crate::{Error, Result};
use serde_json::Value;

/// One line of the block.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Keys (or list indices) from the root of the results, as written: `a.b."c d"`.
    pub path: String,
    /// How the value found must stand to `bound`.
    pub comparison: Comparison,
    /// A finite number.
    pub bound: f64,
}

/// The four comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Whether `value` stands so to `bound`; never for NaN.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Comparison::Below => value < bound,
            Comparison::AtMost => value <= bound,
            Comparison::Above => value > bound,
            Comparison::AtLeast => value >= bound,
        }
    }
}

/// Reads one line; the error says what is wrong with it.
pub fn parse(line: &str) -> std::result::Result<Expectation, String> {
    let at = line.find(['<', '>']).ok_or("no comparison: one of <, <=, >, >=")?;
    let (path, rest) = (line[..at].trim(), &line[at..]);
    // The two-character forms first: `<` is a prefix of `<=`.
    let (comparison, number) =
        [("<=", Comparison::AtMost), (">=", Comparison::AtLeast), ("<", Comparison::Below), (">", Comparison::Above)]
            .into_iter()
            .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?.trim())))
            .ok_or("no comparison: one of <, <=, >, >=")?;
    if keys(path).is_none() {
        return Err(format!("`{path}` is not a dotted path"));
    }
    match number.parse::<f64>() {
        Ok(bound) if bound.is_finite() => Ok(Expectation { path: path.to_owned(), comparison, bound }),
        _ => Err(format!("`{number}` is not a finite number")),
    }
}

/// The keys of a dotted path; one that holds more than letters, digits, `_` and `-` stands in double quotes.
pub fn keys(path: &str) -> Option<Vec<&str>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let (key, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        let plain = key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if key.is_empty() || !(plain || rest.starts_with('"')) {
            return None;
        }
        keys.push(key);
        if after.is_empty() {
            return Some(keys);
        }
        rest = after.strip_prefix('.')?;
    }
}

/// Holds every line against the results; the error names each line that fails and the value found.
///
/// # Errors
/// [`Error::Expect`] for a line that does not hold, whose path is missing or no number, or that does not parse.
pub fn check(lines: &[String], results: &Value) -> Result<()> {
    let failures: Vec<String> = lines.iter().filter_map(|line| failure(line, results)).collect();
    if failures.is_empty() { Ok(()) } else { Err(Error::Expect(failures.join("; "))) }
}

fn failure(line: &str, results: &Value) -> Option<String> {
    let expectation = match parse(line) {
        Ok(expectation) => expectation,
        Err(why) => return Some(format!("`{line}`: {why}")),
    };
    let found = keys(&expectation.path).unwrap_or_default().into_iter().try_fold(results, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    });
    match found.map(|value| (value, value.as_f64())) {
        None => Some(format!("`{line}`: the results hold no `{}`", expectation.path)),
        Some((_, Some(value))) if expectation.comparison.holds(value, expectation.bound) => None,
        Some((_, Some(value))) => Some(format!("`{line}`: found {value}")),
        Some((value, None)) => Some(format!("`{line}`: found {value}, which is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failures(line: &str) -> Option<String> {
        let results = json!({"elbo": 2.5, "kinds": {"blue ring": {"value": 0.25}}, "accuracy": {"seen": {"best_of_8": 0.75}}, "psnr": null, "list": [1, 2]});
        match check(&[line.to_owned()], &results) {
            Ok(()) => None,
            Err(error) => {
                assert_eq!(error.exit_code(), 3);
                Some(error.to_string())
            }
        }
    }

    #[test]
    fn each_comparison_holds_and_fails_at_its_bound() {
        for (line, holds) in [
            ("elbo < 2.5", false),
            ("elbo <= 2.5", true),
            ("elbo > 2.5", false),
            ("elbo >= 2.5", true),
            ("elbo<2.6", true),
            ("elbo > 2.4", true),
            ("elbo >= 2.6", false),
            ("elbo <= 2.4", false),
            ("accuracy.seen.best_of_8 >= 7e-1", true),
            ("list.1 > 1", true),
            ("kinds.\"blue ring\".\"value\" >= 0.25", true),
            ("kinds.\"blue ring\".value > 0.25", false),
            ("elbo > -1", true),
        ] {
            assert_eq!(failures(line).is_none(), holds, "{line}");
        }
    }

    #[test]
    fn a_failure_names_the_line_and_the_value() {
        assert_eq!(
            failures("accuracy.seen.best_of_8 >= 0.9").as_deref(),
            Some("expectation failed: `accuracy.seen.best_of_8 >= 0.9`: found 0.75")
        );
        assert!(failures("accuracy.unseen > 0").unwrap().contains("hold no `accuracy.unseen`"));
        assert!(failures("psnr > 0").unwrap().contains("found null"));
        assert!(failures("list.2 > 0").unwrap().contains("hold no"));
        assert!(failures("accuracy > 0").unwrap().contains("no number"));
    }

    #[test]
    fn all_failing_lines_are_named() {
        let lines = ["a > 1", "b < 1", "c < 9"].map(str::to_owned);
        let text = check(&lines, &json!({"a": 0, "b": 2, "c": 3})).unwrap_err().to_string();
        assert!(
            text.contains("`a > 1`: found 0") && text.contains("`b < 1`: found 2") && !text.contains("`c"),
            "{text}"
        );
    }

    #[test]
    fn bad_lines_do_not_parse() {
        for line in [
            "",
            "a",
            "a = 1",
            "< 1",
            "a < ",
            "a < b",
            "a <> 1",
            "a..b < 1",
            "a b < 1",
            "a < inf",
            "a < NaN",
            "a == 1",
            "a < 1 < 2",
            "a.\"b c < 1",
            "a.\"\" < 1",
            "a.\"b\"c < 1",
            "a. < 1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
