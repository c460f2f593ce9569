//! `ringfence bench compare` and `bench report`: what runs left behind, looked at afterwards.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::bench::compare::{self, Change, Verdict};
use crate::bench::page::{self, PageError};

/// Arguments of `ringfence bench compare`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence bench compare ./before ./after\n  ringfence bench compare ./before ./after --fail-above 5\n\nA change counts where its 95 % interval (bootstrap over rounds) does not hold zero. Exits with 1 under --fail-above when some\nlatency, CPU time or rate is worse by more than that with all of its interval."
)]
pub(super) struct CompareArgs {
    /// The earlier run: its folder or its summary.json
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The later one
    #[arg(value_name = "B")]
    after: PathBuf,
    /// Exit with 1 if something is worse by more than so many percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fail_above: Option<f64>,
}

/// Arguments of `ringfence bench report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringfence bench report ./result\n  ringfence bench report bench/record/2026-11-23-8c37764 --out report.html"
)]
pub(super) struct ReportArgs {
    /// The folder of a run, or one whose folders are runs
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the page goes [default: report.html in DIR]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (value.is_finite() && value >= 0.0).then_some(value).ok_or_else(|| "must be 0 or more".to_owned())
}

/// Prints the changes.
pub(super) fn compare(args: &CompareArgs) -> ExitCode {
    let (before, after) = match (page::summary(&args.before), page::summary(&args.after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), _) | (_, Err(error)) => return unusable(&error),
    };
    let changes = compare::changes(&before, &after);
    if changes.is_empty() {
        eprintln!("ringfence: bench: the runs have no target in common");
        return ExitCode::from(2);
    }
    let mut text = "target            figure            before      after     change  95 % interval\n".to_owned();
    changes.iter().for_each(|change| text += &format!("{}\n", line(change)));
    compare::unlike(&before, &after).iter().for_each(|unlike| text += &format!("not alike: {unlike}\n"));
    for (name, summary) in [("A", &before), ("B", &after)].into_iter().filter(|(_, summary)| !summary.valid) {
        text += &format!("{name} is INVALID: {}\n", summary.why);
    }
    crate::cli::say(&text);
    let gate = |limit: f64| changes.iter().any(|change| change.is_worse_by(limit));
    ExitCode::from(u8::from(args.fail_above.is_some_and(gate)))
}

fn line(change: &Change) -> String {
    let Change { target, figure, unit, before, after, interval, .. } = change;
    let interval = match interval {
        Some([low, high]) => format!("{low:+.1} … {high:+.1} {unit}"),
        None => "unknown: a run without rounds".to_owned(),
    };
    let verdict = match change.verdict() {
        Verdict::Better => "  better",
        Verdict::Worse => "  WORSE",
        Verdict::Open => "",
    };
    let of = format!("{figure} {unit}");
    format!("{target:<17} {of:<14} {before:>9.1}  {after:>9.1}  {:>+7.1} %  {interval}{verdict}", change.percent())
}

/// Writes the page.
pub(super) fn report(args: &ReportArgs) -> ExitCode {
    let page = match page::results(&args.folder).and_then(|results| page::page(&results)) {
        Ok(page) => page,
        Err(error) => return unusable(&error),
    };
    let out = args.out.clone().unwrap_or_else(|| args.folder.join("report.html"));
    match fs::write(&out, page) {
        Ok(()) => {
            println!("{}", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ringfence: bench: {}: {error}", out.display());
            ExitCode::FAILURE
        }
    }
}

fn unusable(error: &PageError) -> ExitCode {
    eprintln!("ringfence: bench: {error}");
    ExitCode::from(2)
}
