//! What a driver error means: worth retrying, and how to say it to an operator.

use super::cluster::DriverError;
use crate::model::{Problem, Side};
use mongodb::error::ErrorKind;

/// Server codes that go away by themselves: elections, shutdowns, lost cursors, interrupted operations, a database that is
/// just being dropped.
const TRANSIENT_CODES: [i32; 32] = [
    6, 7, 43, 50, 63, 89, 91, 112, 133, 134, 136, 175, 189, 202, 215, 216, 234, 237, 262, 279, 290, 317, 358, 384,
    9001, 10107, 11600, 11601, 11602, 13388, 13435, 13436,
];

/// No primary at this moment: one of the transient codes.
pub const PRIMARY_STEPPED_DOWN: i32 = 189;

/// What an operator can take away while the migration waits: a missing privilege, a login that is refused, blocked
/// writes, a full disk, an exceeded quota.
const CURABLE_CODES: [i32; 7] = [13, 18, 371, 391, 8000, 12501, 14031];

const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
const REAUTHENTICATION_REQUIRED: i32 = 391;

/// True when the same command may succeed later without a change: network errors, elections, lost cursors.
pub fn is_transient(error: &DriverError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. } => true,
        _ => code(error).is_some_and(is_transient_code),
    }
}

/// True when the same command succeeds once somebody has changed something outside of mongoferry.
pub fn is_curable(error: &DriverError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => true,
        _ => code(error).is_some_and(|code| CURABLE_CODES.contains(&code)),
    }
}

/// True when the server did not accept the login.
fn is_refused(error: &DriverError) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Authentication { .. }) || code(error) == Some(AUTHENTICATION_FAILED)
}

/// True when the server has forgotten who signed in on the connection; another one may do. The text is the only
/// difference to a missing privilege.
pub fn is_logged_out(error: &DriverError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            command.code == REAUTHENTICATION_REQUIRED
                || (command.code == UNAUTHORIZED && command.message.ends_with("requires authentication"))
        }
        _ => false,
    }
}

/// True when waiting may help: transient, or curable by the operator.
pub fn may_pass(error: &DriverError) -> bool {
    is_transient(error) || is_curable(error)
}

/// The same for codes inside `writeErrors`.
pub fn may_pass_code(code: i32) -> bool {
    is_transient_code(code) || CURABLE_CODES.contains(&code)
}

/// The error that a server's code and message stand for, when they came inside a reply.
pub fn from_code(code: i32, message: &str) -> DriverError {
    let parts = bson::doc! { "code": code, "codeName": "", "errmsg": message };
    match bson::deserialize_from_document(parts) {
        Ok(error) => ErrorKind::Command(error).into(),
        Err(_) => DriverError::custom(format!("code {code}: {message}")),
    }
}

/// True when what failed with this server code may succeed later; also for codes inside `writeErrors`.
pub fn is_transient_code(code: i32) -> bool {
    TRANSIENT_CODES.contains(&code)
}

/// The server's error code, when the error came from a server.
pub fn code(error: &DriverError) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(mongodb::error::WriteFailure::WriteError(write)) => Some(write.code),
        _ => None,
    }
}

/// The error in one line, without the driver's wrapping and without the server's whole reply.
pub fn explain(error: &DriverError) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            format!("code {} {}: {}", command.code, command.code_name, command.message.trim_end_matches('.'))
        }
        ErrorKind::Custom(message) => match message.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => error.kind.to_string(),
        },
        kind => kind.to_string(),
    }
}

/// The problem an operator sees when a command failed in the middle of a migration.
pub fn command_problem(side: Side, what: impl Into<String>, error: &DriverError) -> Problem {
    let retry_helps = is_transient(error);
    let fix = match code(error) {
        _ if is_logged_out(error) => "The user was dropped; create it again, and the migration goes on by itself.",
        Some(13) => "Grant the missing privilege to the migration user; the migration goes on by itself.",
        _ if is_refused(error) => {
            "The user is gone or its password changed: correct it on the server, and the migration goes on by itself. A \
             temporary user (mongoferry_…) comes back when this process is ended and the migration resumed."
        }
        Some(371) => "Lift the write block (setUserWriteBlockMode); the migration goes on by itself.",
        Some(8000) => {
            "Do what the service's message asks for (over a quota: free space or enlarge the cluster); the migration goes on \
             by itself."
        }
        Some(12501 | 14031) => "Free or add disk space; the migration goes on by itself.",
        _ if retry_helps => "Check that the cluster is reachable and has a primary, then resume.",
        _ => "Look at the server's message; when its cause is gone, resume.",
    };
    Problem {
        side,
        what: what.into(),
        why: explain(error),
        fix: fix.into(),
        retry_helps,
        written: "The source is untouched; the destination keeps what was copied so far.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_login_is_not_a_missing_privilege() {
        assert!(is_logged_out(&from_code(13, "command getMore requires authentication")));
        assert!(is_logged_out(&from_code(391, "reauthentication required")));
        assert!(!is_logged_out(&from_code(13, "not authorized on shop to execute command { insert: \"a\" }")));
        assert!(!is_logged_out(&from_code(8000, "you are over your space quota")));
    }

    #[test]
    fn what_somebody_can_cure_is_waited_for() {
        for code in [8000, 14031, 371] {
            assert!(is_curable(&from_code(code, "refused")) && may_pass_code(code) && !is_transient_code(code));
        }
        assert!(!may_pass(&from_code(11000, "E11000")));
    }
}
