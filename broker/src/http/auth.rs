//! Who may ask what over HTTP: operators by their token, and nobody through a foreign page.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use actix_web::{HttpResponse, web};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::Http;

/// The answer to give to whoever is no operator; `None` lets the request through.
pub(super) fn operator(request: &HttpRequest, http: &web::Data<Http>) -> Option<HttpResponse> {
    if let Some(foreign) = local_name(request, http) {
        return Some(foreign);
    }
    let given = header(request, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let expected = http.operator_token.expose().as_bytes();
    if given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(expected))) {
        return None;
    }
    Some(HttpResponse::Unauthorized().json(json!({
        "error": "unauthorized",
        "message": "this needs the operator token: `Authorization: Bearer <CLAUDEMESH_OPERATOR_TOKEN>`",
    })))
}

/// The answer to give to a request under a name that is not this machine's: a page in a browser could otherwise reach a loopback
/// broker through a host name of its own (DNS rebinding). A proxy in front checks names itself.
pub(super) fn local_name(request: &HttpRequest, http: &web::Data<Http>) -> Option<HttpResponse> {
    if http.behind_proxy {
        return None;
    }
    // One that is no text is nobody's name.
    let named = |name: &HeaderName| Some(request.headers().get(name)?.to_str().unwrap_or_default());
    let origin = named(&ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    if [named(&HOST), origin].into_iter().flatten().all(|name| is_ours(name, http)) {
        return None;
    }
    Some(HttpResponse::Forbidden().json(json!({
        "error": "foreign_host",
        "message": "the Host or Origin of this request is not this broker's",
    })))
}

fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn is_ours(authority: &str, http: &Http) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == http.address.ip())
}
