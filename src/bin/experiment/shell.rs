//! `experiment completions` and `experiment man`: what a shell and `man` know of the program, made from its arguments.

use crate::output::Output;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use dalle::files::write_atomic;
use dalle::{Error, Result};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Whose.
    shell: Kind,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<()> {
    let shell = match args.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "experiment", &mut script);
    let script = String::from_utf8_lossy(&script);
    args.output.tell(&json!({"shell": shell.to_string(), "script": script}), || Ok(script.to_string()))
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// A folder for a page of the program and one of each verb; the page of the program on standard output if left out.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub fn man(args: &ManArgs, mut command: Command) -> Result<()> {
    command.build();
    let Some(folder) = &args.out else {
        let page = page(command)?;
        return args.output.tell(&json!({"page": page}), || Ok(page.clone()));
    };
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut files = Vec::new();
    let verbs: Vec<Command> = command.get_subcommands().filter(|verb| verb.get_name() != "help").cloned().collect();
    for command in [command].into_iter().chain(verbs) {
        // As `man experiment-sample` finds it.
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let file = folder.join(format!("{name}.1"));
        write_atomic(&file, page(command)?.as_bytes())?;
        args.output.line(file.display())?;
        files.push(file);
    }
    args.output.end(&json!({"files": files}))
}

fn page(command: Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Error::io("write", "a man page"))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
