//! What can go wrong, told by the step that failed and what it concerned.

use std::path::PathBuf;

use super::lock::LockError;
use super::pool::MAX_PENDING_OPERATIONS;

/// Why a store could not be opened or made. Whatever the reason, nothing on disk was changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data directory's lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There should be a database, and there is none.
    #[error("the database {} is missing", .0.display())]
    Missing(PathBuf),
    /// The directory holds other things but no database: it is not ours, or its database was lost.
    #[error(
        "{} is not empty (it holds {found:?}) and has no database: choose an empty directory, \
         or put {} back", .dir.display(), super::DATABASE_FILE
    )]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
        /// The first thing found in it that a new directory would not have.
        found: String,
    },
    /// A key without the database it belongs to: the database was lost, or the directory is wrong.
    #[error(
        "{} is here but the database {} is not: a new database would orphan that key; \
         restore the database, or choose another directory", .key.display(), .database.display()
    )]
    KeyWithoutDatabase {
        /// The key file that was found.
        key: PathBuf,
        /// Where the database should be.
        database: PathBuf,
    },
    /// A database is made only where none is.
    #[error("the database {} exists already", .0.display())]
    Exists(PathBuf),
    /// Another program holds the database file.
    #[error("the database {} is locked by another program", .0.display())]
    Busy(PathBuf),
    /// The file is no database, is damaged, or is not a database of ours.
    #[error("the database {} is corrupt: {reason}", .path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What was found to be wrong.
        reason: String,
    },
    /// A later version of this program has changed the database.
    #[error(
        "the database {} is newer than this program: it has schema {found}, \
         this program knows up to {known}", .path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The first schema version that is not known here.
        found: String,
        /// The last schema version that is known here.
        known: String,
    },
    /// A schema change failed; its transaction was rolled back.
    #[error("could not bring the schema of {} up to date", .path.display())]
    Migrate {
        /// The database file.
        path: PathBuf,
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
    #[error("could not {step} {}", .path.display())]
    Database {
        /// What was tried.
        step: &'static str,
        /// On which database.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
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
    /// The deployment is not the one that waits to become active: a later one took its place.
    #[error("deployment {deployment} of service {service:?} was superseded")]
    Superseded {
        /// The service.
        service: String,
        /// The deployment that came too late.
        deployment: String,
    },
    /// More operations wait than the store takes in.
    #[error("the store is overloaded: {MAX_PENDING_OPERATIONS} operations wait")]
    Overloaded,
    /// No connection became free in time.
    #[error("the store had no free connection in time to {operation}")]
    Busy {
        /// What was asked.
        operation: &'static str,
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
            other => other,
        }
    }

    pub(super) fn not_found(what: &'static str, key: impl ToString) -> Self {
        Self::NotFound { what, key: key.to_string() }
    }

    pub(super) fn taken(what: &'static str, key: impl ToString) -> Self {
        Self::Taken { what, key: key.to_string() }
    }
}

/// What stands in for the operation until [`StoreError::during`] names it.
const UNNAMED: &str = "use the database";

// Transactions need this conversion. The driver's error is boxed so that it stays out of the interface.
impl From<diesel::result::Error> for StoreError {
    fn from(source: diesel::result::Error) -> Self {
        Self::Database { operation: UNNAMED, source: Box::new(source) }
    }
}

impl From<diesel_async::pooled_connection::bb8::RunError> for StoreError {
    fn from(error: diesel_async::pooled_connection::bb8::RunError) -> Self {
        use diesel_async::pooled_connection::bb8::RunError;
        match error {
            RunError::TimedOut => Self::Busy { operation: UNNAMED },
            RunError::User(source) => Self::Database { operation: UNNAMED, source: Box::new(source) },
        }
    }
}
