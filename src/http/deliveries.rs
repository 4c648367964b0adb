//! The calls on callbacks that wait or were given up.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine;
use crate::store::{Delivery, DeliveryPage, Which};

use super::App;
use super::extract::Query;
use super::problem::{FieldError, Problem};

/// How many deliveries a list has when nobody says how many, and the most it can have.
const DELIVERIES_LIST_DEFAULT: usize = 50;
const DELIVERIES_LIST_MAX: usize = 200;

/// A callback that waits, or was given up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    id: u64,
    endpoint: String,
    event: String,
    topic: &'static str,
    #[schema(required = true, format = "uuid")]
    alert_id: Option<String>,
    #[schema(format = DateTime)]
    at: String,
    #[schema(pattern = "^(waiting|dead)$")]
    status: &'static str,
    tries: u32,
    #[schema(required = true, format = DateTime)]
    next_try_at: Option<String>,
    #[schema(required = true)]
    failure: Option<String>,
}

impl DeliveryView {
    fn of(app: &App, delivery: &Delivery) -> Self {
        Self {
            id: delivery.place,
            endpoint: app.callbacks().shown(delivery.endpoint),
            event: delivery.event.as_ref().to_owned(),
            topic: delivery.topic.name(),
            alert_id: delivery.alert.map(|alert| alert.to_string()),
            at: delivery.at.to_string(),
            status: if delivery.is_dead { "dead" } else { "waiting" },
            tries: delivery.tries,
            next_try_at: (!delivery.is_dead).then(|| delivery.due_at.to_string()),
            failure: delivery.failure.as_deref().map(str::to_owned),
        }
    }
}

/// One page of callbacks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryList)]
pub(super) struct List {
    deliveries: Vec<DeliveryView>,
    #[schema(required = true, pattern = "^[0-9]+$")]
    next_cursor: Option<String>,
}

/// List callbacks
///
/// Those that wait, or with `dead=true` those that were given up; newest first.
#[utoipa::path(get, path = "/deliveries", tag = "callbacks", security(("key" = [])),
    params(
        ("dead" = Option<bool>, Query, description = "Whether those that were given up are asked for."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 unless told otherwise."),
        ("cursor" = Option<String>, Query, pattern = "^[0-9]{1,15}$", description = "The `next_cursor` of an earlier answer.")),
    responses((status = 200, description = "The callbacks", body = List), (status = 422, description = "")))]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Problem> {
    let page = page(query)?;
    // One more than asked for, to know whether there is a next page.
    let asked = DeliveryPage { limit: page.limit + 1, ..page };
    let found = app.callbacks().deliveries(asked).await.map_err(engine::Error::from)?;
    let next_cursor = match found.get(page.limit.saturating_sub(1)) {
        Some(last) if found.len() > page.limit => Some(last.place.to_string()),
        Some(_) | None => None,
    };
    let deliveries = found.iter().take(page.limit).map(|delivery| DeliveryView::of(&app, delivery)).collect();
    Ok(Json(List { deliveries, next_cursor }).into_response())
}

fn page(mut query: Query) -> Result<DeliveryPage, Problem> {
    let mut errors = Vec::new();
    let is_dead = query.take("dead", &mut errors).is_some_and(|text| match text.as_str() {
        "true" => true,
        "false" => false,
        _ => {
            errors.push(FieldError::of_parameter("dead", "must be true or false"));
            false
        }
    });
    let limit = query.limit(DELIVERIES_LIST_DEFAULT, DELIVERIES_LIST_MAX, &mut errors);
    let before = query.cursor(&mut errors);
    query.finish("dead, limit and cursor", &mut errors);
    if errors.is_empty() { Ok(DeliveryPage { is_dead, before, limit }) } else { Err(Problem::invalid(errors)) }
}

/// How many callbacks wait again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replayed {
    replayed: usize,
}

/// Try all callbacks again
///
/// Everything that was given up waits again.
#[utoipa::path(post, path = "/deliveries/replay", tag = "callbacks", security(("key" = [])),
    responses((status = 200, description = "They wait again", body = Replayed)))]
pub(super) async fn replay_all(State(app): State<App>) -> Result<Response, Problem> {
    let replayed = app.callbacks().replay(Which::All).await.map_err(engine::Error::from)?;
    Ok(Json(Replayed { replayed }).into_response())
}

/// Try one callback again
///
/// One that was given up waits again.
#[utoipa::path(post, path = "/deliveries/{id}/replay", tag = "callbacks", security(("key" = [])),
    params(("id" = u64, Path, description = "From the list.")),
    responses((status = 200, description = "It waits again", body = Replayed)))]
pub(super) async fn replay(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = id.ok().and_then(|Path(text)| text.parse().ok());
    let replayed = match id {
        Some(id) => app.callbacks().replay(Which::At(id)).await.map_err(engine::Error::from)?,
        None => 0,
    };
    match replayed {
        0 => Err(Problem::not_found("No callback that was given up has this id; see GET /deliveries?dead=true.")),
        replayed => Ok(Json(Replayed { replayed }).into_response()),
    }
}
