//! From nothing to an answer, and a thousand at once.

use std::time::Duration;

use actix::prelude::Actor;
use criterion::Criterion;
use supervision::Slot;

use crate::actors::{Ask, Bare, Grove, PATIENCE, alone, kept, timed};

/// How many at once.
const MANY: usize = 1_000;

pub fn benches(c: &mut Criterion) {
    one(c);
    many(c);
}

fn one(c: &mut Criterion) {
    let mut group = c.benchmark_group("spawn one and call it");
    group.bench_function("bare", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let first_answer = async {
                        let addr = Bare.start();
                        addr.send(Ask).await.unwrap();
                        addr
                    };
                    let (time, addr) = timed(first_answer).await;
                    total += time;
                    drop(addr);
                    tokio::task::yield_now().await;
                }
                total
            })
        });
    });
    group.bench_function("ours", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let grove = Grove::up().await;
                let mut total = Duration::ZERO;
                let id = supervision::ChildId::try_from("a").unwrap();
                for _ in 0..times {
                    let slot = Slot::new();
                    let child = kept("a", &slot);
                    let first_answer = async {
                        grove.set.start(child).await.unwrap();
                        slot.call(Ask, PATIENCE).await.unwrap();
                    };
                    total += timed(first_answer).await.0;
                    grove.set.stop(&id).await.unwrap();
                }
                grove.root.shutdown().await;
                total
            })
        });
    });
    group.finish();
}

fn many(c: &mut Criterion) {
    let mut group = c.benchmark_group("spawn 1,000 and call the last");
    group.sample_size(20);
    group.bench_function("bare", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let all = async {
                        let addrs: Vec<_> = (0..MANY).map(|_| Bare.start()).collect();
                        addrs.last().unwrap().send(Ask).await.unwrap();
                        addrs
                    };
                    let (time, addrs) = timed(all).await;
                    total += time;
                    drop(addrs);
                    tokio::task::yield_now().await;
                }
                total
            })
        });
    });
    group.bench_function("ours", |b| {
        b.iter_custom(|times| {
            alone(async move {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let grove = Grove::up().await;
                    let slots: Vec<_> = (0..MANY).map(|_| Slot::new()).collect();
                    let children: Vec<_> = slots.iter().enumerate().map(|(i, s)| kept(&format!("c{i}"), s)).collect();
                    let all = async {
                        for child in children {
                            grove.set.start(child).await.unwrap();
                        }
                        slots.last().unwrap().call(Ask, PATIENCE).await.unwrap();
                    };
                    total += timed(all).await.0;
                    grove.root.shutdown().await;
                }
                total
            })
        });
    });
    group.finish();
}
