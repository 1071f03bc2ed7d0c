//! What the products of a part of a program round their factors to, on a CPU.

use crate::kernels::{Products, Real};
use std::cell::Cell;

thread_local! {
    static PRODUCTS: Cell<Products> = const { Cell::new(Products::F32) };
}

/// Runs `work`, whose operations on f32 tensors of the CPU multiply as `products` says: linear maps, convolutions and attention. Their
/// backward passes do as the forward passes did, wherever they run. What other threads run meanwhile is not changed.
pub fn with_products<R>(products: Products, work: impl FnOnce() -> R) -> R {
    /// Also where the work panics.
    struct Before(Products);
    impl Drop for Before {
        fn drop(&mut self) {
            PRODUCTS.set(self.0);
        }
    }
    let _before = Before(PRODUCTS.replace(products));
    work()
}

/// What this thread's operations round their factors to.
pub fn products() -> Products {
    PRODUCTS.get()
}

/// Whether this thread's operations on `E` round their factors to bf16: it is f32 then.
pub(super) fn rounds<E: Real>() -> bool {
    products() == Products::Bf16 && E::singles(&[]).is_some()
}

/// What is rounded is f32.
pub(super) fn single<E: Real>(x: &[E]) -> &[f32] {
    E::singles(x).unwrap_or_else(|| unreachable!("only f32 is rounded"))
}

/// [`single`] that can be written.
pub(super) fn single_mut<E: Real>(x: &mut [E]) -> &mut [f32] {
    E::singles_mut(x).unwrap_or_else(|| unreachable!("only f32 is rounded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_for_the_work_alone() {
        let inner = with_products(Products::Bf16, || (products(), with_products(Products::F32, products), products()));
        assert_eq!(inner, (Products::Bf16, Products::F32, Products::Bf16));
        let lost = std::panic::catch_unwind(|| with_products(Products::Bf16, || panic!("lost")));
        assert!(lost.is_err() && products() == Products::F32);
        with_products(Products::Bf16, || {
            assert_eq!(std::thread::spawn(products).join().ok(), Some(Products::F32));
        });
    }
}
