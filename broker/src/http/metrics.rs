//! `GET /metrics`: what the broker counted, and what is the case now, in the text format of Prometheus.
//!
//! What is the case is read from its owners at the request, the tree from one snapshot. Nothing here names a node, a
//! mesh, a member, a service or a tool.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use meter::{CONTENT_TYPE, Endings, Gauge, Nodes, Process, number};
use protocol::link::ServiceState;
use supervision::NodeView;

use super::{Http, auth};
use crate::metrics::{Metrics, family};
use crate::runners::{Link, Runners};

/// The kind of the nodes below which a runner's tree is grafted.
const LINK_KIND: &str = "link";

/// What is read when somebody asks.
pub struct Gauges {
    draining: Gauge,
    tree_waiters: Gauge,
    sockets: Gauge,
    sessions: Gauge,
    calls_waiting: Gauge,
    mail: [Gauge; 3],
    store_pending: Gauge,
    services: Vec<(ServiceState, Gauge)>,
    links: Vec<LinkGauges>,
    watches: Gauge,
    looks: Gauge,
    nodes: Nodes,
    endings: Endings,
}

/// Of one link.
struct LinkGauges {
    link: Link,
    up: Gauge,
    queue_bytes: Gauge,
    calls: Gauge,
    last_heard: Gauge,
    nodes: Nodes,
}

impl Gauges {
    /// Those of a broker of this version, in this epoch, with these runners.
    #[must_use]
    pub fn new(metrics: &Metrics, build: &str, epoch: u64, runners: &Runners) -> Self {
        let exposition = &metrics.exposition;
        exposition.gauge(&family::BUILD_INFO, &[build]).set(1.0);
        // The number of a start: no store sees 2³² of them.
        exposition.gauge(&family::EPOCH, &[]).set(u32::try_from(epoch).unwrap_or(u32::MAX));
        let plain = |family| exposition.gauge(family, &[]);
        let of_state = |state: ServiceState| (state, exposition.gauge(&family::SERVICES, &[state.as_str()]));
        let of_link = |link: &Link| {
            let gauge = |family| exposition.gauge(family, &[link.name()]);
            LinkGauges {
                up: gauge(&family::LINK_UP),
                queue_bytes: gauge(&family::LINK_QUEUE_BYTES),
                calls: gauge(&family::CALLS_IN_FLIGHT),
                last_heard: gauge(&family::LINK_LAST_HEARD),
                nodes: Nodes::new(family::RUNNER_NODES, Some(link.name().to_owned())),
                link: link.clone(),
            }
        };
        Self {
            draining: plain(&family::DRAINING),
            tree_waiters: plain(&family::TREE_WAITERS),
            sockets: plain(&family::SOCKETS),
            sessions: plain(&family::SESSIONS),
            calls_waiting: plain(&family::CALLS_WAITING),
            mail: [&family::MESSAGES_WAITING, &family::MESSAGES_WAITING_BYTES, &family::MESSAGES_IN_FLIGHT].map(plain),
            store_pending: plain(&family::STORE_OPERATIONS_PENDING),
            services: ServiceState::ALL.map(of_state).to_vec(),
            links: runners.all().map(of_link).collect(),
            watches: plain(&family::WATCHES),
            looks: plain(&family::WATCH_LOOKS_UNDER_WAY),
            nodes: Nodes::new(family::NODES, None),
            endings: Endings { restarts: family::NODE_RESTARTS, exits: family::NODE_EXITS },
        }
    }

    fn read(&self, http: &Http) {
        self.draining.set(f64::from(u8::from(http.draining.load(Ordering::Acquire))));
        self.tree_waiters.set(number(http.tree_waiters.load(Ordering::Relaxed)));
        self.sockets.set(number(http.sockets.load(Ordering::Relaxed)));
        self.store_pending.set(number(http.meshes.store().operations()));
        self.read_meshes(http);
        self.read_tree(http);
        for gauges in &self.links {
            let link = &gauges.link;
            gauges.up.set(f64::from(u8::from(link.is_up())));
            gauges.queue_bytes.set(number(link.queued_bytes()));
            gauges.calls.set(number(link.calls()));
            gauges.last_heard.set(Duration::from_millis(link.last_seen_ms().unwrap_or_default()).as_secs_f64());
        }
    }

    fn read_meshes(&self, http: &Http) {
        let meshes = http.meshes.all();
        self.sessions.set(number(meshes.iter().map(|mesh| mesh.peers.ids().len()).sum()));
        self.watches.set(number(meshes.iter().map(|mesh| mesh.watches.len()).sum()));
        self.looks.set(number(http.meshes.lookout().fetcher.turns.under_way()));
        for (at, gauge) in self.mail.iter().enumerate() {
            let of = |figures: [u64; 4]| figures.get(at).copied().unwrap_or_default();
            let all: u64 = meshes.iter().map(|mesh| of(mesh.figures.read())).sum();
            gauge.set(number(usize::try_from(all).unwrap_or(usize::MAX)));
        }
        let cells: Vec<_> = meshes.iter().flat_map(|mesh| mesh.services.all()).collect();
        self.calls_waiting.set(number(cells.iter().map(|cell| cell.desk.waiting()).sum()));
        let states: Vec<_> = cells.iter().filter_map(|cell| cell.view()).map(|view| view.state).collect();
        for (state, gauge) in &self.services {
            gauge.set(number(states.iter().filter(|one| *one == state).count()));
        }
    }

    /// Own nodes and, below each link, its runner's: all from one snapshot.
    fn read_tree(&self, http: &Http) {
        let exposition = &http.metrics.exposition;
        let snapshot = http.registry.snapshot();
        self.nodes.show(exposition, &snapshot.roots, |node| node.kind != LINK_KIND);
        for gauges in &self.links {
            let path = format!("runners/link:{}", gauges.link.name());
            let node = snapshot.roots.iter().find_map(|root| root.find(&path));
            gauges.nodes.show(exposition, node.map(|node| node.children.as_slice()).unwrap_or_default(), all);
        }
        self.endings.show(exposition, &http.registry);
    }
}

fn all(_: &NodeView) -> bool {
    true
}

/// The page.
pub(super) async fn metrics(request: HttpRequest, http: web::Data<Http>) -> HttpResponse {
    if let Some(refused) = auth::operator(&request, &http) {
        return refused;
    }
    // The kernel may take milliseconds to add up the memory.
    let usage = tokio::task::spawn_blocking(Process::usage).await.unwrap_or_default();
    http.gauges.read(&http);
    let mut page = http.metrics.exposition.page();
    usage.add_to(&mut page);
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(page)
}
