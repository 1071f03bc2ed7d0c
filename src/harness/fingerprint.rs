//! What `run.json` says of a run's data: how much there is, and a fingerprint of each set.

use super::run_dir::RunDir;
use super::sources::Sources;
use crate::Result;
use crate::data::{Fingerprint, Source};
use serde_json::{Map, Value, json};

/// In `run.json`: what the data were each time that they were no longer what they had been.
const CHANGES: &str = "data_changes";

impl Sources {
    /// Samples, bytes and fingerprint of the training set and of each validation set, as [`Fingerprint`] has them.
    pub fn facts(&self) -> Value {
        let train = Fingerprint::of(self.train.as_ref());
        let of = |(name, source): &(String, Box<dyn Source>)| (name.clone(), Fingerprint::of(source.as_ref()));
        let sets: Vec<(String, Fingerprint)> = self.validation.iter().map(of).collect();
        let each = |fact: fn(&Fingerprint) -> Value| {
            let of_sets: Map<String, Value> = sets.iter().map(|(name, set)| (name.clone(), fact(set))).collect();
            (fact(&train), Value::Object(of_sets))
        };
        let (train_samples, samples) = each(|set| json!(set.samples));
        let (train_bytes, bytes) = each(|set| json!(set.bytes));
        let (train_hash, hash) = each(|set| json!(set.hash));
        json!({
            "train": train_samples,
            "validation": samples,
            "held_out_share": self.held_out,
            "bytes": {"train": train_bytes, "validation": bytes},
            "fingerprint": {"train": train_hash, "validation": hash},
        })
    }

    /// Keeps [`Sources::facts`] in `run.json`. Where they are not those that the run went on with last, that is a warning, and
    /// both stand there.
    pub(super) fn keep_facts(&self, run: &mut RunDir) -> Result<()> {
        let facts = self.facts();
        if run.run()["data"].is_null() {
            return run.update(|run| run["data"] = facts);
        }
        let changes = run.run()[CHANGES].as_array().cloned().unwrap_or_default();
        let before = changes.last().unwrap_or(&run.run()["data"]);
        if !differ(before, &facts) {
            return Ok(());
        }
        let text = format!("the data are not those that the run began with: {before} then, {facts} now");
        run.warn("data", "data-changed", &text)?;
        run.update(|run| run[CHANGES] = json!([changes, vec![facts]].concat()))
    }
}

/// The fingerprint of the training set that a run goes on with; empty where its program kept none.
pub(super) fn of_training(facts: &Value) -> &str {
    let last = facts[CHANGES].as_array().and_then(|changes| changes.last()).unwrap_or(&facts["data"]);
    last["fingerprint"]["train"].as_str().unwrap_or_default()
}

/// Whether `now` says otherwise than `then` of something that `then` knows: runs of older programs know less.
pub(super) fn differ(then: &Value, now: &Value) -> bool {
    let (Some(then), Some(now)) = (then.as_object(), now.as_object()) else { return then != now };
    then.iter().any(|(key, value)| now.get(key) != Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_of_two_programs_knows_is_no_difference() {
        let old = json!({"train": 3, "validation": {"a": 1}});
        let now = json!({"train": 3, "validation": {"a": 1}, "fingerprint": {"train": "x"}});
        assert!(!differ(&old, &now));
        assert!(differ(&now, &old));
        assert!(differ(&now, &json!({"train": 3, "validation": {"a": 1}, "fingerprint": {"train": "y"}})));
        assert!(differ(&old, &json!({"train": 3, "validation": {"b": 1}})));
    }
}
