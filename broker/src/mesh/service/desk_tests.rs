#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use std::sync::mpsc;

fn call(answers: &mpsc::Sender<CallOutcome>) -> Call {
    let answers = answers.clone();
    Call {
        params: Bytes::from_static(b"{\"name\":\"echo\"}"),
        timeout: None,
        sink: Box::new(move |outcome| answers.send(outcome).unwrap()),
        progress: None,
        ticket: Ticket::default(),
        member: Arc::from("one"),
    }
}

fn call_of(member: &str, answers: &mpsc::Sender<CallOutcome>) -> Call {
    Call { member: Arc::from(member), ..call(answers) }
}

fn code(outcome: &CallOutcome) -> FailCode {
    match &outcome.outcome {
        ReplyOutcome::Failed { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_desk_answers_at_once() {
    let (answers, got) = mpsc::channel();
    let desk = Desk::default();
    desk.set(Phase::Closed(FailCode::NotRunning, "crashed".into()));
    desk.submit(call(&answers));
    assert_eq!(code(&got.try_recv().unwrap()), FailCode::NotRunning);
}

#[test]
fn h20_what_waits_can_be_given_up_alone() {
    let (answers, got) = mpsc::channel();
    let desk = Desk::default();
    let mine = call(&answers);
    let ticket = mine.ticket.clone();
    desk.submit(call(&answers));
    desk.submit(mine);
    ticket.cancel(&desk, "gone");
    assert_eq!(code(&got.try_recv().unwrap()), FailCode::Cancelled);
    ticket.cancel(&desk, "gone twice");
    assert_eq!(desk.waiting(), 1);
    assert!(got.try_recv().is_err(), "one answer, and the other waits on");
}

#[test]
fn what_waits_is_answered_when_the_desk_closes() {
    let (answers, got) = mpsc::channel();
    let desk = Desk::default();
    desk.submit(call(&answers));
    assert_eq!(desk.waiting(), 1);
    assert!(got.try_recv().is_err());
    desk.set(Phase::Closed(FailCode::NotFound, "undeployed".into()));
    assert_eq!(code(&got.try_recv().unwrap()), FailCode::NotFound);
}

#[test]
fn h04_nobody_waits_for_ever() {
    let (answers, got) = mpsc::channel();
    let desk = Desk::default();
    desk.submit(call(&answers));
    desk.sweep(Instant::now());
    assert_eq!(desk.waiting(), 1, "not before its time");
    desk.sweep(Instant::now() + MAX_WAIT);
    assert_eq!(code(&got.try_recv().unwrap()), FailCode::Unreachable);
}

#[test]
fn h50_the_queue_has_a_bound_and_says_so() {
    let (answers, got) = mpsc::channel();
    let desk = Desk::default();
    for n in 0..MAX_WAITING {
        desk.submit(call_of(&(n / MAX_WAITING_OF_MEMBER).to_string(), &answers));
    }
    assert!(got.try_recv().is_err());
    desk.submit(call(&answers));
    assert_eq!(code(&got.try_recv().unwrap()), FailCode::Overloaded);
}

#[test]
fn h50_one_member_leaves_room_for_others() {
    let (answers, got) = mpsc::channel();
    let desk = Desk::default();
    for _ in 0..=MAX_WAITING_OF_MEMBER {
        desk.submit(call_of("many", &answers));
    }
    let refused = got.try_recv().unwrap();
    assert!(matches!(&refused.outcome, ReplyOutcome::Failed { code: FailCode::Overloaded, message }
        if message == "limit: 256 calls of this member wait for this service already"));
    desk.submit(call_of("one", &answers));
    assert!(got.try_recv().is_err(), "it waits");
    assert_eq!(desk.waiting(), MAX_WAITING_OF_MEMBER + 1);
}
