//! `report.html`: one page that needs nothing but itself. Plots, figures, where and how they came about, and how to repeat them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use super::compare::over;
use super::hgrm::{self, Step};
use super::plot::{Curve, Size, Undrawn, colour, percentiles};
use super::report::{Figures, Summary};
use super::scenario::Arrivals;
use super::target::Target;

/// What one run left in its folder.
#[derive(Debug)]
pub struct Result {
    /// Its summary.
    pub summary: Summary,
    /// A distribution per target.
    pub distributions: BTreeMap<String, Vec<Step>>,
}

/// Why there is no page.
#[derive(Debug)]
pub enum PageError {
    /// A file cannot be read.
    Io(PathBuf, io::Error),
    /// A file is not what its name says.
    Unreadable(PathBuf, String),
    /// There is no summary, neither in the folder nor one below.
    Nothing(PathBuf),
    /// A plot failed.
    Undrawn(Undrawn),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PageError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            PageError::Unreadable(path, why) => write!(f, "{}: {why}", path.display()),
            PageError::Nothing(path) => {
                write!(f, "{}: no summary.json here or one folder below; `bench run --out` writes one", path.display())
            }
            PageError::Undrawn(undrawn) => undrawn.fmt(f),
        }
    }
}

impl std::error::Error for PageError {}

/// Reads the summary at `path`: a file, or the folder of a run.
///
/// # Errors
/// If it cannot be read.
pub fn summary(path: &Path) -> std::result::Result<Summary, PageError> {
    let file = if path.is_dir() { path.join(SUMMARY) } else { path.to_owned() };
    let text = fs::read_to_string(&file).map_err(|error| PageError::Io(file.clone(), error))?;
    serde_json::from_str(&text).map_err(|error| PageError::Unreadable(file, error.to_string()))
}

/// Reads what runs left in `folder`, or in the folders right below, by name.
///
/// # Errors
/// If there is nothing, or it cannot be read.
pub fn results(folder: &Path) -> std::result::Result<Vec<Result>, PageError> {
    if folder.join(SUMMARY).is_file() {
        return Ok(vec![result(folder)?]);
    }
    let entries = fs::read_dir(folder).map_err(|error| PageError::Io(folder.to_owned(), error))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|below| below.join(SUMMARY).is_file());
    folders.sort();
    if folders.is_empty() {
        return Err(PageError::Nothing(folder.to_owned()));
    }
    folders.iter().map(|folder| result(folder)).collect()
}

fn result(folder: &Path) -> std::result::Result<Result, PageError> {
    let summary = summary(folder)?;
    let mut distributions = BTreeMap::new();
    for target in summary.targets.keys() {
        // A name out of a file that anybody may have written is no path.
        if Target::named(target).is_none() {
            return Err(PageError::Unreadable(folder.join(SUMMARY), format!("`{target}` is no target")));
        }
        let file = folder.join(format!("{target}.hgrm"));
        let text = fs::read_to_string(&file).map_err(|error| PageError::Io(file.clone(), error))?;
        let steps = hgrm::read(&text).ok_or_else(|| PageError::Unreadable(file, "no distribution".to_owned()))?;
        distributions.insert(target.clone(), steps);
    }
    Ok(Result { summary, distributions })
}

/// The page about these results.
///
/// # Errors
/// If a plot fails.
pub fn page(results: &[Result]) -> std::result::Result<String, PageError> {
    let mut body = String::new();
    for result in results {
        section(&mut body, result, results.len() > 1).map_err(PageError::Undrawn)?;
    }
    let title = match results {
        [only] => format!("ringfence bench: {}", escaped(&only.summary.scenario)),
        _ => format!("ringfence bench: {} runs", results.len()),
    };
    let style = include_str!("page.css");
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    ))
}

fn section(page: &mut String, result: &Result, one_of_many: bool) -> std::result::Result<(), Undrawn> {
    let Result { summary, distributions } = result;
    let settings = &summary.environment.settings;
    // In the order of the scenario; a target's colour is its place there.
    let targets: Vec<(usize, &str)> = settings.targets.iter().map(Target::name).enumerate().collect();
    let targets: Vec<_> = targets.into_iter().filter(|(_, name)| summary.targets.contains_key(*name)).collect();
    // Writing to a String cannot fail, here and below.
    if one_of_many {
        let _ = writeln!(
            page,
            "<h2>{} <span class=\"soft\">{}</span></h2>",
            escaped(&summary.scenario),
            escaped(&settings_in_words(summary))
        );
    }
    let _ = writeln!(page, "<p class=\"soft\">{}</p>", escaped(&load_in_words(summary)));
    match summary.valid {
        true => page.push_str("<p><span class=\"mark\">valid</span></p>\n"),
        false => {
            let why = escaped(&summary.why).replace("; ", "<br>");
            let _ = writeln!(page, "<p><span class=\"mark bad\">invalid</span></p>\n<p class=\"why\">{why}</p>");
        }
    }
    page.push_str("<h3>Latency by percentile</h3>\n<figure>\n");
    let curves: Vec<Curve<'_>> = targets
        .iter()
        .filter_map(|(at, name)| Some(Curve { steps: distributions.get(*name)?, colour: colour(*at) }))
        .collect();
    for (size, class) in [(Size::Phone, "phone"), (Size::Page, "page")] {
        let label = format!("role=\"img\" class=\"{class}\" aria-label=\"latency by percentile\" ");
        page.push_str(&percentiles(&curves, size)?.replacen("role=\"img\" ", &label, 1));
    }
    page.push_str("<ul class=\"key\">");
    for (at, name) in &targets {
        let _ = write!(page, "<li><i style=\"background:{}\"></i>{}</li>", css(*at), escaped(name));
    }
    page.push_str("</ul>\n<figcaption>All rounds together. Each step to the right is ten times rarer; both scales are logarithmic.</figcaption>\n</figure>\n");
    bars(page, summary, &targets);
    details(page, summary, &targets);
    Ok(())
}

/// Added latency, throughput and CPU as bars, which a phone shows below one another.
fn bars(page: &mut String, summary: &Summary, targets: &[(usize, &str)]) {
    let figures = |name: &str| summary.targets.get(name);
    page.push_str("<div class=\"three\">\n");
    let base = summary.added.values().next().map(|added| added.over.clone()).unwrap_or_default();
    let added = targets.iter().filter_map(|(at, name)| {
        let added = summary.added.get(*name)?;
        let [low, high] = added.p50_ci95_us;
        let floor = over(summary, name, Target::Relay.name()).filter(|_| *name != Target::Relay.name());
        let floor = floor.map(|(floor, _)| format!("; {floor:+.1} over relay")).unwrap_or_default();
        let note = format!("95 %: {low:.1} … {high:.1}{floor}");
        Some(Bar { at: *at, name, value: added.p50_us, said: format!("{:+.1} µs", added.p50_us), note })
    });
    group(page, &format!("Added at the median, over {base}"), &added.collect::<Vec<_>>());
    let rate = targets.iter().filter_map(|(at, name)| {
        let value = figures(name)?.rps;
        Some(Bar { at: *at, name, value, said: format!("{} /s", grouped(value)), note: String::new() })
    });
    group(page, "Right answers a second", &rate.collect::<Vec<_>>());
    let cpu = targets.iter().filter_map(|(at, name)| {
        let value = figures(name)?.cpu_us_per_request;
        (value > 0.0).then(|| Bar { at: *at, name, value, said: format!("{value:.1} µs"), note: String::new() })
    });
    group(page, "CPU time per request", &cpu.collect::<Vec<_>>());
    page.push_str("</div>\n");
}

struct Bar<'b> {
    at: usize,
    name: &'b str,
    value: f64,
    said: String,
    note: String,
}

fn group(page: &mut String, title: &str, bars: &[Bar<'_>]) {
    let _ = writeln!(page, "<section><h3>{}</h3>\n<ul class=\"bars\">", escaped(title));
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    for Bar { at, name, value, said, note } in bars {
        let share = (value / most * 100.0).clamp(0.5, 100.0);
        let _ = writeln!(
            page,
            "<li><div class=\"said\"><span><i style=\"background:{0}\"></i>{1}</span><span>{said}</span></div>\
             <div class=\"rail\"><b style=\"width:{share:.1}%;background:{0}\"></b></div><small>{note}</small></li>",
            css(*at),
            escaped(name),
        );
    }
    page.push_str("</ul></section>\n");
}

/// All figures, the environment and the commands.
fn details(page: &mut String, summary: &Summary, targets: &[(usize, &str)]) {
    page.push_str("<details open><summary>All figures</summary>\n<div class=\"scroll\"><table><tr>");
    for title in ["target", "requests", "errors", "p50 µs", "p90", "p99", "p99.9", "max", "CPU µs"] {
        let _ = write!(page, "<th>{title}</th>");
    }
    page.push_str("</tr>\n");
    for (_, name) in targets {
        let Some(Figures { requests, errors, p50_us, p90_us, p99_us, p999_us, max_us, cpu_us_per_request, .. }) =
            summary.targets.get(*name)
        else {
            continue;
        };
        let _ = write!(page, "<tr><td>{}</td><td>{requests}</td><td>{errors}</td>", escaped(name));
        for value in [p50_us, p90_us, p99_us, p999_us, max_us] {
            let said = value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
            let _ = write!(page, "<td>{said}</td>");
        }
        let _ = writeln!(page, "<td>{cpu_us_per_request:.1}</td></tr>");
    }
    page.push_str("</table></div>\n<p class=\"soft\">Percentiles are medians over the rounds' percentiles, the longest is that of all rounds.</p></details>\n<details open><summary>Environment</summary>\n<dl>");
    for (term, said) in environment(summary) {
        let _ = write!(page, "<dt>{term}</dt><dd>{}</dd>", escaped(&said));
    }
    let command = escaped(&summary.environment.command.join(" "));
    let seed = summary.environment.seed;
    let _ = writeln!(
        page,
        "</dl></details>\n<details open><summary>Repeat it</summary>\n<pre class=\"scroll\">{command}\n\n# the same order of targets:\n{command} --seed {seed}\n\n# then, what changed:\nringfence bench compare THIS-FOLDER THAT-FOLDER</pre></details>"
    );
}

fn environment(summary: &Summary) -> Vec<(&'static str, String)> {
    let environment = &summary.environment;
    let cpus = match (environment.generator_cpu, environment.target_cpu) {
        (Some(generator), Some(target)) => {
            format!("{}; generator on {generator}, target on {target}", environment.cpus)
        }
        _ => environment.cpus.to_string(),
    };
    let mut said = vec![
        ("time", environment.time.clone()),
        ("ringfence", format!("{} ({})", environment.version, environment.commit)),
        ("cpu", environment.cpu.clone()),
        ("cpus", cpus),
        ("kernel", environment.kernel.clone()),
        ("clock", environment.clocksource.clone()),
        ("backend", format!("{}, spin {}", environment.backend, environment.settings.spin.name())),
        ("load average", environment.loadavg.clone()),
        ("rounds", format!("{}; {} run again", summary.rounds, environment.rounds_repeated)),
    ];
    said.extend(environment.peers.values().map(|version| ("peer", version.clone())));
    said.extend(environment.missing.iter().map(|missing| ("not installed", missing.clone())));
    for (target, lag) in environment.generators.iter().filter(|(_, lag)| lag.connected > 0) {
        said.push(("connections", format!("{target}: {} new, {} resumed", lag.connected, lag.resumed)));
    }
    said
}

fn settings_in_words(summary: &Summary) -> String {
    let environment = &summary.environment;
    let tls = if environment.settings.tls { "TLS" } else { "plaintext" };
    format!("{tls}, {}, spin {}", environment.backend, environment.settings.spin.name())
}

fn load_in_words(summary: &Summary) -> String {
    let environment = &summary.environment;
    let settings = &environment.settings;
    let load = match settings.arrivals {
        Arrivals::Closed => "as fast as answers come (closed loop)".to_owned(),
        // A record from before it was kept has it in its settings alone.
        _ if environment.rate > 0.0 => format!("{} a second, from the intended time", grouped(environment.rate)),
        _ => format!("{} a second, from the intended time", grouped(settings.rate)),
    };
    let many = if settings.connections == 1 { "" } else { "s" };
    format!(
        "{}; {} connection{many}; {} bytes; policy of {} rules; {}; {} rounds.",
        load,
        settings.connections,
        grouped_whole(settings.origin.bytes),
        grouped_whole(settings.rules),
        settings_in_words(summary),
        summary.rounds
    )
}

fn grouped_whole(number: usize) -> String {
    grouped_digits(&number.to_string())
}

fn grouped(number: f64) -> String {
    grouped_digits(&format!("{number:.0}"))
}

/// Thousands apart.
fn grouped_digits(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn css(at: usize) -> String {
    let (red, green, blue) = colour(at);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Text as it may stand in HTML: a result is a file, and may come from anybody.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

const SUMMARY: &str = "summary.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/record/2026-11-23-8c37764")
    }

    #[test]
    fn every_recorded_run_has_a_section_that_needs_nothing_else() {
        let results = results(&recorded()).unwrap();
        assert_eq!(results.len(), 8);
        let page = page(&results).unwrap();
        assert_eq!(page.matches("<h2>").count(), 8);
        assert_eq!(page.matches("<svg ").count(), 16);
        for remote in ["http://", "https://", "src=", "url(", "@import", "<script"] {
            let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains(remote), "{remote}");
        }
    }

    #[test]
    fn what_a_file_says_is_text_and_never_markup() {
        let mut results = results(&recorded().join("latency-uring-spin-0")).unwrap();
        results[0].summary.scenario = "<script>alert(1)</script>".to_owned();
        results[0].summary.environment.cpu = "\"><img onerror=x>".to_owned();
        let page = page(&results).unwrap();
        assert!(!page.contains("<script") && !page.contains("<img"));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(2000.4), "2,000");
        assert_eq!(grouped_whole(999), "999");
        assert_eq!(grouped_whole(1_000_000), "1,000,000");
    }
}
