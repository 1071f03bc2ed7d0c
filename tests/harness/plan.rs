//! What a plan says, held against the paper's figures, against stages that are really built, and against the bytes that a
//! step really takes.

use super::alone::alone;
use dalle::harness::load::check;
use dalle::harness::plan::{Machine, Memory, Plan, plan, plan_on};
use dalle::kernels::cpu::matmul::{View, matmul_seq};
use dalle::kernels::heap;
use dalle::models::presets::{Emoji, Mini, NAMES, tiny};
use dalle::models::{clip::Clip, dvae::Dvae, transformer::Transformer, vqvae::Vqvae};
use dalle::nn::{self, Module};
use dalle::shape::{DvaeShape, Preset, TextTowerShape, TransformerShape};
use dalle::spec::FirstStageKind;
use dalle::spec::Spec;
use dalle::train::clip_stage::ClipTrainer;
use dalle::train::transformer_stage::TransformerTrainer;
use dalle::train::{Batch, Stage, first_stage};
use dfdx::prelude::Cpu;
use dfdx::shapes::ConstDim;

/// The most bytes that `f` held at once beyond those that were there before.
fn peak_of<X>(f: impl FnOnce() -> X) -> (X, f64) {
    let before = heap::live();
    heap::reset_peak();
    let result = f();
    (result, (heap::peak() - before) as f64)
}

const MACHINE: Machine = Machine { threads: 2, flops_per_second: Some(100e9), available_bytes: Some(17_179_869_184.0) };

fn spec(text: &str) -> Spec {
    check("a.yaml", text, &[], NAMES).unwrap()
}

fn planned(text: &str) -> Plan {
    plan_on(&spec(text), MACHINE).unwrap()
}

fn parameters(plan: &Plan, stage: usize) -> usize {
    plan.stages[stage].parts.iter().map(|part| part.parameters).sum()
}

#[test]
fn the_papers_first_stage() {
    let plan = planned("name: a\npreset: paper\n");
    let [encoder, relaxation, decoder] = &plan.stages[0].parts[..] else { panic!("three parts") };
    assert_eq!((encoder.parameters, relaxation.parameters, decoder.parameters), (53_786_240, 0, 43_829_766));
    let multiplications = |flops: f64| (flops / 2e8).round() / 10.0; // GMAC, one decimal
    assert_eq!(multiplications(encoder.forward.total()), 136.1);
    assert_eq!(multiplications(decoder.forward.total()), 154.0);
    // The 7×7 of the picture has no gradient for its input.
    let first_layer = 2.0 * 65536.0 * 3.0 * 256.0 * 49.0;
    assert_eq!(encoder.training.total(), 3.0 * encoder.forward.total() - first_layer);
    assert_eq!(decoder.training.total(), 3.0 * decoder.forward.total());
}

#[test]
fn the_papers_transformer() {
    let plan = planned("name: a\npreset: paper\n");
    let layers = &plan.stages[1].parts[0];
    // Per layer 12·d² weights, 9·d biases and two norms of 2·d.
    assert_eq!(layers.parameters, 64 * (12 * 3968 * 3968 + 13 * 3968));
    assert!((12.0e9..12.4e9).contains(&(parameters(&plan, 1) as f64)));
    assert_eq!(layers.forward.linear, 2.0 * 1280.0 * 64.0 * 12.0 * 3968.0 * 3968.0);
    // 47 row, 16 column and one convolutional layer: 355, 324 and 495 of 1600 tiles.
    let sparse = layers.forward.attention / layers.forward.dense_attention;
    assert_eq!(sparse, (47.0 * 355.0 + 16.0 * 324.0 + 495.0) / (64.0 * 1600.0));
    let half_precision = plan.sampling.dense_cache_bytes / 2.0;
    assert_eq!((half_precision / 1e7).round() / 100.0, 1.30);
    // The paper's arithmetic counts 42 %; the first row of a column's keys is dropped before the last is added.
    assert!((plan.sampling.cache_bytes / plan.sampling.dense_cache_bytes - 0.42).abs() < 0.01);
}

#[test]
fn planning_twelve_billion_parameters_allocates_next_to_nothing() {
    if !alone("plan::planning_twelve_billion_parameters_allocates_next_to_nothing") {
        return;
    }
    let spec = spec("name: a\npreset: paper\n");
    let (plan, bytes) = peak_of(|| plan_on(&spec, MACHINE).unwrap());
    assert!(bytes < 16.0 * 1024.0 * 1024.0, "{bytes} bytes");
    assert!(plan.stages[1].memory.peak() > 3e11);
}

#[test]
fn parameters_are_those_of_built_stages() {
    for kind in [FirstStageKind::Dvae, FirstStageKind::Vqvae] {
        let mut spec = spec("name: a\npreset: tiny\n");
        spec.first_stage.kind = kind;
        let plan = plan_on(&spec, MACHINE).unwrap();
        let first = first_stage::build::<tiny::Dvae, _>(&spec.first_stage, 0, Cpu::default()).unwrap();
        assert_eq!((plan.stages[0].name, parameters(&plan, 0)), (first.name(), first.num_parameters()));
        let second = TransformerTrainer::<tiny::Transformer, _>::new(&spec.transformer, 0, Cpu::default()).unwrap();
        assert_eq!((plan.stages[1].name, parameters(&plan, 1)), (second.name(), second.num_parameters()));
        let third = ClipTrainer::<tiny::Clip, _>::new(&spec.clip, 0, Cpu::default()).unwrap();
        assert_eq!((plan.stages[2].name, parameters(&plan, 2)), (third.name(), third.num_parameters()));
    }
}

#[test]
fn a_description_equals_the_built_model() {
    fn equals<M: Module<f32, Cpu>>() {
        let built: M = nn::build(&Cpu::default(), 0).unwrap();
        let built: Vec<_> = nn::export(&built).unwrap().into_iter().map(|p| (p.name, p.shape)).collect();
        assert!(built.len() > 10);
        let declared: Vec<_> = nn::describe::<M, f32, Cpu>().into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(declared, built);
    }
    equals::<Dvae<tiny::Dvae, f32, Cpu>>();
    equals::<Vqvae<tiny::Dvae, f32, Cpu>>();
    equals::<Transformer<tiny::Transformer, f32, Cpu>>();
    equals::<Clip<tiny::Clip, f32, Cpu>>();
}

/// Lets the library of matrix products reserve its workspace on every thread, so that no stage is charged for it.
fn warm_up() {
    const SIDE: usize = 256;
    let product = || {
        let (a, mut c) = (vec![1f32; SIDE * SIDE], vec![0f32; SIDE * SIDE]);
        matmul_seq(&mut c, (SIDE, SIDE, SIDE), View::rows(&a, SIDE), View::rows(&a, SIDE), false);
    };
    product();
    rayon::broadcast(|_| product());
}

/// Builds a stage and steps twice; what it holds, what a step takes and what a checkpoint takes must be near the plan. Gives
/// what the step took.
fn takes_what_was_planned<S: Stage + ?Sized>(memory: Memory, batch: &Batch, build: impl FnOnce() -> Box<S>) -> f64 {
    let before = heap::live();
    let mut stage = build();
    stage.step(0, batch).unwrap();
    let held = (heap::live() - before) as f64;
    let (_, step) = peak_of(|| stage.step(1, batch).unwrap());
    let (_, checkpoint) = peak_of(|| stage.checkpoint().unwrap());
    let near = |what: &str, got: f64, planned: f64| {
        assert!((0.85..1.15).contains(&(got / planned)), "{} {what}: {got} bytes, planned {planned}", stage.name());
    };
    near("held", held, memory.held());
    near("step", step, memory.step());
    near("checkpoint", checkpoint, memory.checkpoint);
    near("peak", held + step.max(checkpoint), memory.peak());
    step
}

/// Holds every stage of a preset against the plan, with a batch of `size` and the switches of `text`: what each step took.
fn stages_take_what_was_planned<P: Preset>(size: usize, text: &str) -> [f64; 3] {
    let mut spec = spec(&format!("name: a\npreset: {}\n{text}", P::NAME));
    (spec.first_stage.batch, spec.transformer.batch, spec.clip.batch) = (size, size, size);
    let plan = plan_on(&spec, MACHINE).unwrap();
    let (side, slots) = (<P::Dvae as DvaeShape>::Side::SIZE, <P::Transformer as TransformerShape>::Text::SIZE);
    let (codes, context) =
        (<P::Transformer as TransformerShape>::Image::SIZE, <P::Clip as TextTowerShape>::Context::SIZE);
    let batch = |text: usize| Batch {
        size,
        pixels: (0..size * side * side * 3).map(|i| (i % 7) as f32 / 7.0).collect(),
        text: vec![7; size * text],
        codes: vec![3; size * codes],
    };
    let memory = |stage: usize| plan.stages[stage].memory;
    let first = takes_what_was_planned(memory(0), &batch(slots), || {
        first_stage::build::<P::Dvae, _>(&spec.first_stage, 0, Cpu::default()).unwrap()
    });
    let second = takes_what_was_planned(memory(1), &batch(slots), || {
        Box::new(TransformerTrainer::<P::Transformer, _>::new(&spec.transformer, 0, Cpu::default()).unwrap())
    });
    let third = takes_what_was_planned(memory(2), &batch(context), || {
        Box::new(ClipTrainer::<P::Clip, _>::new(&spec.clip, 0, Cpu::default()).unwrap())
    });
    [first, second, third]
}

#[test]
fn a_step_takes_the_memory_that_was_planned() {
    if !alone("plan::a_step_takes_the_memory_that_was_planned") {
        return;
    }
    warm_up();
    let [dvae, plain, _] = stages_take_what_was_planned::<Mini>(16, "");
    let parts = "{accumulate: 4}";
    let [in_parts, recomputed, _] =
        stages_take_what_was_planned::<Mini>(16, &format!("first_stage: {parts}\ntransformer: {{recompute: true}}\n"));
    assert!(in_parts < 0.4 * dvae && recomputed < 0.4 * plain, "{in_parts} of {dvae}, {recomputed} of {plain} bytes");
    let first = "first_stage: {kind: vqvae}\n";
    let [_, in_parts, _] = stages_take_what_was_planned::<Mini>(16, &format!("{first}transformer: {parts}\n"));
    assert!(in_parts < 0.4 * plain, "{in_parts} of {plain} bytes");
    stages_take_what_was_planned::<Emoji>(8, "");
}

#[test]
fn the_table() {
    let plan =
        planned("name: first-try\npreset: mini\nfirst_stage: {kind: vqvae, batch: 64}\nclip: {ema: {decay: 0}}\n");
    insta::assert_snapshot!(plan);
}

#[test]
fn the_table_of_the_paper() {
    insta::assert_snapshot!(planned(
        "name: dall-e\npreset: paper\nfirst_stage: {steps: 3000000, batch: 512}\n\
         transformer: {steps: 430000, batch: 1024}\nsample: {candidates: 512}\n"
    ));
}

#[test]
fn what_does_not_fit_is_said() {
    let spec = spec("name: a\npreset: mini\n");
    let with = |available_bytes| plan_on(&spec, Machine { available_bytes, ..MACHINE }).unwrap().warnings;
    assert!(with(None).is_empty() && with(Some(1e12)).is_empty());
    let peak = plan_on(&spec, MACHINE).unwrap().stages[2].memory.peak(); // CLIP's batch needs most
    assert!(with(Some(peak)).is_empty());
    assert_eq!(with(Some(peak - 1.0)), ["clip needs 194 MiB, but 194 MiB are available"]);
    let warnings = with(Some(0.0));
    let named: Vec<_> = warnings.iter().filter_map(|warning| warning.split_once(" needs ")).map(|w| w.0).collect();
    assert_eq!(named, ["dvae", "transformer", "clip", "sampling"]);
}

#[test]
fn sampling_follows_its_settings() {
    let draw = |text: &str| planned(&format!("name: a\npreset: mini\n{text}")).sampling;
    let of = |candidates: usize| draw(&format!("sample: {{candidates: {candidates}}}\n"));
    let guided = draw("sample: {guidance: 3}\ntransformer: {caption_dropout: 0.1}\n");
    let plain = draw("");
    assert_eq!((plain.captions, plain.sequences, guided.sequences), (256 + 128 + 128 + 12, 64, 128));
    // The paper's row keeps a gigabyte: two are what the sampler's memory holds, whatever the candidates.
    let paper = planned("name: a\npreset: paper\nsample: {candidates: 512}\n").sampling;
    assert!(paper.sequences <= 2 && paper.peak() < paper.weight_bytes + 2.2 * 1024f64.powi(3));
    assert_eq!(guided.flops.convolution, plain.flops.convolution);
    assert!(guided.flops.linear > 1.5 * plain.flops.linear);
    // The text is read once for all candidates.
    let each = of(2).flops.linear - of(1).flops.linear;
    assert!((of(9).flops.linear - of(1).flops.linear - 8.0 * each).abs() < 1.0);
    assert!(of(1).flops.linear > 1.2 * each);
    assert_eq!(draw("data: {kind: folder, train: [\"a/*\"], validation: {b: [\"b/*\"]}}\n").captions, 12);
}

#[test]
fn what_cannot_be_planned() {
    let mut spec = spec("name: a\npreset: tiny\n");
    spec.preset = "mimi".into();
    let error = plan(&spec).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.to_string(),
        "unknown preset \"mimi\": expected one of tiny, mini, emoji, published, bench-s, bench-l, paper; did you mean `mini`?"
    );
    spec.preset = "enormous".into();
    assert!(plan(&spec).unwrap_err().to_string().ends_with("bench-l, paper"));
    spec.preset = "tiny".into();
    spec.transformer.attention = vec!["row".into()];
    assert!(plan(&spec).unwrap_err().to_string().contains("each of 2 layers, got 1"));
}
