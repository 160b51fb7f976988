//! One connection: requests by the routes, and the upgrade that makes it a link.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::{HttpMessage as _, HttpService, Protocol, Request, Response, StatusCode, h1, ws};
use actix_service::{Service, ServiceFactory as _, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use futures_util::SinkExt as _;
use futures_util::future::LocalBoxFuture;

use super::{Front, routes};
use crate::link::{Connection, Io};

/// How long a client may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Where brokers come in.
const LINK_PATH: &str = "/link";

type Stream = Box<dyn Io>;
type Serving = LocalBoxFuture<'static, ()>;

/// Serves connections. Made once; every connection shares it.
pub(super) struct Server(Rc<dyn Fn(Stream) -> Serving>);

impl Server {
    pub(super) async fn new(front: Arc<Front>) -> Result<Self, ()> {
        let at_upgrade = Arc::clone(&front);
        let app = App::new().configure(move |app| routes::configure(app, Arc::clone(&front)));
        let service = HttpService::build()
            .client_request_timeout(REQUEST_LIMIT)
            .upgrade(fn_service(move |(request, framed): (Request, Framed<Stream, h1::Codec>)| {
                upgrade(Arc::clone(&at_upgrade), request, framed)
            }))
            .finish(map_config(app, |()| AppConfig::default()))
            .new_service(())
            .await?;
        let service = Rc::new(service);
        Ok(Self(Rc::new(move |io| {
            let service = Rc::clone(&service);
            Box::pin(async move {
                if let Err(error) = service.call((io, Protocol::Http1, None)).await {
                    tracing::debug!(%error, "a connection ended badly");
                }
            })
        })))
    }

    pub(super) fn serve(&self, io: Stream) -> impl Future<Output = ()> + 'static {
        (self.0)(io)
    }
}

/// Turns a connection into a link; from then on it belongs to its session.
async fn upgrade(
    front: Arc<Front>,
    request: Request,
    mut framed: Framed<Stream, h1::Codec>,
) -> Result<(), actix_web::Error> {
    let accepted = match refusal(&request) {
        Some(status) => Err(status),
        None => ws::handshake(request.head()).map_err(|_| StatusCode::BAD_REQUEST),
    };
    let mut builder = match accepted {
        Ok(builder) => builder,
        Err(status) => {
            let response = Response::new(status).drop_body();
            return Ok(framed.send(h1::Message::Item((response, BodySize::Sized(0)))).await?);
        }
    };
    let response = builder.message_body(())?;
    framed.send(h1::Message::Item((response, BodySize::None))).await?;
    let parts = framed.into_parts();
    let connection = Connection { io: parts.io, read: parts.read_buf };
    if let Err(error) = front.reception.take(connection).await {
        tracing::warn!(%error, "a link was not taken");
    }
    Ok(())
}

/// A browser names its page's origin; brokers are no browsers.
fn refusal(request: &Request) -> Option<StatusCode> {
    if request.path() != LINK_PATH {
        Some(StatusCode::NOT_FOUND)
    } else if request.headers().contains_key(actix_http::header::ORIGIN) {
        Some(StatusCode::FORBIDDEN)
    } else {
        None
    }
}
