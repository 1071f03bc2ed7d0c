//! Halving and doubling a picture's sides in types, once for every group of a convolutional model.

use dfdx::shapes::{Const, ConstDim, Dim};

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
