//! Questions to git that can neither hang a run nor fill its memory.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The longest answer that is kept, in bytes.
pub const MOST: usize = 1 << 20;

/// Git in a folder, until a moment.
pub struct Git {
    folder: PathBuf,
    until: Instant,
}

/// What git answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this.
    Said(Vec<u8>),
    /// With an error, or there is no git.
    No,
    /// With more than [`MOST`].
    TooLong,
    /// Not in time.
    TooLate,
}

impl Answer {
    /// The answer as text without the space around it, if there is one.
    pub fn text(self) -> Option<String> {
        match self {
            Answer::Said(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            _ => None,
        }
    }
}

impl Git {
    /// Questions about the repository of `folder`, which together may take `limit`.
    pub fn within(folder: &Path, limit: Duration) -> Git {
        Git { folder: folder.to_owned(), until: Instant::now() + limit }
    }

    /// The same questions about another folder, in the time that is left.
    pub fn at(&self, folder: &Path) -> Git {
        Git { folder: folder.to_owned(), until: self.until }
    }

    /// What `git ARGUMENTS` says there, a hook's settings left aside.
    pub fn ask(&self, arguments: &[&str]) -> Answer {
        let mut git = Command::new("git");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        git.arg("-C").arg(&self.folder).args(arguments).env("GIT_OPTIONAL_LOCKS", "0");
        git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        match git.spawn() {
            Ok(child) => answer(child, self.until),
            Err(_) => Answer::No,
        }
    }
}

fn answer(mut child: Child, until: Instant) -> Answer {
    let Some(stdout) = child.stdout.take() else { return Answer::No };
    let (send, heard) = mpsc::channel();
    // A read cannot be given up; its thread ends with the child.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MOST as u64 + 1).read_to_end(&mut bytes);
        let _ = send.send(read.map(|_| bytes));
    });
    let heard = heard.recv_timeout(until.saturating_duration_since(Instant::now()));
    let whole = matches!(&heard, Ok(Ok(bytes)) if bytes.len() <= MOST);
    if !whole {
        let _ = child.kill();
    }
    let ended = child.wait();
    match heard {
        Err(_) => Answer::TooLate,
        Ok(Ok(_)) if !whole => Answer::TooLong,
        Ok(Ok(bytes)) if ended.is_ok_and(|status| status.success()) => Answer::Said(bytes),
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str, limit: Duration) -> Answer {
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        answer(child.unwrap(), Instant::now() + limit)
    }

    #[test]
    fn no_answer_is_waited_for_or_kept_beyond_its_limit() {
        let long = Duration::from_secs(60);
        assert_eq!(said("echo yes", long), Answer::Said(b"yes\n".into()));
        assert_eq!(said("echo yes; exit 1", long), Answer::No);
        assert_eq!(said("exec yes", long), Answer::TooLong);
        let started = Instant::now();
        assert_eq!(said("exec sleep 60", Duration::from_millis(50)), Answer::TooLate);
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(Answer::Said(b" a\n".into()).text().as_deref(), Some("a"));
    }
}
