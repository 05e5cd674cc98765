//! The typed history: entries as bytes in the log. The only place that knows both money and the log.

pub(crate) mod codec;
