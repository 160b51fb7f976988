//! One schema, said three times: in both sets of migrations, and to the query builder. Here they are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use serde_json::Value;
use tests::harness::postgres::Database;

use super::opening::closed_database;
use super::{Backend, Place};

/// Name, type, and whether it may be NULL.
type Column = (String, String, bool);
/// Columns, the table and columns they point at, what a deletion there does, and whether it is checked at commit.
type ForeignKey = (Vec<String>, String, Vec<String>, String, bool);

/// A table as every backend should have it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// In order.
    columns: Vec<Column>,
    primary_key: Vec<String>,
    uniques: BTreeSet<Vec<String>>,
    foreign_keys: BTreeSet<ForeignKey>,
    /// By name: the columns, and which rows are in it where not all are.
    indexes: BTreeMap<String, (Vec<String>, Option<String>)>,
    /// The columns that a CHECK is about; what it says is tried out.
    checked: BTreeSet<String>,
    /// Columns that the database numbers.
    numbered: BTreeSet<String>,
}

type Tables = BTreeMap<String, Table>;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(text).collect()
}

/// The rows of a query that makes one JSON list of each.
fn lists(place: &Place, sql: &str) -> Vec<Vec<Value>> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        line: String,
    }
    let lines: Vec<String> = match &place.database {
        Some(database) => database.rows(sql).concat().into_iter().flatten().collect(),
        None => {
            let found: Vec<Line> = diesel::sql_query(sql).load(&mut place.beside()).unwrap();
            found.into_iter().map(|line| line.line).collect()
        }
    };
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every table of ours in SQLite, as `t`.
const SQLITE_TABLES: &str = "(SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\') t";

/// Numbers that the broker gives, and that are SQLite's own of the row.
const ROWIDS: [(&str, &str); 2] = [("message", "seq"), ("delivery", "id")];

fn sqlite_tables(place: &Place) -> Tables {
    let mut tables = Tables::new();
    let ask = |what: &str, from: &str| {
        lists(place, &format!("SELECT json_array(t.name, {what}) AS line FROM {SQLITE_TABLES}{from}"))
    };
    for row in ask("t.sql", "") {
        let (table, sql) = (tables.entry(text(&row[0])).or_default(), text(&row[1]));
        for (at, _) in sql.match_indices("CHECK (") {
            let column = sql[at + "CHECK (".len()..].split_whitespace().next().unwrap();
            table.checked.insert(column.to_owned());
        }
        for line in sql.lines().filter(|line| line.contains("AUTOINCREMENT")) {
            table.numbered.insert(line.split_whitespace().next().unwrap().to_owned());
        }
    }
    let columns = "c.name, c.type, c.\"notnull\" = 0, c.pk";
    let mut keys: BTreeMap<(String, i64), String> = BTreeMap::new();
    for row in ask(columns, " JOIN pragma_table_info(t.name) c ORDER BY t.name, c.cid") {
        let (name, column) = (text(&row[0]), text(&row[1]));
        let table = tables.get_mut(&name).unwrap();
        // A number that stands for the row is always 64 bits wide, under the one name that SQLite knows for that.
        let rowid = table.numbered.contains(&column) || ROWIDS.contains(&(&name, &column));
        let of = if rowid { "BIGINT".to_owned() } else { text(&row[2]) };
        table.columns.push((column.clone(), of, row[3] == 1));
        if let Some(place @ 1..) = row[4].as_i64() {
            keys.insert((name, place), column);
        }
    }
    for ((name, _), column) in keys {
        tables.get_mut(&name).unwrap().primary_key.push(column);
    }
    let indexes = "i.name, i.origin, (SELECT json_group_array(name) FROM pragma_index_info(i.name)), \
                   (SELECT sql FROM sqlite_master s WHERE s.name = i.name)";
    for row in ask(indexes, " JOIN pragma_index_list(t.name) i") {
        let (table, columns) = (tables.get_mut(&text(&row[0])).unwrap(), texts(&row[3]));
        let rows = row[4].as_str().and_then(|sql| sql.split_once(" WHERE ")).map(|(_, rows)| rows.to_owned());
        match row[2].as_str().unwrap() {
            "c" => drop(table.indexes.insert(text(&row[1]), (columns, rows))),
            "u" => drop(table.uniques.insert(columns)),
            _ => {}
        }
    }
    let keys = "f.\"table\", f.on_delete, (SELECT json_group_array(\"from\") FROM pragma_foreign_key_list(t.name) WHERE id = f.id), \
                (SELECT json_group_array(\"to\") FROM pragma_foreign_key_list(t.name) WHERE id = f.id), t.sql";
    for row in ask(keys, " JOIN pragma_foreign_key_list(t.name) f") {
        let (from, to) = (texts(&row[3]), texts(&row[4]));
        // No pragma tells it: what stands after the words of this key.
        let sql = text(&row[5]);
        let written = format!("FOREIGN KEY ({})", from.join(", "));
        let deferred = sql.split_once(&written).is_some_and(|(_, rest)| {
            rest.split("FOREIGN KEY").next().is_some_and(|own| own.contains("DEFERRABLE INITIALLY DEFERRED"))
        });
        let table = tables.get_mut(&text(&row[0])).unwrap();
        table.foreign_keys.insert((from, text(&row[1]), to, text(&row[2]), deferred));
    }
    tables
}

/// The names of a constraint's columns, in its order.
fn names_of(table: &str, numbers: &str) -> String {
    format!(
        "(SELECT json_agg(attname ORDER BY place) FROM unnest({numbers}) WITH ORDINALITY AS n (number, place) \
         JOIN pg_attribute ON attrelid = {table} AND attnum = number)"
    )
}

fn postgres_tables(place: &Place) -> Tables {
    let mut tables = Tables::new();
    let ours = "c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT LIKE '\\_\\_%'";
    let columns = "SELECT json_build_array(c.relname, attname, format_type(atttypid, atttypmod), NOT attnotnull, \
                   attidentity, collname) FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 \
                   LEFT JOIN pg_collation l ON l.oid = attcollation";
    for row in lists(place, &format!("{columns} WHERE {ours} ORDER BY c.relname, attnum")) {
        let (table, column, of) = (tables.entry(text(&row[0])).or_default(), text(&row[1]), text(&row[2]));
        if of == "text" {
            assert_eq!(row[5], "C", "{row:?} is ordered by the server's locale");
        }
        if row[4] == "a" {
            table.numbered.insert(column.clone());
        }
        table.columns.push((column, of.to_uppercase(), row[3] == true));
    }
    let constraints = format!(
        "SELECT json_build_array(c.relname, contype, {}, f.relname, {}, confdeltype, condeferrable AND condeferred) \
         FROM pg_constraint JOIN pg_class c ON c.oid = conrelid LEFT JOIN pg_class f ON f.oid = confrelid WHERE {ours}",
        names_of("conrelid", "conkey"),
        names_of("confrelid", "confkey")
    );
    for row in lists(place, &constraints) {
        let (table, columns) = (tables.get_mut(&text(&row[0])).unwrap(), texts(&row[2]));
        match row[1].as_str().unwrap() {
            "p" => table.primary_key = columns,
            "u" => drop(table.uniques.insert(columns)),
            "c" => table.checked.extend(columns),
            "f" => {
                let on_delete = match row[5].as_str().unwrap() {
                    "a" => "NO ACTION",
                    "c" => "CASCADE",
                    other => panic!("{row:?}: {other}"),
                };
                let key = (columns, text(&row[3]), texts(&row[4]), on_delete.to_owned(), row[6] == true);
                table.foreign_keys.insert(key);
            }
            // PostgreSQL 18 counts NOT NULL among them; the columns have said it.
            "n" => {}
            other => panic!("{row:?}: {other}"),
        }
    }
    let indexes = format!(
        "SELECT json_build_array(c.relname, i.relname, {}, pg_get_expr(indpred, indrelid)) FROM pg_index JOIN pg_class c ON c.oid = indrelid \
         JOIN pg_class i ON i.oid = indexrelid WHERE {ours} \
         AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid AND contype IN ('p', 'u'))",
        names_of("indrelid", "indkey")
    );
    for row in lists(place, &indexes) {
        let rows = row[3].as_str().map(|rows| rows.trim_matches(['(', ')']).to_owned());
        tables.get_mut(&text(&row[0])).unwrap().indexes.insert(text(&row[1]), (texts(&row[2]), rows));
    }
    tables
}

/// What the query builder was told: columns and primary keys.
fn declared() -> BTreeMap<String, (Vec<Column>, Vec<String>)> {
    let mut tables = BTreeMap::new();
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/schema.rs")).unwrap();
    for block in source.split("diesel::table! {").skip(1) {
        let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let (name, key) = lines.next().unwrap().strip_suffix(") {").unwrap().split_once(" (").unwrap();
        let columns = lines.take_while(|line| *line != "}").map(|line| {
            let (column, of) = line.strip_suffix(',').unwrap().split_once(" -> ").unwrap();
            let inner = of.strip_prefix("Nullable<").and_then(|of| of.strip_suffix('>'));
            let sql = match inner.unwrap_or(of) {
                "Bool" => "BOOLEAN",
                "BigInt" => "BIGINT",
                "Integer" => "INTEGER",
                "SmallInt" => "SMALLINT",
                "Text" => "TEXT",
                other => panic!("{column}: {other}"),
            };
            (column.to_owned(), sql.to_owned(), inner.is_some())
        });
        let key = key.split(", ").map(str::to_owned).collect();
        tables.insert(name.to_owned(), (columns.collect(), key));
    }
    tables.remove("__diesel_schema_migrations").expect("the harness's own table is declared too");
    tables
}

#[actix_rt::test]
async fn both_backends_and_the_query_builder_agree() {
    let sqlite = sqlite_tables(&closed_database(Backend::Sqlite).await);
    let postgres = postgres_tables(&closed_database(Backend::Postgres).await);
    for (name, table) in &sqlite {
        assert_eq!(Some(table), postgres.get(name), "{name}: SQLite left, PostgreSQL right");
    }
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    let columns = sqlite.into_iter().map(|(name, table)| (name, (table.columns, table.primary_key)));
    assert_eq!(columns.collect::<BTreeMap<_, _>>(), declared());
}

/// Rows that a CHECK must refuse, one for each column that has one.
const REFUSED: [(&str, &str, &str); 13] = [
    ("meta", "singleton", "INSERT INTO meta (singleton, store_id, epoch, created_at) VALUES (2, 's', 0, 0)"),
    ("meta", "epoch", "UPDATE meta SET epoch = -1"),
    ("member", "role", "UPDATE member SET role = 'boss'"),
    (
        "service",
        "desired",
        "INSERT INTO service (mesh_id, name, desired, scope, deployed_by, description, created_at, updated_at) \
         SELECT mesh_id, 's', 'perhaps', '', id, '', 0, 0 FROM member",
    ),
    (
        "invite",
        "role",
        "INSERT INTO invite (id, mesh_id, token_sha256, role, max_uses, used, expires_at, created_by, created_at) \
         SELECT 'i', mesh_id, 't', 'owner', 1, 0, 0, id, 0 FROM member",
    ),
    (
        "invite",
        "max_uses",
        "INSERT INTO invite (id, mesh_id, token_sha256, role, max_uses, used, expires_at, created_by, created_at) \
         SELECT 'i', mesh_id, 't', 'member', 0, 0, 0, id, 0 FROM member",
    ),
    (
        "session",
        "kind",
        "INSERT INTO session (mesh_id, pubkey, member_id, session_id, kind, display_name, groups, visible, present, \
         about, first_seen_at, last_seen_at) SELECT mesh_id, 'k', id, '', 'ghost', '', '', TRUE, TRUE, '', 0, 0 FROM member",
    ),
    (
        "delivery",
        "state",
        "INSERT INTO delivery (id, message_seq, mesh_id, mailbox, of_member, priority, bytes, state) \
         VALUES (1, 1, '', '', TRUE, 1, 1, 4)",
    ),
    (
        "file",
        "bytes",
        "INSERT INTO file (id, mesh_id, member_id, name, sha256, bytes, tags, persistent, created_at) \
         SELECT 'f', mesh_id, id, 'n', '', -1, '[]', FALSE, 0 FROM member",
    ),
    (
        "vault_entry",
        "entry_type",
        "INSERT INTO vault_entry (mesh_id, member_id, key, entry_type, version, least, sealed, bytes, updated_at) \
         SELECT mesh_id, id, 'k', 'word', 0, 0, '', 0, 0 FROM member",
    ),
    (
        "vault_entry",
        "version",
        "INSERT INTO vault_entry (mesh_id, member_id, key, entry_type, version, least, sealed, bytes, updated_at) \
         SELECT mesh_id, id, 'k', 'env', -1, 0, '', 0, 0 FROM member",
    ),
    (
        "vault_entry",
        "bytes",
        "INSERT INTO vault_entry (mesh_id, member_id, key, entry_type, version, least, sealed, bytes, updated_at) \
         SELECT mesh_id, id, 'k', 'env', 0, 0, '', -1, 0 FROM member",
    ),
    (
        "watch",
        "interval_ms",
        "INSERT INTO watch (mesh_id, id, member_id, url, mode, interval_ms, notify, priority, fail_after, settle, version, \
         failing, created_at) SELECT mesh_id, 'w', id, '', '', 0, '', 1, 1, 1, 0, FALSE, 0 FROM member",
    ),
];

#[actix_rt::test]
async fn what_one_backend_refuses_the_other_refuses_too() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let place = closed_database(backend).await;
        let tables = match backend {
            Backend::Sqlite => sqlite_tables(&place),
            Backend::Postgres => postgres_tables(&place),
        };
        let checked =
            tables.iter().flat_map(|(name, table)| table.checked.iter().map(|column| (name.as_str(), column.as_str())));
        assert_eq!(checked.collect::<BTreeSet<_>>(), REFUSED.map(|(table, column, _)| (table, column)).into());
        for (table, column, sql) in REFUSED {
            let error = place.try_change(sql).expect_err(sql).to_lowercase();
            assert!(error.contains("check constraint"), "{backend:?} {table}.{column}: {error}");
        }
    }
}

fn migrations(backend: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(backend);
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_migration_has_the_same_name_on_both_and_a_way_back() {
    let names =
        |backend| -> Vec<_> { migrations(backend).iter().map(|path| path.file_name().unwrap().to_owned()).collect() };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());

    let database = Database::create();
    let run = |folder: &Path, file: &str| drop(database.rows(&fs::read_to_string(folder.join(file)).unwrap()));
    let all = migrations("postgres");
    for _there_and_back in 0..2 {
        all.iter().for_each(|folder| run(folder, "up.sql"));
        all.iter().rev().for_each(|folder| run(folder, "down.sql"));
        let left = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        assert_eq!(database.rows(left).concat(), [], "something is left");
    }
}
