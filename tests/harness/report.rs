//! The report of a run directory: complete, growing, damaged; self-contained, escaped, small; and as a real browser sees it.

mod browser;
mod damaged;
mod finished;
mod whole;

use dalle::report;
use std::fs;
use std::path::Path;

const SECTIONS: [&str; 8] =
    ["samples", "results", "reconstructions", "training", "data", "masks", "provenance", "spec"];
const HOSTILE: &str = "a <script>alert('x')</script> \"circle\" & </style><img src=x onerror=alert(1)>";

fn report(run: &Path) -> String {
    let path = report::write(run).unwrap();
    assert_eq!(path, run.join("report.html"));
    fs::read_to_string(path).unwrap()
}
