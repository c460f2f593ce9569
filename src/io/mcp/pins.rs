//! Pinned tools: the definition of each as it was first seen, or accepted since, for each server.
//!
//! A definition is its canonical form (RFC 8785), and its pin the SHA-256 over that. The first definition that a server shows of a tool is pinned; another
//! one is kept beside it until somebody accepts it. One file for each server stands under the state folder, replaced as a whole. It is
//! written by the agent's own user: under `ringfence run`, or in another container, the agent does not reach it.

mod keeper;
mod store;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::limits::{PIN_DEFINITION_BYTES_MAX, PINS_PER_SERVER_MAX};
use crate::policy::{McpEndpoint, Pin, Policy};

pub(crate) use self::keeper::Keeper;
pub use self::store::PinError;
use self::store::Stamp;

/// The pins of every server, in memory and on disk.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    servers: Mutex<BTreeMap<String, Known>>,
    /// Something is to be written.
    news: Condvar,
}

/// The pins of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its name.
    pub server: String,
    /// Its tools by name.
    pub tools: BTreeMap<String, Tool>,
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The definition that counts.
    pub pinned: Definition,
    /// Another one that the server has shown since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Definition>,
}

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// `sha256:` and the digest of the canonical form.
    pub digest: String,
    /// The canonical form, unless it is very long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What a definition was to the pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Met {
    /// It is the pinned one, from now on if the tool was new.
    Known,
    /// It is another one.
    Changed {
        /// Digest of the pinned definition.
        pinned: String,
        /// Digest of this one.
        seen: String,
    },
    /// The tool is new and there is no room.
    Full,
}

#[derive(Debug, Default)]
struct Known {
    pins: Server,
    /// What is in memory and not on disk.
    is_dirty: bool,
    /// The file as it was when it was last read or written here.
    stamp: Option<Stamp>,
}

impl Known {
    /// Whether somebody may accept something.
    fn is_open(&self) -> bool {
        self.pins.tools.values().any(|tool| tool.seen.is_some())
    }
}

impl Pins {
    /// The pins under a state folder.
    pub fn under(state: &Path) -> Pins {
        Pins { folder: state.join("pins"), servers: Mutex::default(), news: Condvar::new() }
    }

    /// Reads the pins of every server over HTTP that a policy declares and pins, unless they are known already.
    ///
    /// # Errors
    /// As of [`Pins::load`].
    pub(crate) fn cover(&self, policy: &Policy) -> Result<(), PinError> {
        for server in policy.mcp_servers() {
            let is_http = matches!(server.endpoint, McpEndpoint::Http { .. });
            if is_http && server.pin != Pin::Off && !self.lock().contains_key(&*server.name) {
                self.load(&server.name)?;
            }
        }
        Ok(())
    }

    /// Reads the pins of a server, to be done before it is met.
    ///
    /// # Errors
    /// If there is a file that is none of ours: what was pinned cannot be told then, and nothing may pass as new.
    pub fn load(&self, server: &str) -> Result<(), PinError> {
        let stamp = store::stamp(&self.folder, server);
        let pins = store::read(&self.folder, server)?;
        self.lock().insert(server.to_owned(), Known { pins, is_dirty: false, stamp });
        Ok(())
    }

    /// Compares a definition, in its canonical form, with the pinned one. A tool's first definition is pinned.
    pub(crate) fn meet(&self, server: &str, tool: &str, definition: &[u8]) -> Met {
        let definition = Definition::of(definition);
        let mut servers = self.lock();
        let known = servers.entry(server.to_owned()).or_insert_with(|| Known {
            pins: Server { server: server.to_owned(), ..Server::default() },
            ..Known::default()
        });
        let met = known.meet(tool, definition);
        if known.is_dirty {
            self.news.notify_all();
        }
        met
    }

    /// The digests of the pinned and of the last seen definition of a tool, where they differ.
    pub(crate) fn changed(&self, server: &str, tool: &str) -> Option<(String, String)> {
        let servers = self.lock();
        let tool = servers.get(server)?.pins.tools.get(tool)?;
        Some((tool.pinned.digest.clone(), tool.seen.as_ref()?.digest.clone()))
    }

    /// Takes over what somebody has accepted meanwhile. Looks at the file where a change is open, and reads it where it is another one.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn refresh(&self, server: &str) -> Result<(), PinError> {
        let Some(stamp) = self.lock().get(server).filter(|known| known.is_open()).map(|known| known.stamp) else {
            return Ok(());
        };
        if store::stamp(&self.folder, server) == stamp { Ok(()) } else { self.sync(server) }
    }

    /// Writes what is new to disk, where anything is.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn save(&self, server: &str) -> Result<(), PinError> {
        if self.lock().get(server).is_some_and(|known| known.is_dirty) { self.sync(server) } else { Ok(()) }
    }

    fn sync(&self, server: &str) -> Result<(), PinError> {
        let Some(ours) = self.lock().get(server).map(|known| known.pins.clone()) else { return Ok(()) };
        let (mut merged, stamp) = store::update(&self.folder, server, |disk| disk.merge(&ours))?;
        let mut servers = self.lock();
        let known = servers.entry(server.to_owned()).or_default();
        // What was met while the file was written is not lost; it is written the next time.
        let is_dirty = known.pins != ours;
        if is_dirty {
            merged.merge(&known.pins);
        }
        *known = Known { pins: merged, is_dirty, stamp };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn meet(&mut self, tool: &str, definition: Definition) -> Met {
        let has_room = self.pins.tools.len() < PINS_PER_SERVER_MAX;
        match self.pins.tools.entry(tool.to_owned()) {
            Entry::Vacant(_) if !has_room => Met::Full,
            Entry::Vacant(place) => {
                place.insert(Tool { pinned: definition, seen: None });
                self.is_dirty = true;
                Met::Known
            }
            Entry::Occupied(mut place) => {
                let tool = place.get_mut();
                if tool.pinned.digest == definition.digest {
                    self.is_dirty |= tool.seen.take().is_some();
                    return Met::Known;
                }
                let (pinned, seen) = (tool.pinned.digest.clone(), definition.digest.clone());
                if tool.seen.as_ref().is_none_or(|before| before.digest != seen) {
                    tool.seen = Some(definition);
                    self.is_dirty = true;
                }
                Met::Changed { pinned, seen }
            }
        }
    }
}

/// Every server that has pins.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub fn list(state: &Path) -> Result<Vec<Server>, PinError> {
    store::all(&state.join("pins"))
}

/// Accepts what has changed: the definition that was seen last becomes the pinned one. Of all tools, or of those named. Gives the names of the
/// tools that were accepted.
///
/// # Errors
/// If the file cannot be read or written.
pub fn accept(state: &Path, server: &str, tools: &[String]) -> Result<Vec<String>, PinError> {
    let mut accepted = Vec::new();
    store::update(&state.join("pins"), server, |pins| {
        for (name, tool) in &mut pins.tools {
            if let Some(seen) = tool.seen.take_if(|_| tools.is_empty() || tools.contains(name)) {
                tool.pinned = seen;
                accepted.push(name.clone());
            }
        }
    })?;
    Ok(accepted)
}

impl Server {
    /// Takes over what another process knows. What stands on disk counts: it was pinned or accepted before.
    fn merge(&mut self, other: &Server) {
        self.server.clone_from(&other.server);
        for (name, tool) in &other.tools {
            let Some(ours) = self.tools.get_mut(name) else {
                self.tools.insert(name.clone(), tool.clone());
                continue;
            };
            let latest = tool.seen.as_ref().unwrap_or(&tool.pinned);
            ours.seen = (latest.digest != ours.pinned.digest).then(|| latest.clone());
        }
    }
}

impl Definition {
    fn of(canonical: &[u8]) -> Definition {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical);
        let digits: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        let is_short = canonical.len() <= PIN_DEFINITION_BYTES_MAX;
        let text = is_short.then(|| String::from_utf8_lossy(canonical).into_owned());
        Definition { digest: format!("sha256:{digits}"), text }
    }
}

#[cfg(test)]
mod tests;
