//! One session after the other in the same tunnel, and what is no frame of a session.

use std::io::ErrorKind;
use std::time::Duration;

use ringback::splice::{How, Side, Tally, splice};
use ringback::tunnel::{Framed, Talk};
use ringback_proto::frame;
use ringback_proto::hello::{ToPrivate, ToPublic};
use ringback_proto::limits::SESSION_FRAME_OCTETS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::loopback::{Assumed, Chain, Proxies, framed, pair};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_tunnel_carries_one_session_after_the_other_and_is_talked_in_between() {
    let mut tunnel = Proxies::new().tunnel().await;
    for turn in 0..6 {
        let bare = turn % 2 == 1;
        let mut chain = Chain::over(tunnel, bare, LONG).await;
        let said = vec![turn; 100_000 * usize::from(turn)];
        chain.client.write_all(&said).await.unwrap();
        chain.client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        chain.terminal.read_to_end(&mut heard).await.unwrap();
        assert!(heard == said, "turn {turn}");
        chain.terminal.write_all(b"reply").await.unwrap();
        chain.terminal.shutdown().await.unwrap();
        heard.clear();
        chain.client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"reply");
        assert!(chain.ended().await.iter().all(|it| it.how == How::Clean));

        let (mut private, mut public) = chain.tunnel().await;
        public.say(&ToPrivate::Ping.encode().unwrap()).await.unwrap();
        assert_eq!(private.frame(ToPrivate::decode).await.unwrap(), ToPrivate::Ping);
        private.say(&ToPublic::Pong.encode()).await.unwrap();
        assert_eq!(public.frame(ToPublic::decode).await.unwrap(), ToPublic::Pong);
        tunnel = (private.into_parts().0, public.into_parts().0);
    }
}

#[tokio::test]
async fn a_session_that_was_cut_leaves_no_tunnel() {
    for bare in [false, true] {
        let (private, public) = Proxies::new().tunnel().await;
        let mut private = framed(private, bare);
        let (client, mut held) = pair().await;
        let mut splices = JoinSet::new();
        let mut public = framed(public, bare);
        splices.spawn(async move {
            let ended = splice(&mut held, &mut public, LONG, &Tally::default(), &Assumed).await;
            assert_eq!(ended.how, How::Cut(Side::Client));
            // Not even by whoever would go on with it.
            assert!(public.into_talk().await.is_err());
        });
        ringback::socket::reset(client);
        let cut = private.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
        splices.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_frame_that_is_longer_than_any_may_be_cuts_the_session() {
    for (octets, whole) in [(SESSION_FRAME_OCTETS, true), (SESSION_FRAME_OCTETS + 1, false)] {
        let (mut private, public) = Proxies::new().tunnel().await;
        let (mut client, mut held) = pair().await;
        let mut splices = JoinSet::new();
        let mut public = framed(public, false);
        splices.spawn(async move {
            splice(&mut held, &mut public, LONG, &Tally::default(), &Assumed).await.how
        });
        let sending = async {
            let mut all = (octets as u32).to_be_bytes().to_vec();
            all.resize(4 + octets, 7);
            all.extend(frame::END);
            // It may be cut before its last octet.
            let _ = private.write_all(&all).await;
            let _ = private.flush().await;
        };
        let mut heard = Vec::new();
        let (heard, ()) = tokio::join!(client.read_to_end(&mut heard), sending);
        match whole {
            true => assert_eq!(heard.unwrap(), octets),
            false => assert_eq!(heard.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        drop(client);
    }
}

#[tokio::test]
async fn a_session_that_we_have_not_ended_leaves_no_tunnel() {
    let (mut private, public) = Proxies::new().tunnel().await;
    private.write_all(&frame::END).await.unwrap();
    private.flush().await.unwrap();
    assert!(framed(public, false).into_talk().await.is_err());
}

#[tokio::test]
async fn octets_after_a_session_leave_no_tunnel() {
    // The inner TLS has ended both ways; the other end says more outside of it.
    let (mut private, public) = Proxies::new().tunnel().await;
    let mut public = framed(public, false);
    public.shutdown().await.unwrap();
    private.write_all(&[&frame::head(1)[..], b"x", &frame::END].concat()).await.unwrap();
    private.flush().await.unwrap();
    assert!(public.into_talk().await.is_err());
}

#[tokio::test]
async fn what_was_said_in_the_same_record_is_not_lost_and_never_bare() {
    for bare in [false, true] {
        let (mut private, public) = Proxies::new().tunnel().await;
        let opened = [&ToPublic::Pong.encode()[..], &frame::head(2), b"hi", &frame::END].concat();
        private.write_all(&opened).await.unwrap();
        private.flush().await.unwrap();
        let mut talk = Talk::new(public);
        assert_eq!(talk.frame(ToPublic::decode).await.unwrap(), ToPublic::Pong);
        let Ok(mut session) = Framed::new(talk, bare) else {
            assert!(bare);
            continue;
        };
        assert!(!bare);
        let mut heard = Vec::new();
        session.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"hi");
    }
}
