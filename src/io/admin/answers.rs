//! What is asked of the admin socket, and what is answered: one request, one response, one function.
//!
//! It knows no sockets. Only GET, only the four paths, and only `/metrics` for those who came over TCP.

use std::time::Instant;

use serde::Serialize;

use super::Board;
use crate::io::metrics::{Totals, text};
use crate::io::status::Report;
use crate::parse::head::{self, HeadError};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Over the socket file.
    Operator,
    /// Over the metrics address.
    Scraper,
}

const JSON: &str = "application/json";

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

/// `/healthz`
#[derive(Serialize)]
struct Health {
    healthy: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
}

/// `/readyz`
#[derive(Serialize)]
struct Readiness<'r> {
    ready: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    why: &'r [String],
}

/// `/status`
#[derive(Serialize)]
struct Everything<'r> {
    #[serde(flatten)]
    report: &'r Report,
    workers: Workers,
    connections: Connections,
    requests: Requests,
}

#[derive(Serialize)]
struct Workers {
    answering: u64,
    silent: u64,
}

#[derive(Serialize)]
struct Connections {
    accepted: u64,
    open: u64,
    refused: u64,
}

#[derive(Serialize)]
struct Requests {
    allow: u64,
    deny: u64,
    monitored: u64,
    malformed: u64,
    unrecorded: u64,
}

/// The response to the request whose whole head is `bytes`.
pub(super) fn answer(bytes: &[u8], asker: Asker, board: &Board) -> Vec<u8> {
    match head::request(bytes) {
        Ok(request) => route(request.method, request.target, asker, board).written(),
        Err(error) => refuse(&error),
    }
}

/// The response to a head that is none.
pub(super) fn refuse(error: &HeadError) -> Vec<u8> {
    problem(error.status(), &error.to_string()).written()
}

fn route(method: &str, target: &str, asker: Asker, board: &Board) -> Answer {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let known = match asker {
        Asker::Operator => matches!(path, "/healthz" | "/readyz" | "/metrics" | "/status"),
        Asker::Scraper => path == "/metrics",
    };
    if !known {
        return problem(404, "there is /metrics; on the admin socket also /healthz, /readyz and /status");
    }
    if method != "GET" {
        return problem(405, "only GET is answered");
    }
    let report = board.status.report();
    let totals = board.metrics.read(Instant::now());
    match path {
        "/healthz" => health(&report, &totals),
        "/readyz" => {
            let status = if report.ready { 200 } else { 503 };
            json(status, &Readiness { ready: report.ready, why: &report.why })
        }
        "/status" => everything(&report, &totals),
        _ => match text::write(&totals, &report) {
            Ok(body) => Answer { status: 200, content_type: text::CONTENT_TYPE, body },
            Err(error) => problem(500, &error.to_string()),
        },
    }
}

/// Healthy as long as every worker shows signs of life: what is not should be started anew. A stopping proxy's workers may end.
fn health(report: &Report, totals: &Totals) -> Answer {
    if report.draining || totals.workers_silent == 0 {
        return json(200, &Health { healthy: true, why: Vec::new() });
    }
    let all = totals.workers_silent + totals.workers_answering;
    let why = vec![format!("{} of {all} workers show no sign of life", totals.workers_silent)];
    json(503, &Health { healthy: false, why })
}

fn everything(report: &Report, totals: &Totals) -> Answer {
    let everything = Everything {
        report,
        workers: Workers { answering: totals.workers_answering, silent: totals.workers_silent },
        connections: Connections {
            accepted: totals.accepted,
            open: totals.accepted.saturating_sub(totals.closed),
            refused: totals.refused + totals.over_limit,
        },
        requests: Requests {
            allow: totals.allowed,
            deny: totals.denied,
            monitored: totals.monitored,
            malformed: totals.malformed,
            unrecorded: totals.unrecorded,
        },
    };
    match serde_json::to_string_pretty(&everything) {
        Ok(body) => Answer { status: 200, content_type: JSON, body: body + "\n" },
        Err(error) => problem(500, &error.to_string()),
    }
}

fn json(status: u16, body: &impl Serialize) -> Answer {
    // Texts and numbers into a string: there is nothing here that can fail.
    Answer { status, content_type: JSON, body: serde_json::to_string(body).unwrap_or_default() + "\n" }
}

fn problem(status: u16, what: &str) -> Answer {
    Answer { status, content_type: "text/plain; charset=utf-8", body: format!("{what}\n") }
}

impl Answer {
    fn written(&self) -> Vec<u8> {
        let phrase = match self.status {
            200 => "OK",
            404 => "Not Found",
            // RFC 9110 §15.5.6: with the methods that are allowed.
            405 => "Method Not Allowed\r\nallow: GET",
            414 => "URI Too Long",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        };
        let Answer { status, content_type, body } = self;
        let length = body.len();
        format!(
            "HTTP/1.1 {status} {phrase}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}
