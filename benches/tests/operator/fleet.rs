//! Operators' commands on nodes and relays.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_to_nodes_and_relays_is_told_with_what_comes_next() {
    let server = Server::start().await;
    let address = server.process.address.to_string();
    let typo = server.operator(&["revoke-node", "no-such-node"]).await;
    assert_eq!(typo.code, Some(0), "{typo:?}");
    let warning = "no node of the name no-such-node is linked now, only: ";
    assert!(typo.stderr.contains(warning), "{typo:?}");

    let drained = server.json(&["drain", "inside"]).await;
    let expected =
        serde_json::json!({ "event": "drained", "of": "inside", "lost": 0, "is_last": true });
    assert_eq!(drained.last(), Some(&expected));
    let again = "no relay named inside is linked";
    server.refused(&["drain", "inside"], 4, again).await;

    let nowhere = ["status", "--node", "127.0.0.1:1"];
    server.refused(&nowhere, 6, "no server answers at").await;
    let unknown = ["status", "--node", "nowhere.invalid:4433"];
    server.refused(&unknown, 6, "cannot be resolved").await;
    let other = server.scratch.path().join("other");
    let relay = server.scratch.path().join("relay");
    let of_other = async |args: &[&str]| {
        let mut command = server.programs.command(CONTROL);
        command.args(args).arg("--data-dir").arg(&other);
        server.programs.output(CONTROL, &mut command).await.unwrap()
    };
    let relay = relay.to_str().unwrap();
    let made = of_other(&["relay-identity", "r1", "--out", relay]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let foreign = of_other(&["status", "--node", &address]).await;
    assert_eq!(foreign.code, Some(6), "{foreign:?}");
    let says = "does not belong to the keys here";
    assert!(foreign.stderr.contains(says), "{foreign:?}");
    server.process.end().await.unwrap();
}
