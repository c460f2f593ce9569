//! The named facts of a request, as policy asks for them: header fields and query parameters, read off the parse when a rule needs them.

use std::borrow::Cow;

use crate::parse::head::RequestHead;
use crate::parse::query;
use crate::policy::{Lookup, Policy, Value};

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
pub(crate) fn unsupplied(policy: &Policy) -> Option<String> {
    let field = policy.unsupplied(false)?;
    Some(format!("requests have no `{field}`; with `--agt-unsupplied {field}` it counts as missing"))
}
