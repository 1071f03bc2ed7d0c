//! A few calls of each verb, at the end of its `--help`.

use clap::Command;

/// Verb, with what it is of where it has several, and the lines of its examples; what follows `#` says what a line does.
const EXAMPLES: [(&str, &[&str]); 31] = [
    ("train", &["experiment train experiments/quickstart.yaml --threads 2"]),
    (
        "sweep",
        &[
            "experiment sweep rates.yaml --dry-run    # what each of its specs would take",
            "experiment sweep rates.yaml --jobs 2     # two at a time; again: what is missing",
            "experiment sweep rates.yaml --emit slurm # a script for sbatch",
        ],
    ),
    (
        "list",
        &[
            "experiment list --where status=done --sort -elbo_validation.psnr --show elbo_validation.psnr",
            "experiment list --where tag=good --json",
        ],
    ),
    ("show", &["experiment show results/quickstart   # its newest run"]),
    (
        "compare",
        &[
            "experiment compare results/rates     # all runs of that name; seeds are repeats",
            "experiment compare results/rates/RUN results/rates --html rates.html # held against RUN",
        ],
    ),
    (
        "prune",
        &[
            "experiment prune                     # says what it would free",
            "experiment prune results/rates --superseded --yes",
        ],
    ),
    ("tag", &["experiment tag results/quickstart good", "experiment tag results/quickstart good --remove"]),
    (
        "new",
        &[
            "experiment new pictures              # writes pictures.yaml",
            "experiment new 'shards/train-*.tar' --out specs/birds.yaml",
        ],
    ),
    (
        "rerun",
        &[
            "experiment rerun results/quickstart  # its newest run",
            "experiment rerun results/quickstart --other-data --out again",
        ],
    ),
    (
        "check",
        &["experiment check pictures.yaml       # the data too", "experiment check experiments/*.yaml --spec-only"],
    ),
    ("explain", &["experiment explain transformer.optimizer.lr", "experiment explain > docs/spec.md"]),
    ("schema", &["experiment schema > experiments/schema.json"]),
    ("plan", &["experiment plan experiments/paper.yaml", "experiment plan pictures.yaml --set transformer.steps=5000"]),
    (
        "sample",
        &[
            "experiment sample results/quickstart --caption \"a red circle\" --n 64 --keep 8",
            "experiment sample results/quickstart --caption \"a red circle\" --temperature 0.8 --top-p 0.95",
            "experiment sample results/quickstart --caption \"a red circle\" --prime half.png --prime-rows 4",
        ],
    ),
    ("encode", &["experiment encode results/quickstart picture.png --out tokens.json"]),
    ("decode", &["experiment decode results/quickstart tokens.json --out picture.png"]),
    (
        "rerank",
        &[
            "experiment rerank results/quickstart --caption \"a red circle\" a.png b.png",
            "experiment rerank clip.safetensors --caption cat --caption dog --template \"a photo of a {}\" a.png",
        ],
    ),
    ("masks", &["experiment masks --text 16 --grid 8 --out masks"]),
    ("bench", &["experiment bench", "experiment bench attention --json"]),
    ("selftest", &["experiment selftest", "experiment selftest --device cuda"]),
    (
        "eval",
        &[
            "experiment eval results/quickstart --pairs 0",
            "experiment eval results/pictures --network inception.onnx --side 299",
        ],
    ),
    ("report", &["experiment report results/quickstart"]),
    (
        "export",
        &[
            "experiment export tensorboard results/quickstart --out logs --follow",
            "experiment export csv results/quickstart results/emoji --out tables",
            "experiment export model results/quickstart --out quickstart",
        ],
    ),
    (
        "data",
        &[
            "experiment data emoji",
            "experiment data shapes --count 1000 --out shapes",
            "experiment data encode pictures.yaml --set first_stage.from=results/quickstart",
        ],
    ),
    (
        "data emoji",
        &[
            "experiment data emoji                # shards for experiments/emoji.yaml",
            "experiment data emoji --out data/emoji-64 --size 64",
        ],
    ),
    (
        "data shapes",
        &[
            "experiment data shapes --out shapes  # a sheet to look at",
            "experiment data shapes --out shapes --count 1000 --size 64 --split held-out",
        ],
    ),
    (
        "data encode",
        &[
            "experiment data encode pictures.yaml # by the first stage of its newest run",
            "experiment data encode pictures.yaml --set first_stage.from=results/quickstart",
        ],
    ),
    (
        "import",
        &[
            "experiment import openai-dvae encoder.pkl decoder.pkl --out dvae.safetensors",
            "experiment import hf-clip config.json model.safetensors --out clip.safetensors",
        ],
    ),
    ("inspect", &["experiment inspect model.pt"]),
    (
        "completions",
        &[
            "experiment completions bash > ~/.local/share/bash-completion/completions/experiment",
            "experiment completions zsh > ~/.zfunc/_experiment",
            "experiment completions fish > ~/.config/fish/completions/experiment.fish",
        ],
    ),
    ("man", &["experiment man | man -l -", "experiment man --out ~/.local/share/man/man1"]),
];

/// Those of the program itself.
const OWN: [&str; 3] = [
    "experiment experiments/quickstart.yaml",
    "experiment experiments/quickstart.yaml --set seed=1 --threads 2",
    "experiment --resume=results/quickstart",
];

/// `command`, and each verb and each part of one that has no examples of its own, with them.
pub fn with(command: Command) -> Command {
    let exit_codes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let command = command.after_long_help(format!("{}\n\n{exit_codes}", text(&OWN)));
    EXAMPLES.iter().fold(command, |command, (path, lines)| at(command, path, lines))
}

/// `command` with `lines` as the examples of its part at `path`.
fn at(command: Command, path: &str, lines: &[&str]) -> Command {
    let (verb, below) = path.split_once(' ').unwrap_or((path, ""));
    let has_own = |verb: &Command| below.is_empty() && verb.get_after_long_help().is_some();
    if command.find_subcommand(verb).is_none_or(has_own) {
        return command;
    }
    command.mut_subcommand(verb, |verb| match below {
        "" => verb.after_long_help(text(lines)),
        below => at(verb, below, lines),
    })
}

fn text(lines: &[&str]) -> String {
    format!("Examples:\n  {}", lines.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The words of a shell's line, up to a comment or to where it goes.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (c, quote) {
                ('"' | '\'', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (c, Some(open)) if c == open => quote = None,
                ('#' | '>' | '|' | '&', None) => break,
                (' ', None) => words.extend(word.take()),
                (c, _) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_verb_has_examples_and_each_parses() {
        let command = with(crate::Cli::command());
        let parts = |command: &Command| command.get_subcommands().cloned().collect::<Vec<_>>();
        let verbs = parts(&command);
        let all: Vec<Command> = verbs.iter().flat_map(parts).chain(verbs.clone()).collect();
        assert!(all.len() >= EXAMPLES.len());
        for verb in [&command].into_iter().chain(&all) {
            let help =
                verb.get_after_long_help().unwrap_or_else(|| panic!("{}: no examples", verb.get_name())).to_string();
            let lines: Vec<&str> = help.lines().map(str::trim).filter(|line| line.starts_with("experiment ")).collect();
            assert!(!lines.is_empty(), "{help}");
            for line in lines {
                let parsed = crate::Cli::command().try_get_matches_from(words(line));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }
}
