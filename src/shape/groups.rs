//! The groups of a convolutional model: channels as types. Sides of pictures are run-time numbers: a preset's check relates
//! those of picture and grid.

use dfdx::shapes::{Const, ConstDim};

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
}

impl Groups for () {
    type Channels = Const<0>;
    type Hidden = Const<0>;
    type Last = Const<0>;
    type Rest = ();
    const COUNT: usize = 0;
    const CHECK: () = ();
}

impl<C: ConstDim, H: ConstDim> Groups for (Group<C, H>, ()) {
    type Channels = C;
    type Hidden = H;
    type Last = C;
    type Rest = ();
    const COUNT: usize = 1;
    const CHECK: () = assert!(H::SIZE * 4 == C::SIZE, "a group's hidden channels must be a quarter of its channels");
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
}
