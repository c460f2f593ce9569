//! The Engine of `scripts/docker-engine`, one test at a time: the compose files name fixed networks, and the machine has few cores.

use super::util::{Finished, Program};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name that the compose files give the image.
pub(crate) const IMAGE: &str = "ringfence";

/// An Engine that answers, with the base images and ringfence's own image in it. Ours alone until it is dropped.
pub(crate) struct Engine {
    home: PathBuf,
    _turn: Flock<File>,
}

impl Engine {
    /// Waits for its turn, and starts or makes what is not there.
    pub(crate) fn take() -> Engine {
        assert!(nix::unistd::geteuid().is_root(), "an Engine of its own needs root");
        let home = target().join("docker-engine");
        std::fs::create_dir_all(&home).expect("the target folder is ours");
        let lock = File::create(home.join("lock")).expect("a file of our own");
        let turn =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("a lock on our own file");
        let engine = Engine { home, _turn: turn };
        patiently(Command::new(repository().join("scripts/docker-engine")).arg("up"));
        engine.build();
        engine
    }

    /// The image, from the repository as it stands. Only what has changed since the last time is made anew; `$RINGFENCE_IMAGE_COMMIT`, if set, keeps
    /// a commit that changes no source from being such a change. (`$RINGFENCE_COMMIT` is cargo's, with what build.rs said: shorter than what the
    /// quick start gives, and so another image.)
    fn build(&self) {
        let head =
            || Program::start(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(repository())).finish();
        let commit = std::env::var("RINGFENCE_IMAGE_COMMIT").unwrap_or_else(|_| head().stdout.join(""));
        let commit = format!("RINGFENCE_COMMIT={commit}");
        let line = ["build", "--file", "deploy/docker/Dockerfile", "--build-arg", &commit, "--tag", IMAGE, "."];
        patiently(self.docker(&line).current_dir(repository()));
    }

    /// `docker …`, to be run.
    pub(crate) fn docker(&self, line: &[&str]) -> Command {
        let mut command = Command::new("docker");
        self.speak_to(&mut command).args(line);
        command
    }

    /// Makes a command and its children use this Engine.
    pub(crate) fn speak_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let socket = format!("unix://{}", self.home.join("docker.sock").display());
        command.env("DOCKER_HOST", socket).env("DOCKER_CONFIG", self.home.join("config")).env("DOCKER_BUILDKIT", "0")
    }

    /// Runs `docker …` to its end, which must be a good one.
    pub(crate) fn run(&self, line: &[&str]) -> Finished {
        let finished = Program::start(&mut self.docker(line)).finish();
        succeeded(&finished);
        finished
    }

    /// A program in the network of the machine that the Engine runs on.
    pub(crate) fn on_the_machine(&self, line: &[&str]) -> Program {
        let parent = std::fs::read_to_string(self.home.join("pid")).expect("the Engine runs");
        let children = format!("/proc/{0}/task/{0}/children", parent.trim());
        let first = std::fs::read_to_string(children).expect("the Engine runs");
        let network = format!("--net=/proc/{}/ns/net", first.trim());
        Program::start(Command::new("nsenter").arg(network).args(line))
    }
}

/// Runs what may take minutes without a word: the first build of an image.
pub(crate) fn patiently(command: &mut Command) {
    let output = command.output().expect("it starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", said(&output.stdout), said(&output.stderr));
}

pub(crate) fn succeeded(finished: &Finished) {
    let said = finished.stdout.join("\n");
    assert!(finished.status.success(), "{:?}\n{said}\n{}", finished.status, finished.stderr);
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// As `scripts/docker-engine` finds it.
pub(crate) fn target() -> PathBuf {
    let ringfence = Path::new(env!("CARGO_BIN_EXE_ringfence"));
    let named = std::env::var_os("CARGO_TARGET_DIR").map(|folder| repository().join(folder));
    named.unwrap_or_else(|| ringfence.ancestors().nth(2).expect("target/PROFILE/ringfence").to_owned())
}
