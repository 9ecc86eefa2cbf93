//! A connected replica set: the client plus what `hello` and `buildInfo` said about it.

use super::{link::Wire, login::Login, memory_file::MemoryFile, tally::Tally};
use crate::model::{Optime, Side};
use bson::{RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use std::{fmt, sync::Arc};

/// Errors of the driver, unchanged; the engine and validation turn them into [`crate::model::Problem`]s.
pub type DriverError = mongodb::error::Error;

/// A server version such as 6.0.27.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// 6 of 6.0.27.
    pub major: u32,
    /// 0 of 6.0.27.
    pub minor: u32,
    /// 27 of 6.0.27.
    pub patch: u32,
}

impl ServerVersion {
    /// Reads `6.0.27`, `7.0.0-rc1`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-']);
        let mut next = || parts.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// One connected cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Source or destination.
    pub side: Side,
    /// The driver's client. Only `mongo`, `validate` and the effects in `engine` use it.
    pub login: Login,
    /// Replica set name.
    pub set: String,
    /// Server version of the primary.
    pub version: ServerVersion,
    /// Data-bearing members as `host:port`.
    pub hosts: Vec<String>,
    /// The primary at the time of connecting.
    pub primary: Option<String>,
    /// Certificates and key as the files that the driver reads; gone with the last clone.
    pub tls_files: Arc<Vec<MemoryFile>>,
    /// What [`Cluster::run`] wrote.
    pub tally: Tally,
    /// How what is read and written passes on the network.
    pub wire: Wire,
}

/// What a primary says about its newest write (`hello.lastWrite`; needs no privilege, OPLOG.md section D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWrite {
    /// Newest entry.
    pub optime: Optime,
    /// Election term of that entry.
    pub term: i64,
    /// Its wall time, ms since the epoch, whole seconds.
    pub wall_ms: i64,
    /// Newest majority-committed entry.
    pub majority_optime: Optime,
    /// Its wall time, ms since the epoch, whole seconds.
    pub majority_wall_ms: i64,
    /// The server's clock when it answered, ms since the epoch.
    pub local_time_ms: i64,
}

impl Cluster {
    /// Runs one command on the primary and returns the raw reply (`ok: 0` becomes an error; `writeErrors` do not).
    pub async fn run(&self, db: &str, command: RawDocumentBuf) -> Result<RawDocumentBuf, DriverError> {
        let begun = self.tally.begin(db, &command);
        let reply = RawDocumentBuf::try_from(&self.login.database(db).run_raw_command(command).await?)?;
        if let Some(begun) = begun {
            begun.answered(&reply);
        }
        Ok(reply)
    }

    /// Runs a command that writes; succeeds when the majority has it. An election must not take it back silently.
    pub async fn run_with_majority(
        &self,
        db: &str,
        mut command: RawDocumentBuf,
    ) -> Result<RawDocumentBuf, DriverError> {
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        self.run_concerned(db, command).await
    }

    /// Runs a command that has a write concern; succeeds when that is satisfied.
    pub async fn run_concerned(&self, db: &str, command: RawDocumentBuf) -> Result<RawDocumentBuf, DriverError> {
        let reply = self.run(db, command).await?;
        if let Ok(concern) = reply.get_document("writeConcernError") {
            let text = concern.get_str("errmsg").unwrap_or("no message");
            let text = format!("the majority has not confirmed it: {text}");
            return Err(super::errors::from_code(concern.get_i32("code").unwrap_or(64), &text));
        }
        Ok(reply)
    }

    /// The newest write of the primary. One that was just elected names no majority position yet, which passes.
    pub async fn last_write(&self) -> Result<LastWrite, DriverError> {
        let reply = self.run("admin", rawdoc! { "hello": 1 }).await?;
        let last = reply.get_document("lastWrite").ok().filter(|last| last.get_document("majorityOpTime").is_ok());
        let Some(last) = last else {
            let why = "the primary was just elected and its majority has confirmed nothing yet";
            return Err(super::errors::from_code(super::errors::PRIMARY_STEPPED_DOWN, why));
        };
        let ts = |field: &str| -> Result<Optime, DriverError> {
            let stamp = last.get_document(field)?.get_timestamp("ts")?;
            Ok(Optime::new(stamp.time, stamp.increment))
        };
        Ok(LastWrite {
            optime: ts("opTime")?,
            term: last.get_document("opTime")?.get_i64("t")?,
            wall_ms: last.get_datetime("lastWriteDate")?.timestamp_millis(),
            majority_optime: ts("majorityOpTime")?,
            majority_wall_ms: last.get_datetime("majorityWriteDate")?.timestamp_millis(),
            local_time_ms: reply.get_datetime("localTime")?.timestamp_millis(),
        })
    }
}

/// The `operationTime` of a reply, when the server sent one (every replica set member does).
pub fn operation_time(reply: &RawDocument) -> Option<Optime> {
    let stamp = reply.get_timestamp("operationTime").ok()?;
    Some(Optime::new(stamp.time, stamp.increment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let parse = |text| ServerVersion::parse(text).expect("version");
        assert!(parse("6.0.5") < parse("6.0.27"));
        assert!(parse("4.4.2") < parse("5.0.4"));
        assert_eq!(parse("7.0.0-rc1"), ServerVersion { major: 7, minor: 0, patch: 0 });
        assert_eq!(ServerVersion::parse("six"), None);
    }
}
