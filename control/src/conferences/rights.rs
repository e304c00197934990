//! Permissions of roles. No I/O.

use confab_protocol::control::room::Role;

/// An operation of one account on the membership of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Makes the account a member or a listener.
    Invite(Role),
    /// Changes the role.
    SetRole(Role),
    /// Removes the account's devices from the room.
    Kick,
    /// Removes the account and refuses it from then on.
    Ban,
    /// Mutes or unmutes the account.
    Mute,
}

/// The reason for a missing permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The operation does not grant this role.
    RoleNotGiven,
    Banned,
    /// The account is neither the owner nor a moderator.
    NotAModerator,
    /// The other account is the owner.
    TargetIsOwner,
    /// The other account is a moderator, and this account is not the owner.
    TargetIsModerator,
    /// Only the owner grants the role of a moderator.
    OwnerMakesModerators,
}

/// Checks that an account of role `actor` may do `act` to one of role `target`; `None` is an account without a standing.
/// `to_self` is true if both are the same account.
pub fn check(actor: Role, act: Act, target: Option<Role>, to_self: bool) -> Result<(), Denied> {
    if let Act::Invite(role) | Act::SetRole(role) = act
        && !is_given(act, role)
    {
        return Err(Denied::RoleNotGiven);
    }
    if actor == Role::Banned {
        return Err(Denied::Banned);
    }
    if !matches!(actor, Role::Owner | Role::Moderator) {
        return Err(Denied::NotAModerator);
    }
    if target == Some(Role::Owner) && !(to_self && act == Act::Mute) {
        return Err(Denied::TargetIsOwner);
    }
    if actor == Role::Owner || (to_self && act == Act::Mute) {
        return Ok(());
    }
    if target == Some(Role::Moderator) {
        return Err(Denied::TargetIsModerator);
    }
    if act == Act::SetRole(Role::Moderator) {
        return Err(Denied::OwnerMakesModerators);
    }
    Ok(())
}

fn is_given(act: Act, role: Role) -> bool {
    match role {
        Role::Member | Role::Listener => true,
        Role::Moderator | Role::Banned => matches!(act, Act::SetRole(_)),
        Role::Owner | Role::Unspecified => false,
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::{ErrorCode, Refusal};

    use super::*;

    const ROLES: [Role; 5] = [
        Role::Owner,
        Role::Moderator,
        Role::Member,
        Role::Listener,
        Role::Banned,
    ];

    fn code(actor: Role, act: Act, target: Option<Role>) -> Option<ErrorCode> {
        let denied = check(actor, act, target, false).err()?;
        Some(Refusal::from(denied).code)
    }

    #[test]
    fn members_and_listeners_cannot_moderate() {
        for act in [
            Act::Invite(Role::Member),
            Act::SetRole(Role::Member),
            Act::Kick,
            Act::Ban,
            Act::Mute,
        ] {
            for target in ROLES {
                assert_eq!(
                    code(Role::Member, act, Some(target)),
                    Some(ErrorCode::Denied)
                );
                assert_eq!(
                    code(Role::Listener, act, Some(target)),
                    Some(ErrorCode::Denied)
                );
                assert_eq!(
                    code(Role::Banned, act, Some(target)),
                    Some(ErrorCode::Banned)
                );
            }
        }
    }

    #[test]
    fn the_owner_cannot_be_moderated() {
        for actor in [Role::Owner, Role::Moderator] {
            for act in [Act::SetRole(Role::Member), Act::Kick, Act::Ban, Act::Mute] {
                assert_eq!(code(actor, act, Some(Role::Owner)), Some(ErrorCode::Owner));
            }
        }
        assert_eq!(
            check(Role::Owner, Act::Mute, Some(Role::Owner), true),
            Ok(())
        );
    }

    #[test]
    fn a_moderator_moderates_members_and_listeners_only() {
        for target in [
            None,
            Some(Role::Member),
            Some(Role::Listener),
            Some(Role::Banned),
        ] {
            for act in [
                Act::SetRole(Role::Member),
                Act::SetRole(Role::Banned),
                Act::Kick,
                Act::Ban,
            ] {
                assert_eq!(code(Role::Moderator, act, target), None);
            }
            assert_eq!(
                code(Role::Moderator, Act::SetRole(Role::Moderator), target),
                Some(ErrorCode::Denied)
            );
        }
        assert_eq!(
            code(Role::Moderator, Act::Ban, Some(Role::Moderator)),
            Some(ErrorCode::Denied)
        );
        assert_eq!(code(Role::Owner, Act::Ban, Some(Role::Moderator)), None);
    }

    #[test]
    fn ownership_is_never_granted_and_moderators_are_not_invited() {
        for role in [Role::Owner, Role::Unspecified] {
            assert_eq!(
                code(Role::Owner, Act::SetRole(role), None),
                Some(ErrorCode::InvalidArgument)
            );
        }
        for role in [Role::Moderator, Role::Banned] {
            assert_eq!(
                code(Role::Owner, Act::Invite(role), None),
                Some(ErrorCode::InvalidArgument)
            );
        }
    }
}
