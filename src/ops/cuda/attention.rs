//! Masked attention that visits the mask's tiles only: attention.cu.

use super::super::Mask;
use super::super::tape::slot;
use crate::kernels::MatmulPrecision;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::grids::Grid;
use crate::kernels::cuda::tile_lists::{SIDE, TileLists};
use cudarc::driver::CudaSlice;
use dfdx::prelude::*;
use dfdx::tensor::CudaError;
use std::sync::{Arc, Mutex, PoisonError};

/// (B, S, 3·H·D) to (B, S, H·D) for heads of up to `width`, which is one of the kernels'.
pub(super) fn attention<T: Tape<f32, Cuda>>(
    gpu: &'static Gpu,
    qkv: Tensor<[usize; 3], f32, Cuda, T>,
    mask: &Mask,
    [heads, dim, width]: [usize; 3],
) -> Result<Tensor<[usize; 3], f32, Cuda, T>, CudaError> {
    let (qkv, mut tape) = qkv.try_contiguous()?.split_tape();
    let [batch, positions, _] = *qkv.shape();
    let lists = lists(gpu, mask, positions)?;
    let names = names(width, gpu.products());
    let grid = Grid::attention([batch, heads, positions], width);
    let (y, y_at) = gpu.zeros(qkv.device(), [batch, positions, heads * dim])?;
    let lse = gpu.memory::<f32>(batch * heads * positions)?;
    let (order, masks) = (&lists.order, &lists.masks);
    let sizes = [heads.into(), dim.into()];
    let parameters = [
        gpu.address(&qkv)?.into(),
        y_at.into(),
        (&lse).into(),
        order.into(),
        (&lists.rows).into(),
        masks.into(),
        positions.into(),
    ];
    gpu.launch(("attention", names[0]), grid, &[&parameters[..], &sizes].concat())?;
    let (x_slot, y_slot, out, lists) = (slot(&qkv), slot(&y), y.clone(), lists.clone());
    tape.add_backward_op(move |grads| {
        let (dout, dqkv) = (y_slot.address(grads)?, x_slot.address(grads)?);
        let delta = gpu.memory::<f32>(batch * heads * positions)?;
        let vectors = Grid::warps(batch * heads * positions);
        let counts = [batch.into(), positions.into(), heads.into(), dim.into()];
        let parameters = [dout.into(), gpu.address(&out)?.into(), (&delta).into()];
        gpu.launch(("attention", "attention_delta"), vectors, &[&parameters[..], &counts].concat())?;
        let qkv = gpu.address(&qkv)?;
        for (name, list) in [(names[1], &lists.rows), (names[2], &lists.columns)] {
            let gradients = [dqkv.into(), dout.into(), qkv.into(), (&lse).into(), (&delta).into()];
            let mask = [(&lists.order).into(), list.into(), (&lists.masks).into(), positions.into()];
            gpu.launch(("attention", name), grid, &[&gradients[..], &mask, &sizes].concat())?;
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

/// The kernels forward, for the gradients of queries, and for those of keys and values.
fn names(width: usize, products: MatmulPrecision) -> [&'static str; 3] {
    match (width, products) {
        (16, MatmulPrecision::F32) => {
            ["attention_forward_16_exact", "attention_queries_16_exact", "attention_keys_16_exact"]
        }
        (32, MatmulPrecision::F32) => {
            ["attention_forward_32_exact", "attention_queries_32_exact", "attention_keys_32_exact"]
        }
        (64, MatmulPrecision::F32) => {
            ["attention_forward_64_exact", "attention_queries_64_exact", "attention_keys_64_exact"]
        }
        (_, MatmulPrecision::F32) => {
            ["attention_forward_128_exact", "attention_queries_128_exact", "attention_keys_128_exact"]
        }
        (16, _) => ["attention_forward_16", "attention_queries_16", "attention_keys_16"],
        (32, _) => ["attention_forward_32", "attention_queries_32", "attention_keys_32"],
        (64, _) => ["attention_forward_64", "attention_queries_64", "attention_keys_64"],
        (_, _) => ["attention_forward_128", "attention_queries_128", "attention_keys_128"],
    }
}

/// A mask's tiles on the GPU.
#[derive(Debug)]
struct Lists {
    order: CudaSlice<u32>,
    rows: CudaSlice<u32>,
    columns: CudaSlice<u32>,
    masks: CudaSlice<u32>,
}

/// A mask with its positions. It is held here, so that no other mask ever has its address.
type Known = (Mask, usize, Arc<Lists>);

/// Those that were packed so far: a model has few masks and asks for them at every step.
static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

fn lists(gpu: &Gpu, mask: &Mask, positions: usize) -> Result<Arc<Lists>, CudaError> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, lists)) = known.iter().find(|(of, length, _)| of.is(mask) && *length == positions) {
        return Ok(lists.clone());
    }
    let tiles = mask.tiles_of(positions, SIDE);
    let rows = tiles.rows().iter().map(|row| row.iter().map(|tile| (tile.column, tile.bits.as_deref())));
    let TileLists { order, rows, columns, mut masks } = TileLists::new(&tiles.order, rows);
    // The driver copies nothing that is empty.
    masks.push(0);
    let [order, rows, columns, masks] = [gpu.copy(order)?, gpu.copy(rows)?, gpu.copy(columns)?, gpu.copy(masks)?];
    let lists = Arc::new(Lists { order, rows, columns, masks });
    known.push((mask.clone(), positions, lists.clone()));
    Ok(lists)
}
