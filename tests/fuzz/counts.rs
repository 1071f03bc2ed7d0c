//! What became of the changed files of a target: read, refused and why, or turned away before the parser saw them.

use dalle::{Error, Result};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reasons that are told apart; the rest count together.
const REASONS: usize = 40;

#[derive(Debug)]
pub struct Counts {
    started: Instant,
    executions: u64,
    unchanged: u64,
    accepted: u64,
    outside: u64,
    refused: BTreeMap<String, u64>,
    slowest: Duration,
}

impl Default for Counts {
    fn default() -> Self {
        let (executions, unchanged, accepted, outside) = (0, 0, 0, 0);
        let (refused, slowest) = (BTreeMap::new(), Duration::ZERO);
        Counts { started: Instant::now(), executions, unchanged, accepted, outside, refused, slowest }
    }
}

impl Counts {
    /// A file that the changes left as it was.
    pub fn unchanged(&mut self) {
        self.executions += 1;
        self.unchanged += 1;
    }

    /// How a changed file was read. An error that holds one of `outside` came before the parser.
    pub fn add(&mut self, outcome: &Result<()>, outside: &[&str], took: Duration) {
        self.executions += 1;
        self.slowest = self.slowest.max(took);
        let Err(error) = outcome else {
            self.accepted += 1;
            return;
        };
        let reason = reason(error);
        if outside.iter().any(|part| reason.contains(part)) {
            self.outside += 1;
            return;
        }
        let known = self.refused.len() < REASONS || self.refused.contains_key(&reason);
        *self.refused.entry(if known { reason } else { "other reasons".into() }).or_default() += 1;
    }

    /// Changed files that the parser saw.
    pub fn reached(&self) -> u64 {
        self.accepted + self.refused.values().sum::<u64>()
    }

    /// Those that were changed at all.
    pub fn changed(&self) -> u64 {
        self.executions - self.unchanged
    }

    /// A line for scripts/trials.
    pub fn line(&self, target: &str) -> String {
        let counts = serde_json::json!({
            "target": target, "executions": self.executions, "unchanged": self.unchanged, "outside": self.outside,
            "accepted": self.accepted, "refused": self.refused, "slowest_ms": self.slowest.as_millis() as u64,
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        format!("fuzz: {counts}")
    }
}

/// The kind of an error: its text without the file's name, quoted parts and numbers.
fn reason(error: &Error) -> String {
    let text = match error {
        Error::Data { what, .. } => what.clone(),
        other => other.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    // A spec's error begins with its path and line.
    let line = line.rsplit_once('/').map_or(line, |(_, line)| line);
    let mut kind = String::new();
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' | '`' => quoted = !quoted,
            _ if quoted => {}
            '0'..='9' if kind.ends_with('N') => {}
            '0'..='9' => kind.push('N'),
            _ => kind.push(letter),
        }
    }
    kind.chars().take(48).collect()
}
