//! The report: one HTML file with the tables and the curves, that loads nothing from anywhere; or the same as a page of
//! Markdown with pictures, for documentation.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::chart::{Axis, Chart, Scale, Series, Unit};
use super::outcome::Times;
use super::run::Measured;
use super::table::{Table, escape, percent, rate};
use crate::latency::short;

const STYLE: &str = include_str!("report.css");
const PICTURE_STYLE: &str = include_str!("picture.css");

/// A table with its curves.
#[derive(Clone, Debug)]
pub struct Section {
    /// What `load` calls it; without the blank, what its pictures' names begin with.
    pub name: &'static str,
    /// The table.
    pub table: Table,
    /// The curves.
    pub charts: Vec<Chart>,
}

/// Writes the report to `path`.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, machine: &str, command: &str, sections: &[Section]) -> io::Result<()> {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Load on the ledger</title>\
         <style>{STYLE}</style></head><body><main><h1>Load on the ledger</h1><p class=\"machine\">{}</p>\
         <p class=\"machine\"><code>{}</code></p><nav>",
        escape(&machine.replace("**", "")),
        escape(command)
    );
    for (index, section) in sections.iter().enumerate() {
        write!(out, "<a href=\"#s{index}\">{}</a>", escape(&section.table.title)).expect("a text takes text");
    }
    out += "</nav>";
    for (index, section) in sections.iter().enumerate() {
        write!(out, "<section id=\"s{index}\"><h2>{}</h2>", escape(&section.table.title)).expect("a text takes text");
        out += &section.table.html();
        if !section.charts.is_empty() {
            out += "<div class=\"charts\">";
            section.charts.iter().for_each(|chart| out += &chart.html());
            out += "</div>";
        }
        out += "</section>";
    }
    out += "<footer>Latencies of open loops count from when a request was due. A reply to a write waits for fdatasync, \
            unless it is said otherwise.</footer></main></body></html>";
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, out)
}

/// Writes the same as `README.md` into `folder`, with a picture for each chart beside it. `command` says how a section is
/// had by itself.
///
/// # Errors
/// A file cannot be written.
pub fn write_pages(
    folder: &Path,
    machine: &str,
    command: impl Fn(&Section) -> String,
    sections: &[Section],
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut page = format!(
        "# Load over HTTP\n\nEach table with its command, as `load` printed it. One machine for server, generator and disk: \
         {machine} Latencies of open loops count from when a request was due. How it is measured: \
         [performance.md](../performance.md).\n"
    );
    for section in sections {
        let Table { title, .. } = &section.table;
        write!(page, "\n## {title}\n\n`{}`\n\n{}", command(section), section.table.markdown_body())
            .expect("a text takes text");
        for (index, chart) in section.charts.iter().enumerate() {
            let Some(picture) = chart.picture(PICTURE_STYLE) else { continue };
            let name = format!("{}-{}.svg", section.name.replace(' ', ""), index + 1);
            fs::write(folder.join(&name), picture)?;
            write!(page, "\n![{}]({name})\n", chart.title).expect("a text takes text");
        }
    }
    fs::write(folder.join("README.md"), page)
}

/// Latency by percentile, a curve for each.
pub fn by_percentile(title: &str, curves: &[(String, Times)]) -> Chart {
    let shares = (0..=100).map(|step| 1.0 - 10f64.powf(-f64::from(step) / 20.0));
    let shares: Vec<f64> = shares.collect();
    let series = curves.iter().filter(|(_, times)| times.count() > 0).map(|(name, times)| {
        // Beyond one in all of them nothing is known.
        let known = |share: &&f64| (1.0 - **share) * times.count() as f64 >= 1.0;
        let points = shares.iter().filter(known).map(|share| (*share, times.quantile(*share).as_secs_f64()));
        Series { name: name.clone(), points: points.collect() }
    });
    Chart {
        title: title.to_owned(),
        x: Axis { label: "percentile", scale: Scale::Percentile, unit: Unit::Share },
        y: Axis { label: "latency", scale: Scale::Log, unit: Unit::Seconds },
        series: series.collect(),
    }
}

/// Latency second by second.
pub fn over_time(title: &str, measured: &Measured) -> Chart {
    let seconds = measured.outcome.seconds();
    let series = |name: &str, value: fn(&super::outcome::Second) -> std::time::Duration| Series {
        name: name.to_owned(),
        points: seconds.iter().map(|second| (second.number as f64, value(second).as_secs_f64())).collect(),
    };
    Chart {
        title: title.to_owned(),
        x: Axis { label: "since the start", scale: Scale::Linear, unit: Unit::Elapsed },
        y: Axis { label: "latency", scale: Scale::Log, unit: Unit::Seconds },
        series: vec![
            series("p50", |second| second.p50),
            series("p99", |second| second.p99),
            series("max", |second| second.max),
        ],
    }
}

/// Resident memory second by second.
pub fn memory(title: &str, measured: &Measured) -> Chart {
    let points = measured.samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.resident_bytes as f64));
    Chart {
        title: title.to_owned(),
        x: Axis { label: "since the start", scale: Scale::Linear, unit: Unit::Elapsed },
        y: Axis { label: "resident memory", scale: Scale::Linear, unit: Unit::Bytes },
        series: vec![Series { name: "resident".to_owned(), points: points.collect() }],
    }
}

/// What was reached, against what was aimed at.
pub fn against_target(title: &str, points: &[(f64, f64)]) -> Chart {
    let aim = points.iter().map(|(target, _)| (*target, *target)).collect();
    Chart {
        title: title.to_owned(),
        x: Axis { label: "target, requests a second", scale: Scale::Linear, unit: Unit::Rate },
        y: Axis { label: "reached", scale: Scale::Linear, unit: Unit::Rate },
        series: vec![
            Series { name: "reached".to_owned(), points: points.to_vec() },
            Series { name: "target".to_owned(), points: aim },
        ],
    }
}

/// A run by itself: a row for each kind.
pub fn of_one_run(measured: &Measured) -> Section {
    let (plan, outcome) = (&measured.plan, &measured.outcome);
    let pace = match plan.pace {
        super::Pace::Closed => "Closed loop".to_owned(),
        super::Pace::Open(per_second) => format!("Open loop of {}", rate(per_second)),
    };
    let broken = outcome.broken.as_ref().map_or(String::new(), |why| format!(" Connections broke: {why}."));
    let mut table = Table::new(
        plan.name.clone(),
        format!(
            "{pace}, {} connections, {} deep: {} operations, {} of the requests; cores: server {:.2}, generator {:.2}.{broken}",
            plan.connections,
            plan.depth,
            rate(outcome.operations_per_second()),
            percent(outcome.success()),
            measured.server_cores,
            measured.own_cores,
        ),
        &["request", "answered", "refused (503)", "failed", "average", "p50", "p95", "p99", "p99.9", "max"],
    );
    for kind in &outcome.kinds {
        let times = &kind.accepted;
        let mut row = vec![
            kind.kind.to_string(),
            times.count().to_string(),
            kind.refused.count().to_string(),
            kind.failed.to_string(),
        ];
        row.push(short(times.mean()));
        row.extend([0.5, 0.95, 0.99, 0.999].map(|share| short(times.quantile(share))));
        row.push(short(times.max()));
        table.row(row);
    }
    let curves: Vec<_> = outcome.kinds.iter().map(|kind| (kind.kind.to_string(), kind.accepted.clone())).collect();
    let charts = vec![
        by_percentile("Latency by percentile", &curves),
        over_time("Latency over time", measured),
        memory("Resident memory", measured),
    ];
    Section { name: "run", table, charts }
}
