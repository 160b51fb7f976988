//! What a statement looks at: never every row of a table that grows with what people say.
//!
//! The statements are those that the store makes: they are caught on their way to the database, which is then asked
//! how it would go about them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;

use broker::store::{MeshId, Session};
use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};

use super::mail::{NEXT, delivery, ended, entry, hello, named, session, texts, write};
use super::{Backend, NOW, Place, fixture};

on_both! {
    many_old_messages_in_other_mailboxes_are_not_looked_at,
}

/// Messages that wait in other mailboxes, a hundred in each.
const OTHERS: i64 = 100_000;
/// A longer statement is a list of numbers.
const MAX_STATEMENT_CHARS: usize = 4_096;

/// What was asked of any database by anybody in this process.
static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What a plan says that looks at every row, of a table or of a mesh.
const WHOLE: [&str; 7] = [
    "SCAN message",
    "SCAN delivery",
    "SCAN session",
    "(mesh_id=?)",
    "Seq Scan on message",
    "Seq Scan on delivery",
    "Seq Scan on session",
];

struct Recorder;

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::StartQuery { query, .. } = event else { return };
        let text = query.to_string();
        let sql = text.split(" -- binds:").next().unwrap();
        if sql.len() <= MAX_STATEMENT_CHARS {
            ASKED.lock().unwrap().insert(sql.to_owned());
        }
    }
}

/// The statements so far about the tables that grow, in this backend's words, but for those that add rows.
fn asked(backend: Backend) -> Vec<String> {
    let quote = if backend == Backend::Sqlite { '`' } else { '"' };
    let about = ["message", "delivery", "session"].map(|table| format!("{quote}{table}{quote}"));
    let all = ASKED.lock().unwrap();
    let ours = all.iter().filter(|sql| !sql.starts_with("INSERT") && about.iter().any(|table| sql.contains(table)));
    ours.cloned().collect()
}

impl Place {
    /// Messages that wait in many mailboxes that nobody asks for.
    fn fill(&self, mesh: &MeshId) {
        let numbers =
            |last: i64| format!("WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {last})");
        self.change(&format!(
            "{} INSERT INTO message (seq, id, mesh_id, sender, target, priority, nonce, ciphertext, ack, created_at, \
             expires_at) SELECT x, 'id' || x, '{mesh}', 's', 't', {NEXT}, 'n', 'c', '1', 0, 9000000000000 + x FROM n",
            numbers(OTHERS)
        ));
        self.change(&format!(
            "{} INSERT INTO delivery (id, message_seq, mesh_id, mailbox, of_member, priority, bytes, state) \
             SELECT x, x, '{mesh}', 'other ' || (x % 1000), FALSE, {NEXT}, 1, 0 FROM n",
            numbers(OTHERS)
        ));
        self.change(&format!(
            "{} INSERT INTO session (mesh_id, pubkey, member_id, session_id, kind, display_name, groups, visible, \
             present, about, first_seen_at, last_seen_at) SELECT '{mesh}', 'key' || x, (SELECT id FROM member), \
             'id' || x, 'cli', '', '[]', TRUE, FALSE, '{{}}', x, x FROM n",
            numbers(OTHERS / 10)
        ));
        if self.database.is_some() {
            self.change("ANALYZE");
        }
    }

    /// How the database would go about a statement.
    fn plan(&self, sql: &str) -> String {
        let Some(database) = &self.database else {
            #[derive(diesel::QueryableByName)]
            struct Step {
                #[diesel(sql_type = diesel::sql_types::Text)]
                detail: String,
            }
            let steps: Vec<Step> =
                diesel::RunQueryDsl::load(diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")), &mut self.beside())
                    .unwrap();
            return steps.into_iter().fold(String::new(), |mut plan, step| {
                writeln!(plan, "{}", step.detail).unwrap();
                plan
            });
        };
        let values = (1..).take_while(|number| sql.contains(&format!("${number}"))).count();
        let nulls = vec!["NULL"; values].join(", ");
        let call = if values == 0 { String::new() } else { format!("({nulls})") };
        // As for a statement that is asked often: whatever its values are.
        let lines = database.rows(&format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE asked AS {sql}; EXPLAIN EXECUTE asked{call}"
        ));
        lines.concat().into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

async fn many_old_messages_in_other_mailboxes_are_not_looked_at(backend: Backend) {
    // The same for whoever comes second.
    let _ = set_default_instrumentation(|| Some(Box::new(Recorder)));
    let fixture = fixture(backend).await;
    let first = fixture.first;
    let mesh = &first.mesh.id;
    fixture.store.close().await.unwrap();
    fixture.place.fill(mesh);
    let store = fixture.place.open().await.unwrap();
    assert_eq!(store.number(), OTHERS + 1);

    let said = named(&store, &first, "name", "1");
    let to = delivery(&store, "b");
    let (id, end) = (said.id.clone(), ended(vec![to.id]));
    let mut late = session(&first, "a");
    late.present = false;
    write(&store, mesh, hello("h", late), NOW).await;
    write(&store, mesh, entry(said, vec![to]), NOW).await;
    write(&store, mesh, entry(named(&store, &first, "name", "2"), Vec::new()), NOW).await;
    assert_eq!(texts(&store, mesh, "b").await, ["1"]);
    store.message_status(mesh, &id).await.unwrap().unwrap();
    write(&store, mesh, end, NOW).await;
    assert_eq!(store.expire(mesh, NOW.plus_ms(super::mail::TTL_MS), 10).await.unwrap(), []);
    store.expire(mesh, NOW.plus_ms(super::mail::TTL_MS), 10).await.unwrap();
    store.prune(mesh, NOW, 10).await.unwrap();
    store.forget_bodies(mesh, OTHERS + 1, i64::MAX, 10).await.unwrap();
    store.drop_mailbox(mesh, "b", "r", NOW).await.unwrap();
    assert_eq!(store.sessions(mesh, NOW, 10).await.unwrap().len(), 1);
    let _: Option<Session> = store.session(mesh, "a").await.unwrap();
    store.prune_sessions(mesh, NOW, 10).await.unwrap();

    let statements = asked(backend);
    assert!(statements.len() >= 12, "{statements:#?}");
    let mut mailboxes = 0;
    for sql in statements {
        let plan = fixture.place.plan(&sql);
        let plain = sql.replace(['`', '"'], "");
        // All that waits in a mesh, and all who are there: for a start.
        if plain.contains("GROUP BY") || plain.contains("session.present = ") && !plain.contains("LIMIT") {
            continue;
        }
        for whole in WHOLE {
            assert!(!plan.contains(whole), "{sql}\nlooks at every row:\n{plan}");
        }
        if sql.starts_with("SELECT") && sql.contains("LIMIT") && plain.contains("delivery.priority = ") {
            mailboxes += 1;
            let index = match backend {
                Backend::Sqlite => "delivery_pending (mesh_id=? AND mailbox=? AND priority=? AND message_seq>?)",
                Backend::Postgres => "Index Scan using delivery_pending on delivery",
            };
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
    }
    assert!(mailboxes >= 2, "the reads of a mailbox were not seen");
}
