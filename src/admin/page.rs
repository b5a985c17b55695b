//! The web page: a few files in the program, nothing from elsewhere.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 14] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", STYLE, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/api.js", SCRIPT, include_str!("page/api.js")),
    ("/plot.js", SCRIPT, include_str!("page/plot.js")),
    ("/timeline.js", SCRIPT, include_str!("page/timeline.js")),
    ("/sessions.js", SCRIPT, include_str!("page/sessions.js")),
    ("/refusals.js", SCRIPT, include_str!("page/refusals.js")),
    (
        "/credentials.js",
        SCRIPT,
        include_str!("page/credentials.js"),
    ),
    ("/host.js", SCRIPT, include_str!("page/host.js")),
    ("/ice.js", SCRIPT, include_str!("page/ice.js")),
    ("/config.js", SCRIPT, include_str!("page/config.js")),
    ("/icon.svg", IMAGE, include_str!("page/icon.svg")),
];

pub(super) fn router() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, typ, text)| {
            let file = move || async move { ([(CONTENT_TYPE, typ)], text).into_response() };
            router.route(path, get(file))
        })
}

/// Headers for everything that the listener answers.
pub(super) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
