//! What a preset must say of each model, and what must hold between its numbers.

use super::Groups;
use dfdx::shapes::ConstDim;

/// The discrete VAE's dimensions (paper A.1, A.2).
pub trait DvaeShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// Side of the training pictures.
    type Side: ConstDim;
    /// Side of the token grid.
    type Grid: ConstDim;
    /// Codes.
    type Codes: ConstDim;
    /// Channels of the codebook vectors, the decoder's input (n_init; 128 in the paper's).
    type Init: ConstDim;
    /// The encoder's groups, from the picture inwards.
    type Down: Groups;
    /// The decoder's groups, from the grid outwards.
    type Up: Groups;
    /// Residual blocks per group (2 in the paper's).
    const BLOCKS: usize;
    /// The scale of every residual branch: 1/(number of blocks)².
    const POST_GAIN: f64 =
        1.0 / ((Self::Down::COUNT * Self::BLOCKS) as f64 * (Self::Down::COUNT * Self::BLOCKS) as f64);
    /// Evaluated when a model of this shape is built: a wrong preset does not compile.
    const CHECK: () = {
        let () = Self::Down::CHECK;
        let () = Self::Up::CHECK;
        assert!(Self::Down::COUNT == Self::Up::COUNT, "encoder and decoder must have the same number of groups");
        assert!(
            <Self::Grid as ConstDim>::SIZE << (Self::Down::COUNT - 1) == <Self::Side as ConstDim>::SIZE,
            "the picture's side must be the grid's times 2 for every group but one"
        );
    };
}

/// The dimensions of one kind of pre-norm transformer block.
pub trait BlockShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// Width of the residual stream.
    type Dim: ConstDim;
    /// 3·Dim: queries, keys and values, fused.
    type Qkv: ConstDim;
    /// 4·Dim.
    type Mlp: ConstDim;
    /// Attention heads.
    type Heads: ConstDim;
    /// Channels per head.
    type HeadDim: ConstDim;
    /// Evaluated when a block is built.
    const CHECK: () = {
        assert!(
            <Self::Heads as ConstDim>::SIZE * <Self::HeadDim as ConstDim>::SIZE == <Self::Dim as ConstDim>::SIZE,
            "heads times head dimension must equal the width"
        );
        assert!(<Self::Qkv as ConstDim>::SIZE == 3 * <Self::Dim as ConstDim>::SIZE, "Qkv must be three widths");
    };
}

/// The transformer's dimensions (paper B.1).
pub trait TransformerShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// Width, heads, MLP.
    type Block: BlockShape;
    /// Text slots.
    type Text: ConstDim;
    /// Side of the image grid.
    type Grid: ConstDim;
    /// Image slots: Grid².
    type Image: ConstDim;
    /// Text + Image.
    type Seq: ConstDim;
    /// BPE tokens and one pad per text slot.
    type TextVocab: ConstDim;
    /// TextVocab and the start of text: rows of the text table.
    type TextRows: ConstDim;
    /// Codes of the first stage.
    type Codes: ConstDim;
    /// Codes and the start of image: rows of the image table.
    type ImageRows: ConstDim;
    /// Layers.
    const DEPTH: usize;
    /// Evaluated when a model of this shape is built.
    const CHECK: () = {
        let () = Self::Block::CHECK;
        let (text, grid) = (<Self::Text as ConstDim>::SIZE, <Self::Grid as ConstDim>::SIZE);
        assert!(<Self::Image as ConstDim>::SIZE == grid * grid, "image slots must be the grid's square");
        assert!(<Self::Seq as ConstDim>::SIZE == text + grid * grid, "the sequence must be text plus image slots");
        assert!(<Self::TextVocab as ConstDim>::SIZE > text, "the text vocabulary must hold one pad per slot and more");
        assert!(
            <Self::TextRows as ConstDim>::SIZE == <Self::TextVocab as ConstDim>::SIZE + 1,
            "one row for start-of-text"
        );
        assert!(
            <Self::ImageRows as ConstDim>::SIZE == <Self::Codes as ConstDim>::SIZE + 1,
            "one row for start-of-image"
        );
    };
}

/// Which GELU a CLIP has.
pub trait Gelu: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// x·σ(1.702x)?
    const QUICK: bool;
}

/// x·σ(1.702x), in all of OpenAI's models.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuickGelu;

/// 0.5x(1+erf(x/√2)), in some later ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErfGelu;

impl Gelu for QuickGelu {
    const QUICK: bool = true;
}

impl Gelu for ErfGelu {
    const QUICK: bool = false;
}

/// The dimensions of CLIP's text tower, and what both towers share.
pub trait TextTowerShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// The text tower's blocks.
    type Language: BlockShape;
    /// Text slots, start and end of text included.
    type Context: ConstDim;
    /// BPE tokens, start and end of text.
    type Vocab: ConstDim;
    /// Shared embedding.
    type Embed: ConstDim;
    /// Layers of the text tower.
    const LANGUAGE_DEPTH: usize;
    /// Both towers' nonlinearity.
    type Gelu: Gelu;
}

/// CLIP's dimensions, both towers.
pub trait ClipShape: TextTowerShape {
    /// The image tower's blocks.
    type Vision: BlockShape;
    /// Side of a patch.
    type Patch: ConstDim;
    /// Values of a patch: 3·Patch².
    type PatchValues: ConstDim;
    /// Patches and the class token.
    type VisionSeq: ConstDim;
    /// Side of the pictures.
    const SIDE: usize;
    /// Layers of the image tower.
    const VISION_DEPTH: usize;
    /// Evaluated when a model of this shape is built.
    const CHECK: () = {
        let () = Self::Vision::CHECK;
        let () = Self::Language::CHECK;
        let patch = <Self::Patch as ConstDim>::SIZE;
        let patches = Self::SIDE / patch;
        assert!(patches * patch == Self::SIDE, "the patch must divide the picture");
        assert!(<Self::PatchValues as ConstDim>::SIZE == 3 * patch * patch, "PatchValues must be 3·Patch²");
        assert!(
            <Self::VisionSeq as ConstDim>::SIZE == patches * patches + 1,
            "one slot per patch and one for the class"
        );
    };
}

/// All the models of one name in a spec's `preset:`.
pub trait Preset: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// The name in YAML.
    const NAME: &'static str;
    /// BPE tokens, pads not counted.
    const BPE: usize;
    /// First stage.
    type Dvae: DvaeShape;
    /// Second stage.
    type Transformer: TransformerShape;
    /// Reranker.
    type Clip: ClipShape;
    /// Evaluated when the preset is used: the stages must fit together.
    const CHECK: () = {
        let () = <Self::Dvae as DvaeShape>::CHECK;
        let () = <Self::Transformer as TransformerShape>::CHECK;
        let () = <Self::Clip as ClipShape>::CHECK;
        let (codes, grid) =
            (<<Self::Dvae as DvaeShape>::Codes as ConstDim>::SIZE, <<Self::Dvae as DvaeShape>::Grid as ConstDim>::SIZE);
        assert!(
            codes == <<Self::Transformer as TransformerShape>::Codes as ConstDim>::SIZE,
            "both stages share the codes"
        );
        assert!(
            grid == <<Self::Transformer as TransformerShape>::Grid as ConstDim>::SIZE,
            "both stages share the grid"
        );
        assert!(
            <<Self::Dvae as DvaeShape>::Side as ConstDim>::SIZE == <Self::Clip as ClipShape>::SIDE,
            "CLIP sees the pictures of the first stage"
        );
        let text = <<Self::Transformer as TransformerShape>::Text as ConstDim>::SIZE;
        assert!(
            Self::BPE + text == <<Self::Transformer as TransformerShape>::TextVocab as ConstDim>::SIZE,
            "the text vocabulary must be the BPE's and one pad per slot"
        );
    };
}
