//! How many blocks of how many threads each kernel gets. tests/kernels runs the kernels on a CPU with these same grids.

/// The blocks of a launch, and the threads of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads along x, y and z.
    pub threads: [u32; 3],
}

impl Grid {
    /// `blocks` in a row, of `threads` each; at least one, as the driver wants.
    pub fn line(blocks: usize, threads: u32) -> Grid {
        Grid { blocks: [blocks.clamp(1, i32::MAX as usize) as u32, 1, 1], threads: [threads, 1, 1] }
    }

    /// A thread for each of `count` values, up to what fills a GPU a few times: kernels step on by the grid's size.
    pub fn values(count: usize) -> Grid {
        Grid::line(count.div_ceil(256).min(4096), 256)
    }

    /// A warp for each of `count` rows, in the same way.
    pub fn warps(count: usize) -> Grid {
        Grid::line(count.div_ceil(8).min(4096), 256)
    }

    /// A block for each of `rows`, whose registers hold 16 of `columns` values a thread, or as many as 1024 threads can.
    pub fn row_blocks(rows: usize, columns: usize) -> Grid {
        Grid::line(rows, row_threads(columns))
    }

    /// Layer norm's gradients: each block has every so manieth of `rows` and sums of its own, 8 MiB of all blocks at most.
    pub fn norm_backward(rows: usize, columns: usize) -> Grid {
        let threads = row_threads(columns);
        Grid::line(rows.min(65_536 / threads as usize), threads)
    }

    /// The sums of those sums, of gain and of bias: a block for 32 columns.
    pub fn norm_backward_sums(columns: usize) -> Grid {
        Grid { blocks: [columns.div_ceil(32) as u32, 1, 2], threads: [32, 32, 1] }
    }

    /// Bias and nonlinearity: a thread has four of `columns`, of every so manieth of the rows.
    pub fn bias_activation(rows: usize, columns: usize) -> Grid {
        let fours = columns.div_ceil(4);
        let wide = fours.next_power_of_two().min(256);
        let (across, down) = (fours.div_ceil(wide), rows.div_ceil(256 / wide));
        let blocks = [across.max(1) as u32, down.clamp(1, (4096 / across.max(1)).max(1)) as u32, 1];
        Grid { blocks, threads: [wide as u32, 256 / wide as u32, 1] }
    }

    /// A nonlinearity's gradient: a thread for each four of `count` values.
    pub fn activation_backward(count: usize) -> Grid {
        Grid::values(count.div_ceil(4))
    }

    /// Sums of columns, of so many parts of the rows that a GPU is full: a block for 32 columns of a part.
    pub fn column_sums(rows: usize, columns: usize) -> Grid {
        let across = columns.div_ceil(32).max(1);
        let parts = rows.div_ceil(128).clamp(1, (512 / across).max(1));
        Grid { blocks: [across as u32, parts as u32, 1], threads: [32, 32, 1] }
    }

    /// A block for every 64 queries (or keys) of each head, of up to 65,535 batch entries; `width` is the kernel's.
    pub fn attention([batch, heads, positions]: [usize; 3], width: usize) -> Grid {
        let threads = if width > 64 { 256 } else { 128 };
        Grid { blocks: [positions.div_ceil(64) as u32, heads as u32, batch as u32], threads: [threads, 1, 1] }
    }

    /// A product with few rows: a block has eight rows and four outputs. How many threads there are decides the order of the
    /// sums, so nothing but the inputs, of which each takes `at_once`, may.
    pub fn few_rows([rows, inputs, outputs]: [usize; 3], at_once: usize) -> Grid {
        let threads = (inputs.div_ceil(at_once).next_multiple_of(32) as u32).clamp(32, 256);
        Grid { blocks: [rows.div_ceil(8) as u32, outputs.div_ceil(4) as u32, 1], threads: [threads, 1, 1] }
    }

    /// New keys and values in their places: a block for each of `positions` of each sequence.
    pub fn store([batch, positions]: [usize; 2]) -> Grid {
        Grid { blocks: [positions as u32, batch as u32, 1], threads: [256, 1, 1] }
    }

    /// Attention from a cache: a block for each head of each new position of each sequence.
    pub fn attend([batch, heads, positions]: [usize; 3]) -> Grid {
        Grid { blocks: [heads as u32, positions as u32, batch as u32], threads: [256, 1, 1] }
    }

    /// A block for each tile of a product (rows, columns), and for each part of its depth: tile.h.
    pub fn tiles([rows, columns]: [usize; 2], side: usize, parts: usize) -> Grid {
        let tiles = rows.div_ceil(side) * columns.div_ceil(side);
        Grid { blocks: [tiles.max(1) as u32, parts as u32, 1], threads: [2 * side as u32, 1, 1] }
    }
}

/// The side of a product's tiles: 128, where as large ones fill a GPU.
pub fn tile_side([rows, columns]: [usize; 2], parts: usize) -> usize {
    let tiles = rows.div_ceil(128) * columns.div_ceil(128) * parts;
    if rows.min(columns) > 64 && tiles >= 128 { 128 } else { 64 }
}

/// Parts of a product's depth, of 256 or more, that together fill a GPU a few times.
pub fn depth_parts([rows, columns]: [usize; 2], depth: usize) -> usize {
    let tiles = rows.div_ceil(64) * columns.div_ceil(64);
    depth.div_ceil(256).clamp(1, (512 / tiles.max(1)).max(1))
}

/// Whole warps, of which each thread holds 16 of `columns` values.
fn row_threads(columns: usize) -> u32 {
    (columns.div_ceil(16).next_multiple_of(32) as u32).min(1024)
}

/// The width of those of the attention kernels that take heads of `dim`.
pub fn attention_width(dim: usize) -> Option<usize> {
    [16, 32, 64, 128].into_iter().find(|&width| dim <= width)
}
