//! How much memory this process has taken at the most.

use crate::kernels::heap;
use serde::Serialize;

/// Peaks so far, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// Of the bytes that were allocated at once since the last [`Peak::forget`], touched or not: the workspace that the
    /// matrix product reserves on each thread may exceed all that is resident. 0 where the program's heap is not
    /// [`heap::Heap`].
    pub peak_live_mib: u64,
    /// Of the resident set since the start, which nothing resets; 0 where the system does not say.
    pub peak_rss_mib: u64,
}

impl Peak {
    /// As of now.
    pub fn now() -> Peak {
        Peak { peak_live_mib: heap::peak() as u64 >> 20, peak_rss_mib: peak_rss_kib() / 1024 }
    }

    /// Lets the next peak of live bytes start from what is live now.
    pub fn forget() {
        heap::reset_peak();
    }
}

fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
