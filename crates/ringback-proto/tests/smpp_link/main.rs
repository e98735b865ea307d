//! Stories of an account with a message center, told in virtual time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::time::Duration;

use ringback_proto::limits::{SMPP_UNANSWERED, SMPP_UNBIND, SMPP_UNBOUND};
use ringback_proto::smpp::link::{Command, Event, Failure, HandedId, SubmissionId};
use ringback_proto::smpp::pdu::{Body, Message, Pdu, Role};
use ringback_proto::smpp::receipt::State;
use ringback_proto::smpp::status::Status;
use ringback_proto::smpp::text::{Address, Text};
use ringback_proto::smpp::wire::Lost;

use world::{SECOND, World, contents, failed, handed, submitted, unbound};

#[test]
fn a_link_connects_binds_and_submits() {
    let mut world = World::new();
    world.link.handle_timeout(world.now);
    assert_eq!(world.commands(), [Command::Connect { host: 0 }]);

    world.link.handle_event(Event::Connected, world.now);
    let [Pdu { sequence: 1, body: Body::Bind(bind), .. }] = &world.sent()[..] else {
        panic!("not a bind")
    };
    assert_eq!((bind.role, bind.system_id.as_str()), (Role::Transceiver, "public"));
    world.submit(1);
    assert_eq!(world.sent(), [], "nothing is submitted before the bind is accepted");

    world.answer(1, Status::OK, Body::BindResp(Role::Transceiver, Text::default()));
    assert_eq!(world.commands(), [Command::Bound]);
    let [Pdu { sequence, body: Body::SubmitSm(message), .. }] = &world.sent()[..] else {
        panic!("not a submission")
    };
    assert_eq!(message.destination.digits.as_str(), "15550100777");
    assert_eq!(message.validity_period.as_str(), "000000000100000R");
    assert_eq!((message.esm_class, message.registered_delivery), (0, 1));
    world.accept(*sequence);
    assert_eq!(world.commands(), [submitted(1)]);
}

#[test]
fn the_window_is_never_exceeded_and_each_answer_makes_room() {
    let mut world = World::bound();
    for id in 1..=12 {
        world.submit(id);
    }
    let first = world.sent();
    assert_eq!(first.len(), 10);
    world.accept(first[0].sequence);
    world.accept(first[1].sequence);
    world.pass(Duration::from_millis(10));
    assert_eq!(world.sent().len(), 2);
}

#[test]
fn a_throttled_submission_pauses_the_link_and_goes_again_in_order() {
    let mut world = World::bound();
    for id in 1..=4 {
        world.submit(id);
    }
    let sent = world.sent();
    for pdu in &sent {
        world.refuse(pdu.sequence, Status::THROTTLED);
    }
    assert_eq!((world.commands(), world.sent()), (vec![], vec![]));
    assert_eq!(world.link.poll_timeout(), Some(world.now + SECOND));
    let told = (world.link.per_second(), world.link.last_refusal());
    assert_eq!(told, ((500, 1000), Some(Status::THROTTLED)));

    world.pass(SECOND);
    let again = world.sent();
    assert_eq!(contents(&again), [b"1", b"2", b"3", b"4"]);
    world.refuse(again[0].sequence, Status::THROTTLED);
    assert_eq!(world.link.poll_timeout(), Some(world.now + 2 * SECOND), "the pause doubles");
}

#[test]
fn a_full_queue_is_not_tried_again() {
    let mut world = World::bound();
    world.submit(1);
    let sequence = world.sent()[0].sequence;
    world.refuse(sequence, Status::QUEUE_FULL);
    assert_eq!(world.commands(), [failed(1, Status::QUEUE_FULL)]);
    world.pass(60 * SECOND);
    assert!(!world.sent().iter().any(|it| matches!(it.body, Body::SubmitSm(_))));
}

#[test]
fn a_temporary_failure_is_tried_twice_more() {
    for status in [Status::SYSTEM_ERROR, Status::SUBMIT_FAILED, Status::RECEIVER_TEMPORARY] {
        let mut world = World::bound();
        world.submit(1);
        for _ in 0..2 {
            let sequence = world.sent()[0].sequence;
            world.refuse(sequence, status);
            assert_eq!(world.commands(), []);
            world.pass(2 * SECOND);
        }
        let sequence = world.sent()[0].sequence;
        world.refuse(sequence, status);
        assert_eq!(world.commands(), [failed(1, status)]);
    }
}

#[test]
fn a_permanent_refusal_fails_at_once() {
    for status in [Status::INVALID_DESTINATION, Status::INVALID_MESSAGE_LENGTH, Status(0x65)] {
        let mut world = World::bound();
        world.submit(1);
        let sequence = world.sent()[0].sequence;
        world.refuse(sequence, status);
        assert_eq!(world.commands(), [failed(1, status)]);
    }
}

#[test]
fn a_submission_without_an_answer_is_unknown_and_never_sent_again() {
    let mut world = World::bound();
    world.submit(1);
    let sequence = world.sent()[0].sequence;
    world.pass(10 * SECOND);
    assert_eq!(world.commands(), [Command::Unknown(SubmissionId(1))]);

    world.accept(sequence);
    assert_eq!(world.commands(), [], "a late answer changes nothing");
    world.pass(SECOND);
    assert_eq!(world.sent(), []);
}

#[test]
fn what_was_in_flight_when_the_connection_broke_is_unknown_and_what_waited_goes_later() {
    let mut world = World::bound();
    for id in 1..=11 {
        world.submit(id);
    }
    assert_eq!(world.sent().len(), 10);
    world.link.handle_event(Event::Disconnected, world.now);
    let unknown: Vec<Command> = (1..=10).map(|id| Command::Unknown(SubmissionId(id))).collect();
    assert_eq!(world.commands(), unknown);

    world.pass(SECOND);
    assert_eq!(world.commands(), [Command::Connect { host: 0 }]);
    world.bind();
    assert_eq!(contents(&world.sent()), [b"11"]);
}

#[test]
fn a_submission_that_waits_too_long_expires() {
    let mut world = World::new();
    world.submit_for(1, 2 * SECOND);
    world.pass(2 * SECOND);
    assert!(world.commands().contains(&Command::Failed(SubmissionId(1), Failure::Expired)));
}

#[test]
fn a_submission_waits_five_seconds_for_a_bind_and_no_longer() {
    let mut world = World::bound();
    world.link.handle_event(Event::Disconnected, world.now);
    world.pass(60 * SECOND);
    world.commands();
    world.submit(1);
    world.pass(SMPP_UNBOUND - Duration::from_nanos(1));
    assert!(!world.commands().contains(&unbound(1)));
    world.pass(Duration::from_nanos(1));
    assert!(world.commands().contains(&unbound(1)));
}

#[test]
fn nobody_waits_for_an_account_that_is_turned_away() {
    let mut world = World::new();
    world.submit(1);
    world.link.handle_timeout(world.now);
    world.turn_away(Status::ALREADY_BOUND);
    let turned_away = Command::Disconnect(Lost::Refused(Status::ALREADY_BOUND));
    assert_eq!(world.commands(), [Command::Connect { host: 0 }, turned_away, unbound(1)]);
    world.submit(2);
    assert_eq!(world.commands(), [unbound(2)]);

    // The next bind decides anew.
    world.pass(60 * SECOND);
    world.submit(3);
    assert_eq!(world.commands(), [Command::Connect { host: 0 }, unbound(3)]);
    world.bind();
    world.submit(4);
    assert_eq!(contents(&world.sent()), [b"4"]);
}

#[test]
fn another_host_has_its_turn_at_once_and_the_first_after_its_rest() {
    let mut world = World::with_hosts(2);
    world.link.handle_timeout(world.now);
    world.link.handle_event(Event::Disconnected, world.now);
    world.link.handle_timeout(world.now);
    let commands = world.commands();
    assert_eq!(commands, [Command::Connect { host: 0 }, Command::Connect { host: 1 }]);
    world.link.handle_event(Event::Disconnected, world.now);
    world.link.handle_timeout(world.now);
    assert_eq!(world.commands(), [], "neither is hurried");
    world.pass(SECOND);
    let Some(Command::Connect { .. }) = world.commands().first() else { panic!("given up") };
}

#[test]
fn an_account_is_turned_away_only_when_every_host_refuses_it() {
    let mut world = World::with_hosts(2);
    world.link.handle_timeout(world.now);
    world.turn_away(Status::INVALID_PASSWORD);
    world.submit(1);
    world.link.handle_timeout(world.now);
    assert_eq!(world.commands().last(), Some(&Command::Connect { host: 1 }));
    world.turn_away(Status::INVALID_PASSWORD);
    assert_eq!(world.commands().last(), Some(&unbound(1)));
    world.pass(60 * SECOND - Duration::from_nanos(1));
    assert_eq!(world.commands(), []);
}

#[test]
fn a_host_with_trouble_is_left_for_another_once_it_has_answered_everything() {
    let mut world = World::with_hosts(2);
    world.link.handle_timeout(world.now);
    world.bind();
    world.submit(1);
    world.submit(2);
    let sent = world.sent();
    world.refuse(sent[0].sequence, Status::SYSTEM_ERROR);
    world.submit(3);
    assert_eq!((world.commands(), world.sent()), (vec![], vec![]), "2 is in flight");
    world.accept(sent[1].sequence);
    assert_eq!(world.commands(), [submitted(2), Command::Disconnect(Lost::Troubled)]);
    let [Pdu { body: Body::Unbind, .. }] = world.sent()[..] else { panic!("not an unbind") };

    world.link.handle_timeout(world.now);
    assert_eq!(world.commands(), [Command::Connect { host: 1 }]);
    world.bind();
    assert_eq!(contents(&world.sent()), [b"3"]);
    world.pass(SECOND);
    assert_eq!(contents(&world.sent()), [b"1"]);
}

#[test]
fn what_nobody_wants_any_more_is_canceled_over_a_bind_and_only_then() {
    let mut world = World::bound();
    let cancel = || Event::Cancel {
        message_id: Text::new("4f").unwrap(),
        destination: Address::parse("+15550100777").unwrap(),
    };
    world.link.handle_event(cancel(), world.now);
    let [Pdu { body: Body::CancelSm(sent), sequence, .. }] = &world.sent()[..] else {
        panic!("not canceled")
    };
    assert_eq!((sent.message_id.as_str(), sent.source.digits.as_str()), ("4f", "70707"));
    world.answer(*sequence, Status::CANCEL_FAILED, Body::CancelSmResp);
    assert_eq!(world.commands(), []);

    world.link.handle_event(Event::Disconnected, world.now);
    world.link.handle_event(cancel(), world.now);
    world.pass(SECOND);
    world.bind();
    assert_eq!(world.sent(), []);
}

#[test]
fn a_message_without_a_name_is_not_canceled_since_that_would_cancel_all_to_its_number() {
    let mut world = World::bound();
    let (message_id, destination) = (Text::default(), Address::parse("+15550100777").unwrap());
    world.link.handle_event(Event::Cancel { message_id, destination }, world.now);
    assert_eq!(world.sent(), []);
}

#[test]
fn a_part_of_a_longer_message_is_acknowledged_and_not_handed_on() {
    let mut world = World::bound();
    let content = b"\x05\x00\x03\x07\x02\x01RB".to_vec();
    let message = Message { esm_class: 0x40, content, ..Message::default() };
    world.say(Pdu::request(5, Body::DeliverSm(message)));
    assert_eq!(world.sent(), [Pdu::request(5, Body::DeliverSmResp)]);
    assert_eq!(world.commands(), []);
}

#[test]
fn an_unwanted_submission_is_forgotten_before_it_is_sent() {
    let mut world = World::new();
    world.submit(1);
    world.submit(2);
    world.link.retain(|id| id == SubmissionId(2));
    world.link.handle_timeout(world.now);
    world.commands();
    world.bind();
    assert_eq!(contents(&world.sent()), [b"2"]);
}

#[test]
fn an_idle_link_asks_and_a_silent_center_is_given_up() {
    let mut world = World::bound();
    world.pass(20 * SECOND);
    let [Pdu { sequence, body: Body::EnquireLink, .. }] = world.sent()[..] else {
        panic!("not an enquire_link")
    };
    world.answer(sequence, Status::OK, Body::EnquireLinkResp);
    world.pass(20 * SECOND);
    assert_eq!(world.sent().len(), 1);
    world.pass(10 * SECOND);
    assert_eq!(world.commands(), [Command::Disconnect(Lost::Silent)]);
}

#[test]
fn a_center_that_asks_is_answered() {
    let mut world = World::bound();
    world.say(Pdu::request(98, Body::AlertNotification));
    world.say(Pdu::request(99, Body::EnquireLink));
    assert_eq!(world.sent(), [Pdu::request(99, Body::EnquireLinkResp)]);
}

#[test]
fn a_refused_bind_rests_for_a_minute() {
    let mut world = World::new();
    world.link.handle_timeout(world.now);
    world.link.handle_event(Event::Connected, world.now);
    world.answer(1, Status::INVALID_PASSWORD, Body::BindResp(Role::Transceiver, Text::default()));
    let refused = Command::Disconnect(Lost::Refused(Status::INVALID_PASSWORD));
    assert_eq!(world.commands(), [Command::Connect { host: 0 }, refused]);
    world.pass(60 * SECOND - Duration::from_nanos(1));
    assert_eq!(world.commands(), []);
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.commands(), [Command::Connect { host: 0 }]);
}

#[test]
fn rests_double_up_to_a_minute_and_are_spread() {
    let mut world = World::new();
    for longest in [1, 2, 4, 8, 16, 32, 60, 60] {
        world.link.handle_timeout(world.now);
        assert_eq!(world.commands(), [Command::Connect { host: 0 }]);
        world.link.handle_event(Event::Disconnected, world.now);
        let rest = world.link.poll_timeout().unwrap() - world.now;
        assert!(SECOND * longest / 2 <= rest && rest < SECOND * longest, "{rest:?} of {longest}");
        world.now += rest;
    }
}

#[test]
fn a_bad_pdu_costs_one_nack_and_not_the_bind() {
    let mut world = World::bound();
    let mut octets = vec![0, 0, 0, 17, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7, b'x'];
    octets.extend([0, 0, 0, 16, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 8]);
    world.link.handle_input(&octets, world.now);
    let nack = Body::GenericNack;
    let nack = Pdu { sequence: 7, status: Status::INVALID_COMMAND_LENGTH, body: nack };
    assert_eq!(world.sent(), [nack, Pdu::request(8, Body::EnquireLinkResp)]);
    assert_eq!(world.commands(), []);
}

#[test]
fn a_response_that_makes_no_sense_is_not_answered() {
    let mut world = World::bound();
    let response = [0, 0, 0, 17, 0x80, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7, b'x'];
    world.link.handle_input(&response, world.now);
    assert_eq!((world.sent(), world.commands()), (vec![], vec![]));
}

#[test]
fn a_lost_boundary_costs_the_connection() {
    let mut world = World::bound();
    world.link.handle_input(b"HTTP/1.1 400\r\n", world.now);
    assert_eq!(world.commands(), [Command::Disconnect(Lost::Foreign(*b"HTTP"))]);
}

#[test]
fn a_message_is_acknowledged_only_when_it_has_been_taken() {
    let mut world = World::bound();
    world.deliver(5, b"RB1");
    world.deliver(6, b"RB2");
    let (one, two) = (HandedId(1), HandedId(2));
    let handed: Vec<HandedId> = world.commands().iter().map(handed).collect();
    assert_eq!(handed, [one, two]);
    assert_eq!(world.sent(), []);

    world.link.handle_event(Event::Taken(two), world.now);
    assert_eq!(world.sent(), [Pdu::request(6, Body::DeliverSmResp)]);
    world.link.handle_event(Event::Declined(one), world.now);
    let declined = Status::RECEIVER_TEMPORARY;
    let declined = Pdu { sequence: 5, status: declined, body: Body::DeliverSmResp };
    assert_eq!(world.sent(), [declined]);
}

#[test]
fn a_message_handed_out_before_the_connection_broke_is_not_acknowledged_on_the_next() {
    let mut world = World::bound();
    world.deliver(5, b"RB");
    let handed = handed(&world.commands()[0]);
    world.link.handle_event(Event::Disconnected, world.now);
    world.pass(SECOND);
    world.bind();
    world.link.handle_event(Event::Taken(handed), world.now);
    assert_eq!(world.sent(), []);
}

#[test]
fn more_messages_than_anybody_takes_stay_with_the_center() {
    let mut world = World::bound();
    for sequence in 0..=u32::try_from(SMPP_UNANSWERED).unwrap() {
        world.deliver(sequence + 1, b"RB");
    }
    assert_eq!(world.commands().len(), SMPP_UNANSWERED);
    let [Pdu { status: Status::RECEIVER_TEMPORARY, .. }] = world.sent()[..] else {
        panic!("not declined")
    };
}

#[test]
fn a_receipt_is_told_and_acknowledged_at_once() {
    let mut world = World::bound();
    let content = b"id:4f sub:001 dlvrd:001 stat:DELIVRD err:000 text:".to_vec();
    let message = Message { esm_class: 4, content, ..Message::default() };
    world.say(Pdu::request(5, Body::DeliverSm(message)));
    let [Command::Receipt(receipt)] = &world.commands()[..] else { panic!("no receipt") };
    assert_eq!((receipt.message_id.as_str(), receipt.state), ("4f", State::Delivered));
    assert_eq!(world.sent(), [Pdu::request(5, Body::DeliverSmResp)]);
}

#[test]
fn a_message_may_come_as_data_sm_too() {
    let mut world = World::bound();
    let message = Message { content: b"RB".to_vec(), ..Message::default() };
    world.say(Pdu::request(5, Body::DataSm(message)));
    let handed = handed(&world.commands()[0]);
    world.link.handle_event(Event::Taken(handed), world.now);
    assert_eq!(world.sent(), [Pdu::request(5, Body::DataSmResp(Text::default()))]);
}

#[test]
fn a_shut_down_link_unbinds_and_ends() {
    let mut world = World::bound();
    world.link.handle_event(Event::ShutDown, world.now);
    let [Pdu { sequence, body: Body::Unbind, .. }] = world.sent()[..] else {
        panic!("not an unbind")
    };
    world.submit(1);
    assert_eq!(world.commands(), [Command::Failed(SubmissionId(1), Failure::ShutDown)]);
    world.answer(sequence, Status::OK, Body::UnbindResp);
    assert_eq!(world.commands(), [Command::Disconnect(Lost::ShutDown)]);
    assert!(world.link.is_ended());
}

#[test]
fn an_unbind_without_an_answer_ends_all_the_same() {
    let mut world = World::bound();
    world.link.handle_event(Event::ShutDown, world.now);
    world.pass(SMPP_UNBIND);
    assert!(world.link.is_ended());
}

#[test]
fn a_center_that_unbinds_is_answered_and_left() {
    let mut world = World::bound();
    world.say(Pdu::request(5, Body::Unbind));
    assert_eq!(world.sent(), [Pdu::request(5, Body::UnbindResp)]);
    assert_eq!(world.commands(), [Command::Disconnect(Lost::Unbound)]);
    assert!(!world.link.is_ended());
}
