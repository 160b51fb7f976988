//! The requests about peers, messages and members: the wire's own types. Texts in the answers are foreign, and go through
//! [`crate::text`] before they are shown.

use protocol::wire::{
    Ack, Changed, FileId, FileList, FileUrl, Group, GroupName, GroupResult, GroupSet, InboxResult, InviteCreate,
    InviteListResult, InviteResult, InviteRevoke, McpEvents, McpEventsResult, McpListResult, McpRegister,
    McpRegisterAck, McpScope, McpScopeResult, McpSealed, McpSealedResult, MemberRemove, MemberResult, MemberSet,
    MembersList, MeshInfoResult, MeshSet, MeshSetResult, MessageStatus, MessageStatusResult, PeersList, ReadInbox,
    Send, Status, Summary, VaultAck, VaultEntry, VaultGetResult, VaultKey, VaultKeys, VaultListResult, Watch, WatchAck,
    WatchHistory, WatchHistoryResult, WatchId, WatchListResult, WatchTestResult,
};
use serde::Serialize;

use super::Request;

/// `list_peers`.
#[derive(Debug, Serialize)]
pub(crate) struct ListPeers {}
/// `list_members`.
#[derive(Debug, Serialize)]
pub(crate) struct ListMembers {}
/// `mesh_info`.
#[derive(Debug, Serialize)]
pub(crate) struct MeshInfo {}
/// `mcp_list`.
#[derive(Debug, Serialize)]
pub(crate) struct McpList {}
/// `invite_list`.
#[derive(Debug, Serialize)]
pub(crate) struct InviteList {}

/// `watch_list`.
#[derive(Debug, Serialize)]
pub(crate) struct WatchList {}
/// `watch_test`: its members are those of `watch`.
#[derive(Debug, Serialize)]
pub(crate) struct TestWatch(pub(crate) Watch);
/// `vault_list`.
#[derive(Debug, Serialize)]
pub(crate) struct VaultList {}

/// `join_group`: its members are those of `leave_group`, so that the type says which it is.
#[derive(Debug, Serialize)]
pub(crate) struct JoinGroup(pub(crate) Changed<Group>);

/// `list_files`.
#[derive(Debug, Serialize)]
pub(crate) struct ListFiles {}

/// `delete_file`: its members are those of `get_file`, so that the type says which it is.
#[derive(Debug, Serialize)]
pub(crate) struct DeleteFile(pub(crate) FileId);

/// The `type` of [`protocol::wire::ClientAck`], which has no answer.
pub(crate) const CLIENT_ACK_TYPE: &str = "client_ack";
/// The `type` of a message or an event.
pub(crate) const PUSH_TYPE: &str = "push";

macro_rules! requests {
    ($($request:ty: $type:literal -> $reply_type:literal $reply:ty),+ $(,)?) => {
        $(impl Request for $request {
            const TYPE: &'static str = $type;
            const REPLY_TYPE: &'static str = $reply_type;
            type Reply = $reply;
        })+
    };
}

requests! {
    ListPeers: "list_peers" -> "peers_list" PeersList,
    ListFiles: "list_files" -> "file_list" FileList,
    FileId: "get_file" -> "file_url" FileUrl,
    DeleteFile: "delete_file" -> "ack" Ack,
    ListMembers: "list_members" -> "members_list" MembersList,
    McpEvents: "mcp_events" -> "mcp_events_result" McpEventsResult,
    McpList: "mcp_list" -> "mcp_list_result" McpListResult,
    MessageStatus: "message_status" -> "message_status_result" MessageStatusResult,
    McpRegister: "mcp_register" -> "mcp_register_ack" McpRegisterAck,
    McpScope: "mcp_scope" -> "mcp_scope_result" McpScopeResult,
    McpSealed: "mcp_sealed" -> "mcp_sealed_result" McpSealedResult,
    MeshInfo: "mesh_info" -> "mesh_info_result" MeshInfoResult,
    MeshSet: "mesh_set" -> "mesh_set_result" MeshSetResult,
    Send: "send" -> "ack" Ack,
    ReadInbox: "read_inbox" -> "inbox_result" InboxResult,
    Changed<Status>: "set_status" -> "ack" Ack,
    Changed<Summary>: "set_summary" -> "ack" Ack,
    JoinGroup: "join_group" -> "ack" Ack,
    Changed<GroupName>: "leave_group" -> "ack" Ack,
    MemberSet: "member_set" -> "member_result" MemberResult,
    MemberRemove: "member_remove" -> "member_result" MemberResult,
    GroupSet: "group_set" -> "group_result" GroupResult,
    InviteCreate: "invite_create" -> "invite_result" InviteResult,
    InviteRevoke: "invite_revoke" -> "invite_result" InviteResult,
    InviteList: "invite_list" -> "invite_list_result" InviteListResult,
    Watch: "watch" -> "watch_ack" WatchAck,
    WatchId: "unwatch" -> "watch_ack" WatchAck,
    WatchList: "watch_list" -> "watch_list_result" WatchListResult,
    WatchHistory: "watch_history" -> "watch_history_result" WatchHistoryResult,
    TestWatch: "watch_test" -> "watch_test_result" WatchTestResult,
    VaultEntry: "vault_set" -> "vault_ack" VaultAck,
    VaultList: "vault_list" -> "vault_list_result" VaultListResult,
    VaultKeys: "vault_get" -> "vault_get_result" VaultGetResult,
    VaultKey: "vault_delete" -> "vault_ack" VaultAck,
}
