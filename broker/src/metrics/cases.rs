//! The closed lists behind the labels.

use meter::cases;
use protocol::link::{FailCode, ReplyOutcome};
use protocol::wire::{ErrorCode, SendFault};

cases! {
    /// A limit that refuses, cuts or leaves something out. The names are those of docs/metrics.md.
    pub enum Limit {
        /// Sockets of the broker.
        Sockets = "sockets",
        /// Connections of a mesh (`max_connections_per_mesh`).
        ConnectionsPerMesh = "connections_per_mesh",
        /// A member's half of them.
        ConnectionsPerMember = "connections_per_member",
        /// Sockets of one address that have not said hello.
        AnonymousSockets = "anonymous_sockets",
        /// Bytes of a client's message (`max_message_bytes`).
        MessageBytes = "message_bytes",
        /// Depth of a client's JSON.
        MessageDepth = "message_depth",
        /// Bytes of a `_reqId`.
        RequestIdBytes = "request_id_bytes",
        /// Time until a hello.
        HelloTime = "hello_time",
        /// Groups of a session.
        SessionGroups = "session_groups",
        /// Capabilities of a client.
        SessionCapabilities = "session_capabilities",
        /// Bytes of a text in a hello.
        HelloTextBytes = "hello_text_bytes",
        /// Silence of a client.
        ClientSilence = "client_silence",
        /// What waits for a client that does not read.
        ClientQueue = "client_queue",
        /// Requests in a session's mailbox.
        SessionMailbox = "session_mailbox",
        /// Requests of a session that are carried out at a time.
        SessionRequests = "session_requests",
        /// Messages of a session that are not answered yet: further ones are not read.
        SessionSends = "session_sends",
        /// What a member may send in a second.
        SendRate = "send_rate",
        /// Messages of a mailbox, or its bytes.
        MailboxMessages = "mailbox_messages",
        /// Bytes of a message that no mailbox takes.
        MailboxBytes = "mailbox_bytes",
        /// Bytes that wait in a mesh.
        QueueBytes = "queue_bytes",
        /// Open invites of a mesh.
        OpenInvites = "open_invites",
        /// Calls of a session that are open.
        SessionCalls = "session_calls",
        /// Bytes of a `callId`.
        CallIdBytes = "call_id_bytes",
        /// Calls that wait for a service at its desk.
        ServiceWaitingCalls = "service_waiting_calls",
        /// Of one member.
        MemberWaitingCalls = "member_waiting_calls",
        /// Calls of a member that were in flight at two deaths.
        MemberPoison = "member_poison",
        /// Time of a call's waiting at the desk.
        ServiceWaitingTime = "service_waiting_time",
        /// What a link holds and queues.
        LinkQueue = "link_queue",
        /// Services of a mesh (`max_services_per_mesh`).
        ServicesPerMesh = "services_per_mesh",
        /// Deploys, updates and rollbacks of a member in a minute.
        DeployRate = "deploy_rate",
        /// Registrations of a member in a minute.
        RegisterRate = "register_rate",
        /// Servers that peers host, of a member or of a mesh, and the size of what one offers.
        HostedServers = "hosted_servers",
        /// Calls that wait for hosting peers.
        HostedCalls = "hosted_calls",
        /// Bytes of an uploaded file.
        FileBytes = "file_bytes",
        /// Files of a mesh.
        FilesPerMesh = "files_per_mesh",
        /// Bytes of all files of a mesh.
        FileBytesPerMesh = "file_bytes_per_mesh",
        /// A member's half of them.
        FileBytesPerMember = "file_bytes_per_member",
        /// Entries of a member's vault.
        VaultEntries = "vault_entries",
        /// Bytes of an entry's value.
        VaultEntryBytes = "vault_entry_bytes",
        /// Bytes of the values that one answer brings.
        VaultAnswerBytes = "vault_answer_bytes",
        /// Bytes of the boxes that one answer brings.
        SealedAnswerBytes = "sealed_answer_bytes",
        /// Uploads at a time, of all and of a member.
        Uploads = "uploads",
        /// Time of an upload.
        UploadTime = "upload_time",
        /// Disk that stays free.
        FreeDisk = "free_disk",
        /// Names in a scope.
        ScopeNames = "scope_names",
        /// Transitions that wait to be written down.
        JournalQueue = "journal_queue",
        /// Operations that wait for the store.
        StoreQueue = "store_queue",
        /// Time of an operation's waiting for its connection.
        StoreWaitingTime = "store_waiting_time",
        /// Requests for the tree that wait for a change.
        TreeWaiters = "tree_waiters",
        /// Watches of a member.
        WatchesPerMember = "watches_per_member",
        /// Looks of watches at once, of all, at one host and of one member.
        WatchLooks = "watch_looks",
    }
}

cases! {
    /// How a message was answered.
    pub enum SendEnd {
        /// It is stored.
        Accepted = "accepted",
        /// It was stored before.
        Repeated = "repeated",
        /// Its target is none.
        BadTarget = "bad_target",
        /// A field is not what it has to be.
        BadMessage = "bad_message",
        /// Nobody has that key.
        UnknownPeer = "unknown_peer",
        /// Nobody is in the target.
        NoRecipients = "no_recipients",
        /// The group is restricted.
        Forbidden = "forbidden",
        /// It was sealed for others.
        MembersChanged = "members_changed",
        /// Its id was another's.
        IdReused = "id_reused",
        /// No room in the mailbox.
        MailboxFull = "mailbox_full",
        /// No room in the mesh.
        QueueFull = "queue_full",
        /// Too fast.
        Rate = "rate",
        /// Too large.
        TooLarge = "too_large",
        /// The store did not take it.
        NotStored = "not_stored",
    }
}

impl From<SendFault> for SendEnd {
    fn from(fault: SendFault) -> Self {
        match fault {
            SendFault::BadTarget => Self::BadTarget,
            SendFault::BadMessage => Self::BadMessage,
            SendFault::UnknownPeer => Self::UnknownPeer,
            SendFault::NoRecipients => Self::NoRecipients,
            SendFault::Forbidden => Self::Forbidden,
            SendFault::MembersChanged => Self::MembersChanged,
            SendFault::IdReused => Self::IdReused,
            SendFault::MailboxFull => Self::MailboxFull,
            SendFault::QueueFull => Self::QueueFull,
            SendFault::Rate => Self::Rate,
            SendFault::TooLarge => Self::TooLarge,
            SendFault::NotStored => Self::NotStored,
        }
    }
}

cases! {
    /// How a delivery ended.
    pub enum MailEnd {
        /// Its recipient has it.
        Delivered = "delivered",
        /// Its time was over.
        Expired = "expired",
        /// Its recipient is no member any more.
        Dropped = "dropped",
    }
}

cases! {
    /// How a hello was answered.
    pub enum HelloEnd {
        /// The session is there.
        Accepted = "accepted",
        /// It did not come in time.
        NoHello = "no_hello",
        /// It cannot be read.
        Malformed = "malformed",
        /// Not a member.
        Unauthorized = "unauthorized",
        /// A signature does not hold.
        BadSignature = "bad_signature",
        /// The clocks differ too much.
        TimestampSkew = "timestamp_skew",
        /// It was seen before.
        Replayed = "replayed",
        /// The session's key is a member's.
        SessionTaken = "session_taken",
        /// No more sessions.
        Capacity = "capacity",
        /// A fault of the broker.
        Internal = "internal",
    }
}

impl From<ErrorCode> for HelloEnd {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NoHello => Self::NoHello,
            ErrorCode::Malformed => Self::Malformed,
            ErrorCode::Unauthorized => Self::Unauthorized,
            ErrorCode::BadSignature => Self::BadSignature,
            ErrorCode::TimestampSkew => Self::TimestampSkew,
            ErrorCode::Replayed => Self::Replayed,
            ErrorCode::SessionTaken => Self::SessionTaken,
            ErrorCode::Capacity => Self::Capacity,
            _ => Self::Internal,
        }
    }
}

cases! {
    /// How a call was answered.
    pub enum CallEnd {
        /// By a result of the server.
        Result = "result",
        /// By an error of the server.
        ServerError = "server_error",
        /// No such service for this caller.
        NotFound = "not_found",
        /// The service is crashed, failed or stopped.
        NotRunning = "not_running",
        /// A process took the call and died.
        OutcomeUnknown = "outcome_unknown",
        /// In flight at two deaths.
        Poison = "poison",
        /// The caller is cut off for too many of those.
        Poisoned = "poisoned",
        /// The service answers no calls in time.
        CircuitOpen = "circuit_open",
        /// Not in time.
        Timeout = "timeout",
        /// A queue is full.
        Overloaded = "overloaded",
        /// The caller gave it up.
        Cancelled = "cancelled",
        /// The runner cannot be reached.
        Unreachable = "unreachable",
        /// Larger than may be.
        TooLarge = "too_large",
        /// On the way out.
        Draining = "draining",
        /// The link broke.
        LinkLost = "link_lost",
        /// A limit of the session.
        Limit = "limit",
        /// Asked in a wrong way.
        BadRequest = "bad_request",
        /// A fault of the broker.
        Internal = "internal",
    }
}

impl From<FailCode> for CallEnd {
    fn from(code: FailCode) -> Self {
        match code {
            FailCode::NotFound => Self::NotFound,
            FailCode::NotRunning => Self::NotRunning,
            FailCode::OutcomeUnknown => Self::OutcomeUnknown,
            FailCode::Poison => Self::Poison,
            FailCode::Poisoned => Self::Poisoned,
            FailCode::CircuitOpen => Self::CircuitOpen,
            FailCode::Timeout => Self::Timeout,
            FailCode::Overloaded => Self::Overloaded,
            FailCode::Cancelled => Self::Cancelled,
            FailCode::Unreachable => Self::Unreachable,
            FailCode::TooLarge => Self::TooLarge,
            FailCode::Draining => Self::Draining,
            FailCode::LinkLost => Self::LinkLost,
        }
    }
}

impl From<&ReplyOutcome> for CallEnd {
    fn from(outcome: &ReplyOutcome) -> Self {
        match outcome {
            ReplyOutcome::Result => Self::Result,
            ReplyOutcome::Error => Self::ServerError,
            ReplyOutcome::Failed { code, .. } => (*code).into(),
        }
    }
}

/// What the broker itself refuses a call with.
impl From<ErrorCode> for CallEnd {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Limit => Self::Limit,
            ErrorCode::BadRequest => Self::BadRequest,
            ErrorCode::Draining => Self::Draining,
            _ => Self::Internal,
        }
    }
}

cases! {
    /// How a deploy ended.
    pub enum DeployEnd {
        /// It runs.
        Running = "running",
        /// It was begun and does not run.
        Failed = "failed",
        /// It was not begun.
        Refused = "refused",
    }
}

cases! {
    /// How an operation of the store ended.
    pub enum StoreEnd {
        /// Done.
        Done = "done",
        /// Refused for what it asks: no such thing, a name that is taken, a limit.
        Refused = "refused",
        /// Too many wait, or no connection became free in time.
        Busy = "busy",
        /// The database failed, or lost it.
        Failed = "failed",
    }
}

cases! {
    /// What a watch's look came to.
    pub enum LookEnd {
        /// A value.
        Seen = "seen",
        /// What the look before saw, says the server.
        Unchanged = "unchanged",
        /// None.
        Failed = "failed",
        /// It was left out: no turn in time.
        Skipped = "skipped",
    }
}
