//! What the results of a spec will hold, so that an expectation of anything else is an error before training and not after it.
//! It mirrors what [`measure`](super::measure) writes; a test holds it against the results of a run.

use super::accuracy::kind_name;
use super::expect::{keys, parse};
use super::parse::{Data, Node};
use super::problem::Problem;
use super::schema::did_you_mean;
use super::spec::{DataKind, Spec};
use crate::data::shapes::kinds;
use crate::train::config::FirstStageKind;

/// A part of the results.
enum Part {
    Number,
    /// So many numbers.
    List(usize),
    Map(Vec<(String, Part)>),
}

/// Every expectation of `spec` whose path leads to no number of its results; `root` is where it was read from.
pub(super) fn problems(root: &Node, spec: &Spec) -> Vec<Problem> {
    let Some(Node { data: Data::List(lines), .. }) = root.get("expect") else { return Vec::new() };
    let results = results(spec);
    let problem = |(node, line): (&Node, &String)| {
        let path = parse(line).ok()?.path;
        let (message, hint) = results.lacks(&keys(&path)?, "")?;
        Some(Problem::new(&node.place, message, hint))
    };
    lines.iter().zip(&spec.expect).filter_map(problem).collect()
}

/// What is wrong with `path` as an expectation of `spec`: `None` where the results will hold a number there.
pub(super) fn unknown(spec: &Spec, path: &str) -> Option<String> {
    match keys(path) {
        Some(keys) => results(spec).lacks(&keys, "").map(|(message, _)| message),
        None => Some(format!("`{path}` is not a dotted path")),
    }
}

impl Part {
    /// What is wrong with the rest of a path, `so_far` having been found, and a hint.
    fn lacks(&self, path: &[&str], so_far: &str) -> Option<(String, String)> {
        let place = if so_far.is_empty() { "the results".to_owned() } else { format!("`{so_far}` of the results") };
        let (first, rest) = match (self, path) {
            (Part::Number, []) => return None,
            (Part::Number, _) => return Some((format!("{place} is a number and holds nothing more"), String::new())),
            (_, []) => return Some((format!("{place} is no number"), self.hint())),
            (_, [first, rest @ ..]) => (*first, rest),
        };
        let below = if so_far.is_empty() { first.to_owned() } else { format!("{so_far}.{first}") };
        let found = match self {
            Part::List(count) if first.parse().is_ok_and(|index: usize| index < *count) => Some(&Part::Number),
            Part::Map(entries) => entries.iter().find(|(name, _)| is(name, first)).map(|(_, part)| part),
            _ => None,
        };
        match found {
            Some(part) => part.lacks(rest, &below),
            None => {
                let names: Vec<&str> = match self {
                    Part::Map(entries) => entries.iter().map(|(name, _)| name.as_str()).collect(),
                    _ => Vec::new(),
                };
                let hint = did_you_mean(first, &names).unwrap_or_else(|| self.hint());
                Some((format!("{place} will hold no `{first}`"), hint))
            }
        }
    }

    fn hint(&self) -> String {
        match self {
            Part::Number => String::new(),
            Part::List(count) => format!("the places there are 0 to {}", count.saturating_sub(1)),
            Part::Map(entries) => {
                let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
                format!("the keys there are {}", names.join(", "))
            }
        }
    }
}

/// A name that ends in `*` stands for all that begin like it.
fn is(name: &str, key: &str) -> bool {
    name.strip_suffix('*').map_or(name == key, |start| key.len() > start.len() && key.starts_with(start))
}

fn numbers<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<(String, Part)> {
    names.into_iter().map(|name| (name.to_owned(), Part::Number)).collect()
}

fn estimate() -> Part {
    Part::Map(numbers(["value", "low", "high", "n"]))
}

fn estimates(names: impl IntoIterator<Item = impl Into<String>>) -> Part {
    Part::Map(names.into_iter().map(|name| (name.into(), estimate())).collect())
}

fn results(spec: &Spec) -> Part {
    let shapes = spec.data.kind == DataKind::Shapes;
    let mut all = Vec::new();
    let places = (usize::BITS - spec.sample.candidates.leading_zeros()) as usize;
    let curve = |names: &[&str]| Part::Map(names.iter().map(|name| ((*name).into(), Part::List(places))).collect());
    if shapes {
        if spec.evaluate.seen > 0 {
            all.push(("rerank_curve".into(), curve(&["n", "similarity", "accuracy", "lenient_accuracy"])));
        }
        all.push(("attribute_accuracy".into(), accuracy(spec)));
        all.push(("zero_shot".into(), estimates(["seen", "held_out"])));
    } else {
        all.push(("rerank_curve".into(), curve(&["n", "similarity"])));
    }
    let sets: Vec<&str> = match spec.data.kind {
        DataKind::Shapes => vec!["validation", "held_out"],
        // A part of the training set, named by the program.
        _ if spec.data.validation.is_empty() => vec!["*"],
        _ => spec.data.validation.keys().map(String::as_str).collect(),
    };
    all.extend(sets.into_iter().map(|set| (format!("elbo_{set}"), bounds(spec, set))));
    Part::Map(all)
}

fn accuracy(spec: &Spec) -> Part {
    let evaluate = &spec.evaluate;
    let sets = [("seen", evaluate.seen), ("held_out", evaluate.held_out), ("pairs", evaluate.two_objects)];
    let candidates = spec.sample.candidates;
    let choices = || -> Vec<String> {
        let mut choices = vec!["best_of_1".into(), "chance".into(), format!("any_of_{candidates}")];
        choices.extend((candidates != 1).then(|| format!("best_of_{candidates}")));
        choices
    };
    let set = |(name, count): (&str, usize)| {
        let Part::Map(mut entries) = estimates(choices()) else { return (name.to_owned(), Part::Number) };
        entries.push(("lenient".into(), estimates(choices())));
        let (objects, kinds) = match name {
            "pairs" => ("2", Vec::new()),
            name => ("1", kind_names(name == "held_out", spec.seed)),
        };
        entries.extend(breakdown(&[objects], kinds.into_iter().take(count).collect()));
        (name.to_owned(), Part::Map(entries))
    };
    Part::Map(sets.into_iter().filter(|(_, count)| *count > 0).map(set).collect())
}

fn kind_names(held_out: bool, seed: u64) -> Vec<String> {
    kinds(held_out, seed).into_iter().map(|(shape, colour)| kind_name(colour, shape)).collect()
}

fn breakdown(objects: &[&str], kinds: Vec<String>) -> Vec<(String, Part)> {
    let mut attributes = vec!["count", "shape", "colour", "size", "background"];
    attributes.extend(objects.contains(&"1").then_some("place"));
    attributes.extend(objects.contains(&"2").then_some("relation"));
    let mut parts =
        vec![("by_attribute".into(), estimates(attributes)), ("by_objects".into(), estimates(objects.iter().copied()))];
    if !kinds.is_empty() {
        parts.push(("by_kind".into(), estimates(kinds)));
    }
    parts
}

fn bounds(spec: &Spec, set: &str) -> Part {
    let mut all = numbers([
        "psnr",
        "ssim",
        "codes_in_use",
        "perplexity",
        "first_stage_hard_elbo_nats_per_dim",
        "joint_nats",
        "joint_bits_per_dim",
        "joint_bits_per_value",
        "joint_bits_per_value_as_density",
        "trained_beta",
        "joint_nats_at_trained_beta",
        "joint_bits_per_dim_at_trained_beta",
        "picture_nats",
        "image_token_nats",
        "text_nats",
        "pairs",
    ]);
    if spec.first_stage.kind == FirstStageKind::Dvae {
        all.extend(numbers(["first_stage_relaxed_elbo_nats_per_dim", "first_stage_elbo_gap_nats_per_dim"]));
    }
    if spec.data.kind == DataKind::Shapes {
        all.push(("attributes_after_reconstruction".into(), estimate()));
        let mut detail = match set {
            "held_out" => breakdown(&["1"], kind_names(true, spec.seed)),
            _ => breakdown(&["1", "2"], Vec::new()),
        };
        detail.push(("lenient".into(), estimate()));
        all.push(("after_reconstruction".into(), Part::Map(detail)));
    }
    Part::Map(all)
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
