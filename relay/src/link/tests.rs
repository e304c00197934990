//! Links to control nodes that are not as they should be.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use confab_protocol::cluster::{BootId, MediaEndReason};
use confab_protocol::control::framing;
use confab_protocol::control::{CLUSTER_SERVER_NAME, ConferenceId};
use confab_protocol::media::ConnectionId;
use confab_protocol::wire::control_to_relay;
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;

use super::*;
use crate::core::Capacity;
use crate::core::mailbox;
use crate::identity::tests::{Authority, GOOD, OVER, TO_COME, Years, identity};
use crate::identity::{MAKE_ONE, ValidityError};

pub(super) const BOOT: BootId = BootId([3; 16]);
const PATIENCE: Duration = Duration::from_secs(30);

/// A control node's endpoint.
struct Control {
    endpoint: quinn::Endpoint,
    address: String,
}

/// How a control node is.
struct Manner<'a> {
    authority: &'a Authority,
    certificate: Years,
    /// Whose relays it takes.
    clients: &'a Authority,
    /// Its clock, in years since 1970; `None` for the right one.
    clock: Option<u64>,
    /// Bytes that it takes on a stream before it has read them.
    window: u32,
}

impl<'a> Manner<'a> {
    fn good(authority: &'a Authority) -> Self {
        Self {
            authority,
            certificate: GOOD,
            clients: authority,
            clock: None,
            window: 1 << 20,
        }
    }
}

#[derive(Debug)]
struct Clock(UnixTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl Control {
    fn start(manner: &Manner<'_>) -> Self {
        let (certificate, key) = manner.authority.issue(
            CLUSTER_SERVER_NAME,
            manner.certificate,
            ExtendedKeyUsagePurpose::ServerAuth,
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(manner.clients.certificate.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let chain = vec![
            certificate.der().clone(),
            manner.authority.certificate.clone(),
        ];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![cluster::ALPN.to_vec()];
        if let Some(years) = manner.clock {
            let seconds = Duration::from_secs(years * 31_556_952);
            tls.time_provider = Arc::new(Clock(UnixTime::since_unix_epoch(seconds)));
        }
        let tls = QuicServerConfig::try_from(tls).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(manner.window.into());
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap().to_string();
        Self { endpoint, address }
    }

    async fn accept(&self) -> quinn::Connection {
        let incoming = tokio::time::timeout(PATIENCE, self.endpoint.accept()).await;
        incoming.unwrap().unwrap().await.unwrap()
    }

    /// Takes a relay's link and greets it.
    async fn greet(&self) -> (quinn::Connection, quinn::SendStream, quinn::RecvStream) {
        let connection = self.accept().await;
        let (mut send, receive) = connection.accept_bi().await.unwrap();
        let hello = wire::ControlHello {
            version: 1,
            agent: String::new(),
        };
        say(&mut send, control_to_relay::Kind::Hello(hello)).await;
        (connection, send, receive)
    }
}

async fn say(send: &mut quinn::SendStream, kind: control_to_relay::Kind) {
    let message = framing::encode(&wire::ControlToRelay { kind: Some(kind) });
    send.write_all(&message).await.unwrap();
}

pub(super) fn registry() -> (Arc<Registry>, crate::core::Mailbox) {
    let capacity = Capacity {
        sessions: 1000,
        rooms: 1000,
        members: 100,
        share: 100,
    };
    let (post, mailbox) = mailbox();
    (
        Arc::new(Registry::new(BOOT, capacity, vec![post], [1; 32])),
        mailbox,
    )
}

fn link(control: &Control, identity: &Arc<Identity>, registry: &Arc<Registry>) -> Link {
    let (_, load) = watch::channel(wire::RelayLoad::default());
    Link {
        control: control.address.clone(),
        identity: Arc::clone(identity),
        hello: Hello {
            boot: BOOT,
            region: "default".to_owned(),
            public: watch::Sender::new(vec![([192, 0, 2, 1], 1).into()]).subscribe(),
            listen: Vec::new(),
            workers: 1,
            max_sessions: 1000,
            idle_timeout: Duration::from_secs(30),
        },
        registry: Arc::clone(registry),
        changed: Arc::default(),
        ended: Arc::default(),
        load,
        linked: Arc::default(),
        has_linked: Arc::default(),
        name_in_use: mpsc::channel(1).0,
        drain: Arc::default(),
    }
}

/// What an operator is told when a relay of this identity links to such a control node.
async fn told(manner: &Manner<'_>, identity: Arc<Identity>) -> String {
    let control = Control::start(manner);
    let (registry, _mailbox) = registry();
    let link = link(&control, &identity, &registry);
    let serving = async {
        while let Some(incoming) = control.endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.ok()?;
                let _stream = connection.accept_bi().await.ok()?;
                connection.closed().await;
                Some(())
            });
        }
    };
    let refusal = Arc::new(CertificateRefusal::default());
    let error = tokio::select! {
        connected = link.connect(&refusal) => connected.err().expect("it cannot link"),
        () = serving => panic!("the endpoint is closed"),
    };
    let advice = error.advice(&identity, &refusal, UnixTime::now());
    advice.map_or_else(String::new, |advice| advice.to_string())
}

#[tokio::test]
async fn an_identity_of_another_server_is_reported_by_either_sides_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let control_is_another = told(&Manner::good(&theirs), identity(&ours, GOOD, &ours)).await;
    assert!(
        control_is_another.contains("of another authority"),
        "{control_is_another}"
    );
    let relay_is_another = told(&Manner::good(&theirs), identity(&ours, GOOD, &theirs)).await;
    assert!(
        relay_is_another.contains("of another server"),
        "{relay_is_another}"
    );
}

#[tokio::test]
async fn an_expired_identity_is_reported_as_expired_and_not_as_another_servers() {
    let ours = Authority::new();
    let expired = identity(&ours, OVER, &ours);
    let told = told(&Manner::good(&ours), Arc::clone(&expired)).await;
    assert!(told.contains("expired on 2011-01-01"), "{told}");
    assert!(
        told.contains(MAKE_ONE) && !told.contains("server"),
        "{told}"
    );
    assert!(matches!(
        expired.validity_error(UnixTime::now()),
        Some(ValidityError::Expired { .. })
    ));
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_with_how_much_it_is_wrong_at_least() {
    let ours = Authority::new();
    let slow = told(
        &Manner {
            certificate: TO_COME,
            ..Manner::good(&ours)
        },
        identity(&ours, GOOD, &ours),
    )
    .await;
    assert!(
        slow.contains("is slow by") && slow.contains("2088-01-01"),
        "{slow}"
    );
    let fast = told(
        &Manner {
            certificate: OVER,
            ..Manner::good(&ours)
        },
        identity(&ours, GOOD, &ours),
    )
    .await;
    assert!(
        fast.contains("fast by") && fast.contains("2011-01-01"),
        "{fast}"
    );
    let controls = told(
        &Manner {
            clock: Some(130),
            ..Manner::good(&ours)
        },
        identity(&ours, GOOD, &ours),
    )
    .await;
    assert!(
        controls.contains("by the control node's clock"),
        "{controls}"
    );
    let not_yet = identity(&ours, TO_COME, &ours);
    let validity_error = not_yet
        .validity_error(UnixTime::now())
        .expect("its time is to come");
    assert!(
        validity_error.to_string().contains("slow by"),
        "{validity_error}"
    );
}

#[tokio::test]
async fn a_revoked_identity_is_reported_as_revoked() {
    let ours = Authority::new();
    let identity = identity(&ours, GOOD, &ours);
    let control = Control::start(&Manner::good(&ours));
    let (registry, _mailbox) = registry();
    let link = link(&control, &identity, &registry);
    let refusal = Arc::new(CertificateRefusal::default());
    let refusing = async {
        let connection = control.accept().await;
        connection.close(8u32.into(), b"no more");
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        connected = link.connect(&refusal) => connected.err().expect("it cannot link"),
        () = refusing => unreachable!(),
    };
    let advice = error.advice(&identity, &refusal, UnixTime::now());
    assert!(advice.is_some_and(|advice| advice.to_string().contains("revoked")));
}

/// Control reads nothing but keeps its connection alive: the relay leaves it and links anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_node_that_does_not_read_is_left() {
    let ours = Authority::new();
    let control = Control::start(&Manner {
        window: 600,
        ..Manner::good(&ours)
    });
    let (registry, _mailbox) = registry();
    let mut link = link(&control, &identity(&ours, GOOD, &ours), &registry);
    let running = tokio::spawn(async move { link.run().await });
    let first = control.greet().await;
    let second = control.greet().await;
    drop((first, second));
    running.abort();
}

/// Bytes that are no messages, at any place, cost control its link and the relay nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_from_control_ends_the_link_and_not_the_relay() {
    let ours = Authority::new();
    let control = Control::start(&Manner::good(&ours));
    let (registry, _mailbox) = registry();
    let mut link = link(&control, &identity(&ours, GOOD, &ours), &registry);
    let linked = Arc::clone(&link.linked);
    let running = tokio::spawn(async move { link.run().await });
    for nonsense in [&[0xff; 8][..], &[0, 0, 0, 2, 0xff, 0xff], &[0, 1, 0, 1]] {
        let (connection, mut send, _receive) = control.greet().await;
        send.write_all(nonsense).await.unwrap();
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
        assert!(closed.is_ok(), "{nonsense:?}");
    }
    let (_connection, _send, _receive) = control.greet().await;
    let deadline = Instant::now() + PATIENCE;
    while linked.load(Ordering::Relaxed) != 1 {
        assert!(Instant::now() < deadline, "it links again and counts right");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.abort();
}

/// Control hears from the relay all the time: the old link ends after the new one is there.
#[tokio::test(flavor = "multi_thread")]
async fn changed_addresses_reach_control_by_a_link_in_place_of_the_old_one() {
    let ours = Authority::new();
    let control = Control::start(&Manner::good(&ours));
    let (registry, _mailbox) = registry();
    let mut link = link(&control, &identity(&ours, GOOD, &ours), &registry);
    let public = watch::Sender::new(vec![([192, 0, 2, 1], 1).into()]);
    link.hello.public = public.subscribe();
    let running = tokio::spawn(async move { link.run().await });
    let (first, _send, mut receive) = control.greet().await;
    assert_eq!(hello(&mut receive).await.addresses, ["192.0.2.1:1"]);
    public.send_replace(vec![([203, 0, 113, 9], 2).into()]);
    let second = control.accept().await;
    assert!(first.close_reason().is_none());
    let (mut send, mut receive) = second.accept_bi().await.unwrap();
    assert_eq!(hello(&mut receive).await.addresses, ["203.0.113.9:2"]);
    assert!(first.close_reason().is_none());
    let greeting = wire::ControlHello {
        version: 1,
        agent: String::new(),
    };
    say(&mut send, control_to_relay::Kind::Hello(greeting)).await;
    let closed = tokio::time::timeout(PATIENCE, first.closed()).await;
    assert!(closed.is_ok());
    assert!(second.close_reason().is_none());
    running.abort();
}

async fn hello(receive: &mut quinn::RecvStream) -> wire::RelayHello {
    let mut deframer = framing::Deframer::new(cluster::MAX_MESSAGE);
    loop {
        let chunk = receive.read_chunk(usize::MAX, true).await.unwrap().unwrap();
        deframer.push(&chunk.bytes);
        if let Some(message) = deframer.next::<wire::RelayToControl>().unwrap() {
            match message.kind {
                Some(relay_to_control::Kind::Hello(hello)) => return hello,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn unreported_ended_sessions_are_bounded_and_in_order() {
    const TOO_MANY: u32 = 7;
    let queue = EndedQueue::default();
    let ended = |n: u32| MediaEnded {
        conference: ConferenceId::new([0; 16]),
        sender: 0,
        connection_id: ConnectionId::new(0, 0, n),
        reason: MediaEndReason::Bye,
    };
    for n in 0..ended::MAX_WAITING as u32 + TOO_MANY {
        queue.push(ended(n));
    }
    queue.changed().await;
    let first = queue.pop().expect("something");
    let number = |ended: &MediaEnded| ended.connection_id.check();
    assert_eq!(number(&first), TOO_MANY, "the oldest are forgotten");
    queue.put_back(first);
    let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
    assert_eq!(rest.len(), ended::MAX_WAITING);
    assert!(rest.is_sorted_by_key(number));
}
