//! Every differentiable operation against its composition of dfdx operations, in values and gradients and in both
//! precisions, and against central differences, over random shapes.

mod attention;
mod case;
mod losses;
mod pictures;
mod readout;
mod rows;
