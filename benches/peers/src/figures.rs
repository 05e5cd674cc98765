//! What a store came to in one round: a line of text, since each is measured in a process of its own, whose memory nobody
//! used before.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ledger_benches::latency::Latencies;

/// One way to call a store.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Cell {
    /// Charges a second.
    pub(crate) rate: f64,
    /// What 99 % of the calls did not exceed.
    pub(crate) p99: Duration,
}

impl Cell {
    pub(crate) fn new(count: u64, seconds: f64, latencies: &Latencies) -> Cell {
        Cell { rate: count as f64 / seconds, p99: latencies.quantile(0.99) }
    }
}

/// All of a store's figures.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figures {
    pub(crate) version: String,
    pub(crate) one: Cell,
    pub(crate) many: Cell,
    /// Many callers through a queue, where the store does not let them share a sync.
    pub(crate) queued: Option<Cell>,
    pub(crate) batched: Cell,
    /// Bytes on the disk that a charge by itself adds.
    pub(crate) disk_alone: f64,
    /// Bytes on the disk that a charge in a batch adds.
    pub(crate) disk_batched: f64,
    /// Bytes on the disk that a charge adds on average from the empty store on, those before the measurement too.
    pub(crate) disk_in_all: f64,
    /// Bytes of resident memory that a charge adds, where charges are held in memory.
    pub(crate) memory: Option<f64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |cell: Cell| format!("{} {}", cell.rate, cell.p99.as_nanos());
        let queued = self.queued.map_or("- -".to_owned(), cell);
        let memory = self.memory.map_or("-".to_owned(), |bytes| bytes.to_string());
        let [one, many, batched] = [self.one, self.many, self.batched].map(cell);
        let (alone, in_batches, in_all) = (self.disk_alone, self.disk_batched, self.disk_in_all);
        write!(f, "{one} {many} {queued} {batched} {alone} {in_batches} {in_all} {memory} {}", self.version)
    }
}

impl FromStr for Figures {
    type Err = String;

    fn from_str(line: &str) -> Result<Figures, String> {
        let mut words = line.splitn(13, ' ');
        let mut next = || words.next().ok_or_else(|| format!("{line:?} has too few words"));
        let number = |word: &str| word.parse::<f64>().map_err(|fault| format!("{word:?}: {fault}"));
        let cell = |rate: &str, p99: &str| {
            let p99 = p99.parse().map(Duration::from_nanos).map_err(|fault| format!("{p99:?}: {fault}"))?;
            Ok::<_, String>(Cell { rate: number(rate)?, p99 })
        };
        let one = cell(next()?, next()?)?;
        let many = cell(next()?, next()?)?;
        let queued = match (next()?, next()?) {
            ("-", "-") => None,
            (rate, p99) => Some(cell(rate, p99)?),
        };
        let batched = cell(next()?, next()?)?;
        let (disk_alone, disk_batched, disk_in_all) = (number(next()?)?, number(next()?)?, number(next()?)?);
        let memory = match next()? {
            "-" => None,
            bytes => Some(number(bytes)?),
        };
        let version = next()?.to_owned();
        Ok(Figures { version, one, many, queued, batched, disk_alone, disk_batched, disk_in_all, memory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all() {
        let cell = |rate, micros| Cell { rate, p99: Duration::from_micros(micros) };
        let figures = |queued, memory| Figures {
            version: "a store 1.2 (of words)".to_owned(),
            one: cell(1.5, 2),
            many: cell(3.0, 4),
            queued,
            batched: cell(7.0, 8),
            disk_alone: 9.25,
            disk_batched: 0.0,
            disk_in_all: 12.5,
            memory,
        };
        for figures in [figures(None, None), figures(Some(cell(5.0, 6)), Some(10.5))] {
            assert_eq!(figures.to_string().parse(), Ok(figures));
        }
    }
}
