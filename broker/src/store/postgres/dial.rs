//! The way to the server: TLS, limits of time, and what every session is told first.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{DatabaseTls, DatabaseUrl};
use crate::store::error::{OpenError, Which};

/// Longest wait for one address of the server to take the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the whole: every address, TLS, sign-in.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// A connection on which nothing moves is asked after this, then [`KEEPALIVE_TRIES`] times at this pace. Told to the
/// server too, so that it lets go of the lease of a broker that is gone without a word.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// What was sent and is not acknowledged for so long ends the connection.
const UNACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
/// Longest statement. Ours take milliseconds; one that takes longer waits for something that does not come.
const STATEMENT_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for a lock that another program holds on a row or a table.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
/// A transaction in which nothing happens for so long is ended by the server.
const IDLE_TRANSACTION_WITHIN: Duration = Duration::from_secs(60);

pub(super) type DialError = Box<dyn Error + Send + Sync>;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// A server, and how it is reached.
pub(in crate::store) struct Server {
    config: Config,
    /// `None`: plain, because the way stays on this machine or the operator said so.
    tls: Option<MakeRustlsConnect>,
    which: Which,
}

impl Server {
    /// Makes ready what connecting needs. Reads the authorities' files; sends nothing.
    pub(in crate::store) fn new(url: &DatabaseUrl) -> Result<Self, OpenError> {
        let which = Which::Server(url.to_string());
        let mut config = url
            .driver_config()
            .map_err(|source| OpenError::Unreachable { database: which.clone(), source: Box::new(source) })?;
        limit(&mut config);
        let tls = match url.tls() {
            DatabaseTls::Plain => None,
            DatabaseTls::Verified { roots } => {
                let client = verifying(roots.as_deref())
                    .map_err(|reason| OpenError::Authorities { database: which.clone(), reason })?;
                Some(MakeRustlsConnect::new(client))
            }
        };
        Ok(Self { config, tls, which })
    }

    /// Which database this is, for errors.
    pub(in crate::store) fn which(&self) -> Which {
        self.which.clone()
    }

    /// A new session. Needs a runtime that goes on after this: the connection lives on it.
    pub(super) async fn connect(&self) -> Result<AsyncPgConnection, DialError> {
        match tokio::time::timeout(DIAL_WITHIN, self.dial()).await {
            Ok(dialled) => dialled,
            Err(_elapsed) => Err(format!("no answer within {DIAL_WITHIN:?}").into()),
        }
    }

    async fn dial(&self) -> Result<AsyncPgConnection, DialError> {
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await?
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await?
            }
        })
    }
}

/// Limits where the address says none, and of several hosts the one that takes writes: the driver would settle on the
/// first that answers, a standby too.
fn limit(config: &mut Config) {
    if config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_WITHIN);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED_WITHIN);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_EVERY).keepalives_retries(KEEPALIVE_TRIES);
    }
    if config.get_application_name().is_none() {
        config.application_name(format!("claudemesh (process {})", std::process::id()));
    }
}

/// Tells a session its limits, and what durability and isolation our contract asks for.
pub(super) async fn settle(connection: &mut AsyncPgConnection, role: Role) -> QueryResult<()> {
    let seconds = |time: Duration| time.as_secs();
    let access = match role {
        Role::Writer => "off",
        Role::Reader => "on",
    };
    // Numbers and words of ours only. A server that is told to confirm more than its own disk keeps that.
    let settings = format!(
        "SET statement_timeout = '{}s'; SET lock_timeout = '{}s'; SET idle_in_transaction_session_timeout = '{}s';
         SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {KEEPALIVE_TRIES};
         SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = {access};
         SELECT set_config('synchronous_commit', 'on', false)
         WHERE current_setting('synchronous_commit') IN ('off', 'local');",
        seconds(STATEMENT_WITHIN),
        seconds(LOCK_WITHIN),
        seconds(IDLE_TRANSACTION_WITHIN),
        seconds(KEEPALIVE_IDLE),
        seconds(KEEPALIVE_EVERY),
    );
    connection.batch_execute(&settings).await
}

/// Lets statements take their time until [`settle`] says otherwise: a migration may take longer than a statement of
/// every day. The wait for somebody else's lock stays as short.
pub(super) async fn unhurried(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    connection.batch_execute("SET statement_timeout = 0").await
}

/// A TLS client that asks for a certificate by these authorities, or by the system's, for the host's name.
fn verifying(roots: Option<&Path>) -> Result<ClientConfig, String> {
    let mut trusted = RootCertStore::empty();
    let (added, whose) = match roots {
        Some(path) => (of_file(path, &mut trusted)?, format!("{} (sslrootcert)", path.display())),
        None => (of_system(&mut trusted), "the system (install ca-certificates, or say sslrootcert)".to_owned()),
    };
    if added == 0 {
        return Err(format!("there is no usable certificate of an authority in {whose}"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(trusted).with_no_client_auth())
}

fn of_file(path: &Path, trusted: &mut RootCertStore) -> Result<usize, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("{} (sslrootcert) cannot be read: {error}", path.display());
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        trusted.add(certificate).map_err(|error| unreadable(&error))?;
        added += 1;
    }
    Ok(added)
}

fn of_system(trusted: &mut RootCertStore) -> usize {
    // A system has many, and some that nobody can read: those that can be used are enough.
    let (added, _ignored) = trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    added
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn of_several_hosts_the_one_that_writes_is_taken() {
        let limited = |url: &str| {
            let url: DatabaseUrl = url.parse().unwrap();
            Server::new(&url).unwrap().config.get_target_session_attrs()
        };
        assert_eq!(limited("postgres://u@127.0.0.1,127.0.0.2/d"), TargetSessionAttrs::ReadWrite);
        assert_eq!(limited("postgres://u@localhost/d"), TargetSessionAttrs::ReadWrite);
        assert_eq!(limited("postgres://u@localhost/d?target_session_attrs=any"), TargetSessionAttrs::ReadWrite);
        // Whoever asks for another kind gets that, and the server's refusal to write.
        let read_only = limited("postgres://u@localhost/d?target_session_attrs=read-only");
        assert_eq!(read_only, TargetSessionAttrs::ReadOnly);
    }
}
