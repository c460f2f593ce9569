//! `ringfence policy test POLICY FIXTURES…`: requests with the verdicts that their author expects.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Deserializer};

use super::request::Request;
use super::{FAILED, MISUSED, finish, plural};
use crate::io::companions;
use crate::policy::{Explanation, Policy};

/// One request and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    name: String,
    #[serde(default)]
    request: Request,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    verdict: VerdictWord,
    /// Not asked, no rule, or this rule.
    #[serde(default, deserialize_with = "asked")]
    rule: Option<Option<String>>,
    enforced: Option<bool>,
    /// Not asked, nobody, or this approver.
    #[serde(default, deserialize_with = "asked")]
    asks: Option<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum VerdictWord {
    Allow,
    Deny,
}

/// Tells `rule: null` from no `rule`, and `asks: null` from no `asks`.
fn asked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

pub(super) fn run(policy: &Policy, files: &[PathBuf]) -> ExitCode {
    let mut fixtures = Vec::new();
    for file in files {
        match load(file) {
            Ok(more) => fixtures.extend(more.into_iter().map(|fixture| (file, fixture))),
            Err(error) => {
                eprintln!("ringfence: {}: {error}", file.display());
                return ExitCode::from(MISUSED);
            }
        }
    }
    let mut out = io::stdout().lock();
    let mut failed = 0;
    for (file, fixture) in &fixtures {
        let found = fixture.request.explain(policy);
        if fixture.expect.is_met(&found) {
            continue;
        }
        failed += 1;
        let line = format!(
            "{}: `{}`: expected {}, found {}",
            file.display(),
            fixture.name,
            fixture.expect.describe(),
            describe(found.verdict, Some(found.rule.as_deref()), Some(found.enforced), Some(found.asks.as_deref()))
        );
        if let Some(code) = finish(writeln!(out, "{line}")) {
            return code;
        }
    }
    let passed = fixtures.len() - failed;
    let summary = writeln!(out, "{}: {passed} as expected, {failed} not", plural(fixtures.len(), "fixture"));
    let code = if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
    finish(summary).unwrap_or(code)
}

fn load(file: &Path) -> Result<Vec<Fixture>, String> {
    let text = companions::text(file).map_err(|error| error.to_string())?;
    let fixtures: Vec<Fixture> = serde_saphyr::from_str(&text).map_err(|error| {
        let text = error.without_snippet().to_string();
        format!(
            "{}; a fixture is {{name, request, expect: {{verdict, rule}}}}",
            text.lines().next().unwrap_or_default()
        )
    })?;
    if fixtures.is_empty() {
        return Err("there are no fixtures".to_owned());
    }
    // What could be no request would be decided as another one.
    let checked = fixtures.into_iter().map(|fixture| {
        let Fixture { name, request, expect } = fixture;
        let request = request.checked().map_err(|error| format!("`{name}`: {error}"))?;
        Ok(Fixture { name, request, expect })
    });
    checked.collect()
}

impl Expected {
    fn is_met(&self, found: &Explanation) -> bool {
        self.verdict.word() == found.verdict
            && self.rule.as_ref().is_none_or(|rule| *rule == found.rule)
            && self.enforced.is_none_or(|enforced| enforced == found.enforced)
            && self.asks.as_ref().is_none_or(|asks| *asks == found.asks)
    }

    fn describe(&self) -> String {
        let asks = self.asks.as_ref().map(Option::as_deref);
        describe(self.verdict.word(), self.rule.as_ref().map(Option::as_deref), self.enforced, asks)
    }
}

impl VerdictWord {
    fn word(self) -> &'static str {
        match self {
            VerdictWord::Allow => "allow",
            VerdictWord::Deny => "deny",
        }
    }
}

fn describe(verdict: &str, rule: Option<Option<&str>>, enforced: Option<bool>, asks: Option<Option<&str>>) -> String {
    let by = match rule {
        None => String::new(),
        Some(None) => " by no rule".to_owned(),
        Some(Some(rule)) => format!(" by `{rule}`"),
    };
    let watched = if enforced == Some(false) { ", not enforced" } else { "" };
    let asks = asks.flatten().map(|approver| format!(", asks `{approver}`")).unwrap_or_default();
    format!("{verdict}{by}{watched}{asks}")
}
