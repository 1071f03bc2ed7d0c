//! A head's vectors, gathered in tile order into the forms that the products stream.
//!
//! Legend: place: index in tile order; panel: LANES (L) neighbouring columns of a matrix, row after row. What lies beyond
//! the last place or the last channel is 0.

use super::BLOCK;
use crate::kernels::Real;
use crate::kernels::cpu::lanes::LANES;

/// The vectors of one head: at position p, `values[p·stride..][..dim]`.
#[derive(Clone, Copy)]
pub struct Vectors<'a, E> {
    pub values: &'a [E],
    pub stride: usize,
    pub dim: usize,
    /// The position at each place.
    pub order: &'a [usize],
}

impl<'a, E: Real> Vectors<'a, E> {
    /// The vector at a position.
    #[inline(always)]
    pub fn of(&self, position: usize) -> &'a [E] {
        &self.values[position * self.stride..][..self.dim]
    }

    /// All of them: (places, D).
    pub fn all(&self) -> Vec<E> {
        self.order.iter().flat_map(|&position| self.of(position)).copied().collect()
    }

    /// scale·x of a block of places: (BLOCK, D).
    #[inline(always)]
    pub fn rows(&self, block: usize, scale: E) -> Vec<E> {
        let mut rows = vec![E::of(0.0); BLOCK * self.dim];
        for (row, &position) in rows.chunks_exact_mut(self.dim).zip(&self.order[block * BLOCK..]) {
            row.iter_mut().zip(self.of(position)).for_each(|(to, &x)| *to = scale * x);
        }
        rows
    }

    /// Panels of (places, D): (⌈D/L⌉, places, L).
    #[inline(always)]
    pub fn panels(&self) -> Vec<[E; LANES]> {
        self.panels_of(self.order, self.order.len().next_multiple_of(BLOCK), E::of(1.0))
    }

    /// Panels of scale·x of a block of places: (⌈D/L⌉, BLOCK, L).
    #[inline(always)]
    pub fn block_panels(&self, block: usize, scale: E) -> Vec<[E; LANES]> {
        let order = &self.order[block * BLOCK..];
        self.panels_of(&order[..order.len().min(BLOCK)], BLOCK, scale)
    }

    #[inline(always)]
    fn panels_of(&self, order: &[usize], places: usize, scale: E) -> Vec<[E; LANES]> {
        let mut panels = vec![[E::of(0.0); LANES]; self.dim.div_ceil(LANES) * places];
        for (place, &position) in order.iter().enumerate() {
            for (panel, x) in panels.chunks_exact_mut(places).zip(self.of(position).chunks(LANES)) {
                panel[place].iter_mut().zip(x).for_each(|(to, &x)| *to = scale * x);
            }
        }
        panels
    }

    /// Panels of the transpose (D, places): (⌈places/L⌉, D, L).
    #[inline(always)]
    pub fn transposed(&self) -> Vec<[E; LANES]> {
        let places = self.order.len().next_multiple_of(BLOCK);
        let mut panels = vec![[E::of(0.0); LANES]; places / LANES * self.dim];
        for (panel, positions) in panels.chunks_exact_mut(self.dim).zip(self.order.chunks(LANES)) {
            for (lane, &position) in positions.iter().enumerate() {
                panel.iter_mut().zip(self.of(position)).for_each(|(row, &x)| row[lane] = x);
            }
        }
        panels
    }
}
