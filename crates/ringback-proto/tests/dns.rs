//! What the responder answers, question by question, and that nothing makes it answer wrongly.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test itself")]

use std::collections::BTreeMap;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use ringback_proto::dns::{self, Draft, Listing, Mistake, Over, Published, Soa, Zone};
use ringback_proto::limits;
use ringback_proto::terminal::{MailAddress, TerminalName};

// What is said of a terminal

#[test]
fn a_terminal_has_the_addresses_of_its_public_proxy() {
    let reply = ask("car.fleet.example.", RecordType::A);
    assert_eq!(reply.response_code, ResponseCode::NoError);
    assert!(reply.authoritative && !reply.recursion_available && !reply.truncation);
    assert_eq!(lines(&reply.answers), ["car.fleet.example. 5 IN A 203.0.113.20"]);
    assert_eq!(lines(&reply.authorities), [""; 0]);

    let reply = ask("car.fleet.example.", RecordType::AAAA);
    assert_eq!(lines(&reply.answers), ["car.fleet.example. 5 IN AAAA 2001:db8::20"]);
}

#[test]
fn a_service_is_found_with_its_port_and_its_addresses_in_one_answer() {
    let reply = ask("_ssh._tcp.car.fleet.example.", RecordType::SRV);
    let srv = ["_ssh._tcp.car.fleet.example. 5 IN SRV 0 0 2222 car.fleet.example."];
    assert_eq!(lines(&reply.answers), srv);
    let addresses =
        ["car.fleet.example. 5 IN A 203.0.113.20", "car.fleet.example. 5 IN AAAA 2001:db8::20"];
    assert_eq!(lines(&reply.additionals), addresses);
}

#[test]
fn of_two_services_of_a_kind_the_first_listed_is_preferred() {
    let listing = listing(&[("_http._tcp", 8080, false, &[]), ("_http._tcp", 8081, false, &[])]);
    let reply = ask_in(&zone_of(listing), "_http._tcp.car.fleet.example.", RecordType::SRV);
    assert_eq!(
        lines(&reply.answers),
        [
            "_http._tcp.car.fleet.example. 5 IN SRV 0 0 8080 car.fleet.example.",
            "_http._tcp.car.fleet.example. 5 IN SRV 1 0 8081 car.fleet.example.",
        ]
    );
}

#[test]
fn a_service_without_tls_has_no_https_record_whatever_its_port() {
    for (srv, port) in [("_http._tcp", 80), ("_http._tcp", 8443), ("_https._tcp", 443)] {
        let zone = zone_of(listing(&[(srv, port, false, &[])]));
        for name in ["car.fleet.example.", "_8443._https.car.fleet.example."] {
            let reply = ask_in(&zone, name, RecordType::HTTPS);
            assert_eq!(lines(&reply.answers), [""; 0], "{name} {port}");
        }
    }
}

#[test]
fn a_service_with_tls_that_is_no_web_service_has_no_https_record() {
    let zone = zone_of(listing(&[("_mqtts._tcp", 8883, true, &["mqtt"])]));
    assert_eq!(lines(&ask_in(&zone, "car.fleet.example.", RecordType::HTTPS).answers), [""; 0]);
}

#[test]
fn https_on_its_own_port_is_published_at_the_bare_name_without_a_port() {
    let zone = zone_of(listing(&[("_https._tcp", 443, true, &["h2", "http/1.1"])]));
    let reply = ask_in(&zone, "car.fleet.example.", RecordType::HTTPS);
    let https = ["car.fleet.example. 5 IN HTTPS 1 . alpn=h2,http/1.1,"];
    assert_eq!(lines(&reply.answers), https);
    assert_eq!(reply.additionals.len(), 2, "the target's addresses");
    assert_eq!(code_in(&zone, "_443._https.car.fleet.example."), ResponseCode::NXDomain);
}

#[test]
fn https_on_another_port_is_published_under_that_port_and_told_at_the_bare_name() {
    let zone = zone_of(listing(&[("_https._tcp", 8443, true, &["h2"])]));
    let reply = ask_in(&zone, "_8443._https.car.fleet.example.", RecordType::HTTPS);
    let parameters = "alpn=h2, no-default-alpn= port=8443";
    let prefixed =
        format!("_8443._https.car.fleet.example. 5 IN HTTPS 1 car.fleet.example. {parameters}");
    assert_eq!(lines(&reply.answers), [prefixed]);
    assert_eq!(reply.additionals.len(), 2, "the target's addresses");

    let reply = ask_in(&zone, "car.fleet.example.", RecordType::HTTPS);
    let bare = format!("car.fleet.example. 5 IN HTTPS 1 . {parameters}");
    assert_eq!(lines(&reply.answers), [bare]);
}

#[test]
fn plain_http_on_its_own_port_is_not_upgraded_away_to_another() {
    let plain = ("_http._tcp", 80, false, &[][..]);
    let elsewhere = zone_of(listing(&[plain, ("_https._tcp", 8443, true, &[])]));
    let reply = ask_in(&elsewhere, "car.fleet.example.", RecordType::HTTPS);
    assert_eq!(lines(&reply.answers), [""; 0]);
    let reply = ask_in(&elsewhere, "_8443._https.car.fleet.example.", RecordType::HTTPS);
    assert_eq!(reply.answers.len(), 1);

    let beside = zone_of(listing(&[plain, ("_https._tcp", 443, true, &[])]));
    let reply = ask_in(&beside, "car.fleet.example.", RecordType::HTTPS);
    assert_eq!(lines(&reply.answers), ["car.fleet.example. 5 IN HTTPS 1 ."]);
}

// What is said of the zone

#[test]
fn the_origin_has_an_soa_and_nameservers_with_glue() {
    let reply = ask("fleet.example.", RecordType::SOA);
    assert_eq!(
        lines(&reply.answers),
        ["fleet.example. 3600 IN SOA ns1.fleet.example. host\\.master.fleet.example. \
          7 3600 600 86400 5"]
    );
    let reply = ask("fleet.example.", RecordType::NS);
    assert_eq!(
        lines(&reply.answers),
        ["fleet.example. 3600 IN NS ns1.fleet.example.", "fleet.example. 3600 IN NS ns.example."]
    );
    assert_eq!(lines(&reply.additionals), ["ns1.fleet.example. 3600 IN A 203.0.113.53"]);
    let reply = ask("ns1.fleet.example.", RecordType::A);
    assert_eq!(lines(&reply.answers), ["ns1.fleet.example. 3600 IN A 203.0.113.53"]);
}

#[test]
fn a_name_that_does_not_exist_is_denied_for_as_long_as_the_zone_says() {
    for name in
        ["bus.fleet.example.", "a.car.fleet.example.", "*.fleet.example.", "_x._tcp.fleet.example."]
    {
        let reply = ask(name, RecordType::A);
        assert_eq!(reply.response_code, ResponseCode::NXDomain, "{name}");
        assert!(reply.authoritative && reply.answers.is_empty());
        let soa = lines(&reply.authorities);
        assert!(soa.len() == 1 && soa[0].starts_with("fleet.example. 5 IN SOA"), "{soa:?}");
    }
}

#[test]
fn a_name_that_exists_without_the_type_or_only_above_others_is_not_denied() {
    for (name, kind) in [
        ("car.fleet.example.", RecordType::TXT),
        ("car.fleet.example.", RecordType::HTTPS),
        ("_ssh._tcp.car.fleet.example.", RecordType::A),
        ("_tcp.car.fleet.example.", RecordType::SRV),
        ("_tcp.car.fleet.example.", RecordType::ANY),
        ("far.fleet.example.", RecordType::A),
    ] {
        let reply = ask(name, kind);
        assert_eq!(reply.response_code, ResponseCode::NoError, "{name} {kind}");
        assert!(reply.authoritative && reply.answers.is_empty(), "{name} {kind}");
        assert_eq!(reply.authorities.len(), 1, "{name} {kind}");
    }
}

#[test]
fn names_outside_the_zone_other_classes_and_transfers_are_refused() {
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut other = query("car.fleet.example.", RecordType::A);
    other.queries[0].set_query_class(DNSClass::ANY);
    for message in [
        query("fleet.example.org.", RecordType::A),
        query("notfleet.example.", RecordType::A),
        query("example.", RecordType::SOA),
        query(".", RecordType::NS),
        query("fleet.example.", RecordType::AXFR),
        query("fleet.example.", RecordType::IXFR),
        chaos,
        other,
    ] {
        let reply = send(&zone(), &message, Over::Tcp);
        assert_eq!(reply.response_code, ResponseCode::Refused, "{message}");
        assert!(!reply.authoritative && reply.authorities.is_empty() && reply.answers.is_empty());
    }
}

#[test]
fn a_question_for_everything_is_answered_minimally() {
    let reply = ask("car.fleet.example.", RecordType::ANY);
    assert_eq!(lines(&reply.answers), ["car.fleet.example. 3600 IN HINFO RFC8482 "]);
}

#[test]
fn a_zone_under_localhost_or_of_one_name_answers_like_any_other() {
    let mut draft = draft(listing(&[]));
    draft.origin = host("ring.localhost");
    draft.nameservers = vec![(host("ns.ring.localhost"), vec!["127.0.0.1".parse().unwrap()])];
    draft.terminals = BTreeMap::from([(host("ring.localhost"), listing(&[]))]);
    let zone = Zone::new(draft).unwrap();
    assert_eq!(ask_in(&zone, "ring.localhost.", RecordType::A).answers.len(), 1);
    assert_eq!(ask_in(&zone, "ring.localhost.", RecordType::NS).answers.len(), 1);
    assert_eq!(code_in(&zone, "a.ring.localhost."), ResponseCode::NXDomain);
    assert_eq!(code_in(&zone, "localhost."), ResponseCode::Refused);
}

// The message

#[test]
fn names_match_in_any_case_and_the_question_keeps_its_own() {
    let asked = Name::from_ascii("cAR.fLeEt.eXAMPLE.").unwrap();
    let reply = send(&zone(), &query("cAR.fLeEt.eXAMPLE.", RecordType::A), Over::Udp);
    assert!(reply.queries[0].name().eq_case(&asked));
    assert_eq!(reply.answers.len(), 1);
    assert!(reply.answers[0].name.eq_case(&asked), "compressed to the question");
}

#[test]
fn the_answer_has_the_querys_id_and_copies_only_what_must_be_copied() {
    let mut message = query("car.fleet.example.", RecordType::A);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.metadata.truncation = true;
    let reply = send(&zone(), &message, Over::Udp);
    assert_eq!((reply.id, reply.message_type), (message.id, MessageType::Response));
    assert!(reply.recursion_desired && !reply.authentic_data && !reply.truncation);
}

#[test]
fn another_opcode_is_not_implemented_even_if_its_body_is_strange() {
    for op_code in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(15)] {
        let mut message = query("car.fleet.example.", RecordType::A);
        message.metadata.op_code = op_code;
        let reply = send(&zone(), &message, Over::Udp);
        assert_eq!((reply.response_code, reply.op_code), (ResponseCode::NotImp, op_code));

        let bare = &message.to_vec().unwrap()[..12];
        let reply = parse(dns::answer(bare, &zone(), Over::Udp).unwrap().octets());
        assert_eq!(reply.response_code, ResponseCode::NotImp);
    }
}

#[test]
fn what_has_a_header_but_cannot_be_read_is_a_format_error() {
    let good = query("car.fleet.example.", RecordType::A).to_vec().unwrap();
    let mut none = good.clone();
    none[5] = 0;
    let mut two = query("car.fleet.example.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("car.fleet.example.").unwrap(), RecordType::AAAA));
    let mut claims = good.clone();
    claims[4..6].copy_from_slice(&[0xff, 0xff]);
    let mut twice = query("car.fleet.example.", RecordType::A);
    twice.set_edns(Edns::new());
    twice.additionals.push(Record::from(&Edns::new()));
    for octets in [
        good[..12].to_vec(),
        good[..good.len() - 1].to_vec(),
        none,
        two.to_vec().unwrap(),
        claims,
        twice.to_vec().unwrap(),
    ] {
        let zone = zone();
        let answer = dns::answer(&octets, &zone, Over::Udp).unwrap();
        let reply = parse(answer.octets());
        assert_eq!(reply.response_code, ResponseCode::FormErr, "{octets:x?}");
        assert_eq!((reply.id, answer.octets().len()), (0x1234, 12));
    }
}

#[test]
fn a_response_and_what_has_no_header_are_met_with_silence() {
    let mut response = query("car.fleet.example.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    let response = response.to_vec().unwrap();
    for octets in [&response[..], &response[..11], &[0; 11], &[]] {
        assert!(dns::answer(octets, &zone(), Over::Udp).is_none());
        assert!(dns::slip(octets).is_none());
    }
}

#[test]
fn edns_is_answered_with_edns_and_only_then() {
    assert_eq!(ask("car.fleet.example.", RecordType::A).edns, None);

    let mut message = query("car.fleet.example.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    message.set_edns(edns);
    let edns = send(&zone(), &message, Over::Udp).edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, limits::DNS_EDNS_OCTETS));
    assert!(edns.flags().dnssec_ok && edns.options().as_ref().is_empty());
}

#[test]
fn a_version_of_edns_that_nobody_knows_is_told_so() {
    let mut message = query("car.fleet.example.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    let reply = send(&zone(), &message, Over::Udp);
    assert_eq!(u16::from(reply.response_code), u16::from(ResponseCode::BADVERS));
    assert_eq!(reply.edns.unwrap().version(), 0);
    assert!(reply.answers.is_empty());
}

#[test]
fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let services = (1..=64).map(|port| published("_ssh._tcp", port, false, &[])).collect();
    let zone = zone_of(Listing { services, ..listing(&[]) });
    let mut message = query("_ssh._tcp.car.fleet.example.", RecordType::SRV);
    for payload in [None, Some(100), Some(512), Some(1232), Some(65_535)] {
        message.edns = payload.map(|it| {
            let mut edns = Edns::new();
            edns.set_max_payload(it);
            edns
        });
        let reply = send(&zone, &message, Over::Udp);
        assert!(reply.truncation && reply.authoritative && reply.answers.is_empty());
        assert_eq!(reply.edns.is_some(), payload.is_some());

        let reply = send(&zone, &message, Over::Tcp);
        assert!(!reply.truncation);
        assert_eq!((reply.answers.len(), reply.additionals.len()), (64, 2));
    }
}

#[test]
fn what_is_only_helpful_is_left_out_before_anything_is_cut() {
    // 12 SRV records fit into 512 octets, but not the addresses as well.
    let services = (1..=12).map(|port| published("_ssh._tcp", port, false, &[])).collect();
    let zone = zone_of(Listing { services, ..listing(&[]) });
    let reply = send(&zone, &query("_ssh._tcp.car.fleet.example.", RecordType::SRV), Over::Udp);
    assert!(!reply.truncation);
    assert_eq!((reply.answers.len(), reply.additionals.len()), (12, 0));
}

#[test]
fn a_slip_says_come_over_tcp_and_is_no_longer_than_the_query() {
    let mut message = query("car.fleet.example.", RecordType::A);
    for edns in [None, Some(Edns::new())] {
        message.edns = edns;
        let asked = message.to_vec().unwrap();
        let slip = dns::slip(&asked).unwrap();
        assert!(slip.len() <= asked.len());
        let reply = parse(&slip);
        assert!(reply.truncation && reply.answers.is_empty() && reply.queries == message.queries);
    }
    assert!(dns::slip(&message.to_vec().unwrap()[..20]).is_none());
}

#[test]
fn an_answer_tells_which_terminal_a_client_wants_and_what_it_was_told() {
    let zone = zone();
    let wanted = |name: &str, kind| {
        let octets = query(name, kind).to_vec().unwrap();
        let answer = dns::answer(&octets, &zone, Over::Udp).unwrap();
        (answer.terminal().map(|it| it.as_str().to_owned()), answer.parameters())
    };
    let car = || Some("car.fleet.example".to_owned());
    assert_eq!(wanted("Car.fleet.example.", RecordType::A), (car(), "203.0.113.20".into()));
    assert_eq!(
        wanted("_ssh._tcp.car.fleet.example.", RecordType::SRV),
        (car(), "0 0 2222 car.fleet.example.".into())
    );
    assert_eq!(wanted("car.fleet.example.", RecordType::TXT), (None, String::new()));
    assert_eq!(wanted("ns1.fleet.example.", RecordType::A).0, None);
    assert_eq!(wanted("bus.fleet.example.", RecordType::A).0, None);
}

// The zone's own mistakes

#[test]
fn a_zone_tells_all_its_mistakes_at_once() {
    let mut draft = draft(listing(&[]));
    let car = || host("car.fleet.example");
    let bad = [
        published("_ssh._udp", 22, false, &[]),
        published("_http._tcp", 0, false, &[]),
        published("_https._tcp", 443, false, &["h2"]),
        published("_ipp._tcp", 631, false, &[]),
        published("_IPP._tcp", 631, false, &[]),
    ];
    let addresses = ["0.0.0.0", "ff02::1"].map(|it| it.parse().unwrap()).to_vec();
    draft.ttl_seconds = u32::MAX;
    draft.soa.rname = MailAddress::parse("a@-").unwrap();
    draft.nameservers = vec![(host("ns.fleet.example"), vec![]), (car(), addresses[..0].to_vec())];
    draft.terminals = BTreeMap::from([
        (car(), Listing { addresses, services: bad.to_vec() }),
        (host("car.example"), Listing::default()),
    ]);

    let srv = |text: &str| text.to_owned();
    let mistakes = Zone::new(draft).unwrap_err();
    assert_eq!(
        mistakes.0,
        [
            Mistake::Glue(host("ns.fleet.example")),
            Mistake::Taken(car()),
            Mistake::Glue(car()),
            Mistake::Seconds { field: "ttl_seconds", seconds: u32::MAX },
            Mistake::Mailbox,
            Mistake::Outside(host("car.example")),
            Mistake::Addresses { name: host("car.example"), count: 0 },
            Mistake::Unusable { name: car(), address: "0.0.0.0".parse().unwrap() },
            Mistake::Unusable { name: car(), address: "ff02::1".parse().unwrap() },
            Mistake::Label { name: car(), srv: srv("_ssh._udp") },
            Mistake::Port { name: car(), srv: srv("_http._tcp"), port: 0 },
            Mistake::Alpn { name: car(), srv: srv("_https._tcp") },
            Mistake::Port { name: car(), srv: srv("_IPP._tcp"), port: 631 },
        ]
    );
    assert!(mistakes.to_string().contains("car.example has 0 addresses: tell 1 to 16"));
}

#[test]
fn a_zone_has_no_more_of_anything_than_its_limits() {
    let mut draft = draft(listing(&[]));
    let address = "203.0.113.1".parse().unwrap();
    draft.nameservers = (0..14).map(|it| (host(&format!("ns{it}.example")), vec![])).collect();
    let long = format!("{0}.{0}.{0}.{1}.fleet.example", "a".repeat(63), "a".repeat(47));
    let services = (1..=65).map(|port| published("_a._tcp", port, false, &[])).collect();
    draft.terminals = BTreeMap::from([
        (host(&long), listing(&[("_ssh._tcp", 22, false, &[])])),
        (host(&long[12..]), listing(&[("_https._tcp", 8443, true, &[])])),
        (host("b.fleet.example"), Listing { addresses: vec![address; 17], services }),
    ]);
    assert_eq!(
        Zone::new(draft).unwrap_err().0,
        [
            Mistake::Nameservers(14),
            Mistake::TooLong { name: host(&long[12..]), srv: "_https._tcp".to_owned() },
            Mistake::TooLong { name: host(&long), srv: "_ssh._tcp".to_owned() },
            Mistake::Addresses { name: host("b.fleet.example"), count: 17 },
            Mistake::Services { name: host("b.fleet.example"), count: 65 },
        ]
    );
}

// Anything at all

#[test]
fn no_query_however_mangled_makes_it_panic_babble_or_talk_too_long() {
    let zone = zone();
    let seeds = seeds();
    let mut chance = Chance(0x52_49_4e_47);
    let mut answered = BTreeMap::<u16, u32>::new();
    for round in 0..300_000 {
        let octets = mangled(&seeds, &mut chance);
        for over in [Over::Udp, Over::Tcp] {
            let Some(answer) = dns::answer(&octets, &zone, over) else { continue };
            let allowed = if over == Over::Udp { 1232 } else { 65_535 };
            assert!(answer.octets().len() <= allowed, "round {round}: {octets:x?}");
            let reply = Message::from_vec(answer.octets());
            let reply = reply.unwrap_or_else(|fault| panic!("round {round}: {fault} {octets:x?}"));
            assert_eq!(reply.message_type, MessageType::Response, "round {round}");
            assert_eq!(reply.id.to_be_bytes(), octets[..2], "round {round}: {octets:x?}");
            if reply.edns.is_none() && over == Over::Udp {
                assert!(answer.octets().len() <= 512, "round {round}: {octets:x?}");
            }
            *answered.entry(u16::from(reply.response_code)).or_default() += 1;
        }
        if let Some(slip) = dns::slip(&octets) {
            assert!(slip.len() <= octets.len(), "round {round}: {octets:x?}");
        }
    }
    use ResponseCode::{BADVERS, FormErr, NXDomain, NoError, NotImp, Refused};
    // The mangling is of use only while it reaches every kind of answer.
    for code in [NoError, NXDomain, Refused, FormErr, NotImp, BADVERS].map(u16::from) {
        assert!(answered.get(&code).is_some_and(|it| 100 < *it), "{code} of {answered:?}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let names = ["car.fleet.example.", "_ssh._tcp.car.fleet.example.", "x.fleet.example.", "a.b."];
    let kinds = [RecordType::A, RecordType::SRV, RecordType::ANY, RecordType::NS, RecordType::SOA];
    let mut seeds = Vec::new();
    for name in names {
        for kind in kinds {
            let mut message = query(name, kind);
            seeds.push(message.to_vec().unwrap());
            message.set_edns(Edns::new());
            seeds.push(message.to_vec().unwrap());
        }
    }
    seeds
}

/// A seed with a few octets changed, cut, doubled or joined to another; or nothing but noise.
fn mangled(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    if chance.below(16) == 0 {
        let length = chance.below(600);
        return (0..length).map(|_| chance.below(256) as u8).collect();
    }
    let mut octets = seeds[chance.below(seeds.len())].clone();
    for _ in 0..chance.below(4) {
        let place = chance.below(octets.len());
        match chance.below(8) {
            0 => octets.truncate(place.max(1)),
            1 => octets.extend_from_slice(&seeds[chance.below(seeds.len())]),
            2 => octets.insert(place, chance.below(256) as u8),
            3 => octets[place] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff][chance.below(8)],
            4 => octets[place] ^= 1 << chance.below(8),
            _ => octets[place] = chance.below(256) as u8,
        }
    }
    octets
}

/// Numbers that are the same on each run (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

// Helpers

/// fleet.example with one car that has SSH, and one terminal far below, with a name in between.
fn zone() -> Zone {
    zone_of(listing(&[("_ssh._tcp", 2222, false, &[])]))
}

fn zone_of(car: Listing) -> Zone {
    Zone::new(draft(car)).unwrap()
}

fn draft(car: Listing) -> Draft {
    let ns = ["203.0.113.53".parse().unwrap()];
    Draft {
        origin: host("fleet.example"),
        nameservers: vec![(host("ns1.fleet.example"), ns.to_vec()), (host("ns.example"), vec![])],
        soa: Soa {
            mname: host("ns1.fleet.example"),
            rname: MailAddress::parse("host.master@fleet.example").unwrap(),
            serial: 7,
            refresh_seconds: 3600,
            retry_seconds: 600,
            expire_seconds: 86_400,
            minimum_seconds: 5,
        },
        ttl_seconds: 5,
        terminals: BTreeMap::from([
            (host("car.fleet.example"), car),
            (host("very.far.fleet.example"), listing(&[])),
        ]),
    }
}

fn listing(services: &[(&str, u16, bool, &[&str])]) -> Listing {
    let services = services.iter().map(|(srv, port, tls, alpn)| published(srv, *port, *tls, alpn));
    Listing {
        addresses: ["203.0.113.20", "2001:db8::20"].map(|it| it.parse().unwrap()).to_vec(),
        services: services.collect(),
    }
}

fn published(srv: &str, port: u16, tls: bool, alpn: &[&str]) -> Published {
    let alpn = alpn.iter().map(|it| (*it).to_owned()).collect();
    Published { srv: srv.to_owned(), port, tls, alpn }
}

fn host(text: &str) -> TerminalName {
    TerminalName::parse(text).unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn send(zone: &Zone, message: &Message, over: Over) -> Message {
    parse(dns::answer(&message.to_vec().unwrap(), zone, over).unwrap().octets())
}

fn ask(name: &str, kind: RecordType) -> Message {
    ask_in(&zone(), name, kind)
}

fn ask_in(zone: &Zone, name: &str, kind: RecordType) -> Message {
    send(zone, &query(name, kind), Over::Udp)
}

fn code_in(zone: &Zone, name: &str) -> ResponseCode {
    ask_in(zone, name, RecordType::A).response_code
}

fn parse(octets: &[u8]) -> Message {
    Message::from_vec(octets).unwrap()
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}
