//! Convolution and its gradients, conv.cu.

use super::grids::{Grid, depth_parts, tile_side};
use super::harness::{Kernels, noted, tensor, tensor_mut, uniform};
use proptest::prelude::*;
use std::sync::LazyLock;

type Pack = unsafe extern "C" fn(u64, *mut f32, u32, u32, u32, u32);
type Forward = unsafe extern "C" fn(u64, *const f32, u64, u64, u32, u32, u32, u32, u32, u32, u32);
type Input = unsafe extern "C" fn(u64, *const f32, u64, u64, u32, u32, u32, u32, u32, u32, u32);
type Weight = unsafe extern "C" fn(u64, u64, *mut f32, u32, u32, u32, u32, u32, u32, u32);
type Add = unsafe extern "C" fn(*const f32, u64, u32, u32, u32, u32);

static CONV: LazyLock<Kernels> = LazyLock::new(|| Kernels::build("conv"));

/// How it runs: the side of the tiles, the parts of dw, and products of TF32 or exact ones.
#[derive(Debug, Clone, Copy)]
struct How {
    side: usize,
    parts: usize,
    exact: bool,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    relu: bool,
}

/// y, dx and dw; the gradients start at the numbers that `uniform` gives for seed 9.
type Results<T> = [Vec<T>; 3];

impl Case {
    fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// x, w, b and dy.
    fn values(&self) -> [Vec<f32>; 4] {
        let weights = self.outputs * self.inputs * self.kernel * self.kernel;
        let lengths = [self.pixels() * self.inputs, weights, self.outputs, self.pixels() * self.outputs];
        std::array::from_fn(|i| uniform(lengths[i], i as u64))
    }

    fn packed(&self, w: u64, turned: bool) -> Vec<f32> {
        let (lines, channels) = if turned { (self.inputs, self.outputs) } else { (self.outputs, self.inputs) };
        let mut packed = vec![f32::NAN; lines * self.kernel * self.kernel * channels.next_multiple_of(4)];
        let (grid, to) = (Grid::values(packed.len()), packed.as_mut_ptr());
        let [outputs, inputs, kernel] = [self.outputs, self.inputs, self.kernel].map(|size| size as u32);
        let pack: Pack = CONV.function("conv_pack");
        // SAFETY: the slices have the lengths that the sizes say.
        CONV.launch(grid.blocks, grid.threads, || unsafe { pack(w, to, outputs, inputs, kernel, turned.into()) });
        packed
    }

    fn run(&self, how: How) -> Results<f32> {
        self.run_on(self.values(), how)
    }

    fn run_on(&self, values: [Vec<f32>; 4], how: How) -> Results<f32> {
        let name = |pass: &str| format!("conv_{pass}_{}{}", how.side, if how.exact { "_exact" } else { "" });
        // What must not be read is not a number.
        let margin = [f32::NAN; 64];
        let [x, w, b, dy] = values.map(|values| [&margin[..], &values, &margin].concat());
        let [x, w, b, dy] = [&x, &w, &b, &dy].map(|values| tensor(&values[64..]));
        let counts = [self.pixels(), self.height, self.width, self.inputs, self.outputs, self.kernel];
        let [pixels, height, width, inputs, outputs, kernel] = counts.map(|count| count as u32);
        let relu = u32::from(self.relu);

        let mut y = vec![f32::NAN; self.pixels() * self.outputs];
        let (packed, y_at) = (self.packed(noted(&w), false), tensor_mut(&mut y));
        let grid = Grid::tiles([self.pixels(), self.outputs], how.side, 1);
        let forward: Forward = CONV.function(&name("forward"));
        // SAFETY: as above.
        CONV.launch(grid.blocks, grid.threads, || unsafe {
            let (x, b, y, packed) = (noted(&x), noted(&b), noted(&y_at), packed.as_ptr());
            forward(x, packed, b, y, pixels, height, width, inputs, outputs, kernel, relu);
        });

        let mut dx = uniform(self.pixels() * self.inputs, 9);
        let (turned, dx_at) = (self.packed(w, true), tensor_mut(&mut dx));
        let grid = Grid::tiles([self.pixels(), self.inputs], how.side, 1);
        let backward: Input = CONV.function(&name("input"));
        // SAFETY: as above.
        CONV.launch(grid.blocks, grid.threads, || unsafe {
            let (x, turned) = (noted(&x), turned.as_ptr());
            backward(dy, turned, x, dx_at, pixels, height, width, inputs, outputs, kernel, relu);
        });

        let mut dw = uniform(self.outputs * self.inputs * self.kernel * self.kernel, 9);
        let matrix = [self.outputs, self.kernel * self.kernel * self.inputs.next_multiple_of(4)];
        let mut parts = vec![f32::NAN; how.parts * matrix[0] * matrix[1]];
        let (parts_at, dw_at) = (parts.as_mut_ptr(), tensor_mut(&mut dw));
        let grid = Grid::tiles(matrix, how.side, how.parts);
        let backward: Weight = CONV.function(&name("weight"));
        // SAFETY: as above.
        CONV.launch(grid.blocks, grid.threads, || unsafe {
            backward(dy, noted(&x), parts_at, pixels, height, width, inputs, outputs, kernel, relu);
        });
        let grid = Grid::values(matrix[0] * matrix[1]);
        let add: Add = CONV.function("conv_add");
        // SAFETY: as above.
        CONV.launch(grid.blocks, grid.threads, || unsafe {
            add(parts_at, dw_at, how.parts as u32, outputs, inputs, kernel);
        });
        [y, dx, dw]
    }

    /// The same by the definition, each with the sum of what was added up, without its signs.
    fn expected(&self) -> Results<(f64, f64)> {
        let [x, w, b, dy] = self.values().map(|values| values.into_iter().map(f64::from).collect::<Vec<_>>());
        let before = |count| uniform(count, 9).into_iter().map(|x| (f64::from(x), f64::from(x.abs()))).collect();
        let mut y = vec![(0.0, 0.0); dy.len()];
        let (mut dx, mut dw): (Vec<_>, Vec<_>) = (before(x.len()), before(w.len()));
        let add = |sum: &mut (f64, f64), term: f64| *sum = (sum.0 + term, sum.1 + term.abs());
        let Case { height, width, inputs, outputs, kernel, relu, .. } = *self;
        for at in 0..y.len() {
            let (pixel, output) = (at / outputs, at % outputs);
            let (row, column) = (pixel / width % height, pixel % width);
            add(&mut y[at], b[output]);
            for tap in 0..kernel * kernel {
                let (down, across) = (row + tap / kernel, column + tap % kernel);
                let (Some(down), Some(across)) = (down.checked_sub(kernel / 2), across.checked_sub(kernel / 2)) else {
                    continue;
                };
                if down >= height || across >= width {
                    continue;
                }
                let neighbour = (pixel / width / height * height + down) * width + across;
                for input in 0..inputs {
                    let (from, weight) =
                        (neighbour * inputs + input, (output * inputs + input) * kernel * kernel + tap);
                    let value = if relu { x[from].max(0.0) } else { x[from] };
                    add(&mut y[at], w[weight] * value);
                    add(&mut dw[weight], dy[at] * value);
                    if !relu || x[from] > 0.0 {
                        add(&mut dx[from], dy[at] * w[weight]);
                    }
                }
            }
        }
        [y, dx, dw]
    }

    /// The largest error of y, dx and dw, over the sum of magnitudes.
    fn errors(&self, how: How) -> [f64; 3] {
        let (got, expected) = (self.run(how), self.expected());
        std::array::from_fn(|i| {
            let pairs = got[i].iter().zip(&expected[i]);
            let errors = pairs.map(|(&got, &(value, size))| (f64::from(got) - value).abs() / size.max(1e-3));
            // `max` would pass over what is not a number.
            errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst })
        })
    }

    #[track_caller]
    fn check(&self, how: How) {
        let (errors, limit) = (self.errors(how), if how.exact { 1e-6 } else { 1e-3 });
        assert!(errors.iter().all(|&error| error < limit), "{self:?} {how:?}: y, dx, dw: {errors:?}");
    }
}

fn any_case() -> impl Strategy<Value = (Case, How)> {
    let kernel = prop_oneof![Just(1usize), Just(3), Just(5), Just(7)];
    let sizes = (1..=3usize, 1..=7usize, 1..=7usize, 1..=11usize, 1..=11usize);
    let how = (prop_oneof![3 => Just(64usize), 1 => Just(128)], 1..=4usize, any::<bool>());
    (sizes, kernel, any::<bool>(), how).prop_map(
        |((batch, height, width, inputs, outputs), kernel, relu, (side, parts, exact))| {
            (Case { batch, height, width, inputs, outputs, kernel, relu }, How { side, parts, exact })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn equals_the_definition_and_its_gradients((case, how) in any_case()) {
        case.check(how);
    }
}

#[test]
fn several_tiles_and_their_remainders() {
    let case = |inputs, outputs, kernel, relu| Case { batch: 2, height: 9, width: 11, inputs, outputs, kernel, relu };
    case(20, 70, 3, true).check(How { side: 64, parts: 3, exact: true });
    case(20, 70, 3, true).check(How { side: 64, parts: 2, exact: false });
    case(133, 6, 1, true).check(How { side: 128, parts: 2, exact: true });
    case(3, 130, 5, false).check(How { side: 128, parts: 1, exact: false });
}

#[test]
fn more_parts_than_there_are_stages() {
    let case = Case { batch: 1, height: 3, width: 6, inputs: 4, outputs: 4, kernel: 3, relu: false };
    case.check(How { side: 64, parts: 5, exact: true });
}

#[test]
fn what_is_not_a_number_reaches_its_neighbours_only() {
    // The last stage is deeper than the kernel, by taps that would lie two rows below.
    let case = Case { batch: 1, height: 6, width: 5, inputs: 4, outputs: 4, kernel: 3, relu: true };
    let mut values = case.values();
    values[0][(2 * 5 + 2) * 4] = f32::NAN;
    let [y, ..] = case.run_on(values, How { side: 64, parts: 1, exact: true });
    for (at, y) in y.iter().enumerate() {
        let (row, column) = (at / 4 / 5, at / 4 % 5);
        assert_eq!(y.is_nan(), (1..=3).contains(&row) && (1..=3).contains(&column), "{row}, {column}");
    }
}

#[test]
fn the_same_bits_each_time() {
    let case = Case { batch: 2, height: 6, width: 5, inputs: 7, outputs: 9, kernel: 3, relu: true };
    let how = How { side: 64, parts: 3, exact: true };
    assert_eq!(case.run(how), case.run(how));
}

#[test]
fn tiles_and_parts_fill_a_gpu() {
    assert_eq!(tile_side([8 * 64 * 64, 256], 1), 128);
    assert_eq!(tile_side([8 * 64 * 64, 64], 1), 64);
    assert_eq!(tile_side([8 * 8 * 8, 512], 1), 64);
    assert_eq!(depth_parts([64, 576], 8 * 64 * 64), 56);
    assert_eq!(depth_parts([2048, 4608], 32 * 32), 1);
    assert_eq!(depth_parts([4, 4], 1), 1);
}
