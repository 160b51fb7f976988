#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn refused(text: &str) -> (ErrorCode, String, Option<String>) {
    let WireError { code, message, req_id, .. } = parse(text).unwrap_err();
    (code, message, req_id)
}

#[test]
fn a_wrong_field_is_named_wherever_it_is() {
    let deploy = r#"{"type":"mcp_deploy","_reqId":"r","server_name":"s","source":{"type":"npx","package":"p"}"#;
    let cases = [
        (r#"{"type":"mcp_logs","_reqId":"r"}"#.to_owned(), "server_name"),
        (r#"{"type":"mcp_logs","_reqId":"r","server_name":5}"#.to_owned(), "`server_name`: invalid type"),
        (r#"{"type":"mcp_logs","_reqId":"r","server_name":"s","lines":"ten"}"#.to_owned(), "`lines`: invalid type"),
        (r#"{"type":"mcp_logs","lines":-1,"_reqId":"r","server_name":"s"}"#.to_owned(), "`lines`: invalid value"),
        (r#"{"type":"mcp_call","_reqId":"r","serverName":"s","toolName":"t"}"#.to_owned(), "args"),
        (format!("{deploy},\"config\":{{\"memory_mb\":\"x\"}}}}"), "`config.memory_mb`"),
        (format!("{deploy},\"config\":{{\"policy\":{{\"max_restart\":1}}}}}}"), "max_restart"),
        (
            format!("{deploy},\"config\":{{\"policy\":{{\"within_ms\":true}}}},\"scope\":\"mesh\"}}"),
            "`config.policy.within_ms`",
        ),
        (format!("{deploy},\"args\":[\"a\",7]}}"), "`args[1]`"),
        (format!("{deploy},\n  \"args\":[\"a\",\n  7]}}"), "`args[1]`"),
        (format!("{deploy},\"scope\":\"everyone\"}}"), "`scope`: unknown variant"),
        (
            r#"{"type":"mcp_deploy","_reqId":"r","source":{"type":"npx"},"server_name":"s"}"#.to_owned(),
            "`source`: missing field `package`",
        ),
    ];
    for (text, words) in cases {
        let (code, message, req_id) = refused(&text);
        assert_eq!(code, ErrorCode::BadRequest, "{text}: {message}");
        assert!(message.contains(words), "{text}: {message}");
        assert!(!message.contains("column"), "{message}");
        assert_eq!(req_id.as_deref(), Some("r"), "{text}");
    }
}

#[test]
fn a_secret_of_the_wrong_type_is_named_and_not_quoted() {
    let text = r#"{"type":"mcp_deploy","server_name":"s","source":{"type":"npx","package":"p"},"config":{"env":{"KEY":90210}}}"#;
    let (_, message, _) = refused(text);
    assert!(message.contains("`config.env") && !message.contains("90210"), "{message}");
}

#[test]
fn a_hello_that_cannot_be_read_is_malformed() {
    let (code, message, _) = refused(r#"{"type":"hello","meshId":"m","memberId":"p","pubkey":"xyz"}"#);
    assert_eq!(code, ErrorCode::Malformed);
    assert!(message.contains("`pubkey`"), "{message}");
}

#[test]
fn what_is_no_message_is_told_apart_and_answered() {
    use ErrorCode as E;
    let cases = [
        ("", E::BadJson, None),
        ("[]", E::BadJson, None),
        (r#"["mcp_catalog"]"#, E::BadJson, None),
        ("{", E::BadJson, None),
        (r#"{"_reqId":"r","type":"mcp_logs","server_name":"s""#, E::BadJson, Some("r")),
        (r#"{"_reqId":"r","type":"mcp_catalog"} trailing"#, E::BadJson, Some("r")),
        (r#"{"_reqId":"r","type":"nonsense","x":}"#, E::BadJson, Some("r")),
        (r#"{"_reqId":"r","type":"nonsense"}"#, E::UnknownType, Some("r")),
        (r#"{"_reqId":"r"}"#, E::BadRequest, Some("r")),
        (r#"{"_reqId":"r","type":7}"#, E::BadRequest, Some("r")),
        (r#"{"_reqId":7,"type":"mcp_catalog"}"#, E::BadRequest, None),
    ];
    for (text, code, req_id) in cases {
        let (seen, message, id) = refused(text);
        assert_eq!((seen, id.as_deref()), (code, req_id), "{text}: {message}");
    }
    assert!(refused(r#"{"type":"x\u202e"}"#).1.is_ascii(), "hostile characters are not repeated");
}

#[test]
fn nesting_is_bounded_in_what_is_never_parsed_too() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"type":"mcp_call","_reqId":"r","serverName":"s","toolName":"t","args":{open}{close}}}"#)
    };
    assert!(parse(&nested(MAX_DEPTH - 1)).is_ok());
    let (code, message, req_id) = refused(&nested(MAX_DEPTH));
    assert_eq!((code, req_id.as_deref()), (ErrorCode::BadJson, Some("r")));
    assert!(message.contains("64"), "{message}");
    assert_eq!(refused(&nested(1_000_000)).0, ErrorCode::BadJson);
}

#[test]
fn arguments_are_not_touched() {
    let args = r#"{"b": 1.10,  "a":"é"}"#;
    let text = format!(r#"{{"type":"mcp_call","serverName":"s","toolName":"t","args":{args},"later":1}}"#);
    let request = parse(&text).unwrap();
    let ClientMessage::McpCall(call) = &request.message else { panic!("a call") };
    assert_eq!(call.args.get(), args);
    assert!(text.as_bytes().as_ptr_range().contains(&call.args.get().as_ptr()), "a slice of the frame");
    assert!(request.to_json().unwrap().contains(args));
}

#[test]
fn spelling_of_keys_does_not_matter_to_json() {
    let request = parse(r#"{"\u0074ype":"mcp_catalog","\u005freqId":"r"}"#).unwrap();
    assert!(matches!(request.message, ClientMessage::McpCatalog));
    let id = "x".repeat(MAX_REQ_ID_BYTES + 1);
    let (code, message, req_id) = refused(&format!(r#"{{"type":"mcp_catalog","_reqId":"{id}"}}"#));
    assert_eq!((code, req_id), (ErrorCode::BadRequest, None));
    assert!(message.contains("_reqId"));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".{0,200}", kind in prop::sample::select(ClientMessage::TYPES)) {
        drop(parse(&text));
        drop(parse(&format!(r#"{{"type":"{kind}",{text}"#)));
        drop(parse_reply(&text));
    }
}
