//! What crosses the socket: frames of a length and one JSON value, bounded before a byte of them is kept.

use super::handed::Handed;
pub use super::handed::Logins;
use crate::model::{
    Answer, Command, Event, Refusal, Rows, Snapshot,
    snapshot::{CollectionRow, VerifiedCollection},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Both ends must agree on it.
pub const PROTOCOL: u32 = 2;
/// A first frame is not longer.
pub const MOST_HELLO: u32 = 16 << 10;
/// A client's frame is not longer: a plan with two files of certificates is the longest.
pub const MOST_ASKED: u32 = 8 << 20;
/// An engine's frame is not longer: the snapshot of a hundred thousand collections fits.
pub const MOST_TOLD: u32 = 256 << 20;
/// A frame that has begun arrives within this time.
const FRAME_TIME: Duration = Duration::from_secs(30);
/// Room that is taken before the bytes are there.
const FIRST_ROOM: usize = 64 << 10;

/// The first frame of a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`] of the client.
    pub protocol: u32,
    /// Version of the client's program.
    pub version: String,
    /// The user as the client knows it; used when the system cannot name the peer.
    pub user: String,
    /// Terminal of the client, e.g. `pts/3`.
    pub tty: Option<String>,
    /// It only watches: every command is refused.
    pub watch: bool,
    /// Events up to this number are known, if they are of engine `engine`.
    pub since: u64,
    /// The engine that the events are of.
    pub engine: Option<String>,
}

/// Every later frame of a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Repeated in the answer.
    pub id: u64,
    command: Handed,
}

impl Asked {
    /// A question with its number.
    pub fn new(id: u64, command: Command) -> Self {
        Self { id, command: Handed(command) }
    }

    /// What is asked for.
    pub fn command(self) -> Command {
        self.command.0
    }
}

/// What the engine tells. Holds no secret: none of these types can. The values of a document are in an answer alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The first frame: welcome.
    Welcome {
        /// Names the engine process, so that a client knows when another one answers.
        engine: String,
        /// Version of the engine's program.
        version: String,
        /// Its process number.
        pid: u32,
        /// Number of the last event before the ones that follow.
        since: u64,
    },
    /// The first and last frame: no, and why.
    Refused(String),
    /// The newest snapshot, without the rows of the collections.
    Snapshot(Box<Snapshot>),
    /// These rows changed; told before the snapshot that they belong to.
    Collections(Rows<CollectionRow>),
    /// The same for the comparison.
    Verified(Rows<VerifiedCollection>),
    /// Events in order.
    Events(Vec<Event>),
    /// The answer to the question of this number.
    Answer {
        /// The number.
        id: u64,
        /// What was accepted, or why not.
        answer: Result<Answer, Refusal>,
    },
    /// Nothing new; the engine is there.
    Alive,
    /// The engine ends in good order.
    Bye,
}

/// Writes one frame.
pub async fn write_frame(out: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    // May hold a password: wiped when it is sent.
    let text = Zeroizing::new(serde_json::to_vec(value).map_err(io::Error::other)?);
    let length = u32::try_from(text.len()).map_err(|_| io::Error::other("a frame is longer than 4 GiB"))?;
    out.write_all(&length.to_be_bytes()).await?;
    out.write_all(&text).await?;
    out.flush().await
}

/// Reads one frame of at most `most` bytes; `None` at the end of the connection. Waits for its beginning without limit.
pub async fn read_frame<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), most: u32) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let frame = tokio::time::timeout(FRAME_TIME, async {
        from.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length);
        if length > most {
            return Err(malformed(format!("a frame of {length} bytes is longer than {most}")));
        }
        let length = length as usize;
        let mut text = Zeroizing::new(Vec::with_capacity(length.min(FIRST_ROOM)));
        let read = from.take(length as u64).read_to_end(&mut text).await?;
        if read < length {
            return Err(malformed(format!("a frame ends after {read} of {length} bytes")));
        }
        Ok(text)
    });
    let text = frame.await.map_err(|_| malformed("a frame did not arrive in time".into()))??;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        // Only where: the words of a parser may repeat what it read.
        malformed(format!("a frame is not understood (line {}, column {})", error.line(), error.column()))
    })
}

fn malformed(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
