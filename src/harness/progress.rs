//! Progress on stderr: a bar with step, loss, rate and ETA on a terminal, plain lines every few seconds elsewhere. First of
//! each stage's training, then of the measurements.

use super::notice;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Time between two texts beside the bar.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// The progress of one stage.
#[derive(Debug)]
pub struct Progress {
    name: String,
    total: u64,
    sink: Sink,
    /// The first step reported and when: a resumed stage does not start at 0.
    first: Option<(u64, Instant)>,
    shown: Option<Instant>,
    last: (u64, f64),
    validation: Option<f64>,
}

#[derive(Debug)]
enum Sink {
    Bar(ProgressBar),
    Lines,
    Quiet,
}

impl Sink {
    /// What fits stderr.
    fn of(name: &str, total: u64) -> Sink {
        if cfg!(test) || notice::is_quiet() {
            return Sink::Quiet;
        }
        if !stderr().is_terminal() {
            return Sink::Lines;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
        let template = "{prefix:>12} [{bar:24}] {pos}/{len} {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style.progress_chars("=> ")).with_prefix(name.to_owned());
        notice::beside(Some(bar.clone()));
        Sink::Bar(bar)
    }

    fn every(&self) -> Duration {
        if matches!(self, Sink::Bar(_)) { BAR_EVERY } else { LINE_EVERY }
    }

    fn abandon(&self) {
        if let Sink::Bar(bar) = self {
            bar.abandon();
            notice::beside(None);
        }
    }
}

impl Progress {
    /// The stage `name` of `total` steps, shown on stderr as fits it.
    pub fn stage(name: &str, total: u64) -> Self {
        Progress::with_sink(name, total, Sink::of(name, total))
    }

    /// The same without any output: tests and notebooks.
    pub fn quiet(name: &str, total: u64) -> Self {
        Progress::with_sink(name, total, Sink::Quiet)
    }

    fn with_sink(name: &str, total: u64, sink: Sink) -> Self {
        Progress { name: name.to_owned(), total, sink, first: None, shown: None, last: (0, f64::NAN), validation: None }
    }

    /// `step` steps are done, the last with this loss.
    pub fn step(&mut self, step: u64, loss: f64) {
        let now = Instant::now();
        self.first.get_or_insert((step, now));
        self.last = (step, loss);
        if self.shown.is_none_or(|shown| now.duration_since(shown) >= self.sink.every()) {
            self.shown = Some(now);
            self.show(now);
        }
    }

    /// The figure of the last validation, shown beside the loss from now on.
    pub fn validated(&mut self, figure: f64) {
        self.validation = Some(figure);
    }

    /// Ends the bar, or writes the last line.
    pub fn finish(mut self) {
        self.show(Instant::now());
        self.sink.abandon();
        self.sink = Sink::Quiet;
    }

    fn show(&self, now: Instant) {
        let (step, loss) = self.last;
        let (first, since) = self.first.unwrap_or((0, now));
        let text = status(step, self.total, step - first, now.duration_since(since), loss, self.validation);
        match &self.sink {
            Sink::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(text);
            }
            Sink::Lines => notice::line(format_args!("{}: step {step}/{} {text}", self.name, self.total)),
            Sink::Quiet => {}
        }
    }
}

impl Drop for Progress {
    /// A stage that ends in an error leaves its bar where it stood.
    fn drop(&mut self) {
        self.sink.abandon();
    }
}

/// Loss, the last validation's figure, rate and time left, from `done` steps in `elapsed`.
fn status(step: u64, total: u64, done: u64, elapsed: Duration, loss: f64, validation: Option<f64>) -> String {
    let loss = match validation {
        Some(figure) => format!("loss {loss:.4} val {figure:.4}"),
        None => format!("loss {loss:.4}"),
    };
    if done == 0 || elapsed.is_zero() {
        return loss;
    }
    let rate = done as f64 / elapsed.as_secs_f64();
    let left = (total.saturating_sub(step) as f64 / rate).round() as u64;
    let rate = if rate >= 1.0 { format!("{rate:.1} steps/s") } else { format!("{:.1} s/step", 1.0 / rate) };
    let clock = match left / 3600 {
        0 => format!("{}:{:02}", left / 60, left % 60),
        hours => format!("{hours}:{:02}:{:02}", left / 60 % 60, left % 60),
    };
    format!("{loss} {rate} ETA {clock}")
}

/// What is measured after training, one task after the other.
#[derive(Debug)]
pub struct Tasks {
    name: String,
    sink: Sink,
    task: String,
    shown: Option<Instant>,
}

impl Tasks {
    /// Tasks under `name`; on stderr as fits it where they are to be `seen`.
    pub fn new(name: &str, seen: bool) -> Self {
        let sink = if seen { Sink::of(name, 0) } else { Sink::Quiet };
        Tasks { name: name.to_owned(), sink, task: String::new(), shown: None }
    }

    /// `done` of `of` parts of `task` are done. A new task is always shown.
    pub fn at(&mut self, task: impl Display, done: usize, of: usize) {
        let (now, task) = (Instant::now(), task.to_string());
        let due = self.shown.is_none_or(|shown| now.duration_since(shown) >= self.sink.every());
        if !due && task == self.task {
            return;
        }
        self.shown = Some(now);
        self.task = task;
        match &self.sink {
            Sink::Bar(bar) => {
                bar.set_length(of as u64);
                bar.set_position(done as u64);
                bar.set_message(self.task.clone());
            }
            Sink::Lines if of > 1 => notice::line(format_args!("{}: {} {done}/{of}", self.name, self.task)),
            Sink::Lines => notice::line(format_args!("{}: {}", self.name, self.task)),
            Sink::Quiet => {}
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.sink.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_come_from_the_steps_of_this_session() {
        let ten = Duration::from_secs(10);
        assert_eq!(status(50, 1000, 20, ten, 0.5, None), "loss 0.5000 2.0 steps/s ETA 7:55");
        assert_eq!(status(501, 2000, 1, ten, 0.5, None), "loss 0.5000 10.0 s/step ETA 4:09:50");
        assert_eq!(status(1000, 1000, 20, ten, 0.25, Some(0.5)), "loss 0.2500 val 0.5000 2.0 steps/s ETA 0:00");
        assert_eq!(status(7, 1000, 0, ten, 1.0, None), "loss 1.0000");
    }

    #[test]
    fn a_stage_of_no_steps_and_steps_past_the_total_are_no_panic() {
        Progress::stage("empty", 0).finish();
        let mut progress = Progress::quiet("over", 1);
        progress.step(3, f64::NAN);
        progress.step(5, 0.0);
        progress.finish();
    }
}
