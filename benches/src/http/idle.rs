//! What a server takes that nobody asks for anything.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::classic::Size;
use super::report::Section;
use super::server::Target;
use super::table::Table;

/// How long a server may take to come to rest.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures an empty server before its first write.
///
/// # Errors
/// It cannot be started, or is not started here: its process could not be looked at.
pub fn section(target: &Target, size: Size) -> io::Result<Section> {
    if let Target::Address(_) = target {
        return Err(io::Error::other("an idle server is one that is started here: leave out --url"));
    }
    let span = Duration::from_secs(if size == Size::Quick { 1 } else { 10 });
    let server = target.start(&[])?;
    sleep(SETTLE);
    let (resident, before) = (server.resident_bytes(), server.cpu_seconds());
    sleep(span);
    let (used, later) = (server.cpu_seconds() - before, server.resident_bytes());
    let mut table = Table::new(
        "An idle server",
        format!(
            "An empty server from {} s after its start on, for {} s. Linux counts processor time in hundredths of a second.",
            SETTLE.as_secs(),
            span.as_secs()
        ),
        &["what", "to reach", "measured"],
    );
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let mut row = |what: String, to_reach: &str, measured| table.row(vec![what, to_reach.to_owned(), measured]);
    row("resident memory".to_owned(), "30 MB", megabytes(resident));
    row(format!("resident memory {} s later", span.as_secs()), "30 MB", megabytes(later));
    let share = 100.0 * used / span.as_secs_f64();
    row(format!("processor time in {} s", span.as_secs()), "0 %", format!("{used:.2} s, {share:.1} %"));
    Ok(Section { name: "idle", table, charts: Vec::new() })
}
