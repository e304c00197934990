//! A relay's metrics: its `/metrics`, read once.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::latency::LatencyBuckets;

const PREFIX: &str = "confab_relay_";
/// A relay that has not answered by then does not.
const DEADLINE: Duration = Duration::from_secs(5);

/// A relay's figures at one moment.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    /// How long frames stayed in it.
    pub latencies: LatencyBuckets,
    /// Each counter, all workers together; by its name without prefix and `_total`.
    counters: HashMap<String, u64>,
    /// Each gauge, by its name without prefix.
    gauges: HashMap<String, u64>,
}

pub async fn read(metrics: SocketAddr) -> io::Result<RelayMetrics> {
    let answer = tokio::time::timeout(DEADLINE, get(metrics)).await;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the relay's metrics do not answer");
    let told = RelayMetrics::parse(&answer.map_err(late)??);
    if told.latencies.is_empty() {
        let message = format!("{metrics} tells no relay's latencies");
        return Err(io::Error::other(message));
    }
    Ok(told)
}

async fn get(metrics: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(metrics).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

impl RelayMetrics {
    fn parse(text: &str) -> Self {
        let (mut counters, mut gauges) = (HashMap::new(), HashMap::new());
        for line in text.lines() {
            let Some((name, value)) = line.strip_prefix(PREFIX).and_then(|l| l.split_once(' '))
            else {
                continue;
            };
            let (name, _) = name.split_once('{').unwrap_or((name, ""));
            let value: u64 = value.trim().parse().unwrap_or(0);
            let Some(name) = name.strip_suffix("_total") else {
                gauges.insert(name.to_owned(), value);
                continue;
            };
            *counters.entry(name.to_owned()).or_default() += value;
        }
        Self {
            latencies: LatencyBuckets::parse(text),
            counters,
            gauges,
        }
    }

    /// The value of a gauge; 0 when the relay does not have it.
    pub fn gauge(&self, gauge: &str) -> u64 {
        self.gauges.get(gauge).copied().unwrap_or(0)
    }

    /// The value of a counter; 0 when the relay does not have it.
    pub fn counter(&self, counter: &str) -> u64 {
        self.counters.get(counter).copied().unwrap_or(0)
    }

    /// How much a counter has grown since `before`.
    pub fn grown(&self, before: &Self, counter: &str) -> u64 {
        self.counter(counter)
            .saturating_sub(before.counter(counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_and_causes_are_summed() {
        let text = |n: u64| {
            format!(
                "# HELP confab_relay_frames_out_total x\nconfab_relay_frames_out_total{{worker=\"0\"}} {n}\n\
                 confab_relay_frames_out_total{{worker=\"1\"}} 5\nconfab_relay_rooms 3\n\
                 confab_relay_drops_total{{cause=\"bad_tag\"}} 1\nconfab_relay_drops_total{{cause=\"replayed\"}} {n}\n"
            )
        };
        let (before, after) = (
            RelayMetrics::parse(&text(1)),
            RelayMetrics::parse(&text(10)),
        );
        assert_eq!(after.grown(&before, "frames_out"), 9);
        assert_eq!(after.grown(&before, "drops"), 9);
        assert_eq!(after.grown(&before, "rooms"), 0);
        assert_eq!(after.gauge("rooms"), 3);
    }
}
