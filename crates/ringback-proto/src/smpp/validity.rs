//! How long a message is worth delivering, as SMPP writes it: `YYMMDDhhmmss000R`, relative.
//!
//! Months and years have no fixed length and are not written; absolute times are not read.

use std::time::Duration;

use super::text::Text;

/// Writes a time rounded up to whole seconds, at least one and at most 99 days.
pub fn write(validity: Duration) -> Text<17> {
    let seconds = validity.as_secs() + u64::from(0 < validity.subsec_nanos());
    let seconds = seconds.clamp(1, 99 * 86_400);
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let text = format!("0000{days:02}{hours:02}{minutes:02}{seconds:02}000R");
    Text::new(&text).unwrap_or_default()
}

/// Reads a relative time of days, hours, minutes and seconds; `None` for any other.
pub fn read(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix("000R").filter(|it| it.len() == 12)?;
    let digits = digits.strip_prefix("0000")?;
    let mut seconds = 0;
    for (place, unit) in [(0, 86_400), (2, 3600), (4, 60), (6, 1)] {
        let pair = digits.get(place..place + 2).filter(|it| it.bytes().all(|b| b.is_ascii_digit()));
        seconds += pair?.parse::<u64>().ok()? * unit;
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_is_rounded_up_and_never_nothing() {
        assert_eq!(write(Duration::from_secs(60)).as_str(), "000000000100000R");
        assert_eq!(write(Duration::from_millis(1)).as_str(), "000000000001000R");
        assert_eq!(write(Duration::ZERO).as_str(), "000000000001000R");
        assert_eq!(write(Duration::MAX - Duration::from_secs(1)).as_str(), "000099000000000R");
    }

    #[test]
    fn what_is_written_can_be_read() {
        for seconds in [1, 59, 60, 3599, 3661, 86_400, 90_061] {
            let validity = Duration::from_secs(seconds);
            assert_eq!(read(write(validity).as_str()), Some(validity));
        }
    }

    #[test]
    fn another_form_of_time_is_not_read() {
        for text in ["", "R", "000R", "260101000000000+", "000100000100000R", "0000000001é000R"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
