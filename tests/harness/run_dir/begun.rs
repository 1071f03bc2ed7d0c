//! How a run begins and ends, and where it lies.

use super::{PRESETS, TEXT, create, loaded};
use dalle::Error;
use dalle::harness::run_dir::{self, RunDir};
use serde_json::json;
use std::fs;

#[test]
fn a_new_run_describes_itself() {
    let results = tempfile::tempdir().unwrap();
    let run = create(results.path());
    let name = run.path().file_name().unwrap().to_str().unwrap();
    let hash = loaded(results.path()).spec.hash().unwrap();
    assert_eq!(run.path().parent().unwrap(), results.path().join("quick"));
    assert!(name.len() == 33 && name.ends_with(&format!("Z-{hash}")) && &name[8..9] == "T", "{name}");
    assert_eq!(fs::read_to_string(run.path().join("spec.yaml")).unwrap(), TEXT);
    let json = run_dir::read_run(run.path()).unwrap();
    assert_eq!(json["status"], "running");
    assert_eq!(json["seeds"]["spec"], 7);
    assert_eq!(json["argv"], json!(["experiment", "a.yaml"]));
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    let built = &json["built"];
    assert!(
        built["rustc"].is_string()
            && built["features"].is_array()
            && built["commit"].is_string() == built["dirty"].is_boolean()
    );
    assert!(json["threads"].as_u64().unwrap() >= 1 && json["exit"].is_null());
    let again = run_dir::read_spec(run.path(), PRESETS).unwrap();
    assert_eq!(again.spec, loaded(results.path()).spec);
    assert_eq!(again.folder, fs::canonicalize(results.path()).unwrap());
}

#[test]
fn updates_and_the_end_are_written_whole() {
    let results = tempfile::tempdir().unwrap();
    let mut run = create(results.path());
    run.update(|run| run["results"]["elbo"] = json!(1.5)).unwrap();
    run.finish(3).unwrap();
    let json = run_dir::read_run(run.path()).unwrap();
    assert_eq!((&json["results"]["elbo"], &json["exit"]), (&json!(1.5), &json!(3)));
    assert_eq!(json["status"], "expectation failed");
    assert!(json["timings"]["total"].as_f64().unwrap() >= 0.0);
    let path = run.path().to_owned();
    drop(run);
    let run = RunDir::open(&path).unwrap();
    assert_eq!((&run.run()["status"], &run.run()["results"]["elbo"]), (&json!("running"), &json!(1.5)));
    fs::write(path.join("run.json"), "{\"status\":").unwrap();
    drop(run);
    assert_eq!(RunDir::open(&path).unwrap_err().exit_code(), 4);
}

#[test]
fn runs_of_one_second_are_kept_apart_and_the_newest_is_found() {
    let results = tempfile::tempdir().unwrap();
    let paths: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| create(results.path()).path().to_owned())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(paths.iter().collect::<std::collections::BTreeSet<_>>().len(), 16);
    let folder = results.path().join("quick");
    for name in [
        "20010101T000000Z-00000000",
        "29990101T000000Z-0000000a",
        "29990101T000000Z-0000000a-9",
        "29990101T000000Z-0000000a-10",
    ] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("run.json"), "{}").unwrap();
    }
    // A run that has not started yet, or is no run.
    fs::create_dir(folder.join("29991231T000000Z-00000000")).unwrap();
    assert_eq!(run_dir::find(&folder).unwrap(), folder.join("29990101T000000Z-0000000a-10"));
    assert_eq!(run_dir::find(&paths[0]).unwrap(), paths[0]);
    // As 8 digits were, 16 are found by their time.
    let longer = folder.join("29990101T000001Z-0000000a0000000b");
    fs::create_dir(&longer).unwrap();
    fs::write(longer.join("run.json"), "{}").unwrap();
    assert_eq!(run_dir::find(&folder).unwrap(), longer);
    let same = run_dir::find_same(results.path(), &loaded(results.path()).spec).unwrap().unwrap();
    assert!(paths.contains(&same));
    let mut other = loaded(results.path()).spec;
    other.seed += 1;
    assert_eq!(run_dir::find_same(results.path(), &other).unwrap(), None);
    assert_eq!(run_dir::find(results.path().join("nothing")).unwrap_err().exit_code(), 4);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_once() {
    let results = tempfile::tempdir().unwrap();
    let file = results.path().join("file");
    fs::write(&file, "").unwrap();
    // Below a regular file, so that it fails for root too.
    let error = RunDir::create(file.join("results"), &loaded(results.path()), &[]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.exit_code() == 6);
    let text = error.to_string();
    assert!(text.starts_with("cannot create") && text.contains("file/results") && text.lines().count() == 1, "{text}");
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let results = tempfile::tempdir().unwrap();
    fs::set_permissions(results.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(results.path().join("probe"), "").is_ok() {
        return; // root writes anyway
    }
    let error = RunDir::create(results.path(), &loaded(results.path()), &[]).unwrap_err();
    assert_eq!(error.exit_code(), 6);
}
