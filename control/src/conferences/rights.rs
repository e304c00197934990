//! Who may do what to whom. No I/O.

use confab_protocol::control::room::Role;
use confab_protocol::control::{ErrorCode, Refusal};

/// What one account wants to do to another's place in a conference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Make it a member or a listener.
    Invite(Role),
    /// Give it a role.
    SetRole(Role),
    /// Take its devices out of the room.
    Kick,
    /// Keep it out.
    Ban,
    /// Silence it, or lift that.
    Mute,
}

/// Whether somebody of role `actor` may do `deed` to somebody of role `target` (`None`: to somebody with no standing);
/// `to_self` when both are the same account.
pub fn check(actor: Role, deed: Deed, target: Option<Role>, to_self: bool) -> Result<(), Refusal> {
    let denied = |message: &str| Err(Refusal::new(ErrorCode::Denied, message));
    if let Deed::Invite(role) | Deed::SetRole(role) = deed
        && !is_given(deed, role)
    {
        return Err(Refusal::invalid("role", "this role cannot be given"));
    }
    if actor == Role::Banned {
        return Err(Refusal::new(
            ErrorCode::Banned,
            "you are banned from this conference",
        ));
    }
    if !matches!(actor, Role::Owner | Role::Moderator) {
        return denied("only the owner and the moderators of the conference may do this");
    }
    if target == Some(Role::Owner) && !(to_self && deed == Deed::Mute) {
        return Err(Refusal::new(
            ErrorCode::Owner,
            "the owner cannot be demoted, silenced, kicked or banned",
        ));
    }
    if actor == Role::Owner || (to_self && deed == Deed::Mute) {
        return Ok(());
    }
    if target == Some(Role::Moderator) {
        return denied("only the owner may do this to a moderator");
    }
    if deed == Deed::SetRole(Role::Moderator) {
        return denied("only the owner may make somebody a moderator");
    }
    Ok(())
}

fn is_given(deed: Deed, role: Role) -> bool {
    match role {
        Role::Member | Role::Listener => true,
        Role::Moderator | Role::Banned => matches!(deed, Deed::SetRole(_)),
        Role::Owner | Role::Unspecified => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 5] = [
        Role::Owner,
        Role::Moderator,
        Role::Member,
        Role::Listener,
        Role::Banned,
    ];

    fn code(actor: Role, deed: Deed, target: Option<Role>) -> Option<ErrorCode> {
        check(actor, deed, target, false)
            .err()
            .map(|refusal| refusal.code)
    }

    #[test]
    fn members_and_listeners_may_do_nothing_to_others() {
        for deed in [
            Deed::Invite(Role::Member),
            Deed::SetRole(Role::Member),
            Deed::Kick,
            Deed::Ban,
            Deed::Mute,
        ] {
            for target in ROLES {
                assert_eq!(
                    code(Role::Member, deed, Some(target)),
                    Some(ErrorCode::Denied)
                );
                assert_eq!(
                    code(Role::Listener, deed, Some(target)),
                    Some(ErrorCode::Denied)
                );
                assert_eq!(
                    code(Role::Banned, deed, Some(target)),
                    Some(ErrorCode::Banned)
                );
            }
        }
    }

    #[test]
    fn nobody_touches_the_owner() {
        for actor in [Role::Owner, Role::Moderator] {
            for deed in [
                Deed::SetRole(Role::Member),
                Deed::Kick,
                Deed::Ban,
                Deed::Mute,
            ] {
                assert_eq!(code(actor, deed, Some(Role::Owner)), Some(ErrorCode::Owner));
            }
        }
        assert_eq!(
            check(Role::Owner, Deed::Mute, Some(Role::Owner), true),
            Ok(())
        );
    }

    #[test]
    fn a_moderator_rules_those_below() {
        for target in [
            None,
            Some(Role::Member),
            Some(Role::Listener),
            Some(Role::Banned),
        ] {
            for deed in [
                Deed::SetRole(Role::Member),
                Deed::SetRole(Role::Banned),
                Deed::Kick,
                Deed::Ban,
            ] {
                assert_eq!(code(Role::Moderator, deed, target), None);
            }
            assert_eq!(
                code(Role::Moderator, Deed::SetRole(Role::Moderator), target),
                Some(ErrorCode::Denied)
            );
        }
        assert_eq!(
            code(Role::Moderator, Deed::Ban, Some(Role::Moderator)),
            Some(ErrorCode::Denied)
        );
        assert_eq!(code(Role::Owner, Deed::Ban, Some(Role::Moderator)), None);
    }

    #[test]
    fn ownership_is_never_given_and_moderators_are_not_invited() {
        for role in [Role::Owner, Role::Unspecified] {
            assert_eq!(
                code(Role::Owner, Deed::SetRole(role), None),
                Some(ErrorCode::InvalidArgument)
            );
        }
        for role in [Role::Moderator, Role::Banned] {
            assert_eq!(
                code(Role::Owner, Deed::Invite(role), None),
                Some(ErrorCode::InvalidArgument)
            );
        }
    }
}
