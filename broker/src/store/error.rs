//! What can go wrong, told by the step that failed and what it concerned.

use std::fmt;
use std::path::PathBuf;

use super::lock::LockError;
use super::pool::MAX_PENDING_OPERATIONS;

/// Which database an error is about: a file, or one of a server, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The embedded one.
    File(PathBuf),
    /// A server's.
    Server(String),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(name) => f.write_str(name),
        }
    }
}

/// Why a store could not be opened or made. Whatever the reason, nothing on disk was changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data directory's lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There should be a database, and there is none.
    #[error("the database {0} is missing")]
    Missing(Which),
    /// The directory holds other things but no database: it is not ours, or its database was lost.
    #[error(
        "{} is not empty (it holds {found:?}), and there is no database at {database}: choose an empty directory, \
         or put the database back", .dir.display()
    )]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
        /// The first thing found in it that a new directory would not have.
        found: String,
        /// The database that is not there.
        database: Which,
    },
    /// A key without the database it belongs to: the database was lost, or the directory is wrong.
    #[error(
        "{} is here but the database {database} is not: a new database would orphan that key; \
         restore the database, or choose another directory", .key.display()
    )]
    KeyWithoutDatabase {
        /// The key file that was found.
        key: PathBuf,
        /// Where the database should be.
        database: Which,
    },
    /// A database is made only where none is.
    #[error("the database {0} exists already")]
    Exists(Which),
    /// Another program holds the database file.
    #[error("the database {0} is locked by another program")]
    Busy(Which),
    /// Another broker lives on the server's database.
    #[error("the database {database} is in use by another broker ({holder}): end that one, or name another database")]
    InUse {
        /// The database.
        database: Which,
        /// What the server says about the session that holds the lease.
        holder: String,
    },
    /// A server's database is asked for, and the directory has one of its own.
    #[error(
        "{} is here, and {database} is asked for: one broker has one database; choose another data directory for \
         it, or leave the database's address out", .file.display()
    )]
    TwoDatabases {
        /// The database of the directory.
        file: PathBuf,
        /// The one that is asked for.
        database: Which,
    },
    /// A server's database that cannot become ours.
    #[error("the database {database} cannot be used: {reason}")]
    Unsuitable {
        /// The database.
        database: Which,
        /// What is in the way, and what to do.
        reason: String,
    },
    /// The server could not be reached, or did not let us in.
    #[error("could not reach the database {database}")]
    Unreachable {
        /// The database.
        database: Which,
        /// What the driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The authorities that vouch for the server could not be had.
    #[error("could not verify the database {database}: {reason}")]
    Authorities {
        /// The database.
        database: Which,
        /// What is missing, and what to do.
        reason: String,
    },
    /// The file is no database, is damaged, or is not a database of ours.
    #[error("the database {database} is corrupt: {reason}")]
    Corrupt {
        /// The database.
        database: Which,
        /// What was found to be wrong.
        reason: String,
    },
    /// A later version of this program has changed the database.
    #[error(
        "the database {database} is newer than this program: it has schema {found}, \
         this program knows up to {known}"
    )]
    Newer {
        /// The database.
        database: Which,
        /// The first schema version that is not known here.
        found: String,
        /// The last schema version that is known here.
        known: String,
    },
    /// A schema change failed; its transaction was rolled back.
    #[error("could not bring the schema of {database} up to date")]
    Migrate {
        /// The database.
        database: Which,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operating system refused a step.
    #[error("could not {step} {}", .path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The database answered a step with an error of another kind.
    #[error("could not {step} {database}")]
    Database {
        /// What was tried.
        step: &'static str,
        /// On which database.
        database: Which,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a join was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteRefused {
    /// There is no such invite to that mesh.
    #[error("there is no such invite")]
    Unknown,
    /// It is over.
    #[error("the invite has expired")]
    Expired,
    /// Somebody took it back.
    #[error("the invite was revoked")]
    Revoked,
    /// It was used as often as it may be.
    #[error("the invite is used up")]
    UsedUp,
    /// It is for another role.
    #[error("the invite is for another role")]
    Role,
    /// The key was a member's that was removed; it does not come back.
    #[error("the key belongs to a member that was removed")]
    Removed,
}

/// Why an operation was not done. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What the operation is about does not exist.
    #[error("there is no {what} {key:?}")]
    NotFound {
        /// The noun.
        what: &'static str,
        /// The name or identifier that was looked for.
        key: String,
    },
    /// The name or key is in use.
    #[error("the {what} {key:?} exists already")]
    Taken {
        /// The noun.
        what: &'static str,
        /// The name or key.
        key: String,
    },
    /// A limit was reached; it is refused by its name.
    #[error("limit {name} reached: at most {max}")]
    Limit {
        /// The limit's name, as operators configure or look it up.
        name: &'static str,
        /// Its value.
        max: u64,
    },
    /// It came too late: a deployment that is not the one that waits to become active, a statement whose serial is
    /// not higher than that of the one before.
    #[error("the {what} of {key:?} was superseded")]
    Superseded {
        /// The noun.
        what: &'static str,
        /// What it is about.
        key: String,
    },
    /// An invite let nobody in.
    #[error(transparent)]
    Invite(#[from] InviteRefused),
    /// More operations wait than the store takes in.
    #[error("the store is overloaded: {MAX_PENDING_OPERATIONS} operations wait")]
    Overloaded,
    /// No connection became free in time.
    #[error("the store had no free connection in time to {operation}")]
    Busy {
        /// What was asked.
        operation: &'static str,
    },
    /// The database's server is away. Nothing was sent.
    #[error("the database is not reachable to {operation}: {reason}")]
    Unreachable {
        /// What was asked.
        operation: &'static str,
        /// What the last try to reach it ended with.
        reason: String,
    },
    /// The server went away in the middle. What was asked may have been done all the same.
    #[error("the database went away while it was asked to {operation}: it may have taken effect")]
    Disconnected {
        /// What was asked.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another broker has lived on this database since: this one has lost it, for good.
    #[error("the store is fenced: {reason}")]
    Fenced {
        /// How it was noticed.
        reason: String,
    },
    /// A sealed value cannot be read, so nothing was sealed anew.
    #[error("what is sealed at {at} cannot be read")]
    Sealed {
        /// Where it is.
        at: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A text that no backend is given: the field is refused by its name.
    #[error("{field} has a NUL character, which the store does not take")]
    Nul {
        /// The field.
        field: &'static str,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The operation died inside the store; whether it took effect is not known.
    #[error("the store lost the operation: {operation}")]
    Lost {
        /// What was asked.
        operation: &'static str,
        /// How it died.
        #[source]
        source: tokio::task::JoinError,
    },
    /// The database refused.
    #[error("could not {operation}")]
    Database {
        /// What was asked.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Fills in what was asked, where the failing step could not know it.
    pub(super) fn during(self, operation: &'static str) -> Self {
        match self {
            Self::Database { source, .. } => Self::Database { operation, source },
            Self::Busy { .. } => Self::Busy { operation },
            Self::Unreachable { reason, .. } => Self::Unreachable { operation, reason },
            Self::Disconnected { source, .. } => Self::Disconnected { operation, source },
            other => other,
        }
    }

    pub(super) fn not_found(what: &'static str, key: impl ToString) -> Self {
        Self::NotFound { what, key: key.to_string() }
    }

    pub(super) fn superseded(what: &'static str, key: impl ToString) -> Self {
        Self::Superseded { what, key: key.to_string() }
    }

    pub(super) fn taken(what: &'static str, key: impl ToString) -> Self {
        Self::Taken { what, key: key.to_string() }
    }
}

/// What stands in for the operation until [`StoreError::during`] names it.
pub(super) const UNNAMED: &str = "use the database";

// Transactions need this conversion. The driver's error is boxed so that it stays out of the interface.
impl From<diesel::result::Error> for StoreError {
    fn from(source: diesel::result::Error) -> Self {
        Self::Database { operation: UNNAMED, source: Box::new(source) }
    }
}
