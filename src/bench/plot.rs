//! Percentile curves as SVG, on the scale that HdrHistogram made known: the distance to 100 % halves and halves again from left to right.

use std::fmt;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::{ChartBuilder, Color, IntoDrawingArea, IntoFont, LineSeries, RGBColor, SVGBackend};

use super::hgrm::Step;

/// One curve.
#[derive(Debug)]
pub struct Curve<'c> {
    /// From the shortest latency to the longest.
    pub steps: &'c [Step],
    /// Its colour, as [`colour`] gives it.
    pub colour: (u8, u8, u8),
}

/// Where a plot is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As wide as a phone.
    Phone,
    /// As wide as a page.
    Page,
}

impl Size {
    /// Width, height and letters, in pixels.
    fn pixels(self) -> (u32, u32, u32) {
        match self {
            Size::Phone => (360, 320, 12),
            Size::Page => (960, 420, 14),
        }
    }
}

/// The plot could not be drawn.
#[derive(Debug)]
pub struct Undrawn(String);

impl fmt::Display for Undrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plot could not be drawn: {}", self.0)
    }
}

impl std::error::Error for Undrawn {}

/// The colour of target number `at`: Okabe and Ito's, which the colour-blind can tell apart.
pub fn colour(at: usize) -> (u8, u8, u8) {
    const COLOURS: [(u8, u8, u8); 8] = [
        (0x6b, 0x72, 0x80),
        (0x00, 0x72, 0xb2),
        (0xd5, 0x5e, 0x00),
        (0x00, 0x9e, 0x73),
        (0xcc, 0x79, 0xa7),
        (0xe6, 0x9f, 0x00),
        (0x56, 0xb4, 0xe9),
        (0x33, 0x33, 0x33),
    ];
    COLOURS[at % COLOURS.len()]
}

/// Draws all curves into one plot. Latencies are on a logarithmic scale: a tail is often a hundred times the median.
///
/// # Errors
/// If the drawing library fails.
pub fn percentiles(curves: &[Curve<'_>], size: Size) -> Result<String, Undrawn> {
    let failed = |error: &dyn fmt::Display| Undrawn(error.to_string());
    let points: Vec<Vec<(f64, f64)>> = curves.iter().map(|curve| points(curve.steps)).collect();
    let all = || points.iter().flatten();
    let right = all().map(|(nines, _)| *nines).fold(1.0, f64::max);
    let lowest = all().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let (low, high) = (lowest.min(3.0), all().map(|(_, value)| *value).fold(lowest.min(3.0) + 1.0, f64::max));
    let (width, height, letters) = size.pixels();
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        let (nines, microseconds) = (Nines(right), Microseconds((low - 0.1).max(0.0), high + 0.05));
        let font = || ("sans-serif", letters).into_font().color(&INK);
        let mut chart = ChartBuilder::on(&area)
            .margin(4)
            .margin_right(letters * 2)
            .x_label_area_size(letters * 2 + 4)
            .y_label_area_size(letters * 4)
            .build_cartesian_2d(nines, microseconds)
            .map_err(|error| failed(&error))?;
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.0))
            .label_style(font())
            .x_labels(9)
            .y_labels(9)
            .draw()
            .map_err(|error| failed(&error))?;
        for (curve, points) in curves.iter().zip(points) {
            let (red, green, blue) = curve.colour;
            let style = RGBColor(red, green, blue).stroke_width(2);
            chart.draw_series(LineSeries::new(points, style)).map_err(|error| failed(&error))?;
        }
        area.present().map_err(|error| failed(&error))?;
    }
    // The page decides how wide a plot is; what is in it keeps its proportions.
    Ok(text.replacen(&format!("width=\"{width}\" height=\"{height}\" "), "role=\"img\" ", 1))
}

/// How many nines, and the logarithm of the latency. 100 % lies nowhere: the longest stands where its rank among all is.
fn points(steps: &[Step]) -> Vec<(f64, f64)> {
    let last = steps.iter().map(|step| step.quantile).filter(|quantile| *quantile < 1.0).fold(0.0, f64::max);
    let at = |quantile: f64| if quantile < 1.0 { -(1.0 - quantile).log10() } else { -(1.0 - last).log10() };
    steps.iter().map(|step| (at(step.quantile), (step.value.max(0.001) * 1e3).log10())).collect()
}

/// The axis of percentiles: 0 to so many nines.
struct Nines(f64);

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        place(*value, 0.0, self.0, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        // 99 % is not quite two nines in binary fractions.
        (0..=9_u8).map(f64::from).filter(|nines| *nines <= self.0 + 1e-6).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.0
    }
}

impl ValueFormatter<f64> for Nines {
    fn format_ext(&self, nines: &f64) -> String {
        match *nines {
            nines if nines < 0.5 => "0 %".to_owned(),
            nines if nines < 1.5 => "90 %".to_owned(),
            nines if nines < 2.5 => "99 %".to_owned(),
            nines => format!(
                "99.{} %",
                "9".repeat(if nines < 3.5 {
                    1
                } else if nines < 4.5 {
                    2
                } else {
                    3
                })
            ),
        }
    }
}

/// The axis of latencies: logarithms of nanoseconds.
struct Microseconds(f64, f64);

impl Ranged for Microseconds {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        place(*value, self.0, self.1, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        let decades = (0..=11_u8).map(f64::from);
        let wide = self.1 - self.0 > 3.0;
        let within = decades.flat_map(|decade| {
            let steps: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
            steps.iter().map(move |step| decade + step.log10())
        });
        within.filter(|value| (self.0..=self.1).contains(value)).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.0..self.1
    }
}

impl ValueFormatter<f64> for Microseconds {
    fn format_ext(&self, value: &f64) -> String {
        let nanoseconds = 10_f64.powf(*value);
        match nanoseconds {
            short if short < 999.5 => format!("{short:.0} ns"),
            middle if middle < 999_500.0 => format!("{:.0} µs", middle / 1e3),
            long if long < 999_500_000.0 => format!("{:.0} ms", long / 1e6),
            longer => format!("{:.0} s", longer / 1e9),
        }
    }
}

/// The pixel of a value.
#[allow(clippy::cast_possible_truncation, reason = "a pixel of a plot a thousand wide")]
fn place(value: f64, low: f64, high: f64, limit: (i32, i32)) -> i32 {
    let share = (value - low) / (high - low).max(f64::MIN_POSITIVE);
    limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
}

const INK: RGBColor = RGBColor(0x4b, 0x55, 0x63);
const GRID: RGBColor = RGBColor(0xd1, 0xd5, 0xdb);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_over_the_distance_to_all() {
        let steps = [(10.0, 0.0), (20.0, 0.5), (40.0, 0.9), (400.0, 0.99), (900.0, 1.0)];
        let steps = steps.map(|(value, quantile)| Step { value, quantile });
        let drawn = points(&steps);
        assert_eq!(
            drawn.iter().map(|(x, _)| (x * 1e3).round()).collect::<Vec<_>>(),
            [0.0, 301.0, 1000.0, 2000.0, 2000.0]
        );
        for size in [Size::Phone, Size::Page] {
            let svg = percentiles(&[Curve { steps: &steps, colour: colour(1) }], size).unwrap();
            assert!(svg.starts_with("<svg role=\"img\" viewBox=") && svg.contains("<polyline"), "{svg}");
            for label in ["0 %", "90 %", "99 %", "100 µs"] {
                assert!(svg.contains(label), "{label}: {svg}");
            }
        }
    }

    #[test]
    fn a_distribution_that_nobody_measured_is_drawn_all_the_same() {
        let text = "Value Percentile\n0 0.0\n1e308 0.9999999999999999\n3 0.5\n1e308 1.0\n";
        let steps = crate::bench::hgrm::read(text).unwrap();
        for steps in [&steps[..], &steps[..1], &[]] {
            assert!(percentiles(&[Curve { steps, colour: colour(9) }], Size::Phone).unwrap().contains("<svg"));
        }
    }

    #[test]
    fn a_plot_of_nothing_is_empty_and_no_failure() {
        assert!(percentiles(&[], Size::Page).unwrap().contains("<svg"));
    }
}
