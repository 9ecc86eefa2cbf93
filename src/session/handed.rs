//! Commands as they cross the socket, with their secrets: from client to engine, the only way a secret ever leaves a
//! process.
//!
//! [`Secret`] cannot be serialised. This private module is the one exception, and only a command can reach it: whatever
//! the engine sends holds no type from here, so the compiler refuses a secret on the way back.

use crate::{
    model::{CheckOrder, Command, Endpoint, Limit, Options, PasswordFrom, Plan, Secrets, Tls, command::Consent},
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A command with the secrets that it needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handed(#[serde(with = "CommandDef")] pub Command);

/// What an engine that takes up a migration is given to sign in to both clusters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Logins {
    /// Of the source.
    #[serde(with = "SecretsDef")]
    pub source: Secrets,
    /// Of the destination.
    #[serde(with = "SecretsDef")]
    pub destination: Secrets,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Secrets", deny_unknown_fields)]
struct SecretsDef {
    #[serde(with = "secret")]
    password: Option<Secret>,
    #[serde(with = "secret")]
    client_certificate: Option<Secret>,
}

mod secret {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}

/// `with` for a box of a type that is described elsewhere.
macro_rules! boxed {
    ($module:ident, $inner:ty, $described:literal) => {
        mod $module {
            use super::*;
            use serde::{Deserializer, Serializer};

            #[derive(Serialize)]
            struct Out<'a>(#[serde(with = $described)] &'a $inner);
            #[derive(Deserialize)]
            struct In(#[serde(with = $described)] $inner);

            pub fn serialize<S: Serializer>(inner: &$inner, serializer: S) -> Result<S::Ok, S::Error> {
                Out(inner).serialize(serializer)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<$inner>, D::Error> {
                Ok(Box::new(In::deserialize(deserializer)?.0))
            }
        }
    };
}
boxed!(boxed_plan, Plan, "PlanDef");
boxed!(boxed_endpoint, Endpoint, "EndpointDef");

#[derive(Serialize, Deserialize)]
#[serde(remote = "Plan", deny_unknown_fields)]
struct PlanDef {
    name: String,
    #[serde(with = "EndpointDef")]
    source: Endpoint,
    #[serde(with = "EndpointDef")]
    destination: Endpoint,
    options: Options,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Endpoint", deny_unknown_fields)]
struct EndpointDef {
    uri: String,
    username: Option<String>,
    #[serde(with = "secret")]
    password: Option<Secret>,
    password_from: Option<PasswordFrom>,
    auth_source: Option<String>,
    tls: Tls,
    #[serde(with = "secret")]
    client_certificate: Option<Secret>,
    client_certificate_from: Option<PathBuf>,
    direct: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Consent", deny_unknown_fields)]
struct ConsentDef {
    warnings: bool,
    clear_destination: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Command", rename_all = "kebab-case", deny_unknown_fields)]
enum CommandDef {
    TestDestination(#[serde(with = "boxed_endpoint")] Box<Endpoint>),
    Validate(#[serde(with = "boxed_plan")] Box<Plan>),
    Revalidate,
    Start(#[serde(with = "ConsentDef")] Consent),
    Pause,
    Resume,
    Extend,
    PrepareCutover,
    ContinueCutover { assume_stopped: bool },
    ChooseCheck(CheckOrder),
    AcceptFailedIndexes,
    Rehearse,
    GoBack,
    SkipVerification,
    RepairMismatches,
    ShowDocument { namespace: String, id: String },
    Retry,
    TestNotices,
    KeepWayBack { seconds: u64 },
    Throttle(Limit),
    Stop,
    StopApplication,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_arrives_with_its_secrets_and_everything_else() {
        let source = Endpoint {
            username: Some("ferry".into()),
            password: Some(Secret::new("hunter2 \"quoted\"".into())),
            tls: Tls::PrivateCa { pem: "-----BEGIN".into() },
            ..Endpoint::plain("mongodb://a:1/?replicaSet=rs0")
        };
        let plan = Plan {
            name: "orders".into(),
            source,
            destination: Endpoint::plain("mongodb://b:1/"),
            options: Options::default(),
        };
        let text = serde_json::to_string(&Handed(Command::Validate(Box::new(plan.clone())))).unwrap();
        let Handed(Command::Validate(arrived)) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(arrived.source.password.as_ref().unwrap().expose(), "hunter2 \"quoted\"");
        assert_eq!(format!("{arrived:?}"), format!("{plan:?}"));
    }

    #[test]
    fn commands_arrive_as_they_were_sent() {
        for command in [
            Command::Start(Consent { warnings: true, clear_destination: false }),
            Command::ContinueCutover { assume_stopped: true },
            Command::ChooseCheck(CheckOrder::After),
            Command::SkipVerification,
        ] {
            let text = serde_json::to_string(&Handed(command.clone())).unwrap();
            let Handed(arrived) = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("{arrived:?}"), format!("{command:?}"));
        }
    }
}
