//! How the program speaks: quiet, in colours, to shells and to `man`.

use crate::support::Place;
use std::fs;
use std::process::Command;

/// The verbs, as `--help` lists them.
fn verbs(place: &Place) -> Vec<String> {
    let help = place.experiment(&["--help"]);
    let list = help.stdout.split("Commands:\n").nth(1).unwrap().split("\n\nArguments:").next().unwrap();
    let named = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs: Vec<String> = named.map(|line| line.trim().split(' ').next().unwrap().to_owned()).collect();
    assert!(verbs.len() > 20 && verbs.contains(&"sweep".to_owned()), "{verbs:?}");
    verbs.into_iter().filter(|verb| verb != "help").collect()
}

#[test]
fn completions_and_manual_know_every_verb() {
    let place = Place::new();
    let verbs = verbs(&place);
    for shell in ["bash", "zsh", "fish"] {
        let said = place.experiment(&["completions", shell]);
        let script = said.done().join("\n");
        let missing: Vec<&String> = verbs.iter().filter(|verb| !script.contains(verb.as_str())).collect();
        assert!(missing.is_empty() && script.contains("resume-or-start"), "{shell}: {missing:?}");
    }
    let script = place.experiment(&["completions", "bash"]).stdout;
    assert!(Command::new("bash").args(["-n", "-c", &script]).status().is_ok_and(|status| status.success()));
    let page = place.experiment(&["man"]);
    let page = page.done().join("\n");
    assert!(page.contains(".TH experiment 1") && page.contains("Exit codes"), "{page}");
    place.experiment(&["man", "--out", "man1"]).done();
    for verb in &verbs {
        assert!(page.contains(&format!("experiment\\-{verb}(1)")), "{verb} in {page}");
        let own = fs::read_to_string(place.path(&format!("man1/experiment-{verb}.1"))).unwrap();
        assert!(
            own.contains(&format!(".TH experiment\\-{verb} 1")) || own.contains(&format!(".TH experiment-{verb} 1")),
            "{own}"
        );
        assert!(own.contains("Examples:"), "{verb}");
    }
    let said = place.experiment(&["completions", "cobol"]);
    assert!(said.code == Some(2) && said.stderr.contains("[possible values: bash, zsh, fish]"), "{said:?}");
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let place = Place::with_spec();
    let said = place.experiment(&["-q", "tiny.yaml"]);
    assert!(said.done().last().unwrap().ends_with("report.html"));
    let others: Vec<&str> = said.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
    assert!(others.is_empty(), "{others:?}");
    let loud = place.experiment(&["tiny.yaml"]);
    assert!(loud.stderr.lines().any(|line| line.starts_with("run: ")), "{loud:?}");
    place.experiment(&["check", "gone.yaml", "--quiet"]).failed(2, "gone.yaml: no such spec");
    place.experiment(&["-q", "--color", "never", "check", "tiny.yaml"]).done();
}

#[test]
fn colours_are_asked_for() {
    let place = Place::with_spec().write("bad.yaml", "name: a\npreset: tiny\nseeed: 1\n");
    let plain = place.experiment(&["check", "bad.yaml"]);
    assert!(!plain.stderr.contains('\u{1b}'), "{plain:?}");
    let coloured = place.experiment(&["check", "bad.yaml", "--color=always"]);
    assert_eq!(coloured.code, Some(2));
    assert!(coloured.stderr.starts_with("\u{1b}[1;31merror\u{1b}[0m: \u{1b}[1mbad.yaml:3:1: "), "{coloured:?}");
    assert!(!coloured.stderr.contains('\u{fffd}'), "{coloured:?}");
    assert_eq!(dalle::error::unstyled(&coloured.stderr), plain.stderr);
    // Not on a terminal, and NO_COLOR or not: what was asked for holds.
    let output = place.command(&["check", "bad.yaml", "--color", "always"]).env("NO_COLOR", "1").output().unwrap();
    assert!(output.stderr.contains(&0x1b));
    let help = place.experiment(&["--color", "always", "check", "--help"]);
    assert!(help.stdout.contains('\u{1b}') && help.stdout.contains("Examples:"), "{help:?}");
}
