//! How an entry lies in bytes.
