//! What user space costs for a frame and its receivers, without the kernel: `cargo bench -p confab-benches`.

use std::time::{Duration, Instant};

use confab_benches::cases::Case;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Times what a case has measured, and not what it prepares.
fn cases(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    for case in Case::ALL {
        let mut round = case.start();
        group.throughput(Throughput::Elements(case.times));
        group.bench_function(case.name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut total = Duration::ZERO;
                for _ in 0..rounds {
                    round(&mut |work| {
                        let start = Instant::now();
                        work();
                        total += start.elapsed();
                    });
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cases);
criterion_main!(benches);
