//! The report as a real browser sees it.

use super::SECTIONS;
use super::finished::finished_run;
use dalle::report;
use std::process::{Command, Stdio};

#[test]
fn a_browser_shows_every_section_and_complains_of_nothing() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }) else {
        println!("skipped: Chromium is not installed");
        return;
    };
    let (run, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    finished_run(run.path());
    let page = report::write(run.path()).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for section in SECTIONS {
        assert!(dom.contains(&format!("<section id=\"{section}\">")), "{section} is missing:\n{log}");
    }
    assert!(dom.contains("</main>") && dom.matches("<svg").count() > 20, "{log}");
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
