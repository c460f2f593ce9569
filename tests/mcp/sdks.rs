//! The official SDKs for Python, TypeScript and Rust, each as a client and as a server: the program of each is a few calls long and says what
//! came of them, or notes what it executed.

use std::process::Command;

use super::{Place, RINGFENCE, python, repository};
use crate::util::Program;

/// An SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    Python,
    TypeScript,
    Rust,
}

pub(crate) const ALL: [Sdk; 3] = [Sdk::Python, Sdk::TypeScript, Sdk::Rust];

impl Sdk {
    /// The command of its server that notes what it executes.
    pub(crate) fn server(self, place: &Place) -> Vec<String> {
        let log = place.path("executed").display().to_string();
        match self {
            Sdk::Python => place.server("Reads a file."),
            Sdk::TypeScript => vec![node(), repository("tests/mcp/npm/server.mjs").display().to_string(), log],
            Sdk::Rust => vec![peer(), "server".into(), log],
        }
    }

    /// The beginning of its client's command; a mode and what to talk to follow.
    pub(crate) fn client(self) -> Vec<String> {
        match self {
            Sdk::Python => {
                let script = repository("tests/mcp/client.py").display().to_string();
                vec![python().display().to_string(), "-W".into(), "ignore".into(), script]
            }
            Sdk::TypeScript => vec![node(), repository("tests/mcp/npm/client.mjs").display().to_string()],
            Sdk::Rust => vec![peer(), "client".into()],
        }
    }

    /// Its server in one of the ways to speak HTTP (`sse`, the older one, is Python's alone), and the port that it listens on.
    pub(crate) fn serve(self, place: &Place, way: &str) -> (Program, u16) {
        let words = self.server(place);
        let mut command = Command::new(&words[0]);
        let server = Program::start(command.args(&words[1..]).arg(way).env("MCP_NPM", packages()));
        let port = server.line().expect("the server says its port").parse().expect("a port");
        (server, port)
    }

    /// The eras that its clients and servers speak: the one for TypeScript has the handshake only.
    pub(crate) fn speaks(self, mode: &str) -> bool {
        self != Sdk::TypeScript || mode == "legacy"
    }
}

/// Where the packages for Node lie.
pub(crate) fn packages() -> String {
    target("mcp-npm")
}

pub(crate) fn node() -> String {
    let of = |machine: &str| target(&format!("mcp-npm/node_modules/node-linux-{machine}/bin/node"));
    let here = if cfg!(target_arch = "aarch64") { of("arm64") } else { of("x64") };
    assert!(std::path::Path::new(&here).exists(), "{here}: scripts/test installs it");
    here
}

fn peer() -> String {
    let peer = target("mcp-rmcp/debug/mcp-peer");
    assert!(std::path::Path::new(&peer).exists(), "{peer}: scripts/test builds it");
    peer
}

fn target(path: &str) -> String {
    let target = std::path::Path::new(RINGFENCE).parent().and_then(std::path::Path::parent);
    target.expect("target/debug/ringfence").join(path).display().to_string()
}
