//! Kernels that are compiled here alone. Whoever calls a generic function compiles it anew, with all that it calls: a program
//! with a model of its own would wait for every kernel. [`compiled!`] puts both versions of one behind a generic name.

/// `pub fn name(…) = name_of;` is a function, generic in `E`, that calls the generic `name_of` as it was compiled here.
macro_rules! compiled {
    ($($(#[$about:meta])* $vis:vis fn $name:ident($($arg:ident: $T:ty),* $(,)?) $(-> $R:ty)? = $of:ident;)*) => {$(
        $(#[$about])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<E: $crate::kernels::Real>($($arg: $T),*) $(-> $R)? {
            struct Signature;
            impl $crate::kernels::Signature for Signature {
                type Of<E: $crate::kernels::Real> = fn($($T),*) $(-> $R)?;
            }
            // Statics are compiled where they stand, and the functions that they name with them.
            static BOTH: $crate::kernels::Both<Signature> =
                $crate::kernels::Both { single: $of, double: $of };
            E::of_both(&BOTH)($($arg),*)
        }
    )*};
}
pub(crate) use compiled;
