//! The transformer: nothing leaks from the future, and the cached path is the plain one.

use crate::common::*;
use dalle::inference::{Autoregressive, FrozenTransformer, TokenModel, masks};
use dalle::mask::{Layout, Pattern, paper_order};
use dalle::models::presets::tiny;
use dalle::models::transformer::{Activations, Tokens, Transformer};
use dalle::nn::{self, Init, Precision, Role};
use dalle::ops::to_vec;
use dalle::spec::TransformerConfig as Spec;
use dalle::train::transformer_stage::{TransformerTrainer, patterns};
use dalle::train::{Learns, Stage};
use dfdx::prelude::{Cpu, NoneTape};

type Model = Transformer<tiny::Transformer, f32, Cpu>;
type TinyStage = TransformerTrainer<tiny::Transformer, Cpu>;
type Frozen = FrozenTransformer<tiny::Transformer, Cpu>;

const LAYOUT: Layout = Layout { text: TEXT, grid: 4 };
const SEQUENCE: usize = TEXT + IMAGE;

/// One list of patterns for each of both layers, and the paper's order for two.
fn orders() -> Vec<Vec<Pattern>> {
    let same = ["full", "row", "col", "conv:3", "axial_row", "axial_col", "conv_like:3"];
    let mut orders: Vec<_> = same.iter().map(|name| vec![name.parse().unwrap(); 2]).collect();
    orders.push(paper_order(2, 3));
    orders
}

/// A model of random weights with its weights fixed.
fn frozen(order: &[Pattern]) -> Frozen {
    let mut stage = TinyStage::new(&Spec::default(), 1, Cpu::default()).unwrap();
    randomise(&mut stage, 5, 0.2);
    let [(name, weights)] = stage.averaged_file().unwrap().try_into().unwrap();
    let model = nn::weights::model(&Cpu::default(), &weights, name).unwrap();
    Frozen::new(model, order.to_vec(), masks(order, LAYOUT), true)
}

/// Logits of every slot: the text head's of the first ones, the image head's of the others.
fn logits(model: &Model, tokens: &[u32], order: &[Pattern]) -> Vec<Vec<u32>> {
    let tokens = Tokens { text: &tokens[..TEXT], image: &tokens[TEXT..] };
    let (text, image) = model.forward(1usize, tokens, &masks(order, LAYOUT), Activations::Kept, NoneTape).unwrap();
    let rows = |values: Vec<f32>, vocabulary: usize| values.chunks(vocabulary).map(bits).collect::<Vec<_>>();
    let mut rows_of_text = rows(to_vec(text).unwrap(), BPE + TEXT);
    rows_of_text.extend(rows(to_vec(image).unwrap(), CODES));
    rows_of_text
}

#[test]
fn a_token_changes_no_logits_up_to_its_own() {
    let model: Model = nn::build_with(&Cpu::default(), 2, |_| Init::Normal(0.2)).unwrap();
    let mut tokens = captions(3, 1);
    tokens[TEXT - 1] = 7; // a word in the last slot
    tokens.extend(ids(3, "codes", IMAGE, CODES));
    for order in orders() {
        let before = logits(&model, &tokens, &order);
        assert_eq!(before.len(), SEQUENCE);
        for token in 0..SEQUENCE {
            let mut other = tokens.clone();
            other[token] = (other[token] + 1) % CODES as u32;
            let after = logits(&model, &other, &order);
            assert_eq!(before[..=token], after[..=token], "{order:?}: token {token} changed what predicts it");
            // The next slot reads it. None reads the last of the text, whose place start-of-image takes.
            if token != TEXT - 1 && token != SEQUENCE - 1 {
                assert_ne!(before[token + 1], after[token + 1], "{order:?}: token {token} changed nothing");
            }
        }
    }
}

#[test]
fn every_pattern_gives_other_logits() {
    let model: Model = nn::build_with(&Cpu::default(), 2, |_| Init::Normal(0.2)).unwrap();
    let mut tokens = captions(3, 1);
    tokens.extend(ids(3, "codes", IMAGE, CODES));
    let all: Vec<_> = orders().iter().map(|order| logits(&model, &tokens, order)).collect();
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "{:?} is as another", orders()[i]);
    }
}

/// A model whose layers do nothing: the logits of a slot are those of the one table that is not zero.
fn only(table: &'static str) -> Model {
    nn::build_with(&Cpu::default(), 2, move |parameter| match parameter.role {
        _ if parameter.name == table || parameter.name.contains("logits.weight") => Init::Normal(1.0),
        Role::Gain => Init::Constant(1.0),
        _ => Init::Constant(0.0),
    })
    .unwrap()
}

#[test]
fn embeddings_are_those_of_the_position_that_a_slot_predicts_and_of_the_token_before_it() {
    let mut tokens = captions(3, 1);
    assert!(tokens[TEXT - 2] >= BPE as u32, "the caption must end in pads");
    tokens.extend((0..IMAGE).map(|i| (i % 5) as u32));
    // (the table, what it may know of text slot s, what of image slot i): slots of equal knowledge have equal logits.
    type Known<'a> = &'a dyn Fn(usize) -> usize;
    let nothing = |_| 0;
    let reads = |i: usize| if i == 0 { CODES } else { (i - 1) % 5 };
    let word = |s: usize| if s == 0 { BPE + TEXT } else { tokens[s - 1] as usize };
    let place = |s: usize| if word(s) >= BPE && s > 0 { TEXT } else { s };
    let knowledge: [(&str, Known<'_>, Known<'_>); 5] = [
        ("image_row_embeddings.weight", &nothing, &|i| i / 4),
        ("image_col_embeddings.weight", &nothing, &|i| i % 4),
        ("image_embeddings.weight", &nothing, &reads),
        ("text_embeddings.weight", &word, &nothing),
        ("text_pos_embeddings.weight", &place, &nothing),
    ];
    for (table, of_text, of_image) in knowledge {
        let logits = logits(&only(table), &tokens, &paper_order(2, 3));
        let (text, image) = logits.split_at(TEXT);
        for (slots, known) in [(text, of_text), (image, of_image)] {
            for (a, b) in (0..slots.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                assert_eq!(slots[a] == slots[b], known(a) == known(b), "{table}: slots {a} and {b}");
            }
        }
    }
}

/// Image logits (G², codes) of each of `size` sequences, slot by slot from caches. The start comes in one go or in steps; of
/// the codes only those already sampled are shown.
fn cached(
    model: &Frozen,
    size: usize,
    (text, image): (&[u32], &[u32]),
    precision: Precision,
    in_one_go: bool,
) -> Vec<Vec<f32>> {
    let mut sequence = model.sequence(size, precision).unwrap();
    let mut out = vec![Vec::new(); size];
    let mut push = |logits: Vec<f32>| {
        out.iter_mut().zip(logits.chunks(CODES)).for_each(|(out, logits)| out.extend_from_slice(logits));
    };
    let mut known = vec![CODES as u32 - 1; image.len()];
    if !in_one_go {
        for slot in 0..TEXT {
            sequence.advance(Tokens { text, image: &known }, slot..slot + 1).unwrap();
        }
    }
    let start = if in_one_go { 0 } else { TEXT };
    push(sequence.advance(Tokens { text, image: &known }, start..TEXT + 1).unwrap());
    for position in 1..IMAGE {
        for (known, image) in known.chunks_mut(IMAGE).zip(image.chunks(IMAGE)) {
            known[position - 1] = image[position - 1];
        }
        push(sequence.advance(Tokens { text, image: &known }, TEXT + position..TEXT + position + 1).unwrap());
    }
    out
}

#[test]
fn cached_equals_uncached_for_every_pattern() {
    let (text, image) = (captions(4, 3), ids(4, "codes", 3 * IMAGE, CODES));
    for order in orders() {
        let model = frozen(&order);
        let plain = model.logits(3, Tokens { text: &text, image: &image }).unwrap();
        let largest = plain.iter().fold(0f32, |a, b| a.max(b.abs()));
        assert!(largest > 0.5, "logits of at most {largest} show nothing");
        let one_go = cached(&model, 3, (&text, &image), Precision::F32, true).concat();
        for (i, (plain, cached)) in plain.iter().zip(&one_go).enumerate() {
            assert!((plain - cached).abs() < 1e-5, "{order:?}: logit {i}: plain {plain}, cached {cached}");
        }
        let steps = cached(&model, 3, (&text, &image), Precision::F32, false).concat();
        assert!(bits(&steps) == bits(&one_go), "{order:?}: the bits depend on the pieces in which a prefix comes");
    }
}

#[test]
fn cached_logits_depend_on_neither_batch_nor_threads() {
    let (text, image) = (captions(6, 8), ids(6, "codes", 8 * IMAGE, CODES));
    for order in orders() {
        let model = frozen(&order);
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let run = |threads: usize, first: usize, size: usize| {
                let tokens = (&text[first * TEXT..][..size * TEXT], &image[first * IMAGE..][..size * IMAGE]);
                on_threads(threads, || cached(&model, size, tokens, precision, true))
                    .iter()
                    .map(|row| bits(row))
                    .collect::<Vec<_>>()
            };
            let all = run(1, 0, 8);
            for threads in [2, 4] {
                assert!(run(threads, 0, 8) == all, "{order:?}, {precision:?}: {threads} threads");
            }
            assert!(run(2, 0, 3) == all[..3], "{order:?}, {precision:?}: a batch of 3");
            assert!(run(2, 5, 1) == all[5..6], "{order:?}, {precision:?}: a batch of 1");
        }
    }
}

/// Fewer bits change the logits, and by a bounded share of their spread: 2 % with 8 bits of mantissa, 10 % with bytes.
#[test]
fn fewer_bits_change_the_logits_a_little() {
    let (text, image) = (captions(5, 4), ids(5, "codes", 4 * IMAGE, CODES));
    let model = frozen(&paper_order(2, 3));
    let logits = |precision| cached(&model, 4, (&text, &image), precision, true).concat();
    let exact = logits(Precision::F32);
    let mean_square = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64;
    for (precision, bound) in [(Precision::Bf16, 0.02), (Precision::Int8, 0.1)] {
        let error: Vec<f32> = logits(precision).iter().zip(&exact).map(|(a, b)| a - b).collect();
        let share = (mean_square(&error) / mean_square(&exact)).sqrt();
        assert!(share > 0.0 && share < bound, "{precision:?}: the logits change by {share} of their spread");
    }
}

#[test]
fn a_repeated_sequence_goes_on_as_if_it_had_been_given_so_often() {
    let model = frozen(&paper_order(2, 3));
    let text = captions(8, 2);
    let each = |rows: &[u32]| rows.chunks(TEXT).flat_map(|row| row.repeat(3)).collect::<Vec<_>>();
    let (repeated_text, image) = (each(&text), ids(8, "codes", 6 * IMAGE, CODES));
    let blank = vec![0; 2 * IMAGE];
    let mut few = model.sequence(2, Precision::F32).unwrap();
    few.advance(Tokens { text: &text, image: &blank }, 0..TEXT + 1).unwrap();
    few.repeat(3).unwrap();
    let mut many = model.sequence(6, Precision::F32).unwrap();
    many.advance(Tokens { text: &repeated_text, image: &image }, 0..TEXT + 1).unwrap();
    let next = TEXT + 1..TEXT + 4;
    let tokens = Tokens { text: &repeated_text, image: &image };
    let (few, many) = (few.advance(tokens, next.clone()).unwrap(), many.advance(tokens, next).unwrap());
    assert_eq!(bits(&few), bits(&many));
    assert_eq!(few.len(), 6 * CODES);
}

#[test]
fn the_likelihood_is_that_of_the_logits() {
    let model = frozen(&paper_order(2, 3));
    let (text, image) = (captions(9, 2), ids(9, "codes", 2 * IMAGE, CODES));
    let tokens = Tokens { text: &text, image: &image };
    let (of_text, of_image) = model.nll(2, tokens).unwrap();
    assert_eq!(of_text.len(), 2 * TEXT);
    for ((row, &target), nll) in model.logits(2, tokens).unwrap().chunks(CODES).zip(&image).zip(of_image) {
        let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        let expected = total.ln() - f64::from(row[target as usize]);
        assert!((nll - expected).abs() < 1e-5, "got {nll}, expected {expected}");
    }
}

#[test]
fn the_loss_weighs_an_eighth_of_the_text_and_may_leave_out_the_pads() {
    let batch = batch(2, 4);
    let is_word = |id: u32| id < BPE as u32;
    assert!(batch.text.iter().any(|&id| !is_word(id)));
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    for (pad_loss, text_weight) in [(true, 0.125), (false, 0.125), (true, 0.5)] {
        let spec = Spec { pad_loss, text_weight, ..Spec::default() };
        let mut stage = TinyStage::new(&spec, 1, Cpu::default()).unwrap();
        randomise(&mut stage, 5, 0.2);
        let (text, image) = stage.frozen().unwrap().nll(4, Tokens { text: &batch.text, image: &batch.codes }).unwrap();
        let counted = text.iter().zip(&batch.text).filter(|(_, id)| pad_loss || is_word(**id)).map(|(nll, _)| *nll);
        let (text, image) = (mean(counted.collect()), mean(image));
        let step = stage.step(0, &batch).unwrap();
        let loss = text_weight * text + (1.0 - text_weight) * image;
        for (name, expected) in [("text_loss", text), ("image_loss", image), ("loss", loss)] {
            let got = number(&step, name);
            assert!((got - expected).abs() < 1e-5, "{name}: got {got}, expected {expected}");
        }
    }
}

#[test]
fn a_list_of_patterns_must_be_as_long_as_the_transformer_is_deep() {
    let spec = |names: &[&str]| Spec { attention: names.iter().map(|n| (*n).into()).collect(), ..Spec::default() };
    assert_eq!(patterns(&spec(&[]), 2).unwrap(), paper_order(2, 5));
    assert_eq!(patterns(&spec(&["conv", "row"]), 2).unwrap(), [Pattern::Conv { kernel: 5 }, Pattern::Row]);
    let error = patterns(&spec(&["row"]), 2).unwrap_err().to_string();
    assert!(error.contains("expected one pattern for each of 2 layers, got 1"), "{error}");
}
