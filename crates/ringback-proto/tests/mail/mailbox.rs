//! A mailbox's responses, as Dovecot and others write them.

use ringback_proto::limits::IMAP_RESPONSE_OCTETS;
use ringback_proto::mail::imap::{Fetched, Folder, Malformed, Outcome, Response, Responses, code};

/// A session, as it was recorded with Dovecot 2.3.
pub(crate) const SESSION: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR IDLE AUTH=PLAIN] Dovecot ready.\r\n\
    * CAPABILITY IMAP4rev1 UIDPLUS idle\r\n\
    t1 OK Capability completed.\r\n\
    * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
    * 3 EXISTS\r\n\
    * 0 RECENT\r\n\
    * OK [UIDVALIDITY 1795424646] UIDs valid\r\n\
    * OK [UIDNEXT 8] Predicted next UID\r\n\
    t2 OK [READ-WRITE] Select completed (0.001 + 0.000 secs).\r\n\
    + idling\r\n\
    * OK Still here\r\n\
    * 4 EXISTS\r\n\
    * 2 EXPUNGE\r\n\
    * 3 FETCH (UID 7 FLAGS (\\Seen $Junk) BODY[HEADER.FIELDS (FROM CONTENT-TYPE)]<0> {17}\r\n\
    From: <a@b.c>\r\n\r\n BODY[TEXT]<0> {15}\r\n\
    a {5}\r\n\
    * b)\r\n\r\n)\r\n\
    t3 NO [SERVERBUG] later\r\n";

fn read(session: &str) -> Vec<Response> {
    let mut responses = Responses::default();
    let mut read = Vec::new();
    for octet in session.as_bytes() {
        responses.handle_input(&[*octet]);
        read.extend(responses.poll_response().unwrap());
    }
    assert!(responses.is_empty());

    responses.handle_input(session.as_bytes());
    let whole = std::iter::from_fn(|| responses.poll_response().unwrap()).collect::<Vec<_>>();
    assert_eq!(whole, read, "it does not matter how octets come");
    read
}

fn ended(tag: &str, outcome: Outcome, words: &str) -> Response {
    Response::Ended { tag: tag.to_owned(), outcome, words: words.to_owned() }
}

fn status(validity: Option<u32>, next: Option<u32>, words: &str) -> Response {
    Response::Status { outcome: Outcome::Ok, validity, next, words: words.to_owned() }
}

#[test]
fn a_session_is_read_however_it_is_cut() {
    let fetched = Fetched {
        uid: 7,
        seen: true,
        headers: b"From: <a@b.c>\r\n\r\n".to_vec(),
        body: b"a {5}\r\n* b)\r\n\r\n".to_vec(),
    };
    let capabilities = ["IMAP4REV1", "UIDPLUS", "IDLE"].map(str::to_owned).to_vec();
    let golden = [
        status(None, None, "[CAPABILITY IMAP4rev1 SASL-IR IDLE AUTH=PLAIN] Dovecot ready."),
        Response::Capabilities(capabilities),
        ended("t1", Outcome::Ok, "Capability completed."),
        Response::Other,
        Response::Exists(3),
        Response::Other,
        status(Some(1_795_424_646), None, "[UIDVALIDITY 1795424646] UIDs valid"),
        status(None, Some(8), "[UIDNEXT 8] Predicted next UID"),
        ended("t2", Outcome::Ok, "[READ-WRITE] Select completed (0.001 + 0.000 secs)."),
        Response::GoOn,
        status(None, None, "Still here"),
        Response::Exists(4),
        Response::Expunged,
        Response::Fetched(fetched),
        ended("t3", Outcome::No, "[SERVERBUG] later"),
    ];
    assert_eq!(read(SESSION), golden);
}

#[test]
fn a_mail_is_read_as_other_servers_write_it() {
    let fetched = |uid, seen, headers: &str, body: &str| {
        let (headers, body) = (headers.as_bytes().to_vec(), body.as_bytes().to_vec());
        [Response::Fetched(Fetched { uid, seen, headers, body })]
    };
    let one = "* 1 fetch (body[text]<0> \"a\\\"b\" uid 9 FLAGS ())\r\n";
    assert_eq!(read(one), fetched(9, false, "", "a\"b"));
    let other =
        "* 1 FETCH (BODYSTRUCTURE (\"TEXT\" (\"x\" {2}\r\n)() NIL) BODY[TEXT] NIL UID 2)\r\n";
    assert_eq!(read(other), fetched(2, false, "", "NIL"));
    for nonsense in ["(UID 4294967296)", "UID 7", "(UID 7 BODY[TEXT] \"a)"] {
        assert_eq!(read(&format!("* 1 FETCH {nonsense}\r\n")), [Response::Unreadable]);
    }
}

#[test]
fn a_response_is_bounded_before_it_is_read() {
    for begin in ["* 1 FETCH (BODY[TEXT] {99999}\r\n", "* 1 FETCH (BODY[TEXT] {99999999999999}\r\n"]
    {
        let mut responses = Responses::default();
        responses.handle_input(begin.as_bytes());
        assert_eq!(responses.poll_response(), Err(Malformed::Length));
    }
    let mut responses = Responses::default();
    responses.handle_input(&vec![b'a'; IMAP_RESPONSE_OCTETS + 1]);
    assert_eq!(responses.poll_response(), Err(Malformed::Length));
}

#[test]
fn a_folder_cannot_smuggle_a_command() {
    assert_eq!(Folder::parse("In \"b\\x").unwrap().quoted(), "\"In \\\"b\\\\x\"");
    for name in ["", "a\r\nt9 LOGOUT", "a\0", "Entwürfe", &"a".repeat(256)] {
        assert_eq!(Folder::parse(name), None, "{name:?}");
    }
}

#[test]
fn a_code_names_nobody() {
    assert_eq!(code("[NONEXISTENT] carla@fleet.example has no such folder"), "[NONEXISTENT]");
    for words in ["", "[", "[]carla", "carla [NO]", "[carla@fleet.example] a", "[A b] c", "[ä]"] {
        assert!(code(words).len() <= 2, "{words}");
    }
}
