//! What only several keys of a spec together can get wrong. Values of the wrong type are left to [`super::check`].

use super::kinds::ATTENTION;
use super::parse::{Data, Node};
use super::problem::Problem;
use super::{FirstStageConfig, TransformerConfig, defaults};

/// Adds what is wrong.
pub(super) fn check(root: &Node, problems: &mut Vec<Problem>) {
    let whole = |path: &str| match root.at(path).map(|node| &node.data) {
        Some(Data::Whole(whole)) => *whole,
        _ => 0,
    };
    for stage in ["first_stage", "transformer", "clip"] {
        let schedule = format!("{stage}.optimizer.lr");
        let (steps, warmup) = (whole(&format!("{schedule}.steps")), whole(&format!("{schedule}.warmup")));
        if let Some(node) = root.at(&format!("{schedule}.warmup"))
            && steps > 0
            && warmup >= steps
        {
            let message = format!("`{schedule}.warmup` must end before `{schedule}.steps` = {steps}, found {warmup}");
            problems.push(Problem::new(&node.place, message, ""));
        }
    }
    for (stage, batch) in
        [("first_stage", FirstStageConfig::default().batch), ("transformer", TransformerConfig::default().batch)]
    {
        let path = format!("{stage}.accumulate");
        let given = whole(&format!("{stage}.batch"));
        let (parts, batch) = (whole(&path), if given > 0 { given } else { batch as i128 });
        if let Some(node) = root.at(&path)
            && parts > 0
            && batch % parts != 0
        {
            let message = format!("`{path}` must divide `{stage}.batch` = {batch}, found {parts}");
            problems.push(Problem::new(&node.place, message, "a batch is run in so many equal parts"));
        }
    }
    for schedule in ["first_stage.temperature", "first_stage.kl_weight"] {
        let path = format!("{schedule}.warmup");
        if let Some(node) = root.at(&path)
            && whole(&path) > 0
        {
            let hint = "only an optimizer's lr warms up: use from, to and steps";
            problems.push(Problem::new(&node.place, format!("`{path}` must be 0, found {}", whole(&path)), hint));
        }
    }
    let real = |path: &str, default: f64| match root.at(path).map(|node| &node.data) {
        Some(Data::Whole(whole)) => *whole as f64,
        Some(Data::Real(real)) => *real,
        _ => default,
    };
    if let Some(node) = root.at("sample.guidance")
        && real("sample.guidance", 1.0) != 1.0
        && real("transformer.caption_dropout", 0.0) == 0.0
    {
        let message = "`sample.guidance` needs a transformer that has seen empty captions";
        problems.push(Problem::new(&node.place, message, "set transformer.caption_dropout, for example 0.1"));
    }
    source(root, problems);
    sizes(root, problems);
}

/// What a preset's models have no room for. Of a stage that is another run's the keys here do not hold.
fn sizes(root: &Node, problems: &mut Vec<Problem>) {
    let Some(Node { data: Data::Text(preset), .. }) = root.get("preset") else { return };
    let Some((depth, tokens)) = defaults::sizes(preset) else { return };
    let lent = |stage: &str| root.get(stage).is_some_and(|stage| stage.get("from").is_some());
    if let Some(Node { data: Data::List(patterns), place }) = root.at("transformer.attention")
        && !patterns.is_empty()
        && patterns.len() != depth
        && patterns
            .iter()
            .all(|pattern| matches!(&pattern.data, Data::Text(name) if ATTENTION.contains(&name.as_str())))
        && !lent("transformer")
    {
        let found = patterns.len();
        let message = format!(
            "`transformer.attention` must name a pattern for each of {depth} layers of preset {preset}, found {found}"
        );
        problems.push(Problem::new(place, message, "left out, it is the paper's order"));
    }
    if let Some(Node { data: Data::Whole(asked), place }) = root.at("text.vocabulary")
        && *asked > tokens as i128
        && !lent("transformer")
        && !lent("clip")
    {
        let message = format!("`text.vocabulary` must be at most the {tokens} of preset {preset}, found {asked}");
        problems.push(Problem::new(place, message, "left out, it is all of them"));
    }
}

/// Files are named exactly when the source reads files: a `train` that is never read would be a silent mistake.
fn source(root: &Node, problems: &mut Vec<Problem>) {
    let Some(data) = root.get("data") else { return };
    let kind = match data.get("kind") {
        None => "shapes",
        Some(Node { data: Data::Text(text), .. }) => text,
        Some(_) => return,
    };
    let unheld = data.get("validation_share").is_some_and(|node| match node.data {
        Data::Whole(share) => share == 0,
        Data::Real(share) => share == 0.0,
        _ => false,
    });
    for key in ["train", "validation"] {
        let given = data.get(key);
        let filled = given.is_some_and(|node| match &node.data {
            Data::List(items) => !items.is_empty(),
            Data::Map(entries) => !entries.is_empty(),
            _ => true,
        });
        match kind {
            // Without a validation set some of the training set is held out.
            "webdataset" | "folder" if !filled && (key == "train" || unheld) => {
                let place = &given.or(data.get("kind")).unwrap_or(data).place;
                let example =
                    if key == "train" { "train: [\"pictures/*\"]" } else { "validation: {name: [\"held-out/*\"]}" };
                problems.push(Problem::new(
                    place,
                    format!("`data.{key}` must name files where `data.kind` is {kind}"),
                    format!("for example {example}"),
                ));
            }
            "shapes" if filled => {
                if let Some(node) = given {
                    let hint = "set data.kind to folder or webdataset, or remove it";
                    problems.push(Problem::new(
                        &node.place,
                        format!("`data.{key}` is not read where `data.kind` is shapes"),
                        hint,
                    ));
                }
            }
            _ => {}
        }
    }
}
