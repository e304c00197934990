//! The counters of a worker. Each has one writer and shares no cache line with another worker; readers sum them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use confab_telemetry::Histogram;

/// Upper bounds of the times to send, in nanoseconds: four to an octave, from 1 µs to about a second.
const LATENCY_BOUNDS: [u64; 80] = quarter_octaves();
/// Upper bounds of the sizes of batches, up to the largest batch.
const BATCH_BOUNDS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

const fn quarter_octaves<const N: usize>() -> [u64; N] {
    let mut bounds = [1000; N];
    let mut at = 1;
    while at < N {
        let octave = 1000 << ((at - 1) / 4);
        let quarters = (at - 1) as u64 % 4 + 1;
        bounds[at] = octave + octave * quarters / 4;
        at += 1;
    }
    bounds
}

/// A number that only its worker adds to, and any thread may read.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; to be called by the one writer only.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! drop_causes {
    ($($(#[$doc:meta])* $cause:ident = $name:literal,)*) => {
        /// Why a datagram or a frame was dropped. A client is never told.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum DropCause {
            $($(#[$doc])* $cause,)*
        }

        impl DropCause {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$cause,)*];

            /// The cause's name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$cause => $name,)* }
            }
        }
    };
}

drop_causes! {
    /// Not a datagram of this protocol: too short or too long for its type, an SFrame of less than 17 bytes among them.
    Malformed = "malformed",
    /// A datagram of a type that this version does not know.
    UnknownType = "unknown_type",
    /// No session has this connection id.
    UnknownConnection = "unknown_connection",
    /// The hop tag is wrong.
    BadTag = "bad_tag",
    /// The packet number passed before.
    Replayed = "replayed",
    /// The packet number is too old to tell.
    TooOld = "too_old",
    /// More packets or bytes than a session may send.
    RateLimited = "rate_limited",
    /// A frame of a session whose SFrame header is not in its shortest form, or is followed by fewer bytes than a tag has.
    BadFrame = "bad_frame",
    /// The key id's leaf is not the session's in the generation and the epoch of the key id; a session may have none.
    WrongLeaf = "wrong_leaf",
    /// The epoch of the key id has retired: control has told so.
    RetiredEpoch = "retired_epoch",
    /// The participant may not speak: muted, or a listener.
    MayNotSpeak = "may_not_speak",
    /// The speaker is not among those of the room that are forwarded.
    NotLoudest = "not_loudest",
    /// A path response that answers no challenge, or from elsewhere.
    StrayPathResponse = "stray_path_response",
    /// It waited for over 200 ms, in the socket's buffer or to be sent.
    Late = "late",
    /// It was the oldest when no receive buffer was free.
    NoBuffer = "no_buffer",
    /// The queue of the worker that it was for was full.
    RingFull = "ring_full",
    /// Its room closed while it was on the way to the room's home worker.
    RoomClosed = "room_closed",
    /// The kernel refused this destination.
    SendFailed = "send_failed",
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A worker's counters, on cache lines of their own.
        #[repr(align(128))]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Counter,)*
            /// From the kernel's receive timestamp of a datagram's oldest frame to the return of the call that sent it.
            pub send_latency: Histogram,
            /// Datagrams of one batch.
            pub batch_sizes: Histogram,
            drops: [Counter; DropCause::ALL.len()],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($name: Counter::default(),)*
                    send_latency: Histogram::of_durations(&LATENCY_BOUNDS),
                    batch_sizes: Histogram::of_numbers(&BATCH_BOUNDS),
                    drops: Default::default(),
                }
            }
        }

        impl Counters {
            /// Each counter's name and what it counts; the drops have causes of their own.
            pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
                [$((stringify!($name), concat!($($doc,)*).trim_ascii()),)*].into_iter()
            }

            /// The value of each counter, in the order of [`names`](Self::names).
            pub fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$name.get(),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Datagrams received.
    datagrams_in,
    /// Their UDP payload, in bytes.
    bytes_in,
    /// Datagrams sent.
    datagrams_out,
    /// Their UDP payload, in bytes.
    bytes_out,
    /// Datagrams of those sent that went around the UDP stack, by a packet socket.
    datagrams_out_by_packet,
    /// Voice frames taken from speakers.
    frames_in,
    /// Voice frames sent: one for each receiver.
    frames_out,
    /// Keep-alives answered.
    pongs,
    /// Path challenges sent to addresses that were not proved.
    path_challenges,
    /// Path challenges sent to the addresses that media goes to, to see that they still answer.
    path_checks,
    /// Sessions whose media went to a first or another address.
    path_moves,
    /// Sessions whose address did not answer any more and was not sent to from then on.
    paths_lost,
    /// Voice frames whose level was not in steps of 6 dB and was rounded.
    levels_rounded,
    /// Datagrams that came to another worker's socket and were passed on.
    misdirected,
    /// Times that the sockets took no more, and sending had to wait.
    send_blocked,
    /// Frames handed to another worker that is their room's home.
    frames_crossed,
    /// Bundles handed to another worker that has receivers of them.
    fanouts_crossed,
    /// Time in which the worker did not wait, in nanoseconds.
    busy_ns,
    /// Datagrams that the kernel dropped because the socket's receive buffer was full.
    kernel_drops,
}

impl Counters {
    /// Counts one drop.
    pub fn count_drop(&self, cause: DropCause) {
        self.count_drops(cause, 1);
    }

    /// Counts `n` drops.
    pub fn count_drops(&self, cause: DropCause, n: u64) {
        self.drops[cause as usize].add(n);
    }

    /// Drops for this cause.
    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.drops[cause as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_buckets_are_quarters_of_octaves_from_one_microsecond_to_about_a_second() {
        let first = [1000, 1250, 1500, 1750, 2000, 2500, 3000];
        assert_eq!(LATENCY_BOUNDS[..first.len()], first);
        assert!(LATENCY_BOUNDS.is_sorted());
        assert_eq!(LATENCY_BOUNDS.last(), Some(&((1000 << 19) / 4 * 7)));
    }
}
