//! What kernels of our own need beside dfdx: its device, a handle of cuBLAS, and where tensors' values lie.
//!
//! dfdx keeps a tensor's memory to itself, but asks for its kernels by name: address.cu answers for one of them and notes the
//! tensor's address in a table on the GPU. Kernels read it there, so nothing is copied and nothing waits; a tensor is reached
//! at the price of a launch. Gradients lend their memory, and need no note.

use super::Module;
use super::grids::Grid;
use crate::kernels::MatmulPrecision;
use crate::kernels::cpu::activation::Activation;
use cudarc::cublas::{CudaBlas, sys as blas};
use cudarc::driver::result::{launch_kernel, module};
use cudarc::driver::sys::{CUfunction, CUstream};
use cudarc::driver::{
    CudaDevice, CudaSlice, DevicePtr, DeviceRepr, DeviceSlice, LaunchAsync, LaunchConfig, ValidAsZeroBits,
};
use dfdx::prelude::{Cuda, OwnedTape, Shape, SplitTape, Tensor, ZerosTensor};
use dfdx::tensor::CudaError;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The module of address.cu: under dfdx's name of the operation that it takes.
pub(super) const ADDRESS: &str = "nans_to_fwd_f32";
/// Words of the table. One operation needs few, and later ones may overwrite them: they come later in the stream too.
const SLOTS: u32 = 1024;

/// How a kernel takes a tensor: its address or, with the lowest bit set, that of the word that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(u64);

impl Address {
    /// Of no tensor.
    pub const NONE: Address = Address(0);

    /// Of a gradient, or of memory of our own.
    pub fn of<T>(memory: &impl DevicePtr<T>) -> Address {
        Address(*memory.device_ptr())
    }

    /// Of the value `count` further in f32 memory of our own.
    pub fn offset(memory: &CudaSlice<f32>, count: usize) -> Address {
        Address(*memory.device_ptr() + 4 * count as u64)
    }
}

/// A kernel's parameter, in the 8 bytes that hold any.
#[derive(Debug, Clone, Copy)]
pub struct Parameter(u64);

impl From<Address> for Parameter {
    fn from(address: Address) -> Self {
        Parameter(address.0)
    }
}

impl<T: DeviceRepr> From<&CudaSlice<T>> for Parameter {
    fn from(memory: &CudaSlice<T>) -> Self {
        Parameter(*memory.device_ptr())
    }
}

impl From<usize> for Parameter {
    /// As `word`, or in its lower half as `unsigned`.
    fn from(count: usize) -> Self {
        Parameter(count as u64)
    }
}

impl From<u32> for Parameter {
    fn from(count: u32) -> Self {
        Parameter(count.into())
    }
}

impl From<f32> for Parameter {
    fn from(number: f32) -> Self {
        Parameter(number.to_bits().into())
    }
}

impl From<Option<Activation>> for Parameter {
    /// As functions.h counts them.
    fn from(f: Option<Activation>) -> Self {
        Parameter(f.map_or(0, |f| match f {
            Activation::Relu => 1,
            Activation::QuickGelu => 2,
            Activation::TanhGelu => 3,
            Activation::ErfGelu => 4,
            Activation::Silu => 5,
        }))
    }
}

/// A matrix of a product, stored in rows.
#[derive(Debug, Clone, Copy)]
pub struct Factor {
    at: Address,
    transposed: bool,
}

impl Factor {
    /// As it is stored.
    pub fn of(at: Address) -> Factor {
        Factor { at, transposed: false }
    }

    /// Its columns for rows.
    pub fn transposed(self) -> Factor {
        Factor { transposed: !self.transposed, ..self }
    }
}

/// The opened GPU.
#[derive(Debug)]
pub struct Gpu {
    driver: Arc<CudaDevice>,
    functions: Functions,
    blas: CudaBlas,
    table: CudaSlice<u64>,
    next: AtomicU32,
    products: AtomicU8,
}

impl Gpu {
    /// Loads our own kernels, as (PTX, module, functions).
    pub(super) fn new(driver: Arc<CudaDevice>, modules: &[Module]) -> Result<Gpu, CudaError> {
        let (blas, table) = (CudaBlas::new(driver.clone())?, driver.alloc_zeros(SLOTS as usize)?);
        let functions = Functions::load(modules)?;
        Ok(Gpu { driver, functions, blas, table, next: AtomicU32::new(0), products: AtomicU8::new(0) })
    }

    /// Shows the table to the kernel that notes the tensors of one of dfdx's devices, `driver`. All devices share one stream.
    pub(super) fn attach(&self, driver: &Arc<CudaDevice>) -> Result<(), CudaError> {
        let function = driver.get_func(ADDRESS, "set_table").unwrap_or_else(|| panic!("open() loads {ADDRESS}"));
        let one = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: these are the parameters of address.cu's kernel.
        unsafe { function.launch(one, (&self.table, 0u32)) }?;
        Ok(())
    }

    /// What products round their factors to.
    pub fn products(&self) -> MatmulPrecision {
        [MatmulPrecision::F32, MatmulPrecision::Tf32, MatmulPrecision::Bf16]
            [usize::from(self.products.load(Ordering::Relaxed))]
    }

    /// Rounds the products that follow so.
    pub fn set_products(&self, products: MatmulPrecision) {
        self.products.store(products as u8, Ordering::Relaxed);
    }

    /// Memory that nothing has been written to.
    pub fn memory<T: DeviceRepr>(&self, length: usize) -> Result<CudaSlice<T>, CudaError> {
        // SAFETY: numbers, of which every kernel here writes those that it reads later.
        Ok(unsafe { self.driver.alloc(length.max(1)) }?)
    }

    /// Zeros.
    pub fn zeroed<T: DeviceRepr + ValidAsZeroBits>(&self, length: usize) -> Result<CudaSlice<T>, CudaError> {
        Ok(self.driver.alloc_zeros(length)?)
    }

    /// A copy of `values` on the GPU.
    pub fn copy<T: DeviceRepr + Unpin>(&self, values: Vec<T>) -> Result<CudaSlice<T>, CudaError> {
        Ok(self.driver.htod_copy(values)?)
    }

    /// The same of many values, which the host then need not keep: waits until they are there.
    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>, CudaError> {
        let mut memory = self.memory(values.len())?;
        if !values.is_empty() {
            self.driver.htod_sync_copy_into(values, &mut memory)?;
        }
        Ok(memory)
    }

    /// Writes `values`, as many as `memory` has, once what was launched before has run.
    pub fn write<T: DeviceRepr + Unpin>(&self, values: Vec<T>, memory: &mut CudaSlice<T>) -> Result<(), CudaError> {
        Ok(self.driver.htod_copy_into(values, memory)?)
    }

    /// Waits for what was launched before, and reads.
    pub fn read<T: DeviceRepr>(&self, memory: &CudaSlice<T>) -> Result<Vec<T>, CudaError> {
        Ok(self.driver.dtoh_sync_copy(memory)?)
    }

    /// Each row of `length` values `times` times, one after the other.
    pub fn repeated<T: DeviceRepr>(
        &self,
        x: &CudaSlice<T>,
        length: usize,
        times: usize,
    ) -> Result<CudaSlice<T>, CudaError> {
        let mut y = self.memory(x.len() * times)?;
        for at in (0..x.len() * times).step_by(length) {
            let from = at / length / times * length;
            self.driver.dtod_copy(&x.slice(from..from + length), &mut y.slice_mut(at..at + length))?;
        }
        Ok(y)
    }

    /// Where the values of a contiguous tensor lie.
    pub fn address<S: Shape>(&self, x: &Tensor<S, f32, Cuda>) -> Result<Address, CudaError> {
        Ok(self.beside(x)?.0)
    }

    /// Where the values of a contiguous tensor lie, and another tensor of its shape, not filled, with its address.
    pub fn beside<S: Shape>(
        &self,
        x: &Tensor<S, f32, Cuda>,
    ) -> Result<(Address, Tensor<S, f32, Cuda>, Address), CudaError> {
        let slot = self.slot();
        // With a tape dfdx leaves x as it is and gives the kernel a second tensor to write to.
        let traced = x.retaped::<OwnedTape<f32, Cuda>>().try_nans_to(f64::from(slot))?;
        Ok((self.noted(slot), traced.split_tape().0, self.noted(slot + 1)))
    }

    /// A tensor of zeros with its address.
    pub fn zeros<S: Shape>(&self, device: &Cuda, shape: S) -> Result<(Tensor<S, f32, Cuda>, Address), CudaError> {
        let y = device.try_zeros_like(&shape)?;
        let at = self.address(&y)?;
        Ok((y, at))
    }

    /// Two slots in a row.
    fn slot(&self) -> u32 {
        self.next.fetch_add(2, Ordering::Relaxed) % SLOTS
    }

    fn noted(&self, slot: u32) -> Address {
        Address((*self.table.device_ptr() + 8 * u64::from(slot)) | 1)
    }

    /// The address of a word that holds the address: what cuBLAS takes.
    fn word(&self, address: Address) -> Result<u64, CudaError> {
        if address.0 & 1 == 1 {
            return Ok(address.0 - 1);
        }
        let word = self.noted(self.slot()).0 - 1;
        self.launch(("address", "note"), Grid::line(1, 1), &[Address(word).into(), address.into()])?;
        Ok(word)
    }

    /// Runs kernel (module, function) after all that was launched before.
    pub fn launch(
        &self,
        kernel: (&'static str, &'static str),
        grid: Grid,
        parameters: &[Parameter],
    ) -> Result<(), CudaError> {
        self.launch_in(self.stream()?, kernel, grid, parameters)
    }

    pub(super) fn launch_in(
        &self,
        stream: CUstream,
        kernel: (&'static str, &'static str),
        grid: Grid,
        parameters: &[Parameter],
    ) -> Result<(), CudaError> {
        let mut parameters: Vec<u64> = parameters.iter().map(|parameter| parameter.0).collect();
        let mut pointers: Vec<*mut c_void> = parameters.iter_mut().map(|value| (&raw mut *value).cast()).collect();
        let [[x, y, z], [i, j, k]] = [grid.blocks, grid.threads];
        // SAFETY: each caller gives the parameters that the kernel's source names, of which none is longer than 8 bytes and
        // which are little-endian; the driver copies them before it returns. The stream is the driver's or one that is there.
        unsafe { launch_kernel(self.functions.get(kernel), (x, y, z), (i, j, k), 0, stream, &mut pointers) }?;
        Ok(())
    }

    /// The stream of all that is launched, from whatever thread.
    pub(super) fn stream(&self) -> Result<CUstream, CudaError> {
        self.driver.bind_to_thread()?;
        Ok(*self.driver.cu_stream())
    }

    /// c (M, N) = a (M, K)·b (K, N), or c += a·b.
    pub fn product(
        &self,
        [m, k, n]: [usize; 3],
        a: Factor,
        b: Factor,
        c: Address,
        accumulate: bool,
    ) -> Result<(), CudaError> {
        let [a_word, b_word, c_word] = [self.word(a.at)?, self.word(b.at)?, self.word(c)?];
        let compute = match self.products() {
            MatmulPrecision::F32 => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            MatmulPrecision::Tf32 => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            MatmulPrecision::Bf16 => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let turned = |transposed| match transposed {
            false => blas::cublasOperation_t::CUBLAS_OP_N,
            true => blas::cublasOperation_t::CUBLAS_OP_T,
        };
        let real = blas::cudaDataType_t::CUDA_R_32F;
        let (one, beta) = (1f32, f32::from(u8::from(accumulate)));
        // cuBLAS counts by columns: of the same memory it sees cᵀ = bᵀ·aᵀ. It takes the factors' addresses from the GPU only in
        // its batched form.
        // SAFETY: the words hold the addresses of matrices of these sizes when the product runs, in the stream's order.
        let status = unsafe {
            blas::cublasGemmBatchedEx(
                *self.blas.handle(),
                turned(b.transposed),
                turned(a.transposed),
                n as i32,
                m as i32,
                k as i32,
                (&raw const one).cast(),
                b_word as *const *const c_void,
                real,
                if b.transposed { k } else { n } as i32,
                a_word as *const *const c_void,
                real,
                if a.transposed { m } else { k } as i32,
                (&raw const beta).cast(),
                c_word as *const *mut c_void,
                real,
                n as i32,
                1,
                compute,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        Ok(status.result()?)
    }
}

/// Our own kernels. cudarc launches only with as many parameters as it has tuples for; these are launched by hand.
#[derive(Debug)]
struct Functions(HashMap<(&'static str, &'static str), CUfunction>);

// SAFETY: the driver's handles of kernels may be used from any thread, and are never changed or freed here.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

impl Functions {
    fn load(modules: &[Module]) -> Result<Self, CudaError> {
        let mut functions = HashMap::new();
        for &(ptx, name, names) in modules {
            let image = c_string(ptx);
            // SAFETY: the image is text with its final zero. The module is never unloaded.
            let module = unsafe { module::load_data(image.as_ptr().cast()) }?;
            for &function in names {
                // SAFETY: the module was loaded.
                functions.insert((name, function), unsafe { module::get_function(module, c_string(function)) }?);
            }
        }
        Ok(Functions(functions))
    }

    fn get(&self, kernel: (&'static str, &'static str)) -> CUfunction {
        *self.0.get(&kernel).unwrap_or_else(|| panic!("kernel {kernel:?}: expected one of those that are loaded"))
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| unreachable!("neither PTX nor names hold a zero"))
}
