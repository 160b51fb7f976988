//! Which PostgreSQL database, and how firmly the way there is protected.
//!
//! **Contract.** Deny by default: what leaves the machine is encrypted, and the server has proved who it is. Only a
//! Unix socket, a loopback address, or the words `sslmode=disable` allow a plain connection. No mode is weaker than
//! it sounds, and none falls back: `require` and `verify-ca` are taken as `verify-full`, `prefer` and `allow` are
//! refused. The text may hold a password, so no error and no print repeats any of it but user, host and database.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use protocol::SecretString;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// What the driver takes where none is said.
const DEFAULT_PORT: u16 = 5432;
/// The longest text that is taken.
const MAX_URL_BYTES: usize = 4_096;

/// What protects the way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseTls {
    /// Nothing: the way stays on this machine, or the operator said so.
    Plain,
    /// TLS with a verified certificate and host name.
    Verified {
        /// The file of the authorities to trust; `None` for the system's.
        roots: Option<PathBuf>,
    },
}

/// The address of a PostgreSQL database. Neither `Debug` nor `Display` shows its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// The text without what is decided here (`sslmode`, `sslrootcert`).
    url: SecretString,
    shown: String,
    tls: DatabaseTls,
}

/// A text that is no address of a database, or one that is not protected enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// It begins with neither scheme.
    #[error("takes postgres://user:password@host:port/database")]
    Scheme,
    /// It is too long to be one.
    #[error("takes at most {MAX_URL_BYTES} bytes")]
    TooLong,
    /// What follows the scheme cannot be read.
    #[error(
        "cannot be read as postgres://user:password@host:port/database?option=value; in a password, what is not a \
         letter or a digit is written with a percent sign (@ is %40, and the one before the host is the only @ that \
         stays), a host is an address or a name of letters, digits, dots and dashes, and of the options only those of \
         a PostgreSQL URL are known"
    )]
    Malformed,
    /// No host, and there is no default for it.
    #[error("names no host: postgres://user@host/database, or a socket's directory as %2Frun%2Fpostgresql")]
    Host,
    /// No database, and there is no default for it.
    #[error("names no database after the host")]
    Database,
    /// Modes that become a plain connection when the server likes that better.
    #[error("sslmode=prefer and sslmode=allow may end without TLS unnoticed: say verify-full, or disable")]
    Unsure,
    /// No such mode.
    #[error("sslmode takes disable, require, verify-ca or verify-full")]
    Mode,
    /// There is no TLS on a Unix socket.
    #[error("a Unix socket has no TLS: leave sslmode out")]
    SocketTls,
    /// Roots that nothing is checked against.
    #[error("sslrootcert is given, but this connection uses no TLS: say sslmode=verify-full, or leave it out")]
    UselessRoots,
    /// The file of the authorities.
    #[error("sslrootcert takes the absolute path of a file with certificates (PEM)")]
    Roots,
}

impl DatabaseUrl {
    /// What the driver connects with. TLS is decided by [`DatabaseUrl::tls`] alone.
    ///
    /// # Errors
    /// None for a value that was parsed, since the same text was read then.
    pub(crate) fn driver_config(&self) -> Result<Config, tokio_postgres::Error> {
        let mut config: Config = self.url.expose().parse()?;
        // Never `Prefer`, the driver's default: it would go on in plain words with a server that has no TLS.
        config.ssl_mode(match self.tls {
            DatabaseTls::Plain => SslMode::Disable,
            DatabaseTls::Verified { .. } => SslMode::Require,
        });
        Ok(config)
    }

    /// What protects the way to it.
    #[must_use]
    pub fn tls(&self) -> &DatabaseTls {
        &self.tls
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_URL_BYTES {
            return Err(DatabaseUrlError::TooLong);
        }
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or(DatabaseUrlError::Scheme)?;
        if !one_meaning(rest) {
            return Err(DatabaseUrlError::Malformed);
        }
        let Options { url, mode, roots, said } = take_options(text)?;
        // The driver's own words may hold a piece of the text.
        let config: Config = url.expose().parse().map_err(|_| DatabaseUrlError::Malformed)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(DatabaseUrlError::Host);
        }
        if !config.get_hosts().iter().all(is_host) {
            return Err(DatabaseUrlError::Malformed);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(DatabaseUrlError::Database);
        }
        let tls = protection(&config, mode, roots)?;
        Ok(Self { shown: format!("{}{said}", shown(&config)), url, tls })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.shown).finish()
    }
}

/// Whether it can be told where user and password end. The driver ends them at the first `@`, whatever is before it: a
/// second one may be a password's, whose rest would be taken for host and database, shown, and looked up by name.
fn one_meaning(rest: &str) -> bool {
    match rest.split_once('@') {
        Some((user, rest)) => !user.contains(['/', '?']) && !rest.contains('@'),
        None => true,
    }
}

/// Whether it is one: nothing else is looked up by name.
fn is_host(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let letters = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            name.parse::<IpAddr>().is_ok() || (!name.is_empty() && letters(name))
        }
    }
}

/// The modes that may be said.
#[derive(Clone, Copy)]
enum Mode {
    Disable,
    Verify,
}

struct Options {
    url: SecretString,
    mode: Option<Mode>,
    roots: Option<PathBuf>,
    /// The two as they were said, with their `?`.
    said: String,
}

/// Takes out of the query what the driver does not know, or knows in a weaker sense.
fn take_options(text: &str) -> Result<Options, DatabaseUrlError> {
    let Some((before, query)) = text.split_once('?') else {
        return Ok(Options { url: SecretString::from(text), mode: None, roots: None, said: String::new() });
    };
    let (mut mode, mut roots, mut kept, mut said) = (None, None, String::new(), String::new());
    let add = |query: &mut String, option: &str| {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(option);
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').ok_or(DatabaseUrlError::Malformed)?;
        match name {
            "sslmode" => {
                mode = Some(match value {
                    "disable" => Mode::Disable,
                    "require" | "verify-ca" | "verify-full" => Mode::Verify,
                    "prefer" | "allow" => return Err(DatabaseUrlError::Unsure),
                    _ => return Err(DatabaseUrlError::Mode),
                });
                add(&mut said, option);
            }
            "sslrootcert" => {
                let path = percent_decode_str(value).decode_utf8().map_err(|_| DatabaseUrlError::Roots)?;
                let path = PathBuf::from(path.into_owned());
                roots = Some(path).filter(|path| path.is_absolute());
                roots.as_ref().ok_or(DatabaseUrlError::Roots)?;
                add(&mut said, option);
            }
            _ => add(&mut kept, option),
        }
    }
    Ok(Options { url: SecretString::new(format!("{before}{kept}")), mode, roots, said })
}

fn protection(config: &Config, mode: Option<Mode>, roots: Option<PathBuf>) -> Result<DatabaseTls, DatabaseUrlError> {
    let socket = config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
    let stays_here = config.get_hosts().iter().all(local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    let plain = match mode {
        Some(Mode::Disable) => true,
        Some(Mode::Verify) => false,
        None => stays_here && roots.is_none(),
    };
    match (plain, roots) {
        (true, Some(_)) => Err(DatabaseUrlError::UselessRoots),
        (true, None) => Ok(DatabaseTls::Plain),
        (false, _) if socket => Err(DatabaseUrlError::SocketTls),
        (false, roots) => Ok(DatabaseTls::Verified { roots }),
    }
}

/// Whether traffic to it stays on this machine.
fn local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        }
    }
}

fn shown(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string().replace('/', "%2F"),
    });
    let hosts: Vec<String> = match config.get_hosts() {
        [] => config.get_hostaddrs().iter().map(ToString::to_string).collect(),
        _ => hosts.collect(),
    };
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let port = config.get_ports().first().filter(|port| **port != DEFAULT_PORT);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("postgres://{user}{}{port}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn tls(text: &str) -> Result<DatabaseTls, DatabaseUrlError> {
        text.parse::<DatabaseUrl>().map(|url| url.tls)
    }

    const SYSTEM: DatabaseTls = DatabaseTls::Verified { roots: None };

    #[test]
    fn what_stays_on_the_machine_may_be_plain() {
        for here in ["localhost", "127.0.0.1:5433", "127.8.9.1", "[::1]", "%2Frun%2Fpostgresql"] {
            assert_eq!(tls(&format!("postgres://u@{here}/d")), Ok(DatabaseTls::Plain), "{here}");
        }
        assert_eq!(tls("postgresql:///d?host=/run/postgresql"), Ok(DatabaseTls::Plain));
    }

    #[test]
    fn what_leaves_it_is_verified_unless_somebody_says_otherwise() {
        for there in ["db.example.org", "10.0.0.1", "[2001:db8::1]", "localhost.example.org", "localhost,10.0.0.1"] {
            let url = format!("postgres://u@{there}/d");
            assert_eq!(tls(&url), Ok(SYSTEM), "{there}");
            for mode in ["require", "verify-ca", "verify-full"] {
                assert_eq!(tls(&format!("{url}?sslmode={mode}")), Ok(SYSTEM), "{there} {mode}");
            }
            assert_eq!(tls(&format!("{url}?connect_timeout=3&sslmode=disable")), Ok(DatabaseTls::Plain));
        }
        // A name for here that leads elsewhere.
        assert_eq!(tls("postgres://u@localhost/d?hostaddr=10.0.0.1"), Ok(SYSTEM));
        assert_eq!(tls("postgres://u@localhost/d?sslmode=verify-full"), Ok(SYSTEM));
    }

    #[test]
    fn no_mode_is_weaker_than_it_sounds() {
        let url = |mode: &str| tls(&format!("postgres://u@h/d?sslmode={mode}"));
        assert_eq!(url("prefer"), Err(DatabaseUrlError::Unsure));
        assert_eq!(url("allow"), Err(DatabaseUrlError::Unsure));
        assert_eq!(url(""), Err(DatabaseUrlError::Mode));
        assert_eq!(url("Disable"), Err(DatabaseUrlError::Mode));
        let config = |text: &str| text.parse::<DatabaseUrl>().unwrap().driver_config().unwrap();
        assert_eq!(config("postgres://u@h/d").get_ssl_mode(), SslMode::Require);
        assert_eq!(config("postgres://u@localhost/d").get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn authorities_of_ones_own_are_a_file() {
        let own = DatabaseTls::Verified { roots: Some("/etc/my ca.pem".into()) };
        assert_eq!(tls("postgres://u@h/d?sslrootcert=/etc/my%20ca.pem"), Ok(own.clone()));
        // Whoever names authorities wants them asked, here too.
        assert_eq!(tls("postgres://u@localhost/d?sslrootcert=/etc/my%20ca.pem"), Ok(own));
        assert_eq!(tls("postgres://u@h/d?sslrootcert=ca.pem"), Err(DatabaseUrlError::Roots));
        let useless = "postgres://u@h/d?sslrootcert=/ca.pem&sslmode=disable";
        assert_eq!(tls(useless), Err(DatabaseUrlError::UselessRoots));
        assert_eq!(tls("postgres://u@%2Frun/d?sslmode=verify-full"), Err(DatabaseUrlError::SocketTls));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(tls("mysql://u@h/d"), Err(DatabaseUrlError::Scheme));
        assert_eq!(tls("postgres:///d"), Err(DatabaseUrlError::Host));
        assert_eq!(tls("postgres://u@h"), Err(DatabaseUrlError::Database));
        assert_eq!(tls("postgres://u@h/d?sslcert=/x"), Err(DatabaseUrlError::Malformed));
        assert_eq!(tls(&format!("postgres://u@h/{}", "d".repeat(MAX_URL_BYTES))), Err(DatabaseUrlError::TooLong));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://ada:hunter2@db.example.org:5433/mesh?application_name=x".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://ada@db.example.org:5433/mesh");
        assert_eq!(url.driver_config().unwrap().get_password(), Some(b"hunter2".as_slice()));
        assert!(!format!("{url:?}").contains("hunter2"));
        let url: DatabaseUrl = "postgres://ada:hunter2@h/mesh?sslmode=disable&options=-c%20a=b".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://ada@h/mesh?sslmode=disable");
        // What cannot be read is not repeated: it may be a piece of a password.
        for broken in [
            "postgres://ada:x@h/d?hunter2=1",
            "postgres://ada:hunter2@h:port/d",
            "postgres://ada:hunter2",
            // An `@` too many: what follows the first one is not host, database and options.
            "postgres://ada:hun@ter2@db/mesh",
            "postgres://ada:hun@ter2/x@db/mesh",
            "postgres://ada:hun@ter2/x?options=y@db/mesh",
            "postgres://h/d?user=ada&password=hun@ter2/x",
            "postgres://ada:1/d?sslrootcert=/hunter2@db/mesh",
            "postgres://ada:hun/ter2@db/mesh",
            // What is no host's name is not looked up.
            "postgres://ada:x@hun%40ter2/mesh",
            "postgres://ada:x@hun!ter2/mesh",
            "postgres://ada:x@:5433/hunter2",
            "postgres:///mesh?host=hun%20ter2",
        ] {
            let error = broken.parse::<DatabaseUrl>().map(|url| url.to_string()).expect_err(broken);
            assert_eq!(error, DatabaseUrlError::Malformed, "{broken}");
            let said = format!("{error} {error:?}");
            assert!(!said.contains("ter2") && said.contains("@ is %40"), "{said}");
        }
        let url: DatabaseUrl = "postgres://ada:hun%40ter2%2F%3F@db-1.my_net/mesh".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://ada@db-1.my_net/mesh");
        assert_eq!(url.driver_config().unwrap().get_password(), Some(b"hun@ter2/?".as_slice()));
    }
}
