//! The life of a server that is installed from packages: installed, in a call, upgraded, removed, purged.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use confab_benches::fleet::{Call, Programs, Users};
use serde_json::Value;

use crate::common::{programs, received, register};
use crate::machine::Machine;
use crate::packing::{Packages, pack};
use crate::skip;

const CONTROL: &str = "confab-control.service";
const RELAY: &str = "confab-relay.service";

/// Frames that a listener has to hear anew: half a second of speech.
const HEARD: u64 = 25;

/// The exposure that `systemd-analyze security` may give a unit, in tenths. A unit that restricts nothing has 9.6.
const MAX_EXPOSURE: u32 = 15;

/// The capability to bind to ports below 1024, and that to open packet sockets, as /proc shows them.
const CAP_NET_BIND_SERVICE: &str = "0000000000000400";
const CAP_NET_RAW: &str = "0000000000002000";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_while_packages_are_upgraded_and_a_purge_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let shared = folder(scratch.path(), "packages");
    let packed = ["0.1.0", "0.1.1"].map(|version| pack(&shared, version));
    let [Some(old), Some(new)] = packed else {
        return;
    };
    let machine = match Machine::start(&folder(scratch.path(), "machine"), &shared) {
        Ok(machine) => machine,
        Err(why) => return skip(&why),
    };
    let fingerprint = control_is_installed_and_runs(&machine, &old);
    relay_waits_for_its_identity(&machine, &old);
    units_are_sound_and_confined(&machine);

    let homes = folder(scratch.path(), "users");
    let client = folder(scratch.path(), "client");
    machine.in_its_network(&programs().join("confab"), &client);
    let ca = machine.path("/var/lib/confab/ca.crt");
    let users = Users::new(&Programs::new(&client), &homes, &ca, "127.0.0.1:4433");
    let (mut ann, mut ben) = call_on_the_relay(&users).await;

    relay_is_drained_by_its_upgrade(&machine, &new);
    hears_more(&mut ben).await;
    control_is_upgraded(&machine, &new);
    hears_more(&mut ben).await;
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();
    let account = users.client("ann", &["whoami"], None).await.unwrap();
    assert!(account.contains("ann"), "{account}");
    assert_eq!(machine.ok("confab-control fingerprint"), fingerprint);

    files_are_read_again_by_a_reload(&machine);
    a_drained_relay_stays_ended(&machine);
    capabilities_are_those_that_are_switched_on(&machine);
    a_wrong_flag_is_not_tried_again(&machine);
    packages_are_removed_and_purged(&machine);
}

fn folder(below: &Path, name: &str) -> std::path::PathBuf {
    let folder = below.join(name);
    std::fs::create_dir(&folder).unwrap();
    // apt reads packages as a user of its own.
    std::fs::set_permissions(below, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn install(machine: &Machine, package: &Path) {
    machine.ok(&format!(
        "apt-get install --yes --quiet --allow-downgrades {}",
        package.display()
    ));
}

fn mode(machine: &Machine, path: &str) -> (u32, String) {
    let owner = machine.ok(&format!("stat --format=%U:%G {path}"));
    let found = machine.path(path).symlink_metadata().unwrap();
    (found.mode() & 0o7777, owner.trim().to_owned())
}

/// Gives the server's fingerprint.
fn control_is_installed_and_runs(machine: &Machine, packages: &Packages) -> String {
    install(machine, &packages.control);
    install(machine, &packages.client);
    assert!(machine.ok("confab --version").starts_with("confab "));
    assert_eq!(
        machine
            .ok(&format!("systemctl is-enabled {CONTROL}"))
            .trim(),
        "enabled"
    );
    // An operator's command finds the server, from any folder.
    let status = machine.until("confab-control status", "inside");
    assert!(status.contains("alive"), "{status}");
    let data = mode(machine, "/var/lib/confab");
    assert_eq!(data, (0o700, "confab:confab".to_owned()));
    let (file, owner) = mode(machine, "/etc/confab/control.env");
    assert_eq!((file, owner.as_str()), (0o640, "root:root"));
    assert_eq!(machine.status_of(CONTROL, "CapEff"), "0".repeat(16));
    assert_eq!(machine.status_of(CONTROL, "NoNewPrivs"), "1");
    assert_eq!(machine.status_of(CONTROL, "Seccomp"), "2");
    let log = machine.log(CONTROL);
    assert!(log.contains("confab join 'confab://"), "{log}");
    machine.ok("confab-control fingerprint")
}

fn relay_waits_for_its_identity(machine: &Machine, packages: &Packages) {
    install(machine, &packages.relay);
    assert_eq!(machine.property(RELAY, "ActiveState"), "inactive");
    assert_eq!(machine.property(RELAY, "ConditionResult"), "no");
    machine.ok("confab-control relay-identity one --out /etc/confab/relay");
    let settings = machine.path("/etc/confab/relay.env");
    let text = std::fs::read_to_string(&settings).unwrap();
    assert!(text.contains("\nCONFAB_RELAY_CONTROL=\n"), "{text}");
    let text = text
        .replace("CONFAB_RELAY_CONTROL=", "CONFAB_RELAY_CONTROL=localhost")
        // Another relay is inside of control.
        .replace(
            "#CONFAB_RELAY_LISTEN=[::]:4434",
            "CONFAB_RELAY_LISTEN=[::]:4435",
        )
        .replace("#CONFAB_RELAY_REGION=default", "CONFAB_RELAY_REGION=north");
    std::fs::write(&settings, text).unwrap();
    machine.ok(&format!("systemctl start {RELAY}"));
    machine.until("confab-control status", "north");
    // Root has made the key, and the relay can read it.
    let key = mode(machine, "/etc/confab/relay/relay.key");
    assert_eq!(key, (0o640, "root:confab-relay".to_owned()));
    assert_eq!(machine.status_of(RELAY, "CapEff"), "0".repeat(16));
}

fn units_are_sound_and_confined(machine: &Machine) {
    for unit in [CONTROL, RELAY] {
        let said = machine.run(&format!(
            "systemd-analyze verify /lib/systemd/system/{unit}"
        ));
        let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
        let ours: Vec<_> = complaints
            .lines()
            .filter(|line| line.contains("confab"))
            .collect();
        assert!(ours.is_empty(), "{ours:#?}");
        let line = format!(
            "systemd-analyze security --offline=true --threshold={MAX_EXPOSURE} --no-pager /lib/systemd/system/{unit}"
        );
        let table = machine.ok(&line);
        assert!(table.contains("Overall exposure level"), "{table}");
    }
}

/// Ann speaks and ben hears her, on the relay of its own.
async fn call_on_the_relay(users: &Users) -> (Call, Call) {
    register(users, "ann").await;
    register(users, "ben").await;
    let create = ["conference", "create", "friday", "--region", "north"];
    users.client("ann", &create, None).await.unwrap();
    let join = |name: &str, input: [&str; 2]| {
        let args = ["friday", "--out", "none", "--stats-every", "100ms"];
        users.join(name, &[&args[..], &input[..]].concat()).unwrap()
    };
    let mut ann = join("ann", ["--tone", "440"]);
    ann.wait_for("joined").await.unwrap();
    let mut ben = join("ben", ["--in", "none"]);
    hears_more(&mut ben).await;
    (ann, ben)
}

async fn hears_more(call: &mut Call) {
    call.catch_up().unwrap();
    let before = received(&call.wait_for("stats").await.unwrap(), "ann");
    let hears = |stats: &Value| received(stats, "ann") > before + HEARD;
    call.wait_until("stats", hears).await.unwrap();
}

fn relay_is_drained_by_its_upgrade(machine: &Machine, packages: &Packages) {
    let before = machine.property(RELAY, "MainPID");
    install(machine, &packages.relay);
    assert_ne!(machine.property(RELAY, "MainPID"), before);
    assert_eq!(machine.property(RELAY, "ActiveState"), "active");
    let version = machine.ok("dpkg-query --show --showformat=${Version} confab-relay");
    assert_eq!(version, "0.1.1");
    let log = machine.log(RELAY);
    assert!(
        log.contains("draining: waiting for sessions to move"),
        "{log}"
    );
    assert!(!log.contains("no other relay has taken them over"), "{log}");
    let status = machine.until("confab-control status", "north");
    assert!(!status.contains("draining"), "{status}");
    // What the operator has set is still there.
    let settings = std::fs::read_to_string(machine.path("/etc/confab/relay.env")).unwrap();
    assert!(
        settings.contains("CONFAB_RELAY_CONTROL=localhost"),
        "{settings}"
    );
}

fn control_is_upgraded(machine: &Machine, packages: &Packages) {
    let before = machine.property(CONTROL, "MainPID");
    install(machine, &packages.control);
    assert_ne!(machine.property(CONTROL, "MainPID"), before);
    assert_eq!(machine.property(CONTROL, "ActiveState"), "active");
}

fn files_are_read_again_by_a_reload(machine: &Machine) {
    machine.ok("confab-control relay-identity one --out /etc/confab/relay");
    for unit in [CONTROL, RELAY] {
        let before = machine.property(unit, "MainPID");
        machine.ok(&format!("systemctl reload {unit}"));
        assert_eq!(machine.property(unit, "MainPID"), before);
    }
    machine.until(
        &format!("journalctl --no-pager --unit {RELAY}"),
        "identity read again",
    );
    let key = mode(machine, "/etc/confab/relay/relay.key");
    assert_eq!(key, (0o640, "root:confab-relay".to_owned()));
}

fn a_drained_relay_stays_ended(machine: &Machine) {
    machine.until("confab-control status", "north");
    machine.ok("confab-control drain one");
    machine.until(
        &format!("systemctl show --property=ActiveState {RELAY}"),
        "inactive",
    );
    assert_eq!(machine.property(RELAY, "NRestarts"), "0");
}

/// The examples of the packages: a low port, and audio by a packet socket.
fn capabilities_are_those_that_are_switched_on(machine: &Machine) {
    for (unit, example, capability) in [
        (
            CONTROL,
            "confab-control/examples/low-port.conf",
            CAP_NET_BIND_SERVICE,
        ),
        (
            RELAY,
            "confab-relay/examples/transmit-packet.conf",
            CAP_NET_RAW,
        ),
    ] {
        let drop_in = format!("/etc/systemd/system/{unit}.d/example.conf");
        machine.ok(&format!(
            "install -D -m 644 /usr/share/doc/{example} {drop_in}"
        ));
        machine.ok("systemctl daemon-reload");
        if unit == CONTROL {
            let settings = machine.path("/etc/confab/control.env");
            let text = std::fs::read_to_string(&settings).unwrap();
            let listen = "CONFAB_CONTROL_LISTEN=[::]:";
            let text = text.replace(&format!("#{listen}4433"), &format!("{listen}443"));
            std::fs::write(&settings, text).unwrap();
        }
        machine.ok(&format!("systemctl restart {unit}"));
        let by = match unit {
            CONTROL => "listening on [::]:443 ",
            _ => "listening on [::]:4435 ",
        };
        let of_this_run = machine.property(unit, "InvocationID");
        let log = format!("journalctl --no-pager _SYSTEMD_INVOCATION_ID={of_this_run}");
        machine.until(&log, by);
        assert_eq!(machine.status_of(unit, "CapEff"), capability);
        std::fs::remove_file(machine.path(&drop_in)).unwrap();
    }
    machine.ok("systemctl daemon-reload");
}

fn a_wrong_flag_is_not_tried_again(machine: &Machine) {
    let settings = machine.path("/etc/confab/relay.env");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}CONFAB_RELAY_WORKERS=many\n")).unwrap();
    machine.run(&format!("systemctl restart {RELAY}"));
    machine.until(
        &format!("systemctl show --property=ActiveState {RELAY}"),
        "failed",
    );
    assert_eq!(machine.property(RELAY, "ExecMainStatus"), "2");
    assert_eq!(machine.property(RELAY, "NRestarts"), "0");
    let log = machine.log(RELAY);
    assert!(log.contains("invalid value 'many'"), "{log}");
}

fn packages_are_removed_and_purged(machine: &Machine) {
    machine.ok("apt-get remove --yes --quiet confab-control confab-relay confab");
    assert!(!machine.has("/usr/bin/confab-control"));
    assert!(
        machine
            .run("pidof confab-control confab-relay")
            .stdout
            .is_empty()
    );
    for kept in [
        "/var/lib/confab/confab.sqlite",
        "/var/lib/confab/ca.key",
        "/etc/confab/control.env",
        "/etc/confab/relay/relay.key",
    ] {
        assert!(machine.has(kept), "{kept}");
    }
    machine.ok("apt-get purge --yes --quiet confab-control confab-relay");
    for gone in [
        "/var/lib/confab",
        "/etc/confab",
        "/usr/share/doc/confab-control",
        "/etc/systemd/system/confab-control.service",
        "/etc/systemd/system/multi-user.target.wants/confab-control.service",
        "/etc/ufw/applications.d/confab-control",
    ] {
        assert!(!machine.has(gone), "{gone}");
    }
    let users = std::fs::read_to_string(machine.path("/etc/passwd")).unwrap();
    assert!(!users.contains("confab"), "{users}");
}
