//! `ringfence policy check`: what is wrong with policies, and whether anything may get somewhere.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{FAILED, MISUSED, plural};
use crate::io::companions::load;
use crate::policy::{Loaded, Problem, ReachPlace, Severity};

pub(super) fn check(files: &[PathBuf], unsupplied: &[String]) -> ExitCode {
    let mut status = 0;
    let mut out = io::stdout().lock();
    for file in files {
        let loaded = match load(file, unsupplied) {
            Ok(loaded) => loaded,
            Err(error) => {
                eprintln!("ringfence: {}: {error}", file.display());
                status = MISUSED;
                continue;
            }
        };
        if loaded.policy.is_none() {
            status = status.max(FAILED);
        }
        if report(&mut out, file, &loaded).is_err() {
            // Whoever reads our output has gone; there is nobody left to tell.
            break;
        }
    }
    ExitCode::from(status)
}

fn report(out: &mut impl Write, file: &Path, loaded: &Loaded) -> io::Result<()> {
    for problem in &loaded.problems {
        writeln!(out, "{problem}")?;
    }
    let count = |severity| loaded.problems.iter().filter(|problem: &&Problem| problem.severity == severity).count();
    let warnings = match count(Severity::Warning) {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    match &loaded.policy {
        Some(policy) => writeln!(out, "{}: ok, {}{warnings}", file.display(), plural(policy.outline().len(), "rule")),
        None => writeln!(out, "{}: {}{warnings}", file.display(), plural(count(Severity::Error), "error")),
    }
}

/// Whether anything may get to a place: 0 for no, 1 for yes, under any of the policies.
pub(super) fn reach(files: &[PathBuf], place: &ReachPlace, unsupplied: &[String]) -> ExitCode {
    let mut status = 0;
    let mut out = io::stdout().lock();
    for file in files {
        let policy = match load(file, unsupplied) {
            Ok(Loaded { policy: Some(policy), .. }) => policy,
            Ok(Loaded { problems, .. }) => {
                let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
                errors.for_each(|problem| eprintln!("{problem}"));
                status = MISUSED;
                continue;
            }
            Err(error) => {
                eprintln!("ringfence: {}: {error}", file.display());
                status = MISUSED;
                continue;
            }
        };
        let answer = match policy.reach(place) {
            None => format!("{}: no", file.display()),
            Some(way) => {
                status = status.max(FAILED);
                let line = |name: &str| {
                    let outline = policy.outline();
                    let rule = outline.iter().find(|rule| rule.name == name);
                    rule.map(|rule| format!(" (line {})", rule.place.line)).unwrap_or_default()
                };
                let by = match way.rule {
                    Some(rule) => format!("by the rule `{rule}`{}", line(&rule)),
                    None if policy.is_agt() => "as far as host, port and path tell".to_owned(),
                    None => "by default".to_owned(),
                };
                format!("{}: yes, {by}: {}", file.display(), way.request)
            }
        };
        if writeln!(out, "{answer}").is_err() {
            break;
        }
    }
    ExitCode::from(status)
}
