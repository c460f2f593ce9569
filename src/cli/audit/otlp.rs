//! Records as OpenTelemetry logs: OTLP/JSON lines as the collector's file receiver reads them, or OTLP/HTTP with protobuf to a collector.
//!
//! Attributes have the names of the semantic conventions where there are such (HTTP, URL, network, TLS, DNS, MCP), and `ringfence.…` elsewhere.
//! A decision and its outcome have the same trace id: the decision's own.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::export::{Target, line};
use super::fields::{Name, Sink, Value, visit};
use super::scratch::Scratch;
use crate::audit::record::Body;
use crate::audit::segment::Frame;
use crate::limits::{
    AUDIT_EXPORT_ATTEMPTS, AUDIT_EXPORT_RETRY_WAIT, AUDIT_EXPORT_SEND_RECORDS, AUDIT_EXPORT_SEND_WAIT,
};

/// The schema that the attribute names are from.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Takes requests of bounded size.
pub(super) trait Receiver {
    fn take(&mut self, request: ExportLogsServiceRequest) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

/// Gathers records into requests.
pub(super) struct Export<R> {
    receiver: R,
    scratch: Scratch,
    records: Vec<LogRecord>,
}

impl<R: Receiver> Export<R> {
    pub(super) fn new(receiver: R) -> Self {
        Self { receiver, scratch: Scratch::default(), records: Vec::new() }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope {
            name: "ringfence.audit".to_owned(),
            version: version.to_owned(),
            ..Default::default()
        };
        let logs = ScopeLogs {
            scope: Some(scope),
            log_records: std::mem::take(&mut self.records),
            schema_url: SCHEMA.to_owned(),
        };
        let attributes =
            vec![attribute("service.name", text("ringfence")), attribute("service.version", text(version))];
        let resource = Resource { attributes, ..Default::default() };
        let logs = ResourceLogs { resource: Some(resource), scope_logs: vec![logs], schema_url: SCHEMA.to_owned() };
        self.receiver.take(ExportLogsServiceRequest { resource_logs: vec![logs] })
    }
}

impl<R: Receiver> Target for Export<R> {
    fn record(&mut self, frame: &Frame<'_>, body: Body<'_>) -> io::Result<()> {
        let mut attributes = Attributes::default();
        visit(frame, body, &mut self.scratch, &mut attributes);
        let (severity, word) = severity(&attributes);
        let trace_id = match body {
            Body::Outcome(outcome) => outcome.id.to_vec(),
            body => body.decision().map_or_else(Vec::new, |decision| decision.id.to_vec()),
        };
        self.records.push(LogRecord {
            time_unix_nano: frame.time.0,
            observed_time_unix_nano: frame.time.0,
            severity_number: severity.into(),
            severity_text: word.to_owned(),
            event_name: format!("ringfence.{}", frame.schema.kind()),
            attributes: attributes.all,
            trace_id,
            ..Default::default()
        });
        if self.records.len() < AUDIT_EXPORT_SEND_RECORDS { Ok(()) } else { self.hand_on() }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.receiver.flush()
    }
}

fn severity(attributes: &Attributes) -> (SeverityNumber, &'static str) {
    match (attributes.denied, attributes.is_gap, attributes.failed) {
        (true, _, _) => (SeverityNumber::Warn, "WARN"),
        (_, true, _) | (_, _, true) => (SeverityNumber::Error, "ERROR"),
        _ => (SeverityNumber::Info, "INFO"),
    }
}

/// The attributes of one record.
#[derive(Default)]
struct Attributes {
    all: Vec<KeyValue>,
    denied: bool,
    failed: bool,
    is_gap: bool,
    is_name: bool,
}

impl Sink for Attributes {
    fn field(&mut self, Name { plain: name, .. }: Name, value: Value<'_>) {
        match (name, value) {
            // They are the log record's own.
            ("time" | "id", _) => return,
            ("kind", Value::Plain(kind)) => (self.is_gap, self.is_name) = (kind == "gap", kind == "dns"),
            ("verdict", Value::Plain(verdict)) => self.denied = verdict == "deny",
            ("error", _) => self.failed = true,
            ("source", Value::Plain(address)) => return self.address("client", address),
            ("upstream", Value::Plain(address)) => return self.address("network.peer", address),
            ("protocol", Value::Plain(protocol)) => {
                let (protocol, version) = protocol.split_once('/').unwrap_or((protocol, ""));
                self.push("network.protocol.name", text(protocol));
                if !version.is_empty() {
                    self.push("network.protocol.version", text(version));
                }
                return;
            }
            (_, Value::Map(entries)) => {
                for (inner, value) in entries {
                    self.push(&format!("ringfence.{name}.{inner}"), number(*value));
                }
                return;
            }
            (_, Value::Texts(entries)) => {
                for (inner, value) in entries.iter().filter(|(_, value)| !value.is_empty()) {
                    self.push(mcp(inner).unwrap_or(&format!("ringfence.{name}.{inner}")), text(value));
                }
                return;
            }
            _ => {}
        }
        let value = match value {
            Value::Text(value) | Value::Plain(value) => text(value),
            Value::Number(value) => number(value),
            Value::False => any_value::Value::BoolValue(false),
            Value::True => any_value::Value::BoolValue(true),
            Value::List(words) => {
                let values = words.iter().map(|word| AnyValue { value: Some(text(word)) }).collect();
                any_value::Value::ArrayValue(ArrayValue { values })
            }
            Value::Map(_) | Value::Texts(_) => return,
        };
        match (conventional(name), name) {
            (_, "host") if self.is_name => self.push("dns.question.name", value),
            (Some(name), _) => self.push(name, value),
            (None, name) => self.push(&format!("ringfence.{name}"), value),
        }
    }
}

impl Attributes {
    fn push(&mut self, name: &str, value: any_value::Value) {
        self.all.push(attribute(name, value));
    }

    fn address(&mut self, whose: &str, address: &str) {
        if let Some((host, port)) = address.rsplit_once(':') {
            self.push(&format!("{whose}.address"), text(host.trim_start_matches('[').trim_end_matches(']')));
            self.push(&format!("{whose}.port"), number(port.parse().unwrap_or_default()));
        }
    }
}

/// The name that the semantic conventions have for a field.
fn conventional(name: &str) -> Option<&'static str> {
    Some(match name {
        "scheme" => "url.scheme",
        "sni" => "tls.client.server_name",
        "host" => "server.address",
        "port" => "server.port",
        "method" => "http.request.method",
        "path" => "url.path",
        "query" => "url.query",
        "status" => "http.response.status_code",
        "error" => "error.type",
        "process" => "process.pid",
        _ => return None,
    })
}

fn mcp(name: &str) -> Option<&'static str> {
    Some(match name {
        "method" => "mcp.method.name",
        "version" => "mcp.protocol.version",
        "resource" => "mcp.resource.uri",
        "tool" => "gen_ai.tool.name",
        "prompt" => "gen_ai.prompt.name",
        _ => return None,
    })
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.to_owned())
}

/// OTLP has signed numbers only; what is larger, no counter of ours reaches.
fn number(number: u64) -> any_value::Value {
    any_value::Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX))
}

/// OTLP/JSON: a request a line.
pub(super) struct Lines<W>(pub(super) W);

impl<W: Write> Receiver for Lines<W> {
    fn take(&mut self, request: ExportLogsServiceRequest) -> io::Result<()> {
        line(&mut self.0, &serde_json::to_vec(&request)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// OTLP/HTTP: a POST a request, with retries where the specification asks for them.
pub(super) struct Collector {
    agent: ureq::Agent,
    endpoint: String,
}

impl Collector {
    pub(super) fn new(endpoint: &str) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ureq::tls::TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if endpoint.starts_with("https://") {
            let found = rustls_native_certs::load_native_certs().certs;
            let roots: Vec<_> = found.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
            tls = tls.root_certs(ureq::tls::RootCerts::new_with_certs(&roots));
        }
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(AUDIT_EXPORT_SEND_WAIT))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Ok(Self { agent: config.new_agent(), endpoint: endpoint.to_owned() })
    }

    /// One attempt: done, or the pause before the next one and why.
    fn post(&self, body: &[u8]) -> io::Result<Result<(), (Option<Duration>, String)>> {
        let request = self.agent.post(&self.endpoint).header("content-type", "application/x-protobuf");
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(ureq::Error::Io(error)) => return Ok(Err((None, error.to_string()))),
            Err(error) => return Err(self.named(&error.to_string())),
        };
        let status = response.status().as_u16();
        if status == 200 {
            let answer = response.body_mut().read_to_vec().map_err(|error| self.named(&error.to_string()))?;
            let answer =
                ExportLogsServiceResponse::decode(&answer[..]).map_err(|error| self.named(&error.to_string()))?;
            return match answer.partial_success {
                Some(partial) if partial.rejected_log_records > 0 => {
                    let (records, why) = (partial.rejected_log_records, partial.error_message);
                    Err(self.named(&format!("{records} records were refused: {why}")))
                }
                _ => Ok(Ok(())),
            };
        }
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        match status {
            429 | 502 | 503 | 504 => Ok(Err((asked.map(Duration::from_secs), format!("status {status}")))),
            _ => Err(self.named(&format!("status {status}"))),
        }
    }

    fn named(&self, why: &str) -> io::Error {
        io::Error::other(format!("{}: {why}", self.endpoint))
    }
}

impl Receiver for Collector {
    fn take(&mut self, request: ExportLogsServiceRequest) -> io::Result<()> {
        let body = request.encode_to_vec();
        let mut pause = AUDIT_EXPORT_RETRY_WAIT;
        let mut last = String::new();
        for attempt in 0..AUDIT_EXPORT_ATTEMPTS {
            if attempt > 0 {
                std::thread::park_timeout(pause);
                pause *= 2;
            }
            match self.post(&body)? {
                Ok(()) => return Ok(()),
                Err((asked, why)) => {
                    pause = asked.map_or(pause, |asked| asked.clamp(pause, AUDIT_EXPORT_SEND_WAIT));
                    last = why;
                }
            }
        }
        Err(self.named(&format!("{last}, {AUDIT_EXPORT_ATTEMPTS} times")))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
