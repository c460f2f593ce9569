//! What each condition means: the plain meaning of the language. The table gives the same answers, and falls back to this where its
//! index does not reach.

use std::net::IpAddr;

use ipnet::IpNet;

use super::glob;
use super::matcher::Typing;
use super::model::{Access, Condition, Effect, McpNames, Named, Rule};
use super::subject::{Direction, Look, Mcp, Subject, embedded_v4};

impl Rule {
    /// Whether one condition of the rule holds for the subject.
    pub fn holds(&self, condition: Condition, subject: &Subject<'_>) -> bool {
        if subject.tunnel && !self.speaks_of_tunnels(condition) {
            return false;
        }
        let when = &self.when;
        let allow = self.effect == Effect::Allow;
        match condition {
            Condition::Host => when.names_host(subject.host),
            Condition::Scheme => {
                when.schemes.as_ref().is_none_or(|schemes| subject.port != 0 && schemes.contains(&subject.scheme))
            }
            Condition::Port => match &when.ports {
                Some(ports) => ports.contains(&subject.port),
                None => !allow || when.mcp.is_some() || subject.port == subject.scheme.default_port(),
            },
            Condition::Cidr => when.blocks.as_ref().is_none_or(|blocks| self.block_holds(blocks, subject)),
            Condition::Method => {
                when.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| self.is_method(method, subject)))
            }
            Condition::Access => when
                .access
                .and_then(Access::methods)
                .is_none_or(|methods| methods.iter().any(|method| self.is_method(method, subject))),
            Condition::Path => when.paths.as_ref().is_none_or(|patterns| {
                let mut readings = subject.paths.iter();
                let matched = |path: &&str| patterns.iter().any(|pattern| pattern.matches(path));
                if allow { !subject.paths.is_empty() && readings.all(matched) } else { readings.any(matched) }
            }),
            Condition::Header => self.values_hold(&when.headers, subject.headers, Typing::Text),
            Condition::Query => self.values_hold(&when.query, subject.query, Typing::Text),
            Condition::Body => self.values_hold(&when.body, subject.body, Typing::Json),
            Condition::Args => {
                self.only_opens(subject) || self.values_hold(&when.arguments, subject.arguments(), Typing::Json)
            }
            Condition::When => when.moment.as_ref().is_none_or(|when| when.holds(subject.agent, subject.time_ns)),
            Condition::Mcp => self.message_holds(subject),
            Condition::Rate => {
                let mut rate = self.rate.iter().filter(|_| !self.only_opens(subject));
                rate.all(|rate| rate.has_token(subject.agent, subject.time_ns))
            }
        }
    }

    /// The first condition that fails, if any: the rule matches when there is none.
    pub fn failed(&self, subject: &Subject<'_>) -> Option<Condition> {
        Condition::ALL.into_iter().find(|condition| !self.holds(*condition, subject))
    }

    /// Whether the rule has only conditions on where a connection goes, who asks and when, so that it can speak of a connection that is
    /// passed through unread.
    pub(super) fn is_about_addresses(&self) -> bool {
        Condition::ALL.into_iter().all(|condition| self.speaks_of_tunnels(condition))
    }

    fn speaks_of_tunnels(&self, condition: Condition) -> bool {
        let when = &self.when;
        match condition {
            Condition::Host | Condition::Port | Condition::Cidr | Condition::When | Condition::Rate => true,
            Condition::Scheme => when.schemes.is_none(),
            Condition::Method => when.methods.is_none(),
            Condition::Access => when.access.and_then(Access::methods).is_none(),
            Condition::Path => when.paths.is_none(),
            Condition::Header => when.headers.is_none(),
            Condition::Query => when.query.is_none(),
            Condition::Body => when.body.is_none(),
            Condition::Mcp => when.mcp.is_none(),
            Condition::Args => when.arguments.is_none(),
        }
    }

    /// Whether the rule admits the message for what else it allows of the server, so that its other conditions on the message do not count.
    pub(super) fn only_opens(&self, subject: &Subject<'_>) -> bool {
        self.effect == Effect::Allow && subject.mcp.is_some_and(|mcp| mcp.declared && mcp.opens())
    }

    fn message_holds(&self, subject: &Subject<'_>) -> bool {
        let allow = self.effect == Effect::Allow;
        match (&self.when.mcp, subject.mcp) {
            (None, None) => true,
            (Some(_), None) => false,
            // A message to a declared server needs an allow about messages; elsewhere its request's allow is enough.
            (None, Some(mcp)) => !allow || !mcp.declared,
            (Some(_), Some(mcp)) if allow && !mcp.declared => false,
            (Some(names), Some(mcp)) if self.only_opens(subject) => names.names_server(&mcp, allow),
            (Some(names), Some(mcp)) => names.hold(&mcp, allow),
        }
    }

    fn values_hold(&self, conditions: &Option<Box<[Named]>>, look: Look<'_>, typing: Typing) -> bool {
        let allow = self.effect == Effect::Allow;
        conditions.iter().flatten().all(|named| named.matcher.holds(look, &named.name, typing, allow))
    }

    /// Some origins read methods without regard to case, so a deny does too; an allow takes them as they are.
    fn is_method(&self, method: &str, subject: &Subject<'_>) -> bool {
        method == subject.method || self.effect == Effect::Deny && method.eq_ignore_ascii_case(subject.method)
    }

    fn block_holds(&self, blocks: &[IpNet], subject: &Subject<'_>) -> bool {
        let Some(address) = subject.dialled() else { return self.effect == Effect::Allow };
        let inside = |address| blocks.iter().any(|block| block.contains(&address));
        // An address inside an address (NAT64, 6to4 …) ends where the inner one says, so a deny looks at both.
        inside(address)
            || self.effect == Effect::Deny && embedded_v4(address).is_some_and(|inner| inside(IpAddr::V4(inner)))
    }
}

impl McpNames {
    fn hold(&self, mcp: &Mcp<'_>, allow: bool) -> bool {
        let names =
            |globs: &Option<Box<[glob::Glob]>>, name| globs.as_ref().is_none_or(|globs| glob::any(globs, name, allow));
        (mcp.direction == Direction::ToServer || self.methods.is_some())
            && self.names_server(mcp, allow)
            && names(&self.methods, Some(mcp.method))
            && self.names_tool(mcp, allow)
            && names(&self.resources, mcp.resource)
            && names(&self.prompts, mcp.prompt)
    }

    fn names_tool(&self, mcp: &Mcp<'_>, allow: bool) -> bool {
        match (&self.tools, mcp.tool) {
            (tools, Some(tool)) if allow && mcp.has_unusual_tool() => {
                tools.iter().flatten().any(|glob| glob.is_exact() && glob.as_str() == tool)
            }
            (tools, tool) => tools.as_ref().is_none_or(|tools| glob::any(tools, tool, allow)),
        }
    }

    /// Whether a deny may speak of this server.
    pub(super) fn may_name(&self, server: &str) -> bool {
        self.servers.as_ref().is_none_or(|servers| glob::any(servers, Some(server), false))
    }

    fn names_server(&self, mcp: &Mcp<'_>, allow: bool) -> bool {
        self.servers.as_ref().is_none_or(|servers| glob::any(servers, Some(mcp.server), allow))
    }
}
