//! What this bearer tells of its health: the bind, the pace, and the last refusal.

use ringback_proto::smpp::link::Link;
use ringback_proto::smpp::pdu::{Bind, Role};
use ringback_proto::smpp::status::{Remedy, Status};

use crate::health::{Health, Reporter, Verdict};

/// The findings, and what of the link they were last made from.
pub(super) struct Report {
    reporter: Reporter,
    account: String,
    told: Option<((u32, u32), Option<Status>)>,
}

impl Report {
    pub(super) fn new(bind: &Bind) -> (Self, Health) {
        let (reporter, health) = Reporter::new(&["bind"]);
        let role = match bind.role {
            Role::Transmitter => "transmitter",
            Role::Receiver => "receiver",
            Role::Transceiver => "transceiver",
        };
        let account = format!("{} as {role}", bind.system_id.as_str());
        (Self { reporter, account, told: None }, health)
    }

    pub(super) fn bound(&self, center: &str) {
        let text = format!("{} is bound to {center}", self.account);
        self.reporter.found("bind", Verdict::Good, text);
    }

    pub(super) fn unbound(&self, reason: &str) {
        let text = format!("{} is not bound: {reason}", self.account);
        self.reporter.found("bind", Verdict::Bad, text);
    }

    /// Tells the pace and the last refusal, if they are not what they were.
    pub(super) fn look(&mut self, link: &Link) {
        let seen = (link.per_second(), link.last_refusal());
        if self.told.replace(seen) == Some(seen) {
            return;
        }
        let ((now, agreed), refusal) = seen;
        let pace = format!("{now} of {agreed} submissions a second");
        if now < agreed {
            let text = format!("{pace}: throttled; lower `per_second` to what the operator allows");
            self.reporter.found("pace", Verdict::Doubtful, text);
        } else {
            self.reporter.found("pace", Verdict::Good, pace);
        }
        if let Some(status) = refusal {
            self.reporter.found("last refusal", Verdict::Doubtful, told(status));
        }
    }
}

fn told(status: Status) -> String {
    let advice = match status.remedy() {
        Remedy::Accepted => "",
        Remedy::SlowDown => ": `per_second` is more than the account may submit",
        Remedy::Later => ": the number or the account has too much waiting",
        Remedy::Again => ": ask the operator if it comes often",
        Remedy::Elsewhere => ": the terminal was out of reach",
        Remedy::Never => ": check the terminal's number, `source` and the account",
    };
    format!("{status}{advice}")
}
