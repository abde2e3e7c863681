//! What is counted, and where Prometheus asks for it: `GET /metrics` (HTTP/1.1), if the settings give an address.
//!
//! ```text
//! outlive_container_start_seconds{runtime}   histogram   from the call of StartContainer to RUNNING
//! outlive_container_exits_total{reason}      counter     CRI's reason: Completed, Error, OOMKilled, StartError, Unknown
//! outlive_recovery_outcomes_total{outcome}   counter     what the start found, container by container
//! outlive_recovery_seconds                   gauge       how long the last start took until everyone was asked
//! outlive_shim_reconnects_total              counter
//! outlive_shims                              gauge       shims that are connected to
//! outlive_events_queued                      gauge       events that subscribers have not taken yet
//! ```

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::body::Incoming as Body;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::context::Supervisor;
use crate::sys::accept::{Accepting, Incoming};

/// Upper ends of the histogram's buckets, in seconds: a start takes tens of milliseconds.
const START_SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Who asks at the same time; the next one waits to be accepted.
const MAX_CONNECTIONS: usize = 8;
/// How long one connection may last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRuntime {
    runtime: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: String,
}

/// The counters.
pub struct Metrics {
    registry: Registry,
    starts: Family<ByRuntime, Histogram, fn() -> Histogram>,
    exits: Family<ByReason, Counter>,
    outcomes: Family<ByOutcome, Counter>,
    recovery_seconds: Gauge<f64, AtomicU64>,
    reconnects: Counter,
    shims: Gauge,
    queued: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("outlive");
        let starts: Family<ByRuntime, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(START_SECONDS));
        let exits = Family::default();
        let outcomes = Family::default();
        let recovery_seconds = Gauge::default();
        let reconnects = Counter::default();
        let (shims, queued) = (Gauge::default(), Gauge::default());
        // The registry appends _total to the name of a counter.
        registry.register(
            "container_start_seconds",
            "From the call of StartContainer to RUNNING",
            starts.clone(),
        );
        registry.register(
            "container_exits",
            "Containers that ended, by CRI's reason",
            exits.clone(),
        );
        registry.register(
            "recovery_outcomes",
            "What a start found, container by container",
            outcomes.clone(),
        );
        registry.register(
            "recovery_seconds",
            "How long the last start took until every shim was asked",
            recovery_seconds.clone(),
        );
        registry.register(
            "shim_reconnects",
            "Shims that were connected to again",
            reconnects.clone(),
        );
        registry.register("shims", "Shims that are connected to", shims.clone());
        registry.register(
            "events_queued",
            "Events that subscribers have not taken yet",
            queued.clone(),
        );
        Self {
            registry,
            starts,
            exits,
            outcomes,
            recovery_seconds,
            reconnects,
            shims,
            queued,
        }
    }
}

impl Metrics {
    /// A container of `runtime` was started, from the call to RUNNING.
    pub fn started(&self, runtime: &str, took: Duration) {
        let labels = ByRuntime {
            runtime: runtime.to_owned(),
        };
        self.starts
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// A container ended, for CRI's `reason`.
    pub fn exited(&self, reason: &str) {
        let reason = reason.to_owned();
        self.exits.get_or_create(&ByReason { reason }).inc();
    }

    /// Recovery found `outcome` for one container (a word of [`super::recovery`]).
    pub fn recovered(&self, outcome: &str) {
        let outcome = outcome.to_owned();
        self.outcomes.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Recovery of everything took so long.
    pub fn recovery_took(&self, took: Duration) {
        self.recovery_seconds.set(took.as_secs_f64());
    }

    /// A shim was connected to again.
    pub fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// Everything in OpenMetrics' text form.
    fn text(&self, shims: usize, queued: usize) -> Result<String, fmt::Error> {
        self.shims.set(i64::try_from(shims).unwrap_or(i64::MAX));
        self.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Listens on `address`.
///
/// # Errors
/// What bind(2) answered.
pub fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves scrapes until cancelled.
pub async fn serve(supervisor: Arc<Supervisor>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = Accepting::new(listener);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match connections.next().await {
            Incoming::Connection(stream) => {
                let supervisor = Arc::clone(&supervisor);
                tokio::spawn(async move {
                    connection(supervisor, stream).await;
                    drop(place);
                });
            }
            Incoming::Failing(error) => {
                log::warn!(error:%; "accept fails: connections for metrics wait");
            }
            Incoming::Recovered => log::info!("connections for metrics are accepted again"),
        }
    }
}

async fn connection(supervisor: Arc<Supervisor>, stream: TcpStream) {
    let service = hyper::service::service_fn(move |request| {
        let supervisor = Arc::clone(&supervisor);
        async move { Ok::<_, Infallible>(answer(&supervisor, &request)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) => (),
        Ok(Err(error)) => log::debug!(error:% = error; "metrics: connection"),
        Err(_) => log::debug!("metrics: a connection was too slow"),
    }
}

fn answer(supervisor: &Supervisor, request: &Request<Body>) -> Response<String> {
    let (status, content_type, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let containers = supervisor.store.containers();
            let shims = containers.iter().filter(|one| one.shim().is_some()).count();
            match supervisor.metrics.text(shims, supervisor.events.queued()) {
                Ok(text) => (
                    StatusCode::OK,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    text,
                ),
                Err(_) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "text/plain",
                    String::new(),
                ),
            }
        }
        (_, "/metrics") => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET only\n".to_owned(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "see /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_in_the_text_under_its_name() {
        let metrics = Metrics::default();
        metrics.started("outlive", Duration::from_millis(30));
        metrics.exited("Completed");
        metrics.recovered("running");
        metrics.recovery_took(Duration::from_millis(250));
        metrics.reconnected();
        let text = metrics.text(3, 7).unwrap();
        for line in [
            "outlive_container_start_seconds_bucket{le=\"0.025\",runtime=\"outlive\"} 0",
            "outlive_container_start_seconds_bucket{le=\"0.05\",runtime=\"outlive\"} 1",
            "outlive_container_exits_total{reason=\"Completed\"} 1",
            "outlive_recovery_outcomes_total{outcome=\"running\"} 1",
            "outlive_recovery_seconds 0.25",
            "outlive_shim_reconnects_total 1",
            "outlive_shims 3",
            "outlive_events_queued 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
