//! Records for tests, and functions that store them.

use super::*;

pub(crate) async fn make_account(store: &Arc<dyn Store>) -> AccountRecord {
    let account = some_account();
    assert_eq!(store.create_account(account.clone()).await, Ok(()));
    account
}

pub(crate) async fn make_session(
    store: &Arc<dyn Store>,
    account: &AccountRecord,
    expires: UnixMillis,
) -> SessionRecord {
    let session = some_session(account, expires);
    assert_eq!(store.create_session(session.clone()).await, Ok(()));
    session
}

pub(crate) async fn make_conference(
    store: &Arc<dyn Store>,
    owner: &AccountRecord,
) -> ConferenceRecord {
    let conference = some_conference(owner);
    assert_eq!(store.create_conference(conference.clone()).await, Ok(()));
    conference
}

pub(crate) fn some_account() -> AccountRecord {
    let id: [u8; 16] = random::time_ordered_id(NOW);
    let name = data_encoding::HEXLOWER.encode(&id[6..]);
    AccountRecord {
        id: AccountId::new(id),
        email: Some(
            format!("{name}@example.org")
                .parse()
                .expect("it is an address"),
        ),
        birthday: Some("2004-02-29".parse().expect("a day")),
        ..AccountRecord::new(
            AccountKind::Person,
            name.parse().expect("20 hexadecimal digits are a name"),
            some_hash(),
            NOW,
        )
    }
}

/// The e-mail address of an account of [`some_account`].
pub(crate) fn email_of(account: &AccountRecord) -> Email {
    account.email.clone().expect("it has one")
}

pub(crate) fn some_hash() -> PasswordHash {
    let mut bytes = [1; 60];
    random::fill(&mut bytes[12..]);
    PasswordHash::from_bytes(&bytes).expect("the form is right")
}

pub(crate) fn some_session(account: &AccountRecord, expires: UnixMillis) -> SessionRecord {
    SessionRecord {
        id: SessionId(random::time_ordered_id(expires)),
        account: account.id,
        generation: 0,
        secret_hash: random::bytes(),
        used: true,
        device: "a phone – Ann's".parse().expect("a name"),
        created: NOW,
        rotated: NOW,
        expires,
    }
}

pub(crate) fn some_conference(owner: &AccountRecord) -> ConferenceRecord {
    let id: [u8; 16] = random::time_ordered_id(NOW);
    ConferenceRecord {
        id: ConferenceId::new(id),
        slug: data_encoding::HEXLOWER
            .encode(&id[6..])
            .parse()
            .expect("a slug"),
        title: "Пятничный вечер".parse().expect("a title"),
        visibility: Visibility::Invite,
        owner: owner.id,
        owner_name: owner.username.clone(),
        created: NOW,
        region: Some("eu-west".parse().expect("a region")),
        revision: 0,
    }
}
