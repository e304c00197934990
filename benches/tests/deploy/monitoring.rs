//! The alerts and the board use figures that the servers give, and there is an alert for each "when to act" of the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use confab_benches::fleet::Programs;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::programs;
use crate::{read, repository, skip};

const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const ALERTS_TEST: &str = "deploy/prometheus/alerts-test.yaml";
const BOARD: &str = "deploy/grafana/confab.json";

/// A page of the documentation, and the prefix of the metrics in its table.
const PAGES: &[(&str, &str)] = &[
    ("docs/operating.md", "confab_control_"),
    ("docs/operating-a-relay.md", "confab_relay_"),
];

/// Metrics whose labels have values only once something has happened.
const FILLED_LATER: &[&str] = &[
    "confab_control_request_seconds",
    "confab_control_store_seconds",
];

/// The metrics of the servers: their names, and the values of their labels.
#[derive(Default)]
struct Given {
    names: BTreeSet<String>,
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Given {
    /// Takes in a page of figures.
    fn read(&mut self, page: &str) {
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let ends: &[&str] = match kind {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                self.names
                    .extend(ends.iter().map(|end| format!("{name}{end}")));
            } else if let Some((name, rest)) = line.split_once('{') {
                let (labels, _) = rest.rsplit_once('}').unwrap();
                for (label, value) in matchers(labels) {
                    let key = (name.to_owned(), label);
                    self.values.entry(key).or_default().insert(value);
                }
            }
        }
    }

    /// The metrics and labels that an expression uses and no server has.
    fn missing(&self, expression: &str) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, labels) in selectors(expression) {
            if !self.names.contains(&name) {
                missing.push(name);
                continue;
            }
            if FILLED_LATER.iter().any(|later| name.starts_with(later)) {
                continue;
            }
            for (label, value) in matchers(&labels) {
                let known = self.values.get(&(name.clone(), label.clone()));
                let is_known = |value: &str| known.is_none_or(|known| known.contains(value));
                let unknown = value.split('|').filter(|value| !is_known(value));
                missing.extend(unknown.map(|value| format!("{name}{{{label}=\"{value}\"}}")));
            }
        }
        missing
    }
}

/// The metrics of ours in a text, each with the labels that it is selected by.
fn selectors(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("confab_") {
        rest = &rest[at..];
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let labels = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'));
        found.push((
            name.to_owned(),
            labels.map_or_else(String::new, |(labels, _)| labels.to_owned()),
        ));
        rest = after;
    }
    found
}

/// `label="value"` or `label=~"one|two"` of a selector or a line of figures.
fn matchers(labels: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = labels;
    while let Some((label, after)) = rest.split_once('=') {
        let (_, after) = after.split_once('"').unwrap();
        let (value, after) = after.split_once('"').unwrap();
        let label = label.trim_start_matches([',', ' ']);
        found.push((label.to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

async fn given() -> Given {
    let scratch = tempfile::tempdir().unwrap();
    let programs = Programs::new(&programs());
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (data, identity, log) = (path("data"), path("relay"), scratch.path().join("log"));
    let listen = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let args = |before: &[&str], after: &[&str]| -> Vec<String> {
        let all = [before, &listen[..], after].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let serve = args(&["serve"], &["--data-dir", &data]);
    let control = programs
        .serve("confab-control", "control", &serve, &log)
        .await
        .unwrap();
    let mut command = programs.command("confab-control");
    command.args([
        "relay-identity",
        "one",
        "--out",
        &identity,
        "--data-dir",
        &data,
    ]);
    programs.done("relay-identity", &mut command).await.unwrap();
    let address = control.address.to_string();
    let relay = args(&[], &["--control", &address, "--identity", &identity]);
    let relay = programs
        .serve("confab-relay", "relay", &relay, &log)
        .await
        .unwrap();
    let mut given = Given::default();
    for server in [&control, &relay] {
        given.read(&page(server.metrics.unwrap()).await);
    }
    relay.end().await.unwrap();
    control.end().await.unwrap();
    given
}

async fn page(address: SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// The expressions of the board's panels.
fn of_board(board: &Value) -> Vec<String> {
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

fn board() -> Value {
    serde_json::from_str(&read(BOARD)).unwrap()
}

/// The lines of the alerts that are no comments.
fn alerts() -> String {
    let text = read(ALERTS);
    let lines = text.lines().filter(|line| !line.trim().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_the_board_use_figures_that_the_servers_give() {
    let given = given().await;
    assert!(given.names.len() > 50, "{:?}", given.names);
    assert_eq!(given.missing(&alerts()), [""; 0], "{ALERTS}");
    for expression in of_board(&board()) {
        assert_eq!(given.missing(&expression), [""; 0], "{BOARD}: {expression}");
    }
    // It finds what is not there.
    let wrong =
        r#"rate(confab_relay_no_such_total[5m]) + confab_relay_drops_total{cause="late|no_such"}"#;
    let missing = [
        "confab_relay_no_such_total",
        "confab_relay_drops_total{cause=\"no_such\"}",
    ];
    assert_eq!(given.missing(wrong), missing);
}

/// The rows of a page's tables that have something under "when to act": the metrics of the first column.
fn rows_to_act_on(page: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut is_in_table = false;
    for line in read(page).lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.contains(&"when to act") {
            is_in_table = true;
        } else if !line.starts_with('|') {
            is_in_table = false;
        } else if is_in_table && !cells[1].starts_with("---") {
            let act = cells[cells.len() - 2];
            let names = cells[1].split('`').skip(1).step_by(2);
            let names = names.map(|name| name.split('{').next().unwrap().to_owned());
            if !act.is_empty() {
                rows.push(names.collect());
            }
        }
    }
    rows
}

#[test]
fn there_is_an_alert_for_each_when_to_act_of_the_documentation() {
    let alerts = alerts();
    for (page, prefix) in PAGES {
        let rows = rows_to_act_on(page);
        assert!(rows.len() > 8, "{page}: {rows:?}");
        for row in rows {
            let has_alert = row
                .iter()
                .any(|name| alerts.contains(&format!("{prefix}{name}")));
            assert!(has_alert, "{page}: no alert for {row:?}");
        }
    }
}

#[test]
fn each_alert_has_a_series_by_which_it_fires() {
    let alerts = alerts();
    let tests = read(ALERTS_TEST);
    let names = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let untested: Vec<_> = names
        .filter(|name| !tests.contains(&format!("{{alertname=\"{name}\"}}")))
        .collect();
    assert_eq!(untested, [""; 0]);
}

#[test]
fn promtool_takes_the_alerts_and_their_tests_and_the_boards_expressions() {
    let Some(promtool) = promtool() else {
        return skip("there is no promtool: scripts/setup promtool");
    };
    let folder = repository().join("deploy/prometheus");
    checked(&promtool, &folder, &["check", "config", "prometheus.yaml"]);
    checked(&promtool, &folder, &["test", "rules", "alerts-test.yaml"]);
    let scratch = tempfile::tempdir().unwrap();
    let mut rules = "groups:\n  - name: board\n    rules:\n".to_owned();
    for (at, expression) in of_board(&board()).iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m");
        let expression = serde_json::to_string(&expression).unwrap();
        rules += &format!("      - record: panel_{at}\n        expr: {expression}\n");
    }
    std::fs::write(scratch.path().join("board.yaml"), rules).unwrap();
    checked(&promtool, scratch.path(), &["check", "rules", "board.yaml"]);
}

fn checked(promtool: &Path, folder: &Path, args: &[&str]) {
    let output = Command::new(promtool)
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}\n{complained}");
}

/// Where `scripts/setup promtool` puts it, or in the path.
fn promtool() -> Option<PathBuf> {
    let target = programs().join("../..");
    let unpacked =
        std::env::var_os("CONFAB_PROMTOOL").map_or(target.join("promtool"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).collect::<Vec<_>>();
    let folders = [unpacked.join("usr/bin")].into_iter().chain(folders);
    folders
        .map(|folder| folder.join("promtool"))
        .find(|path| path.is_file())
        .and_then(|path| path.canonicalize().ok())
}
