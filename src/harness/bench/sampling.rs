//! The benchmarks that draw image tokens, one after the other, from cached keys and values: a step gives each candidate of one prompt a
//! token. Drawing is the host's, and timed.

use super::inputs::ids;
use super::timing::{Bench, Measurement, Timed};
use super::{Emit, counts};
use crate::error::{Error, Result};
use crate::inference::decoder::DecoderDevice;
use crate::inference::published::rudalle;
use crate::inference::{Autoregressive, FrozenTransformer, Options, draw, masks};
use crate::mask::{Layout, Pattern, paper_order};
use crate::models::presets::bench_l;
use crate::models::rudalle::{Malevich, Rudalle, Version, order};
use crate::models::transformer::Tokens;
use crate::nn::{self, Precision, Precision::*};
use crate::random::Rng;
use crate::shape::{BlockShape, RudalleShape, TransformerShape};
use dfdx::prelude::{ConstDim, Cpu};
use rayon::prelude::*;
use std::time::Instant;

/// Image tokens that are drawn before the clock starts.
const UNTIMED: usize = 16;

/// What is drawn from.
struct Model<'a> {
    transformer: &'a dyn Autoregressive,
    patterns: Vec<Pattern>,
    /// Text ids.
    words: usize,
}

/// Image tokens 16 to 1023 of one prompt's candidates, whose prefix is computed once.
pub fn sample_l<D: Timed>(bench: &Bench<D>, emit: Emit<'_>) -> Result<()>
where
    Error: From<D::Err>,
{
    const KERNEL: usize = 11;
    type Shape = bench_l::Transformer;
    type Block = <Shape as TransformerShape>::Block;
    let patterns = paper_order(<Shape as TransformerShape>::DEPTH, KERNEL);
    let layout =
        Layout { text: <Shape as TransformerShape>::Text::SIZE, grid: <Shape as TransformerShape>::Grid::SIZE };
    let weights = nn::build(&bench.device, 0)?;
    let masks = masks(&patterns, layout);
    let transformer = FrozenTransformer::<Shape, D>::new(weights, patterns.clone(), masks, true);
    let model = Model { transformer: &transformer, patterns, words: <Shape as TransformerShape>::TextVocab::SIZE };
    // A GPU has the memory for more candidates. Without a sampler on it, weights of fewer bits are the processor's.
    let batches = if D::ON_HOST { &[1, 8][..] } else { &[1, 8, 64] };
    let on_device = D::ON_HOST || DecoderDevice::gpu(<Block as BlockShape>::HeadDim::SIZE).is_some();
    let precisions = if on_device { &[F32, Bf16, Int8][..] } else { &[F32] };
    for (&batch, &precision) in batches.iter().flat_map(|b| precisions.iter().map(move |p| (b, p))) {
        emit(model.figure::<Block, D>(bench, batch, precision, "image tokens/s", batch)?)?;
    }
    Ok(())
}

/// The transformer of ruDALL-E Malevich's shape, of 1.3 billion parameters: three candidates, weights in 16 bits.
pub fn malevich<D: Timed>(bench: &Bench<D>, emit: Emit<'_>) -> Result<()>
where
    Error: From<D::Err>,
{
    type Block = <Malevich as RudalleShape>::Block;
    const VERSION: Version = Version::V3;
    let model: Rudalle<Malevich, f32, Cpu> = nn::build(&Cpu::default(), 0)?;
    let transformer = rudalle::sampled(model, VERSION);
    let words = <Malevich as RudalleShape>::TextVocab::SIZE;
    let model = Model { transformer: &transformer, patterns: order(Malevich::DEPTH, VERSION), words };
    emit(model.figure::<Block, D>(bench, 3, Bf16, "steps/s", 1)?)
}

impl Model<'_> {
    /// The median of three sequences of `batch` candidates; a step counts as `each` of `unit`.
    fn figure<B: BlockShape, D: Timed>(
        &self,
        bench: &Bench<D>,
        batch: usize,
        precision: Precision,
        unit: &'static str,
        each: usize,
    ) -> Result<Measurement>
    where
        Error: From<D::Err>,
    {
        let mut seconds = [0.0; 3];
        for seconds in &mut seconds {
            *seconds = self.seconds(bench, batch, precision)?;
        }
        seconds.sort_by(f64::total_cmp);
        let layout = self.transformer.layout();
        let steps = (layout.image() - UNTIMED) as f64 / seconds[1];
        let (suffix, bytes) = match precision {
            F32 => ("", 4.0),
            Bf16 => ("-bf16", 2.0),
            Int8 => ("-int8", 1.0),
        };
        let (patterns, codes) = (&self.patterns, self.transformer.codes());
        let rate = counts::sampling::<B>(patterns, layout, codes, batch, UNTIMED, bytes) / seconds[1];
        let measured = bench.figure(&format!("$-b{batch}{suffix}"), each as f64 * steps, unit, rate);
        // Of one candidate, weights are nearly all that a step reads.
        let weights = counts::matrices::<B>(patterns.len(), codes) as f64;
        let machine = bench.machine.filter(|_| batch == 1);
        let share = machine.map(|machine| bytes * weights * steps / machine.bytes);
        Ok(Measurement { fraction_of_peak: share, ..measured })
    }

    /// Seconds from image token [`UNTIMED`] to the last.
    fn seconds<D: Timed>(&self, bench: &Bench<D>, batch: usize, precision: Precision) -> Result<f64>
    where
        Error: From<D::Err>,
    {
        let (layout, codes) = (self.transformer.layout(), self.transformer.codes());
        let (slots, positions) = (layout.text, layout.image());
        let options = Options { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0, precision };
        let prompt = ids("text", slots, self.words);
        let mut sequence = self.transformer.sequence(1, precision)?;
        let blank = vec![0; positions];
        let first = sequence.advance(Tokens { text: &prompt, image: &blank }, 0..slots + 1)?;
        sequence.repeat(batch)?;
        let mut logits = first.repeat(batch);
        let text = prompt.repeat(batch);
        let mut image = vec![0; batch * positions];
        let mut started = Instant::now();
        for position in 0..positions {
            if position == UNTIMED {
                bench.wait()?;
                started = Instant::now();
            }
            let token =
                |(row, logits)| draw(logits, &options, Rng::new(0, "bench", position as u64, row as u64).uniform());
            let tokens: Vec<u32> = logits.par_chunks(codes).enumerate().map(token).collect();
            image.chunks_mut(positions).zip(tokens).for_each(|(row, token)| row[position] = token);
            if position + 1 < positions {
                let slot = slots + position + 1;
                logits = sequence.advance(Tokens { text: &text, image: &image }, slot..slot + 1)?;
            }
        }
        bench.wait()?;
        Ok(started.elapsed().as_secs_f64())
    }
}
