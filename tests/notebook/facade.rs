//! The facade of the notebooks over a run that it trains itself.

use dalle::notebook::{Comparison, Image, ImageGrid, Model, Run, Runs, Sampling, Spec, Sweep};
use std::path::Path;
use std::process::Command;

/// Says to this program that it is the process whose working folder may be filled.
const CHILD: &str = "DALLE_FACADE_CHILD";

const STEPS: [&str; 5] =
    ["first_stage.steps=12", "transformer.steps=12", "clip.steps=12", "evaluate.pairs=8", "evaluate.seen=8"];

fn spec() -> Spec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/ci.yaml");
    let spec = Spec::read(path.to_str().unwrap()).unwrap();
    STEPS.iter().fold(spec, |spec, change| spec.set(change).unwrap())
}

/// A run goes to the working folder's `results`, and a process has one working folder for all its tests: this test has a
/// process of its own.
#[test]
fn a_run_is_started_read_and_looked_into() {
    if std::env::var_os(CHILD).is_some() {
        return looked_into();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "facade::a_run_is_started_read_and_looked_into", "--nocapture"]);
    let output = child.env(CHILD, "1").current_dir(folder.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn looked_into() {
    assert!(spec().set("transformer.stepz=3").unwrap_err().to_string().contains("did you mean"));
    let wrong = spec().set("transformer.attention=[row]").unwrap_err().to_string();
    assert!(wrong.starts_with("--set:1:23: ") && wrong.contains("each of 2 layers"), "{wrong}");
    assert!(!Path::new("results").exists(), "what does not fit leaves no run behind");

    let run = Run::start(&spec()).unwrap();
    run.wait_for("dvae", 1).unwrap();
    run.wait().unwrap();
    assert!(run.to_string().starts_with("ci, done; dvae 12 steps"), "{run}");
    charts(&run);
    let model = run.model().unwrap();
    let pictures = run.pictures("validation", 6).unwrap();
    first_stage(&model, &pictures);
    samples(&model, &pictures.get(0).unwrap());
    assert!(
        model
            .classify(&pictures, &["a red circle", "a blue square"].map(String::from))
            .unwrap()
            .to_string()
            .contains('%')
    );
    assert!(model.classify(&pictures, &[]).is_err());
    assert!((0.0..=1.0).contains(&model.matching(&pictures).unwrap()));
    assert!(run.pictures("nowhere", 2).unwrap_err().to_string().contains("held_out"));

    interrupted();
    swept();
}

fn charts(run: &Run) {
    let loss = run.chart("transformer", "loss").unwrap().to_string();
    assert!(loss.starts_with("Loss: nats per token") && loss.contains("train ends at"), "{loss}");
    assert!(run.chart("transformer", "temperature").unwrap_err().to_string().contains("grad_norm"));
    assert!(run.charts("gan").unwrap_err().to_string().contains("dvae, transformer, clip"));
    run.rerank_curve().unwrap().save("curve.svg").unwrap();
    assert!(std::fs::read_to_string("curve.svg").unwrap().ends_with("</svg>"));
    assert!(run.results().unwrap().save("results.svg").unwrap_err().to_string().contains(".html"));
    assert!(run.result("elbo_validation.joint_nats").unwrap().is_finite() && run.result("elbo").is_err());
    let both = Run::overlay(&[run.clone(), run.clone()], &["a", "b"], "dvae", "hard_elbo").unwrap().to_string();
    assert!(
        both.starts_with("ELBO: validation, hard") && both.contains("a ends at") && both.contains("b ends at"),
        "{both}"
    );
}

fn first_stage(model: &Model, pictures: &ImageGrid) {
    let image = pictures.get(0).unwrap();
    let tokens = model.encode(&image).unwrap();
    let (height, width) = (tokens.height(), tokens.width());
    assert_eq!((height, width, tokens.codes().len()), (4, 4, 16));
    let decoded = model.decode(&tokens).unwrap();
    let through = model.reconstruct(&pictures.first(1)).unwrap().get(1).unwrap();
    assert_eq!(decoded.pixel(3, 5), through.pixel(3, 5));

    let hard = model.bound(pictures, None).unwrap();
    assert!((hard.kl - 16.0 * 32f64.ln() / (16.0 * 16.0 * 3.0)).abs() < 1e-12, "{hard}");
    let relaxed = model.bound(pictures, Some(0.5)).unwrap();
    assert!((0.0..=hard.kl).contains(&relaxed.kl) && relaxed.reconstruction.is_finite(), "{relaxed}");
    let temperatures = model.relaxed(&image, &[1.0, 0.1], 3).unwrap();
    assert_eq!(temperatures.captions(), ["τ = 1.0000", "τ = 0.1000", "argmax"]);
    let other = model.relaxed(&image, &[1.0], 4).unwrap();
    assert_ne!(pixels(&temperatures.get(0).unwrap()), pixels(&other.get(0).unwrap()), "another seed, other noise");
    assert!(model.bound(pictures, Some(0.0)).unwrap_err().to_string().contains("temperature"));
    assert!(model.mixture(&image, 0, 0, &[1.0], 0).is_ok() && model.mixture(&image, 4, 0, &[1.0], 0).is_err());
}

fn pixels(image: &Image) -> Vec<[u8; 3]> {
    (0..image.height() * image.width()).filter_map(|at| image.pixel(at / image.width(), at % image.width())).collect()
}

fn samples(model: &Model, image: &Image) {
    let asked = Sampling::of("a red circle").candidates(4).seed(5);
    let drawn = model.sample(&asked).unwrap();
    let fewer = model.sample(&asked.clone().candidates(2)).unwrap();
    assert_eq!(drawn.tokens(1).unwrap(), fewer.tokens(1).unwrap(), "a picture does not depend on its batch");
    assert!(model.sample(&asked.clone().candidates(0)).is_err());
    let scores = drawn.ranked().scores();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]), "{scores:?}");
    let primed = model.sample(&asked.clone().prime(image, 2)).unwrap().tokens(0).unwrap();
    assert_eq!(primed.codes()[..8], model.encode(image).unwrap().codes()[..8]);
    assert!(model.sample(&asked.clone().prime(image, 5)).is_err() && model.sample(&Sampling::of(" ")).is_err());
    assert!(model.sample(&asked.guidance(2.0)).unwrap_err().to_string().contains("caption_dropout"));

    let attention = model.attention(image, 0).unwrap();
    assert_eq!((attention.heads(), attention.from(1, 1).unwrap().len()), (2, 2));
    assert!(model.attention(image, 2).unwrap_err().to_string().contains("layer 2"));
}

/// A run that is stopped goes on where the same spec is asked for again.
fn interrupted() {
    let long = spec().set("first_stage.steps=100000").unwrap();
    let run = Run::start(&long).unwrap();
    run.wait_for("dvae", 10).unwrap();
    run.stop().unwrap();
    run.stop().unwrap(); // the cell may be run again
    assert!(Run::open(run.path()).unwrap().stop().is_err(), "another process's run is not ours to stop");
    assert!(run.to_string().contains("interrupted"), "{run}");
    assert!(run.model().unwrap().to_string().contains("none yet"));
    let early = run.model().unwrap().sample(&Sampling::of("a red circle")).unwrap_err().to_string();
    assert!(early.contains("transformer") && early.contains("has the run got that far"), "{early}");
}

/// Runs of one text share what they have in common, are not trained twice, and are found by what they say.
fn swept() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/ci.yaml");
    let text = |rates: &str| {
        format!(
            "extends: {}
name: rates
first_stage: {{steps: 12}}
transformer: {{steps: 12}}
clip: {{steps: 12}}
evaluate: {{pairs: 8, seen: 8}}
sweep: {{grid: {{transformer.optimizer.lr.from: {rates}}}}}",
            path.display()
        )
    };
    let wrong = Sweep::parse(&text("[fast, faster]")).unwrap_err().to_string();
    assert!(wrong.contains("sweep:7:") && wrong.contains("faster"), "{wrong}");
    assert!(Sweep::read("no.yaml").unwrap_err().to_string().contains("no such spec"));
    let unfit = text("[0.001]").replace("transformer: {steps: 12}", "transformer: {steps: 12, attention: [row]}");
    let wrong = Sweep::parse(&unfit).unwrap_err().to_string();
    assert!(wrong.starts_with("sweep:4:") && wrong.contains("each of 2 layers"), "{wrong}");

    let sweep = Sweep::parse(&text("[0.001, 0.003]")).unwrap();
    let shown = sweep.to_string();
    let second = shown.lines().nth(2).unwrap();
    assert!(second.starts_with('1') && second.ends_with("transformer.optimizer.lr.from=0.003"), "{shown}");
    assert!(sweep.plan().unwrap().to_string().contains("transformer.optimizer.lr.from=0.003"));
    let runs = sweep.run().unwrap();
    assert_eq!((runs.len(), sweep.len()), (2, 2));
    let (first, second) = (runs.get(0).unwrap(), runs.get(1).unwrap());
    let facts = |run: &Run| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(format!("{}/run.json", run.path())).unwrap()).unwrap()
    };
    let from = first.path().rsplit('/').next().unwrap().to_owned();
    for (stage, taken) in [("dvae", true), ("transformer", false), ("clip", true)] {
        assert_eq!(facts(&second)["stages"][stage]["from"] == from.as_str(), taken, "{stage}");
    }
    assert_eq!(facts(&second)["device"], "cpu");
    let shown = second.to_string();
    assert!(shown.contains(&format!("dvae 12 steps from {from}; transformer 12 steps; clip")), "{shown}");

    let again = Sweep::parse(&text("[0.003, 0.009, 0.001]")).unwrap().run().unwrap();
    let paths = |runs: &Runs| runs.all().unwrap().iter().map(Run::path).collect::<Vec<_>>();
    assert_eq!([&paths(&again)[0], &paths(&again)[2]], [&second.path(), &first.path()], "only the third is trained");
    found(&paths(&again));
}

fn found(paths: &[String]) {
    let found = Runs::find("results/rates").unwrap();
    assert_eq!(found.len(), 3);
    let one = found.filter("transformer.optimizer.lr.from=0.009").unwrap();
    assert_eq!((one.len(), one.get(0).unwrap().path()), (1, paths[1].clone()));
    assert!(one.filter("status=failed").unwrap().is_empty());
    assert!(one.filter("status").unwrap_err().to_string().contains("KEY=VALUE"));
    assert!(one.get(1).unwrap_err().to_string().contains("there are 1"));
    assert!(Runs::find("results/none").unwrap_err().to_string().contains("no such folder"));
    let sorted = found.sorted("-transformer.optimizer.lr.from").unwrap();
    assert_eq!(sorted.get(0).unwrap().path(), paths[1]);
    let table = sorted.table(&["elbo_validation.joint_nats", "first_stage.from"]).unwrap().to_string();
    for wrong in [found.filter("trnsformer.steps=8"), found.sorted("-trnsformer.steps")] {
        assert!(wrong.unwrap_err().to_string().contains("did you mean `transformer.steps`?"));
    }
    assert!(found.table(&["elbo_validation.joint_nat"]).unwrap_err().to_string().contains("joint_nats`?"));
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[1].contains("  transformer.optimizer.lr.from=0.009  ") && rows[1].ends_with('–'), "{table}");
    let chart = sorted.overlay("transformer", "loss").unwrap().to_string();
    assert!(chart.contains("transformer.optimizer.lr.from=0.001 ends at"), "{chart}");
    compared(&found, paths);
}

/// Each against the first, in tables and on a page of its own.
fn compared(found: &Runs, paths: &[String]) {
    let comparison = Comparison::of(paths).unwrap();
    let text = comparison.to_string();
    assert!(text.contains("transformer.optimizer.lr.from") && text.contains("differences were looked at"), "{text}");
    let (beyond, looked_at) = comparison.beyond();
    assert!(comparison.groups() == 3 && looked_at > 0 && beyond <= looked_at, "{text}");
    assert_eq!(found.sorted("started").unwrap().compare().unwrap().groups(), 3);
    comparison.save("compared.html").unwrap();
    let tables = std::fs::read_to_string("compared.html").unwrap();
    assert!(tables.matches("<table>").count() == 2 && tables.contains("<p>One seed shows no spread"), "{tables}");
    comparison.page("page.html").unwrap();
    assert!(std::fs::read_to_string("page.html").unwrap().contains("The same captions"));
    assert!(Comparison::of(&["results/none"]).unwrap_err().to_string().contains("results/none"));
}
