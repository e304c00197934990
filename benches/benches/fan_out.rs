//! What user space costs for a frame and its receivers, without the kernel: `cargo bench -p confab-benches`.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use confab_benches::bench_room::{BenchRoom, NullTransport};
use confab_protocol::media::{HopKey, RecordDigest, ReplayWindow};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Times forwarding alone: making the datagrams is the clients' work.
fn forward(room: &mut BenchRoom, speakers: usize, rounds: u64) -> Duration {
    let mut transport = NullTransport::default();
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let datagrams = room.frames(speakers);
        let start = Instant::now();
        room.forward(&datagrams, &mut transport);
        total += start.elapsed();
    }
    total
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out");
    for (speakers, members) in [(1, 10), (1, 100), (1, 1000), (10, 100)] {
        let mut room = BenchRoom::new(members);
        group.throughput(Throughput::Elements(u64::from(members) - 1));
        let name = BenchmarkId::from_parameter(format!("{speakers}x{members}"));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| forward(&mut room, speakers, rounds));
        });
    }
    group.finish();
}

fn churn(c: &mut Criterion) {
    let mut room = BenchRoom::new(100);
    let mut sender = 1000;
    c.bench_function("fan_out_1x100_while_one_comes_and_one_goes", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds).fold(Duration::ZERO, |total, _| {
                room.join(sender);
                room.leave(sender.wrapping_sub(1));
                sender = 1000 + (sender - 999) % 20_000;
                room.publish();
                total + forward(&mut room, 1, 1)
            })
        });
    });
    c.bench_function("publish_a_room_of_1000", |bencher| {
        let mut room = BenchRoom::new(1000);
        let mut sender = 2000;
        bencher.iter(|| {
            room.join(sender);
            room.leave(sender);
            sender = 2000 + (sender - 1999) % 20_000;
            room.publish();
        });
    });
}

fn checks(c: &mut Criterion) {
    let key = HopKey::new([7; 16]);
    let datagram = [9; 108];
    c.bench_function("uplink_tag", |b| b.iter(|| key.tag(black_box(&datagram))));
    let record = [9; 90];
    c.bench_function("record_digest", |b| {
        b.iter(|| RecordDigest::of(black_box(&record)));
    });
    let digests = [RecordDigest::of(&record); 10];
    for count in [1, 10] {
        c.bench_function(&format!("downlink_tag_{count}"), |b| {
            b.iter(|| key.tag_records(black_box(&[1; 6]), black_box(&digests[..count])));
        });
    }
    let mut window = ReplayWindow::new();
    let mut number = 0;
    c.bench_function("replay_window", |b| {
        b.iter(|| {
            number += 1;
            window.commit(black_box(number))
        });
    });
}

criterion_group!(benches, fan_out, churn, checks);
criterion_main!(benches);
