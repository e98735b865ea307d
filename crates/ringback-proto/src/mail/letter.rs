//! The mail that carries a text: one line of ASCII under a few headers.
//!
//! It carries nothing but that: no attachment, no second form, no header that asks anybody to
//! answer. No header can be injected, since nothing gets into one but two [`MailAddress`]es.

use crate::limits::MAIL_LINE_OCTETS;
use crate::terminal::MailAddress;

/// A mail to be sent.
#[derive(Debug)]
pub struct Letter<'a> {
    /// Who sends it.
    pub from: &'a MailAddress,
    /// Whom it is for.
    pub to: &'a MailAddress,
    /// What makes its Message-ID differ from all others.
    pub id: u128,
    /// When it was written.
    pub unix_seconds: u64,
}

impl Letter<'_> {
    /// What comes after SMTP's DATA: headers, text and the closing dot; `None` if the text is not
    /// one line of at most 998 printable ASCII characters.
    ///
    /// Nothing says when it expires: no server in use obeys it, and the seal says it anyway.
    pub fn data(&self, text: &str) -> Option<String> {
        let plain = text.bytes().all(|it| it == b' ' || it.is_ascii_graphic());
        if text.is_empty() || MAIL_LINE_OCTETS < text.len() || !plain {
            return None;
        }
        let stuffing = if text.starts_with('.') { "." } else { "" };
        let (from, to) = (self.from.as_str(), self.to.as_str());
        let (date, id) = (date(self.unix_seconds), self.message_id());
        Some(format!(
            "From: <{from}>\r\n\
             To: <{to}>\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}>\r\n\
             Subject: Access request\r\n\
             Auto-Submitted: auto-generated\r\n\
             X-Auto-Response-Suppress: All\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\
             Content-Transfer-Encoding: 7bit\r\n\
             \r\n\
             {stuffing}{text}\r\n\
             .\r\n"
        ))
    }

    /// What mail servers' logs call it.
    pub fn message_id(&self) -> String {
        format!("{:032x}@{}", self.id, self.from.domain())
    }
}

/// The date as RFC 5322, 3.3 has it, in UTC. The day is counted in years that begin in March
/// (Hinnant, "chrono-compatible low-level date algorithms").
fn date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);

    let since_march = days + 719_468;
    let (era, of_era) = (since_march / 146_097, since_march % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);

    let weekday = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month).unwrap_or(0)];
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter_of(text: &str) -> Option<String> {
        let from = MailAddress::parse("proxy@operator.example").unwrap();
        let to = MailAddress::parse("car-7@fleet.example").unwrap();
        let letter = Letter { from: &from, to: &to, id: 0x2a, unix_seconds: 1_795_424_646 };
        letter.data(text)
    }

    #[test]
    fn a_letter_is_plain_text_under_headers_that_ask_for_no_answer() {
        let golden = "From: <proxy@operator.example>\r\n\
            To: <car-7@fleet.example>\r\n\
            Date: Mon, 23 Nov 2026 09:04:06 +0000\r\n\
            Message-ID: <0000000000000000000000000000002a@operator.example>\r\n\
            Subject: Access request\r\n\
            Auto-Submitted: auto-generated\r\n\
            X-Auto-Response-Suppress: All\r\n\
            MIME-Version: 1.0\r\n\
            Content-Type: text/plain; charset=us-ascii\r\n\
            Content-Transfer-Encoding: 7bit\r\n\
            \r\n\
            RBabc-*\r\n\
            .\r\n";
        assert_eq!(letter_of("RBabc-*").unwrap(), golden);
    }

    #[test]
    fn a_text_cannot_end_the_letter_or_the_line() {
        assert!(letter_of(".").unwrap().ends_with("\r\n\r\n..\r\n.\r\n"));
        let long = "R".repeat(MAIL_LINE_OCTETS);
        assert!(letter_of(&long).is_some());
        for text in ["", "a\r\n.\r\nQUIT", "a\nb", "a\tb", "ä", "\0", &format!("{long}B")] {
            assert!(letter_of(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_date_is_right_on_leap_days_and_at_the_ends_of_years() {
        for (seconds, golden) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(date(seconds), golden);
        }
    }
}
