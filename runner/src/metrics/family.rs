//! Every metric of the runner, on one page. docs/metrics.md has the same list, and a test compares them.

use meter::{Family, Kind, LIMIT_REFUSED, LONG_SECONDS, SECONDS};

/// All of them but those of the process.
pub const ALL: &[Family] = &[
    BUILD_INFO,
    EPOCH,
    DRAINING,
    NODES,
    NODE_RESTARTS,
    NODE_EXITS,
    LINKS,
    LINKS_REFUSED,
    LINK_QUEUE_BYTES,
    LINK_FRAMES_RECEIVED,
    LINK_FRAMES_SENT,
    LINK_RECEIVED_BYTES,
    LINK_SENT_BYTES,
    LINK_REPORTS,
    CALLS_STARTED,
    CALLS_ANSWERED,
    CALL_WAITING,
    CALL_SERVER,
    CALLS_IN_FLIGHT,
    CALLS_WAITING,
    SERVICES,
    PROCESSES,
    WARDENS,
    PROCESS_STARTS,
    PROCESS_RESTARTS,
    BUILDS,
    BUILD_DURATION,
    BUILDS_RUNNING,
    BUILDS_WAITING,
    LOG_LINES,
    LOG_BYTES,
    LOG_LINES_LEFT_OUT,
    LIMIT_REFUSED,
];

meter::families! { "claudemesh_runner_",
    BUILD_INFO = Kind::Gauge, "build_info", ["version"], "Always 1; the version is the label.";
    EPOCH = Kind::Gauge, "epoch", [], "The highest epoch of a broker that it serves; 0 before the first.";
    DRAINING = Kind::Gauge, "draining", [], "1 from the moment the runner takes no new work.";
    NODES = Kind::Gauge, "nodes", ["kind", "state"], "Nodes of the runner's tree.";
    NODE_RESTARTS = Kind::Counter, "node_restarts_total", ["kind"], "Restarts of the runner's nodes.";
    NODE_EXITS = Kind::Counter, "node_exits_total", ["kind", "reason"], "Ends of the runner's nodes.";
    LINKS = Kind::Gauge, "links", [], "Brokers that are linked.";
    LINKS_REFUSED = Kind::Counter, "links_refused_total", ["reason"], "Handshakes of brokers that were refused or failed.";
    LINK_QUEUE_BYTES = Kind::Gauge, "link_queue_bytes", [], "Bytes that wait to be written to brokers.";
    LINK_FRAMES_RECEIVED = Kind::Counter, "link_frames_received_total", [], "Frames of brokers.";
    LINK_FRAMES_SENT = Kind::Counter, "link_frames_sent_total", [], "Frames to brokers.";
    LINK_RECEIVED_BYTES = Kind::Counter, "link_received_bytes_total", [], "Bytes of brokers' frames.";
    LINK_SENT_BYTES = Kind::Counter, "link_sent_bytes_total", [], "Bytes of frames to brokers.";
    LINK_REPORTS = Kind::Counter, "link_reports_total", [], "Reports to brokers.";
    CALLS_STARTED = Kind::Counter, "calls_started_total", [], "Calls of brokers.";
    CALLS_ANSWERED = Kind::Counter, "calls_answered_total", ["outcome"], "Answers to calls.";
    CALL_WAITING = SECONDS, "call_waiting_seconds", [], "From a call's arrival, or the death of its process, to its handing to a process.";
    CALL_SERVER = SECONDS, "call_server_seconds", [], "From a call's handing to a process to its answer or its end.";
    CALLS_IN_FLIGHT = Kind::Gauge, "calls_in_flight", [], "Calls before processes.";
    CALLS_WAITING = Kind::Gauge, "calls_waiting", [], "Calls that wait for a process or for room.";
    SERVICES = Kind::Gauge, "services", ["state"], "Deployments that are loaded.";
    PROCESSES = Kind::Gauge, "processes", ["level"], "Servers' processes that run, by isolation level.";
    WARDENS = Kind::Gauge, "wardens", ["level"], "Process sets that are held, those of installations included.";
    PROCESS_STARTS = Kind::Counter, "process_starts_total", ["outcome"], "Starts of programs, those of installations included.";
    PROCESS_RESTARTS = Kind::Counter, "process_restarts_total", [], "Ends of servers' processes after which another is started.";
    BUILDS = Kind::Counter, "builds_total", ["outcome"], "Preparations of packages.";
    BUILD_DURATION = LONG_SECONDS, "build_duration_seconds", [], "From the asking for a package to its installation, of those that were not in the cache.";
    BUILDS_RUNNING = Kind::Gauge, "builds_running", [], "Builds under way.";
    BUILDS_WAITING = Kind::Gauge, "builds_waiting", [], "Builds that wait for their turn.";
    LOG_LINES = Kind::Counter, "log_lines_total", ["stream"], "Lines in services' logs.";
    LOG_BYTES = Kind::Counter, "log_bytes_total", ["stream"], "Bytes of these lines, before they are cut.";
    LOG_LINES_LEFT_OUT = Kind::Counter, "log_lines_left_out_total", [], "Lines that were left out.";
}
