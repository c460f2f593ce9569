//! What must hold for every policy and every subject, shared by the tests and the fuzz targets.
//!
//! The reference evaluator ([`reference`]) walks the rules one by one and matches by plain recursion; it shares the parsed model with the
//! table and nothing else. Random policies and subjects ([`draw`]) draw from one small vocabulary, so that they meet often.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test support, compiled only for tests and fuzzing")]

mod agt;
mod draw;
mod reference;

use super::asks::asks_about;
use super::{Answer, Decision, Host, Look, Mcp, Policy, Source, Subject, Verdict, explain, load};
pub use agt::agt_decides_as_the_reference;
use draw::{Dice, Drawn};

/// Loading any text gives problems or a policy, the latter exactly when no problem is an error; every problem stands inside the
/// file.
pub fn loads_or_says_why(text: &str) {
    let loaded = load(Source { name: "p.yaml", text });
    let errors = loaded.problems.iter().filter(|problem| problem.severity == super::Severity::Error).count();
    assert_eq!(loaded.policy.is_none(), errors > 0, "{:?}", loaded.problems);
    let lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
    for problem in &loaded.problems {
        // YAML breaks lines at a lone carriage return too.
        let returns = u32::try_from(text.matches('\r').count()).unwrap_or(u32::MAX);
        assert!(problem.place.line >= 1 && problem.place.line <= lines.saturating_add(returns), "{problem}");
        assert!(problem.place.column >= 1, "{problem}");
    }
}

/// The table decides as the reference does, for a random policy and `subjects` drawn from `bytes`.
pub fn decides_as_the_reference(bytes: &[u8], subjects: usize) {
    let mut dice = Dice::new(bytes);
    let text = draw::policy_text(&mut dice);
    let loaded = load(Source { name: "p.yaml", text: &text });
    let Some(policy) = loaded.policy else { panic!("{:?}\n{text}", loaded.problems) };
    for _ in 0..subjects {
        let drawn = Drawn::new(&mut dice);
        drawn.with_subject(|subject| {
            compare(&policy, subject, &text);
            needs_nothing_that_does_not_matter(&policy, subject, &drawn, &text);
        });
    }
}

/// What [`Policy::ask`] decides without a look is decided alike whatever there is to see, and names a rule that matches then too.
fn needs_nothing_that_does_not_matter(policy: &Policy, subject: &Subject<'_>, drawn: &Drawn, text: &str) {
    let mcp = subject.mcp.map(|mcp| Mcp { arguments: Look::NotLooked, ..mcp });
    let open = Subject { body: Look::NotLooked, mcp, ..*subject };
    let Answer::Decided(early) = policy.ask(&open) else { return };
    for body in [Look::Absent, Look::Unreadable, Look::At(&drawn.body)] {
        for arguments in [Look::Absent, Look::Unreadable, Look::At(&drawn.arguments)] {
            let looked = Subject { body, mcp: subject.mcp.map(|mcp| Mcp { arguments, ..mcp }), ..*subject };
            let late = policy.decide(&looked);
            let (soon, then) = ((early.verdict, early.enforced, early.ask), (late.verdict, late.enforced, late.ask));
            assert_eq!(soon, then, "{looked:?}\n{text}");
            if let Some(named) = early.rule {
                let rule = policy.rules().iter().find(|rule| *rule.name == *named.name).unwrap();
                assert!(rule.failed(&looked).is_none() || asks_about(rule, &looked), "{looked:?}\n{text}");
            }
        }
    }
}

/// A policy that is said to weaken another in nothing lets nothing go that the other stops. Returns whether it is said of the two policies
/// drawn from `bytes`.
pub fn weakens_or_says_so(bytes: &[u8]) -> bool {
    let mut dice = Dice::new(bytes);
    let old = draw::policy_text(&mut dice);
    let new = draw::changed(&mut dice, &old);
    let of = |text: &str| load(Source { name: "p.yaml", text }).policy.unwrap_or_else(|| panic!("{text}"));
    let [before, after] = [of(&old), of(&new)];
    if !after.weakenings(&before).is_empty() {
        return false;
    }
    for _ in 0..100 {
        Drawn::new(&mut dice).with_subject(|subject| {
            let (was, is) = (before.decide(subject), after.decide(subject));
            let goes = |decision: Decision<'_>| decision.verdict == Verdict::Allow || !decision.enforced;
            let unasked = was.ask.is_some() && was.ask != is.ask;
            assert!(!goes(is) || goes(was) && !unasked, "{subject:?}\nold:\n{old}\nnew:\n{new}");
        });
    }
    true
}

fn compare(policy: &Policy, subject: &Subject<'_>, text: &str) {
    let expected = reference::outcome(policy, &subject.settled());
    let decision = policy.decide(subject);
    let found = Outcome {
        verdict: decision.verdict,
        enforced: decision.enforced,
        rule: decision.rule.map(|rule| rule.name.to_owned()),
        ask: decision.ask.map(str::to_owned),
    };
    assert_eq!(found, expected, "{subject:?}\n{text}");
    assert_eq!(decision.code.is_none(), decision.rule.is_some());
    let explained = explain(policy, subject);
    assert_eq!(explained.rule, expected.rule, "{subject:?}\n{text}");
    assert_eq!(explained.asks, expected.ask, "{subject:?}\n{text}");
    let stays = decision.admit().is_err();
    assert_eq!(stays, decision.verdict == Verdict::Deny && decision.enforced || expected.ask.is_some());
    if let Some(rule) = &explained.rule {
        assert!(explained.matched.contains(rule), "{explained:?}\n{subject:?}\n{text}");
    }
    // A message over standard streams goes to no host.
    if let Host::Name(name) = subject.host
        && subject.mcp.is_none()
    {
        let goes = decision.verdict == Verdict::Allow || !decision.enforced;
        assert!(!goes || policy.may_admit(Host::Name(name)), "{name} may go, and has no name\n{subject:?}\n{text}");
    }
}

/// What a decision says, compared.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    enforced: bool,
    rule: Option<String>,
    ask: Option<String>,
}
