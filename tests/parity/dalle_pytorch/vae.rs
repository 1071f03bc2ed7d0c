//! `DiscreteVAE`: strided 4×4 convolutions to logits, a codebook, transposed ones back. Inference only, on slices; of its switches
//! all but `channels`, `normalization` and `reinmax`.

use dalle::kernels::cpu::matmul::{View, matmul};
use dalle::kernels::cpu::{argmax, gumbel, one_hot_rows};
use dalle::models::feature_map::{Conv, FeatureMap, Find, take};
use dalle::ops::Activation;
use dalle::{Error, Result};

/// The published configuration's arguments; pictures have three channels and the normalisation (x − 0.5)/0.5.
#[derive(Debug, Clone, PartialEq)]
pub struct VaeConfig {
    /// `num_tokens`: codes.
    pub codes: usize,
    /// `codebook_dim`
    pub embed: usize,
    /// `num_layers`: halvings of the side.
    pub layers: usize,
    /// `num_resnet_blocks`
    pub blocks: usize,
    /// `hidden_dim`
    pub hidden: usize,
    /// `smooth_l1_loss`: instead of the squared error.
    pub smooth_l1: bool,
    /// `straight_through`: one-hot codes in training.
    pub straight_through: bool,
    /// `temperature` of the relaxation.
    pub temperature: f64,
    /// `kl_div_loss_weight`
    pub divergence_weight: f64,
}

/// x + net(x): 3×3, ReLU, 3×3, ReLU, 1×1.
#[derive(Debug, Clone)]
struct Residual([Conv; 3]);

impl Residual {
    fn load(find: &mut Find<'_>, name: &str, channels: usize) -> Result<Self> {
        let mut conv = |index: usize, kernel: usize| {
            Conv::load(find, &format!("{name}.net.{index}"), [channels, channels, kernel])
        };
        Ok(Residual([conv(0, 3)?, conv(2, 3)?, conv(4, 1)?]))
    }

    fn forward(&self, x: &FeatureMap) -> FeatureMap {
        let [first, second, third] = &self.0;
        third.same(&second.same(&first.same(x, false), true), true).plus(x)
    }
}

/// Encoder, codebook and decoder. Parameters: `codebook`.weight (V, embed).
#[derive(Debug, Clone)]
pub struct DiscreteVae {
    config: VaeConfig,
    down: Vec<Conv>,
    down_blocks: Vec<Residual>,
    to_logits: Conv,
    codebook: Vec<f32>,
    from_codebook: Option<Conv>,
    up_blocks: Vec<Residual>,
    up: Vec<Conv>,
    to_picture: Conv,
}

/// The reference's training loss, in evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VaeLosses {
    /// Mean error against the normalised picture.
    pub reconstruction: f64,
    /// The divergence from uniform codes in nats, **summed** over batch and positions: the reference divides by the length
    /// of a tensor that has one element.
    pub divergence: f64,
    /// reconstruction + weight·divergence
    pub total: f64,
}

/// Channels of a picture.
const COLOURS: usize = 3;

impl DiscreteVae {
    /// Takes every parameter from `find(name, shape)`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a configuration that makes no model, what `find` says, and [`Error::Data`] where it gives another
    /// number of values.
    pub fn load(config: &VaeConfig, find: &mut Find<'_>) -> Result<Self> {
        let VaeConfig { codes, embed, layers, blocks, hidden, .. } = *config;
        let sizes = [codes, embed, hidden];
        if sizes.iter().any(|size| !(1..=1 << 16).contains(size)) || !(1..=16).contains(&layers) || blocks > 1 << 10 {
            return Err(Error::Usage(format!("a DiscreteVAE of these sizes: {config:?}")));
        }
        let halving = |find: &mut Find<'_>, i: usize| {
            Conv::load(find, &format!("encoder.{i}.0"), [if i == 0 { COLOURS } else { hidden }, hidden, 4])
        };
        let down = (0..layers).map(|i| halving(find, i)).collect::<Result<_>>()?;
        let down_blocks = (0..blocks)
            .map(|i| Residual::load(find, &format!("encoder.{}", layers + i), hidden))
            .collect::<Result<_>>()?;
        let to_logits = Conv::load(find, &format!("encoder.{}", layers + blocks), [hidden, codes, 1])?;
        let codebook = take(find, "codebook.weight", &[codes, embed])?;
        // The residual blocks need the hidden width; without them, the first doubling takes the codebook's.
        let from_codebook = match blocks {
            0 => None,
            _ => Some(Conv::load(find, "decoder.0", [embed, hidden, 1])?),
        };
        let first = usize::from(blocks > 0);
        let up_blocks = (0..blocks)
            .map(|i| Residual::load(find, &format!("decoder.{}", first + i), hidden))
            .collect::<Result<_>>()?;
        let first = first + blocks;
        let doubling = |find: &mut Find<'_>, i: usize| {
            let inputs = if i == 0 && blocks == 0 { embed } else { hidden };
            Conv::load_transposed(find, &format!("decoder.{}.0", first + i), [inputs, hidden, 4])
        };
        let up = (0..layers).map(|i| doubling(find, i)).collect::<Result<_>>()?;
        let to_picture = Conv::load(find, &format!("decoder.{}", first + layers), [hidden, COLOURS, 1])?;
        let config = config.clone();
        Ok(DiscreteVae { config, down, down_blocks, to_logits, codebook, from_codebook, up_blocks, up, to_picture })
    }

    /// Logits over the codes, (B, h, w, V), of pictures with values in [0, 1].
    ///
    /// # Errors
    /// [`Error::Usage`] for sides that the strides do not divide, or pictures that are not of three channels.
    pub fn logits(&self, pictures: &FeatureMap) -> Result<FeatureMap> {
        let FeatureMap { height, width, channels, .. } = *pictures;
        let factor = 1 << self.config.layers;
        if height % factor != 0 || width % factor != 0 || channels != COLOURS {
            return Err(Error::Usage(format!(
                "a picture of {width}×{height} with {channels} channels: expected sides that are multiples of {factor} and \
                 {COLOURS} channels"
            )));
        }
        let halve = |x, conv: &Conv| conv.strided(&x, 2, (1, 1)).activated(Activation::Relu);
        let x = self.down.iter().fold(normalised(pictures.clone()), halve);
        let x = self.down_blocks.iter().fold(x, |x, block| block.forward(&x));
        Ok(self.to_logits.same(&x, false))
    }

    /// The codes of pictures: the largest logit at each position, in raster order.
    ///
    /// # Errors
    /// As [`DiscreteVae::logits`].
    pub fn encode(&self, pictures: &FeatureMap) -> Result<Vec<u32>> {
        let logits = self.logits(pictures)?;
        Ok(logits.values.chunks(logits.channels).map(|row| argmax(row) as u32).collect())
    }

    /// The **normalised** pictures, values around [−1, 1], of a grid of codes of sides [B, h, w].
    ///
    /// # Errors
    /// [`Error::Usage`] for a code that there is not, or another number of codes than B·h·w.
    pub fn decode(&self, codes: &[u32], sides: [usize; 3]) -> Result<FeatureMap> {
        Ok(self.decoder(FeatureMap::of_ids(&self.codebook, self.config.embed, codes, sides)?))
    }

    /// The normalised pictures of relaxed codes: softmax((logits + noise)/temperature), or its one-hot form where the
    /// configuration is straight-through. `noise` is as long as the logits.
    pub fn relaxed(&self, logits: &FeatureMap, noise: &[f32]) -> FeatureMap {
        let VaeConfig { codes, embed, temperature, .. } = self.config;
        let mut z = vec![0.0; logits.values.len()];
        let rows = z.len() / codes;
        gumbel::forward(&logits.values, noise, codes, temperature, &mut z, &mut vec![0.0; rows]);
        if self.config.straight_through {
            z = one_hot_rows(&z, codes);
        }
        let mut values = vec![0.0; rows * embed];
        matmul(&mut values, (rows, embed, codes), View::rows(&z, codes), View::rows(&self.codebook, embed), false);
        self.decoder(FeatureMap { channels: embed, values, ..*logits })
    }

    /// The loss of pictures, given the noise of their logits.
    ///
    /// # Errors
    /// As [`DiscreteVae::logits`].
    pub fn losses(&self, pictures: &FeatureMap, noise: &[f32]) -> Result<VaeLosses> {
        let logits = self.logits(pictures)?;
        let decoded = self.relaxed(&logits, noise);
        let target = normalised(pictures.clone());
        let error = |(&a, &b): (&f32, &f32)| match f64::from(a - b).abs() {
            apart if !self.config.smooth_l1 => apart * apart,
            apart if apart < 1.0 => apart * apart / 2.0,
            apart => apart - 0.5,
        };
        let total: f64 = decoded.values.iter().zip(&target.values).map(error).sum();
        let reconstruction = total / target.values.len() as f64;
        let mut rows = vec![0.0; logits.values.len() / logits.channels];
        gumbel::kl_forward(&logits.values, logits.channels, &mut rows);
        let divergence: f64 = rows.iter().map(|&row| f64::from(row)).sum();
        let total = reconstruction + self.config.divergence_weight * divergence;
        Ok(VaeLosses { reconstruction, divergence, total })
    }

    fn decoder(&self, x: FeatureMap) -> FeatureMap {
        let x = match &self.from_codebook {
            Some(conv) => conv.same(&x, false),
            None => x,
        };
        let x = self.up_blocks.iter().fold(x, |x, block| block.forward(&x));
        let double = |x, conv: &Conv| conv.transposed(&x, 2, 1).activated(Activation::Relu);
        self.to_picture.same(&self.up.iter().fold(x, double), false)
    }
}

/// (x − 0.5)/0.5: what the encoder sees and the decoder's pictures are compared with.
pub fn normalised(pictures: FeatureMap) -> FeatureMap {
    pictures.map(|x| (x - 0.5) / 0.5)
}
