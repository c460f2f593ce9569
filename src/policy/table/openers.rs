//! The allows that open an MCP server: handshake and list messages pass as soon as one of them allows anything of it.

use std::collections::HashMap;

use crate::policy::model::Rule;
use crate::policy::subject::Subject;

/// Places of allows with `mcp`, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Openers {
    /// Rules that name servers plainly.
    by_server: HashMap<Box<str>, Vec<u32>>,
    /// Rules that name a pattern, or no server.
    others: Vec<u32>,
}

impl Openers {
    pub(super) fn add(&mut self, rule: &Rule, place: u32) {
        let Some(names) = &rule.when.mcp else { return };
        match &names.servers {
            Some(servers) if servers.iter().all(|server| server.is_exact()) => {
                for server in servers {
                    self.by_server.entry(server.as_str().into()).or_default().push(place);
                }
            }
            _ => self.others.push(place),
        }
    }

    /// The first that admits the subject.
    pub(super) fn first(&self, server: &str, subject: &Subject<'_>, model: &[Rule]) -> Option<u32> {
        let admits = |place: &&u32| model.get(**place as usize).is_some_and(|rule| rule.failed(subject).is_none());
        let named = self.by_server.get(server).and_then(|rules| rules.iter().find(admits));
        let other = self.others.iter().find(admits);
        named.into_iter().chain(other).min().copied()
    }

    pub(super) fn bytes(&self) -> usize {
        let named: usize = self.by_server.iter().map(|(name, rules)| name.len() + rules.capacity() * 4 + 48).sum();
        named + self.others.capacity() * 4
    }
}
