//! What the fuzz targets share.
#![forbid(unsafe_code)]

pub mod draft;
pub mod judge;
pub mod layout;
pub mod samples;
pub mod site;
pub mod snapshot;
