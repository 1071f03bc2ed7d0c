//! What the defaults make of pictures that they have never seen: a spec of a name, a preset and a folder of pictures, beside the
//! same pictures from their own source.

use crate::support::{Place, facts};
use dalle::data::Picture;
use dalle::data::shapes::Claim;
use dalle::evaluate::oracle::{Rule, compare};
use dalle::evaluate::reading::{Reading, read};
use std::fs;
use std::path::{Path, PathBuf};

/// `train/` and `held/`, pictures of shapes with their captions, and a spec of either kind of source.
fn place(preset: &str, side: &str, count: usize, held: usize) -> Place {
    let folder = "{kind: folder, train: [train], validation: {validation: [held]}}";
    let scenes = format!("{{train_scenes: {count}, validation_scenes: {held}}}");
    let spec = |name: &str, data: &str| format!("name: {name}\npreset: {preset}\ndata: {data}\n");
    let place = Place::new().write("files.yaml", spec("files", folder)).write("scenes.yaml", spec("scenes", &scenes));
    let (count, held) = (count.to_string(), held.to_string());
    for (split, out, count) in [("train", "train", &count), ("validation", "held", &held)] {
        let shapes = ["data", "shapes", "--split", split, "--out", out, "--count", count, "--size", side];
        place.experiment(&shapes).done();
    }
    place
}

/// The run of `NAME.yaml` with the given steps of its stages.
fn trained(place: &Place, name: &str, steps: [usize; 3]) -> PathBuf {
    let sets = ["first_stage", "transformer", "clip"].into_iter().zip(steps);
    let sets: Vec<String> = sets.map(|(stage, steps)| format!("--set={stage}.steps={steps}")).collect();
    let spec = format!("{name}.yaml");
    let arguments: Vec<&str> = [spec.as_str()].into_iter().chain(sets.iter().map(String::as_str)).collect();
    place.experiment(&arguments).done();
    fs::read_dir(place.path(&format!("results/{name}"))).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_folder_trains_as_well_as_the_source_that_it_was_written_from() {
    let place = place("tiny", "16", 512, 128);
    let of = |name: &str| {
        let found = &facts(&trained(&place, name, [240, 120, 30]))["results"]["elbo_validation"];
        (found["psnr"].as_f64().unwrap(), found["image_token_nats"].as_f64().unwrap())
    };
    let ((psnr, nats), (theirs, their_nats)) = (of("files"), of("scenes"));
    // 16 tokens of 32 codes; grey alone has 9 dB.
    let chance = 16.0 * 32f64.ln();
    assert!(theirs > 13.0 && their_nats < 0.7 * chance, "{theirs} dB, {their_nats} of {chance} nats");
    assert!(psnr > 0.9 * theirs, "{psnr} dB beside {theirs}");
    assert!(chance - nats > 0.9 * (chance - their_nats), "{nats} nats beside {their_nats}");
}

/// What the best picture of eight by the run's CLIP shows for each first caption of `held/`, beside what that names.
fn drawn(place: &Place, run: &Path) -> Vec<(Reading, Claim)> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(place.path("held")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some_and(|end| end == "txt"));
    names.sort();
    let first = |name: &PathBuf| fs::read_to_string(name).unwrap().lines().next().unwrap().to_owned();
    let captions: Vec<String> = names.iter().map(first).collect();
    let mut arguments = vec!["sample", run.to_str().unwrap(), "--n", "8", "--keep", "1", "--out", "drawn"];
    captions.iter().for_each(|caption| arguments.extend(["--caption", caption.as_str()]));
    place.experiment(&arguments).done();
    let picture = |index| Picture::open(place.path(&format!("drawn/{index}-0.png"))).unwrap();
    let captions = captions.iter().enumerate();
    captions.map(|(index, caption)| (read(&picture(index)), Claim::parse(caption).unwrap())).collect()
}

/// The quickstart's steps on 20,000 pictures, twice: a quarter of an hour on two quiet cores.
#[test]
#[ignore = "trains for a quarter of an hour"]
fn a_folder_reaches_nine_tenths_of_the_quickstarts_accuracy() {
    const CAPTIONS: usize = 512;
    let place = place("mini", "32", 20_000, CAPTIONS);
    let [files, scenes] = ["files", "scenes"].map(|name| drawn(&place, &trained(&place, name, [3000, 800, 400])));
    for rule in [Rule::Strict, Rule::Lenient] {
        let share = |drawn: &[(Reading, Claim)]| {
            let right = drawn.iter().filter(|(reading, claim)| compare(reading, claim, rule).all()).count();
            right as f64 / CAPTIONS as f64
        };
        let (files, scenes) = (share(&files), share(&scenes));
        println!("{rule:?}: files {files:.3}, scenes {scenes:.3}");
        assert!(files >= 0.9 * scenes, "{rule:?}: {files} beside {scenes}");
    }
}
