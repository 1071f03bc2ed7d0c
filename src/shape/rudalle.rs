//! What a preset must say of ru-dalle's transformer, whose one head predicts text and image tokens alike.

use super::BlockShape;
use dfdx::shapes::ConstDim;

/// The dimensions of ru-dalle's transformer; [`rudalle!`](crate::rudalle) writes them from its numbers.
pub trait RudalleShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// Width, heads, MLP.
    type Block: BlockShape;
    /// Text slots.
    type Text: ConstDim;
    /// Rows of the text positions: Text + 1, of which version 2 gives the first to the start of text.
    type TextPositions: ConstDim;
    /// Side of the image grid.
    type Grid: ConstDim;
    /// Text + Grid².
    type Seq: ConstDim;
    /// BPE tokens and one pad per text slot.
    type TextVocab: ConstDim;
    /// Codes of the first stage.
    type Codes: ConstDim;
    /// TextVocab + Codes: the classes of the one head.
    type Classes: ConstDim;
    /// Layers.
    const DEPTH: usize;
    /// Whether each branch's result is normed before it is added to the stream (CogView's sandwich).
    const SANDWICH: bool;
    /// Evaluated when a model of this shape is built.
    const CHECK: () = {
        let () = Self::Block::CHECK;
        let (text, grid) = (<Self::Text as ConstDim>::SIZE, <Self::Grid as ConstDim>::SIZE);
        let (words, codes) = (<Self::TextVocab as ConstDim>::SIZE, <Self::Codes as ConstDim>::SIZE);
        assert!(<Self::TextPositions as ConstDim>::SIZE == text + 1, "one text position more than text slots");
        assert!(<Self::Seq as ConstDim>::SIZE == text + grid * grid, "the sequence must be text plus image slots");
        assert!(words > text, "the text vocabulary must hold one pad per slot and more");
        assert!(<Self::Classes as ConstDim>::SIZE == words + codes, "the head's classes must be text's and image's");
    };
}

/// Defines the shape of a ru-dalle transformer:
/// `rudalle!(Name in module: layers 4, vocab 64, width 48, heads 4, text 16, grid 4, codes 32, sandwich true)`, with the
/// published configuration's numbers in its order; `vocab` counts the pads.
#[doc(hidden)]
#[macro_export]
macro_rules! rudalle {
    ($(#[$doc:meta])* $name:ident in $module:ident: layers $depth:literal, vocab $vocab:literal, width $width:literal,
     heads $heads:literal, text $text:literal, grid $grid:literal, codes $codes:literal, sandwich $sandwich:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        /// The blocks of this shape.
        pub mod $module {
            $crate::block!(
                /// Width, heads and MLP.
                Block: dim $width, heads $heads);
        }

        impl $crate::shape::RudalleShape for $name {
            type Block = $module::Block;
            type Text = dfdx::shapes::Const<$text>;
            type TextPositions = dfdx::shapes::Const<{ $text + 1 }>;
            type Grid = dfdx::shapes::Const<$grid>;
            type Seq = dfdx::shapes::Const<{ $text + $grid * $grid }>;
            type TextVocab = dfdx::shapes::Const<$vocab>;
            type Codes = dfdx::shapes::Const<$codes>;
            type Classes = dfdx::shapes::Const<{ $vocab + $codes }>;
            const DEPTH: usize = $depth;
            const SANDWICH: bool = $sandwich;
        }
    };
}
