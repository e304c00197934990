//! The log of a whole session, at the finest level, has no secrets and no personal data.
//!
//! In a process of its own, because tracing caches for each process whether a line is logged.

#![allow(unreachable_pub, clippy::unwrap_used)]

// The modules have more than this test needs.
#[allow(dead_code)]
#[path = "server/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "server/relay.rs"]
mod relay;

use std::io;
use std::sync::{Arc, Mutex};

use confab_protocol::control::MediaGrant;
use confab_protocol::wire::{self, Visibility, request::Kind};
use data_encoding::{BASE64, HEXLOWER};

use harness::{PASSWORD, TestServer, ban, login, mute};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that this thread's subscriber receives all lines of the server's tasks.
#[tokio::test(flavor = "current_thread")]
async fn logs_hold_no_token_password_key_e_mail_or_address() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_env_filter("confab_control=trace")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let ann = server.client().await;
    let granted = ann.register("ann").await.unwrap();
    let second = ann.refresh(&granted.token).await.unwrap();
    ann.authenticate(&second.token).await.unwrap();
    ann.create("friday-night", Visibility::Public).await;
    let joined = ann.join("friday-night").await.unwrap();
    let bob = server.user("bob").await;
    bob.join("friday-night").await.unwrap();
    ann.done(mute("friday-night", "bob", true)).await;
    ann.done(ban("friday-night", "bob")).await;
    bob.refused(login("bob@example.org", "not the password"))
        .await;
    bob.ask_bytes(&[0, 0, 0, 2, 0xff, 0xff]).await;
    // An old token counts as stolen, which is logged.
    bob.refresh(&granted.token).await.unwrap_err();
    ann.refused(Kind::WhoAmI(wire::WhoAmI {})).await;
    ann.login("ann@example.org", PASSWORD).await.unwrap();
    let password = PASSWORD.to_owned();
    ann.done(Kind::DeleteAccount(wire::DeleteAccount { password }))
        .await;
    relay.unlink();
    harness::eventually(|| server.running.peer_api().relays.linked() == 0).await;
    server
        .connect(confab_protocol::cluster::ALPN, None)
        .await
        .unwrap()
        .closed()
        .await;
    server.running.shutdown().await;

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in [
        "relay linked",
        "signed in",
        "an old token was used",
        "account deleted",
    ] {
        assert!(
            text.contains(expected),
            "the log has no {expected:?}:\n{text}"
        );
    }
    let grant = MediaGrant::try_from(&joined.media.unwrap()).unwrap();
    let secrets: [&[u8]; 5] = [
        &granted.token,
        &second.token,
        &joined.resume_secret,
        grant.uplink_key.as_bytes(),
        grant.downlink_key.as_bytes(),
    ];
    for secret in secrets {
        // Twelve bytes from the part that is nothing but the secret.
        let part = &secret[secret.len() - 12..];
        for written in [
            HEXLOWER.encode(part),
            BASE64.encode(part),
            format!("{part:?}"),
            format!("{part:02x?}"),
        ] {
            let inner = written.trim_matches(['[', ']', '=']);
            assert!(!text.contains(inner), "a secret is in the log:\n{text}");
        }
    }
    for private in [
        PASSWORD,
        "not the password",
        "@example",
        "127.0.0.1",
        "192.0.2.1",
        "2001:db8",
        "1990",
    ] {
        assert!(
            !text.contains(private),
            "{private:?} is in the log:\n{text}"
        );
    }
}
