//! Accounts, their names and passwords.

use super::*;

pub(super) async fn run(store: &Arc<dyn Store>) {
    accounts_are_found_by_every_name(store).await;
    accounts_need_no_e_mail_address(store).await;
    guests_are_deleted_after_a_day(store).await;
    accounts_are_disabled_and_enabled(store).await;
    an_address_is_verified_while_it_is_the_account_s(store).await;
    an_address_is_changed_while_it_is_as_the_caller_knows_it(store).await;
    one_of_many_accounts_gets_the_address(store).await;
    all_accounts_are_listed_once(store).await;
    a_name_has_one_holder(store).await;
    one_of_many_claimants_gets_the_name(store).await;
    a_password_is_set_by_condition(store).await;
}

async fn accounts_are_found_by_every_name(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let found = Ok(Some(account.clone()));
    assert_eq!(store.account(account.id).await, found);
    assert_eq!(
        store.account_by_username(account.username.clone()).await,
        found
    );
    assert_eq!(store.account_by_email(email_of(&account)).await, found);
    assert_eq!(
        store.create_account(account).await,
        Ok(()),
        "it may be repeated"
    );
    let nobody = some_account();
    assert_eq!(store.account(nobody.id).await, Ok(None));
    assert_eq!(store.account_by_email(email_of(&nobody)).await, Ok(None));
    assert_eq!(store.account_by_username(nobody.username).await, Ok(None));
}

async fn accounts_need_no_e_mail_address(store: &Arc<dyn Store>) {
    let bare = || AccountRecord {
        email: None,
        birthday: None,
        kind: AccountKind::Bot,
        ..some_account()
    };
    for account in [bare(), bare()] {
        assert_eq!(store.create_account(account.clone()).await, Ok(()));
        assert_eq!(store.account(account.id).await, Ok(Some(account.clone())));
        assert_eq!(store.delete_account(account.id, NOW).await, Ok(()));
        assert_eq!(store.account(account.id).await, Ok(None));
    }
}

async fn guests_are_deleted_after_a_day(store: &Arc<dyn Store>) {
    let guest = AccountRecord {
        email: None,
        kind: AccountKind::Guest,
        guest: Some(GuestOrigin {
            device: DevicePublicKey(random::bytes()),
            invitation: Some(InvitationId(random::bytes())),
        }),
        ..some_account()
    };
    let ann = make_account(store).await;
    let conference = make_conference(store, &ann).await;
    assert_eq!(store.create_account(guest.clone()).await, Ok(()));
    let standing = Standing {
        role: Role::Member,
        muted: false,
        since: NOW,
        revision: 0,
    };
    let added = store.add_member(conference.id, guest.id, standing).await;
    assert_eq!(added, Ok(()));
    store.sweep(NOW.after(DAY)).await.expect("it sweeps");
    let found = store.account(guest.id).await;
    assert_eq!(found, Ok(Some(guest.clone())));
    store.sweep(NOW.after(DAY * 2)).await.expect("it sweeps");
    assert_eq!(store.account(guest.id).await, Ok(None));
    assert_eq!(store.member(conference.id, guest.id).await, Ok(None));
    assert_eq!(store.account(ann.id).await, Ok(Some(ann)));
}

async fn accounts_are_disabled_and_enabled(store: &Arc<dyn Store>) {
    let mut account = make_account(store).await;
    for disabled in [true, true, false, true] {
        assert_eq!(store.set_disabled(account.id, disabled).await, Ok(()));
        account.set_disabled(disabled);
        assert_eq!(store.account(account.id).await, Ok(Some(account.clone())));
    }
    assert_eq!(account.revision, 3, "a repetition changes nothing");
    let nobody = store.set_disabled(some_account().id, true).await;
    assert_eq!(nobody, Err(StoreError::NotFound));
}

async fn an_address_is_verified_while_it_is_the_account_s(store: &Arc<dyn Store>) {
    let mut account = make_account(store).await;
    let other = email_of(&some_account());
    let refused = store.verify_email(account.id, other.clone()).await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(store.account(account.id).await, Ok(Some(account.clone())));
    for _ in 0..2 {
        let verified = store.verify_email(account.id, email_of(&account)).await;
        assert_eq!(verified, Ok(()));
    }
    account.email_verified = true;
    assert_eq!(store.account(account.id).await, Ok(Some(account.clone())));
    let nobody = store.verify_email(some_account().id, other).await;
    assert_eq!(nobody, Err(StoreError::NotFound));
}

async fn an_address_is_changed_while_it_is_as_the_caller_knows_it(store: &Arc<dyn Store>) {
    let mut account = make_account(store).await;
    let (id, old, new) = (account.id, email_of(&account), email_of(&some_account()));
    assert_eq!(store.verify_email(id, old.clone()).await, Ok(()));
    let change = async |from: Option<&Email>, to: Option<&Email>| {
        store
            .change_email(id, from.cloned(), to.cloned(), NOW)
            .await
    };
    // Also when its answer was lost.
    for _ in 0..2 {
        assert_eq!(change(Some(&old), Some(&new)).await, Ok(()));
    }
    (account.email, account.email_verified) = (Some(new.clone()), false);
    account.revision += 1;
    let found = store.account_by_email(new.clone()).await;
    assert_eq!(found, Ok(Some(account.clone())));
    assert_eq!(store.account_by_email(old.clone()).await, Ok(None));

    let third = email_of(&some_account());
    let late = change(Some(&old), Some(&third)).await;
    assert_eq!(late, Err(StoreError::Conflict));
    assert_eq!(store.account_by_email(third.clone()).await, Ok(None));
    let other = make_account(store).await;
    let taken = change(Some(&new), Some(&email_of(&other))).await;
    assert_eq!(taken, Err(StoreError::Taken(Name::Email)));
    assert_eq!(store.account(id).await, Ok(Some(account.clone())));
    let found = store.account_by_email(email_of(&other)).await;
    assert_eq!(found, Ok(Some(other)));

    // The address that it had is another's; and there and back again.
    let next = AccountRecord {
        email: Some(old),
        ..some_account()
    };
    assert_eq!(store.create_account(next).await, Ok(()));
    assert_eq!(change(Some(&new), None).await, Ok(()));
    assert_eq!(store.account_by_email(new.clone()).await, Ok(None));
    assert_eq!(change(None, Some(&new)).await, Ok(()));
    account.revision += 2;
    let found = store.account_by_email(new).await;
    assert_eq!(found, Ok(Some(account)));
    let nobody = some_account().id;
    let nobody = store.change_email(nobody, None, Some(third.clone()), NOW);
    assert_eq!(nobody.await, Err(StoreError::NotFound));
    let next = AccountRecord {
        email: Some(third),
        ..some_account()
    };
    assert_eq!(store.create_account(next).await, Ok(()));
}

async fn one_of_many_accounts_gets_the_address(store: &Arc<dyn Store>) {
    let wanted = email_of(&some_account());
    let mut changes = Vec::new();
    for _ in 0..8 {
        let account = make_account(store).await;
        let (store, wanted) = (store.clone(), wanted.clone());
        changes.push(tokio::spawn(async move {
            let old = account.email.clone();
            let changed = store.change_email(account.id, old, Some(wanted), NOW);
            (account, changed.await)
        }));
    }
    let mut winners = Vec::new();
    for change in changes {
        let (account, result) = change.await.expect("a change ends");
        let now = store.account(account.id).await.expect("it answers");
        match result {
            Ok(()) => winners.push(account.id),
            Err(error) => {
                assert_eq!(error, StoreError::Taken(Name::Email));
                assert_eq!(now, Some(account.clone()));
                let found = store.account_by_email(email_of(&account)).await;
                assert_eq!(found, Ok(Some(account)));
            }
        }
    }
    let holder = store.account_by_email(wanted).await.expect("it answers");
    assert_eq!(winners, [holder.expect("one has it").id]);
}

async fn all_accounts_are_listed_once(store: &Arc<dyn Store>) {
    let (one, other, gone) = (
        make_account(store).await,
        make_account(store).await,
        make_account(store).await,
    );
    assert_eq!(store.delete_account(gone.id, NOW).await, Ok(()));
    let (mut cursor, mut found) = (None, Vec::new());
    loop {
        let page = store.accounts(cursor, 2).await.expect("a page");
        assert!(page.items.len() <= 2);
        found.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    for (account, times) in [(&one, 1), (&other, 1), (&gone, 0)] {
        let of_it = found.iter().filter(|listed| listed.id == account.id);
        assert_eq!(of_it.count(), times);
    }
    assert!(found.contains(&one));
    let foreign = Cursor(vec![0xff; 3].into());
    assert_eq!(
        store.accounts(Some(foreign), 2).await,
        Err(StoreError::BadCursor)
    );
}

async fn a_name_has_one_holder(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let same_name = AccountRecord {
        username: account.username.clone(),
        ..some_account()
    };
    let same_email = AccountRecord {
        email: account.email.clone(),
        ..some_account()
    };
    let taken = |name| Err(StoreError::Taken(name));
    assert_eq!(
        store.create_account(same_name.clone()).await,
        taken(Name::Username)
    );
    assert_eq!(
        store.create_account(same_email.clone()).await,
        taken(Name::Email)
    );
    // What failed has claimed nothing.
    let with_freed = AccountRecord {
        username: same_email.username,
        email: same_name.email,
        ..some_account()
    };
    assert_eq!(store.create_account(with_freed).await, Ok(()));
    assert_eq!(
        store.account_by_username(account.username.clone()).await,
        Ok(Some(account))
    );
}

async fn one_of_many_claimants_gets_the_name(store: &Arc<dyn Store>) {
    let template = some_account();
    let claim = |turn: usize| {
        let mut account = some_account();
        // Half of them want the name, half the address, and one account wants both.
        match turn {
            0 => {
                (account.username, account.email) =
                    (template.username.clone(), template.email.clone())
            }
            turn if turn % 2 == 0 => account.username = template.username.clone(),
            _ => account.email = template.email.clone(),
        }
        let store = store.clone();
        tokio::spawn(async move { (account.clone(), store.create_account(account).await) })
    };
    let claims: Vec<_> = (0..CLAIMANTS).map(claim).collect();
    let mut winners = Vec::new();
    for claim in claims {
        let (account, result) = claim.await.expect("a claim ends");
        match result {
            Ok(()) => winners.push(account),
            Err(error) => assert!(matches!(error, StoreError::Taken(_)), "{error}"),
        }
    }
    let holders = |is_it: fn(&AccountRecord, &AccountRecord) -> bool| {
        winners
            .iter()
            .filter(|winner| is_it(winner, &template))
            .count()
    };
    assert_eq!(holders(|one, other| one.username == other.username), 1);
    assert_eq!(holders(|one, other| one.email == other.email), 1);
}

async fn a_password_is_set_by_condition(store: &Arc<dyn Store>) {
    let account = make_account(store).await;
    let (one, other) = (some_hash(), some_hash());
    assert_eq!(
        store
            .set_password(account.id, account.password.clone(), one.clone())
            .await,
        Ok(())
    );
    let late = store
        .set_password(account.id, account.password, other.clone())
        .await;
    assert_eq!(late, Err(StoreError::Conflict));
    let found = store
        .account(account.id)
        .await
        .map(|found| found.map(|found| found.password));
    assert_eq!(found, Ok(Some(one.clone())));
    let nobody = store.set_password(some_account().id, one, other).await;
    assert_eq!(nobody, Err(StoreError::NotFound));
}
