//! The lease on a server's database: one broker at a time, and one that lost it knows.

use std::time::Duration;

use broker::store::first_start::DirState;
use broker::store::{OpenError, Store, StoreError, StoreId, keeper};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use supervision::{Intensity, Registry, Root, Strategy, Supervisor};
use tokio::time::timeout;

use super::{Backend, Fixture, NOW, Place, event, fixture};

/// Longer than any of this takes; reached only when something is stuck.
const DEADLINE: Duration = Duration::from_secs(30);

/// What `pg_locks` shows of the lease.
const HELD: &str = "SELECT count(*) AS number FROM pg_locks JOIN pg_database ON pg_database.oid = database \
                    WHERE datname = current_database() AND locktype = 'advisory' AND granted";

/// The advisory lock that is the lease. Brokers of all versions have to agree on it.
const LEASE_KEY: i64 = 0x636c_6d65_7368_0001;

/// Lets an event's row release the lease inside the very session that writes it.
const RELEASE_ON_EVENT: &str = "CREATE FUNCTION release() RETURNS trigger LANGUAGE plpgsql AS $$ \
                                BEGIN PERFORM pg_advisory_unlock_all(); RETURN NEW; END $$; \
                                CREATE TRIGGER release BEFORE INSERT ON service_event \
                                FOR EACH ROW EXECUTE FUNCTION release()";

impl Place {
    /// A session of another program, in which this was said. It ends with what is returned.
    async fn session(&self, sql: &str) -> AsyncPgConnection {
        let url = self.database.as_ref().unwrap().url();
        let mut session = AsyncPgConnection::establish(url).await.unwrap();
        session.batch_execute(sql).await.unwrap();
        session
    }
}

impl Fixture {
    /// A keeper, who asks the store for a sign of life at once.
    fn keeper(&self) -> Root {
        let tree = Supervisor::new(Strategy::OneForOne, Intensity { max_restarts: 0, within: Duration::from_secs(1) });
        tree.child(keeper::child(&self.store)).start_root("test", &Registry::new(), None)
    }

    /// Another broker on another machine: a directory of its own, the same database.
    async fn second_broker(&self) -> Result<Store, OpenError> {
        let place = Place::new(Backend::Sqlite);
        Store::open(&place.lock, self.place.url().as_ref()).await
    }

    async fn until_the_lease_is_free(&self) {
        while self.place.number(HELD) != 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[actix_rt::test]
async fn h48_a_database_in_use_is_refused_to_a_second_broker() {
    let fixture = fixture(Backend::Postgres).await;
    assert_eq!(fixture.place.number(HELD), 1);
    let error = fixture.second_broker().await.expect_err("two brokers on one database");
    let OpenError::InUse { holder, .. } = &error else { panic!("{error}") };
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    // The first one did not notice.
    assert_eq!(fixture.store.next_epoch().await.unwrap(), 1);

    fixture.store.clone().close().await.unwrap();
    fixture.second_broker().await.unwrap();
}

#[actix_rt::test]
async fn h48_a_first_start_beside_another_is_refused_too() {
    let place = Place::new(Backend::Postgres);
    let other = place.session(&format!("SELECT pg_advisory_lock({LEASE_KEY})")).await;
    assert_eq!(place.inspect().await.unwrap(), DirState::Empty);
    let error = place.create(None).await.expect_err("two first starts on one database");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert_eq!(place.inspect().await.unwrap(), DirState::Empty);
    // The one that waited finds what the other has made meanwhile.
    drop(other);
    place.create(None).await.unwrap();
    assert!(matches!(place.create(None).await, Err(OpenError::Exists(_))));
}

#[actix_rt::test]
async fn a_database_that_another_program_locks_is_refused_in_bounded_time() {
    let place = Place::new(Backend::Postgres);
    place.create(None).await.unwrap();
    let other = place.session("BEGIN; LOCK TABLE meta IN ACCESS EXCLUSIVE MODE").await;
    let opened = timeout(DEADLINE, place.open()).await.expect("it waits without end");
    let OpenError::Database { step, source, .. } = opened.expect_err("it read a locked table") else { panic!() };
    assert_eq!(step, "read");
    assert!(source.to_string().contains("lock timeout"), "{source}");
    drop(other);
    place.open().await.unwrap();
}

#[actix_rt::test]
async fn the_lease_is_taken_again_after_a_lost_session() {
    let fixture = fixture(Backend::Postgres).await;
    let store = &fixture.store;
    assert_eq!(store.next_epoch().await.unwrap(), 1);
    for at in 0..5 {
        assert!(fixture.place.database.as_ref().unwrap().end_sessions() > 0);
        let answered = async {
            // The first who asks may be told of the loss; nobody has to do anything about it.
            while store.append_event(event(&fixture.first, "s", at)).await.is_err() {}
            assert_eq!(fixture.place.number(HELD), 1, "writing without the lease");
            while store.list_meshes().await.is_err() {}
        };
        timeout(DEADLINE, answered).await.unwrap();
    }
    assert_eq!(store.next_epoch().await.unwrap(), 2);
    assert!(timeout(Duration::ZERO, store.fenced()).await.is_err(), "nobody else was here");
}

#[actix_rt::test]
async fn a_broker_that_lost_its_lease_to_another_is_fenced() {
    let fixture = fixture(Backend::Postgres).await;
    let store = &fixture.store;
    assert_eq!(store.next_epoch().await.unwrap(), 1);

    // Its session goes, and a second broker lives before it writes again.
    assert!(fixture.place.database.as_ref().unwrap().end_sessions() > 0);
    fixture.until_the_lease_is_free().await;
    let second = fixture.second_broker().await.unwrap();
    assert_eq!(second.next_epoch().await.unwrap(), 2);
    let events = "SELECT count(*) AS number FROM service_event";

    let fenced = async {
        loop {
            match store.append_event(event(&fixture.first, "s", 1)).await {
                Err(StoreError::Fenced { reason }) => break reason,
                Ok(()) => panic!("it wrote beside the second broker"),
                Err(_lost) => {}
            }
        }
    };
    let reason = timeout(DEADLINE, fenced).await.unwrap();
    assert!(reason.contains("epoch 2"), "{reason}");
    assert_eq!(timeout(DEADLINE, store.fenced()).await.unwrap(), reason);
    assert_eq!(fixture.place.number(events), 0);
    // For good, also when the second is gone; reads are no better, since nothing it knows is sure.
    second.close().await.unwrap();
    assert!(matches!(store.next_epoch().await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.list_meshes().await, Err(StoreError::Fenced { .. })));
    assert!(matches!(store.seen_hello("k", NOW).await, Err(StoreError::Fenced { .. })));
}

#[actix_rt::test]
async fn a_database_that_was_replaced_fences_its_broker() {
    let fixture = fixture(Backend::Postgres).await;
    fixture.store.next_epoch().await.unwrap();
    // As a restored backup would: an older epoch.
    fixture.place.change("UPDATE meta SET epoch = 0");
    fixture.place.database.as_ref().unwrap().end_sessions();
    let fenced = async { while !matches!(fixture.store.next_epoch().await, Err(StoreError::Fenced { .. })) {} };
    timeout(DEADLINE, fenced).await.unwrap();
}

#[actix_rt::test]
async fn a_database_that_is_replaced_under_a_living_session_fences_its_broker() {
    let another = format!("UPDATE meta SET store_id = '{}'", StoreId::new());
    for replaced in ["UPDATE meta SET epoch = 0", &another] {
        let fixture = fixture(Backend::Postgres).await;
        fixture.store.next_epoch().await.unwrap();
        fixture.place.change(replaced);
        // Nobody writes, and no session is lost: the keeper notices.
        let root = fixture.keeper();
        let reason = timeout(DEADLINE, fixture.store.fenced()).await.expect(replaced);
        assert!(reason.contains("another broker has lived on the database"), "{reason}");
        assert!(matches!(fixture.store.next_epoch().await, Err(StoreError::Fenced { .. })));
        root.shutdown().await;
    }
}

#[actix_rt::test]
async fn a_lock_that_left_the_session_is_taken_again_while_it_is_free() {
    let fixture = fixture(Backend::Postgres).await;
    fixture.place.change(RELEASE_ON_EVENT);
    fixture.store.append_event(event(&fixture.first, "s", 1)).await.unwrap();
    assert_eq!(fixture.place.number(HELD), 0, "the session still has it");
    let root = fixture.keeper();
    let taken = async {
        while fixture.place.number(HELD) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, taken).await.unwrap();
    assert!(matches!(fixture.second_broker().await, Err(OpenError::InUse { .. })));
    assert_eq!(fixture.store.next_epoch().await.unwrap(), 1);
    root.shutdown().await;
}

#[actix_rt::test]
async fn a_lock_that_left_the_session_for_another_fences() {
    let fixture = fixture(Backend::Postgres).await;
    fixture.place.change(RELEASE_ON_EVENT);
    fixture.store.append_event(event(&fixture.first, "s", 1)).await.unwrap();
    let _second = fixture.second_broker().await.unwrap();
    let root = fixture.keeper();
    let reason = timeout(DEADLINE, fixture.store.fenced()).await.unwrap();
    assert!(reason.contains(&format!("process {}", std::process::id())), "{reason}");
    assert!(matches!(fixture.store.next_epoch().await, Err(StoreError::Fenced { .. })));
    root.shutdown().await;
}
