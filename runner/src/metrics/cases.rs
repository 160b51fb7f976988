//! The closed lists behind the labels.

use meter::{Case, cases};
use protocol::link::{FailCode, LogStream, RefuseCode};

use crate::process::Level;
use crate::service::gate::Answer;

cases! {
    /// A limit that refuses, cuts or leaves something out. The names are those of docs/metrics.md.
    pub enum Limit {
        /// Links at a time.
        Links = "links",
        /// Time of a handshake.
        HandshakeTime = "handshake_time",
        /// Bytes of a message of the link.
        LinkMessageBytes = "link_message_bytes",
        /// What a session's queue holds.
        LinkQueue = "link_queue",
        /// Bytes of an answer.
        AnswerBytes = "answer_bytes",
        /// Silence of a broker.
        BrokerSilence = "broker_silence",
        /// Deployments of a runner.
        Services = "services",
        /// Calls that wait for a service.
        ServiceWaitingCalls = "service_waiting_calls",
        /// Of one member.
        MemberWaitingCalls = "member_waiting_calls",
        /// Parameters that are held for a service.
        ServiceHeldBytes = "service_held_bytes",
        /// Of one member.
        MemberHeldBytes = "member_held_bytes",
        /// Time of a call's waiting for a service that does not run.
        ServiceWaitingTime = "service_waiting_time",
        /// Builds that wait.
        BuildsWaiting = "builds_waiting",
        /// Time of a build.
        BuildTime = "build_time",
        /// Bytes of a line of a server.
        ServerLineBytes = "server_line_bytes",
        /// Lines of the runner's own for a server that does not read.
        ServerQueue = "server_queue",
        /// Tools of a server, their schemas, and the pages they come in.
        ServerTools = "server_tools",
        /// Bytes of a log within a second.
        LogRate = "log_rate",
        /// Bytes of a line of a log.
        LogLineBytes = "log_line_bytes",
    }
}

cases! {
    /// How a call was answered.
    pub enum CallEnd {
        /// By a result of the server.
        Result = "result",
        /// By an error, the server's or one of JSON-RPC.
        ServerError = "server_error",
        /// No such deployment here.
        NotFound = "not_found",
        /// The service is crashed, failed or stopped, or was not up in time.
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
        /// Given up.
        Cancelled = "cancelled",
        /// Larger than may be.
        TooLarge = "too_large",
        /// On the way out.
        Draining = "draining",
        /// The link broke.
        LinkLost = "link_lost",
        /// Said by brokers only.
        Unreachable = "unreachable",
    }
}

impl From<&Answer> for CallEnd {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Result(_) => Self::Result,
            Answer::Error(_) => Self::ServerError,
            Answer::Failed { code, .. } => match code {
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
            },
        }
    }
}

cases! {
    /// Why a broker is not linked.
    pub enum LinkRefused {
        /// It does not hold the token.
        BadProof = "bad_proof",
        /// A later broker was here, or services of another store are loaded.
        Fenced = "fenced",
        /// It speaks another version.
        Major = "major",
        /// It did not say what is to be said, or not in time.
        Handshake = "handshake",
    }
}

impl From<RefuseCode> for LinkRefused {
    fn from(code: RefuseCode) -> Self {
        match code {
            RefuseCode::BadProof => Self::BadProof,
            RefuseCode::Fenced => Self::Fenced,
            RefuseCode::Major => Self::Major,
        }
    }
}

impl Case for Level {
    const ALL: &'static [Self] = &[Self::Guard, Self::Namespace];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

cases! {
    /// How the start of a program ended.
    pub enum StartEnd {
        /// It runs.
        Started = "started",
        /// It does not.
        Failed = "failed",
    }
}

cases! {
    /// How the preparation of a package ended.
    pub enum BuildEnd {
        /// It was in the cache.
        Cached = "cached",
        /// It was installed.
        Built = "built",
        /// It could not be installed.
        Failed = "failed",
        /// Not in time.
        TimedOut = "timed_out",
        /// Nobody wants it any more.
        GivenUp = "given_up",
        /// Too many wait.
        Busy = "busy",
    }
}

cases! {
    /// Where a line of a log comes from.
    pub enum Stream {
        /// An installation.
        Install = "install",
        /// The server's standard error.
        Stderr = "stderr",
        /// The server's standard output, what is not JSON-RPC of it.
        Stdout = "stdout",
        /// The runner.
        System = "system",
    }
}

impl From<LogStream> for Stream {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Install => Self::Install,
            LogStream::Stderr => Self::Stderr,
            LogStream::Stdout => Self::Stdout,
            LogStream::System => Self::System,
        }
    }
}
