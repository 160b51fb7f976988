//! Who may do what with a service: one function, asked by every verb and every event.
//!
//! Pure. Deny by default. A scope stores member ids and is decided by what a member *is*; groups that
//! anybody may join are routing and not a guard, so a scope that rests on one says so (`guards`). A restricted group
//! guards: a principal's groups are those of the signed lists, and of what a session says only the open ones.

use protocol::wire::Scope;

use super::roster::GroupLists;
use crate::store::Role;

/// Most names one scope may list.
pub const MAX_NAMES: usize = 64;

/// Who asks: what a peer session, and later an HTTP token, yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The member's id.
    pub member_id: String,
    /// The member's public key, 64 hex.
    pub pubkey: String,
    /// Shown to people; decides nothing.
    pub display_name: String,
    /// The member's role.
    pub role: Role,
    /// Groups of this session, without `@`: the open ones that it says, and the restricted ones that list its member.
    pub groups: Vec<String>,
}

/// Why a scope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The list has too many names, or none.
    #[error("`scope` must name between 1 and {MAX_NAMES} of them")]
    Count,
    /// An empty name.
    #[error("`scope` has an empty name")]
    Empty,
    /// Nobody is called that.
    #[error("`scope.peers` names `{0}`, who is no member of this mesh")]
    NoMember(String),
}

/// Brings a scope into the form that is stored: group names without `@`, members by id. `member` finds a
/// member's id by key, id or name.
///
/// # Errors
/// [`ScopeError`].
pub fn settled(scope: Scope, member: impl Fn(&str) -> Option<String>) -> Result<Scope, ScopeError> {
    let group = |name: String| name.strip_prefix('@').map(str::to_owned).unwrap_or(name);
    let settled = match scope {
        Scope::Peers(names) => {
            let id = |name: String| member(&name).ok_or(ScopeError::NoMember(name));
            Scope::Peers(counted(names)?.into_iter().map(id).collect::<Result<_, _>>()?)
        }
        Scope::Groups(names) => Scope::Groups(counted(names)?.into_iter().map(group).collect()),
        Scope::Group(name) => Scope::Group(group(name)),
        plain => plain,
    };
    match &settled {
        Scope::Group(name) | Scope::Role(name) if name.is_empty() => Err(ScopeError::Empty),
        Scope::Groups(names) if names.iter().any(String::is_empty) => Err(ScopeError::Empty),
        _ => Ok(settled),
    }
}

fn counted(names: Vec<String>) -> Result<Vec<String>, ScopeError> {
    if names.is_empty() || names.len() > MAX_NAMES { Err(ScopeError::Count) } else { Ok(names) }
}

/// Whether a scope keeps anybody out who wants in: open groups are chosen by their members, restricted ones are not.
#[must_use]
pub fn guards(scope: &Scope, lists: &GroupLists) -> bool {
    open_groups(scope, lists).next().is_none()
}

/// The groups that a scope rests on and that anybody may join.
pub fn open_groups<'a>(scope: &'a Scope, lists: &'a GroupLists) -> impl Iterator<Item = &'a str> {
    let names = match scope {
        Scope::Group(name) => std::slice::from_ref(name),
        Scope::Groups(names) => names.as_slice(),
        Scope::Peer | Scope::Mesh | Scope::Peers(_) | Scope::Role(_) => &[],
    };
    names.iter().map(String::as_str).filter(|name| lists.of(name).is_none())
}

/// What somebody wants to do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// See that it exists, its state, its tools, its events.
    See,
    /// Call its tools.
    Call,
    /// Read its log.
    ReadLogs,
    /// Change, restart or remove it.
    Manage,
}

/// The one decision: may `who` do `verb` with a service of this scope that `deployed_by` deployed?
#[must_use]
pub fn may(who: &Principal, verb: Verb, scope: &Scope, deployed_by: &str) -> bool {
    let manages = who.member_id == deployed_by || matches!(who.role, Role::Owner | Role::Admin);
    match verb {
        Verb::Manage => manages,
        Verb::See | Verb::Call | Verb::ReadLogs => manages || is_in(who, scope),
    }
}

fn is_in(who: &Principal, scope: &Scope) -> bool {
    match scope {
        // The deployer has been let in already.
        Scope::Peer => false,
        Scope::Mesh => true,
        Scope::Peers(ids) => ids.contains(&who.member_id),
        Scope::Group(name) => who.groups.contains(name),
        Scope::Groups(names) => names.iter().any(|name| who.groups.contains(name)),
        Scope::Role(role) => who.role.as_str() == role,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn who(id: &str, role: Role, groups: &[&str]) -> Principal {
        Principal {
            member_id: id.to_owned(),
            pubkey: format!("{id}-key"),
            display_name: "deployer".to_owned(),
            role,
            groups: groups.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn h22_scopes_store_member_ids() {
        let member = |name: &str| (name == "ana").then(|| "id-of-ana".to_owned());
        assert_eq!(settled(Scope::Peers(vec!["ana".into()]), member), Ok(Scope::Peers(vec!["id-of-ana".into()])));
        assert_eq!(settled(Scope::Peers(vec!["bob".into()]), member), Err(ScopeError::NoMember("bob".into())));
        assert_eq!(settled(Scope::Group("@eng".into()), member), Ok(Scope::Group("eng".into())));
        assert_eq!(settled(Scope::Groups(vec![]), member), Err(ScopeError::Count));
        assert_eq!(settled(Scope::Role(String::new()), member), Err(ScopeError::Empty));
        let many = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
        assert_eq!(settled(Scope::Peers(many), member), Err(ScopeError::Count));
    }

    /// The whole matrix: verb × scope × who.
    #[test]
    fn h21_one_function_decides_and_denies_by_default() {
        let deployer = who("d", Role::Member, &[]);
        let admin = who("a", Role::Admin, &[]);
        let owner = who("o", Role::Owner, &[]);
        let other = who("x", Role::Member, &[]);
        let in_group = who("g", Role::Member, &["eng"]);
        let named = who("n", Role::Member, &[]);
        let scopes = [
            (Scope::Peer, vec![]),
            (Scope::Mesh, vec!["x", "g", "n"]),
            (Scope::Peers(vec!["n".into()]), vec!["n"]),
            (Scope::Group("eng".into()), vec!["g"]),
            (Scope::Groups(vec!["ops".into(), "eng".into()]), vec!["g"]),
            (Scope::Role("member".into()), vec!["x", "g", "n"]),
            (Scope::Role("owner".into()), vec![]),
        ];
        for (scope, let_in) in scopes {
            for person in [&deployer, &admin, &owner, &other, &in_group, &named] {
                let manages = ["d", "a", "o"].contains(&person.member_id.as_str());
                let uses = manages || let_in.contains(&person.member_id.as_str());
                assert_eq!(may(person, Verb::Manage, &scope, "d"), manages, "{scope:?} {person:?}");
                for verb in [Verb::See, Verb::Call, Verb::ReadLogs] {
                    assert_eq!(may(person, verb, &scope, "d"), uses, "{verb:?} {scope:?} {person:?}");
                }
            }
        }
    }

    #[test]
    fn a_scope_guards_unless_it_rests_on_a_group_that_anybody_joins() {
        let lists = GroupLists([("board".to_owned(), Default::default())].into());
        let named = |names: &[&str]| Scope::Groups(names.iter().map(|&name| name.to_owned()).collect());
        for (scope, expected) in [
            (Scope::Peer, true),
            (Scope::Mesh, true),
            (Scope::Peers(vec!["d".into()]), true),
            (Scope::Role("admin".into()), true),
            (Scope::Group("board".into()), true),
            (Scope::Group("eng".into()), false),
            (named(&["board"]), true),
            (named(&["board", "eng"]), false),
        ] {
            assert_eq!(guards(&scope, &lists), expected, "{scope:?}");
        }
    }

    #[test]
    fn h22_a_display_name_opens_nothing() {
        let mut impostor = who("x", Role::Member, &[]);
        impostor.display_name = "d".to_owned();
        assert!(!may(&impostor, Verb::See, &Scope::Peer, "d"));
        assert!(!may(&impostor, Verb::See, &Scope::Peers(vec!["d".into()]), "n"));
    }
}
