//! Every metric of the broker, on one page. docs/metrics.md has the same list, and a test compares them.

use meter::{Family, Kind, LIMIT_REFUSED, SECONDS};

/// All of them but those of the process.
pub const ALL: &[Family] = &[
    BUILD_INFO,
    EPOCH,
    DRAINING,
    NODES,
    RUNNER_NODES,
    NODE_RESTARTS,
    NODE_EXITS,
    TREE_WAITERS,
    SOCKETS,
    SOCKETS_OPENED,
    SOCKET_MESSAGES_RECEIVED,
    SOCKET_MESSAGES_SENT,
    SOCKET_RECEIVED_BYTES,
    SOCKET_SENT_BYTES,
    SESSIONS,
    HELLOS,
    SENDS,
    PUSHES,
    DELIVERIES,
    MESSAGES_WAITING,
    MESSAGES_WAITING_BYTES,
    MESSAGES_IN_FLIGHT,
    CALLS_STARTED,
    CALLS_ANSWERED,
    CALL_DURATION,
    CALLS_IN_FLIGHT,
    CALLS_WAITING,
    LINK_UP,
    LINK_QUEUE_BYTES,
    LINK_FRAMES_RECEIVED,
    LINK_FRAMES_SENT,
    LINK_RECEIVED_BYTES,
    LINK_SENT_BYTES,
    LINK_REPORTS,
    LINK_LAST_HEARD,
    STORE_OPERATIONS,
    STORE_OPERATION_DURATION,
    STORE_OPERATIONS_PENDING,
    SERVICES,
    DEPLOYS,
    WATCHES,
    WATCH_LOOKS,
    WATCH_LOOK_DURATION,
    WATCH_LOOK_LATENESS,
    WATCH_LOOKS_UNDER_WAY,
    WATCH_WORDS,
    LIMIT_REFUSED,
];

meter::families! { "claudemesh_broker_",
    BUILD_INFO = Kind::Gauge, "build_info", ["version"], "Always 1; the version is the label.";
    EPOCH = Kind::Gauge, "epoch", [], "The number of this start within its store.";
    DRAINING = Kind::Gauge, "draining", [], "1 from the moment the broker takes no new work.";
    NODES = Kind::Gauge, "nodes", ["kind", "state"], "Nodes of the broker's tree.";
    RUNNER_NODES = Kind::Gauge, "runner_nodes", ["runner", "kind", "state"], "Nodes of a runner's tree, as last reported.";
    NODE_RESTARTS = Kind::Counter, "node_restarts_total", ["kind"], "Restarts of the broker's nodes.";
    NODE_EXITS = Kind::Counter, "node_exits_total", ["kind", "reason"], "Ends of the broker's nodes.";
    TREE_WAITERS = Kind::Gauge, "tree_waiters", [], "Requests for the tree that wait for a change.";
    SOCKETS = Kind::Gauge, "sockets", [], "Open sockets, those before their hello included.";
    SOCKETS_OPENED = Kind::Counter, "sockets_opened_total", [], "Sockets that were opened.";
    SOCKET_MESSAGES_RECEIVED = Kind::Counter, "socket_messages_received_total", [], "Messages of clients.";
    SOCKET_MESSAGES_SENT = Kind::Counter, "socket_messages_sent_total", [], "Messages to clients.";
    SOCKET_RECEIVED_BYTES = Kind::Counter, "socket_received_bytes_total", [], "Bytes from clients, as they arrived.";
    SOCKET_SENT_BYTES = Kind::Counter, "socket_sent_bytes_total", [], "Bytes of messages to clients.";
    SESSIONS = Kind::Gauge, "sessions", [], "Sessions of all meshes.";
    HELLOS = Kind::Counter, "hellos_total", ["outcome"], "Hellos, by how they were answered.";
    SENDS = Kind::Counter, "sends_total", ["outcome"], "Messages of clients, by how they were answered.";
    PUSHES = Kind::Counter, "pushes_total", [], "Messages that were pushed; one that was not acknowledged is pushed again.";
    DELIVERIES = Kind::Counter, "deliveries_total", ["outcome"], "Deliveries that ended: one for each message and mailbox.";
    MESSAGES_WAITING = Kind::Gauge, "messages_waiting", [], "Messages that wait for their recipients, once for each mailbox.";
    MESSAGES_WAITING_BYTES = Kind::Gauge, "messages_waiting_bytes", [], "What those count in bytes.";
    MESSAGES_IN_FLIGHT = Kind::Gauge, "messages_in_flight", [], "Messages that were pushed and are not acknowledged.";
    CALLS_STARTED = Kind::Counter, "calls_started_total", [], "Calls of clients.";
    CALLS_ANSWERED = Kind::Counter, "calls_answered_total", ["outcome"], "Answers to calls of clients.";
    CALL_DURATION = SECONDS, "call_duration_seconds", [], "From a call's arrival to its answer, of those taken in.";
    CALLS_IN_FLIGHT = Kind::Gauge, "calls_in_flight", ["runner"], "Calls that a runner has and has not answered.";
    CALLS_WAITING = Kind::Gauge, "calls_waiting", [], "Calls that wait for a runner.";
    LINK_UP = Kind::Gauge, "link_up", ["runner"], "1 while a runner is linked and has reported.";
    LINK_QUEUE_BYTES = Kind::Gauge, "link_queue_bytes", ["runner"], "Bytes that wait to be written to a runner.";
    LINK_FRAMES_RECEIVED = Kind::Counter, "link_frames_received_total", ["runner"], "Frames of a runner.";
    LINK_FRAMES_SENT = Kind::Counter, "link_frames_sent_total", ["runner"], "Frames to a runner.";
    LINK_RECEIVED_BYTES = Kind::Counter, "link_received_bytes_total", ["runner"], "Bytes of a runner's frames.";
    LINK_SENT_BYTES = Kind::Counter, "link_sent_bytes_total", ["runner"], "Bytes of frames to a runner.";
    LINK_REPORTS = Kind::Counter, "link_reports_total", ["runner"], "Reports of a runner.";
    LINK_LAST_HEARD = Kind::Gauge, "link_last_heard_timestamp_seconds", ["runner"], "When a runner was last heard, Unix time; 0 for never.";
    STORE_OPERATIONS = Kind::Counter, "store_operations_total", ["outcome"], "Operations on the database.";
    STORE_OPERATION_DURATION = SECONDS, "store_operation_duration_seconds", [], "From the asking for an operation to its end.";
    STORE_OPERATIONS_PENDING = Kind::Gauge, "store_operations_pending", [], "Operations that run or wait.";
    SERVICES = Kind::Gauge, "services", ["state"], "Services of all meshes, as they are shown to members.";
    DEPLOYS = Kind::Counter, "deploys_total", ["outcome"], "Deploys that ended.";
    WATCHES = Kind::Gauge, "watches", [], "Watches of all meshes.";
    WATCH_LOOKS = Kind::Counter, "watch_looks_total", ["outcome"], "Looks of watches that ended.";
    WATCH_LOOK_DURATION = SECONDS, "watch_look_duration_seconds", [], "From a look's turn to its end.";
    WATCH_LOOK_LATENESS = SECONDS, "watch_look_lateness_seconds", [], "From the moment a look was due to its beginning.";
    WATCH_LOOKS_UNDER_WAY = Kind::Gauge, "watch_looks_under_way", [], "Looks of watches that are under way.";
    WATCH_WORDS = Kind::Counter, "watch_words_total", [], "Messages of watches for their owners that were stored.";
}
