//! The driver's client of one cluster, and another one when its connections have lost their login: a server forgets who
//! signed in on a connection when that user is dropped, also when it is created again, and the driver never signs in anew
//! on a connection that it has.

use super::cluster::DriverError;
use mongodb::{Client, Database, options::ClientOptions};
use std::sync::{Arc, PoisonError, RwLock};

/// Shared by all clones of a cluster's handle.
#[derive(Debug, Clone)]
pub struct Login {
    client: Arc<RwLock<Client>>,
    options: Arc<ClientOptions>,
}

impl Login {
    /// A client with these options; it connects when it is used.
    pub fn open(options: ClientOptions) -> Result<Self, DriverError> {
        let client = Client::with_options(options.clone())?;
        Ok(Self { client: Arc::new(RwLock::new(client)), options: Arc::new(options) })
    }

    /// The client of now.
    pub fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A database by the client of now. Ask anew for every attempt.
    pub fn database(&self, name: &str) -> Database {
        self.client.read().unwrap_or_else(PoisonError::into_inner).database(name)
    }

    /// From now on with new connections; cursors that are open keep theirs.
    pub fn renew(&self) -> Result<(), DriverError> {
        let client = Client::with_options(self.options.as_ref().clone())?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }
}
