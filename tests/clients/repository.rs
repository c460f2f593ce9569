//! A git repository on the side of the origin.

use super::harness::Site;
use super::origins::PATH;
use super::programs::write_pattern;
use super::succeeded;
use super::util::Program;
use std::process::Command;

/// A bare repository with one commit, to be served; gives the commit.
pub(crate) fn make_repository(site: &Site, name: &str) -> String {
    write_pattern(&site.at("sent"), 1 << 20);
    let path = site.at("repositories").join(name);
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    let run = |line: &[&str], folder: &str| {
        let finished = Program::start(&mut git(site, line, folder)).finish();
        succeeded(&finished);
        finished.stdout
    };
    run(&["init", "--quiet", "work"], ".");
    std::fs::copy(site.at("sent"), site.at("work/file")).expect("copied");
    run(&["add", "file"], "work");
    run(&["commit", "--quiet", "-m", "Say something"], "work");
    run(&["clone", "--quiet", "--bare", "work", &path], ".");
    run(&["config", "http.receivepack", "true"], &path);
    std::fs::write(site.home().join(".gitconfig"), "[user]\nname = A\nemail = a@b.c\n").expect("written");
    run(&["rev-parse", "HEAD"], "work").remove(0)
}

/// git on the side of the origin.
pub(crate) fn git(site: &Site, line: &[&str], folder: &str) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", PATH).env("HOME", site.at(".")).current_dir(site.at(folder)).args(line);
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@b.c");
    }
    command
}
