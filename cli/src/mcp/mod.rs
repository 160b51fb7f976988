//! MCP servers on standard input and output: `claudemesh mcp` for a session, `claudemesh mcp --service N` for one service.
//!
//! Contract: both are there before the network is, answer their list of tools from what they know, and end with their
//! launcher and with nothing else: a broker that is away is waited for, and said so. What a service says passes as the
//! bytes it was; what this program says about others is marked as theirs.
//!
//! | module | what it does |
//! |---|---|
//! | [`stdio`] | the two pipes: requests for tools to a [`stdio::Lane`], the rest to rmcp |
//! | [`link`] | the connection to the broker, made again when it is lost |
//! | [`call`] | a tool call, its progress and its end |
//! | [`tools`] | lists of tools as they were given, and their names where those are too long |
//! | [`proxy`] | the server of one service |
//! | [`session`] | the server of a session |
//! | [`launcher`] | whether whoever started this is still there |

mod call;
mod launcher;
mod link;
mod proxy;
mod session;
mod stdio;
mod tools;

pub(crate) use proxy::serve as serve_service;
pub(crate) use session::serve as serve_session;
