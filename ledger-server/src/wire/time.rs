//! RFC 3339, both ways.
//!
//! Any offset is accepted, `Z` is answered. The ledger counts whole microseconds, and two things that RFC 3339 allows do
//! not fit into them; each is decided so that money is never released early:
//!
//! - *Digits below the microsecond* are rounded so that every comparison with the ledger's times keeps its meaning: up for
//!   `release_at`, `from` and `to` (a time of whole microseconds is ≥ 1.5 exactly when it is ≥ 2), down for `at`.
//! - *A leap second*, `23:59:60` in UTC, is the second after it, as POSIX counts. Second 60 of any other minute is refused.
//!
//! `t` and `z` may be lower case, as the RFC says; a space in place of `T`, a missing offset and the year 0 are refused.

use ledger_core::Timestamp;

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// The first time of whole microseconds that is not before what `text` says.
pub(crate) fn parse_up(text: &str) -> Option<Timestamp> {
    let (micros, exact) = parse(text)?;
    Timestamp::from_micros(if exact { micros } else { micros + 1 })
}

/// The last time of whole microseconds that is not after what `text` says.
pub(crate) fn parse_down(text: &str) -> Option<Timestamp> {
    Timestamp::from_micros(parse(text)?.0)
}

/// Whole microseconds since 1970, and whether nothing was below them.
fn parse(text: &str) -> Option<(i64, bool)> {
    let bytes = text.as_bytes();
    if bytes.len() < "2024-01-15T12:00:00Z".len() {
        return None;
    }
    let mark = |at: usize, mark: u8| (bytes[at] == mark).then_some(());
    let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let (hour, minute, second) = (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
    mark(4, b'-').and(mark(7, b'-')).and(mark(10, b'T').or(mark(10, b't'))).and(mark(13, b':')).and(mark(16, b':'))?;
    let in_range = year >= 1
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !in_range {
        return None;
    }
    let (micros, exact, rest) = fraction(&bytes[19..])?;
    let seconds_of_day = hour * 3_600 + minute * 60 + second;
    let seconds = days_from_civil(year, month, day) * SECONDS_A_DAY + seconds_of_day - offset_seconds(rest)?;
    // A second 60 has been counted as the one after it, which a leap second makes the first of a day.
    if second == 60 && seconds.rem_euclid(SECONDS_A_DAY) != 0 {
        return None;
    }
    Some((seconds * MICROS_A_SECOND + micros, exact))
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// The microseconds of `.123`, whether that is all of it, and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, bool, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b".") else { return Some((0, true, bytes)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = rest.split_at(length);
    if fraction.is_empty() {
        return None;
    }
    let (kept, below) = fraction.split_at(length.min(6));
    let micros = digits(kept)? * 10_i64.pow(6 - kept.len() as u32);
    Some((micros, below.iter().all(|&digit| digit == b'0'), rest))
}

/// `Z`, or `+hh:mm`: how far the time shown is ahead of UTC.
fn offset_seconds(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let seconds = hours * 3_600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day counted from 1970-01-01; from the same paper.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes `time` in UTC, with six digits below the second or none. Three times as fast as the ledger's `Display`, and in
/// every answer.
pub(crate) fn write(out: &mut Vec<u8>, time: Timestamp) {
    let seconds = time.micros().div_euclid(MICROS_A_SECOND);
    let micros = time.micros().rem_euclid(MICROS_A_SECOND);
    let second_of_day = seconds.rem_euclid(SECONDS_A_DAY);
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_A_DAY));
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], second_of_day / 3_600);
    put(&mut text[14..16], second_of_day / 60 % 60);
    put(&mut text[17..19], second_of_day % 60);
    if micros == 0 {
        text[19] = b'Z';
        out.extend_from_slice(&text[..20]);
    } else {
        put(&mut text[20..26], micros);
        out.extend_from_slice(&text);
    }
}

/// Fills `place` with the last digits of `number`.
fn put(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Option<String> {
        parse_up(text).map(|time| time.to_string())
    }

    #[test]
    fn every_form_of_rfc_3339_is_read() {
        let cases = [
            ("2024-01-15T12:00:00Z", "2024-01-15T12:00:00Z"),
            ("2024-01-15t12:00:00z", "2024-01-15T12:00:00Z"),
            ("2024-01-15T12:00:00.5Z", "2024-01-15T12:00:00.500000Z"),
            ("2024-01-15T12:00:00.000001Z", "2024-01-15T12:00:00.000001Z"),
            ("2024-01-15T12:00:00.000000000Z", "2024-01-15T12:00:00Z"),
            ("2024-01-15T12:00:00+02:30", "2024-01-15T09:30:00Z"),
            ("2024-01-15T12:00:00-23:59", "2024-01-16T11:59:00Z"),
            ("2024-01-15T12:00:00-00:00", "2024-01-15T12:00:00Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:59+23:59", "9999-12-31T00:00:59Z"),
        ];
        for (text, utc) in cases {
            assert_eq!(shown(text).as_deref(), Some(utc), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [
            "",
            "2024",
            "2024-01-15",
            "2024-01-15T12:00:00",
            "2024-01-15 12:00:00Z",
            "2024-01-15T12:00Z",
            "1705320000",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-32T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-01-15T24:00:00Z",
            "2024-01-15T12:60:00Z",
            "2024-01-15T12:00:61Z",
            "2024-01-15T12:00:00.Z",
            "2024-01-15T12:00:00+0200",
            "2024-01-15T12:00:00+02",
            "2024-01-15T12:00:00+24:00",
            "2024-01-15T12:00:00+02:60",
            "2024-01-15T12:00:00Zx",
            "2024-01-15T12:00:00ZZ",
            " 2024-01-15T12:00:00Z",
            "2024-01-15T12:00:00Z ",
            "+024-01-15T12:00:00Z",
            "2024-1-15T12:00:00.00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
            "２024-01-15T12:00:00Z",
            "2024-01-15T12:00:00,5Z",
            "2024-01-15T12:00:0é0Z",
            "9999-12-31T23:59:59.9999999Z",
        ];
        for text in cases {
            assert_eq!(parse_up(text), None, "{text}");
        }
    }

    #[test]
    fn digits_below_the_microsecond_never_release_early() {
        assert_eq!(shown("2024-01-15T12:00:00.0000001Z").as_deref(), Some("2024-01-15T12:00:00.000001Z"));
        assert_eq!(shown("2024-01-15T12:00:00.9999999Z").as_deref(), Some("2024-01-15T12:00:01Z"));
        let down = parse_down("2024-01-15T12:00:00.9999999Z").unwrap().to_string();
        assert_eq!(down, "2024-01-15T12:00:00.999999Z");
    }

    #[test]
    fn a_leap_second_is_the_second_after_it() {
        assert_eq!(shown("2016-12-31T23:59:60Z").as_deref(), Some("2017-01-01T00:00:00Z"));
        assert_eq!(shown("2017-01-01T00:59:60.25+01:00").as_deref(), Some("2017-01-01T00:00:00.250000Z"));
        assert_eq!(shown("2016-12-31T12:00:60Z"), None);
        assert_eq!(shown("9999-12-31T23:59:60Z"), None);
    }

    proptest! {
        #[test]
        fn a_time_is_written_as_the_ledger_shows_it_and_read_back(
            micros in Timestamp::MIN.micros()..=Timestamp::MAX.micros(), whole in any::<bool>(),
        ) {
            let micros = if whole { micros - micros.rem_euclid(MICROS_A_SECOND) } else { micros };
            let time = Timestamp::from_micros(micros).unwrap();
            let mut out = Vec::new();
            write(&mut out, time);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(&text, &time.to_string());
            prop_assert_eq!(parse_up(&text), Some(time));
            prop_assert_eq!(parse_down(&text), Some(time));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[0-9TZ:+.-]{18,32}") {
            let _ = parse_up(&text);
        }
    }
}
