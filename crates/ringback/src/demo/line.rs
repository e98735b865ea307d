//! One line of a role's log, as JSON; what the demo knows of the roles, it knows from these.

use serde::Deserialize;

/// Seconds of a day, which log times are told within.
pub(super) const DAY: f64 = 86_400.0;

/// One line of a role's log.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    /// Who said it.
    #[serde(skip)]
    pub role: &'static str,
    /// When, in seconds of the day.
    #[serde(skip)]
    pub at: f64,
    /// The same as it was logged.
    pub timestamp: String,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// The step of the method that it tells, if any.
    pub step: Option<String>,
    /// Whose session it is about.
    pub session: Option<String>,
    /// Which signal it is about.
    pub signal: Option<String>,
    /// What carried the signal.
    pub over: Option<String>,
    /// Which SMS it is about.
    pub message_id: Option<String>,
}

impl Line {
    /// Reads one JSON line.
    pub(super) fn parse(role: &'static str, text: &str) -> Result<Self, serde_json::Error> {
        let mut line: Self = serde_json::from_str(text)?;
        line.role = role;
        line.at = second_of_day(&line.timestamp).unwrap_or_default();
        Ok(line)
    }

    /// Whether the role says that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.message == "ready"
    }
}

/// Seconds since midnight of an RFC 3339 time.
fn second_of_day(timestamp: &str) -> Option<f64> {
    let time = timestamp.split_once('T')?.1.trim_end_matches('Z');
    let mut parts = time.splitn(3, ':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let whole: u32 = hours.parse::<u32>().ok()? * 3600 + minutes.parse::<u32>().ok()? * 60;
    Some(f64::from(whole) + seconds.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_time_is_a_second_of_its_day() {
        assert_eq!(second_of_day("2026-11-23T01:02:03.5Z"), Some(3723.5));
        assert_eq!(second_of_day("yesterday"), None);
    }
}
