//! What a preset must say of dalle-pytorch's transformer.

use super::BlockShape;
use dfdx::shapes::ConstDim;

/// The dimensions of dalle-pytorch's `DALLE`; [`dalle_pytorch!`](crate::dalle_pytorch) writes them from its numbers.
pub trait DallePytorchShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// Width of the residual stream.
    type Width: ConstDim;
    /// Attention's heads and what they are wide together, which may be other than the width.
    type Attention: BlockShape;
    /// 4·Width: the feed-forward's channels after its gate.
    type Feed: ConstDim;
    /// 8·Width: the feed-forward's channels before its gate.
    type Gated: ConstDim;
    /// Text slots.
    type Text: ConstDim;
    /// Text + 1: the start of text and the text.
    type TextPositions: ConstDim;
    /// Side of the image grid.
    type Grid: ConstDim;
    /// Text + Grid².
    type Seq: ConstDim;
    /// Seq + 1: positions that have frequencies.
    type Positions: ConstDim;
    /// Channels of a head that are rotated: 6·⌊⌊HeadDim/3⌋/2⌋.
    type Rotated: ConstDim;
    /// BPE tokens and one pad per text slot.
    type TextVocab: ConstDim;
    /// Codes of the first stage.
    type Codes: ConstDim;
    /// TextVocab + Codes.
    type Classes: ConstDim;
    /// Layers.
    const DEPTH: usize;
    /// `rotary_emb`: rotations in place of position embeddings.
    const ROTARY: bool;
    /// `shift_tokens`: each branch sees a part of its neighbours' channels.
    const SHIFT: bool;
    /// `stable`: a tenth of the gradient for the embeddings, and each slot divided by its largest channel before the head.
    const STABLE: bool;
    /// `sandwich_norm`: each branch's result is normed.
    const SANDWICH: bool;
    /// `share_input_output_emb`: the embeddings are the rows of the head's weight.
    const SHARED: bool;
    /// Evaluated when a model of this shape is built.
    const CHECK: () = {
        let () = Self::Attention::CHECK;
        let (text, grid) = (<Self::Text as ConstDim>::SIZE, <Self::Grid as ConstDim>::SIZE);
        let (words, codes) = (<Self::TextVocab as ConstDim>::SIZE, <Self::Codes as ConstDim>::SIZE);
        let (width, head) = (<Self::Width as ConstDim>::SIZE, <Self::Attention as BlockShape>::HeadDim::SIZE);
        let sequence = <Self::Seq as ConstDim>::SIZE;
        assert!(width.is_multiple_of(4), "the shift moves quarters of the channels");
        assert!(<Self::Feed as ConstDim>::SIZE == 4 * width, "the feed-forward must be four widths");
        assert!(<Self::Gated as ConstDim>::SIZE == 8 * width, "the gated feed-forward must be eight widths");
        assert!(<Self::TextPositions as ConstDim>::SIZE == text + 1, "one text position more than text slots");
        assert!(sequence == text + grid * grid, "the sequence must be text plus image slots");
        assert!(<Self::Positions as ConstDim>::SIZE == sequence + 1, "one position more than slots");
        assert!(<Self::Rotated as ConstDim>::SIZE == head / 3 / 2 * 6, "a third of a head for each of three axes");
        assert!(words > text, "the text vocabulary must hold one pad per slot and more");
        assert!(<Self::Classes as ConstDim>::SIZE == words + codes, "the head's classes must be text's and image's");
    };
}

/// Defines the shape of a dalle-pytorch transformer:
/// `dalle_pytorch!(Name in module: width 32, depth 4, heads 2 of 32, text 8, vocab 38, grid 8, codes 24, switches [rotary true,
/// shift true, stable false, sandwich false, shared false])`. The heads' `of` is all their channels together; `vocab` counts
/// the pads.
#[doc(hidden)]
#[macro_export]
macro_rules! dalle_pytorch {
    ($(#[$doc:meta])* $name:ident in $module:ident: width $width:literal, depth $depth:literal, heads $heads:literal of $inner:literal,
     text $text:literal, vocab $vocab:literal, grid $grid:literal, codes $codes:literal, switches [rotary $rotary:literal,
     shift $shift:literal, stable $stable:literal, sandwich $sandwich:literal, shared $shared:literal]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        /// The attention of this shape.
        pub mod $module {
            $crate::block!(
                /// Heads and their channels.
                Attention: dim $inner, heads $heads);
        }

        impl $crate::shape::DallePytorchShape for $name {
            type Width = dfdx::shapes::Const<$width>;
            type Attention = $module::Attention;
            type Feed = dfdx::shapes::Const<{ 4 * $width }>;
            type Gated = dfdx::shapes::Const<{ 8 * $width }>;
            type Text = dfdx::shapes::Const<$text>;
            type TextPositions = dfdx::shapes::Const<{ $text + 1 }>;
            type Grid = dfdx::shapes::Const<$grid>;
            type Seq = dfdx::shapes::Const<{ $text + $grid * $grid }>;
            type Positions = dfdx::shapes::Const<{ $text + $grid * $grid + 1 }>;
            type Rotated = dfdx::shapes::Const<{ $inner / $heads / 3 / 2 * 6 }>;
            type TextVocab = dfdx::shapes::Const<$vocab>;
            type Codes = dfdx::shapes::Const<$codes>;
            type Classes = dfdx::shapes::Const<{ $vocab + $codes }>;
            const DEPTH: usize = $depth;
            const ROTARY: bool = $rotary;
            const SHIFT: bool = $shift;
            const STABLE: bool = $stable;
            const SANDWICH: bool = $sandwich;
            const SHARED: bool = $shared;
        }
    };
}
