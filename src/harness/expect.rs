//! The spec's `expect:` lines: what a run must reach, as `dotted.path.in.results (<|<=|>|>=) number`. A line that fails makes
//! the run exit 3, so a spec is a claim that can be checked.

use super::sources::HELD_OUT;
use super::spec::{DataKind, Spec};
use crate::{Error, Result};
use serde_json::Value;

/// One line of the block.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Keys (or list indices) from the root of the results.
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
    let word = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if !path.split('.').all(word) {
        return Err(format!("`{path}` is not a dotted path"));
    }
    match number.parse::<f64>() {
        Ok(bound) if bound.is_finite() => Ok(Expectation { path: path.to_owned(), comparison, bound }),
        _ => Err(format!("`{number}` is not a finite number")),
    }
}

/// What the results of a run of `spec` hold at their top: what a line's path may begin with.
pub fn roots(spec: &Spec) -> Vec<String> {
    let (mut roots, sets): (Vec<&str>, Vec<String>) = match spec.data.kind {
        DataKind::Shapes => (vec!["attribute_accuracy", "zero_shot"], vec!["validation".into(), "held_out".into()]),
        _ if spec.data.validation.is_empty() => (vec![], vec![HELD_OUT.into()]),
        _ => (vec![], spec.data.validation.keys().cloned().collect()),
    };
    roots.push("rerank_curve");
    roots.into_iter().map(str::to_owned).chain(sets.iter().map(|set| format!("elbo_{set}"))).collect()
}

/// What is wrong with the lines of `spec` that no run of it could meet: their place in the list, and why.
pub fn unknown(spec: &Spec) -> Vec<(usize, String)> {
    let roots = roots(spec);
    let unknown = |(at, line): (usize, &String)| {
        let path = parse(line).ok()?.path;
        let root = path.split('.').next()?;
        (!roots.iter().any(|known| known == root))
            .then(|| (at, format!("the results of this spec hold no `{root}`: they hold {}", roots.join(", "))))
    };
    spec.expect.iter().enumerate().filter_map(unknown).collect()
}

/// Holds every line against the results; the error names each line that fails and the value found.
///
/// # Errors
/// [`Error::Expect`] for a line that does not hold, whose path is missing or no number, or that does not parse.
pub fn check(lines: &[String], results: &Value) -> Result<()> {
    let failures: Vec<String> = lines.iter().filter_map(|line| failure(line, results)).collect();
    if failures.is_empty() { Ok(()) } else { Err(Error::Expect(failures.join("\n"))) }
}

fn failure(line: &str, results: &Value) -> Option<String> {
    let expectation = match parse(line) {
        Ok(expectation) => expectation,
        Err(why) => return Some(format!("`{line}`: {why}")),
    };
    let found = expectation.path.split('.').try_fold(results, |value, key| match value {
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
        let results = json!({"elbo": 2.5, "accuracy": {"seen": {"best_of_8": 0.75}}, "psnr": null, "list": [1, 2]});
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
    fn a_path_that_no_run_can_have_is_known_before_it() {
        let unknown = |text: &str| -> Vec<usize> {
            let spec: Spec = serde_yaml::from_str(&format!("{{name: a, preset: tiny, {text}}}")).unwrap();
            super::unknown(&spec).into_iter().map(|(at, _)| at).collect()
        };
        assert_eq!(unknown("expect: [zero_shot.seen.value > 0, elbo_validation.psnr > 1, psnr > 1]"), [2]);
        let folder = "data: {kind: folder, train: [a], validation: {b: [c]}}";
        assert_eq!(unknown(&format!("{folder}, expect: [elbo_b.psnr > 1, elbo_c.psnr > 1, zero_shot.x > 1]")), [1, 2]);
        assert!(unknown("data: {kind: folder, train: [a]}, expect: [elbo_validation.psnr > 1]").is_empty());
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
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
