//! The broker's memory: the one place that knows there is a database.
//!
//! **Contract.** Callers hold a [`Store`], a handle that is cheap to clone, and use named operations on
//! domain types; no query, connection or driver error type leaves this folder. What an operation
//! reports as done is on disk (SQLite `synchronous=FULL`, PostgreSQL `synchronous_commit`). An operation that was started finishes even when
//! its caller goes away, so a dropped future never leaves half a transaction. Everything is keyed by
//! mesh, and all values reach the database as bound parameters.
//!
//! **Start.** A [`DirLock`] on the data directory comes first, then [`first_start::inspect`], then
//! either [`first_start::create`] or straight [`Store::open`], which refuses what it does not
//! understand and changes nothing by doing so.
//!
//! **Two databases.** SQLite in the data directory, or PostgreSQL on a server when an address is given; the directory's
//! lock, keys and tokens are there with both. Queries are written once: `pool.rs` holds an enum with an arm for each
//! backend, and the macros there expand one query body in every arm. Text has no NUL on either.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | the data directory's lock |
//! | `first_start` | what a directory holds, and how a database is born |
//! | `pool` | the thread that connections live on, the seam between backends |
//! | `open` `sqlite` | SQLite: checks and migrations ahead of the first query; connections |
//! | `postgres` | the same on a server, and the lease |
//! | `keeper` | the node that shows how the store is |
//! | `column` | identifiers, times and JSON as they are stored |
//! | `meta` `mesh` `member` `group` `invite` `session` `service` `deployment` `file` `vault_entry` `event` `replay` | a noun each |
//! | `switch` | which of its deployments a service runs, and where |
//! | `reseal` | everything that is sealed, under another key |
//! | `batch` | presence and messages, written many at a time |
//! | `message` `mailbox` `expiry` `number` | what was accepted, what waits, what time does to it, its order |

#[macro_use]
mod pool;

mod batch;
mod column;
mod deployment;
mod error;
mod event;
mod expiry;
mod file;
pub mod first_start;
mod group;
mod invite;
pub mod keeper;
mod lock;
mod mailbox;
mod member;
mod mesh;
mod message;
mod meta;
mod number;
mod open;
mod postgres;
mod replay;
mod reseal;
mod schema;
mod service;
mod session;
mod sqlite;
mod switch;
mod vault_entry;
mod watch;

pub use batch::{Entry, Hello, HelloVerdict, MAX_BATCH_ENTRIES, Verdict};
pub use column::{
    DeploymentId, Document, EventId, FileId, InviteId, MemberId, MeshId, MessageId, ParseColumnError, StoreId, UtcMs,
};
pub use deployment::{Deployment, MAX_DEPLOYMENTS_PER_SERVICE, NewDeployment, Slot};
pub use error::{InviteRefused, OpenError, StoreError, Which};
pub use event::{MAX_EVENT_BATCH, MAX_EVENTS_PER_MESH, MAX_EVENTS_PER_SERVICE, NewServiceEvent, ServiceEvent};
pub use expiry::{Expired, IDEMPOTENCY_KEPT_MS, MAX_SWEPT_AT_ONCE};
pub use file::{
    FILE_LIMITS, FileRemoval, MAX_FILE_BYTES_PER_MEMBER, MAX_FILE_BYTES_PER_MESH, MAX_FILES_PER_MESH, StoredFile,
};
pub use group::{GroupList, MAX_GROUP_LISTS_PER_MESH};
pub use invite::{INVITE_KEPT_MS, Invite, Joined, MAX_OPEN_INVITES_PER_MESH, NewInvite};
pub use lock::{DirLock, LOCK_FILE, LockError, Locked};
pub use mailbox::{MAX_PENDING_READ, MailboxLoad, Pending};
pub use member::{Member, NewMember, Role};
pub use mesh::{DEFAULT_MESSAGE_TTL_MS, Founded, Mesh, NewMesh};
pub use message::{DeliveryEnd, DeliveryRow, DeliveryState, MessageHead, NewDelivery, NewMessage, Said, StoredMessage};
pub use open::DATABASE_FILE;
pub use pool::{MAX_PENDING_OPERATIONS, Store};
pub use replay::{HELLO_WINDOW_MS, Sighting};
pub use reseal::SealedAt;
pub use service::{Desired, Service, ServiceWithDeployments};
pub use session::{Session, SessionKind};
pub use switch::{Comeback, StoredTrial};
pub use vault_entry::{EntryHead, MAX_VAULT_ENTRIES_PER_MEMBER, StoredEntry, VAULT_ENTRIES_LIMIT};
pub use watch::{MAX_WATCH_CHANGES, MAX_WATCHES_PER_MEMBER, Watch, WatchChange, WatchCommit};
