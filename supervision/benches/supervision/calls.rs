//! A call through a slot against a message to an address, on one thread and between two.

use std::time::Duration;

use actix::prelude::Actor;
use criterion::Criterion;
use supervision::{ChildSpec, Slot};

use crate::actors::{Ask, Bare, End, Grove, Kept, PATIENCE, alone, kept, kept_with, timed};

pub fn benches(c: &mut Criterion) {
    same_thread(c);
    across_threads(c);
    restart(c);
}

fn same_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("call on one thread");
    group.bench_function("bare", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let addr = Bare.start();
                let calls = async {
                    for _ in 0..times {
                        addr.send(Ask).await.unwrap();
                    }
                };
                timed(calls).await.0
            })
        });
    });
    group.bench_function("ours", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let (grove, slots) = Grove::of(1).await;
                let time = calls(&slots[0], times).await;
                grove.root.shutdown().await;
                time
            })
        });
    });
    group.finish();
}

fn across_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("call across threads");
    group.bench_function("bare", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let arbiter = actix_rt::Arbiter::new();
                let addr = Bare::start_in_arbiter(&arbiter.handle(), |_| Bare);
                let calls = async {
                    for _ in 0..times {
                        addr.send(Ask).await.unwrap();
                    }
                };
                let time = timed(calls).await.0;
                arbiter.stop();
                time
            })
        });
    });
    group.bench_function("ours", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let arbiter = actix_rt::Arbiter::new();
                let grove = Grove::up().await;
                let slot = Slot::new();
                let spec = ChildSpec::new("there").on(arbiter.handle());
                grove.set.start_ready(kept_with(spec, &slot), PATIENCE).await.unwrap();
                let time = calls(&slot, times).await;
                grove.root.shutdown().await;
                arbiter.stop();
                time
            })
        });
    });
    group.finish();
}

async fn calls(slot: &Slot<Kept>, times: u64) -> Duration {
    let calls = async {
        for _ in 0..times {
            slot.call(Ask, PATIENCE).await.unwrap();
        }
    };
    timed(calls).await.0
}

/// From the message that ends it to the answer of the next incarnation. The bare actor stops, which costs it no
/// unwinding, and its caller starts another by hand.
fn restart(c: &mut Criterion) {
    let mut group = c.benchmark_group("end and be back");
    group.bench_function("bare", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let mut addr = Bare.start();
                let ends = async {
                    for _ in 0..times {
                        addr.send(End).await.unwrap();
                        addr = Bare.start();
                        addr.send(Ask).await.unwrap();
                    }
                };
                timed(ends).await.0
            })
        });
    });
    group.bench_function("ours", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let grove = Grove::up().await;
                let slot = Slot::new();
                grove.set.start_ready(kept("a", &slot), PATIENCE).await.unwrap();
                let ends = async {
                    for _ in 0..times {
                        slot.call(End, PATIENCE).await.unwrap_err();
                        slot.call(Ask, PATIENCE).await.unwrap();
                    }
                };
                let time = timed(ends).await.0;
                grove.root.shutdown().await;
                time
            })
        });
    });
    group.finish();
}
