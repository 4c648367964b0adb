//! A copy of the database over HTTP, for `callout backup`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::chain::Chain;
use crate::store::CopyError;

use super::App;
use super::problem::Problem;

/// How much of the copy is sent at a time, in bytes.
const PIECE: usize = 64 << 10;

/// A copy of the database
///
/// For `callout backup`; needs a key that may do everything.
///
/// Copies the database, looks through the copy and sends it. The copy stands beside the database meanwhile and
/// has lost its name before the first byte is sent, so that it cannot be left lying.
#[utoipa::path(get, path = "/backup", tag = "operating", security(("key" = [])),
    responses((status = 200, description = "The copy", content_type = "application/vnd.sqlite3", body = String),
        (status = 409, description = "")))]
pub(super) async fn send(State(app): State<App>) -> Result<Response, Problem> {
    static N_COPIES: AtomicU64 = AtomicU64::new(0);
    let settings = app.settings();
    let Some(folder) = &settings.copies_folder else { return Err(nothing_to_copy()) };
    let number = N_COPIES.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = folder.join(format!(".callout-copy-{}-{number}", std::process::id()));
    app.engine().copy_store(&path).await.map_err(|error| problem(&error))?;
    let opened = File::open(&path).await;
    let removed = tokio::fs::remove_file(&path).await;
    let (Ok(file), Ok(())) = (opened, removed) else { return Err(Problem::internal()) };
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        let n_bytes = file.read(&mut piece).await?;
        piece.truncate(n_bytes);
        Ok::<_, std::io::Error>((n_bytes > 0).then(|| (Bytes::from(piece), file)))
    });
    Ok(([(header::CONTENT_TYPE, "application/vnd.sqlite3")], Body::from_stream(pieces)).into_response())
}

fn nothing_to_copy() -> Problem {
    Problem::conflict("Alerts are not kept in a file here, so that there is none to copy.")
}

fn problem(error: &CopyError) -> Problem {
    match error {
        CopyError::Unsupported => nothing_to_copy(),
        CopyError::Open(_)
        | CopyError::Exists { .. }
        | CopyError::Damaged { .. }
        | CopyError::File { .. }
        | CopyError::Failed { .. }
        | CopyError::Store(_) => {
            tracing::error!(error = %Chain(error), "no copy of the database could be made");
            Problem::unavailable("No copy could be made; the log says why.")
        }
    }
}
