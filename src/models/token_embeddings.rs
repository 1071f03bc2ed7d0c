//! What a slot of the transformer reads: the sum of a row of each of five tables, of which a slot's token, or its place, may
//! have none. The tables and their names are ru-dalle's; which row a slot sums is its model's to say.
//!
//! Legend: B batch, N slots in the call, Dim width.

use crate::kernels::Real;
use crate::nn::{Init, Role};
use crate::ops::{Backend, to_vec};
use dfdx::prelude::{ConstDim, Dim, PutTape, Tape, Tensor};

/// TableRows of the tables (text, text position, image, row, column), (B, N) each; [`ABSENT`](crate::ops::ABSENT) for none.
pub type TableRows = [Vec<u32>; 5];

crate::module! {
    /// Tables of text tokens and their positions, of codes, and of the grid's rows and columns.
    pub struct TokenEmbeddings<T: ConstDim, P: ConstDim, I: ConstDim, G: ConstDim, Width: ConstDim> (init: Init) {
        text: Tensor<(T, Width), E, D> = "text_embeddings.weight", (Role::Embedding, init);
        text_position: Tensor<(P, Width), E, D> = "text_pos_embeddings.weight", (Role::Embedding, init);
        image: Tensor<(I, Width), E, D> = "image_embeddings.weight", (Role::Embedding, init);
        row: Tensor<(G, Width), E, D> = "image_row_embeddings.weight", (Role::Embedding, init);
        column: Tensor<(G, Width), E, D> = "image_col_embeddings.weight", (Role::Embedding, init);
    }
}

impl<T: ConstDim, P: ConstDim, I: ConstDim, G: ConstDim, Width: ConstDim, E: Real, D: Backend<E>>
    TokenEmbeddings<T, P, I, G, Width, E, D>
{
    /// The sum of each slot's rows: (B, N, Dim).
    #[allow(clippy::type_complexity)] // the shape is the documentation
    pub fn forward<B: Dim, N: Dim, Tp: Tape<E, D>>(
        &self,
        [text, position, image, row, column]: &TableRows,
        (batch, slots): (B, N),
        tape: Tp,
    ) -> Result<Tensor<(B, N, Width), E, D, Tp>, D::Err> {
        let shape = (batch, slots, Width::default());
        let x = D::gather_rows(self.text.clone().put_tape(tape), text, shape)?;
        let x = add_rows(x, &self.text_position, position, shape)?;
        let x = add_rows(x, &self.image, image, shape)?;
        let x = add_rows(x, &self.row, row, shape)?;
        add_rows(x, &self.column, column, shape)
    }

    /// As sampling reads them, in the order of [`TableRows`].
    pub fn tables(&self) -> Result<Vec<Vec<E>>, D::Err> {
        Ok(vec![
            to_vec(self.text.clone())?,
            to_vec(self.text_position.clone())?,
            to_vec(self.image.clone())?,
            to_vec(self.row.clone())?,
            to_vec(self.column.clone())?,
        ])
    }
}

/// x + the rows `ids` of `table`.
#[allow(clippy::type_complexity)]
fn add_rows<B: Dim, N: Dim, V: ConstDim, C: ConstDim, E: Real, D: Backend<E>, T: Tape<E, D>>(
    x: Tensor<(B, N, C), E, D, T>,
    table: &Tensor<(V, C), E, D>,
    ids: &[u32],
    shape: (B, N, C),
) -> Result<Tensor<(B, N, C), E, D, T>, D::Err> {
    D::add_scaled(x, D::gather_rows(table.retaped::<T>(), ids, shape)?, 1.0)
}
