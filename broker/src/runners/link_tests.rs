#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn connected() -> Link {
    let link = Link::new("r".to_owned(), Arc::default(), crate::metrics::LinkMeter::default());
    link.connected("store".to_owned(), 1, "r-1".to_owned());
    link
}

#[tokio::test(start_paused = true)]
async fn h14_a_command_without_an_answer_is_not_waited_for_for_ever() {
    let link = connected();
    let key = ServiceKey::new("m", "s");
    assert!(matches!(link.unload(&key, "d").await, Ok(CommandReply::LinkLost)));
    assert!(link.logs(&key, 1, None).await.is_err());
    assert_eq!(link.lock().table.commands(), 0, "and takes no room any longer");
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_frees_the_place_of_its_command() {
    let link = connected();
    for _ in 0..2 * super::super::table::MAX_COMMANDS {
        let gave_up = tokio::time::timeout(Duration::ZERO, link.logs(&ServiceKey::new("m", "s"), 1, None)).await;
        assert!(gave_up.is_err(), "it was sent and waited for");
    }
    assert_eq!(link.lock().table.commands(), 0);
}
