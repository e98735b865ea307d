//! An account at a mail server: a user and a password, and the words that log it in.
//!
//! It does not say when it may be used: whoever sends these words answers for the connection.

use std::fmt;

use zeroize::Zeroizing;

use super::{imap, transfer};
use crate::limits::MAIL_NAME_OCTETS;

/// Who logs in. Its `Debug` shows neither the user nor the password.
#[derive(Clone)]
pub struct Account {
    user: String,
    password: Zeroizing<String>,
}

impl Account {
    /// Takes a user and a password in, unless one is empty, too long or holds control characters.
    pub fn new(user: &str, password: &str) -> Option<Self> {
        let good = |it: &str| {
            !it.is_empty() && it.len() <= MAIL_NAME_OCTETS && !it.contains(char::is_control)
        };
        (good(user) && good(password))
            .then(|| Self { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
    }

    /// The user, as text; personal data.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The one answer of SASL PLAIN (RFC 4616).
    pub fn plain(&self) -> Zeroizing<String> {
        let words = Zeroizing::new(format!("\0{}\0{}", self.user, *self.password));
        Zeroizing::new(transfer::to_base64(words.as_bytes()))
    }

    /// The two answers of SASL LOGIN: the user, then the password.
    pub fn login(&self) -> [Zeroizing<String>; 2] {
        let user = transfer::to_base64(self.user.as_bytes());
        [Zeroizing::new(user), Zeroizing::new(transfer::to_base64(self.password.as_bytes()))]
    }

    /// IMAP's own LOGIN command; `None` if it cannot say such a user or password.
    pub fn imap_login(&self) -> Option<Zeroizing<String>> {
        let (user, password) = (imap::quoted(&self.user)?, imap::quoted(&self.password)?);
        let password = Zeroizing::new(password);
        Some(Zeroizing::new(format!("LOGIN {user} {}", *password)))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_logs_in_by_the_words_of_its_mechanism() {
        let account = Account::new("tim", "tanstaaf\"tanstaaf").unwrap();
        assert_eq!(*account.plain(), "AHRpbQB0YW5zdGFhZiJ0YW5zdGFhZg==");
        assert_eq!(account.login().map(|it| it.to_string()), ["dGlt", "dGFuc3RhYWYidGFuc3RhYWY="]);
        assert_eq!(*account.imap_login().unwrap(), "LOGIN \"tim\" \"tanstaaf\\\"tanstaaf\"");
        assert!(Account::new("tim", "pässword").unwrap().imap_login().is_none());
    }

    #[test]
    fn an_account_cannot_smuggle_a_command_and_does_not_print_itself() {
        for (user, password) in [("", "a"), ("a", ""), ("a\r\nb", "c"), ("a", "b\0c")] {
            assert!(Account::new(user, password).is_none(), "{user:?}");
        }
        assert_eq!(format!("{:?}", Account::new("tim", "secret").unwrap()), "Account(…)");
    }
}
