//! The page docs/forms.md: what an agent sees in each form, as measured. The page is made from a run and fails the next that differs.

use super::engine::repository;
use serde_json::Value;

/// Rewrites the page in place of comparing it: `RINGFENCE_WRITE_DOCS=1`.
const WRITE: &str = "RINGFENCE_WRITE_DOCS";

const HEAD: &str = "\
# What an agent sees in each form

Made by `tests/docker.rs` from a run of `tests/docker/claims.py` in each form, by plain Python with `requests` and the `openai` SDK, on io_uring
and on epoll alike; the test fails when this page differs from what it measures. A number is an HTTP status, and what stands behind it the rule
or the code that decided. The decisions on record are the same in all forms but for `mode`; every decision that a refused caller
was told was found there. How the forms differ otherwise is told in [integration-tiers.md](integration-tiers.md).

";

/// Claims by row, forms by column.
#[derive(Default)]
pub(crate) struct Table {
    forms: Vec<String>,
    /// In the order in which they were first claimed; one outcome for each form, `None` where it is not claimed.
    rows: Vec<(String, Vec<Option<String>>)>,
    failed: Vec<String>,
}

impl Table {
    pub(crate) fn column(&mut self, form: &str, claims: &[Value]) {
        self.forms.push(form.to_owned());
        let width = self.forms.len();
        for claim in claims {
            let text = |name: &str| claim[name].as_str().expect("text").to_owned();
            if claim["holds"] != true {
                self.failed.push(format!("{form}: {}: {}", text("claim"), text("outcome")));
            }
            let at = self.rows.iter().position(|(name, _)| *name == text("claim")).unwrap_or_else(|| {
                self.rows.push((text("claim"), Vec::new()));
                self.rows.len() - 1
            });
            let row = &mut self.rows[at].1;
            row.resize(width, None);
            row[width - 1] = Some(text("outcome"));
        }
    }

    /// The claims that do not hold, one a line.
    pub(crate) fn failures(&self) -> Result<(), String> {
        if self.failed.is_empty() { Ok(()) } else { Err(self.failed.join("\n")) }
    }

    /// Fails when the page in the repository is another.
    pub(crate) fn must_be_the_page(&self) {
        let path = repository().join("docs/forms.md");
        let measured = self.page();
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &measured).expect("the page can be written");
        }
        let printed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(printed == measured, "docs/forms.md is not what was measured; {WRITE}=1 writes it:\n{measured}");
    }

    fn page(&self) -> String {
        let mut page =
            format!("{HEAD}| claim | {} |\n| --- |{}\n", self.forms.join(" | "), " --- |".repeat(self.forms.len()));
        for (claim, outcomes) in &self.rows {
            let mut cells: Vec<&str> = outcomes.iter().map(|outcome| outcome.as_deref().unwrap_or("–")).collect();
            cells.resize(self.forms.len(), "–");
            page += &format!("| {claim} | {} |\n", cells.join(" | "));
        }
        page + "\n–: not claimed. `run` reads the policy once, makes its authority anew each time, and its agent ends with it.\n"
    }
}
