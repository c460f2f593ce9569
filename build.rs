//! Tells the binary which commit it was built from, for `--version` and for recorded benchmark runs.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rerun-if-env-changed=RINGFENCE_COMMIT");
    // An image is built where there is no git, and is told.
    let told = std::env::var("RINGFENCE_COMMIT").ok().filter(|commit| !commit.is_empty());
    // A source archive has no repository: the version alone must do.
    let commit = told.or_else(ask_git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=RINGFENCE_COMMIT={commit}");
}

fn ask_git() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
