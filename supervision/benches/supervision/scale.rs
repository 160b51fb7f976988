//! What is read of a tree, what the watchdog does, and the life of a tree, at three sizes.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion};
use supervision::{Child, ChildSpec, ExitReason, Intensity, NodePath, NodeView, Registry, Strategy, Supervisor};

use crate::actors::{Ask, End, Grove, PATIENCE, alone, timed};

pub const SIZES: [usize; 3] = [10, 1_000, 10_000];

pub fn benches(c: &mut Criterion) {
    reading(c);
    foreign(c);
    one_among_many(c);
    life_of_a_set(c);
    life_of_a_static_supervisor(c);
}

fn reading(c: &mut Criterion) {
    for size in SIZES {
        let system = actix_rt::System::new();
        let (grove, slots) = system.block_on(Grove::of(size));
        let registry = &grove.registry;
        let last = format!("set/c{}", size - 1);
        c.benchmark_group("snapshot").bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(registry.snapshot()));
        });
        c.benchmark_group("view of one node").bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(registry.view(&last, 0)));
        });
        c.benchmark_group("round of the watchdog").bench_function(BenchmarkId::from_parameter(size), |b| {
            // What a probe costs is paid by the actor; it answers between the samples.
            b.iter_custom(|times| {
                system.block_on(async {
                    for slot in &slots {
                        slot.call(Ask, PATIENCE).await.unwrap();
                    }
                });
                let began = std::time::Instant::now();
                for _ in 0..times {
                    black_box(registry.look());
                }
                began.elapsed()
            });
        });
        system.block_on(grove.root.shutdown());
    }
}

/// Nodes of another process, grafted under one of ours: services of five nodes each, as a runner has them.
fn foreign(c: &mut Criterion) {
    const PARTS: usize = 5;
    for size in SIZES {
        let system = actix_rt::System::new();
        let (grove, _slots) = system.block_on(Grove::of(1));
        let registry = &grove.registry;
        let like = registry.view("set/c0", 0).unwrap();
        let named = |id: String| NodeView { id, ..like.clone() };
        let service = |i: usize| {
            let parts = (1..PARTS).map(|part| named(format!("services/s{i}/p{part}"))).collect();
            NodeView { children: parts, ..named(format!("services/s{i}")) }
        };
        let services = (0..size / PARTS).map(service).collect();
        let path = NodePath::try_from("set").unwrap();
        registry.graft(&path, vec![NodeView { children: services, ..named("services".into()) }]);
        let last = format!("set/services/s{}/p4", size / PARTS - 1);
        assert!(registry.view(&last, 0).is_some());
        c.benchmark_group("view of a node without its grafts").bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(registry.view("set", 0)));
        });
        c.benchmark_group("view of a grafted node").bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(registry.view(&last, 0)));
        });
        c.benchmark_group("snapshot with grafts").bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| black_box(registry.snapshot()));
        });
        system.block_on(grove.root.shutdown());
    }
}

/// A restart must not cost more where there are many.
fn one_among_many(c: &mut Criterion) {
    for size in SIZES {
        c.benchmark_group("restart of one among many").bench_function(BenchmarkId::from_parameter(size), |b| {
            let system = actix_rt::System::new();
            let (grove, slots) = system.block_on(Grove::of(size));
            b.iter_custom(|times| {
                system.block_on(async {
                    let ends = async {
                        for i in 0..times {
                            let slot = &slots[usize::try_from(i).unwrap() % slots.len()];
                            slot.call(End, PATIENCE).await.unwrap_err();
                            slot.call(Ask, PATIENCE).await.unwrap();
                        }
                    };
                    timed(ends).await.0
                })
            });
            system.block_on(grove.root.shutdown());
        });
    }
}

fn life_of_a_set(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group("start and stop a set");
        group.sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    total += alone(async move {
                        let life = async {
                            let (grove, _slots) = Grove::of(size).await;
                            grove.root.shutdown().await
                        };
                        timed(life).await.0
                    });
                }
                total
            });
        });
        group.finish();
    }
}

/// Its children start one after the other and stop in reverse.
fn life_of_a_static_supervisor(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group("start and stop a static supervisor");
        group.sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let tree =
                        (0..size).fold(Supervisor::new(Strategy::RestForOne, Intensity::default()), |tree, i| {
                            tree.child(Child::task(ChildSpec::new(format!("c{i}")), |life| async move {
                                life.stopping().await;
                                ExitReason::Shutdown
                            }))
                        });
                    total += alone(async move {
                        let life = async {
                            let root = tree.start_root("root", &Registry::new(), None);
                            root.ready().await.unwrap();
                            root.shutdown().await
                        };
                        timed(life).await.0
                    });
                }
                total
            });
        });
        group.finish();
    }
}
