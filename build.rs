//! Tells the binary which commit it was built from, for `--version` and for recorded benchmark runs.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.and_then(|output| String::from_utf8(output.stdout).ok());
    // A source archive has no repository: the version alone must do.
    println!("cargo:rustc-env=RINGFENCE_COMMIT={}", commit.as_deref().map_or("unknown", str::trim));
}
