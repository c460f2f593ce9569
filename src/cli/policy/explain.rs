//! `ringfence policy explain`: what one request comes to, for a person and as JSON.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{MISUSED, finish, request, with_policy};
use crate::policy::{Explanation, Outline, Policy};

pub(super) fn run((file, unsupplied): (&Path, &[String]), request: &str, json: bool) -> ExitCode {
    with_policy(file, unsupplied, |policy| {
        let asked = match request::read(request) {
            Ok(asked) => asked,
            Err(error) => {
                eprintln!("ringfence: --request: {error}");
                return ExitCode::from(MISUSED);
            }
        };
        asked.notes(policy).iter().for_each(|note| eprintln!("note: {note}"));
        let explanation = asked.explain(policy);
        let printed = if json { print_json(&explanation) } else { print_text(&explanation, policy) };
        finish(printed).unwrap_or(ExitCode::SUCCESS)
    })
}

fn print_json(explanation: &Explanation) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, explanation)?;
    writeln!(out)
}

/// For a person: the verdict in words, then one fact a line.
fn print_text(explanation: &Explanation, policy: &Policy) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (bold, plain) = if io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let verdict = explanation.verdict;
    let rules: HashMap<&str, Outline<'_>> = policy.outline().into_iter().map(|rule| (rule.name, rule)).collect();
    let by = match (&explanation.rule, explanation.code) {
        (Some(rule), _) => format!(" by the rule `{rule}`"),
        (None, Some("opening")) => ": it opens a conversation, in which calls are decided".to_owned(),
        (None, Some("policy_error")) => ": the rules cannot be evaluated for it".to_owned(),
        (None, Some("default")) if verdict == "allow" => " by default: no rule matches".to_owned(),
        (None, Some("default")) => " by default: no rule allows it".to_owned(),
        (None, Some("metadata")) => ": instance metadata is never reached".to_owned(),
        (None, Some(code)) => format!(": {code}"),
        (None, None) => String::new(),
    };
    let recorded = if explanation.enforced { "" } else { ", which is recorded and not enforced" };
    writeln!(out, "{bold}{verdict}{plain}{by}{recorded}")?;
    let mut line = |key: &str, value: &str| writeln!(out, "  {key:<8} {value}");
    if let Some(approver) = &explanation.asks {
        line("asks", &format!("`{approver}`, each time: without its leave the answer is deny"))?;
    }
    if let Some(reason) = &explanation.reason {
        line("reason", reason)?;
    }
    if let Some(remedy) = &explanation.remedy {
        line("remedy", remedy)?;
    }
    for (name, rule) in explanation.matched.iter().filter_map(|name| Some((name, rules.get(&**name)?))) {
        line("matched", &format!("{}: `{name}` (line {})", rule.effect, rule.place.line))?;
    }
    if let Some(missed) = &explanation.missed {
        let rule = rules.get(&*missed.rule);
        let place = rule.map(|rule| format!(" (line {})", rule.place.line)).unwrap_or_default();
        line(
            "nearest",
            &format!("`{}`{place} would allow it, but its `{}` does not hold", missed.rule, missed.condition),
        )?;
    }
    Ok(())
}
