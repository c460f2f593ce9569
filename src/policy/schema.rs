//! The JSON Schema of the policy file, generated from types that have its shape.
//!
//! The reader ([`super::native`]) works on a tree, so that it can name every mistake with its place; these types exist for editors and other
//! tools only. Tests hold the two together: the names of all keys are the reader's, and every example is valid.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};

/// The schema, as JSON text.
pub fn schema() -> String {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<Policy>();
    schema.insert("$id".to_owned(), "https://ringfence.dev/schema/policy.v1.json".into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A value, or a list of values of which one must hold.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the shape is used")]
enum OneOrMany<T> {
    One(T),
    Many(#[schemars(length(min = 1))] Vec<T>),
}

/// A ringfence policy.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "ringfence policy")]
#[allow(dead_code, reason = "only the shape is used")]
struct Policy {
    /// The version of the language.
    ringfence: Version,
    /// Whether denials are enforced (default) or only recorded.
    mode: Option<Mode>,
    /// What happens when no rule matches: deny (default) or allow.
    default: Option<Effect>,
    /// Named groups of hosts, used in rules as `$name`.
    hosts: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Host, or host:port, and where it is dialled instead of what DNS says.
    upstreams: Option<BTreeMap<String, Upstream>>,
    /// MCP servers by name.
    mcp_servers: Option<BTreeMap<String, McpServer>>,
    /// Who is asked, by the names that rules have in `ask`.
    approvals: Option<BTreeMap<String, Approver>>,
    /// The rules. Deny beats ask, ask beats allow; their order carries no meaning.
    rules: Option<Vec<Rule>>,
    /// TLS that is not looked into.
    tls: Option<Tls>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Version {
    V1,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Mode {
    Enforce,
    Monitor,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Effect {
    Deny,
    Allow,
}

/// Where a host is dialled.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "only the shape is used")]
struct Upstream {
    /// HOST:PORT.
    address: String,
    /// A file of trust anchors; TLS only.
    trust: Option<String>,
    /// A file with a client certificate and its key; TLS only.
    client_cert: Option<String>,
}

/// An MCP server: at a URL, or on the standard streams of a command.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "only the shape is used")]
struct McpServer {
    /// The endpoint.
    url: Option<String>,
    /// The name that `ringfence mcp --server` gives it.
    stdio: Option<String>,
    /// A tool that has changed since it was pinned: enforce (default) hides and denies it, warn records it.
    pin: Option<Pin>,
    /// A description with characters that nobody sees: refuse (default) hides what it describes, strip removes them.
    hidden: Option<Hidden>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Pin {
    Enforce,
    Warn,
    Off,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Hidden {
    Refuse,
    Strip,
}

/// Who is asked, by a command or a webhook, and for how long.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [{ "required": ["command"] }, { "required": ["webhook"] }]))]
#[allow(dead_code, reason = "only the shape is used")]
struct Approver {
    /// A program by its absolute path, and its words. The question comes on its standard input; exit status 0 is yes.
    command: Option<OneOrMany<String>>,
    /// An https URL that the question is posted to; http to this machine itself.
    webhook: Option<String>,
    /// A file of trust anchors for the webhook, beside the system's.
    trust: Option<String>,
    /// How long an answer is waited for, as `90s`, `5m` (default) or `1h`, or seconds; then the answer is no.
    timeout: Option<Timeout>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the shape is used")]
enum Timeout {
    Seconds(#[schemars(range(min = 1, max = 3600))] u64),
    Text(#[schemars(regex(pattern = r"^[0-9]+ *[smh]$"))] String),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "only the shape is used")]
struct Tls {
    /// Hosts whose connections pass unread.
    passthrough: Option<OneOrMany<String>>,
    /// Certificate revocation lists (PEM or DER): what they name is not accepted from an upstream.
    crl: Option<OneOrMany<String>>,
}

/// A rule: it allows or denies, under its name, what meets all of its conditions.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [{ "required": ["allow"] }, { "required": ["deny"] }]))]
#[allow(dead_code, reason = "only the shape is used")]
struct Rule {
    /// The rule allows; its unique name.
    allow: Option<String>,
    /// The rule denies; its unique name.
    deny: Option<String>,
    /// A name, `*.` and a name for all below it, an address, a `$group`, or `*`.
    host: Option<OneOrMany<String>>,
    /// Absent in an allow: 443 for https and 80 for http.
    port: Option<OneOrMany<Port>>,
    /// http or https.
    scheme: Option<OneOrMany<Scheme>>,
    /// Blocks of the address that is dialled.
    cidr: Option<OneOrMany<String>>,
    /// Methods in upper case.
    method: Option<OneOrMany<String>>,
    /// read-only: GET HEAD OPTIONS; read-write: POST PUT PATCH as well; full: every method.
    access: Option<Access>,
    /// `*` within a segment, `**` across segments.
    path: Option<OneOrMany<String>>,
    /// Header fields by name.
    header: Option<BTreeMap<String, Matcher>>,
    /// Query parameters by name.
    query: Option<BTreeMap<String, Matcher>>,
    /// Values of a JSON body by JSON pointer.
    body: Option<BTreeMap<String, Matcher>>,
    /// An MCP message.
    mcp: Option<Mcp>,
    /// Arguments of an MCP message by name or JSON pointer.
    args: Option<BTreeMap<String, Matcher>>,
    /// Who asks, and when.
    when: Option<When>,
    /// COUNT/PERIOD, per agent; an allow's only.
    rate: Option<Rate>,
    /// An approver of `approvals`, who must agree to each message; an allow's with `mcp`, without `rate`.
    ask: Option<String>,
    /// Why; refusals and records repeat it.
    reason: Option<String>,
    /// What to do instead.
    remedy: Option<String>,
    /// The deny is recorded and not enforced.
    monitor: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only the shape is used")]
struct Port(#[schemars(range(min = 1, max = 65535))] u16);

#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only the shape is used")]
struct Rate(#[schemars(regex(pattern = r"^[0-9]+ */ *(second|minute|hour|day)$"))] String);

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Scheme {
    Http,
    Https,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code, reason = "only the shape is used")]
enum Access {
    ReadOnly,
    ReadWrite,
    Full,
}

/// What a message must name. `server` alone covers messages to the server; messages to the client need `method`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
#[allow(dead_code, reason = "only the shape is used")]
struct Mcp {
    server: Option<OneOrMany<String>>,
    method: Option<OneOrMany<String>>,
    tool: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    prompt: Option<OneOrMany<String>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
#[allow(dead_code, reason = "only the shape is used")]
struct When {
    agent: Option<OneOrMany<String>>,
    days: Option<OneOrMany<Day>>,
    /// HH:MM-HH:MM; past midnight it belongs to the day it starts.
    hours: Option<OneOrMany<String>>,
    /// A name of the IANA time zone database; UTC unless given.
    zone: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only the shape is used")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What is asked of a value: that it equals a scalar, that it meets all tests of a map, or one of a list of either.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the shape is used")]
enum Matcher {
    Scalar(Scalar),
    Tests(Box<Tests>),
    Any(#[schemars(length(min = 1))] Vec<Alternative>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the shape is used")]
enum Alternative {
    Scalar(Scalar),
    Tests(Box<Tests>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the shape is used")]
enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
#[allow(dead_code, reason = "only the shape is used")]
struct Tests {
    /// Equals one of these.
    r#in: Option<OneOrMany<Scalar>>,
    /// Does not hold; also for an absent value.
    not: Option<Matcher>,
    /// `*` for anything but `/`, `**` for anything.
    glob: Option<OneOrMany<String>>,
    /// Found anywhere in the text unless anchored; linear time.
    regex: Option<OneOrMany<String>>,
    /// The text begins so.
    prefix: Option<OneOrMany<String>>,
    /// At least.
    min: Option<f64>,
    /// At most.
    max: Option<f64>,
    /// Characters of a text, items of a list.
    length: Option<Length>,
    /// Whether the value is there.
    present: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the shape is used")]
enum Length {
    Exactly(u64),
    Between(Bounds),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "only the shape is used")]
struct Bounds {
    min: Option<u64>,
    max: Option<u64>,
}

#[cfg(test)]
mod tests;
