#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use std::sync::mpsc;

fn call(answers: &mpsc::Sender<CallOutcome>) -> Call {
    let answers = answers.clone();
    Call {
        params: Bytes::from_static(b"{\"name\":\"echo\"}"),
        timeout: None,
        sink: Box::new(move |outcome| answers.send(outcome).unwrap()),
        ticket: Ticket::default(),
    }
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
    for _ in 0..MAX_WAITING {
        desk.submit(call(&answers));
    }
    assert!(got.try_recv().is_err());
    desk.submit(call(&answers));
    assert_eq!(code(&got.try_recv().unwrap()), FailCode::Overloaded);
}
