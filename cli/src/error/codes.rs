//! What the broker's codes mean at the command line.

use super::Kind;

/// What the broker's codes mean to a person: kind, and what to do. An unknown code is a plain failure, so a newer
/// broker can add codes.
pub(super) const CODES: &[(&str, Kind, &str)] = &[
    // hello
    ("no_hello", Kind::Failed, ""),
    (
        "unauthorized",
        Kind::Refused,
        "this member is not (or no longer) in the mesh: ask an admin of the mesh for an invite",
    ),
    ("bad_signature", Kind::Refused, "the key in config.json is not the one this member joined with: join again"),
    ("timestamp_skew", Kind::Refused, "set this machine's clock: a minute off is too much"),
    ("replayed", Kind::Refused, "run the command again"),
    ("session_taken", Kind::Refused, "run the command again"),
    (
        "capacity",
        Kind::Refused,
        "too many connections to this mesh: close some, or raise MAX_CONNECTIONS_PER_MESH at the broker",
    ),
    // requests
    ("invalid_name", Kind::Usage, ""),
    ("bad_request", Kind::Usage, ""),
    ("malformed", Kind::Usage, ""),
    ("bad_json", Kind::Failed, ""),
    (
        "unknown_type",
        Kind::Failed,
        "the broker does not know this request: update it to this version (claudemesh version)",
    ),
    ("too_large", Kind::Refused, "send less, or raise MAX_MESSAGE_BYTES at the broker"),
    ("limit", Kind::Refused, "undeploy something first, or raise the limit at the broker"),
    ("forbidden", Kind::Refused, "only whoever deployed it, or an admin of the mesh, may do that"),
    ("deploy_error", Kind::Failed, ""),
    ("superseded", Kind::Failed, "a newer deploy of the same service took its place: claudemesh catalog shows it"),
    ("internal", Kind::Failed, "the broker's log says more"),
    ("storage_full", Kind::Refused, "the broker's disk is nearly full: free some space there"),
    // calls
    ("not_found", Kind::Failed, "claudemesh catalog shows the services you may use"),
    ("not_running", Kind::Failed, "claudemesh logs NAME shows why it stopped"),
    ("outcome_unknown", Kind::Failed, "the call may or may not have taken effect: look before you repeat it"),
    ("link_lost", Kind::Failed, "the call may or may not have taken effect: look before you repeat it"),
    (
        "poison",
        Kind::Failed,
        "the service died twice while it worked on this call: do not repeat it, see claudemesh logs NAME",
    ),
    (
        "poisoned",
        Kind::Refused,
        "three of your calls within a minute each took the service down twice: find out which before you go on",
    ),
    (
        "circuit_open",
        Kind::Refused,
        "it answered none of the last calls in time: claudemesh logs NAME may show why; it is tried again by itself",
    ),
    (
        "timeout",
        Kind::TimedOut,
        "the service may still be working on it: look before you repeat it, or give a longer --timeout",
    ),
    ("overloaded", Kind::Refused, "too many calls are in flight: try again in a moment"),
    ("draining", Kind::Refused, "it is shutting down: try again in a moment"),
    ("cancelled", Kind::Failed, ""),
    ("unreachable", Kind::Unreachable, "the service's runner does not answer: claudemesh tree shows its link"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CliError;

    #[test]
    fn broker_codes_have_the_right_kind_and_no_duplicates() {
        for (code, kind) in [
            ("unauthorized", Kind::Refused),
            ("timestamp_skew", Kind::Refused),
            ("invalid_name", Kind::Usage),
            ("deploy_error", Kind::Failed),
            ("timeout", Kind::TimedOut),
            ("unreachable", Kind::Unreachable),
            ("outcome_unknown", Kind::Failed),
            // What is not there, or must not be seen: it was tried, and nobody refused it.
            ("not_found", Kind::Failed),
            ("not_running", Kind::Failed),
            ("superseded", Kind::Failed),
            ("forbidden", Kind::Refused),
            ("limit", Kind::Refused),
            ("overloaded", Kind::Refused),
            ("something_from_the_future", Kind::Failed),
        ] {
            assert_eq!(CliError::from_code(code, "m").kind, kind, "{code}");
        }
        let mut codes: Vec<_> = CODES.iter().map(|(code, _, _)| code).collect();
        codes.sort();
        let before = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), before, "a code is listed twice");
    }

    #[test]
    fn every_code_of_the_wire_has_a_meaning_here() {
        let mut wire: Vec<_> = protocol::wire::ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        let mut here: Vec<_> = CODES.iter().map(|(code, _, _)| *code).collect();
        wire.sort_unstable();
        here.sort_unstable();
        assert_eq!(here, wire);
    }
}
