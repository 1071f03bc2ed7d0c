//! What the results of a spec will hold, so that an expectation of anything else is an error before training and not after it: the
//! same types as the results, filled with what is not known yet. A test holds it against the results of a run.

use super::evaluators;
use crate::spec::Spec;
use crate::spec::expect::{keys, parse};
use crate::spec::parse::{Data, Node};
use crate::spec::problem::{Problem, did_you_mean};
use serde_json::{Value, json};

/// Every expectation of `spec` whose path leads to no number of its results; `root` is where it was read from.
pub(super) fn problems(root: &Node, spec: &Spec) -> Vec<Problem> {
    let Some(Node { data: Data::List(lines), .. }) = root.get("expect") else { return Vec::new() };
    let results = json!(evaluators::will_hold(spec));
    let problem = |(node, line): (&Node, &String)| {
        let path = parse(line).ok()?.path;
        let (message, hint) = lacks(&results, &keys(&path)?, "")?;
        Some(Problem::new(&node.place, message, hint))
    };
    lines.iter().zip(&spec.expect).filter_map(problem).collect()
}

/// What is wrong with `path` as an expectation of `spec`: `None` where the results will hold a number there.
pub fn unknown(spec: &Spec, path: &str) -> Option<String> {
    match keys(path) {
        Some(keys) => lacks(&json!(evaluators::will_hold(spec)), &keys, "").map(|(message, _)| message),
        None => Some(format!("`{path}` is not a dotted path")),
    }
}

/// What is wrong with the rest of a path into `part`, `so_far` having been found, and a hint.
fn lacks(part: &Value, path: &[&str], so_far: &str) -> Option<(String, String)> {
    let place = if so_far.is_empty() { "the results".to_owned() } else { format!("`{so_far}` of the results") };
    let is_number = part.is_number() || part.is_null();
    let (first, rest) = match path {
        [] if is_number => return None,
        [] => return Some((format!("{place} is no number"), hint(part))),
        _ if is_number => return Some((format!("{place} is a number and holds nothing more"), String::new())),
        [first, rest @ ..] => (*first, rest),
    };
    let found = match part {
        Value::Array(items) => first.parse().ok().and_then(|index: usize| items.get(index)),
        Value::Object(entries) => entries.iter().find(|(name, _)| is(name, first)).map(|(_, part)| part),
        _ => None,
    };
    if let Some(found) = found {
        let below = if so_far.is_empty() { first.to_owned() } else { format!("{so_far}.{first}") };
        return lacks(found, rest, &below);
    }
    let names: Vec<&str> = part.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let hint = did_you_mean(first, &names).unwrap_or_else(|| hint(part));
    Some((format!("{place} will hold no `{first}`"), hint))
}

fn hint(part: &Value) -> String {
    match part {
        Value::Array(items) => format!("the places there are 0 to {}", items.len().saturating_sub(1)),
        Value::Object(entries) => {
            let names: Vec<&str> = entries.keys().map(String::as_str).collect();
            format!("the keys there are {}", names.join(", "))
        }
        _ => String::new(),
    }
}

/// A name that ends in `*` stands for all that begin like it.
fn is(name: &str, key: &str) -> bool {
    name.strip_suffix('*').map_or(name == key, |start| key.len() > start.len() && key.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::load::check;

    const SHAPES: &str = "name: a\npreset: tiny\nevaluate: {two_objects: 0}\n";
    const FOLDER: &str = "name: a\npreset: tiny\ndata: {kind: folder, train: [a], validation: {held: [b]}}\n";

    #[test]
    fn what_the_results_hold_can_be_expected_and_nothing_else() {
        for (text, path, known) in [
            (SHAPES, "attribute_accuracy.seen.best_of_8.value", true),
            (SHAPES, "attribute_accuracy.seen.lenient.any_of_8.low", true),
            (SHAPES, "attribute_accuracy.held_out.by_kind.\"orange square\".value", true),
            (SHAPES, "attribute_accuracy.seen.by_kind.\"orange square\".value", false),
            (SHAPES, "attribute_accuracy.seen.best_of_16.value", false),
            (SHAPES, "attribute_accuracy.seen.best_of_8", false),
            (SHAPES, "attribute_accuracy.pairs.best_of_8.value", false),
            (SHAPES, "rerank_curve.accuracy.3", true),
            (SHAPES, "rerank_curve.accuracy.4", false),
            (SHAPES, "zero_shot.seen.value", true),
            (SHAPES, "elbo_validation.psnr", true),
            (SHAPES, "elbo_validation.psnr.value", false),
            (SHAPES, "elbo_held.psnr", false),
            (FOLDER, "elbo_held.psnr", true),
            (FOLDER, "elbo_validation.psnr", false),
            (FOLDER, "attribute_accuracy.seen.best_of_8.value", false),
            (FOLDER, "elbo_held.attributes_after_reconstruction.value", false),
        ] {
            let spec = check("a.yaml", text, &[], &["tiny"]).unwrap();
            assert_eq!(unknown(&spec, path).is_none(), known, "{path}: {:?}", unknown(&spec, path));
        }
    }

    #[test]
    fn an_unknown_path_is_a_problem_at_its_line() {
        let text = "name: a\npreset: tiny\nexpect:\n  - elbo_validation.psnr > 1\n  - elbo_validation.psrn > 1\n";
        let error = check("a.yaml", text, &[], &["tiny"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(
            error.starts_with("a.yaml:5:") && error.contains("hold no `psrn`") && error.contains("psnr"),
            "{error}"
        );
        let set = ["expect=['attribute_accuracy.seen.best_of_64.value > 0']".to_owned()];
        let error = check("a.yaml", "name: a\npreset: tiny\n", &set, &["tiny"]).unwrap_err().to_string();
        assert!(error.starts_with("--set:1:") && error.contains("best_of_64"), "{error}");
    }
}
