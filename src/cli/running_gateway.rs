//! The one word that the command line has with a gateway that runs beside it: "read the revocations again, now".

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;

use super::failure::Failure;
use super::output;
use crate::app::order;

/// A gateway reads a handful of new rows; one that takes longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the gateway whose admin listener is at `admin` enforce what the database records. No gateway is fine: the
/// next one reads everything when it starts.
pub(super) async fn take_over_revocations(admin: SocketAddr) -> Result<(), Failure> {
    let answered = tokio::time::timeout(PATIENCE, order::post(admin, "/revocations/reload")).await;
    let failed = |error: anyhow::Error| {
        let error = error.context(format!("recorded, but the gateway at {admin} has not confirmed that it enforces it"));
        Failure::new(error, "it tries again every second; run the same command again to be sure, which is safe")
    };
    match answered {
        Ok(Ok(None | Some((StatusCode::NO_CONTENT, _)))) => Ok(()),
        Ok(Ok(Some((StatusCode::SERVICE_UNAVAILABLE, why)))) => Err(failed(anyhow::anyhow!("{}", output::shown(why.trim())))),
        Ok(Ok(Some((status, _)))) => {
            // It has the address, so no gateway with this configuration runs on this machine.
            eprintln!("warning: {admin} (`server.admin`) answers {status}: it is another program, or another version");
            Ok(())
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(anyhow::anyhow!("no answer within {PATIENCE:?}"))),
    }
}
