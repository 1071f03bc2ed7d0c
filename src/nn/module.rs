//! What a model is made of: fields that know their published names, what their parameters are for and how they start.
//!
//! [`module!`](crate::module) writes a struct and both of its walks from one list of fields, so a parameter's name, role and
//! initialisation stand beside it. dfdx's own visitor has no place for the last two, and is compiled anew for every module of
//! every preset; these walks hand each parameter to a function that is compiled once.

use super::any_parameter::{AnyParameter, device_error};
use crate::error::Result;
use crate::kernels::Real;
use dfdx::prelude::{ConstShape, Device, Tensor};

/// What a parameter is for. Weight decay and Muon are for matrices alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The weight of a linear map or of a convolution; its first side is the output's.
    Matrix,
    /// A table with a row for each token or position.
    Embedding,
    /// What is multiplied by.
    Gain,
    /// What is added.
    Bias,
}

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every value the same.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

/// What a model's type says of one of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The dotted path of the published checkpoints.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// How it starts.
    pub init: Init,
}

/// Where a walk is: the dotted path of a field.
#[derive(Debug, Default)]
pub struct Path(String);

impl Path {
    /// Appends a field; returns what [`Path::leave`] goes back to. Parts are joined by a dot, but not after an underscore
    /// (PyTorch's `in_proj_weight`); a field whose parameters have no prefix is "".
    #[inline(never)]
    pub fn enter(&mut self, field: &str) -> usize {
        let length = self.0.len();
        if length > 0 && !field.is_empty() && !self.0.ends_with('_') {
            self.0.push('.');
        }
        self.0.push_str(field);
        length
    }

    /// Back to the path of this length.
    pub fn leave(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

/// What is done at each parameter of a model that exists.
pub type Visit<'v, E, D> = &'v mut dyn FnMut(&str, &mut dyn AnyParameter<E, D>) -> Result<()>;
/// What gives each parameter of a model that is made its values, in row-major order; none where it only takes note.
pub type Make<'m, E> = &'m mut dyn FnMut(Declared) -> Result<Option<Vec<E>>>;

/// What may stand in a model: a tensor, a layer, a model.
pub trait Field<E: Real, D: Device<E>>: Sized {
    /// What its owner says of it: role and start of a tensor, the start of a linear map's weight, nothing of a norm.
    type Said;

    /// Visits every parameter, in the order of the fields.
    fn walk(&mut self, path: &mut Path, visit: Visit<'_, E, D>) -> Result<()>;

    /// Makes it, in the order of [`Field::walk`]; nothing where `make` gives nothing.
    fn make(said: Self::Said, path: &mut Path, device: &D, make: Make<'_, E>) -> Result<Option<Self>>;
}

/// A whole model: nothing needs to be said of it.
pub trait Module<E: Real, D: Device<E>>: Field<E, D, Said = ()> + Clone {}

impl<E: Real, D: Device<E>, M: Field<E, D, Said = ()> + Clone> Module<E, D> for M {}

impl<S: ConstShape, E: Real, D: Device<E>> Field<E, D> for Tensor<S, E, D> {
    type Said = (Role, Init);

    fn walk(&mut self, path: &mut Path, visit: Visit<'_, E, D>) -> Result<()> {
        visit(&path.0, self)
    }

    fn make((role, init): (Role, Init), path: &mut Path, device: &D, make: Make<'_, E>) -> Result<Option<Self>> {
        let shape = S::default();
        let declared = Declared { name: path.0.clone(), shape: shape.concrete().into(), role, init };
        let Some(values) = make(declared)? else { return Ok(None) };
        device.try_tensor_from_vec(values, shape).map(Some).map_err(device_error)
    }
}

/// A struct of fields that is a [`Field`] itself. The type parameters `E` (the number type) and `D` (the device) come of
/// themselves; constants of type `usize` follow on the others after a semicolon.
///
/// A field is `name: Type = "published.name"`, with a comma and what its type wants to be said where it wants something:
/// `(role, start)` of a tensor, the start of its weight of a [`Linear`](crate::nn::Linear). A `Vec` has `=> names` instead, a
/// name for each of its entries. A field without either holds nothing. `(start: Type)` after the parameters says that the
/// struct's owner has something to say, and names it; `check EXPRESSION,` is evaluated when the type is first made.
///
/// ```
/// use dalle::nn::{Init, LayerNorm, Linear, Role};
/// use dfdx::prelude::{Const, ConstDim, Cpu, Tensor};
///
/// dalle::module! {
///     /// A table of rows, a norm and a few maps.
///     pub struct Small<V: ConstDim, C: ConstDim; const DEPTH> {
///         rows: Tensor<(V, C), E, D> = "rows.weight", (Role::Embedding, Init::Normal(0.02));
///         norm: LayerNorm<C, E, D> = "norm";
///         maps: Vec<Linear<C, C, E, D>> => (0..DEPTH).map(|i| format!("maps.{i}")), Init::Normal(0.1);
///     }
/// }
///
/// let declared = dalle::nn::describe::<Small<Const<10>, Const<4>, 2, f32, Cpu>, f32, Cpu>();
/// let names: Vec<&str> = declared.iter().map(|parameter| &parameter.name[..]).collect();
/// assert_eq!(names[..4], ["rows.weight", "norm.weight", "norm.bias", "maps.0.weight"]);
/// assert_eq!(declared[3].role, Role::Matrix);
/// ```
#[macro_export]
macro_rules! module {
    (
        $(#[$about:meta])*
        $vis:vis struct $Name:ident<$($P:ident: $Bound:path),+ $(; $(const $C:ident),+)?> $(($said:ident: $Said:ty))?
        $(check $check:expr,)?
        {
            $(
                $(#[$of:meta])*
                $of_vis:vis $f:ident: $T:ty $(= $name:expr $(, $say:expr)?)? $(=> $names:expr $(, $say_each:expr)?)?;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        $vis struct $Name<$($P: $Bound,)+ $($(const $C: usize,)+)? E: $crate::nn::Dtype, D: $crate::nn::Storage<E>> {
            $($(#[$of])* $of_vis $f: $T,)*
        }

        impl<$($P: $Bound,)+ $($(const $C: usize,)+)? E: $crate::kernels::Real, D: $crate::nn::Device<E>>
            $crate::nn::Field<E, D> for $Name<$($P,)+ $($($C,)+)? E, D>
        {
            type Said = $crate::module!(@said $($Said)?);

            #[allow(unused_variables)]
            fn walk(&mut self, path: &mut $crate::nn::Path, visit: $crate::nn::Visit<'_, E, D>) -> $crate::Result<()> {
                $($crate::module!(@walk self.$f, path, visit $(= $name)? $(=> $names)?);)*
                Ok(())
            }

            #[allow(unused_variables)]
            fn make(
                said: Self::Said,
                path: &mut $crate::nn::Path,
                device: &D,
                make: $crate::nn::Make<'_, E>,
            ) -> $crate::Result<Option<Self>> {
                $(let () = $check;)?
                $(let $said = said;)?
                $(let $f: Option<$T> =
                    $crate::module!(@make $T, path, device, make $(= $name $(, $say)?)? $(=> $names $(, $say_each)?)?);)*
                let ($(Some($f),)*) = ($($f,)*) else { return Ok(None) };
                Ok(Some($Name { $($f),* }))
            }
        }
    };
    (@said) => { () };
    (@said $Said:ty) => { $Said };
    (@walk $field:expr, $path:ident, $visit:ident) => {};
    (@walk $field:expr, $path:ident, $visit:ident = $name:expr) => {{
        let length = $path.enter(::core::convert::AsRef::<str>::as_ref(&$name));
        $crate::nn::Field::walk(&mut $field, $path, &mut *$visit)?;
        $path.leave(length);
    }};
    (@walk $field:expr, $path:ident, $visit:ident => $names:expr) => {
        for (field, name) in $field.iter_mut().zip($names) {
            $crate::module!(@walk *field, $path, $visit = name);
        }
    };
    (@make $T:ty, $path:ident, $device:ident, $make:ident) => { Some(::core::default::Default::default()) };
    (@make $T:ty, $path:ident, $device:ident, $make:ident = $name:expr) => {
        $crate::module!(@make $T, $path, $device, $make = $name, ())
    };
    (@make $T:ty, $path:ident, $device:ident, $make:ident = $name:expr, $say:expr) => {{
        let length = $path.enter(::core::convert::AsRef::<str>::as_ref(&$name));
        let made = <$T as $crate::nn::Field<E, D>>::make($say, $path, $device, &mut *$make)?;
        $path.leave(length);
        made
    }};
    (@make $T:ty, $path:ident, $device:ident, $make:ident => $names:expr) => {
        $crate::module!(@make $T, $path, $device, $make => $names, ())
    };
    (@make $T:ty, $path:ident, $device:ident, $make:ident => $names:expr, $say:expr) => {{
        let mut all = Vec::new();
        for name in ::core::iter::IntoIterator::into_iter($names) {
            type Entry<T> = <T as IntoIterator>::Item;
            all.extend($crate::module!(@make Entry<$T>, $path, $device, $make = name, $say));
        }
        Some(all)
    }};
}
