//! What a decision says of the rule that made it: names, reasons and remedies in one block of text.
//!
//! The rules themselves are large and lie wherever they were read; of a decision under a large policy, touching one would be the dearest
//! step.

use super::words::u32_of;
use crate::policy::decide::RuleView;
use crate::policy::model::Rule;

/// The texts of all rules, by their place in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Views {
    text: String,
    entries: Vec<Entry>,
}

/// Where the texts of a rule begin and how long each is.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    name: u32,
    reason: u32,
    remedy: u32,
}

/// The length of a text that is not there.
const NONE: u32 = u32::MAX;

impl Views {
    pub(super) fn of(model: &[Rule]) -> Views {
        let mut views = Views::default();
        for rule in model {
            let start = u32_of(views.text.len());
            views.text.push_str(&rule.name);
            let (reason, remedy) = (views.add(rule.reason.as_deref()), views.add(rule.remedy.as_deref()));
            views.entries.push(Entry { start, name: u32_of(rule.name.len()), reason, remedy });
        }
        views.text.shrink_to_fit();
        views.entries.shrink_to_fit();
        views
    }

    /// What is said of the rule at a place in the file.
    #[inline]
    pub(super) fn at(&self, place: u32) -> Option<RuleView<'_>> {
        let entry = self.entries.get(place as usize)?;
        let rest = self.text.get(entry.start as usize..)?;
        let (name, rest) = rest.split_at_checked(entry.name as usize)?;
        let (reason, rest) = part(rest, entry.reason)?;
        let (remedy, _) = part(rest, entry.remedy)?;
        Some(RuleView { name, reason, remedy })
    }

    fn add(&mut self, text: Option<&str>) -> u32 {
        let Some(text) = text else { return NONE };
        self.text.push_str(text);
        u32_of(text.len())
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

#[inline]
fn part(text: &str, len: u32) -> Option<(Option<&str>, &str)> {
    if len == NONE {
        return Some((None, text));
    }
    text.split_at_checked(len as usize).map(|(part, rest)| (Some(part), rest))
}
