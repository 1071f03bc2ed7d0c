//! The machine that a run is on, as far as it may move bits or time.

use serde_json::{Map, Value, json};
use std::env;
use std::fs;
use std::path::Path;

/// Variables by the start of their names: what sets the threads and the heap.
const PREFIXES: [&str; 2] = ["RAYON_", "MIMALLOC_"];
/// Those of a cluster's job. Others of `SLURM_` name people and folders.
const SLURM: [&str; 8] = [
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "SLURM_MEM_PER_NODE",
];
/// What of a processor's abilities kernels may choose by, by the start of their names.
const FLAGS: [&str; 10] = ["sse4", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16", "i8mm", "neon"];

/// Host, system, cores, memory, the limits of its control group, the processor's abilities, and the few variables of the
/// environment that matter; null for what the system does not tell.
pub fn machine() -> Value {
    let [host, release] = ["hostname", "osrelease"].map(|name| read(&format!("/proc/sys/kernel/{name}")));
    let system = release.map(|release| format!("{} {release} {}", env::consts::OS, env::consts::ARCH));
    let (memory, quota) = limits(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup").unwrap_or_default());
    json!({
        "host": host,
        "system": system,
        "cores": std::thread::available_parallelism().ok(),
        "memory_bytes": read("/proc/meminfo").and_then(|text| total(&text)),
        "cgroup": {"memory_bytes": memory, "cores": quota},
        "cpu_flags": read("/proc/cpuinfo").and_then(|text| flags(&text)),
        "environment": environment(env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        })),
    })
}

/// The processor's model name, where the system tells it.
pub fn cpu() -> Option<String> {
    field(&read("/proc/cpuinfo")?, "model name")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What follows `name` and a colon on the first line that begins with it.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn total(meminfo: &str) -> Option<u64> {
    let kibibytes = field(meminfo, "MemTotal")?.split_whitespace().next()?.parse::<u64>().ok()?;
    kibibytes.checked_mul(1024)
}

fn flags(cpuinfo: &str) -> Option<String> {
    let all = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features"))?;
    let chosen = all.split_whitespace().filter(|flag| FLAGS.iter().any(|start| flag.starts_with(start)));
    Some(chosen.collect::<Vec<_>>().join(" "))
}

/// The least memory in bytes, and the fewest cores, that the group `own` (a line of /proc/self/cgroup, version 2) and those around
/// it may use.
fn limits(root: &Path, own: &str) -> (Option<u64>, Option<f64>) {
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return (None, None) };
    let (mut memory, mut cores) = (None::<u64>, None::<f64>);
    for group in Path::new(own).ancestors() {
        let text = |name: &str| fs::read_to_string(root.join(group).join(name)).unwrap_or_default();
        if let Ok(most) = text("memory.max").trim().parse() {
            memory = Some(memory.map_or(most, |least| least.min(most)));
        }
        let quota: Vec<f64> = text("cpu.max").split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [quota, period] = quota[..] {
            cores = Some(cores.map_or(quota / period, |least| least.min(quota / period)));
        }
    }
    (memory, cores)
}

/// Of all variables those that matter; none whose value may be a path.
fn environment(all: impl Iterator<Item = (String, String)>) -> Value {
    let matters = |name: &str| PREFIXES.iter().any(|start| name.starts_with(start)) || SLURM.contains(&name);
    let mut kept: Vec<_> = all.filter(|(name, value)| matters(name) && !value.contains('/')).collect();
    kept.sort();
    Value::Object(kept.into_iter().map(|(name, value)| (name, json!(value))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_without_paths_or_people() {
        let said = machine();
        assert!(said["cores"].as_u64().is_some_and(|cores| cores > 0), "{said}");
        let of = |pairs: &[(&str, &str)]| {
            environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        let all = [("SLURM_JOB_ID", "7"), ("SLURM_JOB_USER", "eve"), ("HOME", "/home/eve"), ("RAYON_NUM_THREADS", "2")];
        assert_eq!(of(&all), json!({"RAYON_NUM_THREADS": "2", "SLURM_JOB_ID": "7"}));
        assert_eq!(of(&[("RAYON_LOG", "/tmp/x"), ("AWS_SECRET", "x")]), json!({}));
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("jobs/7");
        fs::create_dir_all(&group).unwrap();
        assert_eq!(limits(root.path(), "0::/jobs/7"), (None, None));
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(group.join("cpu.max"), "150000 100000\n").unwrap();
        fs::write(root.path().join("jobs/memory.max"), "4096\n").unwrap();
        fs::write(root.path().join("memory.max"), "8192\n").unwrap();
        fs::write(root.path().join("jobs/cpu.max"), "max 100000\n").unwrap();
        assert_eq!(limits(root.path(), "4:memory:/x\n0::/jobs/7"), (Some(4096), Some(1.5)));
        assert_eq!(limits(root.path(), "4:memory:/x"), (None, None));
    }

    #[test]
    fn what_the_system_says_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx avx2 fma hypervisor\n";
        assert_eq!(flags(cpuinfo).as_deref(), Some("avx avx2 fma"));
        assert_eq!(field(cpuinfo, "model name").as_deref(), Some("A CPU"));
        assert_eq!(flags("processor : 0"), None);
        assert_eq!(total("MemTotal:       2048 kB\nMemFree: 1 kB"), Some(2 << 20));
        assert_eq!(total("MemTotal: x"), None);
    }
}
