//! `GET /metrics`: what the runner counted, and what is the case now, in the text format of Prometheus.
//!
//! What is the case is read from its owners at the request, the tree from one snapshot. Nothing here names a node, a
//! mesh, a service or a tool.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use meter::{CONTENT_TYPE, Endings, Gauge, Gauges as GaugesOf, Nodes, Process, number};
use protocol::link::ServiceState;

use super::{Front, routes};
use crate::link::Ports;
use crate::metrics::{Metrics, family};
use crate::process::Level;

/// What is read when somebody asks.
pub struct Gauges {
    metrics: Arc<Metrics>,
    /// Set to 1 when the runner begins to end.
    pub draining: Gauge,
    ports: Arc<Ports>,
    links: Gauge,
    epoch: Gauge,
    link_queue_bytes: Gauge,
    calls_in_flight: Gauge,
    calls_waiting: Gauge,
    builds_running: Gauge,
    builds_waiting: Gauge,
    services: Vec<(ServiceState, Gauge)>,
    processes: GaugesOf<Level>,
    nodes: Nodes,
    endings: Endings,
}

impl Gauges {
    /// Those of a runner of this version.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, build: &str, ports: &Arc<Ports>) -> Self {
        let exposition = &metrics.exposition;
        exposition.gauge(&family::BUILD_INFO, &[build]).set(1.0);
        let plain = |family| exposition.gauge(family, &[]);
        let of_state = |state: ServiceState| (state, exposition.gauge(&family::SERVICES, &[state.as_str()]));
        Self {
            draining: plain(&family::DRAINING),
            ports: Arc::clone(ports),
            links: plain(&family::LINKS),
            epoch: plain(&family::EPOCH),
            link_queue_bytes: plain(&family::LINK_QUEUE_BYTES),
            calls_in_flight: plain(&family::CALLS_IN_FLIGHT),
            calls_waiting: plain(&family::CALLS_WAITING),
            builds_running: plain(&family::BUILDS_RUNNING),
            builds_waiting: plain(&family::BUILDS_WAITING),
            services: ServiceState::ALL.map(of_state).to_vec(),
            processes: GaugesOf::new(exposition, &family::PROCESSES),
            nodes: Nodes::new(family::NODES, None),
            endings: Endings { restarts: family::NODE_RESTARTS, exits: family::NODE_EXITS },
            metrics: Arc::clone(metrics),
        }
    }

    fn read(&self, front: &Front, epoch: u64) {
        let exposition = &self.metrics.exposition;
        self.links.set(number(*self.ports.count().borrow()));
        self.link_queue_bytes.set(number(self.ports.queued_bytes()));
        // The number of a broker's start: no store sees 2³² of them.
        self.epoch.set(u32::try_from(epoch).unwrap_or(u32::MAX));
        let (running, waiting) = front.directory.builds();
        self.builds_running.set(number(running));
        self.builds_waiting.set(number(waiting));
        let loads: Vec<_> = front.directory.all().iter().map(|entry| entry.load()).collect();
        self.calls_in_flight.set(number(loads.iter().map(|load| load.in_flight).sum()));
        self.calls_waiting.set(number(loads.iter().map(|load| load.waiting).sum()));
        self.processes.show(loads.iter().flat_map(|load| load.levels.iter().copied()));
        for (state, gauge) in &self.services {
            gauge.set(number(loads.iter().filter(|load| load.state == *state).count()));
        }
        self.nodes.show(exposition, &front.registry.snapshot().roots, |_| true);
        self.endings.show(exposition, &front.registry);
    }

    /// See [`meter::Exposition::upkeep`].
    pub(super) fn upkeep(&self) {
        self.metrics.exposition.upkeep();
    }
}

/// The page, for whoever has the token.
pub(super) async fn metrics(request: HttpRequest, front: web::Data<Front>) -> HttpResponse {
    if let Some(refused) = routes::unauthorized(&request, &front) {
        return refused;
    }
    // The kernel may take milliseconds to add up the memory.
    let usage = tokio::task::spawn_blocking(Process::usage).await.unwrap_or_default();
    front.gauges.read(&front, front.reception.epoch().await);
    let mut page = front.gauges.metrics.exposition.page();
    usage.add_to(&mut page);
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(page)
}
