//! Several indices of a sweep at once, each in a process of its own: one that fails, or runs out of memory, takes no other with it.

use super::frozen::Frozen;
use crate::harness::signals::Stop;
use crate::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at what runs.
const LOOK: Duration = Duration::from_millis(20);

/// How a sweep is run.
#[derive(Debug)]
pub struct Jobs {
    /// Processes at once.
    pub at_once: usize,
    /// The program.
    pub program: PathBuf,
    /// Its arguments after `sweep FOLDER --index I`.
    pub arguments: Vec<OsString>,
}

struct Job {
    index: usize,
    child: Child,
    log: PathBuf,
    started: Instant,
}

/// Runs the indices of `todo`; `say` hears of each start and end.
///
/// # Errors
/// [`Error::Interrupted`] when all have stopped after a checkpoint, because a signal asked for it; [`Error::Sweep`] where one failed
/// and the others are done; [`Error::Io`].
pub fn run(frozen: &Frozen, todo: &[usize], jobs: &Jobs, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<()> {
    let mut waiting = todo.iter().copied();
    let mut running: Vec<Job> = Vec::new();
    let mut failed: Vec<(usize, PathBuf, u8)> = Vec::new();
    let mut told = None;
    loop {
        while told.is_none() && running.len() < jobs.at_once.max(1) {
            let Some(index) = waiting.next() else { break };
            let job = start(frozen, index, jobs)?;
            say(format!("{index}: begun; {}", frozen.rows[index].1));
            running.push(job);
        }
        if running.is_empty() {
            break;
        }
        if told.is_none()
            && let Some(signal) = stop.requested()
        {
            told = Some(signal);
            say(format!("{signal}: the {} that run stop after a checkpoint", running.len()));
            running.iter().for_each(|job| ask(&job.child));
        }
        let mut going = Vec::new();
        for mut job in running {
            match job.child.try_wait().map_err(Error::io("wait for", &job.log))? {
                None => going.push(job),
                Some(status) => {
                    // A signal that nothing catches: as shells count them.
                    let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
                    let seconds = job.started.elapsed().as_secs_f64();
                    say(format!("{}: {} after {seconds:.0} s", job.index, in_words(code)));
                    if code != 0 && told.is_none() {
                        failed.push((job.index, job.log, u8::try_from(code).unwrap_or(1)));
                    }
                }
            }
        }
        running = going;
        sleep(LOOK);
    }
    if let Some(signal) = told {
        let then = format!("`experiment sweep {}`", frozen.path.display());
        return Err(Error::Interrupted { signal, then });
    }
    failed.sort();
    let count = failed.len();
    match failed.into_iter().next() {
        Some((_, log, code)) => Err(Error::Sweep { failed: count, of: frozen.rows.len(), log, code }),
        None => Ok(()),
    }
}

fn start(frozen: &Frozen, index: usize, jobs: &Jobs) -> Result<Job> {
    let log = frozen.log(index);
    let open = || OpenOptions::new().create(true).append(true).open(&log).map_err(Error::io("write", &log));
    let mut command = Command::new(&jobs.program);
    command.arg("sweep").arg(&frozen.path).arg("--index").arg(index.to_string()).args(&jobs.arguments);
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    // A group of its own: Ctrl-C reaches the parent alone, which asks each child once. A second would end it without a checkpoint.
    let child = command.process_group(0).spawn().map_err(Error::io("run", &jobs.program))?;
    Ok(Job { index, child, log, started: Instant::now() })
}

/// Asks a child to stop after a checkpoint; one that has just ended needs no asking.
fn ask(child: &Child) {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn in_words(code: i32) -> String {
    match code {
        0 => "done".into(),
        3 => "done, and not what its spec expects (exit 3)".into(),
        75 | 130 => format!("stopped after a checkpoint (exit {code})"),
        137 => "killed (exit 137)".into(),
        code => format!("failed (exit {code})"),
    }
}
