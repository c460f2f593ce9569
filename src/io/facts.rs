//! The named facts of a request, as policy asks for them: header fields and query parameters, read off the parse when a rule needs them.

use std::borrow::Cow;

use crate::parse::head::RequestHead;
use crate::parse::query;
use crate::policy::{Lookup, McpEndpoint, McpServer, Pin, Policy, Value};

/// The header fields of a request.
#[derive(Debug)]
pub(crate) struct Fields<'r>(pub(crate) &'r RequestHead<'r>);

/// The query of a request.
#[derive(Debug)]
pub(crate) struct Parameters<'r>(pub(crate) &'r str);

impl Lookup for Fields<'_> {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        let fields = self.0.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.for_each(|(_, value)| found(Value::Text(value)));
    }
}

impl Lookup for Parameters<'_> {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        query::values(self.0, name, &mut |value| {
            found(match value {
                query::Value::Plain(text) => Value::Text(text),
                query::Value::Ambiguous => Value::Unreadable,
            });
        });
    }

    fn text(&self) -> Option<Cow<'_, [u8]>> {
        Some(self.0.as_bytes().into())
    }
}

/// What a policy speaks of and this proxy does not supply. Such a policy is not put in force, so that no rule means less than it says.
pub(crate) fn unsupplied(policy: &Policy) -> Option<Cow<'static, str>> {
    if let Some(field) = policy.unsupplied(false) {
        let why = format!("requests have no `{field}`; with `--agt-unsupplied {field}` it counts as missing");
        return Some(why.into());
    }
    let over_http = |server: &&McpServer| matches!(server.endpoint, McpEndpoint::Http { .. });
    let mut servers = policy.mcp_servers().iter().filter(over_http).peekable();
    let speaks_mcp = policy.rules().iter().any(|rule| rule.when.mcp.is_some());
    if speaks_mcp && servers.peek().is_none() {
        return Some(
            "the proxy reads MCP messages at declared endpoints alone; declare the server in `mcp_servers` by its `url`"
                .into(),
        );
    }
    let pins = servers.any(|server| server.pin != Pin::Off);
    pins.then(|| {
        "the proxy does not pin the tools of servers over HTTP yet; say `pin: off` for each with a `url`".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, Source};

    #[test]
    fn a_policy_that_says_more_than_is_supplied_is_not_put_in_force() {
        for (rest, word) in [
            ("mcp_servers: { a: { url: \"https://a.test/mcp\" } }", Some("pin: off")),
            ("mcp_servers: { a: { url: \"https://a.test/mcp\", pin: warn } }", Some("pin: off")),
            ("mcp_servers: { a: { url: \"https://a.test/mcp\", pin: off } }", None),
            ("mcp_servers: { a: { stdio: a } }", Some("by its `url`")),
        ] {
            let text = format!("ringfence: v1\nrules:\n- allow: x\n  mcp: {{ server: a }}\n{rest}\n");
            let loaded = policy::load(Source { name: "p.yaml", text: &text });
            let refused = unsupplied(&loaded.policy.unwrap());
            assert_eq!(refused.is_some(), word.is_some(), "{rest}");
            assert!(refused.unwrap_or_default().contains(word.unwrap_or_default()), "{rest}");
        }
    }
}
