//! Tests: to which servers the real client sends a token, a password, a device cookie or a hello.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Authority, Client, FakeServer, kindly};
use confab_protocol::wire::{self, request, response};

const NETWORK: i32 = 6;
const REGISTER: [&str; 6] = [
    "register",
    "ann",
    "--email",
    "ann@example.org",
    "--birthday",
    "1990-01-31",
];
const LOGIN: [&str; 2] = ["login", "ann"];
const QUESTION: &str = "Is it the right one?";
const COOKIE: [u8; 64] = [0xc5; 64];

/// Every command that says something to a server.
const COMMANDS: [&[&str]; 10] = [
    &["whoami"],
    &LOGIN,
    &REGISTER,
    &["join", "friday", "--in", "none", "--out", "none"],
    &["account", "export"],
    &["account", "delete"],
    &["passwd"],
    &["sessions", "list"],
    &["conference", "list"],
    &["logout"],
];

async fn nobody_is_told_anything(client: &Client, server: &FakeServer, name: &str, says: &[&str]) {
    for command in COMMANDS {
        for args in [command.to_vec(), [&["--json"], command].concat()] {
            let ended = client.run(name, &args).await;
            assert_eq!(ended.code, Some(NETWORK), "{args:?}: {ended:?}");
            let said = ended.stdout + &ended.stderr;
            for text in says {
                assert!(said.contains(text), "{args:?} said {said:?}");
            }
            assert!(
                server.heard().is_empty(),
                "{args:?} sent {:?}",
                server.heard()
            );
        }
    }
}

async fn login(client: &Client, name: &str, args: &[&str]) {
    let ended = client.run(name, &[&LOGIN[..], args].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_in_place_of_a_pinned_server_hears_nothing() {
    let (public, cluster, other) = (Authority::new(), Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let name = server.by_name();
    let pin = cluster.fingerprint().to_string();
    login(&client, &name, &["--fingerprint", &pin]).await;
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(0));
    let other_print = other.fingerprint().to_string();
    let says = [&pin[..], &other_print, "--fingerprint"];
    server.becomes(other.server());
    nobody_is_told_anything(&client, &server, &name, &says).await;
    // Not by a public certificate either.
    server.becomes(other.public_server(&public, "localhost"));
    nobody_is_told_anything(&client, &server, &name, &says).await;
    // What the operator says is right from then on.
    login(&client, &name, &["--fingerprint", &other_print]).await;
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(0));
    server.becomes(cluster.server());
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(NETWORK));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_in_place_of_a_public_server_hears_nothing() {
    let (public, cluster, other) = (Authority::new(), Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.public_server(&public, "localhost"));
    let client = Client::new(&public);
    let name = server.by_name();
    // No question and no terminal is needed for it.
    login(&client, &name, &[]).await;
    let entry = format!("{name} public {}\n", cluster.fingerprint());
    assert_eq!(client.known_servers(), entry);
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(0));

    let other_print = other.fingerprint().to_string();
    let says = [&other_print[..], "no public authority", "--fingerprint"];
    server.becomes(other.server());
    nobody_is_told_anything(&client, &server, &name, &says).await;
    // A public certificate for somewhere else is none.
    server.becomes(other.public_server(&public, "example.org"));
    let says = ["no public authority", "--fingerprint"];
    nobody_is_told_anything(&client, &server, &name, &says).await;
    assert_eq!(client.known_servers(), entry);
    // An impostor whom one asks with a flag that takes everybody is not taken, for the server is known.
    let args = [&LOGIN[..], &["--trust-first-sight"]].concat();
    assert_eq!(client.run(&name, &args).await.code, Some(NETWORK));
    assert!(server.heard().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_seen_for_the_first_time_is_not_trusted_without_a_terminal() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let pin = cluster.fingerprint().to_string();
    for name in [server.by_name(), server.by_address()] {
        for args in [&LOGIN[..], &REGISTER] {
            let ended = client.run(&name, args).await;
            assert_eq!(ended.code, Some(NETWORK), "{ended:?}");
            for says in [&pin[..], "--trust-first-sight", "--fingerprint"] {
                assert!(ended.stderr.contains(says), "{ended:?}");
            }
        }
        assert!(server.heard().is_empty());
        assert_eq!(client.known_servers(), "");
    }
    // Other commands say that there is no session, and ask nobody.
    let met = server.met();
    let name = server.by_name();
    let ended = client.run(&name, &["whoami"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let advice = format!("`confab --server {name} login NAME`");
    assert!(ended.stderr.contains(&advice), "{ended:?}");
    assert_eq!(server.met(), met);

    let name = server.by_address();
    let args = [&REGISTER[..], &["--trust-first-sight"]].concat();
    let ended = client.run(&name, &args).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains(&pin), "{ended:?}");
    assert_eq!(client.known_servers(), format!("{name} {pin}\n"));
    // By the environment, too.
    let mut command = client.command(&server.by_name(), &LOGIN);
    command.env("CONFAB_TRUST_FIRST_SIGHT", "1");
    assert!(command.status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_is_asked_for_what_a_new_account_needs() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.public_server(&public, "localhost"));
    let client = Client::new(&public);
    let name = server.by_name();
    let mut terminal = client.at_terminal(&name, &["register", "ann"]);
    terminal.shows("e-mail address:").await;
    terminal.types("nonsense\nann@example.org\n");
    terminal.shows("birthday").await;
    terminal.types("1990-12-31\n");
    let (code, screen) = terminal.ends().await;
    assert_eq!(code, Some(0), "{screen}");
    let registered = |server: &FakeServer| {
        let heard = std::mem::take(&mut *server.heard());
        let registers = heard.into_iter().filter_map(|kind| match kind {
            request::Kind::Register(register) => Some((register.email, register.birthday)),
            _ => None,
        });
        registers.collect::<Vec<_>>()
    };
    let said = ("ann@example.org".to_owned(), "1990-12-31".to_owned());
    assert_eq!(registered(&server), std::slice::from_ref(&said));
    // Nobody is asked for what was typed already, or without a terminal.
    let all = ["register", "ann", "--email", &said.0, "--birthday", &said.1];
    let (code, screen) = client.at_terminal(&name, &all).ends().await;
    assert_eq!(code, Some(0), "{screen}");
    let ended = client.run(&name, &["register", "ann"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let nothing = (String::new(), String::new());
    assert_eq!(registered(&server), [said, nothing]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_open_while_the_person_is_asked() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let mut terminal = client.at_terminal(&server.by_address(), &LOGIN);
    terminal.shows(QUESTION).await;
    terminal.shows(&cluster.fingerprint().to_string()).await;
    server.is_alone().await;
    assert!(server.heard().is_empty());
    terminal.types("what?\n");
    terminal.shows("yes or no").await;
    terminal.types("yes\n");
    let (code, screen) = terminal.ends().await;
    assert_eq!(code, Some(0), "{screen}");
    let heard = std::mem::take(&mut *server.heard());
    assert!(matches!(
        heard[..],
        [request::Kind::Hello(_), request::Kind::Login(_)]
    ));
    assert!(
        client
            .known_servers()
            .contains(&cluster.fingerprint().to_string())
    );
    // From now on nobody is asked.
    let terminal = client.at_terminal(&server.by_address(), &LOGIN);
    let (code, screen) = terminal.ends().await;
    assert!(code == Some(0) && !screen.contains(QUESTION), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_the_person_does_not_trust_hears_nothing() {
    let (public, cluster, other) = (Authority::new(), Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let expected = other.fingerprint().to_string();
    for answer in ["no\n", "\n", "\u{4}", &format!("{expected}\n")] {
        let mut terminal = client.at_terminal(&server.by_address(), &REGISTER);
        terminal.shows(QUESTION).await;
        terminal.types(answer);
        let (code, screen) = terminal.ends().await;
        assert_eq!(code, Some(NETWORK), "{answer:?}: {screen}");
        assert!(server.heard().is_empty());
        assert_eq!(client.known_servers(), "");
    }
    let right = format!("{}\n", cluster.fingerprint());
    let mut terminal = client.at_terminal(&server.by_address(), &REGISTER);
    terminal.shows(QUESTION).await;
    terminal.types(&right);
    assert_eq!(terminal.ends().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_connection_has_to_show_what_the_first_one_did() {
    let (public, cluster, other) = (Authority::new(), Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let mut terminal = client.at_terminal(&server.by_address(), &LOGIN);
    terminal.shows(QUESTION).await;
    server.becomes(other.server());
    terminal.types("yes\n");
    let (code, screen) = terminal.ends().await;
    assert_eq!(code, Some(NETWORK), "{screen}");
    assert!(server.heard().is_empty());
    assert_eq!(client.known_servers(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_session_there_is_no_first_sight() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let (name, pin) = (server.by_name(), cluster.fingerprint().to_string());
    login(&client, &name, &["--fingerprint", &pin]).await;
    std::fs::remove_file(client.known_servers_file()).unwrap();
    server.heard().clear();
    for command in COMMANDS {
        let ended = client.run(&name, command).await;
        assert_eq!(ended.code, Some(NETWORK), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("--fingerprint"), "{ended:?}");
    }
    let args = [&LOGIN[..], &["--trust-first-sight"]].concat();
    assert_eq!(client.run(&name, &args).await.code, Some(NETWORK));
    let terminal = client.at_terminal(&name, &LOGIN);
    let (code, screen) = terminal.ends().await;
    assert!(
        code == Some(NETWORK) && !screen.contains(QUESTION),
        "{screen}"
    );
    assert!(server.heard().is_empty());
    assert_eq!(
        client
            .run(&name, &["--fingerprint", &pin, "whoami"])
            .await
            .code,
        Some(0)
    );
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_authorities_is_needed_once() {
    let (public, cluster, other) = (Authority::new(), Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let file = client.path().join("ca.pem");
    std::fs::write(&file, cluster.certificate.pem()).unwrap();
    let name = server.by_address();
    login(&client, &name, &["--ca", file.to_str().unwrap()]).await;
    assert_eq!(
        client.known_servers(),
        format!("{name} {}\n", cluster.fingerprint())
    );
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(0));
    server.becomes(other.server());
    assert_eq!(client.run(&name, &["whoami"]).await.code, Some(NETWORK));
    let args = ["--ca", file.to_str().unwrap(), "whoami"];
    assert_eq!(client.run(&name, &args).await.code, Some(NETWORK));
    assert!(server.heard().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_once_the_server_is_found() {
    let public = Authority::new();
    let client = Client::new(&public);
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = nobody.local_addr().unwrap().to_string();
    let pin = public.fingerprint().to_string();
    // Standard input would be read for ever.
    for args in [&LOGIN[..], &REGISTER] {
        let args = [args, &["--password-stdin", "--fingerprint", &pin]].concat();
        let mut command = client.command(&nobody, &args);
        command.stdin(std::process::Stdio::piped());
        let mut child = command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), ended);
        assert_eq!(ended.await.unwrap().unwrap().status.code(), Some(NETWORK));
        drop(stdin);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_none_is_not_kept() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let pin = cluster.fingerprint().to_string();
    type Change = fn(&mut wire::SessionGranted);
    let changes: [Change; 4] = [
        |granted| granted.token = vec![1; 59].into(),
        |granted| granted.token = vec![1; 100_000].into(),
        |granted| granted.account = None,
        |granted| granted.account.as_mut().unwrap().username = "../../etc\u{1b}".into(),
    ];
    for change in changes {
        server.answers(move |request| {
            let mut answer = kindly(request);
            if let response::Kind::SessionGranted(granted) = &mut answer {
                change(granted);
            }
            answer
        });
        let args = [&LOGIN[..], &["--fingerprint", &pin]].concat();
        let ended = client.run(&server.by_name(), &args).await;
        assert_eq!(ended.code, Some(8), "{ended:?}");
    }
    assert!(!client.path().join("config/sessions.json").exists());
}

/// Gives a cookie with each log-in.
fn giving(request: &request::Kind) -> response::Kind {
    match kindly(request) {
        response::Kind::SessionGranted(mut granted) => {
            granted.device_cookie = COOKIE.to_vec().into();
            response::Kind::SessionGranted(granted)
        }
        other => other,
    }
}

/// The cookie that the last log-in showed.
fn shown(server: &FakeServer) -> Vec<u8> {
    let heard = server.heard();
    let logins = heard.iter().filter_map(|request| match request {
        request::Kind::Login(login) => Some(login.device_cookie.to_vec()),
        _ => None,
    });
    logins.last().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_cookie_survives_the_session_and_is_shown_to_its_server_for_its_account_alone() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let servers = [0; 2].map(|_| FakeServer::start(cluster.server()));
    servers.iter().for_each(|server| server.answers(giving));
    let client = Client::new(&public);
    let pin = cluster.fingerprint().to_string();
    let names = [servers[0].by_name(), servers[1].by_name()];
    let login = async |at: usize, account: &str| {
        let args = ["login", account, "--fingerprint", &pin];
        let ended = client.run(&names[at], &args).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        shown(&servers[at])
    };
    assert_eq!(login(0, "ann").await, [0; 0]);
    let logout = client.run(&names[0], &["logout"]).await;
    assert_eq!(logout.code, Some(0), "{logout:?}");
    for name in ["ann", "Ann@Example.org"] {
        assert_eq!(login(0, name).await, COOKIE);
    }
    assert_eq!(login(0, "ben").await, [0; 0]);
    assert_eq!(login(1, "ann").await, [0; 0]);
    // A deleted account takes its cookie with it.
    let deleted = client.run(&names[0], &["account", "delete"]).await;
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert_eq!(login(0, "ann").await, [0; 0]);
}
