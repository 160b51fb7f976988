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
//! | `meta` `mesh` `member` `service` `deployment` `event` `replay` | a noun each |

#[macro_use]
mod pool;

mod column;
mod deployment;
mod error;
mod event;
pub mod first_start;
pub mod keeper;
mod lock;
mod member;
mod mesh;
mod meta;
mod open;
mod postgres;
mod replay;
mod schema;
mod service;
mod sqlite;

pub use column::{DeploymentId, Document, EventId, MemberId, MeshId, ParseColumnError, StoreId, UtcMs};
pub use deployment::{Deployment, MAX_DEPLOYMENTS_PER_SERVICE, NewDeployment, Slot};
pub use error::{OpenError, StoreError, Which};
pub use event::{MAX_EVENT_BATCH, MAX_EVENTS_PER_MESH, MAX_EVENTS_PER_SERVICE, NewServiceEvent, ServiceEvent};
pub use lock::{DirLock, LOCK_FILE, LockError, Locked};
pub use member::{Member, NewMember, Role};
pub use mesh::{Founded, Mesh, NewMesh};
pub use open::DATABASE_FILE;
pub use pool::{MAX_PENDING_OPERATIONS, Store};
pub use replay::{HELLO_WINDOW_MS, Sighting};
pub use service::{Desired, Service, ServiceWithDeployments};
