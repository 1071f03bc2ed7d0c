//! From a spec to ranked pictures of a caption: a run is trained, its transformer draws candidates code by code, its CLIP ranks
//! them (arXiv 2102.12092, section 2.3). The run stays in `results/`, with a report; a tiny one draws nothing worth a look.
//!
//! `cargo run --release --example 04-sample`

use dalle::{Result, Run, Sampling, Spec};

const SPEC: &str = "
name: example
preset: tiny
data: {train_scenes: 256, validation_scenes: 32}
first_stage: {steps: 60}
transformer: {steps: 60}
clip: {steps: 60}
sample: {candidates: 4}
evaluate: {pairs: 16, seen: 4, held_out: 4, two_objects: 4}
";

fn main() -> Result<()> {
    let run = Run::start(&Spec::parse(SPEC)?)?; // in the background: it can be read while it goes on
    run.wait()?;
    let model = run.model()?;
    println!("{model}");

    let asked = Sampling::of("a large red circle").candidates(4).temperature(0.9).top_k(16).seed(7);
    let drawn = model.sample(&asked)?;
    println!("{}\n{asked}", drawn.ranked());
    drawn.best()?.save(format!("{}/circle.png", run.path()))?;

    // A picture depends on its seed and its place among the candidates, not on how many there are.
    let fewer = model.sample(&asked.clone().candidates(2))?;
    assert_eq!(fewer.tokens(1)?, drawn.tokens(1)?);

    // Image to image: the first two rows of codes are those of a picture, the others are drawn.
    let picture = run.pictures("validation", 1)?.get(0)?;
    let (given, primed) = (model.encode(&picture)?, model.sample(&asked.prime(&picture, 2))?.tokens(0)?);
    println!("given\n{given}primed with its first two rows\n{primed}");
    assert_eq!(given.codes()[..8], primed.codes()[..8]);

    println!("report: {}", run.report()?);
    Ok(())
}
