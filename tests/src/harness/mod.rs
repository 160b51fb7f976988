//! A whole mesh in a temporary directory, seen from outside.
//!
//! Contract: nothing here reaches into the product's code. The peer signs with its own keys, the process table is the
//! kernel's, the commands are the binary's. Every wait has a deadline and a condition; a wait that fails prints the last
//! tree and the ends of the logs. A [`Mesh`] that is dropped leaves no process, and fails its test if the product did.
//!
//! | module | what it does |
//! |---|---|
//! | [`mesh`] | starts `claudemesh up`, stops it, kills its parts |
//! | [`command`] | runs a verb and reads its JSON |
//! | [`desk`] | a person's home with a client in it |
//! | [`model`] | what that client takes for a model |
//! | [`tree`] | `GET /tree`, and finding nodes in it |
//! | [`processes`] | which processes exist, whose they are, what they cost |
//! | [`peer`] | a WebSocket peer written from the wire's description |
//! | [`members`] | an owner, its invites, and who joins by them |
//! | [`session`] | what a member's session says: its hello, its messages |
//! | [`receiver`] | shows each message once, and acknowledges it |
//! | [`ledger`] | which messages are due where, and what came |
//! | [`postgres`] | a database, or a server to break |
//! | [`private_git`] | a git server that wants a token |
//! | [`relay`] | keeps all that passes between clients, broker and runner |
//! | [`scan`] | whether a secret is in bytes, files or memory |
//! | [`load`] | a steady stream of calls, each answer counted |
//! | [`stdio`] | a model's client, before an MCP server on two pipes |
//! | [`hostile`] | frames that no client would send |
//! | [`rng`] | numbers that look random, the same in every run |
//! | [`site`] | a web server that says what a story wants |
//! | [`wait`] | conditions with deadlines |
//! | [`level`] | the isolation that a story forces |
//! | [`turn`] | which stories run beside others |
//! | [`programs`] | where the built programs are |

pub mod command;
pub mod desk;
pub mod hostile;
pub mod http;
pub mod ledger;
pub mod level;
pub mod load;
pub mod members;
pub mod mesh;
pub mod model;
pub mod peer;
pub mod postgres;
pub mod private_git;
pub mod processes;
pub mod programs;
pub mod receiver;
pub mod relay;
pub mod rng;
pub mod scan;
pub mod session;
pub mod site;
pub mod stdio;
pub mod tree;
pub mod turn;
pub mod wait;

use std::time::Duration;

pub use command::Outcome;
pub use desk::Desk;
pub use level::{Level, levels};
pub use load::{Load, LoadReport};
pub use members::{Member, Owner};
pub use mesh::{Backend, Mesh, Options};
pub use model::{Model, Turn};
pub use peer::Peer;
pub use private_git::PrivateGit;
pub use processes::{Identity, Table};
pub use receiver::Receiver;
pub use rng::Rng;
pub use scan::Secrets;
pub use session::{Client, Session};
pub use site::{Asked, Page, Site};
pub use stdio::Stdio;
pub use tree::{Node, Tree};
pub use wait::wait_until;

/// From the start of `up` to its first `ready`.
pub const BOOT: Duration = Duration::from_secs(30);
/// From a kill, a deploy of a local program or a stop to the state that must follow.
pub const SETTLE: Duration = Duration::from_secs(30);
/// For a deploy that fetches a package.
pub const INSTALL: Duration = Duration::from_secs(240);
/// For a command that only asks.
pub const ASK: Duration = Duration::from_secs(30);

/// How much a suite without `SOAK` does of what is long.
const SOAK_SHARE: u32 = 20;

/// `full` under `SOAK=1`, a twentieth of it otherwise, and at least `least`.
#[must_use]
pub fn scaled(full: u32, least: u32) -> u32 {
    let soak = std::env::var("SOAK").is_ok_and(|value| value == "1");
    if soak { full } else { (full / SOAK_SHARE).max(least) }
}
