//! What other nodes ask of this one.

use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::control::{ErrorCode, Refusal};
use confab_protocol::wire;
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;

use super::messages::{MAX_NODE_MESSAGE, NodeAnswer, NodeAsk};
use crate::Server;
use crate::cluster::NodeName;

/// A request has to be whole, and its answer taken, by then.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serves another node's connection to its end.
pub async fn serve(connection: Connection, name: NodeName, server: Arc<Server>) {
    tracing::info!(node = %name, "node linked");
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    requests.spawn(serve_request(send, receive, server.clone()));
                }
                Err(_) => break,
            },
            Some(_) = requests.join_next() => {}
        }
    }
    // What was begun is carried out, whether anybody hears of it or not.
    requests.detach_all();
    tracing::info!(node = %name, "node unlinked");
}

async fn serve_request(mut send: SendStream, mut receive: RecvStream, server: Arc<Server>) {
    let asked = tokio::time::timeout(DEADLINE, read(&mut receive)).await;
    let answer = match asked {
        Ok(Some(ask)) => answer(&server, ask).await,
        Ok(None) | Err(_) => NodeAnswer::Refused(Refusal::new(
            ErrorCode::Malformed,
            "the other node's request makes no sense: are both of one version?",
        )),
    };
    let bytes = framing::encode(&wire::NodeResponse::from(answer));
    let sending = async {
        // A node that is gone asks another one.
        if send.write_chunk(bytes).await.is_ok() {
            let _ = send.finish();
        }
    };
    let _ = tokio::time::timeout(DEADLINE, sending).await;
}

async fn read(receive: &mut RecvStream) -> Option<NodeAsk> {
    let mut deframer = Deframer::new(MAX_NODE_MESSAGE);
    loop {
        if let Some(request) = deframer.next::<wire::NodeRequest>().ok()? {
            return NodeAsk::try_from(request).ok();
        }
        let chunk = receive.read_chunk(MAX_NODE_MESSAGE, true).await.ok()??;
        deframer.push(&chunk.bytes);
    }
}

async fn answer(server: &Server, ask: NodeAsk) -> NodeAnswer {
    match ask {
        NodeAsk::Room(conference, ask) => server.rooms.asked_by_node(conference, ask).await,
        NodeAsk::EndSession(account, session) => {
            server.session_ended(account, session);
            NodeAnswer::Done
        }
        NodeAsk::CountLive(conferences) => {
            let live = conferences.iter().map(|id| server.rooms.live(*id));
            NodeAnswer::Live(live.collect())
        }
    }
}
