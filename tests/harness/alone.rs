//! Tests that need a process of their own.

use std::process::Command;

const CHILD: &str = "DALLE_TEST_ALONE";

/// Whether this process runs `test` and nothing else. If not, one that does is started, and must succeed.
pub fn alone(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let said = child.output().unwrap();
    assert!(
        said.status.success() && String::from_utf8_lossy(&said.stdout).contains("1 passed"),
        "{test}: {}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    false
}
