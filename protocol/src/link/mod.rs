//! The broker's link to a runner.
//!
//! Contract: the broker dials, and both sides speak over one WebSocket in binary messages. Each message is one frame,
//!
//! ```text
//! u32 big-endian: length of the header | header, JSON | body, raw bytes
//! ```
//!
//! and the header is `{"h": <`[`Header`]`>, "stream"?: u64, "body_len"?: u64}`. A body of at most [`CHUNK_BYTES`] travels in
//! its frame. A larger one is announced by a frame that has no body but a `stream` and a `body_len`; its bytes follow in
//! `chunk` frames of that stream, which share the connection with every other frame ([`mux`]).
//!
//! A runner knows deployments, never peers. Every command that changes something carries a [`Fence`].
//!
//! Version rule: sides whose [`LINK_MAJOR`] differ do not work together. `link_hello`, `report` and `stop_all` keep their
//! form in every version, so that even then a broker can see what runs and ask for an orderly end. A minor version may
//! add optional fields, which the other side ignores.

pub mod frame;
mod handshake;
mod header;
pub mod mux;
mod policy;
pub mod proof;
mod report;
mod spec;
mod tagged;

pub use crate::source::{Runtime, Source, SourceError};
pub use handshake::{Fence, LinkHello, RefuseCode, Role};
pub use header::{CallHeader, FILE_MISSING, FailCode, Header, Outcome, ReplyOutcome};
pub use policy::{MAX_CONCURRENCY, MAX_INSTANCES, Policy, PolicyError, RestartKind, RetryKind, StrategyKind};
pub use report::{
    Failure, InstanceFact, LogLine, LogStream, Report, ServiceReport, ServiceState, Tool, ToolAnnotations,
};
pub(crate) use spec::validate_env;
pub use spec::{Limits, MAX_ENTRIES, ServiceSpec, SpecError};

/// Sides with different major versions refuse each other.
pub const LINK_MAJOR: u16 = 1;
/// Rises with every optional field that is added.
pub const LINK_MINOR: u16 = 2;
/// From this minor version on a broker understands `runner_key`, and `sealed` in a load.
pub const SEALED_SINCE_MINOR: u16 = 2;

/// Largest header. A report of one service at its schema limit (1 MiB) still fits, with room for what surrounds it.
pub const MAX_HEADER_BYTES: usize = 2 * 1024 * 1024;
/// Largest body that travels inside its frame, and the size of the pieces of a larger one. At 1 Gbit/s a piece occupies
/// the line for half a millisecond, which is what a small frame may have to wait.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// What a sender may send of a stream before the receiver grants more.
pub const INITIAL_CREDIT_BYTES: usize = 256 * 1024;
/// Largest body of a call, reply or notification.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Largest binary message on the link, for the WebSocket's own limit.
pub const MAX_FRAME_BYTES: usize = 4 + MAX_HEADER_BYTES + CHUNK_BYTES;
