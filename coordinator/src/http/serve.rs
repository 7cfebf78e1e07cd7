//! The server of HTTP/1.1: one task for each connection, each with deadlines.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::trust::Connection;

/// Most header lines, and most bytes of a request's head: `curl` and the registries send a dozen lines.
const HEADERS_LIMIT: usize = 64;
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// Serves these connections until `shutdown`; then it returns when the last request is answered. Dropping it cuts all of them.
pub async fn serve(
    mut connections: mpsc::Receiver<Connection>,
    routes: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(limits.connections));
    let mut tasks = JoinSet::new();
    loop {
        // Those beyond the limit wait here, shaken and silent; the deadlines make room for them.
        let next = async {
            let permit = free.clone().acquire_owned().await.expect("it is never closed");
            Some((connections.recv().await?, permit))
        };
        let next = tokio::select! {
            Some(ended) = tasks.join_next() => {
                said(ended);
                continue;
            }
            next = next => next,
            () = shutdown.cancelled() => None,
        };
        let Some((connection, permit)) = next else { break };
        let (routes, limits, shutdown) = (routes.clone(), limits.clone(), shutdown.clone());
        tasks.spawn(async move {
            one(connection, routes, &limits, &shutdown).await;
            drop(permit);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        said(ended);
    }
}

/// A connection that ended by a panic is a defect, and that of nobody else.
fn said(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a connection ended by a defect");
    }
}

async fn one(connection: Connection, routes: Router, limits: &Limits, shutdown: &CancellationToken) {
    let info = connection.info().clone();
    let from = info.remote_addr;
    let service = TowerToHyperService::new(routes.layer(axum::Extension(info)));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head_deadline);
    server.max_headers(HEADERS_LIMIT).max_buf_size(HEAD_LIMIT_BYTES);
    let mut served = std::pin::pin!(server.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, error = &error as &dyn std::error::Error, "connection ended");
    }
}
