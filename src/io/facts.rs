//! The named facts of a request, as policy asks for them: header fields and query parameters, read off the parse when a rule needs them.

use crate::parse::head::RequestHead;
use crate::parse::query;
use crate::policy::{Lookup, McpEndpoint, Policy, Value};

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
}

/// What a policy speaks of and this proxy does not supply. Such a policy is not put in force, so that no rule means less than it says.
pub(crate) fn unsupplied(policy: &Policy) -> Option<&'static str> {
    let over_http = policy.mcp_servers().iter().any(|server| matches!(server.endpoint, McpEndpoint::Http { .. }));
    let speaks_mcp = policy.rules().iter().any(|rule| rule.when.mcp.is_some());
    (speaks_mcp && !over_http).then_some(
        "the proxy reads MCP messages at declared endpoints alone; declare the server in `mcp_servers` by its `url`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, Source};

    #[test]
    fn a_policy_that_says_more_than_is_supplied_is_not_put_in_force() {
        for (rest, word) in [
            ("mcp_servers: { a: { url: \"https://a.test/mcp\" } }", None),
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
