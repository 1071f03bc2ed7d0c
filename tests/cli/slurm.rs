//! A sweep on a cluster of one node, with Slurm's own daemons: an array whose tasks are told to stop, are queued again and go on, ends
//! with the bits of runs that nobody stopped. Skipped where there is no Slurm, or no right to start one:
//! `apt-get install --no-install-recommends slurmctld slurmd slurm-client munge`.

use crate::support::{Place, TINY, assert_same, facts};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A cluster, its daemons ended with it.
struct Cluster {
    folder: TempDir,
    daemons: Vec<Child>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Cluster {
    /// Nothing where a daemon is missing, or may not be started.
    fn start() -> Option<Cluster> {
        let there = ["munged", "slurmctld", "slurmd", "sbatch"].iter().all(|name| found(name).is_some());
        let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !there || !root {
            eprintln!("skipped: no Slurm here, or no right to start it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["state", "spool"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("key"), [7; 1024]).unwrap();
        fs::set_permissions(folder.path().join("key"), fs::Permissions::from_mode(0o400)).unwrap();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
        let cores = std::thread::available_parallelism().unwrap();
        let [controller, node] =
            [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        // Without `cred_expire` a task that is queued again waits for two minutes.
        let settings = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\nSlurmdPort={node}\nSlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/munge\nAuthInfo=socket={socket},cred_expire=5\nStateSaveLocation={state}\nSlurmdSpoolDir={spool}\n\
             SlurmctldPidFile={state}/ctld.pid\nSlurmdPidFile={state}/d.pid\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\nMpiDefault=none\nKillWait=10\n\
             SchedulerParameters=batch_sched_delay=1,sched_interval=1\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN\nPartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
            socket = at("socket"),
            state = at("state"),
            spool = at("spool"),
        );
        fs::write(folder.path().join("slurm.conf"), settings).unwrap();
        let log = |name: &str| fs::File::create(folder.path().join(format!("{name}.log"))).unwrap();
        let mut daemons = Vec::new();
        let mut daemon = |name: &str, arguments: &[&str]| {
            let mut command = Command::new(found(name).unwrap());
            command.args(arguments).env("SLURM_CONF", folder.path().join("slurm.conf")).stdin(Stdio::null());
            daemons.push(command.stdout(log(name)).stderr(log(&format!("{name}-err"))).spawn().unwrap());
        };
        let [socket, key, pid, seed, munge_log] = ["socket", "key", "munged.pid", "munged.seed", "munge.log"].map(at);
        daemon(
            "munged",
            &[
                "--foreground",
                "--force",
                "--socket",
                &socket,
                "--key-file",
                &key,
                "--pid-file",
                &pid,
                "--seed-file",
                &seed,
                "--log-file",
                &munge_log,
            ],
        );
        await_it("munge's socket", || folder.path().join("socket").exists());
        daemon("slurmctld", &["-D"]);
        daemon("slurmd", &["-D"]);
        let cluster = Cluster { folder, daemons };
        await_it("an idle node", || cluster.ask("sinfo", &["-h", "-o", "%T"]).trim() == "idle");
        Some(cluster)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("SLURM_CONF", self.folder.path().join("slurm.conf"));
        command
    }

    fn ask(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.command(name).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A program, also where only the administrator looks for it.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
}

fn await_it(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(240), "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn runs(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path("results/tiny")).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("run.json").is_file()).collect();
    runs.sort_by_key(|run| facts(run)["seeds"]["spec"].as_u64());
    runs
}

#[test]
fn an_array_on_slurm_is_queued_again_and_ends_with_the_same_bits() {
    let Some(cluster) = Cluster::start() else { return };
    let text = TINY.replace("transformer: {steps: 12", "transformer: {steps: 2000") + "sweep: {grid: {seed: [0, 1]}}\n";
    let place = Place::new().write("sweep.yaml", text);
    let script =
        place.experiment(&["sweep", "sweep.yaml", "--emit", "slurm", "--threads", "1"]).done().join("\n") + "\n";
    let place = place.write("job.sh", script);
    let mut submit = cluster.command("sbatch");
    let submitted = submit.args(["--parsable", "job.sh"]).current_dir(place.path("")).output().unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    let job = String::from_utf8(submitted.stdout).unwrap().trim().to_owned();
    let trains = |index: usize| {
        let logs = place.path("results/tiny/sweeps");
        let folder = fs::read_dir(logs).unwrap().next().unwrap().unwrap().path();
        fs::read_to_string(folder.join(format!("logs/{index}.log"))).is_ok_and(|log| log.contains("transformer: step"))
    };
    await_it("task that trains", || trains(0));
    let signal = cluster.command("scancel").args(["--signal=USR1", "--batch", &format!("{job}_0")]).status().unwrap();
    assert!(signal.success());
    await_it("task that was queued again", || {
        let shown = cluster.ask("scontrol", &["show", "job", &format!("{job}_0")]);
        shown.contains("Restarts=1")
    });
    await_it("end of the array", || cluster.ask("squeue", &["-h", "-j", &job]).trim().is_empty());
    let swept = runs(&place);
    assert_eq!(swept.len(), 2, "every index once: {swept:?}");
    assert!(
        swept.iter().all(|run| facts(run)["status"] == "done"),
        "{:?}",
        swept.iter().map(|run| facts(run)["status"].clone()).collect::<Vec<_>>()
    );
    let whole = Place::new().write("alone.yaml", TINY.replace("transformer: {steps: 12", "transformer: {steps: 2000"));
    whole.experiment(&["alone.yaml"]).done();
    assert_same(&runs(&whole)[0], &swept[0]);
}
