//! Claims about report.html as a browser shows it, at the width of a phone and of a desk. They need Chromium, so they are ignored unless asked for.

#![allow(clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;

use ringfence::bench::page::{page, results};

/// Loads the page in a frame of a certain width, measures it there, and writes what it found where `--dump-dom` shows it. A frame,
/// because a browser's own window does not get as narrow as a phone.
const PROBE: &str = r#"<!doctype html><meta charset="utf-8"><body style="margin:0"><iframe id="frame" style="border:0;width:WIDTHpx;height:900px"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument, wide = page.documentElement.clientWidth;
  const shown = [...page.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width > 0);
  const inside = element => element.closest(".scroll") !== null;
  const out = [...page.querySelectorAll("body *")].filter(element => !inside(element) && element.getBoundingClientRect().right > wide + 1);
  const small = [...page.querySelectorAll("svg text")].filter(text => text.getBoundingClientRect().height > 0 && text.getBoundingClientRect().height < 9);
  document.body.innerHTML = "<pre>FOUND" + JSON.stringify({
    wide,
    overflow: page.documentElement.scrollWidth - wide,
    out: out.map(element => element.tagName + "." + element.getAttribute("class")),
    plots: shown.map(svg => ({
      curves: [...svg.querySelectorAll("polyline")].filter(line => line.points.length > 3 && line.getBoundingClientRect().width > wide / 4).length,
      labels: [...svg.querySelectorAll("text")].map(text => text.textContent.trim()),
    })),
    small: small.length,
    bars: page.querySelectorAll(".bars b").length,
  }) + "END</pre>";
};
frame.srcdoc = PAGE;
</script>"#;

fn seen(page: &str, width: u32) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("probe.html");
    // A script's text may not hold its own end tag.
    let page = serde_json::to_string(page).expect("text").replace("</", "<\\/");
    fs::write(&file, PROBE.replace("WIDTH", &width.to_string()).replace("PAGE", &page)).expect("written");
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .args(["--window-size=1400,1000", "--dump-dom"])
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("chromium");
    let dom = String::from_utf8_lossy(&browser.stdout).into_owned();
    let found = dom.split_once("FOUND").and_then(|(_, rest)| rest.split_once("END")).map(|(found, _)| found);
    let found = found.unwrap_or_else(|| panic!("no verdict: {dom} {}", String::from_utf8_lossy(&browser.stderr)));
    serde_json::from_str(&found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).expect("JSON")
}

#[test]
#[ignore = "needs Chromium"]
fn a_report_is_readable_on_a_phone_and_on_a_desk() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/record/2026-11-23-8c37764");
    let page = page(&results(&recorded).expect("results")).expect("a page");
    for width in [390, 1280] {
        let found = seen(&page, width);
        assert_eq!(found["overflow"], 0, "{width}: {found}");
        assert_eq!(found["out"], serde_json::json!([]), "{width}");
        assert_eq!(found["small"], 0, "{width}: letters too small to read");
        let plots = found["plots"].as_array().expect("plots");
        // Eight runs, each with the one plot that is made for this width.
        assert_eq!(plots.len(), 8, "{width}: {found}");
        for plot in plots {
            assert_eq!(plot["curves"], 3, "{width}: direct, relay and ringfence: {plot}");
            for label in ["0 %", "90 %", "99 %", "99.9 %"] {
                assert!(plot["labels"].as_array().expect("labels").contains(&label.into()), "{width}: {plot}");
            }
        }
        // Two added latencies, three rates and two of CPU for each run.
        assert_eq!(found["bars"], 8 * 7, "{width}: {found}");
    }
}
