//! `docs/protocol.md` holds the messages whole: another implementation needs nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

#[test]
fn the_page_holds_every_message_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/protocol.md")).unwrap();
    for name in ["common", "client", "cluster"] {
        let file = root.join(format!("proto/confab/v1/{name}.proto"));
        let messages = fs::read_to_string(file).unwrap();
        let fenced = format!("```protobuf\n{messages}```\n");
        assert!(
            page.contains(&fenced),
            "{name}.proto in docs/protocol.md is not the real one"
        );
    }
}
