//! One glycemia reading, and what is accepted as one.
//!
//! Parsed at the edge: a [`Reading`] that exists is within a meter's range and its note is short.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::limits;

/// The least and the greatest a meter shows, in tenths of mmol/L.
const METER: std::ops::RangeInclusive<u16> = 6..=333;

/// The range in which most people with diabetes are advised to stay, in tenths of mmol/L.
pub(crate) const TARGET: std::ops::RangeInclusive<u16> = 39..=100;

/// A reading as it was typed or sent, not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The value, in mmol/L.
    pub(crate) value: String,
    /// What the patient or the doctor adds.
    pub(crate) note: String,
}

/// A glycemia reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When it was entered, in seconds since 1970.
    pub(crate) taken: u64,
    /// The value in tenths of mmol/L.
    pub(crate) tenths: u16,
    /// What the patient or the doctor added.
    pub(crate) note: String,
}

/// Where a reading lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Below,
    Within,
    Above,
}

/// A reading as machines send it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming {
    mmol_per_l: serde_json::Number,
    #[serde(default)]
    note: String,
}

/// A reading as machines receive it.
#[derive(Debug, Serialize)]
pub(crate) struct Outgoing<'a> {
    taken_at: String,
    mmol_per_l: f64,
    level: &'static str,
    note: &'a str,
}

impl Entry {
    /// Reads a form: `value=5.6&note=before+lunch`.
    pub(crate) fn from_form(body: &[u8]) -> Result<Self, String> {
        let body = std::str::from_utf8(body).map_err(|_| "the form is not UTF-8".to_owned())?;
        let (mut value, mut note) = (None, None);
        for pair in body.split('&').filter(|it| !it.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match name {
                "value" => &mut value,
                "note" => &mut note,
                _ => return Err("the form has a field other than value and note".to_owned()),
            };
            if field.replace(decode(text)?).is_some() {
                return Err(format!("the form has the field {name} twice"));
            }
        }
        Ok(Self { value: value.unwrap_or_default(), note: note.unwrap_or_default() })
    }

    /// Reads JSON: `{"mmol_per_l": 5.6, "note": "before lunch"}`.
    pub(crate) fn from_json(body: &[u8]) -> Result<Self, String> {
        let incoming: Incoming = serde_json::from_slice(body)
            .map_err(|error| format!("not a reading in JSON: {error}"))?;
        Ok(Self { value: incoming.mmol_per_l.to_string(), note: incoming.note })
    }

    /// Checks the entry and makes a reading of it, taken now.
    pub(crate) fn check(&self, now: SystemTime) -> Result<Reading, String> {
        let tenths = tenths(self.value.trim())?;
        if !METER.contains(&tenths) {
            return Err("enter a value from 0.6 to 33.3 mmol/L, as a meter shows".to_owned());
        }
        let note = self.note.trim();
        if limits::NOTE_CHARACTERS < note.chars().count() {
            return Err(format!("keep the note within {} characters", limits::NOTE_CHARACTERS));
        }
        if note.chars().any(char::is_control) {
            return Err("keep the note on one line".to_owned());
        }
        let taken = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        Ok(Reading { taken, tenths, note: note.to_owned() })
    }
}

impl Reading {
    /// Tells whether the reading is in the target range.
    pub(crate) fn level(&self) -> Level {
        if self.tenths < *TARGET.start() {
            return Level::Below;
        }
        if *TARGET.end() < self.tenths {
            return Level::Above;
        }
        Level::Within
    }

    /// The value as a meter shows it.
    pub(crate) fn value(&self) -> String {
        format!("{}.{}", self.tenths / 10, self.tenths % 10)
    }

    /// The reading as machines receive it.
    pub(crate) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            taken_at: Moment::of(self.taken).stamp(),
            mmol_per_l: f64::from(self.tenths) / 10.0,
            level: self.level().name(),
            note: &self.note,
        }
    }
}

impl Level {
    /// The level in a word, so that nobody depends on a color.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Within => "within",
            Self::Above => "above",
        }
    }
}

/// A date and a time of day, in UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    /// The date of a number of seconds since 1970.
    ///
    /// Years are counted from March here, so that the leap day is a year's last.
    pub(crate) fn of(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// The moment as machines read it (RFC 3339).
    pub(crate) fn stamp(self) -> String {
        let Self { year, month, day, hour, minute, second } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// The day as people read it.
    pub(crate) fn date(self) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = usize::try_from(self.month - 1).ok().and_then(|it| MONTHS.get(it));
        format!("{} {}", month.unwrap_or(&""), self.day)
    }

    /// The time of day as people read it.
    pub(crate) fn time(self) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }
}

/// Reads a decimal number with at most one decimal, as tenths. A decimal comma is as good as a point.
fn tenths(text: &str) -> Result<u16, String> {
    let complaint = || "enter the value as a number such as 5.6".to_owned();
    let (whole, decimal) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|octet| octet.is_ascii_digit());
    if !digits(whole) || !digits(decimal) {
        return Err(complaint());
    }
    if decimal.len() != 1 {
        return Err("enter the value with at most one decimal, such as 5.6".to_owned());
    }
    let whole: u16 = whole.parse().map_err(|_| complaint())?;
    let decimal: u16 = decimal.parse().map_err(|_| complaint())?;
    Ok(whole.saturating_mul(10).saturating_add(decimal))
}

/// Decodes a form's field: `+` is a space, `%xx` an octet.
fn decode(text: &str) -> Result<String, String> {
    let complaint = || "the form is not well encoded".to_owned();
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|it| char::from(it).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(complaint()) };
                u8::try_from(high * 16 + low).map_err(|_| complaint())?
            }
            other => other,
        });
    }
    String::from_utf8(octets).map_err(|_| complaint())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, note: &str) -> Result<Reading, String> {
        Entry { value: value.into(), note: note.into() }.check(UNIX_EPOCH)
    }

    #[test]
    fn a_value_is_a_meters_with_one_decimal_at_most() {
        for (value, tenths) in [("5.6", 56), (" 5,6 ", 56), ("12", 120), ("0.6", 6), ("33.3", 333)]
        {
            assert_eq!(check(value, "").map(|it| it.tenths), Ok(tenths), "{value}");
        }
        for value in ["", "0.5", "33.4", "5.66", "5.", ".5", "-5", "1e1", "٥", "99999999", "5.6.1"]
        {
            assert!(check(value, "").is_err(), "{value}");
        }
    }

    #[test]
    fn a_note_is_one_short_line() {
        assert!(check("5.6", &"é".repeat(limits::NOTE_CHARACTERS)).is_ok());
        assert!(check("5.6", &"é".repeat(limits::NOTE_CHARACTERS + 1)).is_err());
        assert!(check("5.6", "one\ntwo").is_err());
    }

    #[test]
    fn a_form_is_decoded_strictly() {
        let entry = Entry::from_form(b"value=5%2C6&note=caf%C3%A9+au+lait");
        assert_eq!(entry, Ok(Entry { value: "5,6".into(), note: "café au lait".into() }));
        for body in
            [&b"value=%5"[..], b"value=%zz", b"note=%ff", b"value=1&value=2", b"dose=1", b"\xff"]
        {
            assert!(Entry::from_form(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn json_is_read_strictly() {
        let entry = Entry::from_json(br#"{"mmol_per_l": 5.6}"#);
        assert_eq!(entry, Ok(Entry { value: "5.6".into(), note: String::new() }));
        for body in [r#"{"mmol_per_l": "5.6"}"#, r#"{"mmol_per_l": 5.6, "dose": 1}"#, "[]", "{}"] {
            assert!(Entry::from_json(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_moment_is_a_date_of_the_calendar() {
        for (seconds, stamp) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!(Moment::of(seconds).stamp(), stamp);
        }
    }
}
