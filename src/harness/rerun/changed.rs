//! What may make the bits of a repeated run others: another program, processor, device, number of threads, or other data.

use crate::harness::device::Device;
use crate::harness::fingerprint::differ;
use crate::harness::provenance;
use crate::harness::sources::Sources;
use serde_json::{Value, json};

/// In `run.json`: facts that are one value, and what a reader calls them.
const FACTS: [(&str, &str); 6] = [
    ("/version", "version"),
    ("/cpu", "processor"),
    ("/machine/cpu_flags", "the processor's abilities"),
    ("/device", "device"),
    ("/gpu", "GPU"),
    ("/threads", "threads"),
];
/// Those of the program, of which hashes are cut for a reader.
const PROGRAM: [(&str, &str); 7] = [
    ("/built/commit", "the program's commit"),
    ("/built/dirty", "whether its sources differed from that"),
    ("/built/rustc", "compiler"),
    ("/built/profile", "profile"),
    ("/built/features", "features"),
    ("/built/lock_blake3", "versions of dependencies"),
    ("/built/exe_blake3", "program"),
];

/// What `run.json` would say of a run that began here and now.
pub fn here(device: Device, sources: &Sources) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "built": provenance::built(),
        "cpu": provenance::cpu(),
        "machine": provenance::machine(),
        "device": device.name(),
        "gpu": device.card(),
        "threads": rayon::current_num_threads(),
        "data": sources.facts(),
    })
}

/// A line for each fact that is `now` another than it was `then`, the data aside. What only one of them knows is none: runs of
/// older programs know less.
pub fn changed(then: &Value, now: &Value) -> Vec<String> {
    let of = |(path, name): &(&str, &str)| {
        let known = |facts: &Value| facts.pointer(path).filter(|fact| !fact.is_null()).cloned();
        let (then, now) = (known(then)?, known(now)?);
        (then != now).then(|| format!("{name}: {} then, {} now", words(&then), words(&now)))
    };
    PROGRAM.iter().chain(&FACTS).filter_map(of).collect()
}

/// What to say of data that are not those of `then`, or of which nobody can tell.
pub fn other_data(then: &Value, now: &Value) -> Option<String> {
    let last = then["data_changes"].as_array().and_then(|changes| changes.last());
    let (data, now) = (last.unwrap_or(&then["data"]), &now["data"]);
    let what = |facts: &Value| {
        let (train, bytes, hash) = (&facts["train"], &facts["bytes"]["train"], &facts["fingerprint"]["train"]);
        match hash.as_str() {
            Some(hash) => format!("{train} samples to train on, {bytes} bytes, fingerprint {}", short(hash)),
            None => format!("{train} samples to train on"),
        }
    };
    (data.is_null() || differ(data, now)).then(|| match data.is_null() {
        true => "nothing is known of the data then".to_owned(),
        // Only validation sets, or the share held out, may differ: then both look the same in short.
        false if what(data) == what(now) => format!("{data} then, {now} now"),
        false => format!("{} then, {} now", what(data), what(now)),
    })
}

fn words(fact: &Value) -> String {
    match fact {
        Value::String(text) => short(text).to_owned(),
        other => other.to_string(),
    }
}

/// A hash as far as a reader needs it.
fn short(text: &str) -> &str {
    let hash = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hash { &text[..12] } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_said_and_what_nobody_knew_is_not() {
        let hash = |digit: &str| digit.repeat(64);
        let then =
            json!({"version": "0.1.0", "built": {"rustc": "a", "exe_blake3": hash("0")}, "cpu": "old", "gpu": null});
        let now = json!({"version": "0.1.0", "built": {"rustc": "b", "exe_blake3": hash("1"), "profile": "x"}, "cpu": "new",
                         "gpu": "card", "threads": 2});
        assert_eq!(
            changed(&then, &now),
            ["compiler: a then, b now", "program: 000000000000 then, 111111111111 now", "processor: old then, new now"]
        );
        assert_eq!(changed(&now, &now), [""; 0]);
    }

    #[test]
    fn other_data_are_named() {
        let of = |train: u64, hash: &str| json!({"data": {"train": train, "bytes": {"train": 9}, "fingerprint": {"train": hash}}});
        assert_eq!(other_data(&of(3, "a"), &of(3, "a")), None);
        assert_eq!(
            other_data(&of(3, "a"), &of(4, "b")).unwrap(),
            "3 samples to train on, 9 bytes, fingerprint a then, 4 samples to train on, 9 bytes, fingerprint b now"
        );
        assert_eq!(other_data(&json!({"data": {"train": 3}}), &of(3, "a")), None);
        assert_eq!(other_data(&json!({}), &of(3, "a")).unwrap(), "nothing is known of the data then");
        let mut later = of(3, "a");
        later["data_changes"] = json!([of(4, "b")["data"]]);
        assert_eq!(other_data(&later, &of(4, "b")), None);
        let with = |held: u64| json!({"data": {"train": 3, "validation": {"a": held}}});
        assert!(other_data(&with(1), &with(2)).unwrap().contains(r#""validation":{"a":2}} now"#));
    }
}
