//! Sampling image tokens with cached keys and values (paper §2.6): temperature, top-k, top-p, classifier-free guidance, forced
//! tokens. Each picture has a seed of its own, and every number on the way to it is summed in an order that does not depend on
//! its batch: so a picture is the same whatever it is sampled together with.

use super::Autoregressive;
use crate::error::{Error, Result};
use crate::models::transformer::Tokens;
use crate::nn::Precision;
use crate::random::Rng;
use rayon::prelude::*;

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Divides the logits; 1 in the paper. 0: always the likeliest.
    pub temperature: f64,
    /// Only the k likeliest tokens; 0: all.
    pub top_k: usize,
    /// Only the likeliest tokens that together hold this share; 1: all.
    pub top_p: f64,
    /// Logits are u + g·(c − u) of the captioned and the uncaptioned pass; 1: the captioned alone.
    pub guidance: f64,
    /// In how many bits the weights are kept.
    pub precision: Precision,
}

/// One caption to draw for.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// T text slots, pads filled in.
    pub text: Vec<u32>,
    /// One seed per picture wanted.
    pub seeds: Vec<u64>,
    /// Image tokens that are given instead of drawn; empty: none, else grid² entries.
    pub forced: Vec<Option<u32>>,
}

/// Rows that are sampled at once.
pub const ROWS: usize = 64;
/// The bytes that their keys and values may take.
const BYTES: usize = 2 << 30;

/// How many pictures are sampled at once, of `captions` with `candidates` each: a row keeps `row_bytes`, and each picture has one
/// row in each of `passes` (2 with guidance).
pub fn held_at_once(captions: usize, candidates: usize, row_bytes: usize, passes: usize) -> usize {
    let rows = rows(row_bytes, passes);
    if candidates >= rows { rows } else { (rows / candidates.max(1)).min(captions) * candidates }
}

fn rows(row_bytes: usize, passes: usize) -> usize {
    (BYTES / passes.saturating_mul(row_bytes).max(1)).clamp(1, ROWS)
}

/// The codes of every picture of every prompt, grid² each, in order. `empty` is the text of no caption, for guidance.
///
/// # Errors
/// [`Error::Usage`] for options out of range or tokens that do not fit the model.
pub fn sample(
    model: &dyn Autoregressive,
    prompts: &[Prompt],
    empty: &[u32],
    options: &Options,
) -> Result<Vec<Vec<u32>>> {
    check(model, prompts, options)?;
    let passes = if options.guidance == 1.0 { 1 } else { 2 };
    let rows = rows(model.row_bytes(), passes);
    let mut pictures = Vec::new();
    // Prompts of one number of pictures share a batch; the split changes no picture.
    let mut rest = prompts;
    while let Some(first) = rest.first() {
        let times = first.seeds.len();
        if times > rows {
            for seeds in first.seeds.chunks(rows) {
                let part = Prompt { seeds: seeds.to_vec(), ..first.clone() };
                pictures.extend(batch(model, &[part], empty, options)?);
            }
            rest = &rest[1..];
            continue;
        }
        let room = (rows / times.max(1)).max(1);
        let alike = rest.iter().take(room).take_while(|p| p.seeds.len() == times).count();
        pictures.extend(batch(model, &rest[..alike], empty, options)?);
        rest = &rest[alike..];
    }
    Ok(pictures)
}

fn check(model: &dyn Autoregressive, prompts: &[Prompt], options: &Options) -> Result<()> {
    let layout = model.layout();
    let usage = |what: String| Err(Error::Usage(what));
    if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
        return usage(format!("temperature: expected a number of at least 0, got {}", options.temperature));
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return usage(format!("top-p: expected a share in (0, 1], got {}", options.top_p));
    }
    if !options.guidance.is_finite() {
        return usage(format!("guidance: expected a finite number, got {}", options.guidance));
    }
    for prompt in prompts {
        if prompt.text.len() != layout.text {
            return usage(format!("a prompt must fill {} text slots, got {}", layout.text, prompt.text.len()));
        }
        if !prompt.forced.is_empty() && prompt.forced.len() != layout.image() {
            return usage(format!(
                "forced tokens must cover {} positions, got {}",
                layout.image(),
                prompt.forced.len()
            ));
        }
        if let Some(code) = prompt.forced.iter().flatten().find(|&&code| code as usize >= model.codes()) {
            return usage(format!("forced token {code} is not below {}, the number of codes", model.codes()));
        }
    }
    Ok(())
}

/// Prompts with the same number of pictures each, together.
fn batch(model: &dyn Autoregressive, prompts: &[Prompt], empty: &[u32], options: &Options) -> Result<Vec<Vec<u32>>> {
    let (layout, codes) = (model.layout(), model.codes());
    let (positions, times) = (layout.image(), prompts[0].seeds.len());
    let rows = prompts.len() * times;
    let guided = options.guidance != 1.0;
    // Each prompt's text and start-of-image run once; their keys and values are then shared by all its pictures.
    let mut text: Vec<u32> = prompts.iter().flat_map(|p| p.text.iter().copied()).collect();
    if guided {
        text.extend(empty.repeat(prompts.len()));
    }
    let passes = if guided { 2 } else { 1 };
    let mut sequence = model.sequence(passes * prompts.len(), options.precision)?;
    let blank = vec![0; passes * prompts.len() * positions];
    let first = sequence.advance(Tokens { text: &text, image: &blank }, 0..layout.text + 1)?;
    sequence.repeat(times)?;
    let mut logits: Vec<f32> = first.chunks(codes).flat_map(|row| row.repeat(times)).collect();
    let text: Vec<u32> = text.chunks(layout.text).flat_map(|row| row.repeat(times)).collect();

    let mut image = vec![0u32; passes * rows * positions];
    for position in 0..positions {
        let token = |row: usize| -> u32 {
            let prompt = &prompts[row / times];
            if let Some(Some(forced)) = prompt.forced.get(position) {
                return *forced;
            }
            let u = Rng::new(prompt.seeds[row % times], "token", position as u64, 0).uniform();
            let own = &logits[row * codes..(row + 1) * codes];
            if !guided {
                return draw(own, options, u);
            }
            let without = &logits[(rows + row) * codes..(rows + row + 1) * codes];
            let g = options.guidance as f32;
            let mixed: Vec<f32> = own.iter().zip(without).map(|(&c, &u)| u + g * (c - u)).collect();
            draw(&mixed, options, u)
        };
        let tokens: Vec<u32> = (0..rows).into_par_iter().map(token).collect();
        for (row, token) in tokens.into_iter().enumerate() {
            for pass in 0..passes {
                image[(pass * rows + row) * positions + position] = token;
            }
        }
        if position + 1 < positions {
            let slot = layout.text + position + 1;
            logits = sequence.advance(Tokens { text: &text, image: &image }, slot..slot + 1)?;
        }
    }
    Ok(image[..rows * positions].chunks(positions).map(<[u32]>::to_vec).collect())
}

/// The token at quantile `u` ∈ (0, 1) of softmax(logits/temperature), cut to the top k and the top p.
pub fn draw(logits: &[f32], options: &Options, u: f64) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    // Ties go to the lower id, so that the order is one.
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if options.temperature == 0.0 || options.top_k == 1 {
        return order.into_iter().min_by(by_logit).unwrap_or(0);
    }
    let cut = options.top_k > 0 && options.top_k < order.len();
    if cut || options.top_p < 1.0 {
        order.sort_unstable_by(by_logit);
    }
    if cut {
        order.truncate(options.top_k);
    }
    let largest = order.iter().map(|&id| logits[id as usize]).fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: u32| (f64::from(logits[id as usize] - largest) / options.temperature).exp();
    let mut weights: Vec<f64> = order.iter().map(|&id| weight(id)).collect();
    if options.top_p < 1.0 {
        let whole: f64 = weights.iter().sum();
        let mut held = 0.0;
        let inside = |weight: &&f64| {
            let before = held;
            held += **weight;
            before < options.top_p * whole
        };
        let kept = weights.iter().take_while(inside).count();
        weights.truncate(kept.max(1));
    }
    let target = u * weights.iter().sum::<f64>();
    let mut passed = 0.0;
    for (&id, weight) in order.iter().zip(&weights) {
        passed += weight;
        if target < passed {
            return id;
        }
    }
    order[weights.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision: Precision::F32 };

    fn shares(logits: &[f32], options: &Options) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let n = 10_000;
        (0..n).for_each(|i| {
            counts[draw(logits, options, (f64::from(i) + 0.5) / f64::from(n)) as usize] += 1.0 / f64::from(n)
        });
        counts
    }

    #[test]
    fn as_many_pictures_are_held_as_fit() {
        assert_eq!(held_at_once(524, 8, 1 << 20, 1), 64);
        assert_eq!((held_at_once(3, 8, 1 << 20, 1), held_at_once(524, 48, 1 << 20, 1)), (24, 48));
        // 512 candidates of a gigabyte each, alone and with guidance.
        assert_eq!((held_at_once(12, 512, 1 << 30, 1), held_at_once(12, 512, 1 << 30, 2)), (2, 1));
        assert_eq!(held_at_once(1, 1, usize::MAX, 2), 1);
        assert_eq!(held_at_once(4, 0, 1 << 20, 1), 0);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let total: f64 = logits.iter().map(|l: &f32| f64::from(*l).exp()).sum();
        for (share, logit) in shares(&logits, &PLAIN).iter().zip(logits) {
            assert!((share - f64::from(logit).exp() / total).abs() < 1e-3);
        }
    }

    #[test]
    fn temperature_sharpens_and_zero_takes_the_likeliest() {
        let logits = [0.0, 1.0, 0.5];
        assert!(shares(&logits, &Options { temperature: 0.5, ..PLAIN })[1] > shares(&logits, &PLAIN)[1]);
        assert!(shares(&logits, &Options { temperature: 0.0, ..PLAIN })[1] > 0.999);
    }

    #[test]
    fn top_k_and_top_p_leave_out_the_rest() {
        let logits = [3.0, 2.0, 1.0, 0.0];
        let k = shares(&logits, &Options { top_k: 2, ..PLAIN });
        assert!(k[2] == 0.0 && k[3] == 0.0 && k[1] > 0.0);
        // e³ : e² : e : 1 hold 0.644, 0.237, 0.087, 0.032.
        let p = shares(&logits, &Options { top_p: 0.7, ..PLAIN });
        assert!(p[1] > 0.0 && p[2] == 0.0);
        let one = shares(&logits, &Options { top_p: 0.5, ..PLAIN });
        assert!(one[0] > 0.999);
    }
}
