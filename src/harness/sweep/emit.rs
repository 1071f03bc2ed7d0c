//! A sweep as a job of a cluster: a script that runs each index by the same call that a person would make, so that a task which is
//! queued again goes on where it was.

use super::frozen::Frozen;
use std::fmt::Write;
use std::path::Path;

/// Who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `sbatch`: an array, each task queued again where it is told to stop.
    Slurm,
    /// `kubectl apply`: an indexed Job.
    Kubernetes,
    /// Any shell, one index after the other.
    Shell,
}

/// Seconds between Slurm's signal and the end of a task: for the step that runs and its checkpoint.
const GRACE: u64 = 120;

/// The script, for `program` with `arguments` after the index, and `at_once` tasks at a time (0: as many as there is room for).
pub fn emit(target: Target, frozen: &Frozen, program: &Path, arguments: &[String], at_once: usize) -> String {
    let path = std::path::absolute(&frozen.path).unwrap_or_else(|_| frozen.path.clone());
    let call = |index: &str| {
        let words = [&program.display().to_string(), "sweep", &path.display().to_string(), "--index"].map(quoted);
        let rest = arguments.iter().map(|argument| format!(" {}", quoted(argument)));
        format!("{} {index}{}", words.join(" "), rest.collect::<String>())
    };
    match target {
        Target::Slurm => slurm(frozen, &path, &call("\"$SLURM_ARRAY_TASK_ID\""), at_once),
        Target::Kubernetes => kubernetes(frozen, &path, arguments, at_once),
        Target::Shell => shell(frozen, &call("\"$index\"")),
    }
}

fn slurm(frozen: &Frozen, path: &Path, call: &str, at_once: usize) -> String {
    let (last, limit) = (frozen.rows.len() - 1, if at_once > 0 { format!("%{at_once}") } else { String::new() });
    let (name, logs) = (&frozen.name, path.join("logs"));
    let logs = logs.display();
    format!(
        "#!/bin/bash\n\
         # {name}: {count} specs. Add what the cluster wants to know: --partition, --time, --cpus-per-task, --gres.\n\
         #SBATCH --job-name={name}\n\
         #SBATCH --array=0-{last}{limit}\n\
         #SBATCH --requeue\n\
         #SBATCH --signal=B:USR1@{GRACE}\n\
         #SBATCH --open-mode=append\n\
         #SBATCH --output={logs}/%a.log\n\
         \n\
         {call} &\n\
         child=$!\n\
         # Slurm signals the shell alone; the shell asks its child for a checkpoint, and waits.\n\
         trap 'kill -USR1 \"$child\" 2>/dev/null' USR1 TERM\n\
         wait \"$child\"\n\
         code=$?\n\
         while kill -0 \"$child\" 2>/dev/null; do\n\
         \x20   wait \"$child\"\n\
         \x20   code=$?\n\
         done\n\
         # Stopped after a checkpoint: the task is queued again, and goes on.\n\
         if [ \"$code\" = 75 ]; then\n\
         \x20   scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\n\
         fi\n\
         exit \"$code\"\n",
        count = frozen.rows.len(),
    )
}

/// Exit codes: 75 is a stop after a checkpoint, which costs no try; 2 to 5 will not get better by trying again.
fn kubernetes(frozen: &Frozen, path: &Path, arguments: &[String], at_once: usize) -> String {
    let count = frozen.rows.len();
    let parallel = if at_once > 0 { at_once } else { count };
    let mut command = String::new();
    let path = path.display().to_string();
    let words = ["experiment", "sweep", &path, "--index", "$(JOB_COMPLETION_INDEX)"];
    for word in words.into_iter().chain(arguments.iter().map(String::as_str)) {
        let _ = write!(command, "\n            - {word:?}");
    }
    format!(
        "# {name}: {count} specs. Change the image, the claim and where it is mounted: {path} must be there.\n\
         apiVersion: batch/v1\n\
         kind: Job\n\
         metadata:\n\
         \x20 name: {label}\n\
         spec:\n\
         \x20 completionMode: Indexed\n\
         \x20 completions: {count}\n\
         \x20 parallelism: {parallel}\n\
         \x20 backoffLimitPerIndex: 3\n\
         \x20 maxFailedIndexes: {count}\n\
         \x20 podReplacementPolicy: Failed\n\
         \x20 podFailurePolicy:\n\
         \x20   rules:\n\
         \x20     - action: Ignore # a stop after a checkpoint: the next pod goes on\n\
         \x20       onExitCodes: {{containerName: experiment, operator: In, values: [75]}}\n\
         \x20     - action: FailIndex # the spec, what it expects, its data or its numbers: trying again changes nothing\n\
         \x20       onExitCodes: {{containerName: experiment, operator: In, values: [2, 3, 4, 5]}}\n\
         \x20     - action: Ignore # the node went away\n\
         \x20       onPodConditions: [{{type: DisruptionTarget}}]\n\
         \x20 template:\n\
         \x20   spec:\n\
         \x20     restartPolicy: Never\n\
         \x20     terminationGracePeriodSeconds: {GRACE}\n\
         \x20     containers:\n\
         \x20       - name: experiment\n\
         \x20         image: dalle\n\
         \x20         command:{command}\n\
         \x20         volumeMounts:\n\
         \x20           - {{name: data, mountPath: /data}}\n\
         \x20     volumes:\n\
         \x20       - name: data\n\
         \x20         persistentVolumeClaim: {{claimName: data}}\n",
        name = frozen.name,
        label = label(&frozen.name),
    )
}

fn shell(frozen: &Frozen, call: &str) -> String {
    let last = frozen.rows.len() - 1;
    format!(
        "#!/bin/sh\n\
         # {name}: {count} specs, one after the other. What is done is passed over, what was stopped is gone on with.\n\
         failed=0\n\
         for index in $(seq 0 {last}); do\n\
         \x20   {call}\n\
         \x20   code=$?\n\
         \x20   case \"$code\" in\n\
         \x20       0) ;;\n\
         \x20       75 | 130) exit \"$code\" ;;\n\
         \x20       *) failed=$code ;;\n\
         \x20   esac\n\
         done\n\
         exit \"$failed\"\n",
        name = frozen.name,
        count = frozen.rows.len(),
    )
}

/// A name as Kubernetes wants one: small letters, digits and dashes.
fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let label: String = name.chars().map(plain).collect();
    format!("dalle-{}", label.trim_matches('-'))
}

/// A word as a shell reads it whole.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_whole() {
        assert_eq!(quoted("results/a-b.yaml"), "results/a-b.yaml");
        assert_eq!(quoted("my results"), "'my results'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn labels_are_of_the_alphabet() {
        assert_eq!(label("LR_2.yes"), "dalle-lr-2-yes");
    }
}
