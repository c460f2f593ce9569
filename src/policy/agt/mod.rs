//! Policies of Microsoft's Agent Governance Toolkit, decided as that toolkit decides them.
//!
//! A file is recognised by its keys and read into one [`Dialect`]. Each dialect keeps AGT's own semantics, traps included; a file that says
//! less or more than its author will think gets a warning, and one that cannot be kept to exactly does not load. Which fact stands for which
//! of AGT's fields is one table ([`facts`]) for all dialects. What AGT has no word for stays as it is under every policy: addresses are vetted,
//! every reading of a path is decided, and what cannot be read is denied.

mod acs;
mod course;
mod document;
mod egress;
mod expression;
mod facts;
mod moment;
mod npm;
mod reading;
mod regex;
mod scalar;
mod shell;
mod toolkit;

use aws_lc_rs::digest;

use super::decide::{Code, Decision, Verdict};
use super::explain::Explanation;
use super::model::Mode;
use super::problem::Problems;
use super::subject::{Stage, Subject};
use super::yaml::{Entry, Value};
use super::{Answer, Need, Outline, Policy, Terms};

use course::{Course, Ruling};
use facts::{Facts, Field, Scope};
use reading::{Reading, find, list, map};

pub(super) use facts::Origin;

/// A policy in one of AGT's languages.
#[derive(Debug)]
pub(super) struct Ruleset {
    dialect: Dialect,
    /// The fields that its rules read, by the names they have there.
    fields: Vec<(Box<str>, Field)>,
    /// JSON pointers of the arguments among them, sorted.
    arguments: Box<[Box<str>]>,
    /// Whether some rule reads the path, so that each reading of it is decided.
    reads_path: bool,
    /// The files that were read besides the policy's own.
    files: Box<[Box<str>]>,
}

/// One of AGT's languages. What is asked of each stands in the methods of [`Ruleset`].
#[derive(Debug)]
enum Dialect {
    Manifest(Box<acs::Manifest>),
    Document(document::Document),
    Toolkit(toolkit::Toolkit),
    Tools(npm::Tools),
    Egress(egress::Egress),
}

/// Which of AGT's languages a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Document,
    Toolkit,
    Tools,
    Egress,
}

/// What reading a file of AGT's gave.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) ruleset: Ruleset,
    pub(super) mode: Mode,
    /// SHA-256 over the contents of every file that was read.
    pub(super) digest: [u8; 32],
}

/// Which of AGT's languages a document is in, by its keys; nothing if in none.
pub(super) fn recognise(entries: &[Entry]) -> Option<Kind> {
    if find(entries, "ringfence").is_some() {
        return None;
    }
    if find(entries, acs::VERSION).is_some() {
        return Some(Kind::Manifest);
    }
    let rules = find(entries, "rules").and_then(|entry| list(&entry.node)).unwrap_or_default();
    let first = rules.first().and_then(map).unwrap_or_default();
    let has = |key: &str| find(first, key).is_some();
    let condition = find(first, "condition").map(|entry| &entry.node.value);
    match condition {
        Some(Value::Map(_)) => Some(Kind::Document),
        _ if find(entries, "apiVersion").is_some() => Some(Kind::Toolkit),
        Some(_) => Some(Kind::Toolkit),
        _ if has("tool") => Some(Kind::Tools),
        _ if has("domain") => Some(Kind::Egress),
        // Without rules a policy is told by its defaults.
        _ if rules.is_empty() && find(entries, "default_action").is_some() => Some(Kind::Toolkit),
        _ if rules.is_empty() && find(entries, "defaults").is_some() => Some(Kind::Document),
        _ => None,
    }
}

/// Reads a file. Without an error there is a ruleset.
pub(super) fn read(
    kind: Kind,
    (text, entries): (&str, &[Entry]),
    terms: &Terms<'_>,
    problems: &mut Problems,
) -> Option<Read> {
    let mut reading = Reading::new(text, terms, problems);
    let mut mode = Mode::Enforce;
    let dialect = match kind {
        Kind::Manifest => acs::read(entries, &mut reading).map(Box::new).map(Dialect::Manifest),
        Kind::Document => document::read(entries, &mut reading).map(Dialect::Document),
        Kind::Toolkit => toolkit::read(entries, &mut reading).map(Dialect::Toolkit),
        Kind::Tools => npm::read(entries, &mut reading).map(|(tools, its)| {
            mode = its;
            Dialect::Tools(tools)
        }),
        Kind::Egress => egress::read(entries, &mut reading).map(Dialect::Egress),
    };
    let (fields, files) = reading.finish();
    let dialect = dialect.filter(|_| !problems.has_errors())?;
    let mut arguments: Vec<Box<str>> = fields.iter().filter_map(|(_, field)| field.argument()).map(Box::from).collect();
    arguments.sort();
    arguments.dedup();
    let reads_path = fields.iter().any(|(_, field)| field.reads_path());
    let digest = digest_of(text, &files);
    let files = files.into_iter().map(|(path, _)| path).collect();
    let ruleset = Ruleset { dialect, fields, arguments: arguments.into(), reads_path, files };
    Some(Read { ruleset, mode, digest })
}

/// Over the policy's text, and over every other file with its path, so that no two sets of files have the same.
fn digest_of(text: &str, files: &[(Box<str>, Box<[u8]>)]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(text.as_bytes());
    for (path, bytes) in files {
        for part in [path.as_bytes(), bytes] {
            context.update(&[0]);
            context.update(digest::digest(&digest::SHA256, part).as_ref());
        }
    }
    let mut whole = [0; 32];
    for (to, from) in whole.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    whole
}

impl Ruleset {
    /// Where the rules lead for some facts.
    fn course(&self, facts: &Facts<'_>) -> Course<'_> {
        match &self.dialect {
            Dialect::Manifest(manifest) => manifest.course(facts),
            Dialect::Document(document) => document.course(facts),
            Dialect::Toolkit(toolkit) => toolkit.course(facts),
            Dialect::Tools(tools) => tools.course(facts),
            Dialect::Egress(egress) => egress.course(facts),
        }
    }

    /// The rules that match, for explanations; facts that are open count as unreadable.
    fn matching(&self, facts: &Facts<'_>) -> Vec<String> {
        match &self.dialect {
            Dialect::Manifest(manifest) => manifest.matching(facts),
            Dialect::Document(document) => document.matching(facts),
            Dialect::Toolkit(toolkit) => toolkit.matching(facts),
            Dialect::Tools(tools) => tools.matching(facts),
            Dialect::Egress(egress) => egress.matching(facts),
        }
    }

    /// The rules, for people.
    pub(super) fn outline(&self) -> Vec<Outline<'_>> {
        match &self.dialect {
            Dialect::Manifest(manifest) => manifest.outline(),
            Dialect::Document(document) => document.outline(),
            Dialect::Toolkit(toolkit) => toolkit.outline(),
            Dialect::Tools(tools) => tools.outline(),
            Dialect::Egress(egress) => egress.outline(),
        }
    }

    /// Counts a call against the limit that its ruling names; false where another call took the last place.
    pub(super) fn take(&self, limit: u32, agent: &str, time_ns: u64) -> bool {
        match &self.dialect {
            Dialect::Toolkit(toolkit) => toolkit.take(limit, agent, time_ns),
            Dialect::Manifest(_) | Dialect::Document(_) | Dialect::Tools(_) | Dialect::Egress(_) => true,
        }
    }

    /// Heap bytes of what was compiled, roughly.
    pub(super) fn bytes(&self) -> usize {
        match &self.dialect {
            Dialect::Manifest(manifest) => manifest.bytes(),
            Dialect::Document(document) => document.bytes(),
            Dialect::Toolkit(toolkit) => toolkit.bytes(),
            Dialect::Tools(tools) => tools.bytes(),
            Dialect::Egress(egress) => egress.bytes(),
        }
    }

    /// JSON pointers of the arguments that rules read.
    pub(super) fn arguments(&self) -> &[Box<str>] {
        &self.arguments
    }

    /// The files that were read besides the policy's own, by paths from its folder.
    pub(super) fn files(&self) -> &[Box<str>] {
        &self.files
    }

    /// The first field that some rule reads and subjects of an origin never have.
    pub(super) fn unsupplied(&self, origin: Origin) -> Option<&str> {
        reading::missing_from(&self.fields, origin)
    }

    /// Whether some rule reads what is decided at a stage besides the request itself.
    pub(super) fn reads(&self, stage: Stage<'_>) -> bool {
        let field = match stage {
            Stage::Request => return true,
            Stage::Description(_) => Field::Description,
            Stage::Response(_) => Field::Response,
        };
        self.fields.iter().any(|(_, read)| *read == field)
    }

    /// The courses for every reading of the path, the strictest first: a course that denies, one that is open, one that allows.
    fn strictest(&self, facts: Facts<'_>) -> Course<'_> {
        let readings = if self.reads_path { facts.subject.paths.len().max(1) } else { 1 };
        let courses = (0..readings).map(|reading| self.course(&Facts { reading, ..facts }));
        let strictness = |course: &Course<'_>| (course.may_allow, !course.is_open);
        courses.min_by_key(strictness).unwrap_or(Course::settled(Ruling::FLAWED))
    }

    /// The course of a subject at its stage.
    fn ruled(&self, facts: Facts<'_>) -> Course<'_> {
        if let Some(mcp) = facts.subject.mcp
            && facts.subject.stage == Stage::Request
            && mcp.opens()
        {
            // AGT governs calls, not handshakes and lists; they pass where some call could.
            let some = self.course(&Facts { scope: Scope::SomeMessage, ..facts });
            return Course::settled(Ruling::by_code(some.may_allow, Code::Opening));
        }
        let course = self.strictest(facts);
        match facts.subject.stage {
            Stage::Request => course,
            // The call itself has been decided; only a rule keeps back what comes of it.
            Stage::Description(_) | Stage::Response(_) if course.last.code == Some(Code::Default) => {
                Course { last: Ruling::by_default(true), may_allow: true, ..course }
            }
            Stage::Description(_) | Stage::Response(_) => course,
        }
    }
}

impl Policy {
    /// What a ruleset decides; [`Policy::decide`] for AGT.
    pub(super) fn decide_by<'p>(&'p self, ruleset: &'p Ruleset, subject: &Subject<'_>) -> Decision<'p> {
        self.ruling(ruleset.ruled(Facts::of(&subject.settled())).last, subject)
    }

    /// [`Policy::ask`] for AGT.
    pub(super) fn ask_by<'p>(&'p self, ruleset: &'p Ruleset, subject: &Subject<'_>, under_way: bool) -> Answer<'p> {
        let course = ruleset.ruled(Facts { under_way, ..Facts::of(subject) });
        if course.is_open && course.may_allow {
            return Answer::Needs(match subject {
                _ if subject.headers.is_open() || subject.query.is_open() => Need::Head,
                _ if subject.arguments().is_open() => Need::Arguments,
                _ => Need::Body,
            });
        }
        Answer::Decided(self.ruling(course.last, subject))
    }

    fn ruling<'p>(&'p self, ruling: Ruling<'p>, subject: &Subject<'_>) -> Decision<'p> {
        let (verdict, enforced) = match ruling.allows {
            true => (Verdict::Allow, true),
            false => (Verdict::Deny, self.mode() == Mode::Enforce),
        };
        let Ruling { rule, code, limit, .. } = ruling;
        Decision {
            verdict,
            enforced,
            rule,
            code,
            ask: None,
            asks: None,
            allow: None,
            limit,
            address: subject.dialled(),
            policy: self,
        }
    }

    /// [`super::explain()`] for AGT: AGT's policies have no nearest allow, since order carries meaning in them.
    pub(super) fn explain_by(&self, ruleset: &Ruleset, subject: &Subject<'_>) -> Explanation {
        let decision = self.decide(subject);
        let opens = subject.mcp.is_some_and(|mcp| mcp.opens());
        let matched = if opens { Vec::new() } else { ruleset.matching(&Facts::of(subject)) };
        Explanation {
            verdict: decision.verdict.as_str(),
            enforced: decision.enforced,
            rule: decision.rule.map(|rule| rule.name.to_owned()),
            reason: decision.rule.and_then(|rule| rule.reason).map(str::to_owned),
            remedy: decision.rule.and_then(|rule| rule.remedy).map(str::to_owned),
            code: decision.code.map(|code| code.as_str()),
            asks: None,
            matched,
            missed: None,
        }
    }

    /// Whether some request to a place could be allowed, as far as host, port and path tell, and by which rule where one is certain.
    pub(super) fn may_reach_by(
        &self,
        ruleset: &Ruleset,
        subject: &Subject<'_>,
        (port, path): (bool, bool),
    ) -> (bool, Option<Box<str>>) {
        let course = ruleset.course(&Facts { scope: Scope::Place { port, path }, ..Facts::of(subject) });
        let rule = course.last.rule.filter(|_| course.last.allows && !course.is_open);
        (course.may_allow, rule.map(|rule| rule.name.into()))
    }
}

#[cfg(test)]
mod tests;
