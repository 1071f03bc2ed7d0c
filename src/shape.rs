//! Shapes as types on stable Rust: what a preset must say of each model, and what is checked about it when it compiles.
//!
//! Dimensions of a model are associated types; depth is a constant; everything else is a run-time value of the spec.
//! `Const` arithmetic on type parameters does not exist on stable, so derived dimensions (`4·Dim`, `Text + Image`) are
//! written out by [`preset!`](crate::preset), where they are arithmetic on literals, and related once by a `CHECK`.
//!
//! Legend: B batch, S sequence, C channels, H and W image height and width, V codes or vocabulary.

use dfdx::shapes::{Const, ConstDim, Dim, Shape};

/// A shape whose sides can be put as run-time numbers: every tuple of dimensions.
///
/// An operation's inside sees only those, so it is compiled once per rank instead of once per shape of every preset: the
/// typed function around it is a few moves. This is what keeps builds short.
pub trait Ranked: Shape<Concrete = Self::Sides> {
    /// The sides as numbers, a shape too.
    type Sides: Shape<Concrete = Self::Sides>;
}

impl<S: Shape> Ranked for S
where
    S::Concrete: Shape<Concrete = S::Concrete>,
{
    type Sides = S::Concrete;
}

/// A shape whose last axis is `C`; the axes before it are rows to a linear map, a norm or a table.
pub trait Rows<C: Dim>: Ranked {
    /// The same rows with another last axis.
    type With<O: Dim>: Rows<O>;
    /// How many rows.
    fn rows(&self) -> usize;
    /// The last axis.
    fn last(&self) -> C;
    /// Puts `o` in the place of the last axis.
    fn with<O: Dim>(&self, o: O) -> Self::With<O>;
}

impl<A: Dim, C: Dim> Rows<C> for (A, C) {
    type With<O: Dim> = (A, O);
    fn rows(&self) -> usize {
        self.0.size()
    }
    fn last(&self) -> C {
        self.1
    }
    fn with<O: Dim>(&self, o: O) -> (A, O) {
        (self.0, o)
    }
}

impl<A: Dim, S: Dim, C: Dim> Rows<C> for (A, S, C) {
    type With<O: Dim> = (A, S, O);
    fn rows(&self) -> usize {
        self.0.size() * self.1.size()
    }
    fn last(&self) -> C {
        self.2
    }
    fn with<O: Dim>(&self, o: O) -> (A, S, O) {
        (self.0, self.1, o)
    }
}

impl<A: Dim, H: Dim, W: Dim, C: Dim> Rows<C> for (A, H, W, C) {
    type With<O: Dim> = (A, H, W, O);
    fn rows(&self) -> usize {
        self.0.size() * self.1.size() * self.2.size()
    }
    fn last(&self) -> C {
        self.3
    }
    fn with<O: Dim>(&self, o: O) -> (A, H, W, O) {
        (self.0, self.1, self.2, o)
    }
}

/// A side of a picture: `Const` in training, `usize` for a picture of any size. Sides without a typed half or double
/// (odd ones, and those past 512) fall to `usize`.
pub trait Side: Dim {
    /// After a 2×2 max-pool.
    type Half: Side;
    /// After nearest upsampling.
    type Twice: Side;
    /// This side halved.
    fn half(self) -> Self::Half {
        Self::Half::from_size(self.size() / 2).expect("the table of sides relates each to its half")
    }
    /// This side doubled.
    fn twice(self) -> Self::Twice {
        Self::Twice::from_size(self.size() * 2).expect("the table of sides relates each to its double")
    }
}

impl Side for usize {
    type Half = usize;
    type Twice = usize;
}

macro_rules! sides {
    ($($half:literal < $side:literal < $twice:literal),*) => {
        $(impl Side for Const<$side> { type Half = Const<$half>; type Twice = Const<$twice>; })*
    };
}
sides!(1 < 2 < 4, 2 < 4 < 8, 4 < 8 < 16, 8 < 16 < 32, 16 < 32 < 64, 32 < 64 < 128, 64 < 128 < 256, 128 < 256 < 512);

impl Side for Const<1> {
    type Half = usize;
    type Twice = Const<2>;
}

impl Side for Const<512> {
    type Half = Const<256>;
    type Twice = usize;
}

/// One group of a convolutional model: `C` channels, `H = C/4` inside the residual blocks.
#[derive(Debug, Clone, Copy)]
pub struct Group<C, H>(std::marker::PhantomData<(C, H)>);

/// The groups of an encoder or decoder in order, as nested pairs: `(Group<…>, (Group<…>, ()))`.
pub trait Groups: 'static + std::fmt::Debug + Clone {
    /// Channels of the first group.
    type Channels: ConstDim;
    /// Channels inside its residual blocks.
    type Hidden: ConstDim;
    /// Channels of the last group.
    type Last: ConstDim;
    /// The groups after the first.
    type Rest: Groups;
    /// How many there are.
    const COUNT: usize;
    /// Evaluated when a model with these groups is built.
    const CHECK: ();
    /// The side of a picture after all groups but the last have halved it.
    type Down<S: Side>: Side;
    /// The side of a grid after all groups but the last have doubled it.
    type Up<S: Side>: Side;
}

impl Groups for () {
    type Channels = Const<0>;
    type Hidden = Const<0>;
    type Last = Const<0>;
    type Rest = ();
    const COUNT: usize = 0;
    const CHECK: () = ();
    type Down<S: Side> = S;
    type Up<S: Side> = S;
}

impl<C: ConstDim, H: ConstDim> Groups for (Group<C, H>, ()) {
    type Channels = C;
    type Hidden = H;
    type Last = C;
    type Rest = ();
    const COUNT: usize = 1;
    const CHECK: () = assert!(H::SIZE * 4 == C::SIZE, "a group's hidden channels must be a quarter of its channels");
    type Down<S: Side> = S;
    type Up<S: Side> = S;
}

impl<C: ConstDim, H: ConstDim, N: 'static + std::fmt::Debug + Clone, R> Groups for (Group<C, H>, (N, R))
where
    (N, R): Groups,
{
    type Channels = C;
    type Hidden = H;
    type Last = <(N, R) as Groups>::Last;
    type Rest = (N, R);
    const COUNT: usize = 1 + <(N, R) as Groups>::COUNT;
    const CHECK: () = {
        assert!(H::SIZE * 4 == C::SIZE, "a group's hidden channels must be a quarter of its channels");
        <(N, R) as Groups>::CHECK
    };
    type Down<S: Side> = <(N, R) as Groups>::Down<S::Half>;
    type Up<S: Side> = <(N, R) as Groups>::Up<S::Twice>;
}

/// The discrete VAE's dimensions (paper A.1, A.2).
pub trait DvaeShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// Side of the training pictures.
    type Side: Side + ConstDim;
    /// Side of the token grid.
    type Grid: Side + ConstDim;
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

/// CLIP's dimensions.
pub trait ClipShape: 'static + std::fmt::Debug + Clone + Copy + Default + Send + Sync {
    /// The image tower's blocks.
    type Vision: BlockShape;
    /// The text tower's blocks.
    type Language: BlockShape;
    /// Values of a patch: 3·patch².
    type PatchValues: ConstDim;
    /// Patches and the class token.
    type VisionSeq: ConstDim;
    /// Text slots, start and end of text included.
    type Context: ConstDim;
    /// BPE tokens, start and end of text.
    type Vocab: ConstDim;
    /// Shared embedding.
    type Embed: ConstDim;
    /// Side of the pictures.
    const SIDE: usize;
    /// Side of a patch.
    const PATCH: usize;
    /// Layers of each tower.
    const DEPTH: usize;
    /// Evaluated when a model of this shape is built.
    const CHECK: () = {
        let () = Self::Vision::CHECK;
        let () = Self::Language::CHECK;
        let patches = Self::SIDE / Self::PATCH;
        assert!(patches * Self::PATCH == Self::SIDE, "the patch must divide the picture");
        assert!(<Self::PatchValues as ConstDim>::SIZE == 3 * Self::PATCH * Self::PATCH, "PatchValues must be 3·patch²");
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

/// The groups of widths `$c…` as nested pairs.
#[macro_export]
macro_rules! groups {
    () => { () };
    ($c:literal $(, $rest:literal)*) => {
        ($crate::shape::Group<dfdx::shapes::Const<$c>, dfdx::shapes::Const<{ $c / 4 }>>, $crate::groups!($($rest),*))
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
            type Dim = dfdx::shapes::Const<$d>;
            type Qkv = dfdx::shapes::Const<{ 3 * $d }>;
            type Mlp = dfdx::shapes::Const<{ 4 * $d }>;
            type Heads = dfdx::shapes::Const<$h>;
            type HeadDim = dfdx::shapes::Const<{ $d / $h }>;
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
            use dfdx::shapes::Const;

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

            /// Reranker.
            #[derive(Debug, Clone, Copy, Default)]
            pub struct Clip;
            impl $crate::shape::ClipShape for Clip {
                type Vision = ClipBlock;
                type Language = ClipBlock;
                type PatchValues = Const<{ 3 * $patch * $patch }>;
                type VisionSeq = Const<{ ($side / $patch) * ($side / $patch) + 1 }>;
                type Context = Const<{ $text + 1 }>;
                type Vocab = Const<{ $bpe + 2 }>;
                type Embed = Const<$embed>;
                const SIDE: usize = $side;
                const PATCH: usize = $patch;
                const DEPTH: usize = $cdepth;
            }
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
