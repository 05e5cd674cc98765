//! Durations, sizes and the like, as people write them: `10ms`, `1s..10s`, `64MiB`, `80%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::origin::Origin;
use crate::withdrawals::BankAddress;

/// A length of time: a whole number and `us`, `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let (number, unit) = split_unit(text);
        let micros: u64 = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return Err(format!("{text:?} is no duration; write a number and its unit, such as 10ms, 1s or 5m")),
        };
        let number: u64 =
            number.parse().map_err(|_| format!("{text:?} is no duration; write it such as 10ms, 1s or 5m"))?;
        let micros = number.checked_mul(micros).ok_or_else(|| format!("{text:?} is too long"))?;
        Ok(Span(Duration::from_micros(micros)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let units = [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
        let fitting = units.into_iter().find(|(unit, _)| micros >= *unit && micros.is_multiple_of(*unit));
        let (unit, name) = fitting.unwrap_or((1_000_000, "s"));
        write!(f, "{}{name}", micros / unit)
    }
}

/// A duration, or a range of them: `1s` or `1s..10s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct SpanRange {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

impl FromStr for SpanRange {
    type Err = String;

    fn from_str(text: &str) -> Result<SpanRange, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (Span(from), Span(to)) = (from.parse()?, to.parse()?);
        if from > to {
            return Err(format!("{text:?} is no range: its end is before its start"));
        }
        Ok(SpanRange { from, to })
    }
}

impl fmt::Display for SpanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.from).fmt(f)?;
        if self.from == self.to { Ok(()) } else { write!(f, "..{}", Span(self.to)) }
    }
}

/// A number of bytes: a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let (number, unit) = split_unit(text);
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(format!("{text:?} is no size; write a number and its unit, such as 64MiB")),
        };
        let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size; write it such as 64MiB"))?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(|| format!("{text:?} is too large"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let fitting = units.into_iter().find(|(shift, _)| self.0 >> shift > 0 && self.0.trailing_zeros() >= *shift);
        let (shift, name) = fitting.unwrap_or((0, "B"));
        write!(f, "{}{name}", self.0 >> shift)
    }
}

/// A limit of memory: a share of what there is, or a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum MemoryMax {
    /// Percent of the machine's memory, or of the control group's limit where that is less.
    Percent(u8),
    /// Bytes.
    Size(Size),
}

impl FromStr for MemoryMax {
    type Err = String;

    fn from_str(text: &str) -> Result<MemoryMax, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return text
                .parse()
                .map(MemoryMax::Size)
                .map_err(|_| format!("{text:?} is neither a share such as 80% nor a size such as 4GiB"));
        };
        let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
        percent.map(MemoryMax::Percent).ok_or_else(|| format!("{text:?} is no share; write 1% to 100%"))
    }
}

impl fmt::Display for MemoryMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryMax::Percent(percent) => write!(f, "{percent}%"),
            MemoryMax::Size(size) => size.fmt(f),
        }
    }
}

/// When a reply may leave: `sync`, `interval:10ms` or `memory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum DurabilityMode {
    /// When its entry survives a power cut.
    Sync,
    /// When its bytes are with the operating system, which are synced this often.
    Interval(Span),
    /// At once: there is no log, and everything is gone when the server stops.
    Memory,
}

impl FromStr for DurabilityMode {
    type Err = String;

    fn from_str(text: &str) -> Result<DurabilityMode, String> {
        match text {
            "sync" => Ok(DurabilityMode::Sync),
            "memory" => Ok(DurabilityMode::Memory),
            _ => {
                let span = text
                    .strip_prefix("interval:")
                    .ok_or_else(|| format!("{text:?} is no durability; write sync, interval:10ms or memory"))?;
                let span: Span = span.parse()?;
                if span.0.is_zero() {
                    return Err("an interval of zero is sync; write sync".to_owned());
                }
                Ok(DurabilityMode::Interval(span))
            }
        }
    }
}

impl fmt::Display for DurabilityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DurabilityMode::Sync => f.write_str("sync"),
            DurabilityMode::Interval(span) => write!(f, "interval:{span}"),
            DurabilityMode::Memory => f.write_str("memory"),
        }
    }
}

/// What a repeat of a request is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Duplicates {
    /// 409 with the original transaction.
    Conflict,
    /// What the first request was answered with.
    Replay,
}

impl FromStr for Duplicates {
    type Err = String;

    fn from_str(text: &str) -> Result<Duplicates, String> {
        match text {
            "conflict" => Ok(Duplicates::Conflict),
            "replay" => Ok(Duplicates::Replay),
            _ => Err(format!("{text:?} is neither conflict nor replay")),
        }
    }
}

/// Which bank pays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bank {
    /// One in this process, which makes up its answers.
    Simulated,
    /// One that is spoken to over HTTP.
    Http(BankAddress),
}

impl FromStr for Bank {
    type Err = String;

    fn from_str(text: &str) -> Result<Bank, String> {
        match text {
            "simulated" => Ok(Bank::Simulated),
            _ => text.parse().map(Bank::Http).map_err(|fault| format!("a bank is simulated or an address; {fault}")),
        }
    }
}

/// The currencies that requests may name: `USD,EUR`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "StringOrList")]
pub struct Currencies(pub Vec<ledger_core::Currency>);

#[derive(Deserialize)]
#[serde(untagged)]
enum StringOrList {
    String(String),
    List(Vec<String>),
}

impl StringOrList {
    fn read<T>(self, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
        match self {
            StringOrList::String(text) => each(&text, one),
            StringOrList::List(texts) => texts.iter().map(|text| one(text)).collect(),
        }
    }
}

/// What is said with commas in between.
fn each<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|text| one(text.trim())).collect()
}

impl TryFrom<StringOrList> for Currencies {
    type Error = String;

    fn try_from(given: StringOrList) -> Result<Currencies, String> {
        given.read(currency).map(Currencies)
    }
}

impl FromStr for Currencies {
    type Err = String;

    fn from_str(text: &str) -> Result<Currencies, String> {
        each(text, currency).map(Currencies)
    }
}

/// Where pages may come from: `https://a.example,https://b.example`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "StringOrList")]
pub struct Origins(pub Vec<Origin>);

impl TryFrom<StringOrList> for Origins {
    type Error = String;

    fn try_from(given: StringOrList) -> Result<Origins, String> {
        given.read(str::parse).map(Origins)
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Origins, String> {
        each(text, str::parse).map(Origins)
    }
}

/// One currency's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct CurrencyCode(pub ledger_core::Currency);

impl FromStr for CurrencyCode {
    type Err = String;

    fn from_str(text: &str) -> Result<CurrencyCode, String> {
        currency(text).map(CurrencyCode)
    }
}

fn currency(code: &str) -> Result<ledger_core::Currency, String> {
    ledger_core::Currency::new(code).ok_or_else(|| format!("{code:?} is no currency; write 3 to 8 of A-Z and 0-9"))
}

macro_rules! from_string {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<$kind, String> {
                text.parse()
            }
        }
    )*};
}

from_string!(Span, SpanRange, Size, MemoryMax, DurabilityMode, Duplicates, CurrencyCode);

/// Where the digits end and the unit begins.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_shown_as_they_are_written() {
        for text in ["0s", "10ms", "1s", "90s", "5m", "24h", "7us"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["1s", "1s..10s", "500ms..2m"] {
            assert_eq!(text.parse::<SpanRange>().unwrap().to_string(), text);
        }
        for text in ["0B", "1B", "1KiB", "64MiB", "4GiB", "2TiB", "1025B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["80%", "100%", "4GiB"] {
            assert_eq!(text.parse::<MemoryMax>().unwrap().to_string(), text);
        }
        for text in ["sync", "memory", "interval:10ms"] {
            assert_eq!(text.parse::<DurabilityMode>().unwrap().to_string(), text);
        }
        assert_eq!("USD, EUR".parse::<Currencies>().unwrap().0.len(), 2);
    }

    #[test]
    fn what_has_no_unit_or_another_one_is_refused() {
        for text in ["", "1", "s", "1 s", "1.5s", "-1s", "1d", "1S", "99999999999999999999s", "99999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
        for text in ["10s..1s", "..1s", "1s..", "1s...2s", "1s-2s"] {
            assert!(text.parse::<SpanRange>().is_err(), "{text:?}");
        }
        for text in ["", "64", "64MB", "64mib", "1.5GiB", "-1MiB", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
        for text in ["0%", "101%", "%", "80", "80 %", "1.5%"] {
            assert!(text.parse::<MemoryMax>().is_err(), "{text:?}");
        }
        for text in ["", "Sync", "interval", "interval:", "interval:10", "interval:0ms", "none"] {
            assert!(text.parse::<DurabilityMode>().is_err(), "{text:?}");
        }
        for text in ["", "usd", "USD,", "USD,,EUR", "US", "USDUSDUSD"] {
            assert!(text.parse::<Currencies>().is_err(), "{text:?}");
        }
        for text in ["", "http://", "ftp://bank", "Simulated", "bank"] {
            assert!(text.parse::<Bank>().is_err(), "{text:?}");
        }
    }
}
