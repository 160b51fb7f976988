//! `config.json`, its keys, and each mesh's broker and clock.

use std::time::Duration;

use protocol::config::MeshEntry;

use super::Check;
use crate::client::{Mesh, Pushes};
use crate::endpoint::Endpoint;
use crate::error::{CliError, Kind};
use crate::operator::Operator;
use crate::output::{Printer, age};
use crate::profile::{Membership, Profile};
use crate::text;

/// How long a broker may take to say the time.
const CLOCK_LIMIT: Duration = Duration::from_secs(10);
/// A hello that is further off than this is refused; ms.
const MAX_SKEW_MS: u64 = 60_000;
/// Half of it: it works, and not for long; ms.
const MUCH_SKEW_MS: u64 = MAX_SKEW_MS / 2;

/// Looks at all of it; at the brokers only if `config.json` can be read.
pub(crate) async fn look(printer: Printer) -> Vec<Check> {
    let profile = match Profile::from_environment() {
        Ok(profile) => profile,
        Err(error) => return vec![failure("config", &error)],
    };
    let (meshes, display_name) = match profile.meshes() {
        Ok(known) => known,
        Err(error) => return vec![failure("config", &error)],
    };
    let path = profile.path();
    let path = path.display();
    let mut checks = vec![if meshes.is_empty() {
        Check::warning(
            "config",
            format!("{path} knows no mesh"),
            "claudemesh up starts one; claudemesh join LINK joins one",
        )
    } else if profile.is_open_to_others() {
        Check::failed("config", format!("others can read the keys in {path}"), format!("chmod 600 {path}"))
    } else {
        Check::ok("config", format!("{path} can be read; meshes: {}", meshes.len()))
    }];
    for mesh in meshes {
        let slug = text::line(&mesh.slug);
        checks.push(keys(&slug, &mesh));
        checks.push(clock(&slug, &mesh).await);
        let membership = Membership { mesh, display_name: display_name.clone() };
        checks.push(match Mesh::connect(profile.clone(), membership, printer, Pushes::Dropped).await {
            Ok(mesh) => {
                mesh.close().await;
                Check::ok("broker", format!("`{slug}` lets you in"))
            }
            Err(mut error) => {
                error.message = format!("`{slug}`: {}", error.message);
                failure("broker", &error)
            }
        });
    }
    checks
}

fn keys(slug: &str, mesh: &MeshEntry) -> Check {
    match mesh.member_key() {
        Ok(_) => Check::ok("keys", format!("those of `{slug}` belong together")),
        Err(error) => {
            let remedy = "restore a copy of config.json, or join anew: claudemesh join LINK";
            Check::failed("keys", format!("`{slug}`: {error}"), remedy)
        }
    }
}

/// By the time that the broker's answers carry.
async fn clock(slug: &str, mesh: &MeshEntry) -> Check {
    let asked = async {
        let broker = Operator::stranger(Endpoint::parse(&mesh.broker_url)?)?;
        broker.get_within(&["health"], &[], CLOCK_LIMIT).await
    };
    let theirs = match asked.await {
        Ok(answer) => answer.date.as_deref().and_then(moment),
        Err(error) if error.kind == Kind::Unreachable => None,
        Err(error) => return failure("clock", &error),
    };
    judge_clock(slug, theirs, age::now_ms())
}

/// An HTTP date, ms since the Unix epoch.
fn moment(date: &str) -> Option<u64> {
    let zoned = jiff::fmt::rfc2822::parse(date).ok()?;
    u64::try_from(zoned.timestamp().as_millisecond()).ok()
}

fn judge_clock(slug: &str, theirs: Option<u64>, ours: u64) -> Check {
    let Some(theirs) = theirs else {
        let remedy = "reach the broker first (see there), and look again";
        return Check::warning("clock", format!("the broker of `{slug}` does not say the time"), remedy);
    };
    let skew = ours.abs_diff(theirs);
    let found = format!("{} s off that of the broker of `{slug}`", skew / 1000);
    let remedy = "set this machine's clock, or the broker's, by a time server: a minute off is refused";
    match skew {
        0..=MUCH_SKEW_MS => Check::ok("clock", found),
        _ if skew <= MAX_SKEW_MS => Check::warning("clock", found, remedy),
        _ => Check::failed("clock", found, remedy),
    }
}

fn failure(name: &'static str, error: &CliError) -> Check {
    let remedy = error.hint.as_deref().unwrap_or("claudemesh health and claudemesh tree show more");
    Check::failed(name, text::line(&error.message), text::line(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_is_judged_by_what_a_broker_refuses() {
        let then = moment("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(then, Some(784_111_777_000));
        for (ours, expected) in [
            (784_111_777_000, Verdict::Ok),
            (784_111_747_000, Verdict::Ok),
            (784_111_822_000, Verdict::Warning),
            (784_111_716_000, Verdict::Failed),
        ] {
            assert_eq!(judge_clock("m", then, ours).verdict, expected, "{ours}");
        }
        assert_eq!(judge_clock("m", None, 0).verdict, Verdict::Warning);
    }
}
