//! Write commands on the destination: sent until the majority has them, every way of failing told apart.
//!
//! Only for commands whose statements may be repeated; it never decides what to do about a statement that failed.

use super::{
    context::Context,
    retry::{Halt, retry},
};
use crate::{
    model::{Severity, Side},
    mongo::{
        Namespace,
        cluster::DriverError,
        errors::{code, from_code, may_pass_code},
    },
};
use bson::{RawDocument, RawDocumentBuf, oid::ObjectId, raw::cstr, rawdoc};

/// Write concerns that this replica set can never satisfy: UnknownReplWriteConcern, UnsatisfiableWriteConcern.
const HOPELESS_CONCERNS: [i32; 2] = [79, 100];
/// Refusals of a whole command that one of its documents causes: BadValue, FailedToParse, TypeMismatch, Overflow (nested
/// too deeply, OPLOG.md B.3), PathNotViable, names with dollars and dots, the `_id`, sizes.
const CAUSED_BY_CONTENT: [i32; 15] = [2, 9, 14, 15, 28, 40, 52, 54, 55, 56, 57, 66, 10334, 17419, 17420];

/// CannotInsertTimeseriesBucketsWithMixedSchema.
const MIXED_BUCKETS: i32 = 408;

/// What the destination made of a write command.
#[derive(Debug)]
pub enum Sent {
    /// Executed, and the majority has it. Index and code of every statement that failed for good.
    Executed(Vec<(usize, i32)>),
    /// Refused as a whole because of a document or an update in it; nothing is written.
    Refused(DriverError),
}

/// Sends a write command for `namespace` as often as it takes. Transient failures are retried whole, also those of
/// single statements and of the write concern: a write that the majority has not got is not applied.
pub async fn send(
    context: &Context,
    namespace: &Namespace,
    what: &str,
    command: &RawDocumentBuf,
) -> Result<Sent, Halt> {
    Ok(deliver(context, namespace, what, command).await?.0)
}

/// The same for a command with any write concern. Besides: the election term of the primary that took it; none when it
/// refused.
pub async fn deliver(
    context: &Context,
    namespace: &Namespace,
    what: &str,
    command: &RawDocumentBuf,
) -> Result<(Sent, Option<i64>), Halt> {
    let destination = &context.destination;
    retry(Side::Destination, what, &context.events, &context.cancel, || async {
        match destination.run(&namespace.db, command.clone()).await {
            Ok(reply) => match judge(&reply)? {
                Sent::Executed(failed) if is_mixed(&failed) => {
                    let again = allow_mixed_buckets(context, namespace, command).await?;
                    Ok((judge(&again)?, election_term(&again)))
                }
                sent => Ok((sent, election_term(&reply))),
            },
            Err(error) if code(&error).is_some_and(|code| CAUSED_BY_CONTENT.contains(&code)) => {
                Ok((Sent::Refused(error), None))
            }
            Err(error) => Err(error),
        }
    })
    .await
}

/// The term of the primary that answered a write.
pub fn election_term(reply: &RawDocument) -> Option<i64> {
    reply.get_document("opTime").ok()?.get_i64("t").ok()
}

/// Returns when the majority has everything that the primary took before, by deleting nothing from `namespace`; the
/// election term in which that was so.
pub async fn fence(context: &Context, namespace: &Namespace) -> Result<Option<i64>, Halt> {
    let what = format!("waiting for the majority to have {namespace}");
    let coll = namespace.coll.as_str();
    let reply = retry(Side::Destination, &what, &context.events, &context.cancel, || {
        let nothing = rawdoc! { "delete": coll, "deletes": [{ "q": { "_id": ObjectId::new() }, "limit": 1 }] };
        context.destination.run_with_majority(&namespace.db, nothing)
    })
    .await?;
    Ok(election_term(&reply))
}

/// The command with `w: 1` in place of its write concern: a later command waits for the majority of both.
pub fn unconfirmed(command: &RawDocument) -> RawDocumentBuf {
    let mut changed = RawDocumentBuf::new();
    for (name, value) in command.iter().flatten().filter(|(name, _)| name.as_str() != "writeConcern") {
        changed.append(name, value);
    }
    changed.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
    changed
}

/// A statement failed because its bucket holds several types of one field.
pub fn is_mixed(failed: &[(usize, i32)]) -> bool {
    failed.iter().any(|(_, code)| *code == MIXED_BUCKETS)
}

/// Newer servers take buckets with several types of one field, which old ones wrote, only where they are told to. Tells
/// them, and sends the command again.
pub async fn allow_mixed_buckets(
    context: &Context,
    namespace: &Namespace,
    command: &RawDocumentBuf,
) -> Result<RawDocumentBuf, DriverError> {
    let allow = rawdoc! { "collMod": namespace.coll.as_str(), "timeseriesBucketsMayHaveMixedSchemaData": true };
    context.destination.run_with_majority(&namespace.db, allow).await?;
    let text = format!("{namespace}: buckets hold several types of one field; the destination is told to take them");
    context.events.record(Severity::Info, "buckets", text);
    context.destination.run(&namespace.db, command.clone()).await
}

/// Reads the reply of a write command: `ok` is 1 even when every statement failed (OPLOG.md section 0, rule 9).
pub fn judge(reply: &RawDocument) -> Result<Sent, DriverError> {
    let mut failed = Vec::new();
    if let Ok(errors) = reply.get_array("writeErrors") {
        for error in errors {
            let error = error?.as_document().ok_or_else(|| unreadable("writeErrors"))?;
            let (index, code) = (error.get_i32("index")?, error.get_i32("code")?);
            if may_pass_code(code) {
                return Err(for_now(code, error.get_str("errmsg").unwrap_or("no message")));
            }
            failed.push((usize::try_from(index).map_err(|_| unreadable("writeErrors"))?, code));
        }
    }
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let (code, text) = (concern.get_i32("code")?, concern.get_str("errmsg").unwrap_or("no message"));
        let text = format!("the majority has not confirmed the write: {text}");
        let is_hopeless = HOPELESS_CONCERNS.contains(&code);
        return Err(if is_hopeless { DriverError::custom(text) } else { for_now(code, &text) });
    }
    Ok(Sent::Executed(failed))
}

fn unreadable(field: &str) -> DriverError {
    DriverError::custom(format!("the server's reply cannot be read: {field}"))
}

/// An error that is worth waiting for; one that nobody can cure counts as transient.
fn for_now(code: i32, text: &str) -> DriverError {
    if may_pass_code(code) {
        return from_code(code, text);
    }
    DriverError::from(std::io::Error::other(format!("code {code}: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::errors::is_transient;

    #[test]
    fn statements_that_failed_for_good_are_named() {
        let reply = rawdoc! { "ok": 1.0, "n": 1, "writeErrors": [
        { "index": 1, "code": 11000, "errmsg": "E11000" }, { "index": 3, "code": 28, "errmsg": "PathNotViable" } ] };
        assert!(matches!(judge(&reply), Ok(Sent::Executed(failed)) if failed == [(1, 11000), (3, 28)]));
        assert!(matches!(judge(&rawdoc! { "ok": 1.0, "n": 2 }), Ok(Sent::Executed(failed)) if failed.is_empty()));
    }

    #[test]
    fn an_election_in_the_middle_of_a_command_repeats_it() {
        let stepped_down = rawdoc! { "ok": 1.0, "writeErrors": [
        { "index": 0, "code": 11000, "errmsg": "E11000" }, { "index": 1, "code": 11602, "errmsg": "InterruptedDueToReplStateChange" } ] };
        assert!(is_transient(&judge(&stepped_down).unwrap_err()));
        let unconfirmed =
            rawdoc! { "ok": 1.0, "n": 1, "writeConcernError": { "code": 91, "errmsg": "ShutdownInProgress" } };
        assert!(is_transient(&judge(&unconfirmed).unwrap_err()));
    }

    #[test]
    fn a_write_concern_that_nobody_can_satisfy_ends_it() {
        let reply =
            rawdoc! { "ok": 1.0, "n": 1, "writeConcernError": { "code": 100, "errmsg": "UnsatisfiableWriteConcern" } };
        assert!(!is_transient(&judge(&reply).unwrap_err()));
    }
}
