//! A finished run once more: the same bits, or what is not.

use crate::support::{Place, TINY, assert_same, facts, png};
use std::fs;
use std::path::PathBuf;

/// The run that `rerun` made of the only one.
fn again(place: &Place, first: &PathBuf) -> PathBuf {
    let runs = fs::read_dir(place.path("results/tiny")).unwrap().map(|entry| entry.unwrap().path());
    let mut others: Vec<PathBuf> = runs.filter(|run| run != first && run.join("run.json").is_file()).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    others.remove(0)
}

#[test]
fn a_run_is_repeated_to_the_bit_and_what_was_touched_is_found() {
    let place = Place::with_spec();
    // What a run did not meet it does not meet again.
    place.experiment(&["tiny.yaml", "--threads", "1", "--set", "expect=['elbo_validation.psnr > 1000']"]);
    let run = place.run();
    let name = run.file_name().unwrap().to_str().unwrap().to_owned();
    let said = place.experiment(&["rerun", "results/tiny"]);
    assert!(said.done().last().unwrap().starts_with("the same bits: tokenizer, "), "{said:?}");
    assert!(!said.stderr.contains("not as it was"), "{said:?}");
    let second = again(&place, &run);
    assert_same(&run, &second);
    let (then, now) = (facts(&run), facts(&second));
    assert_eq!((&now["rerun_of"], &now["threads"]), (&name.into(), &1.into()));
    for fact in ["spec_hash", "data", "built"] {
        assert_eq!(then[fact], now[fact], "{fact}");
    }
    fs::remove_dir_all(&second).unwrap();

    // A curve that was edited, in a run of another program: the first difference, and what may be why.
    let metrics = run.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap().replacen("\"val_nll\":", "\"val_nll\":7,\"was\":", 1);
    fs::write(&metrics, text).unwrap();
    let mut other = then.clone();
    other["built"]["commit"] = "0123456789abcdef0123456789abcdef01234567".into();
    fs::write(run.join("run.json"), other.to_string()).unwrap();
    let said = place.experiment(&["rerun", run.to_str().unwrap()]);
    said.failed(3, "not the same bits: ");
    said.failed(3, ": val_nll 7 then, ");
    said.failed(3, "not as it was: the program's commit: 0123456789ab then, ");
    assert!(said.stdout.contains("\ndiffers: "), "{said:?}");
}

#[test]
fn only_a_run_that_has_ended_and_whose_data_are_there_is_repeated() {
    let place = Place::new();
    place.experiment(&["rerun", "nothing"]).failed(4, "no run here");
    let data = "data: {kind: folder, train: [pictures], validation: {held: [pictures]}}\n";
    let spec = TINY.replace("data: {train_scenes: 64, validation_scenes: 16}\n", data);
    let spec = spec.replace("evaluate: {pairs: 8, seen: 4, held_out: 4, two_objects: 4}", "evaluate: {pairs: 8}");
    let mut place = place.write("tiny.yaml", spec);
    for index in 0..8u8 {
        let name = format!("pictures/{index}");
        place = place.write(&format!("{name}.png"), png(20, 20, 30 * index));
        place = place.write(&format!("{name}.txt"), format!("picture {index}, a gradient"));
    }
    place.experiment(&["tiny.yaml"]).done();
    let run = place.run();
    let own = facts(&run);
    assert_eq!(own["data"]["fingerprint"]["train"].as_str().unwrap().len(), 32);
    assert!(own["data"]["bytes"]["validation"]["held"].as_u64().unwrap() > 100);

    // One caption, of as many letters: nothing is trained on it unasked.
    fs::write(place.path("pictures/3.txt"), "picture 3, a Gradient").unwrap();
    let said = place.experiment(&["rerun", "results/tiny"]);
    said.failed(4, "not the data of the run: 8 samples to train on");
    assert_eq!(place.run(), run);
    let said = place.experiment(&["rerun", "results/tiny", "--other-data"]);
    said.failed(3, "not as it was: data: 8 samples to train on");

    let mut stopped = own;
    stopped["status"] = "interrupted".into();
    fs::write(run.join("run.json"), stopped.to_string()).unwrap();
    place.experiment(&["rerun", run.to_str().unwrap()]).failed(2, "interrupted: expected a run that has ended");
}
