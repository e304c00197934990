//! Restarts a server on a CQL database.

use zeroize::Zeroizing;

use super::{Config, StoreConfig, serve};
use crate::accounts::Login;
use crate::accounts::service::Registration;
use crate::source::Source;
use crate::store::cql::tests::server as cql;

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_sessions_survive_a_restart() {
    let Some(config) = cql::config() else {
        return;
    };
    let source = Source::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let password = || Zeroizing::new("correct horse battery".to_owned());
    let device = || "a phone".parse().expect("a name");
    let login = |name: &str| Login {
        name: name.to_owned(),
        password: password(),
        device: device(),
        cookie: bytes::Bytes::new(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let run = async || {
        let config = Config {
            store: StoreConfig::Cql(config.clone()),
            ..Config::local(folder.path())
        };
        serve(config).await.expect("it starts")
    };
    let running = run().await;
    let registration = Registration {
        username: "ann".parse().expect("a name"),
        email: Some("ann@example.org".parse().expect("an address")),
        password: password(),
        birthday: Some("1990-01-31".parse().expect("a day")),
        device: device(),
        invited: None,
    };
    let accounts = &running.api().accounts;
    let granted = accounts.register(registration, source).await;
    let ann = granted.expect("registration succeeds").account.id;
    running.shutdown().await;

    let running = run().await;
    let accounts = &running.api().accounts;
    let granted = accounts.login(login("ann@example.org"), source);
    assert_eq!(granted.await.expect("login succeeds").account.id, ann);
    let sessions = accounts.sessions(ann).await.expect("sessions are listed");
    assert_eq!(sessions.len(), 2);
    accounts.delete(ann).await.expect("the account is deleted");
    let refused = accounts.login(login("ann"), source).await;
    assert!(refused.is_err());
    running.shutdown().await;
    let store = cql::open(&config).await;
    cql::drop_keyspace(&store, &config).await;
}
