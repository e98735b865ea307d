//! What a terminal is rung by, as a file says it: for the terminal itself, and for each route.
//!
//! What does not fit a route's bearer is a mistake here, so that no ring finds it out.

use ringback_bearer::Bearer;
use ringback_proto::terminal::{Callee, Callees};

use super::section::Section;

/// Reads `number` and `mail` of a terminal.
pub(super) fn read(section: &mut Section<'_>) -> Option<Callees> {
    if section.lacks("number") & section.lacks("mail") {
        section
            .wrong("number", "missing: a terminal is rung by a `number`, by a `mail` or by both");
    }
    Callees::new(section.text("number"), section.text("mail"))
}

/// Reads `to` of a route; the terminal's own address of the bearer's kind if it is missing.
pub(super) fn of_route(
    route: &mut Section<'_>,
    bearer: Option<&Bearer>,
    own: Option<&Callees>,
) -> Option<Callee> {
    let given = route.has("to");
    let to: Option<Callee> = route.text("to");
    let (bearer, own) = (bearer?, own?);
    if !bearer.transmits() {
        let cure = match bearer {
            Bearer::Smpp(_) => "have its `mode` be \"transceiver\" or \"transmitter\"",
            Bearer::Mail(_) => "give it a `submission`",
            Bearer::Http(_) => "give it an account with its API",
            Bearer::Modem(_) | Bearer::ModemManager(_) => "take another one",
        };
        route.wrong("bearer", format!("hears only: {cure} to ring by it"));
    }
    if let Bearer::Mail(_) = bearer {
        return match to {
            Some(Callee::Number(_)) => {
                route.wrong("to", "e-mail goes to a mail address");
                None
            }
            Some(Callee::Mail(_)) => to,
            None if given => None,
            None => {
                let mail = own.mail().cloned().map(Callee::Mail);
                if mail.is_none() {
                    route.wrong("to", "missing: the terminal has no `mail` of its own");
                }
                mail
            }
        };
    }
    if own.number().is_none() {
        let cure =
            "an SMS cannot hold a signal that names a mail address: give the terminal's `number`";
        route.wrong("bearer", cure);
        return None;
    }
    match to {
        Some(Callee::Mail(_)) => {
            route.wrong("to", "this bearer goes to a call number");
            None
        }
        Some(Callee::Number(_)) => to,
        None if given => None,
        None => own.number().cloned().map(Callee::Number),
    }
}
