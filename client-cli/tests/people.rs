//! Tests: what the real client says and asks about the devices of people, without a server.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Authority, Client, FakeServer};
use confab::identity::Pins;
use confab::store::Store;
use confab_e2ee::mls::identity::{Credential, DeviceKey, ServerId, Subject, device_code};
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::suite::Suite;
use confab_protocol::control::{AccountId, ConferenceId, Username};
use serde_json::Value;

const NOT_FOUND: i32 = 4;
const QUESTION: &str = "the same? [y/N]";

/// Ann's computer, which has been logged in; the server is gone.
struct Home {
    client: Client,
    store: Store,
    server: String,
    id: ServerId,
}

impl Home {
    async fn new() -> Self {
        let cluster = Authority::new();
        let server = FakeServer::start(cluster.server());
        Self::at(&server, &cluster).await
    }

    /// A computer that has been logged in at this server.
    async fn at(server: &FakeServer, cluster: &Authority) -> Self {
        let client = Client::new(&Authority::new());
        let (name, pin) = (server.by_name(), cluster.fingerprint());
        let args = ["login", "ann", "--fingerprint", &pin.to_string()];
        let ended = client.run(&name, &args).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let dir = client.path().join("config");
        Self {
            store: Store::open(Some(dir)).await.unwrap(),
            client,
            server: name,
            id: ServerId::of_authority(pin.as_bytes()),
        }
    }

    /// A device of somebody is seen in a call.
    async fn sees(&self, account: u8, name: &str, device: &DeviceKey) {
        let subject = Subject {
            server: self.id,
            account: AccountId::new([account; 16]),
            username: name.parse().unwrap(),
            conference: ConferenceId::new([3; 16]),
        };
        let leaf = SigningKey::generate();
        let suite = Suite::PostQuantum;
        let credential = Credential::sign(device, &subject, suite, leaf.public(), &[]);
        self.store.pin(self.id, &[credential], 1000).await.unwrap();
    }

    /// Ben is seen on a device, and on a new one.
    async fn sees_ben_on_a_new_device(&self) -> DeviceKey {
        self.sees(1, "ben", &DeviceKey::generate()).await;
        let new = DeviceKey::generate();
        self.sees(1, "ben", &new).await;
        new
    }

    async fn pins(&self) -> Pins {
        self.store.pins(self.id).await.unwrap()
    }

    /// The JSON lines of a command that succeeds.
    async fn json(&self, args: &[&str]) -> Vec<Value> {
        let args = [&["--json", "trust"], args].concat();
        let ended = self.client.run(&self.server, &args).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines = ended.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// How each device is trusted.
    async fn trust(&self) -> Vec<String> {
        let list = self.json(&["list"]).await.remove(0);
        let devices = list["devices"].as_array().unwrap().iter();
        let mut trust: Vec<_> = devices
            .map(|device| device["trust"].as_str().unwrap().to_owned())
            .collect();
        trust.sort();
        trust
    }
}

fn hexadecimal(device: &DeviceKey) -> String {
    device.public().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_device_endorses_another_one_of_the_same_account() {
    let cluster = Authority::new();
    let server = FakeServer::start(cluster.server());
    let (old, new) = (
        Home::at(&server, &cluster).await,
        Home::at(&server, &cluster).await,
    );
    let key = |shown: &Value| shown["device"].as_str().unwrap().to_owned();
    let own = new.json(&["device"]).await.remove(0);
    assert_eq!(own["endorsed_by"], serde_json::json!([]));
    let endorsement = old.json(&["endorse", &key(&own)]).await.remove(0);
    let text = endorsement["endorsement"].as_str().unwrap();
    assert_eq!(old.trust().await, ["verified"], "it is quiet there, too");
    new.json(&["endorsed", text]).await;
    assert_eq!(new.trust().await, ["verified"]);
    let old_key = key(&old.json(&["device"]).await[0]);
    let own = new.json(&["device"]).await.remove(0);
    assert_eq!(own["endorsed_by"], serde_json::json!([old_key]));
    // What the device shows in a call is valid.
    let name = "ann".parse().unwrap();
    let kept = new.store.find_device_key(new.id, &name).await.unwrap();
    let kept = kept.unwrap();
    assert!(kept.endorsements[0].is_valid(new.id, kept.account, kept.key.public()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endorsement_of_another_device_is_refused_with_what_to_do() {
    const DENIED: i32 = 5;
    let cluster = Authority::new();
    let server = FakeServer::start(cluster.server());
    let home = Home::at(&server, &cluster).await;
    let other = DeviceKey::generate();
    let own = home.json(&["device"]).await.remove(0);
    let own = own["device"].as_str().unwrap();
    let text = home
        .json(&["endorse", &hexadecimal(&other)])
        .await
        .remove(0);
    let text = text["endorsement"].as_str().unwrap();
    let cases = [
        (["endorsed", text], DENIED, own),
        (["endorsed", &text[2..]], 2, "192 hexadecimal digits"),
        (["endorse", own], 2, "confab trust device"),
        (["endorse", "ben"], 2, "64 hexadecimal digits"),
    ];
    for (args, code, says) in cases {
        let ended = home
            .client
            .run(&home.server, &[&["trust"], &args[..]].concat())
            .await;
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }
    assert_eq!(
        home.json(&["device"]).await[0]["endorsed_by"],
        serde_json::json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_makes_one_key_and_the_next_one_takes_the_same() {
    let (public, cluster) = (Authority::new(), Authority::new());
    let server = FakeServer::start(cluster.server());
    let client = Client::new(&public);
    let pin = cluster.fingerprint().to_string();
    let file = client.path().join("config/device_keys");
    let mut texts = Vec::new();
    for _ in 0..2 {
        let args = ["login", "ann", "--fingerprint", &pin];
        let ended = client.run(&server.by_name(), &args).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        texts.push(std::fs::read_to_string(&file).unwrap());
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0].lines().count(), 1);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A damaged one is never replaced.
    std::fs::write(&file, "x\n").unwrap();
    let ended = client.run(&server.by_name(), &["login", "ann"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("device_keys"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_is_listed_accepted_and_forgotten() {
    let home = Home::new().await;
    assert_eq!(home.trust().await, [""; 0]);
    let new = home.sees_ben_on_a_new_device().await;
    assert_eq!(home.trust().await, ["accepted", "pending"]);
    let accepted = home.json(&["accept", "Ben"]).await.remove(0);
    assert_eq!(accepted["event"], "trust_accepted");
    assert_eq!(accepted["devices"], serde_json::json!([hexadecimal(&new)]));
    assert_eq!(home.trust().await, ["accepted", "accepted"]);
    let again = home.json(&["accept", "ben"]).await.remove(0);
    assert_eq!(again["devices"], serde_json::json!([]));
    let forgotten = home.json(&["forget", "ben"]).await.remove(0);
    assert_eq!(forgotten["devices"].as_array().unwrap().len(), 2);
    assert_eq!(home.pins().await, Pins::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_known_are_told_with_those_that_are_like_them() {
    let home = Home::new().await;
    home.sees_ben_on_a_new_device().await;
    for command in ["accept", "forget", "verify"] {
        for (name, says) in [("bem", "ben"), ("somebody", "confab trust list")] {
            let args = ["trust", command, name];
            let ended = home.client.run(&home.server, &args).await;
            assert_eq!(ended.code, Some(NOT_FOUND), "{ended:?}");
            assert!(ended.stderr.contains(says), "{ended:?}");
        }
    }
    let ended = home.client.run("elsewhere:1", &["trust", "list"]).await;
    assert_eq!(ended.code, Some(NOT_FOUND), "{ended:?}");
    let advice = "`confab --server elsewhere:1 login NAME`";
    assert!(ended.stderr.contains(advice), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_the_new_device_is_shown_and_verified_if_the_person_says_that_it_is_the_same() {
    let home = Home::new().await;
    let new = home.sees_ben_on_a_new_device().await;
    let ann: Username = "ann".parse().unwrap();
    let own = home.store.find_device_key(home.id, &ann).await.unwrap();
    let own = own.unwrap();
    let ben = (AccountId::new([1; 16]), new.public());
    let code = device_code(ben, (own.account, own.key.public())).to_string();

    // Without a terminal the code is shown, and nothing changes.
    let verify = ["trust", "verify", "ben"];
    let ended = home.client.run(&home.server, &verify).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stdout.contains(&code) && ended.stderr.contains("--yes"));
    for answer in ["n\n", "\n", "\u{4}"] {
        let mut terminal = home.client.at_terminal(&home.server, &verify);
        terminal.shows(&code).await;
        terminal.shows(QUESTION).await;
        terminal.types(answer);
        let (exit, screen) = terminal.ends().await;
        assert_eq!(exit, Some(5), "{screen}");
    }
    assert_eq!(home.trust().await, ["accepted", "pending"]);
    let mut terminal = home.client.at_terminal(&home.server, &verify);
    terminal.shows(QUESTION).await;
    terminal.types("y\n");
    let (exit, screen) = terminal.ends().await;
    assert_eq!(exit, Some(0), "{screen}");
    assert_eq!(home.trust().await, ["accepted", "verified"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_are_compared_if_none_is_new() {
    let home = Home::new().await;
    let new = home.sees_ben_on_a_new_device().await;
    let lines = home.json(&["verify", "ben", "--yes"]).await;
    assert_eq!(lines[0]["event"], "device_code");
    assert_eq!(lines[0]["device"], hexadecimal(&new));
    assert_eq!(lines[1]["event"], "trust_verified");
    let lines = home.json(&["verify", "ben", "--yes"]).await;
    assert_eq!(lines.len(), 3);
    assert_ne!(lines[0]["code"], lines[1]["code"]);
    assert_eq!(home.trust().await, ["verified", "verified"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_at_once_lose_nothing_of_each_other() {
    let home = Home::new().await;
    let names: Vec<_> = (10..16u8)
        .map(|number| (number, format!("ben{number}")))
        .collect();
    for (number, name) in &names {
        for _ in 0..2 {
            home.sees(*number, name, &DeviceKey::generate()).await;
        }
    }
    let accept = |name: &String| {
        let mut command = home
            .client
            .command(&home.server, &["trust", "accept", name]);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = names.iter().map(|(_, name)| accept(name)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.trust().await, ["accepted"; 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_devices_is_named_and_stays() {
    let home = Home::new().await;
    home.sees_ben_on_a_new_device().await;
    let path = home.store.known_devices_path(home.id);
    std::fs::write(&path, "account x ben\n").unwrap();
    for args in [&["list"][..], &["accept", "ben"], &["verify", "ben"]] {
        let args = [&["trust"], args].concat();
        let ended = home.client.run(&home.server, &args).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let says = ended.stderr;
        assert!(
            says.contains("line 1 of") && says.contains("known_devices."),
            "{says}"
        );
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "account x ben\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_name_is_accepted_by_its_name() {
    let home = Home::new().await;
    let (ben, other) = (DeviceKey::generate(), DeviceKey::generate());
    home.sees(1, "ben", &ben).await;
    home.sees(2, "ben", &other).await;
    let accepted = home.json(&["accept", "ben"]).await.remove(0);
    assert_eq!(
        accepted["devices"],
        serde_json::json!([hexadecimal(&other)])
    );
    assert_eq!(home.trust().await, ["accepted", "accepted"]);
}
