//! An account's own ways: what it recalls, what it is bound as, and what it tells of its health.

use ringback_bearer::Verdict;

use super::*;

#[tokio::test]
async fn a_ring_that_nobody_wants_any_more_is_recalled_once_if_that_is_configured() {
    for cancel in [true, false] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let public = Party::with(smpp::Config { cancel, ..config(port, "public") });
        let mut story = public.transmitter.ring(message(Body::Text("RB".into())));
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let bound = next_pdu(&mut stream).await;
        let body = pdu::Body::BindResp(Role::Transceiver, Text::default());
        stream.write_all(&octets(&Pdu::request(bound.sequence, body))).await.unwrap();
        let submitted = next_pdu(&mut stream).await;
        let body = pdu::Body::SubmitSmResp(Text::new("00Af").unwrap());
        stream.write_all(&octets(&Pdu::request(submitted.sequence, body))).await.unwrap();
        assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));

        drop(story);
        if cancel {
            let pdu::Body::CancelSm(sent) = next_pdu(&mut stream).await.body else {
                panic!("not recalled")
            };
            assert_eq!(sent.message_id.as_str(), "00Af", "as the center wrote it");
            assert_eq!(sent.destination.digits.as_str(), "15550100777");
        }
        public.shutdown.cancel();
        let unbind = next_pdu(&mut stream).await;
        assert_eq!(unbind.body, pdu::Body::Unbind);
        let body = pdu::Body::UnbindResp;
        stream.write_all(&octets(&Pdu::request(unbind.sequence, body))).await.unwrap();
        public.end().await;
    }
}

#[tokio::test]
async fn a_recalled_message_is_never_delivered() {
    let operator = Operator::open(Config {
        delay: Delay::Uniform { from_seconds: 0.2, to_seconds: 0.3 },
        ..quick()
    })
    .await;
    let (public, mut private) = (operator.party("public"), operator.party("private"));
    let mut recalled = public.transmitter.ring(message(Body::Text("RB-recalled".into())));
    assert!(matches!(soon(recalled.next()).await, Some(Delivery::Submitted { .. })));
    drop(recalled);
    let mut wanted = public.transmitter.ring(message(Body::Text("RB-wanted".into())));
    assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, b"RB-wanted");
    assert!(matches!(soon(wanted.next()).await, Some(Delivery::Submitted { .. })));
    assert_eq!(soon(wanted.next()).await, Some(Delivery::Delivered));
    operator.close([public, private]).await;
}

#[tokio::test]
async fn an_account_that_receives_only_hears_and_sends_nothing() {
    let operator = Operator::open(quick()).await;
    let in_role = |name: &str, role| {
        let mut config = config(operator.port, name);
        config.account.bind.role = role;
        Party::with(config)
    };
    let public = in_role("public", Role::Transmitter);
    let mut private = in_role("private", Role::Receiver);
    let mut story = public.transmitter.ring(message(Body::Text("RB".into())));
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    assert_eq!(soon(private.receiver.hear()).await.unwrap().octets, b"RB");
    let mut story = private.transmitter.ring(message(Body::Text("RB".into())));
    let Some(Delivery::Failed(failure)) = soon(story.next()).await else { panic!("taken") };
    assert!(failure.is_permanent(), "{failure}");
    operator.close([public, private]).await;
}

#[tokio::test]
async fn a_bearer_tells_what_it_is_bound_as_and_why_it_is_not() {
    let operator = Operator::open(quick()).await;
    for (password, verdict, words) in [
        ("secret", Verdict::Good, "public as transceiver is bound to 127.0.0.1:"),
        ("wrong", Verdict::Bad, "invalid password (0x0e)"),
    ] {
        let mut config = config(operator.port, "public");
        config.account.bind = bind("public", password);
        let mut public = Party::with(config);
        soon(public.health.settled()).await;
        let findings = public.health.findings();
        let bound = findings.iter().find(|it| it.what == "bind").unwrap();
        assert!(bound.verdict == verdict && bound.text.contains(words), "{bound:?}");
        let pace = findings.iter().find(|it| it.what == "pace").unwrap();
        assert_eq!(pace.text, "1000 of 1000 submissions a second");
        if verdict == Verdict::Bad {
            let mut story = public.transmitter.ring(message(Body::Text("RB".into())));
            assert_eq!(soon(story.next()).await, Some(Delivery::Failed(Failure::Down)));
        }
        public.end().await;
    }
    operator.close([]).await;
}
