//! Shapes that an operation's inside can take apart: as run-time sides, or as rows.

use dfdx::shapes::{Dim, Shape};

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
