//! QR codes, which the page draws.

use axum::Json;
use axum::http::StatusCode;
use qrcode::{Color, EcLevel, QrCode};
use serde::{Deserialize, Serialize};

use super::super::error::ApiError;
use super::Body;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QrRequest {
    text: String,
}

#[derive(Serialize)]
pub(super) struct Qr {
    /// Modules on each side, without the quiet zone.
    size: usize,
    /// The dark modules as the path of an SVG image.
    path: String,
}

pub(super) async fn qr(Body(request): Body<QrRequest>) -> Result<Json<Qr>, ApiError> {
    // A screen is clean, and each level makes the code larger.
    let code = QrCode::with_error_correction_level(&request.text, EcLevel::L).map_err(|_| {
        let text = "text: is more than a QR code holds, 2953 bytes";
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    })?;
    let size = code.width();
    Ok(Json(Qr {
        size,
        path: path(&code.to_colors(), size),
    }))
}

/// A stroke for each run of dark modules in a row.
fn path(modules: &[Color], size: usize) -> String {
    let mut path = String::new();
    for (y, row) in modules.chunks(size).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, next| one == next) {
            if run[0] == Color::Dark {
                path += &format!("M{x} {y}h{}v1h-{}z", run.len(), run.len());
            }
            x += run.len();
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_dark_modules_become_strokes() {
        let (dark, light) = (Color::Dark, Color::Light);
        let modules = [dark, dark, light, light, dark, light, dark, light, dark];
        assert_eq!(
            path(&modules, 3),
            "M0 0h2v1h-2zM1 1h1v1h-1zM0 2h1v1h-1zM2 2h1v1h-1z"
        );
    }
}
