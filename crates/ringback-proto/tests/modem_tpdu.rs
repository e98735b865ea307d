//! The TPDU codec against golden messages, against itself, against an independent one, and against
//! noise.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use ringback_proto::modem::tpdu::{
    Address, Content, Deliver, Kind, Malformed, Outcome, Pdu, StatusReport, Submit, Tpdu, Unfit,
    UserData, Validity,
};
use tpdu::{SMSAddress, SmsDeliver, SmsStatusReport, UserDataCoding, UserDataHeader};

const DELIVER: &str = "
    07 91 447758100650     # the center: seven octets, international, +447785016005
    04                     # SMS-DELIVER, no more messages
    0c 91 447711223344     # TP-OA: twelve digits, international
    00                     # TP-PID
    00                     # TP-DCS: the default alphabet
    62113290400000         # TP-SCTS: 2026-11-23 09:04:00
    0a                     # TP-UDL: ten septets
    e8329bfd4697d9ec37     # hellohello
";

const DELIVER_PORTED: &str = "
    00                     # the center: not told
    44                     # SMS-DELIVER with a user data header
    0e d0 d2b4fb2c0e8fd7   # TP-OA: fourteen semi-octets, a name: Ringback
    00                     # TP-PID
    00                     # TP-DCS: the default alphabet
    62113290400000         # TP-SCTS
    0a                     # TP-UDL: eight septets of header, two of text
    06 05 04 1f90 1f90     # TP-UDH: the ports 8080 and 8080
    5221                   # RB
";

const DELIVER_PART: &str = "
    00                     # the center: not told
    44                     # SMS-DELIVER with a user data header
    05 81 0707f7           # TP-OA: five digits, 70707
    00                     # TP-PID
    04                     # TP-DCS: octets
    62113290400000         # TP-SCTS
    08                     # TP-UDL
    05 00 03 2a 02 01      # TP-UDH: the first of two parts
    5242                   # RB
";

const SUBMIT: &str = "
    00                     # the center: the card's own
    31                     # SMS-SUBMIT, relative validity, a report is wanted
    00                     # TP-MR: the modem's
    0b 91 5155100077f7     # TP-DA: eleven digits, international, +15550100777
    00                     # TP-PID
    04                     # TP-DCS: octets
    00                     # TP-VP: five minutes
    04                     # TP-UDL
    11ff0080
";

const STATUS_REPORT: &str = "
    00                     # the center: not told
    06                     # SMS-STATUS-REPORT, no more messages
    2a                     # TP-MR
    0b 91 5155100077f7     # TP-RA
    62113290400000         # TP-SCTS
    62113290405000         # TP-DT
    00                     # TP-ST: received
";

const STAMP: [u8; 7] = [0x62, 0x11, 0x32, 0x90, 0x40, 0, 0];
const GOLDEN: [&str; 5] = [DELIVER, DELIVER_PORTED, DELIVER_PART, SUBMIT, STATUS_REPORT];

#[test]
fn golden_messages_are_read_and_written() {
    let expected = [
        pdu(Some("+447785016005"), deliver("+447711223344", &[], text("hellohello"))),
        pdu(None, deliver("Ringback", &[5, 4, 0x1f, 0x90, 0x1f, 0x90], text("RB"))),
        pdu(None, deliver("70707", &[0, 3, 42, 2, 1], Content::Octets(b"RB".to_vec()))),
        pdu(None, submit(Content::Octets(vec![0x11, 0xff, 0, 0x80]))),
        pdu(
            None,
            Tpdu::StatusReport(StatusReport {
                reference: 42,
                recipient: address("+15550100777"),
                stamp: STAMP,
                discharge: [0x62, 0x11, 0x32, 0x90, 0x40, 0x50, 0],
                status: 0,
            }),
        ),
    ];
    for (golden, expected) in GOLDEN.into_iter().zip(expected) {
        assert_eq!(Pdu::decode(&octets(golden)), Ok(expected.clone()), "{golden}");
        let (written, length) = expected.encode().unwrap();
        assert_eq!(written, octets(golden), "{golden}");
        assert_eq!(length, written.len() - 1 - usize::from(written[0]));
        assert_eq!(Pdu::from_line(&hex(&written)), Ok(expected));
    }
}

#[test]
fn a_part_is_told_from_a_message_with_ports() {
    let is_part = |golden| match Pdu::decode(&octets(golden)).unwrap().tpdu {
        Tpdu::Deliver(deliver) => deliver.user_data.is_part(),
        Tpdu::Submit(_) | Tpdu::StatusReport(_) => panic!("not a delivery"),
    };
    assert!(is_part(DELIVER_PART));
    assert!(!is_part(DELIVER_PORTED));
    assert!(!is_part(DELIVER));
}

#[test]
fn a_status_report_is_an_outcome_only_in_the_end() {
    let outcome = |status| {
        let recipient = address("+1");
        StatusReport { reference: 0, recipient, stamp: STAMP, discharge: STAMP, status }.outcome()
    };
    assert_eq!(outcome(0x00), Outcome::Delivered);
    for open in [0x01, 0x02, 0x1f, 0x20, 0x30, 0x3f, 0x80, 0xff] {
        assert_eq!(outcome(open), Outcome::Open, "{open:#x}");
    }
    for gone in [0x40, 0x46, 0x5f, 0x60, 0x7f] {
        assert_eq!(outcome(gone), Outcome::Undelivered, "{gone:#x}");
    }
}

#[test]
fn a_validity_is_as_long_as_wanted_at_most_but_for_five_minutes() {
    let minutes = |minutes: u64| Validity::within(Duration::from_secs(60 * minutes)).0;
    assert_eq!([0, 1, 5, 9, 10, 720].map(minutes), [0, 0, 0, 0, 1, 143]);
    assert_eq!([749, 750, 1440, 2879, 2880].map(minutes), [143, 144, 167, 167, 168]);
    assert_eq!([43_200, 50_400, 635_040, u64::MAX / 60].map(minutes), [196, 197, 255, 255]);
    for octet in 0..=u8::MAX {
        assert_eq!(Validity::within(Validity(octet).duration()), Validity(octet));
    }
}

#[test]
fn what_does_not_fit_one_message_is_not_written() {
    let long = [
        (text(&"a".repeat(160)), Ok(())),
        (text(&"a".repeat(161)), Err(Unfit::Length)),
        (text(&"€".repeat(81)), Err(Unfit::Length)),
        (text("ç"), Err(Unfit::Character)),
        (Content::Octets(vec![0; 140]), Ok(())),
        (Content::Octets(vec![0; 141]), Err(Unfit::Length)),
        (Content::Octets(vec![0; 300]), Err(Unfit::Length)),
        (Content::Wide("ç".repeat(70)), Ok(())),
        (Content::Wide("ç".repeat(71)), Err(Unfit::Length)),
    ];
    for (content, expected) in long {
        let written = pdu(None, submit(content.clone())).encode();
        assert_eq!(written.map(|_| ()), expected, "{content:?}");
    }
    let ported = |content| pdu(None, deliver("+1", &[5, 4, 0, 1, 0, 2], content)).encode();
    assert!(ported(Content::Octets(vec![0; 133])).is_ok());
    assert_eq!(ported(Content::Octets(vec![0; 134])), Err(Unfit::Length));
    assert!(ported(text(&"a".repeat(152))).is_ok());
    assert_eq!(ported(text(&"a".repeat(153))), Err(Unfit::Length));
    assert_eq!(pdu(None, deliver("+1", &[5, 4, 0], text("a"))).encode(), Err(Unfit::Header));
}

#[test]
fn lengths_beyond_the_specification_are_refused() {
    let mut long = octets(DELIVER);
    long[0] = 12;
    assert_eq!(Pdu::decode(&long), Err(Malformed::Long("the center's address")));
    let mut long = octets(DELIVER);
    long[9] = 21;
    assert_eq!(Pdu::decode(&long), Err(Malformed::Long("the originating address")));
    let mut long = [octets(DELIVER), vec![0; 200]].concat();
    long[26] = 161;
    assert_eq!(Pdu::decode(&long), Err(Malformed::Long("the user data")));
    let mut header = octets(DELIVER_PART);
    header[19] = 4;
    assert_eq!(Pdu::decode(&header), Err(Malformed::Header));
    assert_eq!(Pdu::from_line(&"0".repeat(400)), Err(Malformed::Long("the PDU")));
    for line in ["0", "0g", "+1", "é0", " 00"] {
        assert_eq!(Pdu::from_line(line), Err(Malformed::Digits), "{line}");
    }
}

#[test]
fn no_beginning_of_a_message_is_taken_for_one() {
    for golden in GOLDEN {
        let whole = octets(golden);
        for end in 0..whole.len() {
            let read = Pdu::decode(&whole[..end]);
            assert!(matches!(read, Err(Malformed::Truncated(_))), "{end} of {golden}: {read:?}");
        }
        let more = [whole.as_slice(), &[0xff; 3]].concat();
        assert_eq!(Pdu::decode(&more), Pdu::decode(&whole), "what stands behind is passed over");
    }
}

#[test]
fn noise_never_panics_and_what_is_read_can_be_written_and_read_again() {
    let mut chance = Chance(0x2026_1123);
    let mut read = 0;
    for round in 0..60_000 {
        let mut octets = octets(GOLDEN[round % GOLDEN.len()]);
        for _ in 0..=chance.below(4) {
            let at = chance.below(octets.len());
            octets[at] = if chance.below(2) == 0 {
                chance.octet()
            } else {
                octets[at] ^ 1 << chance.below(8)
            };
        }
        octets.truncate(octets.len() - chance.below(3) * chance.below(4));
        let Ok(pdu) = Pdu::decode(&octets) else { continue };
        read += 1;
        let Ok((written, _)) = pdu.encode() else { continue };
        assert_eq!(Pdu::decode(&written), Ok(pdu), "round {round}: {}", hex(&octets));
    }
    assert!(15_000 < read, "only {read} were read: the test is nearly void");
}

#[test]
fn what_the_fuzzer_knows_is_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tpdu");
    let mut read = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let octets = fs::read(entry.unwrap().path()).unwrap();
        let Ok(pdu) = Pdu::decode(&octets) else { continue };
        read += 1;
        let Ok((written, _)) = pdu.encode() else { continue };
        assert_eq!(Pdu::decode(&written), Ok(pdu), "{}", hex(&octets));
    }
    assert!(5 <= read, "only {read} were read");
}

#[test]
fn an_independent_codec_reads_what_we_submit() {
    let mut chance = Chance(23_040);
    for round in 0..3_000 {
        let content = chance.content();
        let number = chance.number();
        let submitted = Submit {
            destination: address(&number),
            validity: Some(Validity(chance.octet())),
            report: chance.below(2) == 0,
            ..as_submit(submit(content.clone()))
        };
        let (written, length) = pdu(None, Tpdu::Submit(submitted.clone())).encode().unwrap();
        let theirs = &written[written.len() - length..];
        let theirs = tpdu::decode_sms_submit_tpdu(&mut Cursor::new(theirs)).unwrap();

        let destination = theirs.tp_destination_address.unwrap();
        assert_eq!((destination.ton, destination.npi), (1, 1));
        assert_eq!(format!("+{}", destination.address), number);
        let validity = submitted.validity.map(|it| tpdu::ValidityPeriod::Relative(it.0));
        assert_eq!(theirs.tp_validity_period, validity);
        assert_eq!(theirs.tp_srr, submitted.report);
        let expected = match &content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Octets(octets) => octets.clone(),
            Content::Wide(text) => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        };
        assert_eq!(theirs.tp_user_data, expected, "round {round}: {content:?}");
    }
}

#[test]
fn what_an_independent_codec_delivers_is_read() {
    let mut chance = Chance(23_038);
    for round in 0..3_000 {
        let content = chance.content();
        let ports = vec![5, 4, chance.octet(), chance.octet(), chance.octet(), chance.octet()];
        let header = if chance.below(2) == 0 { ports } else { Vec::new() };
        let number = chance.number();
        let theirs = SMSAddress { ton: 1, npi: 1, address: number[1..].to_owned() };
        let built = SmsDeliver::builder(theirs)
            .service_centre_timestamp("26112309040000")
            .udhi(!header.is_empty());
        let length = u8::try_from(header.len()).unwrap();
        let built = match (&content, header.is_empty()) {
            (Content::Text(text), true) => built.dcs(0).gsm7_text(text),
            (Content::Text(text), false) => {
                let header = UserDataHeader {
                    user_data_header_length: length,
                    user_data_header_value: header.clone(),
                };
                built.dcs(0).gsm7_text_with_header(&header, text)
            }
            (Content::Octets(content), true) => {
                let length = u8::try_from(content.len()).unwrap();
                built.dcs(0xf5).user_data(content.clone()).user_data_length(length)
            }
            (Content::Octets(content), false) => {
                let data = [&[length], header.as_slice(), content].concat();
                let length = u8::try_from(data.len()).unwrap();
                built.dcs(0x04).user_data(data).user_data_length(length)
            }
            (Content::Wide(text), _) => built.dcs(0x08).udhi(false).ucs2_text(text),
        };
        let written = built.build().unwrap().encode().unwrap();
        let header = if matches!(content, Content::Wide(_)) { Vec::new() } else { header };
        let expected = deliver(&number, &header, content);
        assert_eq!(Tpdu::decode(&written), Ok(expected), "round {round}: {}", hex(&written));
    }
}

#[test]
fn an_independent_codecs_status_report_is_read() {
    for status in 0..=u8::MAX {
        let recipient = SMSAddress { ton: 1, npi: 1, address: "15550100777".to_owned() };
        let written = SmsStatusReport::builder(recipient)
            .mr(status.wrapping_mul(7))
            .service_centre_timestamp("26112309040000")
            .discharge_time("26112309040500")
            .status(status)
            .build()
            .encode()
            .unwrap();
        let Ok(Tpdu::StatusReport(read)) = Tpdu::decode(&written) else { panic!("not read") };
        assert_eq!((read.reference, read.status), (status.wrapping_mul(7), status));
        assert_eq!(read.recipient.to_string(), "+15550100777");
    }
}

#[test]
fn every_coding_is_what_an_independent_codec_says() {
    for coding in 0..=u8::MAX {
        let mut written = octets(DELIVER);
        written[18] = coding;
        written[26] = 8;
        let Tpdu::Deliver(read) = (match Pdu::decode(&written) {
            Ok(pdu) => pdu.tpdu,
            Err(malformed) => {
                assert_eq!(malformed, Malformed::Compressed, "{coding:#x}");
                assert_eq!(tpdu::user_data_coding(coding), UserDataCoding::Compressed);
                continue;
            }
        }) else {
            panic!("not a delivery")
        };
        let ours = match read.user_data.content {
            Content::Text(_) => UserDataCoding::Gsm7Bit,
            Content::Octets(_) => UserDataCoding::EightBit,
            Content::Wide(_) => UserDataCoding::Ucs2,
        };
        assert_eq!(ours, tpdu::user_data_coding(coding), "{coding:#x}");
    }
}

#[test]
fn the_kind_of_an_address_survives() {
    for octet in [0x81, 0x91, 0xa1, 0xb1, 0xc9, 0xd0] {
        let mut written = octets(STATUS_REPORT);
        written[4] = octet;
        let read = Pdu::decode(&written).unwrap();
        let Tpdu::StatusReport(report) = &read.tpdu else { panic!("not a report") };
        let kind = match octet {
            0x81 => Kind::Unknown,
            0x91 => Kind::International,
            0xd0 => Kind::Name,
            other => Kind::Other(other),
        };
        assert_eq!(report.recipient.kind(), kind);
        assert_eq!(Pdu::decode(&read.encode().unwrap().0), Ok(read), "{octet:#x}");
    }
}

/// A small generator of chance, so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn octet(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 56) as u8
    }

    fn below(&mut self, bound: usize) -> usize {
        let pair = usize::from(self.octet()) << 8 | usize::from(self.octet());
        pair % bound
    }

    fn number(&mut self) -> String {
        let more = (0..self.below(15)).map(|_| char::from(b'0' + self.octet() % 10));
        "+1".chars().chain(more.collect::<Vec<_>>()).collect()
    }

    fn content(&mut self) -> Content {
        const CHARACTERS: &str = "RB-*0aZ@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ ¤¡ÄÖÑÜ§¿äöñüà^{}\\[~]|€";
        let characters: Vec<char> = CHARACTERS.chars().collect();
        let mut text = |most| -> String {
            (0..self.below(most)).map(|_| characters[self.below(characters.len())]).collect()
        };
        match text(3).chars().count() {
            0 => Content::Text(text(76)),
            1 => Content::Wide(text(70)),
            _ => Content::Octets((0..self.below(134)).map(|_| self.octet()).collect()),
        }
    }
}

fn pdu(center: Option<&str>, tpdu: Tpdu) -> Pdu {
    Pdu { center: center.map(address), tpdu }
}

fn deliver(source: &str, header: &[u8], content: Content) -> Tpdu {
    let user_data = UserData { header: header.to_vec(), content };
    Tpdu::Deliver(Deliver { source: address(source), protocol: 0, stamp: STAMP, user_data })
}

fn submit(content: Content) -> Tpdu {
    Tpdu::Submit(Submit {
        reference: 0,
        destination: address("+15550100777"),
        protocol: 0,
        validity: Some(Validity(0)),
        report: true,
        user_data: UserData::new(content),
    })
}

fn as_submit(tpdu: Tpdu) -> Submit {
    let Tpdu::Submit(submit) = tpdu else { panic!("not a submission") };
    submit
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn text(text: &str) -> Content {
    Content::Text(text.to_owned())
}

/// The octets of a commented frame.
fn octets(frame: &str) -> Vec<u8> {
    let digits: String = frame
        .lines()
        .filter_map(|it| it.split('#').next())
        .flat_map(|it| it.split_whitespace())
        .collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(octet).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut all, it| {
        write!(all, "{it:02x}").unwrap();
        all
    })
}
