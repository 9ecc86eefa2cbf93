//! The same steps as plain lines and NDJSON.
