//! Curves as SVG: a frame, a grid, one line for each series, and a legend that says which is which. No script, no outside host.

use std::fmt::Write as _;

use super::table::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;
/// The colours of the style sheet, after which they begin again, dashed.
const COLOURS: usize = 6;
/// Series in a row of a picture's legend.
const LEGEND_COLUMNS: usize = 3;

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Equal steps.
    Linear,
    /// Tenfold steps.
    Log,
    /// Tenfold steps towards 100 %: the values are shares, 0 ..= 1.
    Percentile,
}

/// What the numbers of an axis are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Seconds, told in µs, ms or s.
    Seconds,
    /// So many a second.
    Rate,
    /// Bytes.
    Bytes,
    /// Seconds since the start.
    Elapsed,
    /// A share.
    Share,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it says.
    pub label: &'static str,
    /// How it is divided.
    pub scale: Scale,
    /// What its numbers are.
    pub unit: Unit,
}

/// A curve.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its title.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// Its curves.
    pub series: Vec<Series>,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(1e-9).log10(),
            Scale::Percentile => -(1.0 - value).max(1e-6).log10(),
        }
    }

    /// From where to where, in places, and at which values a line is drawn.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64, Vec<f64>) {
        let places: Vec<f64> = values.map(|value| self.place(value)).collect();
        let low = places.iter().copied().fold(f64::INFINITY, f64::min);
        let high = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self.scale {
            Scale::Percentile => {
                let marks = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                let high = high.max(2.0);
                (0.0, high, marks.into_iter().filter(|mark| self.place(*mark) <= high + 1e-9).collect())
            }
            Scale::Log => {
                let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
                (low, high, (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect())
            }
            Scale::Linear => {
                let high = if high > 0.0 { high } else { 1.0 };
                let step = step(high / 5.0);
                let top = (high / step).ceil() * step;
                // Time ends where it ends; a quantity's axis ends on a line.
                let end = if self.unit == Unit::Elapsed { high } else { top };
                let count = (end / step + 1e-9).floor() as usize;
                (0.0, end, (0..=count).map(|index| index as f64 * step).collect())
            }
        }
    }

    fn told(&self, value: f64) -> String {
        let trimmed = |value: f64, unit: &str| {
            let text = format!("{value:.2}");
            format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
        };
        match self.unit {
            Unit::Seconds if value < 0.999e-3 => trimmed(value * 1e6, " µs"),
            Unit::Seconds if value < 0.999 => trimmed(value * 1e3, " ms"),
            Unit::Seconds | Unit::Elapsed => trimmed(value, " s"),
            Unit::Rate if value >= 1e6 => trimmed(value / 1e6, " M"),
            Unit::Rate if value >= 1e3 => trimmed(value / 1e3, " k"),
            Unit::Rate => trimmed(value, ""),
            Unit::Bytes => trimmed(value / f64::from(1 << 20), " MiB"),
            Unit::Share => {
                let text = format!("{:.3}", value * 100.0);
                format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= at_least * 0.999).unwrap_or(power)
}

impl Chart {
    /// As a figure of HTML; empty where no series has a point.
    pub(super) fn html(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let title = escape(&self.title);
        let mut out = format!(
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        );
        self.draw(&mut out);
        out += "</svg><ul class=\"legend\">";
        for (index, series) in self.series.iter().enumerate() {
            put(&mut out, format_args!("<li class=\"{}\"><span></span>{}</li>", class(index), escape(&series.name)));
        }
        out + "</ul></figure>"
    }

    /// As a file of its own, with title and legend in the picture; `None` where no series has a point.
    pub(super) fn picture(&self, style: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let title = escape(&self.title);
        let (head, foot) = (28.0, 20.0 * self.series.len().div_ceil(LEGEND_COLUMNS) as f64 + 4.0);
        let height = head + HEIGHT + foot;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
             <style>{style}</style><rect class=\"card\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\
             <text class=\"title\" x=\"16\" y=\"22\">{title}</text><g transform=\"translate(0 {head})\">"
        );
        self.draw(&mut out);
        out += "</g>";
        for (index, series) in self.series.iter().enumerate() {
            let x = LEFT + (index % LEGEND_COLUMNS) as f64 * (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS as f64;
            let y = head + HEIGHT + 8.0 + 20.0 * (index / LEGEND_COLUMNS) as f64;
            let (end, text, below) = (x + 14.0, x + 20.0, y + 4.0);
            put(
                &mut out,
                format_args!(
                    "<line class=\"key {}\" x1=\"{x:.1}\" y1=\"{y}\" x2=\"{end:.1}\" y2=\"{y}\"/>\
                     <text class=\"label\" x=\"{text:.1}\" y=\"{below}\">{}</text>",
                    class(index),
                    escape(&series.name)
                ),
            );
        }
        Some(out + "</svg>\n")
    }

    fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }

    /// Grid, axes and curves, within [`WIDTH`] and [`HEIGHT`].
    fn draw(&self, out: &mut String) {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let (left, right, columns) = self.x.range(points().map(|(x, _)| *x));
        let (low, high, lines) = self.y.range(points().map(|(_, y)| *y));
        let across = |x: f64| LEFT + (self.x.place(x) - left) / (right - left).max(1e-12) * (WIDTH - LEFT - RIGHT);
        let up = |y: f64| HEIGHT - BOTTOM - (self.y.place(y) - low) / (high - low).max(1e-12) * (HEIGHT - TOP - BOTTOM);
        for value in columns {
            let x = across(value);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{}\"/>",
                    HEIGHT - BOTTOM
                ),
            );
            let y = HEIGHT - BOTTOM + 16.0;
            put(
                out,
                format_args!(
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
                    self.x.told(value)
                ),
            );
        }
        for value in lines {
            let y = up(value);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/>",
                    WIDTH - RIGHT
                ),
            );
            let x = LEFT - 8.0;
            put(
                out,
                format_args!(
                    "<text class=\"tick\" x=\"{x}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    y + 4.0,
                    self.y.told(value)
                ),
            );
        }
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0);
        put(
            out,
            format_args!(
                "<text class=\"label\" x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">{}</text>",
                escape(self.x.label)
            ),
        );
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        put(
            out,
            format_args!(
                "<text class=\"label\" transform=\"translate(12 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                escape(self.y.label)
            ),
        );
        for (index, series) in self.series.iter().enumerate() {
            let path: Vec<String> =
                series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y))).collect();
            put(out, format_args!("<polyline class=\"{}\" points=\"{}\"/>", class(index), path.join(" ")));
            if series.points.len() <= 12 {
                for (x, y) in &series.points {
                    let (x, y) = (across(*x), up(*y));
                    put(out, format_args!("<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", class(index)));
                }
            }
        }
    }
}

fn class(index: usize) -> String {
    let dashed = if index >= COLOURS { " dashed" } else { "" };
    format!("s{}{dashed}", index % COLOURS)
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a text takes text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_all_its_values_and_its_lines_are_round() {
        let axis = |scale, unit| Axis { label: "", scale, unit };
        let (low, high, lines) = axis(Scale::Log, Unit::Seconds).range([0.000_3, 0.02].into_iter());
        assert_eq!((low, high), (-4.0, -1.0));
        assert_eq!(lines.len(), 4);
        let (low, high, lines) = axis(Scale::Linear, Unit::Rate).range([3.0, 47.0].into_iter());
        assert_eq!((low, high, lines), (0.0, 50.0, vec![0.0, 10.0, 20.0, 30.0, 40.0, 50.0]));
        let (_, _, lines) = axis(Scale::Percentile, Unit::Share).range([0.5, 0.999].into_iter());
        assert_eq!(lines, [0.0, 0.5, 0.9, 0.99, 0.999]);
    }

    #[test]
    fn values_are_told_with_their_units() {
        let axis = |unit| Axis { label: "", scale: Scale::Linear, unit };
        assert_eq!([0.000_25, 0.0015, 2.0].map(|s| axis(Unit::Seconds).told(s)), ["250 µs", "1.5 ms", "2 s"]);
        assert_eq!([0.5, 0.999].map(|s| axis(Unit::Share).told(s)), ["50 %", "99.9 %"]);
    }
}
