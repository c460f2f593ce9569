//! What is printed for users to type or to mount, read as it stands.

use super::engine::{Engine, repository};
use super::util::Finished;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The commands of the quick start in docs/DOCKER.md, one a line.
pub(crate) fn quick_start() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/DOCKER.md")).expect("the page is there");
    let (_, after) = page.split_once("## Quick start").expect("it has a quick start");
    let (_, block) = after.split_once("```sh\n").expect("it has commands");
    let (block, _) = block.split_once("```").expect("the block ends");
    block.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// Runs the lines as somebody would type them, one after the other, in a new folder. `git clone` fetches the repository at hand in place of
/// the one that the page names, with what has not been committed left out.
pub(crate) fn run_in_one_shell(engine: &Engine, folder: &Path, lines: &[String]) -> Finished {
    let url = lines[0].split_whitespace().find(|word| word.starts_with("https://")).expect("it starts with a clone");
    let mut command = Command::new("bash");
    command.args(["-e", "-x", "-c", &lines.join("\n")]).current_dir(folder);
    command.env("GIT_CONFIG_COUNT", "2").env("GIT_CONFIG_KEY_0", format!("url.{}.insteadOf", repository().display()));
    command.env("GIT_CONFIG_VALUE_0", url).env("GIT_CONFIG_KEY_1", "safe.directory").env("GIT_CONFIG_VALUE_1", "*");
    // Not by the line: an image is built on the way, and a linker that optimises says nothing for minutes.
    let output = engine.speak_to(&mut command).output().expect("bash starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let stdout = text(&output.stdout).lines().map(str::to_owned).collect();
    Finished { status: output.status, stdout, stderr: text(&output.stderr) }
}

/// The rules of a seccomp profile, one for each system call: its name, and under which conditions what becomes of it.
pub(crate) fn profile(path: &str) -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(repository().join(path)).expect("the profile is there");
    let profile: Value = serde_json::from_str(&text).expect("JSON");
    let mut rules = BTreeSet::new();
    for rule in profile["syscalls"].as_array().expect("a list of rules") {
        let mut condition = rule.clone();
        let fields = condition.as_object_mut().expect("a rule");
        fields.remove("comment");
        let names = fields.remove("names").expect("a rule has names");
        for name in names.as_array().expect("a list of names") {
            rules.insert((name.as_str().expect("a name").to_owned(), condition.to_string()));
        }
    }
    rules
}
