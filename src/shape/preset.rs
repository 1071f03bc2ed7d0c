//! The macros that write a preset's types from its numbers.

/// The groups of widths `$c…` as nested pairs.
#[doc(hidden)]
#[macro_export]
macro_rules! groups {
    () => { () };
    ($c:literal $(, $rest:literal)*) => {
        ($crate::shape::Group<$crate::dfdx::shapes::Const<$c>, $crate::dfdx::shapes::Const<{ $c / 4 }>>, $crate::groups!($($rest),*))
    };
}

/// Defines block dimensions: `block!(Name: dim 128, heads 4)`.
#[macro_export]
macro_rules! block {
    ($(#[$doc:meta])* $name:ident: dim $d:literal, heads $h:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;
        impl $crate::shape::BlockShape for $name {
            type Dim = $crate::dfdx::shapes::Const<$d>;
            type Qkv = $crate::dfdx::shapes::Const<{ 3 * $d }>;
            type Mlp = $crate::dfdx::shapes::Const<{ 4 * $d }>;
            type Heads = $crate::dfdx::shapes::Const<$h>;
            type HeadDim = $crate::dfdx::shapes::Const<{ $d / $h }>;
        }
    };
}

/// Defines the dimensions of CLIP's text tower: `text_tower!(Name: context 77, vocab 49408, language Narrow x 12, embed 512)`
/// over a block type; with `, gelu ErfGelu` at the end the exact GELU instead of x·σ(1.702x).
#[doc(hidden)]
#[macro_export]
macro_rules! text_tower {
    (@) => { $crate::shape::QuickGelu };
    (@ $gelu:ident) => { $crate::shape::$gelu };
    ($(#[$doc:meta])* $name:ident: context $context:expr, vocab $vocab:expr, language $language:ident x $depth:literal,
     embed $embed:literal $(, gelu $gelu:ident)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;
        impl $crate::shape::TextTowerShape for $name {
            type Language = $language;
            type Context = $crate::dfdx::shapes::Const<{ $context }>;
            type Vocab = $crate::dfdx::shapes::Const<{ $vocab }>;
            type Embed = $crate::dfdx::shapes::Const<$embed>;
            const LANGUAGE_DEPTH: usize = $depth;
            type Gelu = $crate::text_tower!(@ $($gelu)?);
        }
    };
}

/// Defines the dimensions of CLIP with a vision transformer:
/// `clip!(Name: side 224, patch 32, vision Wide x 12; context 77, vocab 49408, language Narrow x 12, embed 512)`, what follows
/// the semicolon as in [`text_tower!`](crate::text_tower).
#[doc(hidden)]
#[macro_export]
macro_rules! clip {
    ($(#[$doc:meta])* $name:ident: side $side:literal, patch $patch:literal, vision $vision:ident x $depth:literal;
     $($text:tt)*) => {
        $crate::text_tower!($(#[$doc])* $name: $($text)*);
        impl $crate::shape::ClipShape for $name {
            type Vision = $vision;
            type Patch = $crate::dfdx::shapes::Const<$patch>;
            type PatchValues = $crate::dfdx::shapes::Const<{ 3 * $patch * $patch }>;
            type VisionSeq = $crate::dfdx::shapes::Const<{ ($side / $patch) * ($side / $patch) + 1 }>;
            const SIDE: usize = $side;
            const VISION_DEPTH: usize = $depth;
        }
    };
}

/// Defines a preset: one type for the name, and one each for its three models' shapes.
///
/// This one compiles:
/// ```
/// mod wide {
///     dalle::preset! { Wide = "wide" in wide_models;
///         dvae { side 16, grid 4, codes 32, init 8, down [8, 16, 32], up [32, 16, 8], blocks 1 }
///         transformer { text 8, bpe 56, dim 32, heads 2, depth 2 }
///         clip { patch 4, dim 32, heads 2, depth 1, embed 16 }
///     }
/// }
/// let () = <wide::Wide as dalle::shape::Preset>::CHECK;
/// ```
/// The identical one with three heads for a width of 32 does not:
/// ```compile_fail
/// mod wide {
///     dalle::preset! { Wide = "wide" in wide_models;
///         dvae { side 16, grid 4, codes 32, init 8, down [8, 16, 32], up [32, 16, 8], blocks 1 }
///         transformer { text 8, bpe 56, dim 32, heads 3, depth 2 }
///         clip { patch 4, dim 32, heads 2, depth 1, embed 16 }
///     }
/// }
/// let () = <wide::Wide as dalle::shape::Preset>::CHECK;
/// ```
#[macro_export]
macro_rules! preset {
    ($(#[$doc:meta])* $name:ident = $label:literal in $module:ident;
     dvae { side $side:literal, grid $grid:literal, codes $codes:literal, init $init:literal,
            down [$($down:literal),*], up [$($up:literal),*], blocks $blocks:literal }
     transformer { text $text:literal, bpe $bpe:literal, dim $dim:literal, heads $heads:literal, depth $depth:literal }
     clip { patch $patch:literal, dim $cdim:literal, heads $cheads:literal, depth $cdepth:literal, embed $embed:literal }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        /// The shapes of this preset's models.
        pub mod $module {
            use $crate::dfdx::shapes::Const;

            /// First stage.
            #[derive(Debug, Clone, Copy, Default)]
            pub struct Dvae;
            impl $crate::shape::DvaeShape for Dvae {
                type Side = Const<$side>;
                type Grid = Const<$grid>;
                type Codes = Const<$codes>;
                type Init = Const<$init>;
                type Down = $crate::groups!($($down),*);
                type Up = $crate::groups!($($up),*);
                const BLOCKS: usize = $blocks;
            }

            // Said with the place of the table, wherever that is written.
            const _: () = assert!($dim % $heads == 0 && $cdim % $cheads == 0, "dim must be a multiple of heads");

            $crate::block!(
                /// The transformer's blocks.
                Block: dim $dim, heads $heads);

            /// Second stage.
            #[derive(Debug, Clone, Copy, Default)]
            pub struct Transformer;
            impl $crate::shape::TransformerShape for Transformer {
                type Block = Block;
                type Text = Const<$text>;
                type Grid = Const<$grid>;
                type Image = Const<{ $grid * $grid }>;
                type Seq = Const<{ $text + $grid * $grid }>;
                type TextVocab = Const<{ $bpe + $text }>;
                type TextRows = Const<{ $bpe + $text + 1 }>;
                type Codes = Const<$codes>;
                type ImageRows = Const<{ $codes + 1 }>;
                const DEPTH: usize = $depth;
            }

            $crate::block!(
                /// The blocks of both CLIP towers.
                ClipBlock: dim $cdim, heads $cheads);

            $crate::clip!(
                /// Reranker.
                Clip: side $side, patch $patch, vision ClipBlock x $cdepth;
                context $text + 1, vocab $bpe + 2, language ClipBlock x $cdepth, embed $embed);
        }

        impl $crate::shape::Preset for $name {
            const NAME: &'static str = $label;
            const BPE: usize = $bpe;
            type Dvae = $module::Dvae;
            type Transformer = $module::Transformer;
            type Clip = $module::Clip;
        }
    };
}
