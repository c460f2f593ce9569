//! The live line of a run: where it is, and what the last turn showed. Only on a terminal; a log gets none of it.

use std::io::{self, IsTerminal, Write};

use crate::bench::driver::Progress;
use crate::bench::scenario::Scenario;
use crate::bench::statistics::{a_second, add, histogram, quantile_us};

/// One line, written over itself.
pub(super) struct Live<'s> {
    scenario: &'s Scenario,
    on: bool,
    errors: u64,
}

impl<'s> Live<'s> {
    pub(super) fn new(scenario: &'s Scenario) -> Live<'s> {
        let live = Live { scenario, on: io::stderr().is_terminal(), errors: 0 };
        live.show(&format!("{}: starting", scenario.name));
        live
    }

    pub(super) fn tell(&mut self, progress: &Progress<'_>) {
        self.errors += progress.turn.measured.errors;
        self.show(&line(&self.scenario.name, progress, self.errors));
    }

    /// Leaves the line as a whole one.
    pub(super) fn close(&self) {
        if self.on {
            eprintln!();
        }
    }

    fn show(&self, line: &str) {
        if self.on {
            // Back to the start, the line, and nothing of what stood behind it.
            eprint!("\r{line}\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}

/// Short enough for 80 columns.
fn line(scenario: &str, progress: &Progress<'_>, errors: u64) -> String {
    let measured = &progress.turn.measured;
    let right = measured.requests.saturating_sub(measured.errors);
    let mut whole = histogram();
    add(&mut whole, &measured.latency);
    let us =
        |quantile: f64| quantile_us(&whole, quantile).map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let (done, wanted) = progress.rounds;
    format!(
        "{scenario} {done}/{wanted} {}: {:.0}/s p50 {} p99 {} us, {errors} errors",
        progress.target.name(),
        a_second(right, measured.elapsed_ns),
        us(0.5),
        us(0.99),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Measured;
    use crate::bench::driver::Turn;
    use crate::bench::target::Target;

    #[test]
    fn the_line_says_rate_percentiles_and_errors() {
        let latency = vec![(50_000, 99), (900_000, 1)];
        let measured = Measured { requests: 102, errors: 2, latency, elapsed_ns: 500_000_000, ..Measured::default() };
        let turn = Turn { measured, cpu_ns: 0, foreign_cpus: 0.0 };
        let progress = Progress { rounds: (3, 40), target: &Target::Ringfence, turn: &turn };
        assert_eq!(line("latency", &progress, 2), "latency 3/40 ringfence: 200/s p50 50 p99 50 us, 2 errors");
    }
}
