//! The SMPP codec against golden frames, against itself, and against noise.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;

use ringback_proto::limits::SMPP_PDU_OCTETS;
use ringback_proto::smpp::pdu::{Bind, Body, Cancel, Malformed, Message, Pdu, Role};
use ringback_proto::smpp::status::Status;
use ringback_proto::smpp::text::{Address, Password, Text};
use ringback_proto::smpp::wire::{Framed, Frames, Lost};

const BIND_TRANSCEIVER: &str = "
    00000027            # command_length
    00000009            # command_id: bind_transceiver
    00000000            # command_status
    00000001            # sequence_number
    7075626c696300      # system_id: public
    73656372657400      # password: secret
    534d505000          # system_type: SMPP
    34                  # interface_version: 3.4
    00 00               # addr_ton, addr_npi
    00                  # address_range: empty
";

const SUBMIT_SM: &str = "
    00000045            # command_length
    00000004            # command_id: submit_sm
    00000000            # command_status
    00000002            # sequence_number
    00                  # service_type: default
    03 00 373037303700  # source_addr: network specific, unknown plan, 70707
    01 01 3135353530313030373737 00 # destination_addr: international, E.164, 15550100777
    00                  # esm_class
    00                  # protocol_id
    00                  # priority_flag
    00                  # schedule_delivery_time: at once
    303030303030303030313030303030 52 00 # validity_period: one minute
    01                  # registered_delivery
    00                  # replace_if_present_flag
    04                  # data_coding: octets
    00                  # sm_default_msg_id
    04                  # sm_length
    11ff0080            # short_message
";

const DELIVER_SM: &str = "
    00000041            # command_length
    00000005            # command_id: deliver_sm
    00000000            # command_status
    0000002a            # sequence_number
    00                  # service_type
    01 01 3135353500    # source_addr
    03 00 373000        # destination_addr
    04                  # esm_class: receipt
    00 00 00 00         # protocol_id, priority_flag, schedule_delivery_time, validity_period
    00 00 00 00         # registered_delivery, replace_if_present, data_coding, sm_default_msg_id
    00                  # sm_length: the content is in message_payload
    0424 0005 69643a3466 # message_payload: id:4f
    001e 0003 346600    # receipted_message_id: 4f
    1403 0001 ff        # an unknown tag: skipped
    0427 0001 02        # message_state: delivered
";

const SUBMIT_SM_RESP: &str = "
    00000013            # command_length
    80000004            # command_id: submit_sm_resp
    00000000            # command_status
    00000002            # sequence_number
    346600              # message_id: 4f
";

const CANCEL_SM: &str = "
    0000002a            # command_length
    00000008            # command_id: cancel_sm
    00000000            # command_status
    00000003            # sequence_number
    00                  # service_type: default
    346600              # message_id: 4f
    03 00 373037303700  # source_addr: 70707
    01 01 3135353530313030373737 00 # destination_addr: 15550100777
";

#[test]
fn a_bind_reads_as_the_specification_says() {
    let bind = Bind {
        role: Role::Transceiver,
        system_id: Text::new("public").unwrap(),
        password: Password::new("secret").unwrap(),
        system_type: Text::new("SMPP").unwrap(),
    };
    assert_golden(&hex(BIND_TRANSCEIVER), &Pdu::request(1, Body::Bind(bind)));
}

#[test]
fn a_submission_reads_as_the_specification_says() {
    let message = Message {
        source: Address::parse("70707").unwrap(),
        destination: Address::parse("+15550100777").unwrap(),
        validity_period: Text::new("000000000100000R").unwrap(),
        registered_delivery: 1,
        data_coding: 4,
        content: vec![0x11, 0xff, 0x00, 0x80],
        ..Message::default()
    };
    assert_golden(&hex(SUBMIT_SM), &Pdu::request(2, Body::SubmitSm(message)));
}

#[test]
fn a_response_reads_as_the_specification_says() {
    let body = Body::SubmitSmResp(Text::new("4f").unwrap());
    assert_golden(&hex(SUBMIT_SM_RESP), &Pdu::request(2, body));
}

#[test]
fn a_cancellation_reads_as_the_specification_says() {
    assert_golden(&hex(CANCEL_SM), &Pdu::request(3, Body::CancelSm(cancel())));
}

#[test]
fn a_delivery_is_read_with_its_tags_and_unknown_ones_are_skipped() {
    let message = Message {
        source: Address::parse("+1555").unwrap(),
        destination: Address::parse("70").unwrap(),
        esm_class: 4,
        content: b"id:4f".to_vec(),
        receipted_message_id: Text::new("4f"),
        message_state: Some(2),
        ..Message::default()
    };
    let pdu = Pdu::request(42, Body::DeliverSm(message));
    assert_eq!(read(&hex(DELIVER_SM)), Ok(Some(Framed::Pdu(pdu))));
}

#[test]
fn a_refusal_needs_no_body() {
    let octets = hex("00000010 80000004 00000058 00000007");
    let (sequence, status) = (7, Status::THROTTLED);
    let body = Body::SubmitSmResp(Text::default());
    assert_golden(&octets, &Pdu { sequence, status, body });
}

#[test]
fn what_is_emitted_can_be_read_whole_or_octet_by_octet() {
    for (index, body) in every_body().into_iter().enumerate() {
        let pdu = Pdu::request(u32::try_from(index).unwrap() + 1, body);
        let mut octets = Vec::new();
        pdu.encode(&mut octets);
        assert_eq!(read(&octets), Ok(Some(Framed::Pdu(pdu.clone()))));

        let (mut frames, last) = (Frames::default(), octets.len() - 1);
        for (place, octet) in octets.iter().enumerate() {
            frames.extend(&[*octet]);
            let expected = (place == last).then(|| Framed::Pdu(pdu.clone()));
            assert_eq!(frames.cut(), Ok(expected), "{pdu:?} at {place}");
        }
    }
}

#[test]
fn an_impossible_length_is_refused_before_anything_is_kept() {
    for length in [0_u32, 15, u32::try_from(SMPP_PDU_OCTETS).unwrap() + 1, u32::MAX] {
        assert_eq!(read(&length.to_be_bytes()), Err(Lost::Length(length)));
    }
}

#[test]
fn a_foreign_protocol_is_named() {
    let lost = read(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
    assert_eq!(lost, Lost::Foreign(*b"HTTP"));
    assert_eq!(
        lost.to_string(),
        "the peer does not speak SMPP: it said \"HTTP\"; check address and port"
    );
}

#[test]
fn a_malformed_pdu_does_not_hide_the_next_one() {
    let mut octets = hex("00000011 00000004 00000000 00000009 41");
    octets.extend(hex("00000010 000000ff 00000000 0000000a"));
    octets.extend(hex("00000010 00000015 00000000 0000000b"));
    let mut frames = Frames::default();
    frames.extend(&octets);
    let cause = Malformed::Truncated("service_type");
    assert_eq!(frames.cut(), Ok(Some(Framed::Faulty { sequence: 9, response: false, cause })));
    let cause = Malformed::Command(0xff);
    assert_eq!(frames.cut(), Ok(Some(Framed::Faulty { sequence: 10, response: false, cause })));
    let alive = Pdu::request(11, Body::EnquireLink);
    assert_eq!(frames.cut(), Ok(Some(Framed::Pdu(alive))));
    assert_eq!(frames.cut(), Ok(None));
}

#[test]
fn noise_never_panics_and_what_is_read_of_it_can_be_emitted() {
    let mut seeds: Vec<Vec<u8>> = every_body()
        .into_iter()
        .map(|body| {
            let mut octets = Vec::new();
            Pdu::request(1, body).encode(&mut octets);
            octets
        })
        .collect();
    seeds.push(hex(DELIVER_SM));
    let mut chance = 0x5eed_u64;
    let mut roll = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        usize::try_from(chance >> 33).unwrap() % below
    };
    let mut understood = 0;
    for round in 0..100_000 {
        let mut octets = seeds[roll(seeds.len())].clone();
        for _ in 0..=roll(4) {
            let place = roll(octets.len());
            match roll(3) {
                0 => octets[place] = u8::try_from(roll(256)).unwrap(),
                1 => octets.truncate(place.max(4)),
                _ => octets.insert(place, u8::try_from(roll(256)).unwrap()),
            }
        }
        if roll(2) == 0 {
            // Most mutations shift the end: let the length be right, so that the fields are read.
            let length = u32::try_from(octets.len()).unwrap();
            octets[..4].copy_from_slice(&length.to_be_bytes());
        }
        let Ok(Some(Framed::Pdu(pdu))) = read(&octets) else { continue };
        understood += 1;
        let mut again = Vec::new();
        pdu.encode(&mut again);
        // A refusal loses its body, and empty octets need no tag; nothing else changes.
        if pdu.status == Status::OK {
            assert_eq!(read(&again), Ok(Some(Framed::Pdu(pdu))), "round {round}");
        }
    }
    assert!(10_000 < understood, "only {understood} were understood: the test tests little");
}

fn every_body() -> Vec<Body> {
    let bind = |role| {
        Body::Bind(Bind {
            role,
            system_id: Text::new("public").unwrap(),
            password: Password::new("secret").unwrap(),
            system_type: Text::new("").unwrap(),
        })
    };
    let message = |content: Vec<u8>| Message {
        service_type: Text::new("WAP").unwrap(),
        source: Address::parse("Ringb\u{e4}ck").unwrap(),
        destination: Address::parse("+15550100777").unwrap(),
        esm_class: 0x40,
        registered_delivery: 1,
        data_coding: 4,
        content,
        receipted_message_id: Text::new("4f"),
        message_state: Some(2),
        ..Message::default()
    };
    let id = || Text::new("4f").unwrap();
    vec![
        Body::GenericNack,
        bind(Role::Receiver),
        bind(Role::Transmitter),
        bind(Role::Transceiver),
        Body::BindResp(Role::Receiver, Text::new("center").unwrap()),
        Body::BindResp(Role::Transmitter, Text::default()),
        Body::BindResp(Role::Transceiver, Text::new("center").unwrap()),
        Body::SubmitSm(message(Vec::new())),
        Body::SubmitSm(message(vec![7; 254])),
        Body::SubmitSm(message(vec![7; 255])),
        Body::SubmitSm(message(vec![7; 2048])),
        Body::SubmitSmResp(id()),
        Body::DeliverSm(message(vec![0; 140])),
        Body::DeliverSmResp,
        Body::DataSm(message(vec![0; 140])),
        Body::DataSmResp(id()),
        Body::CancelSm(cancel()),
        Body::CancelSmResp,
        Body::Unbind,
        Body::UnbindResp,
        Body::EnquireLink,
        Body::EnquireLinkResp,
        Body::AlertNotification,
    ]
}

fn cancel() -> Cancel {
    Cancel {
        message_id: Text::new("4f").unwrap(),
        source: Address::parse("70707").unwrap(),
        destination: Address::parse("+15550100777").unwrap(),
    }
}

fn assert_golden(octets: &[u8], pdu: &Pdu) {
    let mut emitted = Vec::new();
    pdu.encode(&mut emitted);
    assert_eq!(dump(&emitted), dump(octets));
    assert_eq!(read(octets), Ok(Some(Framed::Pdu(pdu.clone()))));
}

fn read(octets: &[u8]) -> Result<Option<Framed>, Lost> {
    let mut frames = Frames::default();
    frames.extend(octets);
    frames.cut()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .flat_map(|line| line.split('#').next())
        .flat_map(|line| line.chars().filter(char::is_ascii_hexdigit))
        .collect();
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn dump(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, it| {
        write!(text, "{it:02x}").unwrap();
        text
    })
}
