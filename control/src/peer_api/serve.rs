//! Serves the connection of another node, or of an operator's command.

use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::control::{ErrorCode, Refusal};
use confab_protocol::wire;
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;

use super::status::NotLinked;
use super::{Services, admin, status};
use crate::clock::UnixMillis;
use crate::close;
use crate::cluster::nodes::messages::{MAX_NODE_REQUEST, NodeRequest, NodeResponse};
use crate::domain::{NodeName, Peer};
use crate::rooms::{ChangeError, Outcome, Settled};

/// Time limit for reading a request and writing its response.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub enum Requester {
    Node(NodeName),
    Operator,
}

/// Serves the connection of another node or of an operator's command until it ends or its identity is revoked.
/// `issued` is the time of issue of the identity's certificate.
pub async fn serve(
    connection: Connection,
    requester: Requester,
    issued: UnixMillis,
    services: Arc<Services>,
) {
    let peer = match &requester {
        Requester::Node(name) => Peer::Node(name.clone()),
        Requester::Operator => Peer::Operator,
    };
    if services.revoked.refuses_peer(&peer, issued).await {
        tracing::warn!(%peer, "refused a peer: its identity is revoked");
        return close::REVOKED.close(&connection);
    }
    tokio::select! {
        () = serve_requests(&connection, requester, &services) => {}
        () = services.revoked.until_peer_revoked(&peer, issued) => {
            tracing::warn!(%peer, "closing a connection: its identity is revoked");
            close::REVOKED.close(&connection);
        }
    }
}

async fn serve_requests(connection: &Connection, requester: Requester, services: &Arc<Services>) {
    if let Requester::Node(name) = &requester {
        tracing::info!(node = %name, "node linked");
    }
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    requests.spawn(serve_request(send, receive, requester.clone(), services.clone()));
                }
                Err(_) => break,
            },
            Some(_) = requests.join_next() => {}
        }
    }
    // Requests in progress are completed after the connection has ended.
    requests.detach_all();
    if let Requester::Node(name) = &requester {
        tracing::info!(node = %name, "node unlinked");
    }
}

async fn serve_request(
    mut send: SendStream,
    mut receive: RecvStream,
    requester: Requester,
    services: Arc<Services>,
) {
    let asked = tokio::time::timeout(DEADLINE, read(&mut receive)).await;
    let answer = match asked {
        Ok(Some(ask)) if is_allowed(&requester, &ask) => audited(&services, &requester, ask).await,
        Ok(Some(_)) => NodeResponse::Refused(Refusal::new(
            ErrorCode::Denied,
            "this peer may not send this request",
        )),
        Ok(None) | Err(_) => NodeResponse::Refused(Refusal::new(
            ErrorCode::Malformed,
            "the request cannot be parsed: check that both nodes have the same version",
        )),
    };
    let bytes = framing::encode(&wire::NodeResponse::from(answer));
    let sending = async {
        // A node that has disconnected asks another node.
        if send.write_chunk(bytes).await.is_ok() {
            let _ = send.finish();
        }
    };
    let _ = tokio::time::timeout(DEADLINE, sending).await;
}

async fn read(receive: &mut RecvStream) -> Option<NodeRequest> {
    let mut deframer = Deframer::new(MAX_NODE_REQUEST);
    loop {
        if let Some(request) = deframer.next::<wire::NodeRequest>().ok()? {
            return NodeRequest::try_from(request).ok();
        }
        let chunk = receive.read_chunk(MAX_NODE_REQUEST, true).await.ok()??;
        deframer.push(&chunk.bytes);
    }
}

/// Operators drain, revoke, administer and query the status; nodes send everything else and query the status.
fn is_allowed(requester: &Requester, ask: &NodeRequest) -> bool {
    let is_operator = matches!(requester, Requester::Operator);
    match ask {
        NodeRequest::Status { .. } | NodeRequest::DrainRelay { .. } => true,
        NodeRequest::RevokeRelay(..) | NodeRequest::RevokeNode(..) | NodeRequest::Admin(_) => {
            is_operator
        }
        NodeRequest::Moderate(..)
        | NodeRequest::EndSession(..)
        | NodeRequest::CountLive(_)
        | NodeRequest::Roster(_)
        | NodeRequest::Busiest(_)
        | NodeRequest::Announce(_) => !is_operator,
    }
}

/// Carries the request out. An operator's act is in the audit log before it is begun, and with its result afterwards.
async fn audited(services: &Services, requester: &Requester, ask: NodeRequest) -> NodeResponse {
    let act = match requester {
        Requester::Operator => admin::act(&ask, services.audit.shows_addresses()),
        Requester::Node(_) => None,
    };
    let Some(act) = act else {
        return answer(services, ask).await;
    };
    if let Err(error) = services.audit.record(&act, "begun").await {
        let message = format!("{error}: nothing was changed");
        return NodeResponse::Refused(Refusal::new(ErrorCode::Internal, message));
    }
    let answer = answer(services, ask).await;
    let result = match &answer {
        NodeResponse::Refused(refusal) | NodeResponse::Absent(refusal) => {
            refusal.code.as_str_name()
        }
        _ => "ok",
    };
    services.audit.note(&act, result, None);
    answer
}

/// The response to a moderation that another node has forwarded.
fn moderated(answer: Result<Outcome<Settled>, ChangeError>) -> NodeResponse {
    match answer {
        Ok(Outcome::Here(Settled::Everywhere)) => NodeResponse::Done,
        Ok(Outcome::Here(Settled::WhereReached)) => NodeResponse::Pending,
        Ok(Outcome::Elsewhere(_) | Outcome::Again) => NodeResponse::NotOwner,
        Err(error) if error.is_absent() => NodeResponse::Absent(error.into()),
        Err(error) => NodeResponse::Refused(error.into()),
    }
}

async fn revoke(services: &Services, peer: Peer, until: UnixMillis) -> NodeResponse {
    match services.revoked.revoke(peer, until).await {
        Ok(()) => NodeResponse::Done,
        Err(error) => NodeResponse::Refused(error.into()),
    }
}

async fn answer(services: &Services, ask: NodeRequest) -> NodeResponse {
    match ask {
        NodeRequest::Moderate(conference, moderation) => {
            moderated(services.rooms.moderate_here(conference, moderation).await)
        }
        NodeRequest::EndSession(account, session) => {
            services.session_ended(account, session);
            NodeResponse::Done
        }
        NodeRequest::CountLive(conferences) => {
            let live = conferences.iter().map(|id| services.rooms.live(*id));
            NodeResponse::Live(live.collect())
        }
        NodeRequest::Status {
            whole_cluster: true,
        } => NodeResponse::Status(Box::new(status::of_cluster(services).await)),
        NodeRequest::Status {
            whole_cluster: false,
        } => NodeResponse::Status(Box::new(status::of_node(services).await)),
        NodeRequest::DrainRelay { relay, by_any } => {
            match status::drain(services, &relay, by_any).await {
                Ok(()) => NodeResponse::Done,
                Err(NotLinked) => NodeResponse::Absent(Refusal::new(
                    ErrorCode::NotFound,
                    format!("no relay named {relay} is linked"),
                )),
            }
        }
        NodeRequest::RevokeRelay(relay, until) => {
            tracing::warn!(%relay, "an operator revokes a relay's identities");
            revoke(services, Peer::Relay(relay), until).await
        }
        NodeRequest::RevokeNode(node, until) => {
            tracing::warn!(%node, "an operator revokes a node's identities");
            revoke(services, Peer::Node(node), until).await
        }
        NodeRequest::Admin(ask) => admin::answer(services, *ask).await,
        NodeRequest::Roster(conference) => {
            NodeResponse::Roster(services.rooms.roster(conference).await)
        }
        NodeRequest::Busiest(limit) => NodeResponse::Busiest(services.rooms.busiest(limit)),
        NodeRequest::Announce(notice) => {
            admin::announce_here(services, &notice);
            NodeResponse::Done
        }
    }
}
