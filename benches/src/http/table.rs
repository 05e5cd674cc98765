//! A table, as Markdown for the terminal and the documentation, and as HTML for the report.

use std::fmt::Write as _;

/// Rows under a head.
#[derive(Clone, Debug)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How it was measured, in a sentence or two.
    pub note: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows yet.
    pub fn new(title: impl Into<String>, note: impl Into<String>, head: &[&'static str]) -> Table {
        Table { title: title.into(), note: note.into(), head: head.to_vec(), rows: Vec::new() }
    }

    /// One more row, as long as the head.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.head.len(), "a cell under every head");
        self.rows.push(cells);
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        format!("### {}\n\n{}", self.title, self.markdown_body())
    }

    /// As Markdown, without the title.
    pub(super) fn markdown_body(&self) -> String {
        let mut out = format!("{}\n\n", self.note);
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        out += &line(self.head.clone());
        out += &line(vec!["---"; self.head.len()]);
        self.rows.iter().for_each(|row| out += &line(row.iter().map(String::as_str).collect()));
        out
    }

    /// As HTML, without the title.
    pub(super) fn html(&self) -> String {
        let mut out = format!("<p class=\"note\">{}</p><div class=\"wide\"><table><thead><tr>", escape(&self.note));
        self.head.iter().for_each(|cell| out += &format!("<th>{}</th>", escape(cell)));
        out += "</tr></thead><tbody>";
        for row in &self.rows {
            out += "<tr>";
            row.iter().for_each(|cell| write!(out, "<td>{}</td>", escape(cell)).expect("a text takes text"));
            out += "</tr>";
        }
        out + "</tbody></table></div>"
    }
}

/// Text as HTML shows it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A rate in three digits, with its unit.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 9.995e5 => format!("{:.2} M/s", r / 1e6),
        r if r >= 9_995.0 => format!("{:.1} k/s", r / 1e3),
        r if r >= 99.5 => format!("{r:.0} /s"),
        r => format!("{r:.1} /s"),
    }
}

/// A share in percent; never 100 unless it is.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 99.99 && percent < 100.0 { "99.99 %".to_owned() } else { format!("{percent:.2} %").replace(".00", "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_below_all_is_not_shown_as_all() {
        assert_eq!([1.0, 0.999_999_9, 0.5].map(percent), ["100 %", "99.99 %", "50 %"]);
    }

    #[test]
    fn a_rate_has_three_digits() {
        assert_eq!([1_234_567.0, 47_420.0, 1_999.6, 3.333].map(rate), ["1.23 M/s", "47.4 k/s", "2000 /s", "3.3 /s"]);
    }
}
