//! What the relay tells of itself over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::core::histogram::{Histogram, SizeHistogram};
use crate::core::{Counters, DropCause, Registry};

/// The text format of Prometheus, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4";
/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// A request's head has to be whole by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// A connection is closed after this time, whatever it does.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(60);

/// Everything that is told.
#[derive(Clone)]
pub struct Source {
    /// Of each worker.
    pub counters: Vec<Arc<Counters>>,
    /// Sessions and rooms.
    pub registry: Arc<Registry>,
    /// Control nodes that are linked.
    pub linked: Arc<AtomicUsize>,
    /// Whether the relay is about to end.
    pub draining: watch::Receiver<bool>,
}

/// Answers requests for as long as the relay lives.
pub async fn serve(listener: TcpListener, source: Source) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client that went away: the next one may have more luck.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let source = source.clone();
        tokio::spawn(async move {
            let served = converse(stream, source);
            // Who talks nonsense or too long is cut off, and nobody needs to know.
            let _ = tokio::time::timeout(CONNECTION_DEADLINE, served).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, source: Source) -> hyper::Result<()> {
    let answer = move |request: Request<Incoming>| {
        let response = respond(&source, request.method(), request.uri().path());
        async move { Ok::<_, std::convert::Infallible>(response) }
    };
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
}

fn respond(source: &Source, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET, "/metrics") => (StatusCode::OK, source.render()),
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") if *source.draining.borrow() => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
        }
        (&Method::GET, "/readyz") if source.linked.load(Ordering::Relaxed) > 0 => {
            (StatusCode::OK, "ok\n".to_owned())
        }
        (&Method::GET, "/readyz") => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no control node is linked\n".to_owned(),
        ),
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(PROMETHEUS),
    );
    response
}

impl Source {
    /// All figures in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        self.render_counters(&mut out);
        self.render_drops(&mut out);
        self.render_latency(&mut out);
        self.render_batches(&mut out);
        gauge(
            &mut out,
            "sessions",
            "Media sessions that are open.",
            self.registry.sessions(),
        );
        gauge(
            &mut out,
            "rooms",
            "Rooms with sessions.",
            self.registry.rooms(),
        );
        let linked = self.linked.load(Ordering::Relaxed);
        gauge(
            &mut out,
            "control_links",
            "Control nodes that are linked.",
            linked,
        );
        out
    }

    /// Each counter, by worker.
    fn render_counters(&self, out: &mut String) {
        for (at, (name, help)) in Counters::names().enumerate() {
            let _ = writeln!(out, "# HELP confab_relay_{name}_total {help}");
            let _ = writeln!(out, "# TYPE confab_relay_{name}_total counter");
            for (worker, counters) in self.counters.iter().enumerate() {
                if let Some(value) = counters.values().nth(at) {
                    let _ = writeln!(
                        out,
                        "confab_relay_{name}_total{{worker=\"{worker}\"}} {value}"
                    );
                }
            }
        }
    }

    fn render_drops(&self, out: &mut String) {
        out.push_str(
            "# HELP confab_relay_drops_total Datagrams and frames that were dropped, by cause.\n",
        );
        out.push_str("# TYPE confab_relay_drops_total counter\n");
        for cause in DropCause::ALL {
            let total: u64 = self
                .counters
                .iter()
                .map(|counters| counters.dropped(*cause))
                .sum();
            let _ = writeln!(
                out,
                "confab_relay_drops_total{{cause=\"{}\"}} {total}",
                cause.name()
            );
        }
    }

    fn render_latency(&self, out: &mut String) {
        let of_workers = self.counters.iter().map(|counters| &counters.send_latency);
        let seconds = |nanoseconds| nanoseconds as f64 / 1e9;
        histogram(
            out,
            "send_latency_seconds",
            "From the kernel's receive timestamp of a datagram's oldest frame to the end of the call that sent it.",
            of_workers.clone().map(|latency| {
                let buckets = latency.buckets();
                buckets.map(|(end, count)| (end.map(seconds), count))
            }),
            seconds(of_workers.map(Histogram::sum_ns).sum::<u64>()),
        );
    }

    fn render_batches(&self, out: &mut String) {
        let of_workers = self.counters.iter().map(|counters| &counters.batch_sizes);
        histogram(
            out,
            "batch_datagrams",
            "Datagrams that one look at the sockets brought.",
            of_workers.clone().map(|sizes| {
                let buckets = sizes
                    .buckets()
                    .map(|(end, count)| (Some(end as f64), count));
                buckets.chain([(None, 0)])
            }),
            of_workers.map(SizeHistogram::sum).sum::<u64>() as f64,
        );
    }
}

/// The workers' histograms together. All have the same buckets, each with its upper end; the last has none.
fn histogram(
    out: &mut String,
    name: &str,
    help: &str,
    of_workers: impl Iterator<Item = impl Iterator<Item = (Option<f64>, u64)>>,
    sum: f64,
) {
    let _ = writeln!(out, "# HELP confab_relay_{name} {help}");
    let _ = writeln!(out, "# TYPE confab_relay_{name} histogram");
    let mut buckets: Vec<(Option<f64>, u64)> = Vec::new();
    for of_worker in of_workers {
        for (at, (end, count)) in of_worker.enumerate() {
            match buckets.get_mut(at) {
                Some(bucket) => bucket.1 += count,
                None => buckets.push((end, count)),
            }
        }
    }
    let mut so_far = 0;
    for (end, count) in buckets {
        so_far += count;
        let end = end.map_or_else(|| "+Inf".to_owned(), |end| end.to_string());
        let _ = writeln!(out, "confab_relay_{name}_bucket{{le=\"{end}\"}} {so_far}");
    }
    let _ = writeln!(out, "confab_relay_{name}_sum {sum}");
    let _ = writeln!(out, "confab_relay_{name}_count {so_far}");
}

fn gauge(out: &mut String, name: &str, help: &str, value: usize) {
    let _ = writeln!(out, "# HELP confab_relay_{name} {help}");
    let _ = writeln!(out, "# TYPE confab_relay_{name} gauge");
    let _ = writeln!(out, "confab_relay_{name} {value}");
}
