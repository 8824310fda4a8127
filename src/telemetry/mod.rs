//! What the gateway tells about itself: metrics, the access log and its own log.
