//! Launches as data: run one after the other, or recorded once and then played as one, which takes the host a single call.

use super::gpu::{Gpu, Parameter};
use super::grids::Grid;
use cudarc::driver::result::stream::{self, StreamKind};
use cudarc::driver::sys::{self, CUgraphExec, CUstream};
use dfdx::tensor::CudaError;
use std::ptr::null_mut;

/// A kernel with its grid and its parameters.
#[derive(Debug, Clone)]
pub struct Launch {
    /// (module, function)
    pub kernel: (&'static str, &'static str),
    /// Its blocks and threads.
    pub grid: Grid,
    /// As the kernel's source names them. Memory that they name must live as long as this is run.
    pub parameters: Vec<Parameter>,
}

/// Launches that the driver knows as one. What they read and write must live longer.
#[derive(Debug)]
pub struct Graph(CUgraphExec);

impl Gpu {
    /// Runs the launches after all that was launched before.
    pub fn run(&self, launches: &[Launch]) -> Result<(), CudaError> {
        launches.iter().try_for_each(|it| self.launch(it.kernel, it.grid, &it.parameters))
    }

    /// Runs nothing yet.
    pub fn record(&self, launches: &[Launch]) -> Result<Graph, CudaError> {
        // The stream of all else cannot be recorded; the one made here does not wait for it.
        self.stream()?;
        let side = Side(stream::create(StreamKind::NonBlocking)?);
        // SAFETY: the stream is there until `side` goes. What other threads ask of the driver meanwhile is their own.
        unsafe { sys::cuStreamBeginCapture_v2(side.0, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED) }
            .result()?;
        let launched = launches.iter().try_for_each(|it| self.launch_in(side.0, it.kernel, it.grid, &it.parameters));
        let (mut graph, mut ready) = (null_mut(), null_mut());
        // SAFETY: as above; a recording must be ended even if a launch failed.
        let ended = unsafe { sys::cuStreamEndCapture(side.0, &mut graph) }.result();
        launched?;
        ended?;
        // SAFETY: the graph was made just now, and what is made of it does not need it.
        let made = unsafe {
            let made = sys::cuGraphInstantiateWithFlags(&mut ready, graph, 0).result();
            sys::cuGraphDestroy(graph).result()?;
            made
        };
        made?;
        Ok(Graph(ready))
    }

    /// Runs what was recorded after all that was launched before.
    pub fn play(&self, graph: &Graph) -> Result<(), CudaError> {
        // SAFETY: both are there.
        unsafe { sys::cuGraphLaunch(graph.0, self.stream()?) }.result()?;
        Ok(())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `record`, destroyed once.
        let _ = unsafe { sys::cuGraphExecDestroy(self.0) }.result();
    }
}

struct Side(CUstream);

impl Drop for Side {
    fn drop(&mut self) {
        // SAFETY: made by `record`, destroyed once.
        let _ = unsafe { stream::destroy(self.0) };
    }
}
