//! Everything that a terminal is rung by: a call number, a mail address, or both.
//!
//! It knows no bearer: whoever rings asks for the address of the kind that its bearer carries.

use super::{CallNumber, Callee, MailAddress};

/// What a terminal is rung by; at least one address, and one of each kind at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callees {
    first: Callee,
    /// Beside a call number only.
    second: Option<MailAddress>,
}

impl Callees {
    /// Of a number, a mail address or both; `None` of neither.
    pub fn new(number: Option<CallNumber>, mail: Option<MailAddress>) -> Option<Self> {
        let Some(number) = number else {
            return mail.map(|it| Self { first: Callee::Mail(it), second: None });
        };
        Some(Self { first: Callee::Number(number), second: mail })
    }

    /// What its signals name wherever nothing says otherwise: the number, if it has one.
    pub fn first(&self) -> &Callee {
        &self.first
    }

    /// The call number.
    pub fn number(&self) -> Option<&CallNumber> {
        match &self.first {
            Callee::Number(number) => Some(number),
            Callee::Mail(_) => None,
        }
    }

    /// The mail address.
    pub fn mail(&self) -> Option<&MailAddress> {
        match &self.first {
            Callee::Number(_) => self.second.as_ref(),
            Callee::Mail(mail) => Some(mail),
        }
    }

    /// What a signal names that goes to such an address: the terminal's own of the same kind, else
    /// its first.
    pub fn named_beside(&self, to: &Callee) -> Callee {
        let own = match to {
            Callee::Number(_) => self.number().cloned().map(Callee::Number),
            Callee::Mail(_) => self.mail().cloned().map(Callee::Mail),
        };
        own.unwrap_or_else(|| self.first.clone())
    }

    /// Each of them, the first first.
    pub fn all(&self) -> Vec<Callee> {
        let second = self.second.clone().map(Callee::Mail);
        [self.first.clone()].into_iter().chain(second).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_names_the_address_of_the_kind_that_carries_it_if_there_is_one() {
        let number = CallNumber::parse("+15550100777").unwrap();
        let mail = MailAddress::parse("car@fleet.example").unwrap();
        let (by_number, by_mail) = (Callee::Number(number.clone()), Callee::Mail(mail.clone()));

        let both = Callees::new(Some(number.clone()), Some(mail.clone())).unwrap();
        assert_eq!(both.first(), &by_number);
        assert_eq!(both.named_beside(&by_mail), by_mail);
        assert_eq!(both.named_beside(&by_number), by_number);
        assert_eq!(both.all(), [by_number.clone(), by_mail.clone()]);

        let numbered = Callees::new(Some(number), None).unwrap();
        assert_eq!(numbered.named_beside(&by_mail), by_number);
        let mailed = Callees::new(None, Some(mail)).unwrap();
        assert_eq!(mailed.named_beside(&by_number), by_mail);
        assert_eq!((mailed.number(), mailed.all()), (None, vec![by_mail]));
        assert_eq!(Callees::new(None, None), None);
    }
}
