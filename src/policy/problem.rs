//! What is wrong with a policy file, where, and how to mend it.

use std::fmt;

use crate::limits;

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy does not load.
    Error,
    /// The policy loads, but probably does not do what its author wants.
    Warning,
}

/// A place in a policy file; both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One problem of a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// Where the problem stands.
    pub place: Place,
    /// What is wrong, without a full stop.
    pub message: String,
    /// How to mend it.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {severity}: {}", self.file, self.place.line, self.place.column, self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

/// Gathers the problems of one file, so that a run names all of them and not only the first.
#[derive(Debug)]
pub(crate) struct Problems {
    file: String,
    list: Vec<Problem>,
    errors: usize,
}

impl Problems {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new(), errors: 0 }
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Error, place, message.into(), remedy.into());
    }

    pub(crate) fn warning(&mut self, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Warning, place, message.into(), remedy.into());
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Errors so far.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Takes over the problems of another file, which keep its name.
    pub(super) fn absorb(&mut self, other: Problems) {
        self.errors += other.errors;
        self.list.extend(other.list);
        self.list.truncate(2 * limits::POLICY_PROBLEMS_MAX);
    }

    /// All problems in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.place);
        self.list
    }

    /// Keeps a problem, unless there are so many already that nobody reads on; the first error is always kept.
    fn push(&mut self, severity: Severity, place: Place, message: String, remedy: String) {
        let first_error = severity == Severity::Error && self.errors == 0;
        self.errors += usize::from(severity == Severity::Error);
        if self.list.len() >= limits::POLICY_PROBLEMS_MAX && !first_error {
            return;
        }
        let remedy = (!remedy.is_empty()).then(|| printable(&remedy));
        self.list.push(Problem { severity, file: self.file.clone(), place, message: printable(&message), remedy });
    }
}

/// The text on one line of bounded length: problems quote the file, and end up on terminals.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(limits::POLICY_TEXT_BYTES_MAX));
    for character in text.chars() {
        if out.len() >= limits::POLICY_TEXT_BYTES_MAX {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_debug());
        } else {
            out.push(character);
        }
    }
    out
}

/// The nearest of `known` to a misspelt word, as a remedy; empty when nothing is near.
pub(crate) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    if word.len() > WORD_BYTES_MAX {
        return String::new();
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .take(WORDS_MAX)
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// Longer words are not misspelt but something else.
const WORD_BYTES_MAX: usize = 64;
/// Candidates looked at: a file with many groups and many misspelt ones still loads in linear time.
const WORDS_MAX: usize = 256;
