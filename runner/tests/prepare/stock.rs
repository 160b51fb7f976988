//! What is kept, what is cleared away, and that nothing goes that somebody runs.

use runner::prepare::{SourceSettings, Stock};

use super::stand_in::{OBLIGING, StandIn};
use super::{npx, prepare};

#[tokio::test]
async fn h46_the_cache_clears_away_the_longest_unused_and_nothing_that_runs() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await.settled(SourceSettings { cache_bytes: 0, ..SourceSettings::default() });
    let stock = Stock::of(&tools.data());
    let names = || stock.items().into_iter().map(|item| (item.package, item.in_use)).collect::<Vec<_>>();

    let running = prepare(&preparer, &npx("a"), None).await.0.unwrap();
    drop(prepare(&preparer, &npx("b"), None).await.0.unwrap());
    assert_eq!(names(), [("a".to_owned(), true), ("b".to_owned(), false)], "one runs, one was just installed");
    assert!(stock.items().iter().all(|item| item.bytes > 0 && item.last_used.is_some()), "{:?}", stock.items());

    drop(prepare(&preparer, &npx("c"), None).await.0.unwrap());
    assert_eq!(names(), [("a".to_owned(), true), ("c".to_owned(), false)], "over the limit, b went");
    let copy = running.clone();
    drop(running);
    let gone: Vec<_> = stock.trim(0).into_iter().map(|item| item.package).collect();
    assert_eq!(gone, ["c"], "a copy of what is prepared holds it as well");
    assert!(copy.visible[0].join("receipt.json").is_file());

    drop(copy);
    assert_eq!(stock.trim(0).len(), 1);
    assert_eq!(names(), []);
    let asked = tools.asked().len();
    let again = prepare(&preparer, &npx("a"), Some("1.2.3")).await.0.unwrap();
    assert_eq!((again.version.as_str(), tools.asked().len()), ("1.2.3", asked + 1), "what went is installed again");
}

#[tokio::test]
async fn the_longest_unused_goes_first() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await;
    for name in ["a", "b", "c"] {
        drop(prepare(&preparer, &npx(name), None).await.0.unwrap());
    }
    // Started again, so it is the latest.
    drop(prepare(&preparer, &npx("a"), Some("1.2.3")).await.0.unwrap());
    let stock = Stock::of(&tools.data());
    let each = stock.items()[0].bytes;
    let gone: Vec<_> = stock.trim(2 * each).into_iter().map(|item| item.package).collect();
    assert_eq!(gone, ["b"], "{:?}", stock.items());
}
