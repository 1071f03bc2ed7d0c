//! Builds a kernel's source for this processor and runs its blocks and threads.

use libloading::{Library, Symbol};
use std::ffi::c_void;
use std::process::Command;
use std::sync::Mutex;

/// A kernel's source as a library. It needs g++, which nvcc needs too.
pub struct Kernels {
    library: Library,
    /// The shim knows one grid at a time.
    busy: Mutex<()>,
}

impl Kernels {
    /// Of src/kernels/cuda/NAME.cu.
    pub fn build(name: &str) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let library = format!("{}/{name}.so", env!("CARGO_TARGET_TMPDIR"));
        let source = format!("{root}/src/kernels/cuda/{name}.cu");
        let shim = format!("{root}/tests/kernels/shim.h");
        let arguments = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wno-unused-function", "-x", "c++", "-include"];
        let built = Command::new("g++").args(arguments).args([&shim, &source, "-o", &library]).output().expect("g++");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        // SAFETY: a library of ours without initialisers.
        let library = unsafe { Library::new(&library) }.unwrap();
        Kernels { library, busy: Mutex::new(()) }
    }

    /// A kernel, as a function of type `F`, which must be that of its parameters.
    pub fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: that `F` is the function's type is the caller's promise; the library lives as long as the tests.
        *unsafe { self.library.get::<F>(name.as_bytes()) }.unwrap()
    }

    /// Calls `thread`, which calls a kernel, for each thread of a grid.
    pub fn launch(&self, blocks: [u32; 3], threads: [u32; 3], mut thread: impl FnMut()) {
        unsafe extern "C" fn call<F: FnMut()>(thread: *mut c_void) {
            // SAFETY: `run_grid` hands back the closure below.
            unsafe { (*thread.cast::<F>())() };
        }
        fn caller<F: FnMut()>(_: &F) -> unsafe extern "C" fn(*mut c_void) {
            call::<F>
        }
        type RunGrid = unsafe extern "C" fn(*const u32, *const u32, unsafe extern "C" fn(*mut c_void), *mut c_void);
        // SAFETY: the shim's function has this type.
        let run: Symbol<'_, RunGrid> = unsafe { self.library.get(b"run_grid") }.unwrap();
        let call = caller(&thread);
        let _one_at_a_time = self.busy.lock();
        // SAFETY: the closure outlives the call, and one processor thread runs it.
        unsafe { run(blocks.as_ptr(), threads.as_ptr(), call, (&raw mut thread).cast()) };
    }
}

/// How a kernel takes a tensor: its address.
pub fn tensor(values: &[f32]) -> u64 {
    values.as_ptr() as u64
}

/// The same of one that it writes.
pub fn tensor_mut(values: &mut [f32]) -> u64 {
    values.as_mut_ptr() as u64
}

/// How a kernel takes a tensor whose address lies in a word of the GPU's.
pub fn noted(address: &u64) -> u64 {
    std::ptr::from_ref(address) as u64 | 1
}

/// Numbers in [−1, 1), other ones for each seed.
pub fn uniform(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The largest |got − expected| over 1 + |expected|.
pub fn error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let errors =
        got.iter().zip(expected).map(|(&got, &expected)| (f64::from(got) - expected).abs() / (1.0 + expected.abs()));
    // `max` would pass over what is not a number.
    errors.fold(0.0, |worst, error| if error > worst || error.is_nan() { error } else { worst })
}
