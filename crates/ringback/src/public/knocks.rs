//! The knock page's visitors: each is shown the page, or logged in and its source armed.

use ringback_proto::gate::{Identity, Level, Source};
use ringback_proto::refusal::Refusal;
use tracing::{debug, info};

use super::armed::Armed;
use crate::clock;
use crate::config::ListedTerminal;
use crate::ingress::knock::{self, Doors, LogIn, Said};
use crate::ingress::{self, ClientStream};

/// Whoever knows the users of a terminal.
pub(super) trait Users {
    /// Who it is that logs in so, from there.
    fn who(
        &self,
        terminal: &ListedTerminal,
        from: Source,
        log_in: &LogIn,
    ) -> impl Future<Output = Result<Identity, Refusal>> + Send;
}

/// Knows no user.
#[derive(Debug)]
pub(super) struct NoUsers;

impl Users for NoUsers {
    async fn who(&self, _: &ListedTerminal, _: Source, _: &LogIn) -> Result<Identity, Refusal> {
        Err(Refusal::Unauthorized)
    }
}

/// Whether the client asks for the terminal's knock page; its head must be whole.
pub(super) fn is_asked(stream: &ClientStream, terminal: &ListedTerminal) -> bool {
    let knocks = terminal.services.iter().any(|it| it.access.level == Level::Knock);
    knocks && knock::is_asked(&stream.look())
}

/// Serves one visitor to its end.
pub(super) async fn serve(
    armed: &Armed,
    users: &impl Users,
    mut stream: ClientStream,
    source: Source,
    terminal: &ListedTerminal,
) {
    let visit = match knock::hear(&mut stream).await {
        Ok(visit) => visit,
        Err(unnamed) => return ingress::turn_away(stream, unnamed).await,
    };
    let knocks = terminal.services.iter().filter(|it| it.access.level == Level::Knock);
    let ports = knocks.filter_map(|it| Some((it.raw?.port(), it.access.knock))).collect();
    let kid = terminal.key.kid;
    let said = match visit.log_in() {
        None => Said::Form,
        Some(log_in) => match users.who(terminal, source, log_in).await {
            Ok(identity) => {
                debug!(%kid, %source, %identity, "knocked");
                info!(%kid, "a source is armed");
                armed.arm(kid, source, identity, clock::now());
                Said::Open(clock::unix_seconds())
            }
            Err(refusal) => {
                debug!(%kid, %source, code = refusal.code(), "knocked in vain");
                Said::Refused(refusal)
            }
        },
    };
    knock::reply(stream, &visit, &Doors { name: &terminal.name, source, ports }, said).await;
}
